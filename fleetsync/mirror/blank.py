"""A database with the schema and nothing in it, to try selectors on before there is a real one."""

import contextlib
import functools
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from fleetsync.clock import Clock
from fleetsync.core.declaration import Declaration
from fleetsync.core.kind import Kind
from fleetsync.mirror.reader import Reader
from fleetsync.mirror.selection import Selection
from fleetsync.mirror.tables import metadata
from fleetsync.mirror.views import view_of, views


def faults_of(
    declarations: Iterable[Declaration], kinds: Iterable[Kind], clock: Clock
) -> list[tuple[Declaration, str]]:
    """Return the declarations whose selector is wrong whatever the data are, and what is wrong.

    One about a type that no kind has is passed over.
    """
    kinds = tuple(kinds)
    declarations = [one for one in declarations if one.where is not None]
    if not declarations:
        return []
    types = view_of(kinds)
    with contextlib.closing(_Blank(kinds, clock)) as reader:
        selection = Selection(reader, types)
        found = ((one, selection.fault(one)) for one in declarations if one.type in types)
        return [(declaration, fault) for declaration, fault in found if fault is not None]


class _Blank(Reader):
    """A reader of a database in memory: a full disk is no reason to refuse a declaration."""

    def __init__(self, kinds: tuple[Kind, ...], clock: Clock) -> None:
        self._kinds = kinds
        super().__init__(Path("/"), clock)

    def _connected(self, path: Path) -> sqlite3.Connection:  # noqa: ARG002 - it has none
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        made = [_tables(), *(f"CREATE VIEW {name} AS {select}" for name, select in views(self._kinds).items())]
        connection.executescript(";".join(made))
        return connection


@functools.cache
def _tables() -> str:
    """Return the SQL that makes the tables, without what only helps to search them."""
    return ";".join(str(CreateTable(table).compile(dialect=sqlite.dialect())) for table in metadata.sorted_tables)
