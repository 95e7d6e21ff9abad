"""The one connection that writes, and its transactions."""

import asyncio
import contextlib
import ctypes
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence, Set
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Delete, Dialect, Insert, Table, Update, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncTransaction, create_async_engine
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql import Executable

from fleetsync.errors import MirrorError
from fleetsync.mirror.library import check_library
from fleetsync.mirror.trouble import primary, told
from fleetsync.mirror.unbroken import to_its_end

# WAL: readers are never blocked. FULL: a commit is on the disk when it returns.
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 10000",
    "PRAGMA wal_autocheckpoint = 1000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA cache_size = -2048",
)


# Primary codes after which nobody knows what of the file is on the disk (also a failed fsync), or what is in it.
_BREAKING = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# Somebody took the file away, or put another in its place: ours has no name any more.
_BREAKING_EXTENDED = frozenset({sqlite3.SQLITE_READONLY_DBMOVED})


class BrokenMirrorError(MirrorError):
    """The database itself failed: nothing may go on with this connection, only a new process with a new one."""


class ReplacedMirrorError(BrokenMirrorError):
    """Another file has its name, or none: what is written is lost, and its journal would spoil the other file."""

    exit_code = 78


class Writer:
    """The writer connection. One transaction at a time, in the order in which they are asked for.

    After a failure of the database itself it refuses everything.
    """

    def __init__(self, connection: AsyncConnection, path: Path) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()
        self._file = _file_of(path)
        self.path = path
        self.is_broken = False

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        """Give a transaction that commits at the end of the block, or rolls back when it raises.

        Raises:
            MirrorError: the database refused it (disk full, read-only, …).
            BrokenMirrorError: it failed (I/O error, not a database, …), now or before.
        """
        async with self._turn:
            with self._guarded():
                async with _whole(self._connection.begin()):
                    yield Transaction(self._connection)

    async def run(self, function: Any) -> None:
        """Run a synchronous function on the plain connection, outside any transaction (migrations, PRAGMA)."""
        async with self._turn:
            with self._guarded():
                await to_its_end(self._connection.run_sync(function))

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        if self.is_broken:
            raise BrokenMirrorError(f"database {self.path}: the database failed before: restart")
        try:
            if _file_of(self.path) != self._file:
                raise ReplacedMirrorError(
                    f"database {self.path}: it was taken away or replaced while it was in use: "
                    f"move {self.path.name}-wal and {self.path.name}-shm away too, and start again"
                )
            with translated(self.path):
                yield
        except BrokenMirrorError:
            self.is_broken = True
            raise


def _file_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from every other one; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Prepared:
    """A statement for many rows, compiled once; its rows are tuples in the order of `names`.

    Executing the driver's own SQL costs a third less than a compiled statement per batch. The values are the
    driver's: text for instants, numbers for booleans.
    """

    def __init__(self, statement: Insert | Update | Delete, names: tuple[str, ...]) -> None:
        self._statement = statement
        self._names = names
        self._compiled: dict[str, tuple[str, Callable[[tuple[Any, ...]], tuple[Any, ...]]]] = {}

    def sql(self, dialect: Dialect) -> tuple[str, Callable[[tuple[Any, ...]], tuple[Any, ...]]]:
        """Return the SQL of a dialect, and what puts a row into its order."""
        if dialect.name not in self._compiled:
            keys = list(self._names) if isinstance(self._statement, Insert) else None
            compiled = self._statement.compile(dialect=dialect, column_keys=keys)
            order = tuple(self._names.index(name) for name in compiled.positiontup or ())
            arrange = itemgetter(*order) if len(order) > 1 else tuple
            self._compiled[dialect.name] = str(compiled), arrange
        return self._compiled[dialect.name]


@contextlib.asynccontextmanager
async def _whole(begun: AsyncTransaction) -> AsyncIterator[None]:
    """Begin, and commit or roll back: none of it is left halfway by a cancellation."""
    try:
        begun = await to_its_end(begun.start())
        yield
    except BaseException as error:
        if begun.sync_transaction is not None:
            await to_its_end(begun.__aexit__(type(error), error, error.__traceback__))
        raise
    await to_its_end(begun.__aexit__(None, None, None))


