import time
from typing import Any

import pytest

from fleetsync.simulator import Cloud, Options, SimRequest
from tests.simulator.client import HandClock, HubClient


def made(clock: HandClock, **changes: Any) -> Cloud:
    options = {"kinds": ("iot-hub",), "hub_devices": 30, "life": "busy", "hub_tier": "none"}
    return Cloud(Options(**{**options, **changes}), now=clock)


def lived(*, seed: int, looks: int) -> list[dict]:
    """Return the truth after ten minutes in which somebody looked so often."""
    clock = HandClock()
    cloud = made(clock, seed=seed)
    for _ in range(looks):
        clock.advance(600 / looks)
        cloud.hub.truth()
    return cloud.hub.truth()


@pytest.mark.parametrize("seed", range(3))
def test_life_does_not_depend_on_who_looks(seed: int) -> None:
    assert lived(seed=seed, looks=1) == lived(seed=seed, looks=50)


def test_devices_come_go_come_again_report_connect_and_are_edited(clock: HandClock) -> None:
    cloud = made(clock, hub_devices=200)
    hub = HubClient(cloud=cloud, clock=clock)
    before = {row["deviceId"]: row for row in hub.rows()}
    clock.advance(120)
    after = {row["deviceId"]: row for row in hub.rows()}
    assert {happening.what for happening in cloud.hub.happenings()} == {"created", "deleted", "recreated"}
    assert {happening.by for happening in cloud.hub.happenings()} == {"life"}
    assert before.keys() - after.keys()
    assert after.keys() - before.keys()
    both = [(before[id_], after[id_]) for id_ in before.keys() & after.keys()]
    assert any(old["properties"]["reported"] != new["properties"]["reported"] for old, new in both)
    assert any(old["etag"] != new["etag"] for old, new in both)
    assert any(
        old["connectionState"] != new["connectionState"]
        and (old["version"], old["etag"]) == (new["version"], new["etag"])
        for old, new in both
    )
    assert cloud.counters.operator_edits > 50


def test_an_empty_hub_comes_to_life(clock: HandClock) -> None:
    cloud = made(clock, hub_devices=0)
    clock.advance(10)
    assert cloud.hub.truth()


def test_nothing_happens_when_life_is_off(clock: HandClock) -> None:
    cloud = made(clock, life="off")
    before = cloud.hub.truth()
    clock.advance(86_400)
    assert cloud.hub.truth() == before


def test_the_fleet_follows_from_the_seed_and_is_half_as_large_as_that_beside_it(clock: HandClock) -> None:
    both = ("iot-central", "iot-hub")
    one, same, other = (
        made(clock, seed=seed, kinds=both, hub_devices=None, devices=40, life="off") for seed in (1, 1, 2)
    )
    assert (len(one.hub.truth()), len(one.truth())) == (20, 40)
    assert len(made(clock, hub_devices=None, devices=40, life="off").hub.truth()) == 40
    assert one.hub.truth() == same.hub.truth() != other.hub.truth()


def test_a_twin_is_about_as_large_as_a_real_one(hub: HubClient) -> None:
    [page] = hub.pages("SELECT * FROM devices", most=1)
    assert 1000 < len(page.body) / 25 < 2500


def test_a_large_fleet_is_there_at_once(clock: HandClock) -> None:
    started = time.process_time()
    cloud = made(clock, hub_devices=50_000, life="off")
    page = HubClient(cloud=cloud, clock=clock).query("SELECT * FROM devices")
    assert time.process_time() - started < 3
    assert len(page.json()) == 100


def test_only_what_was_asked_for_is_there(clock: HandClock) -> None:
    cloud = made(clock, life="off")
    assert cloud.truth() == []
    assert cloud.handle(SimRequest(method="GET", target="/api/devices?api-version=2022-07-31")).status == 404
    assert cloud.handle(SimRequest(method="GET", target="/_simulator")).status == 200
