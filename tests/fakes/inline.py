"""No threads: the database and the planner work at once, where they are called, so that virtual time cannot run past.

`FakeClock.run` jumps to the next sleeper whenever the loop has nothing ready, and work in a thread looks like nothing.
With `run_inline` there is none: what a test measures on the virtual clock is exact.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import aiosqlite.core
import pytest

from fleetsync.reconcile import cycle

T = TypeVar("T")


class _Queue:
    """Stands for the queue of a connection's thread: what is put into it is done."""

    def put_nowait(self, work: tuple["asyncio.Future[Any] | None", Callable[[], Any]]) -> None:
        future, function = work
        try:
            result = function()
        except BaseException as error:
            if future is None:
                raise
            future.set_exception(error)
        else:
            if future is not None:
                future.set_result(result)


class _NoThread:
    daemon = True

    def __init__(self, *_arguments: object, **_more: object) -> None:
        pass

    def start(self) -> None:
        pass

    def join(self) -> None:
        pass


def _at_once(function: Callable[[], T]) -> "asyncio.Future[T]":
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001 - it belongs to the one who waits
        future.set_exception(error)
    return future


def run_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything that has a thread of its own in a cycle do without."""
    monkeypatch.setattr(aiosqlite.core, "SimpleQueue", _Queue)
    monkeypatch.setattr(aiosqlite.core, "Thread", _NoThread)
    monkeypatch.setattr(cycle, "start_in_daemon_thread", _at_once)
