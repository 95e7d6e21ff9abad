import asyncio
import datetime
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from fleetsync.config.settings import Limits, Mode
from fleetsync.core.breaker import FaultClass, StoredBreaker
from fleetsync.core.model import DEVICE, ResourceType
from fleetsync.daemon.health import Health
from fleetsync.daemon.heartbeats import SILENCE_S, Heartbeats
from fleetsync.daemon.loop import Charge, Loop, Surroundings, attempt
from fleetsync.daemon.turns import Turn
from fleetsync.errors import BrokenMirrorError, ThrottledError
from fleetsync.reconcile.listing import MOST_SECONDS
from fleetsync.transport.breaking import Circuit
from fleetsync.transport.http import Request
from tests.daemon.conftest import Said
from tests.daemon.rig import PATIENCE_S, Plant, Rig, declare
from tests.fakes.clock import START, settle, until
from tests.fakes.http import is_write, refused

INTERVAL_S = 300.0
GROUP = ResourceType("device-group")


@dataclass
class Running:
    """A loop at work."""

    rig: Rig
    turn: Turn
    heartbeats: Heartbeats
    health: Health
    steps: "asyncio.Queue[None]"

    async def next_step(self) -> None:
        """Wait until the cycle reports a step that has not been asked for yet."""
        async with asyncio.timeout(PATIENCE_S):
            await self.steps.get()

    async def next_pause(self) -> float:
        """Return how long the loop rests now, and let that time pass."""
        wait_s = await self.rig.clock.nap()
        await self.rig.clock.advance(wait_s)
        return wait_s


def nobody(_: str) -> None:
    """Nobody waits for this source."""


