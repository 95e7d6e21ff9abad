"""The one thread that works with the writer connection."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from fleetsync.mirror.unbroken import to_its_end

T = TypeVar("T")


class WriterThread:
    """Does one thing after the other, in the order in which they are asked for. The loop never waits for the disk."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="fleetsync-writer", daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[], T]) -> T:
        """Return what `function` returns; it comes to its end whoever is cancelled."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put((future, function))
        return await to_its_end(future)

    def end(self) -> None:
        """Let the thread end when what was asked for is done."""
        self._queue.put(None)

    def _work(self) -> None:
        while (asked := self._queue.get()) is not None:
            future, function = asked
            try:
                settle = partial(future.set_result, function())
            except BaseException as error:  # noqa: BLE001 -- whatever it is, it belongs to the one who waits
                settle = partial(future.set_exception, error)
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
                future.get_loop().call_soon_threadsafe(settle)
            del asked, future, function, settle
