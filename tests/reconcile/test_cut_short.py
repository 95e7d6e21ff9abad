"""Cycles that are cancelled: what was done is stored, and the books say so."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from fleetsync.daemon.turns import Turn
from fleetsync.reconcile.cycle import CLOSING_S, Cycle
from fleetsync.reconcile.progress import Progress
from fleetsync.transport.http import Request
from tests.fakes.clock import settle
from tests.fakes.http import is_list, is_write, lost
from tests.reconcile.rig import Rig, declare
from tests.reconcile.test_apply import NAMED, WARM, one, wants

LAST = "SELECT outcome, complete, listed, requests, error FROM cycles ORDER BY id DESC LIMIT 1"


async def cut_short(rig: Rig, at: str, *, write: bool = True, after: int = 1) -> None:
    """Run a cycle that is told to end when it reports a step like `at` for the so manyth time."""
    turn = Turn()
    seen = 0

    def stop(step: Progress) -> None:
        nonlocal seen
        seen += at in step.step
        turn.is_ending = turn.is_ending or seen == after

    work = Cycle(replace(rig.job(), report=turn.watched(stop)), write=write).run()
    # No time passes: who waits for the database's thread must not be late by a clock that only tests move.
    with pytest.raises(asyncio.CancelledError):
        await work


@contextlib.asynccontextmanager
async def hanging(rig: Rig) -> AsyncIterator["asyncio.Task[object]"]:
    """Give a cycle whose second page never comes."""
    arrived = asyncio.Event()
    rig.layers = lambda http: Hanging(http, arrived)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(Cycle(rig.job(), write=False).run())
        await arrived.wait()
        yield task


class Hanging:
    def __init__(self, http: object, arrived: asyncio.Event) -> None:
        self._http = http
        self._arrived = arrived
        self._pages = 0

    async def send(self, request: Request) -> object:
        self._pages += is_list(request)
        if self._pages == 2:
            self._arrived.set()
            await asyncio.Event().wait()
        return await self._http.send(request)  # type: ignore[attr-defined]


async def test_a_plan_that_was_broken_off_is_not_recorded_as_done(rig: Rig) -> None:
    for number in range(30):
        rig.cloud.add_device(f"one-more-{number:02}")
    wants(rig, declare(NAMED))
    await rig.cycle()

    await cut_short(rig, "writing")

    [(outcome, complete, listed, requests, error)] = rig.rows(LAST)
    assert (outcome, complete, listed) == ("interrupted", 0, 42)
    assert requests == rig.http.requests - 14
    assert error == "cut short by a stop or a reload"
    assert rig.rows("SELECT state, error FROM sources") == [("up", None)], "nothing is wrong with it"


async def test_a_cycle_that_is_cancelled_says_so_however_often_it_is_cancelled(rig: Rig) -> None:
    async with hanging(rig) as task:
        task.cancel()
        while not task.done():
            await asyncio.sleep(0)
            task.cancel()

    assert task.cancelled()
    assert rig.rows("SELECT outcome, complete FROM cycles") == [("interrupted", 0)]


async def test_a_cycle_that_cannot_close_its_books_soon_leaves_that_to_the_next(rig: Rig) -> None:
    assert rig.mirror is not None
    async with hanging(rig) as task, rig.mirror._writer.transaction():
        task.cancel()
        await rig.clock.advance(CLOSING_S)
        await asyncio.wait({task})

    assert task.cancelled()
    assert rig.rows("SELECT outcome FROM cycles") == [("running",)]
    rig.layers = lambda http: http
    await rig.cycle()
    assert rig.rows("SELECT outcome FROM cycles") == [("interrupted",), ("done",)]


async def test_details_that_were_read_by_then_are_kept(rig: Rig) -> None:
    for number in range(30):
        rig.cloud.add_device(f"one-more-{number:02}")
    wants(rig, declare(WARM))

    await cut_short(rig, "details", after=3)

    ((kept,),) = rig.rows("SELECT COUNT(*) FROM resource WHERE details IS NOT NULL")
    assert 3 <= kept < 42
    assert rig.rows(LAST)[0][0] == "interrupted"


async def test_a_stop_while_open_writes_are_settled_keeps_what_is_known_of_them(rig: Rig) -> None:
    wants(rig, declare(NAMED, where=f"id IN ('{one(rig)}', '{one(rig, 1)}')"))
    await rig.cycle()
    rig.http.when(is_write, before=lambda _: rig.http.when(lambda _: True, before=lost), after=lost)
    await rig.cycle(write=True)
    assert {outcome for _, outcome in rig.outcomes()} == {"open"}
    rig.http.heal()
    pages = rig.http.count(is_list)

    await cut_short(rig, "settling")

    assert "open" not in {outcome for _, outcome in rig.outcomes()}
    assert rig.http.count(is_list) == pages, "and nothing more is begun"


async def test_a_writer_that_is_cancelled_keeps_its_one_connection(rig: Rig) -> None:
    assert rig.mirror is not None
    writer = rig.mirror._writer
    first = writer._connection.connection.driver_connection

    for steps in range(60):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(rig.mirror.cycles.begin("plant"))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
    await settle()

    assert writer._connection.connection.driver_connection is first
    await rig.cycle()
    assert rig.rows(LAST)[0][0] == "done"
