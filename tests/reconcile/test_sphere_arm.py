"""Devices of Azure Sphere behind Azure Resource Manager, whose address changes when somebody moves them."""

import contextlib
from collections.abc import Callable
from dataclasses import replace

from fleetsync.core.model import DEVICE
from fleetsync.errors import AuthError
from fleetsync.providers import sphere_arm
from fleetsync.simulator.arm.routes import DEVICE as DEVICE_WORDS
from fleetsync.transport.http import Request
from tests.fakes.http import is_write, refused
from tests.reconcile.rig import SOURCE, Rig, declare


def rigged(make: Callable[..., Rig]) -> Rig:
    rig = make(kinds=("sphere-arm",), sphere_devices=20, arm_rate="none")
    own = sphere_arm.Settings(subscription=rig.cloud.arm.subscription, catalog="MainCatalog")
    rig.settings = replace(SOURCE, kind=sphere_arm.KIND, url=rig.cloud.arm_url, own=own, resources=(DEVICE,))
    return rig


def lists_devices(request: Request) -> bool:
    return "listDevices" in request.url


async def test_a_device_that_no_list_shows_while_it_is_moved_is_not_gone(make: Callable[..., Rig]) -> None:
    rig = rigged(make)
    arm = rig.cloud.arm
    async with rig.opened():
        await rig.cycle()
        there = rig.ids()
        arm.operator_move(there[0], "Prototypes", "P1")
        devices = arm.tree.holding(there[0]).below[DEVICE_WORDS]
        moved = devices.get(there[0]).document
        rig.http.when(
            lists_devices,
            before=lambda _: devices.remove(there[0]),
            after=lambda _: devices.put(there[0], moved, at=rig.clock.now().timestamp()) and None,
        )
        await rig.cycle()
        assert rig.ids() == there

        rig.http.heal()
        await rig.cycle()
        assert rig.ids() == there
        [(group,)] = rig.rows("SELECT group_id FROM devices WHERE id = ?", there[0])
        assert group == "sphere-prod/maincatalog/prototypes/p1"


async def test_a_device_is_gone_when_two_lists_do_not_show_it(make: Callable[..., Rig]) -> None:
    rig = rigged(make)
    async with rig.opened():
        await rig.cycle()
        id = rig.ids()[0]
        rig.cloud.arm.delete_device(id)
        await rig.cycle()
        assert id in rig.ids()
        sent = len(rig.http.sent)
        await rig.cycle()
        assert id not in rig.ids()
        assert not any(id in request.url for request in rig.http.sent[sent:])
        [(reason,)] = rig.rows("SELECT gone_reason FROM resources WHERE id = ?", id)
        assert reason == "unseen by the complete listings 2 and 3"


async def test_a_device_that_a_read_before_a_refused_write_showed_is_not_gone_after_one_more_list(
    make: Callable[..., Rig],
) -> None:
    rig = rigged(make)
    arm = rig.cloud.arm
    async with rig.opened():
        await rig.cycle()
        id = rig.ids()[0]
        devices = arm.tree.holding(id).below[DEVICE_WORDS]
        kept = devices.get(id).document
        rig.http.when(
            lists_devices,
            before=lambda _: devices.remove(id),
            after=lambda _: devices.put(id, kept, at=rig.clock.now().timestamp()) and None,
        )
        rig.http.when(is_write, before=refused(403))
        rig.declarations = [declare({"group": "Prototypes/P1"}, where=f"id = '{id}'")]
        for _ in range(3):
            sent = rig.http.count(is_write)
            with contextlib.suppress(AuthError):
                await rig.cycle(write=True)
            assert rig.http.count(is_write) == sent + 1
            assert id in rig.ids()
