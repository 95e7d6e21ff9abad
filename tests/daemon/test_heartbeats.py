import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from fleetsync.daemon.heartbeats import SILENCE_S, Heartbeats, feed_watchdog
from tests.daemon.conftest import Said
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def heartbeats(clock: FakeClock) -> Heartbeats:
    return Heartbeats(clock)


@asynccontextmanager
async def feeding(heartbeats: Heartbeats, clock: FakeClock) -> AsyncIterator[Callable[[], int]]:
    """Feed a watchdog every minute, and give what counts the meals since the last count."""
    fed: list[str] = []

    def count() -> int:
        meals = len(fed)
        fed.clear()
        return meals

    async with asyncio.TaskGroup() as group:
        task = group.create_task(feed_watchdog(heartbeats, fed.append, clock, every_s=60.0))
        yield count
        task.cancel()


async def test_who_is_not_heard_of_in_time_is_late(heartbeats: Heartbeats, clock: FakeClock) -> None:
    heartbeats.expect("plant", 300.0)
    heartbeats.expect("mill", 3000.0)

    await clock.advance(359)
    assert heartbeats.late() == ()
    await clock.advance(2)
    assert heartbeats.late() == ("plant",)


async def test_every_step_gives_time_for_another(heartbeats: Heartbeats, clock: FakeClock) -> None:
    heartbeats.expect("plant", SILENCE_S)

    for _ in range(20):
        await clock.advance(SILENCE_S - 1)
        heartbeats.heard("plant")

    assert heartbeats.late() == ()


async def test_a_step_of_a_command_does_not_call_a_sleeper_earlier(heartbeats: Heartbeats, clock: FakeClock) -> None:
    heartbeats.expect("plant", 10 * SILENCE_S)
    heartbeats.heard("plant")

    await clock.advance(2 * SILENCE_S)

    assert heartbeats.late() == ()


async def test_nothing_is_expected_of_a_paused_source(heartbeats: Heartbeats, clock: FakeClock) -> None:
    heartbeats.expect("plant", 10.0)
    heartbeats.release("plant")
    heartbeats.heard("plant")

    await clock.advance(100 * SILENCE_S)

    assert heartbeats.late() == ()


async def test_the_watchdog_is_fed_while_nobody_is_late(heartbeats: Heartbeats, clock: FakeClock) -> None:
    heartbeats.expect("plant", 10_000.0)

    async with feeding(heartbeats, clock) as fed:
        await clock.advance(600)
        assert fed() == 10


async def test_a_task_that_hangs_stops_the_feeding_and_is_named_once(
    heartbeats: Heartbeats, clock: FakeClock, said: Said
) -> None:
    heartbeats.expect("plant", 200.0)
    heartbeats.expect("mill", 10_000.0)

    async with feeding(heartbeats, clock) as fed:
        await clock.advance(250)
        fed()
        await clock.advance(600)
        assert fed() == 0
        assert [(line["event"], line["reason"]) for line in said] == [
            ("watchdog.starved", "not heard of in time: plant")
        ]
        heartbeats.expect("plant", 10_000.0)
        await clock.advance(60)
        assert fed() == 1


async def test_ten_minutes_of_suspend_make_nobody_late(said: Said) -> None:
    suspends = iter([0.0, 600.0])
    clock = FakeClock(oversleep=lambda: next(suspends, 0.0))
    heartbeats = Heartbeats(clock)
    heartbeats.expect("plant", 200.0)

    async with feeding(heartbeats, clock) as fed:
        await clock.advance(60 + 660 + 60)
        assert fed() == 3
    assert said == []
