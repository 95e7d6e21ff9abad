"""The database without a thread, and what processes of one history after another may share of SQLAlchemy."""

import asyncio
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, create_engine

Around = Callable[[Callable[[], Any]], Any]
"""Calls what it is given, and may do something before, after or instead of it."""


class Engines:
    """Stands for `create_engine`. Engines share what has been compiled: most of a start is to compile statements."""

    def __init__(self) -> None:
        self._first: Engine | None = None

    def __call__(self, *arguments: Any, **options: Any) -> Engine:
        """Return an engine."""
        made = create_engine(*arguments, **options)
        first = self._first = self._first or made
        made.dialect = made.pool._dialect = first.dialect
        made._compiled_cache = first._compiled_cache
        return made


class Queue:
    """Stands for the queue of the writer's thread: what is put into it is done at a later turn of the loop.

    So whoever asks for it waits, as for a thread, and others go on meanwhile.
    """

    around: Around

    def put_nowait(self, asked: tuple["asyncio.Future[Any]", Callable[[], Any]]) -> None:
        """Do something later."""
        future, function = asked
        future.get_loop().call_soon(self._do, future, function)

    def _do(self, future: "asyncio.Future[Any]", function: Callable[[], Any]) -> None:
        try:
            result = self.around(function)
        except BaseException as error:  # noqa: BLE001 - it belongs to the one who waits
            future.set_exception(error)
        else:
            future.set_result(result)


def queue_with(around: Around) -> type[Queue]:
    """Return such a queue; `around` is called with each call of the database."""
    return type("_Queue", (Queue,), {"around": staticmethod(around)})
