"""Workers: as many as are of use, and what ends them."""

import asyncio
from collections.abc import Sequence

import pytest

from fleetsync.errors import (
    AuthError,
    CircuitOpenError,
    InvalidResponseError,
    NotFoundError,
    ServerFaultError,
    SourceError,
    ThrottledError,
)
from fleetsync.reconcile.together import MOST_TROUBLES, Batches, Crew, each
from fleetsync.tasks import together
from tests.fakes.clock import settle


class Hands:
    """As many hands as a test says, when it says so."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self._moved = asyncio.Event()

    def become(self, at_once: int) -> None:
        self.at_once = at_once
        self._moved.set()

    async def departure(self) -> None:
        self._moved.clear()
        await self._moved.wait()


class Work:
    """Work that takes until a test ends it."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self._gates: dict[int, asyncio.Future[None]] = {}

    async def __call__(self, item: int) -> None:
        self.begun.append(item)
        self._gates[item] = asyncio.get_running_loop().create_future()
        try:
            await self._gates[item]
        finally:
            self.ended.append(item)

    async def end(self, item: int, error: BaseException | None = None) -> None:
        gate = self._gates[item]
        if error is None:
            gate.set_result(None)
        else:
            gate.set_exception(error)
        await settle()

    @property
    def going(self) -> int:
        return len(self.begun) - len(self.ended)


async def test_as_many_work_as_there_are_hands_and_more_when_there_are_more() -> None:
    hands, work = Hands(3), Work()
    async with asyncio.TaskGroup() as group:
        Crew(group, iter(range(20)), work, hands)
        await settle()
        assert work.begun == [0, 1, 2]
        await work.end(1)
        assert work.begun == [0, 1, 2, 3]
        hands.become(6)
        await settle()
        assert work.going == 6
        while work.going:
            await work.end(next(item for item in work.begun if item not in work.ended))
    assert sorted(work.ended) == list(range(20))


async def test_where_far_fewer_are_of_use_workers_leave() -> None:
    hands, work = Hands(12), Work()
    async with asyncio.TaskGroup() as group:
        Crew(group, iter(range(100)), work, hands)
        await settle()
        hands.become(3)
        for item in range(30):
            await work.end(item) if item in work.begun else None
        assert work.going == 6
        while work.going:
            await work.end(next(item for item in work.begun if item not in work.ended))
    assert sorted(work.ended) == list(range(100))


async def test_without_items_there_is_nothing_to_do() -> None:
    async with asyncio.TaskGroup() as group:
        Crew(group, iter(()), Work(), Hands(4))
    assert await each((), Work(), Hands(4)) == 0


async def test_nobody_takes_the_place_of_who_was_told_to_end() -> None:
    hands, work = Hands(3), Work()
    async with asyncio.TaskGroup() as group:
        Crew(group, iter(range(20)), work, hands)
        await settle()
        await work.end(0, asyncio.CancelledError())
        hands.become(9)
        await settle()
        assert work.begun == [0, 1, 2]
        for item in (1, 2):
            await work.end(item, asyncio.CancelledError())
    assert work.begun == [0, 1, 2]


async def test_an_error_ends_all_of_them_as_it_is() -> None:
    work = Work()

    async def fail() -> None:
        async with together() as group:
            Crew(group, iter(range(20)), work, Hands(3))
            await settle()
            await work.end(1, ThrottledError("429", sent=False))

    with pytest.raises(ThrottledError):
        await fail()
    assert sorted(work.ended) == [0, 1, 2]


async def test_what_fails_for_one_is_counted_and_what_fails_for_all_is_raised() -> None:
    async def work(item: int) -> None:
        if item % 2:
            raise NotFoundError("404")

    assert await each(range(10), work, Hands(4)) == 5

    async def fail(_item: int) -> None:
        failed.append(error)
        raise error

    for error, most in (
        (InvalidResponseError("HTML"), MOST_TROUBLES),
        (AuthError("no role", status=403), MOST_TROUBLES),
        (AuthError("the secret is wrong"), 1),
        (CircuitOpenError("down", fault="service"), 1),
    ):
        failed: list[SourceError] = []
        with pytest.raises(type(error)):
            await each(range(100), fail, Hands(1))
        assert len(failed) == most

    error = ServerFaultError("503")
    assert await each(range(100), fail, Hands(1)) == 100


async def test_batches_are_stored_when_they_are_full_and_the_rest_at_the_end() -> None:
    stored: list[Sequence[int]] = []

    async def store(items: Sequence[int]) -> None:
        stored.append(items)

    batches = Batches(store, 3)
    for item in range(7):
        await batches.add(item)
    assert stored == [[0, 1, 2], [3, 4, 5]]
    await batches.flush()
    await batches.flush()
    assert stored == [[0, 1, 2], [3, 4, 5], [6]]
