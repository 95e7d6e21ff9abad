"""Work on many resources at once, and when the trouble of single ones is that of the whole service."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from fleetsync.errors import (
    AuthError,
    CircuitOpenError,
    InvalidResponseError,
    ResourceError,
    SourceError,
    ThrottledError,
    TransientError,
)
from fleetsync.tasks import together

T = TypeVar("T")


class Hands(Protocol):
    """How many should be at work: `at_once`, which may grow at a `departure`."""

    @property
    def at_once(self) -> int: ...  # noqa: D102

    async def departure(self) -> None: ...  # noqa: D102


# One bad device does not stop the others; so many answers in a row that are of no use are no longer the device's. When
# there is no answer, the circuit of the source has the say.
MOST_TROUBLES = 5
_FORBIDDEN = 403
# So many times as many as there should be are too many; fewer come in useful again.
_TOO_MANY = 2


def is_about_one(error: SourceError) -> bool:
    """Say whether an error may be about the one resource that was asked for, and not about the whole service."""
    if isinstance(error, ThrottledError | CircuitOpenError):
        return False
    if isinstance(error, AuthError):
        return error.status == _FORBIDDEN
    return isinstance(error, ResourceError | TransientError | InvalidResponseError)


class Crew(Generic[T]):
    """Workers that take items in turn, each as many as it can; there are as many of them as `hands` says.

    A worker that is told to end by a CancelledError ends alone, and nobody takes its place. An error ends the group.
    """

    def __init__(
        self, group: asyncio.TaskGroup, waiting: Iterator[T], work: Callable[[T], Awaitable[object]], hands: Hands
    ) -> None:
        self._group = group
        self._waiting = waiting
        self._work = work
        self._hands = hands
        self._size = 0
        self._is_full = False
        self._hiring = group.create_task(self._hire())

    async def _hire(self) -> None:
        while not self._is_full:
            for _ in range(self._hands.at_once - self._size):
                self._size += 1
                self._group.create_task(self._take_turns())
            await self._hands.departure()

    async def _take_turns(self) -> None:
        try:
            for item in self._waiting:
                await self._work(item)
                if self._size > _TOO_MANY * self._hands.at_once:
                    return
            self._is_full = True
        except BaseException:
            self._is_full = True
            raise
        finally:
            self._size -= 1
            if not self._size:
                self._hiring.cancel()


async def each(items: Iterable[T], work: Callable[[T], Awaitable[object]], hands: Hands) -> int:
    """Do something with each of `items`, several at once; return for how many the service failed.

    Raises:
        SourceError: the service as a whole does not go on, or failed for too many in a row.
    """
    tally = _Tally()

    async def try_it(item: T) -> None:
        try:
            await work(item)
        except SourceError as error:
            tally.failed(error)
        else:
            tally.troubles = 0

    async with together() as group:
        Crew(group, iter(items), try_it, hands)
    return tally.failures


class Batches(Generic[T]):
    """Collects what comes one by one and stores it in batches, while others go on."""

    def __init__(self, store: Callable[[Sequence[T]], Awaitable[object]], size: int) -> None:
        self._store = store
        self._size = size
        self._items: list[T] = []

    async def add(self, item: T) -> None:
        """Take one more; store all there are when they are enough."""
        self._items.append(item)
        if len(self._items) >= self._size:
            await self.flush()

    async def flush(self) -> None:
        """Store what is left."""
        items, self._items = self._items, []
        if items:
            await self._store(items)


class _Tally:
    def __init__(self) -> None:
        self.failures = 0
        self.troubles = 0

    def failed(self, error: SourceError) -> None:
        self.failures += 1
        self.troubles += isinstance(error, AuthError | InvalidResponseError)
        if not is_about_one(error) or self.troubles >= MOST_TROUBLES:
            raise error
