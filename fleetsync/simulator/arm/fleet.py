"""What the simulated subscription begins with: a catalog that most devices of the old tenant were carried over to."""

import base64
from dataclasses import replace
from random import Random
from typing import Final

from fleetsync.simulator import sphere_fleet
from fleetsync.simulator.arm.routes import CERTIFICATE, DEPLOYMENT, IMAGE
from fleetsync.simulator.arm.tree import Catalog, Tree, utc
from fleetsync.simulator.sphere_fleet import PRODUCTS, SphereGroup
from fleetsync.simulator.wire import Object

GROUP_NAME: Final = "Sphere-Prod"
CATALOG_NAME: Final = "MainCatalog"
PILOT: Final = ("sphere-pilot", "Pilot_01")
"""Resource group and name of a second catalog, with a handful of devices that the old tenant never had."""

RETUNED: Final = (("ColdChain", "Production"), ("Line Gateway", "Field Test"))
"""Groups whose settings are others than in the old tenant."""

_OWN_DEVICES: Final = 6
_YEAR_S: Final = 365 * 86_400
_OWN_SEED: Final = 1_000_003


def filled(seed: int, count: int, *, at: float) -> Tree:
    """Return a tree with two catalogs; of the old tenant's `count` devices most are in the first."""
    tree = Tree()
    tags = {"owner": "plant", "stage": "prod"}
    main = tree.add_catalog(GROUP_NAME, CATALOG_NAME, tenant_id=sphere_fleet.tenant_id(seed), tags=tags, at=at)
    pilot = tree.add_catalog(*PILOT, tenant_id=sphere_fleet.tenant_id(seed + _OWN_SEED), tags={}, at=at)
    for catalog in (main, pilot):
        _add_groups(tree, catalog, at=at)
        _add_images(catalog, seed, at=at)
        _add_certificates(catalog, seed, at=at)
        _add_deployments(catalog, seed, at=at)
    for device in sphere_fleet.devices(seed, count, at=at):
        if device.is_integrated:
            tree.add_device(main, device, at=at)
    if count:
        for device in sphere_fleet.devices(seed + _OWN_SEED, _OWN_DEVICES, at=at):
            tree.add_device(pilot, replace(device, product="Prototypes", group="P1"), at=at)
    return tree


def _add_groups(tree: Tree, catalog: Catalog, *, at: float) -> None:
    for product in PRODUCTS:
        tree.add_product(catalog, product.name, product.description, at=at)
        for group in product.groups:
            place = (product.name, group.name)
            tree.add_group(catalog, place, _settings(group, is_retuned=place in RETUNED), at=at)


def _settings(group: SphereGroup, *, is_retuned: bool) -> Object:
    return {
        "description": group.description,
        "osFeedType": group.feed,
        "updatePolicy": "No3rdPartyAppUpdates" if is_retuned else group.policy,
        "allowCrashDumpsCollection": "Enabled" if group.crash_dumps else "Disabled",
        "regionalDataBoundary": "None",
        "hasDeployment": group.image is not None,
    }


def _image(image: sphere_fleet.SphereImage) -> Object:
    return {
        "image": None,
        "imageId": image.id,
        "imageName": image.name,
        "regionalDataBoundary": "None",
        "description": "",
        "componentId": image.component_id,
        "imageType": "Applications",
        "provisioningState": "Succeeded",
    }


def _add_images(catalog: Catalog, seed: int, *, at: float) -> None:
    for image in sphere_fleet.images(seed):
        document = {"names": (catalog.name, image.id), "properties": _image(image)}
        catalog.below[IMAGE].put(image.id, document, at=at)


def _add_certificates(catalog: Catalog, seed: int, *, at: float) -> None:
    random = Random(f"{seed}:{catalog.key}:certificate")
    for status, began_at in (("Expired", at - 3 * _YEAR_S), ("Active", at - _YEAR_S / 2)):
        serial = f"{random.getrandbits(120):030X}"
        properties = {
            "certificate": base64.b64encode(random.randbytes(90)).decode(),
            "status": status,
            "subject": f"CN=Microsoft Azure Sphere {catalog.name}",
            "thumbprint": f"{random.getrandbits(160):040X}",
            "expiryUtc": utc(began_at + 2 * _YEAR_S),
            "notBeforeUtc": utc(began_at),
            "provisioningState": "Succeeded",
        }
        document = {"names": (catalog.name, serial), "properties": properties}
        catalog.below[CERTIFICATE].put(serial.lower(), document, at=at)


def _add_deployments(catalog: Catalog, seed: int, *, at: float) -> None:
    random = Random(f"{seed}:{catalog.key}:deployment")
    images = {image.name: image for image in sphere_fleet.images(seed)}
    for product in PRODUCTS:
        for group in product.groups:
            if group.image is None:
                continue
            name = f"{random.getrandbits(128):032x}"
            image = images[group.image]
            properties = {
                "deploymentId": name,
                "deployedImages": [{"names": (catalog.name, image.id), "properties": _image(image)}],
                "deploymentDateUtc": utc(at - random.randrange(_YEAR_S)),
                "provisioningState": "Succeeded",
            }
            names = (catalog.name, product.name, group.name, name)
            key = "/".join(names[1:]).lower()
            catalog.below[DEPLOYMENT].put(key, {"names": names, "properties": properties}, at=at)
