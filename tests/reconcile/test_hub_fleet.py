"""IoT Hub with many devices: what a lag, an operator and the limits of a tier do to a whole fleet.

    DEVICES=50000 pytest tests/reconcile/test_hub_fleet.py

takes as many devices as it says; the default keeps the test run short.
"""

import os
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from fleetsync.core.merge_patch import same
from fleetsync.core.plan import Result
from tests.fakes.http import is_write
from tests.fakes.inline import run_inline
from tests.reconcile.rig import HUB, HUB_OPTIONS, Rig, declare, mirrored, true

DEVICES = int(os.environ.get("DEVICES", "2000"))


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    run_inline(monkeypatch)


def big(make: Callable[..., Rig], **options: Any) -> Rig:
    return make(settings=HUB, **HUB_OPTIONS | {"hub_devices": DEVICES, "hub_page_size": 100} | options)


def assert_equal_row_by_row(rig: Rig) -> None:
    found, truth = mirrored(rig), true(rig)
    assert found.keys() == truth.keys()
    for id, document in truth.items():
        assert same(found[id], document), id


async def test_two_hundred_devices_come_go_and_are_made_anew_while_the_index_lags(make: Callable[..., Rig]) -> None:
    rig = big(make, index_lag_s=60.0)
    hub, dice = rig.cloud.hub, Random(7)
    async with rig.opened():
        await rig.cycle()
        began = len(hub.happenings())
        victims = dice.sample(sorted(rig.truth()), 200)
        acts: list[Callable[[], None]] = []
        for number, id in enumerate(victims):
            match number % 4:
                case 0:
                    acts.append(lambda id=id: hub.delete_device(id))  # type: ignore[misc]
                case 1:
                    acts.append(lambda id=id: hub.recreate_device(id))  # type: ignore[misc]
                case 2:
                    acts.append(lambda id=id: hub.recreate_device(id, {"tags": {"a": 1}}))  # type: ignore[misc]
                case _:
                    acts.append(lambda number=number: hub.add_device(f"new-{number}"))  # type: ignore[misc]
        # They happen while a cycle lists, one with every page or so, on the same clock.
        waiting = iter(acts)
        rig.http.latency_s = 0.5
        for act in waiting:
            act()
            if dice.random() < 0.05:
                await rig.cycle()
        rig.http.latency_s = 0.0
        await rig.clock.advance(120)  # by now the index has settled
        await rig.cycle()
        await rig.cycle()

        assert_equal_row_by_row(rig)
        log = hub.happenings()[began:]
        events = [(id, event) for id, event in rig.events() if event in ("gone", "replaced")]
        deleted = {one.device_id for one in log if one.what == "deleted"} - set(rig.truth())
        assert {id for id, event in events if event == "gone"} == deleted
        made_anew = {one.device_id for one in log if one.what == "recreated"}
        assert {id for id, event in events if event == "replaced"} == made_anew
        assert len(events) == len(set(events)) == len(deleted) + len(made_anew) == 150


async def test_neither_side_loses_a_write_while_an_operator_edits_what_we_write(make: Callable[..., Rig]) -> None:
    rig = big(make)
    hub, dice = rig.cloud.hub, Random(7)
    rig.declarations = [
        declare({"tags": {"wave": "3"}, "properties": {"desired": {"telemetry": {"intervalS": 45}}}}, "wave"),
        declare({"status": "enabled"}, "on", where="NOT enabled"),
    ]
    edits: dict[str, dict[str, Any]] = {}

    def interfere(request: Any) -> None:
        """Edit a twentieth of the devices right before their write arrives."""
        id = next(iter(request.url.split("?")[0].rsplit("/", 1)[1:]))
        if dice.random() < 0.05 and id not in edits:
            number = len(edits)
            edits[id] = {"tags": {"ticket": number}, "properties": {"desired": {"owner": f"operator {number}"}}}
            hub.operator_edit(id, edits[id])

    rig.http.latency_s = 0.01
    async with rig.opened():
        await rig.cycle()
        rig.http.when(is_write, before=interfere)
        done = await rig.cycle(write=True)
        rig.http.heal()

        assert {outcome.result for outcome in done.outcomes} == {Result.APPLIED}
        assert len(edits) > DEVICES / 40
        truth = rig.truth()
        for id, twin in truth.items():
            assert (twin["tags"]["wave"], twin["properties"]["desired"]["telemetry"]["intervalS"]) == ("3", 45)
            assert twin["status"] == "enabled"
            if id in edits:
                assert twin["tags"]["ticket"] == edits[id]["tags"]["ticket"]
                assert twin["properties"]["desired"]["owner"] == edits[id]["properties"]["desired"]["owner"]
        books = rig.cloud.counters
        assert books.if_match_unquoted == books.if_match_star == books.if_match_missing == 0
        assert books.if_match_stale == len(edits)
        assert all(write.changed for write in rig.carried_out())
        assert_equal_row_by_row(rig)

        sent = len(rig.writes())
        again = await rig.cycle(write=True)
        assert again.plan is not None
        assert again.plan.is_empty
        assert len(rig.writes()) == sent


async def test_the_limits_of_a_tier_are_used_and_never_met(make: Callable[..., Rig]) -> None:
    rig = big(make, hub_devices=1000, hub_tier="S1")
    rig.limit_rates()
    rig.http.latency_s = 0.08
    rig.declarations = [declare({"tags": {"wave": "3"}})]
    async with rig.opened():
        await rig.cycle()
        done = await rig.cycle(write=True)
    assert len(done.outcomes) == 1000
    assert rig.cloud.counters.throttled == 0
    at = [write.at for write in rig.carried_out()]
    assert (len(at) - 1) / (at[-1] - at[0]) >= 0.97 * 50 * 0.6
