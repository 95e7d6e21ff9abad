"""The database without a thread, and what the processes of one history after another need to find out only once."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Engine, create_engine

from fleetsync.clock import Clock
from fleetsync.core.declaration import Declaration
from fleetsync.core.kind import Kind
from fleetsync.mirror.blank import faults_of

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


class Faults:
    """Stands for `faults_of`. What is wrong with a selector depends on nothing but its text, so each is tried once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str | None], str | None] = {}

    def __call__(
        self, declarations: Iterable[Declaration], kinds: Iterable[Kind], clock: Clock
    ) -> list[tuple[Declaration, str]]:
        """Return the declarations whose selector is wrong, and what is wrong."""
        declarations = list(declarations)
        new = [one for one in declarations if (one.type, one.where) not in self._known]
        if new:
            self._known |= {(one.type, one.where): None for one in new}
            self._known |= {(one.type, one.where): fault for one, fault in faults_of(new, kinds, clock)}
        found = ((one, self._known[one.type, one.where]) for one in declarations)
        return [(one, fault) for one, fault in found if fault is not None]


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
