"""A database with the schema and nothing in it, to try selectors on before there is a real one."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqlalchemy import create_engine

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
    types = view_of(kinds)
    with _blank(kinds, clock) as reader:
        selection = Selection(reader, types)
        found = ((one, selection.fault(one)) for one in declarations if one.type in types)
        return [(declaration, fault) for declaration, fault in found if fault is not None]


@contextlib.contextmanager
def _blank(kinds: tuple[Kind, ...], clock: Clock) -> Iterator[Reader]:
    with tempfile.TemporaryDirectory(prefix="fleetsync-") as folder:
        path = Path(folder) / "blank.db"
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            metadata.create_all(connection)
            for name, select in views(kinds).items():
                connection.exec_driver_sql(f"CREATE VIEW {name} AS {select}")
        engine.dispose()
        reader = Reader(path, clock)
        try:
            yield reader
        finally:
            reader.close()
