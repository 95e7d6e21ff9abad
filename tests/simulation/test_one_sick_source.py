"""One source that does not answer, in every class of fault, beside one that is well: the real process, virtual time."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from tests.simulation.place_central import Central
from tests.simulation.run import Stage
from tests.simulation.world import World

MINUTE_S = 60.0
BEGINS_S, ENDS_S, OVER_S = 10 * MINUTE_S, 75 * MINUTE_S, 110 * MINUTE_S
SOURCES = "SELECT name, state, fault, fault_since, probe_at, error FROM sources ORDER BY name"


class Even(Random):
    """No chance at all: what two histories have in common happens in both at the same instants."""

    def random(self) -> float:
        return 0.5


@dataclass
class Seen:
    """What became of one history; instants are seconds of the world."""

    well_at_s: list[float] = field(default_factory=list)
    """When requests left for the source that is well."""
    sick_at_s: list[float] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    """What the log says of sources that break and heal."""
    during: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    after: dict[str, tuple[Any, ...]] = field(default_factory=dict)


def watch(staged: Stage, go_wrong: Callable[[Any], None]) -> Seen:
    """Let two sources be minded for two hours; the second of them is sick for one."""
    seen = Seen()
    with staged.set(3, (Central, Central)) as world:
        _, sick = world.places
        world.network.random = Even()
        noting(world, seen)
        process = world.start()
        process.clock._random = Even()
        world.agenda.at(BEGINS_S, lambda: go_wrong(sick))

        def recover() -> None:
            sick.go_wrong("")
            sick.weather.mishaps.clear()

        process.run(ENDS_S - 1.0)
        seen.during = {name: rest for name, *rest in process.rows(SOURCES)}
        world.agenda.at(ENDS_S, recover)
        process.run(OVER_S)
        seen.after = {name: rest for name, *rest in process.rows(SOURCES)}
        lines = [json.loads(line) for line in world.log]
        seen.changes = [line for line in lines if line["event"] in ("source.down", "source.up")]
        assert world.verdicts.violations == []
    return seen


def noting(world: World, seen: Seen) -> None:
    leaves = world.network.watchers.leaves

    def note(exchange: Any) -> None:
        at_s = seen.well_at_s if exchange.place is world.places[0] else seen.sick_at_s
        at_s.append(world.agenda.now_s)
        leaves(exchange)

    world.network.watchers.leaves = note


def answers(faults: str) -> Callable[[Any], None]:
    return lambda place: place.go_wrong(faults)


def unreachable(place: Any) -> None:
    place.weather.mishaps = {"refused": 1.0}


@pytest.fixture(scope="module")
def healthy(staged: Stage) -> Seen:
    return watch(staged, lambda _: None)


@pytest.mark.parametrize(
    ("fault", "state", "go_wrong", "most"),
    [
        ("sign-in", "refused", answers("status=401"), 40),
        ("sign-in", "refused", answers("status=403"), 80),
        ("service", "down", answers("status=503"), 60),
        ("network", "down", unreachable, 60),
        ("throttle", "throttled", answers("retry-after=900"), 30),
    ],
)
def test_it_is_left_alone_said_once_and_slows_nobody(
    staged: Stage, healthy: Seen, fault: str, state: str, go_wrong: Callable[[Any], None], most: int
) -> None:
    seen = watch(staged, go_wrong)
    assert healthy.changes == []
    assert len(healthy.well_at_s) > 40
    assert seen.well_at_s == healthy.well_at_s

    assert [(line["event"], line["source"]) for line in seen.changes] == [
        ("source.down", "iotcentral1"),
        ("source.up", "iotcentral1"),
    ]
    assert seen.changes[0]["fault"] == fault

    found, found_fault, since, probe_at, error = seen.during["iotcentral1"]
    assert (found, found_fault) == (state, fault)
    assert "2026-11-21T18:10:00" <= since < "2026-11-21T18:13:00"
    assert probe_at > "2026-11-21T19:14"
    assert error
    assert seen.during["iotcentral0"] == seen.after["iotcentral0"] == ["up", None, None, None, None]
    assert seen.after["iotcentral1"] == ["up", None, None, None, None]

    sent = [at_s for at_s in seen.sick_at_s if BEGINS_S <= at_s < ENDS_S]
    assert len(sent) <= most
    assert min(at_s for at_s in seen.sick_at_s if at_s >= ENDS_S) < ENDS_S + 33 * MINUTE_S


@pytest.mark.parametrize(("lives_s", "most"), [(7.0, 2), (20.0, 40)])
def test_who_crashes_again_and_again_does_not_hammer(staged: Stage, lives_s: float, most: int) -> None:
    """Without a memory of what is wrong each of the forty lives would send four requests."""
    with staged.set(3, (Central,)) as world:
        seen = Seen()
        noting(world, seen)
        [place] = world.places
        place.go_wrong("status=503")
        world.start().run(60.0)
        for number in range(40):
            assert world.process is not None
            world.process.kill()
            world.bury()
            world.start().run(60.0 + (number + 1) * lives_s)
        assert sum(at_s > 60.0 for at_s in seen.well_at_s) <= most
