"""Blocking work in daemon threads: the program's end never waits for it.

asyncio's own executor is joined when the loop closes: forty name lookups at a dead server held that up for 57 s.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from fleetsync.errors import MachineError

T = TypeVar("T")


class DaemonThreads:
    """Room for a number of blocking calls at a time; further ones wait for a place."""

    def __init__(self, limit: int) -> None:
        self._places = asyncio.Semaphore(limit)

    async def run(self, function: Callable[[], T]) -> T:
        """Return what `function` returns.

        Cancelling the wait leaves the thread alone; it keeps its place until it ends by itself.
        """
        await self._places.acquire()
        try:
            future = start_in_daemon_thread(function)
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.shield(future)


def start_in_daemon_thread(function: Callable[[], T]) -> "asyncio.Future[T]":
    """Start `function` in a daemon thread of its own and return the future of its result.

    The result is dropped when the future was cancelled, or the loop has closed, by then.

    Raises:
        MachineError: the machine gives no more threads.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            settle = partial(future.set_result, function())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the one who waits
            settle = partial(future.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: future.done() or settle())

    try:
        threading.Thread(target=work, name="fleetsync-blocking", daemon=True).start()
    except RuntimeError as error:  # as the library has it where the machine gives none
        raise MachineError("no thread can be started: allow it more (`ulimit -u`, TasksMax= of the unit)") from error
    return future
