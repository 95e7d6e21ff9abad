"""The connection that writes, and the one thread that works with it."""

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite

from fleetsync.mirror.unbroken import to_its_end

T = TypeVar("T")

_ROWS_AT_ONCE = 64
"""For those who iterate over a cursor of aiosqlite, which nobody does here."""


class WriterThread(aiosqlite.Connection):
    """Does one thing after the other, in the order in which they are asked for. The loop never waits for the disk.

    What aiosqlite does statement by statement, each a way to its thread and back, is done here a piece of work at a
    time.
    """

    def __init__(self, path: Path) -> None:
        # Transactions begin where we say so, not where the driver guesses.
        connector = partial(sqlite3.connect, path, check_same_thread=False, isolation_level=None)
        super().__init__(connector, _ROWS_AT_ONCE)
        self._path = path
        self._thread.daemon = True  # a file system that hangs does not keep the process
        self._ended: asyncio.Future[None] | None = None

    @property
    def raw(self) -> sqlite3.Connection:
        """Return the driver's connection, for use in the thread."""
        return self._conn

    async def run(self, function: Callable[[], T]) -> T:
        """Return what `function` returns; it comes to its end whoever is cancelled."""
        if self._connection is None:
            raise ValueError(f"the connection to {self._path} is closed")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((done, function))
        return await to_its_end(done)

    def stop(self) -> asyncio.Future[None] | None:
        """Let the thread end; aiosqlite does that by itself where the connection cannot be made."""
        self._ended = super().stop()
        return self._ended

    async def close(self) -> None:
        """Close the connection, and wait for the thread, which would speak to a loop that is no more."""
        await super().close()
        if self._ended is not None:
            await self._ended

    async def abandon(self) -> None:
        """Let the thread end, and leave the connection as it is."""
        self._connection = None
        if self._ended is None:
            self.stop()
        await self.close()
