import asyncio
from collections.abc import Awaitable

import pytest

from fleetsync.daemon.turns import Turn
from fleetsync.errors import NotYetError
from fleetsync.reconcile.progress import Progress, silent
from tests.fakes.clock import FakeClock, settle

STEP = Progress(source="plant", step="listing device", done=1)
GRACE_S = 3.0


async def test_one_after_the_other_has_the_turn() -> None:
    turn, order = Turn(), list[str]()

    async def work(name: str) -> None:
        async with turn.taken():
            order.append(f"{name} begins")
            await settle_once()
            order.append(f"{name} ends")

    async with asyncio.TaskGroup() as group:
        group.create_task(work("one"))
        group.create_task(work("other"))

    assert order == ["one begins", "one ends", "other begins", "other ends"]


async def settle_once() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_runs_ends_at_its_next_step_and_what_waits_does_not_begin() -> None:
    turn, clock = Turn(), FakeClock()
    steps, go_on = list[Progress](), asyncio.Event()
    report = turn.watched(steps.append)

    async def running() -> None:
        async with turn.taken():
            await go_on.wait()
            report(STEP)
            raise AssertionError("it went on after the step")

    async def waiting() -> None:
        async with turn.taken():
            raise AssertionError("it began")

    async with asyncio.TaskGroup() as group:
        first = group.create_task(running())
        second = group.create_task(expecting_not_yet(waiting()))
        await settle()
        ending = group.create_task(turn.end(clock, grace_s=GRACE_S))
        await settle()
        assert not ending.done()
        go_on.set()

    assert first.cancelled()
    assert second.result()
    assert steps == [STEP]
    assert clock.monotonic_s() == 0.0


async def expecting_not_yet(work: Awaitable[None]) -> bool:
    with pytest.raises(NotYetError, match="try again"):
        await work
    return True


async def test_what_hangs_is_cancelled_when_its_grace_is_over() -> None:
    turn, clock = Turn(), FakeClock()

    async def hanging() -> None:
        async with turn.taken():
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(hanging())
        await settle()
        group.create_task(turn.end(clock, grace_s=GRACE_S))
        await clock.advance(GRACE_S - 0.1)
        assert not task.done()
        await clock.advance(0.2)
        assert task.cancelled()


async def test_before_the_end_every_step_goes_on_and_is_heard_of() -> None:
    turn, steps, heard = Turn(), list[Progress](), list[str]()
    turn.on_step = lambda: heard.append("step")

    turn.watched(steps.append)(STEP)

    assert steps == [STEP]
    assert heard == ["step"]


async def test_who_waits_for_a_paused_source_is_woken_by_the_resuming() -> None:
    turn, paused, looks = Turn(), [True], list[bool]()

    async def is_paused() -> bool:
        looks.append(paused[0])
        return paused[0]

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(turn.while_paused(is_paused))
        await settle()
        turn.wake()
        await settle()
        assert not waiting.done()
        paused[0] = False
        turn.wake()

    assert looks == [True, True, False]


async def test_who_waits_for_a_paused_source_does_not_hold_up_the_end() -> None:
    turn = Turn()

    async def is_paused() -> bool:
        return True

    async with asyncio.TaskGroup() as group:
        group.create_task(turn.while_paused(is_paused))
        await settle()
        await turn.end(FakeClock(), grace_s=GRACE_S)


async def test_a_group_of_writers_ends_one_by_one_each_after_its_own_write() -> None:
    turn, done = Turn(), list[int]()
    report = turn.watched(silent)
    writes = [asyncio.Event() for _ in range(3)]

    async def writer(number: int) -> None:
        await writes[number].wait()
        done.append(number)
        report(STEP)
        raise AssertionError("another write was begun")

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(writer(number))
        await settle()
        turn.is_ending = True
        for write in writes:
            write.set()
            await settle()

    assert done == [0, 1, 2]


async def test_a_rest_is_over_in_time_or_when_somebody_ends_it() -> None:
    turn, clock = Turn(), FakeClock()
    turn.end_rest(is_due=False)
    async with asyncio.TaskGroup() as group:
        rests = group.create_task(turn.rested(clock, 60.0))
        await settle()
        await clock.advance(59.0)
        assert not rests.done()
        await clock.advance(1.0)
        assert await rests

        cut_short = group.create_task(turn.rested(clock, 60.0))
        await settle()
        turn.end_rest(is_due=False)
        assert not await cut_short

        due = group.create_task(turn.rested(clock, 60.0))
        await settle()
        turn.end_rest(is_due=True)
        assert await due
        turn.end_rest(is_due=False)
