import re

from fleetsync.simulator.sphere_fleet import PRODUCTS, devices, images, tenant_id

AT = 1_790_000_000.0


def test_a_device_is_the_same_in_every_fleet_of_its_seed() -> None:
    few, many = list(devices(3, 5, at=AT)), list(devices(3, 50, at=AT))
    assert many[:5] == few
    assert len({device.id for device in many}) == 50
    assert all(re.fullmatch("[0-9a-f]{128}", device.id) for device in many)
    assert {device.id for device in devices(4, 50, at=AT)}.isdisjoint(device.id for device in many)


def test_devices_are_in_groups_that_there_are_or_in_none() -> None:
    groups = {(product.name, group.name) for product in PRODUCTS for group in product.groups} | {(None, None)}
    found = list(devices(1, 300, at=AT))
    assert {(device.product, device.group) for device in found} <= groups
    assert any(device.product is None for device in found)
    assert any(device.seen_at is None for device in found)
    assert sum(not device.is_integrated for device in found) == 300 // 8


def test_what_is_deployed_is_among_the_images() -> None:
    names = {group.image for product in PRODUCTS for group in product.groups} - {None}
    assert {image.name for image in images(1)} == names
    assert images(1) != images(2)
    assert tenant_id(1) != tenant_id(2)