@asynccontextmanager
async def looping(rig: Rig, plant: Plant) -> AsyncIterator[Running]:
    """Run the loop of one source for the block."""
    heartbeats, turn = Heartbeats(rig.clock), Turn()
    health = Health(lambda _: None)
    health.watch((plant.name,))
    steps: asyncio.Queue[None] = asyncio.Queue()

    def step() -> None:
        heartbeats.heard(plant.name)
        steps.put_nowait(None)

    turn.on_step = step
    around = Surroundings(mirror=rig.mirror, clock=rig.clock, heartbeats=heartbeats, health=health, listed=nobody)
    charge = Charge(
        settings=plant.settings,
        make_job=partial(rig.job, plant),
        circuit=plant.circuit,
        expires_at=lambda: plant.expires_at,
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(Loop(charge, turn, around).run())
        yield Running(rig, turn, heartbeats, health, steps)
        task.cancel()


def throttled(retry_after_s: float | None) -> Callable[[Request], None]:
    def throttle(_: Request) -> None:
        raise ThrottledError("busy", retry_after_s=retry_after_s)

    return throttle


# When


async def test_the_first_cycle_comes_within_seconds_and_the_next_at_the_interval(rig: Rig) -> None:
    plant = await rig.add("plant")

    async with looping(rig, plant) as running:
        assert 0.0 < await running.next_pause() < 5.0
        for _ in range(3):
            assert INTERVAL_S * 0.9 <= await running.next_pause() <= INTERVAL_S * 1.1

    assert rig.cycles("plant")[:3] == ["done", "done", "done"]


async def test_the_interval_counts_from_the_end_of_a_cycle(rig: Rig) -> None:
    plant = await rig.add("plant")

    async with looping(rig, plant) as running:
        plant.door.close()
        await running.next_pause()
        await plant.door.arrived()
        await rig.clock.advance(10 * INTERVAL_S)
        assert rig.cycles("plant") == ["running"]
        plant.door.open()
        assert await rig.clock.nap() >= INTERVAL_S * 0.9


async def test_when_the_next_cycle_is_due_stands_in_the_mirror(rig: Rig) -> None:
    plant = await rig.add("plant")

    async with looping(rig, plant) as running:
        first_s = await running.next_pause()
        wait_s = await rig.clock.nap()

    (due,) = rig.rows("SELECT next_due_at FROM sources")[0]
    expected = START + datetime.timedelta(seconds=first_s + wait_s)
    assert abs(datetime.datetime.fromisoformat(due) - expected) < datetime.timedelta(milliseconds=2)


async def test_a_broken_source_is_tried_again_sooner_then_ever_later_and_healed_at_its_interval(rig: Rig) -> None:
    plant = await rig.add("plant")
    plant.http.when(lambda _: True, before=refused(503))

    async with looping(rig, plant) as running:
        await running.next_pause()
        pauses = [await running.next_pause() for _ in range(4)]
        plant.http.heal()
        await running.next_pause()
        healed_s = await rig.clock.nap()
        plant.http.when(lambda _: True, before=refused(503))
        await rig.clock.advance(healed_s)
        broken_again_s = await rig.clock.nap()

    for found_s, expected_s in zip(pauses, (15.0, 30.0, 60.0, 120.0), strict=True):
        assert expected_s * 0.9 <= found_s <= expected_s * 1.1
    assert INTERVAL_S * 0.9 <= healed_s <= INTERVAL_S * 1.1
    assert broken_again_s < 17.0


async def test_a_type_that_is_refused_makes_no_other_wait_for_longer_than_the_interval(rig: Rig) -> None:
    plant = await rig.add("plant", resources=(DEVICE, GROUP))
    plant.http.when(lambda request: "/deviceGroups" in request.url, before=refused(403))

    async with looping(rig, plant) as running:
        await running.next_pause()
        pauses = [await running.next_pause() for _ in range(5)]

    for found_s, expected_s in zip(pauses, (75.0, 150.0, 300.0, 300.0, 300.0), strict=True):
        assert expected_s * 0.9 <= found_s <= expected_s * 1.1


async def test_a_service_that_names_a_time_is_not_asked_before(rig: Rig) -> None:
    plant = await rig.add("plant")
    plant.http.when(lambda _: True, before=throttled(5000.0), times=1)

    async with looping(rig, plant) as running:
        await running.next_pause()
        assert 5000.0 <= await running.next_pause() <= 5005.0


async def test_a_short_time_that_a_service_names_is_no_reason_to_hurry(rig: Rig) -> None:
    plant = await rig.add("plant")
    plant.http.when(lambda _: True, before=throttled(1.0), times=1)

    async with looping(rig, plant) as running:
        await running.next_pause()
        assert await running.next_pause() >= 67.0


async def test_what_waits_for_a_person_is_not_tried_more_often(rig: Rig) -> None:
    plant = await rig.add("plant", mode=Mode.ENFORCE, limits=Limits(max_writes=0.1, min_known=1))
    rig.declarations = [declare("wish", "as declared")]

    async with looping(rig, plant) as running:
        await running.next_pause()
        for _ in range(3):
            assert INTERVAL_S * 0.9 <= await running.next_pause() <= INTERVAL_S * 1.1

    assert set(rig.cycles("plant")) == {"refused"}
    assert plant.http.count(is_write) == 0


# What


@pytest.mark.parametrize(("mode", "writes"), [(Mode.OBSERVE, 0), (Mode.MANUAL, 0), (Mode.ENFORCE, 6)])
async def test_the_daemon_writes_only_where_it_may(rig: Rig, mode: Mode, writes: int) -> None:
    plant = await rig.add("plant", mode=mode)
    rig.declarations = [declare("wish", "as declared")]

    async with looping(rig, plant) as running:
        await running.next_pause()
        await rig.clock.nap()

    assert plant.http.count(is_write) == writes


async def test_a_source_that_breaks_and_heals_is_said_once_each(rig: Rig, said: Said) -> None:
    plant = await rig.add("plant")
    plant.http.when(lambda _: True, before=refused(503))

    async with looping(rig, plant) as running:
        for _ in range(4):
            await running.next_pause()
        plant.http.heal()
        for _ in range(3):
            await running.next_pause()

    changes = [line["event"] for line in said if line["event"].startswith("source.")]
    assert changes == ["source.down", "source.up"]


async def test_what_an_earlier_process_found_to_be_wrong_is_said_at_the_start_and_healed_by_the_probe(
    rig: Rig, said: Said
) -> None:
    plant = await rig.add("plant")
    left = StoredBreaker(
        fault=FaultClass.SIGN_IN, since=START, error="401", openings=3, probe_at=START + datetime.timedelta(minutes=9)
    )
    plant.circuit = Circuit(rig.clock, left)

    async with looping(rig, plant) as running:
        assert 50.0 < await rig.clock.nap() < 70.0
        assert [(line["event"], line["reason"], line["fault"]) for line in said] == [
            ("source.down", "refused", "sign-in")
        ]
        assert "401" in said[0]["error"]
        await rig.clock.advance(70.0)
        await running.next_pause()

    assert [line["event"] for line in said] == ["source.down", "cycle.finished", "source.up"]


async def test_a_mistake_of_ours_does_not_end_the_loop(rig: Rig, said: Said) -> None:
    plant = await rig.add("plant")

    def mistake(_: object) -> None:
        raise ZeroDivisionError("a mistake")

    plant.http.when(lambda _: True, before=mistake, times=1)

    async with looping(rig, plant) as running:
        for _ in range(2):
            await running.next_pause()
        await rig.clock.nap()

    assert [line["event"] for line in said if line["event"] != "cycle.finished"] == [
        "program.failed",
        "source.down",
        "source.up",
    ]
    assert rig.rows("SELECT last_complete_at IS NOT NULL FROM sources") == [(1,)]


async def test_the_end_of_a_credential_is_said_before_the_first_cycle(rig: Rig, said: Said) -> None:
    plant = await rig.add("plant")
    plant.expires_at = START + datetime.timedelta(days=5)

    async with looping(rig, plant):
        await rig.clock.nap()

    assert [(line["event"], line["source"], line["reason"]) for line in said] == [
        ("token.expires", "plant", "ends within 7 days")
    ]


# Pauses


async def test_a_paused_source_is_left_alone_and_goes_on_at_once_when_it_is_resumed(rig: Rig) -> None:
    plant = await rig.add("plant")
    await rig.mirror.cycles.set_paused("plant", paused=True)

    async with looping(rig, plant) as running:
        await running.next_pause()
        await until(lambda: rig.clock.sleepers == 0)
        await rig.clock.advance(100 * SILENCE_S)
        assert plant.http.requests == 0
        assert running.heartbeats.late() == ()

        before_s = rig.clock.monotonic_s()
        await rig.mirror.cycles.set_paused("plant", paused=False)
        running.turn.wake()
        await rig.clock.nap()
        assert rig.clock.monotonic_s() == before_s
        assert rig.cycles("plant") == ["done"]


# Who watches


async def test_every_page_of_a_long_listing_is_heard_of(rig: Rig) -> None:
    plant = await rig.add("plant", page_size=1)
    plant.http.latency_s = SILENCE_S - 10.0

    async with looping(rig, plant) as running:
        await running.next_pause()
        for _ in range(5):
            await running.next_pause()
            await rig.clock.advance(MOST_SECONDS)
            await running.next_step()
            assert running.heartbeats.late() == ()

    assert rig.clock.monotonic_s() > 4 * SILENCE_S


async def test_a_cycle_that_hangs_is_late_in_the_end(rig: Rig) -> None:
    plant = await rig.add("plant")

    async with looping(rig, plant) as running:
        plant.door.close()
        await running.next_pause()
        await plant.door.arrived()
        await rig.clock.advance(SILENCE_S)
        assert running.heartbeats.late() == ()
        await rig.clock.advance(61)
        assert running.heartbeats.late() == ("plant",)


async def test_a_loop_ends_when_there_are_no_more_turns(rig: Rig) -> None:
    plant = await rig.add("plant")

    async with looping(rig, plant) as running:
        wait_s = await rig.clock.nap()
        await running.turn.end(rig.clock, grace_s=3.0)
        await rig.clock.advance(wait_s)
        await settle()

    assert plant.http.requests == 0


# The isolation


async def failing(error: BaseException) -> int:
    raise error


async def test_what_comes_back_from_an_attempt_is_the_result_or_our_own_error(said: Said) -> None:
    async def work() -> int:
        return 7

    error = ThrottledError("busy")

    assert await attempt(work()) == 7
    assert await attempt(failing(error)) is error
    assert said == []


async def test_an_error_without_end_is_cut() -> None:
    found = await attempt(failing(ValueError("x" * 10_000)))

    assert len(str(found)) == 256


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt()])
async def test_who_wants_to_stop_is_not_held_up(error: BaseException) -> None:
    with pytest.raises(type(error)):
        await attempt(failing(error))


async def test_a_database_that_failed_is_not_kept_from_the_process_also_out_of_a_group() -> None:
    async def fail() -> None:
        raise BrokenMirrorError("the database failed")

    async def fail_in_a_group() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    for work in (fail, fail_in_a_group):
        with pytest.raises(BrokenMirrorError, match="failed"):
            await attempt(work(), source="plant")
