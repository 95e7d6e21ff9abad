"""Work that a cancellation may not cut in two."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def to_its_end(work: Awaitable[T]) -> T:
    """Return what `work` returns. Who is cancelled meanwhile is so when it has ended, and not before.

    What `work` raises comes before a cancellation.
    """
    task = asyncio.ensure_future(work)  # noqa: TID251 - a task that is waited for here, or the future that it is
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except BaseException:  # noqa: BLE001 - it is raised below
            break
    done = task.result()
    if cancelled is not None:
        raise cancelled
    return done
