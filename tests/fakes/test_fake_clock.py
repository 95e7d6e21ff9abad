import asyncio
import datetime

import pytest

from tests.fakes.clock import START, FakeClock


async def test_sleepers_wake_in_order_each_at_its_own_time():
    clock, woken = FakeClock(), []

    async def sleeper(seconds):
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic_s()))

    async def work():
        async with asyncio.TaskGroup() as group:
            for seconds in (3.0, 1.0, 86_400.0, 2.0):
                group.create_task(sleeper(seconds))

    await clock.run(work())
    assert woken == [(s, s) for s in (1.0, 2.0, 3.0, 86_400.0)]
    assert clock.sleepers == 0


async def test_advance_stops_where_it_should():
    clock = FakeClock()
    async with asyncio.TaskGroup() as group:
        short, long = group.create_task(clock.sleep(1)), group.create_task(clock.sleep(10))
        await clock.advance(5)
        assert (short.done(), long.done(), clock.monotonic_s()) == (True, False, 5.0)
        assert clock.now() == START + datetime.timedelta(seconds=5)
        await clock.advance(5)
        assert long.done()


async def test_a_timeout_is_virtual_and_nests():
    clock = FakeClock()

    async def hang():
        async with clock.timeout(100), clock.timeout(None), clock.timeout(200):
            await asyncio.Event().wait()

    async def work():
        with pytest.raises(TimeoutError):
            await hang()
        assert clock.monotonic_s() == 100.0
        async with clock.timeout(5):
            await clock.sleep(4)

    await clock.run(work())
    assert clock.monotonic_s() == 104.0
    assert clock.sleepers == 0


async def test_a_cancelled_sleeper_is_forgotten():
    clock = FakeClock()
    sleeping = asyncio.create_task(clock.sleep(10))
    await clock.advance(1)
    sleeping.cancel()
    await asyncio.gather(sleeping, return_exceptions=True)
    assert clock.sleepers == 0


async def test_the_wall_clock_steps_and_monotonic_time_does_not():
    clock = FakeClock()
    clock.step(-86_400)
    assert clock.now() == START - datetime.timedelta(days=1)
    assert clock.monotonic_s() == 0.0


async def test_run_waits_for_threads_where_nobody_sleeps():
    clock = FakeClock()
    assert await clock.run(asyncio.to_thread(lambda: 42)) == 42


async def test_run_raises_what_the_work_raises_and_leaves_nothing_behind():
    async def work():
        raise LookupError

    with pytest.raises(LookupError):
        await FakeClock().run(work())


async def test_the_same_seed_throws_the_same_dice():
    assert [FakeClock(seed=3).jitter() for _ in range(2)] == [FakeClock(seed=3).jitter()] * 2
