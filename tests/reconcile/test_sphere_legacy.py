"""Moving 200 simulated Azure Sphere devices: some fail, some end with errors, somebody else moves too, and kill -9."""

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetsync.config.settings import WeakestGuard
from fleetsync.core.model import DEVICE, ResourceType
from fleetsync.providers import sphere_legacy
from fleetsync.simulator.sphere_fleet import tenant_id
from fleetsync.transport.http import Request
from tests.fakes.http import Killed, is_write
from tests.reconcile.rig import SOURCE, Rig, declare

SEED = 3
SPHERE = replace(
    SOURCE,
    kind=sphere_legacy.KIND,
    url="http://127.0.0.1:8082",
    own=sphere_legacy.Settings(tenant=tenant_id(SEED)),
    resources=(ResourceType("device-group"), DEVICE),
)
OPTIONS: dict[str, Any] = {
    "kinds": ("sphere-legacy",),
    "seed": SEED,
    "sphere_devices": 200,
    "sphere_rate": "none",
    "sphere_fail_share": 0.03,
    "sphere_errors_share": 0.02,
}


def rigged(make: Callable[..., Rig], **options: Any) -> Rig:
    """Return a tenant where every device is declared to be in a group that none is in."""
    rig = make(settings=SPHERE, **OPTIONS | options)
    rig.declarations = [declare({"group": target(rig)})]
    return rig


def target(rig: Rig) -> str:
    found: str = rig.cloud.sphere.tenant.group_named("Prototypes", "P1").id
    return found


def groups(rig: Rig) -> dict[str, str | None]:
    return {str(one["DeviceId"]).lower(): one["DeviceGroupId"] for one in rig.cloud.sphere.truth()}


async def test_every_device_is_moved_or_reported_in_the_services_own_words(make: Callable[..., Rig]) -> None:
    rig = rigged(make)
    async with rig.opened():
        done = await rig.cycle(write=True)

        moves = {move.device_id: move for move in rig.cloud.sphere.moves()}
        assert len(moves) == len(rig.cloud.sphere.moves()) == 200
        assert {move.state for move in moves.values()} == {2, 3, 4}
        reported = {
            id: (outcome, error) for id, outcome, error in rig.rows("SELECT resource_id, outcome, error FROM writes")
        }
        busy = "failed: Conflict: The device is being updated by another operation."
        half = (
            "completed with errors: OperationFailed: The device group was set; its deployment could not be looked up."
        )
        for id, move in moves.items():
            expected = {
                (2, True): ("applied", None),
                (3, False): ("failed", busy),
                (4, True): ("applied", half),
                (4, False): ("failed", half),
            }
            assert reported[id] == expected[move.state, move.changed]
        there = groups(rig)
        assert dict(rig.rows("SELECT id, group_id FROM devices")) == there
        assert {id for id, group in there.items() if group != target(rig)} == {
            id for id, (outcome, _) in reported.items() if outcome == "failed"
        }
        assert done.counts.applied + done.counts.failed == 200
        assert rig.rows("SELECT guard, COUNT(*) FROM writes GROUP BY 1") == [("reread", 200)]


async def test_a_second_cycle_moves_none_that_is_there_and_no_check_in_is_news(make: Callable[..., Rig]) -> None:
    rig = rigged(make, sphere_devices=20, sphere_fail_share=0.0, sphere_errors_share=0.0)
    async with rig.opened():
        await rig.cycle(write=True)
        await rig.cycle(write=True)
        before = rig.content()
        for id in groups(rig):
            rig.cloud.sphere.check_in(id)
        # What a check-in changes besides its time is news once.
        await rig.cycle(write=True)
        events = rig.events()
        await rig.clock.advance(60)
        for id in groups(rig):
            rig.cloud.sphere.check_in(id)
        await rig.cycle(write=True)
        assert rig.events() == events
        assert rig.content()["writes"] == before["writes"]
    assert len(rig.cloud.sphere.moves()) == 20


async def test_the_guard_has_to_be_allowed(make: Callable[..., Rig]) -> None:
    rig = rigged(make, sphere_devices=5)
    rig.settings = replace(rig.settings, weakest_guard=WeakestGuard.ETAG)
    async with rig.opened():
        await rig.cycle(write=True)
        assert rig.http.count(is_write) == 0
        assert rig.rows("SELECT DISTINCT state FROM drift") == [("held",)]


async def test_what_somebody_else_moved_there_meanwhile_is_left_alone(make: Callable[..., Rig]) -> None:
    rig = rigged(make, sphere_devices=12, sphere_fail_share=0.0, sphere_errors_share=0.0)
    async with rig.opened():
        await rig.cycle()
        ids = sorted(groups(rig))
        # Between the listing and the read that guards the write.
        rig.http.when(
            lambda request: request.url.endswith(f"/devices/{ids[0]}"),
            before=lambda _: rig.cloud.sphere.operator_edit(ids[0], {"DeviceGroupId": target(rig)}) and None,
            times=1,
        )
        await rig.cycle(write=True)
        assert dict(rig.outcomes())[ids[0]] == "already"
        assert {move.device_id for move in rig.cloud.sphere.moves()} == set(ids[1:])


@pytest.mark.parametrize("is_carried_out", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [6, 60, 390, 700])
async def test_a_kill_in_the_middle_moves_none_twice(
    make: Callable[..., Rig], number: int, is_carried_out: bool
) -> None:
    rig = rigged(make)
    survivor = rig.path.with_suffix(".survivor")

    def kill(request: Request) -> None:
        for suffix in ("", "-wal"):
            if Path(f"{rig.path}{suffix}").exists():
                shutil.copyfile(f"{rig.path}{suffix}", f"{survivor}{suffix}")
        raise Killed(request.url)

    rig.http.on(number, **{"after" if is_carried_out else "before": kill})
    with pytest.raises(Killed):
        async with rig.opened():
            await rig.cycle(write=True)
    rig.path = survivor
    rig.http.heal()
    async with rig.opened():
        await rig.cycle(write=True)
        # Intents that may not have left are settled when they cannot be carried out any more.
        await rig.clock.advance(900)
        await rig.cycle(write=True)
        await rig.clock.advance(900)
        await rig.cycle(write=True)

        moves = rig.cloud.sphere.moves()
        there = groups(rig)
        assert max(Counter(move.device_id for move in moves if move.changed).values()) == 1
        undone = Counter(move.device_id for move in moves if not move.changed)
        for id, count in Counter(move.device_id for move in moves).items():
            assert count == undone[id] + (there[id] == target(rig))
        failed = dict(rig.rows("SELECT resource_id, error FROM writes WHERE outcome = 'failed'"))
        assert all(group == target(rig) or id in failed for id, group in there.items())
        assert rig.rows("SELECT COUNT(*) FROM writes WHERE outcome = 'open'") == [(0,)]
        assert rig.rows("SELECT COUNT(*) FROM operation") == [(0,)]
        assert dict(rig.rows("SELECT id, group_id FROM devices")) == there
        assert len(there) == 200