class Transaction:
    """What can be done in a transaction. Rows leave it as plain tuples and mappings.

    SQLAlchemy gives a connection up when a statement is cancelled, and opens another while the driver's thread still
    works on the first one: two writers. So each statement comes to its end.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def run(self, statement: Executable, rows: Any = None) -> int:
        """Execute a statement, once for each of `rows`; return how many rows it changed."""
        result = await to_its_end(self._connection.execute(statement, rows))
        return int(getattr(result, "rowcount", 0))

    async def insert(self, statement: Executable, row: dict[str, Any]) -> int:
        """Insert one row and return its number."""
        result = await to_its_end(self._connection.execute(statement, row))
        return int(result.inserted_primary_key[0])  # type: ignore[index]  # one row has one

    async def run_many(self, statement: Prepared, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute a prepared statement for each of `rows`."""
        if rows:
            sql, arrange = statement.sql(self._connection.dialect)
            await to_its_end(self._connection.exec_driver_sql(sql, [arrange(row) for row in rows]))

    async def upsert(
        self,
        table: Table,
        keys: tuple[str, ...],
        rows: Sequence[dict[str, Any]],
        *,
        adding: Set[str] = frozenset(),
    ) -> None:
        """Insert rows; where one with the same keys stands, write its other columns anew, or add to them."""
        if not rows:
            return
        statement = sqlite.insert(table)
        others = {
            name: statement.excluded[name] + table.c[name] if name in adding else statement.excluded[name]
            for name in rows[0]
            if name not in keys
        }
        statement = statement.on_conflict_do_update(index_elements=list(keys), set_=others)
        await to_its_end(self._connection.execute(statement, list(rows)))

    async def rows(self, statement: Executable, parameters: Any = None) -> Sequence[Any]:
        """Return all rows of a SELECT; for answers that are small by nature."""
        return (await to_its_end(self._connection.execute(statement, parameters))).all()


@contextlib.contextmanager
def translated(path: Path) -> Any:
    """Turn the library's exceptions into a MirrorError that names the file."""
    try:
        yield
    except DBAPIError as error:
        raise _class_of(error.orig)(told(path, error.orig)) from error
    except sqlite3.Error as error:
        raise _class_of(error)(told(path, error)) from error


def _class_of(error: BaseException | None) -> type[MirrorError]:
    is_breaking = primary(error) in _BREAKING or getattr(error, "sqlite_errorcode", None) in _BREAKING_EXTENDED
    return BrokenMirrorError if is_breaking else MirrorError


@contextlib.asynccontextmanager
async def open_writer(path: Path) -> AsyncIterator[Writer]:
    """Open the writer connection of a SQLite file, and create the file if there is none.

    At the end the journal goes back into the file, so that it can be read by users who may not write beside it.
    """
    check_library()
    engine = create_async_engine(URL.create("sqlite+aiosqlite", database=str(path)), poolclass=StaticPool)

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # Transactions begin where we say so, not where the driver guesses.
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            for pragma in _PRAGMAS:
                cursor.execute(pragma)
        except sqlite3.Error as error:
            if _class_of(error) is BrokenMirrorError:
                _never_close(connection)
            raise
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    is_sound = True
    try:
        with translated(path):
            async with engine.connect() as connection:
                writer = Writer(connection, path)
                try:
                    async with _journal_put_back(connection, writer):
                        yield writer
                finally:
                    is_sound = not writer.is_broken
                    if writer.is_broken:
                        _never_close((await connection.get_raw_connection()).driver_connection)
    except BrokenMirrorError:
        is_sound = False
        raise
    finally:
        if is_sound:
            await engine.dispose()


def _never_close(connection: object) -> None:
    """Leave a connection as it is until the process ends: closing it would write what is in the journal to the file.

    Also the interpreter's end would close it, so nothing may ever count its references down.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


@contextlib.asynccontextmanager
async def _journal_put_back(connection: AsyncConnection, writer: Writer) -> AsyncIterator[None]:
    """Leave WAL at the end, unless the database itself failed: then nothing goes on with this handle."""
    is_sound = True
    try:
        yield
    except MirrorError as error:
        is_sound = not isinstance(error.__cause__, DBAPIError | sqlite3.Error)
        raise
    finally:
        if is_sound and not writer.is_broken:
            await _put_back_journal(connection)


async def _put_back_journal(connection: AsyncConnection) -> None:
    """Leave WAL, unless a reader still has the file: then the journal stays and is found at the next start."""
    with contextlib.suppress(sqlite3.Error):
        raw = (await connection.get_raw_connection()).driver_connection
        if raw is not None:
            await raw.execute("PRAGMA busy_timeout = 100")
            await raw.execute("PRAGMA journal_mode = DELETE")
