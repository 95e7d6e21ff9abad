"""Several things at once, all of them owned."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from fleetsync.errors import AuthError, InvalidResponseError, ResourceError, SourceError, ThrottledError, TransientError

T = TypeVar("T")

AT_ONCE = 16
# One bad device does not stop the others; so many failures in a row are no longer the device's.
MOST_TROUBLES = 5
_FORBIDDEN = 403


@contextlib.asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """Give a task group that raises its first error as it is: callers ask for its class, not for a group of it."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


def is_about_one(error: SourceError) -> bool:
    """Say whether an error may be about the one resource that was asked for, and not about the whole service."""
    if isinstance(error, ThrottledError):
        return False
    if isinstance(error, AuthError):
        return error.status == _FORBIDDEN
    return isinstance(error, ResourceError | TransientError | InvalidResponseError)


async def each(items: Iterable[T], work: Callable[[T], Awaitable[object]]) -> int:
    """Do something with each of `items`, several at once; return for how many the service failed.

    Raises:
        SourceError: the service as a whole does not go on, or failed for too many in a row.
    """
    tally = _Tally()

    async def drain(waiting: Iterator[T]) -> None:
        for item in waiting:
            try:
                await work(item)
            except SourceError as error:
                tally.failed(error)
            else:
                tally.troubles = 0

    waiting = iter(tuple(items))
    async with together() as group:
        for _ in range(AT_ONCE):
            group.create_task(drain(waiting))
    return tally.failures


class _Tally:
    def __init__(self) -> None:
        self.failures = 0
        self.troubles = 0

    def failed(self, error: SourceError) -> None:
        self.failures += 1
        self.troubles += not isinstance(error, ResourceError)
        if not is_about_one(error) or self.troubles >= MOST_TROUBLES:
            raise error
