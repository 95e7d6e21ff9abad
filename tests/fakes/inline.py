"""No threads: the database and blocking calls work at once, where they are called, so that virtual time cannot run past.

`FakeClock.run` jumps to the next sleeper whenever the loop has nothing ready, and work in a thread looks like nothing.
With `run_inline` there is none: what a test measures on the virtual clock is exact.
"""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiosqlite.core
import pytest

from fleetsync.transport import threads


class _Queue:
    """Stands for the queue of the writer's thread: what is put into it is done."""

    def put_nowait(self, asked: tuple["asyncio.Future[Any]", Callable[[], Any]]) -> None:
        future, function = asked
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - it belongs to the one who waits
            future.set_exception(error)
        else:
            future.set_result(result)


class _NoThread:
    """Stands for a thread that only waits for its queue."""

    def __init__(self, *_arguments: object, **_more: object) -> None:
        pass

    def start(self) -> None:
        pass


class _AtOnce:
    """Stands for a thread that does one thing: it is done where it is started."""

    def __init__(self, *, target: Callable[[], None], **_more: object) -> None:
        self.start = target


def run_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything that has a thread of its own do without."""
    monkeypatch.setattr(aiosqlite.core, "SimpleQueue", _Queue)
    monkeypatch.setattr(aiosqlite.core, "Thread", _NoThread)
    monkeypatch.setattr(threads, "threading", SimpleNamespace(Thread=_AtOnce))
