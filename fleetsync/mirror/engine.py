"""The one connection that writes, and its transactions."""

import asyncio
import contextlib
import ctypes
import functools
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    Connection,
    Dialect,
    Engine,
    Insert,
    RootTransaction,
    Select,
    Table,
    bindparam,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql import Executable

from fleetsync.errors import BrokenMirrorError, MirrorError, ReplacedMirrorError, of_the_machine
from fleetsync.mirror.compiled import Compiled, Form
from fleetsync.mirror.library import check_library
from fleetsync.mirror.thread import WriterThread
from fleetsync.mirror.trouble import primary, told
from fleetsync.mirror.wal import WAL_KEPT_BYTES

T = TypeVar("T")
Arrange = Callable[[tuple[Any, ...]], tuple[Any, ...]]

BUSY_MS = 10_000

AT_ONCE = 20
"""So many rows does one INSERT take."""

# WAL: readers are never blocked. FULL: a commit is on the disk when it returns.
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA busy_timeout = {BUSY_MS}",
    "PRAGMA wal_autocheckpoint = 1000",
    f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}",
    "PRAGMA cache_size = -8192",
)


# Primary codes after which nobody knows what of the file is on the disk (also a failed fsync), or what is in it.
_BREAKING = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# Somebody took the file away, or put another in its place: ours has no name any more.
_BREAKING_EXTENDED = frozenset({sqlite3.SQLITE_READONLY_DBMOVED})


class _Asked(msgspec.Struct, eq=False):
    """A piece of work that waits for a transaction, and what came of it."""

    work: Callable[["Statements"], Any]
    is_done: bool = False
    result: Any = None
    error: BaseException | None = None

    def told(self) -> Any:
        """Return what came of it, or raise."""
        if self.error is not None:
            raise self.error
        return self.result


class Writer:
    """The writer connection. One transaction at a time, in the order in which they are asked for.

    After a failure of the database itself it refuses everything.
    """

    def __init__(self, connection: Connection, thread: WriterThread, path: Path) -> None:
        self._connection = connection
        self._thread = thread
        self._turn = asyncio.Lock()
        self._asked: list[_Asked] = []
        self._file = _file_of(path)
        self.path = path
        self.is_broken = False

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        """Give a transaction that commits at the end of the block, or rolls back when it raises.

        Raises:
            MirrorError: the database refused it (disk full, read-only, …).
            BrokenMirrorError: it failed (I/O error, not a database, no memory, …), now or before.
        """
        async with self._turn:
            with self._guarded():
                async with _whole(self._connection, self._thread):
                    yield Transaction(self._connection, self._thread)

    async def together(self, work: Callable[["Statements"], T]) -> T:
        """Do a piece of work in one transaction with what others ask for meanwhile: many that wait cost one commit.

        It is on the disk when this returns. `work` may be done again, after a rollback: where one piece fails, each is
        done alone. Raises what `work` raises, and as `transaction` does.
        """
        asked = _Asked(work)
        self._asked.append(asked)
        try:
            async with self._turn:
                with self._guarded():
                    if not asked.is_done:
                        pieces, self._asked = self._asked, []
                        await self._thread.run(partial(transact, self._connection, pieces))
                    result: T = asked.told()
                    return result
        finally:
            if asked in self._asked:  # it was cancelled, or refused, before its turn came
                self._asked.remove(asked)

    async def run(self, function: Callable[[Connection], T]) -> T:
        """Run a function on the plain connection, outside any transaction (migrations, PRAGMA)."""
        async with self._turn:
            with self._guarded():
                return await self._thread.run(partial(function, self._connection))

    async def leave(self, function: Callable[[Connection], T]) -> T:
        """Run a function on the plain connection as the last thing that is done with it, whatever came before."""
        return await self._thread.run(partial(function, self._connection))

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        if self.is_broken:
            raise BrokenMirrorError(f"database {self.path}: the database failed before: restart")
        try:
            self._refuse_replaced()
            with translated(self.path):
                yield
        except BrokenMirrorError:
            self.is_broken = True
            raise
        except BaseException as error:
            # Memory that ran out anywhere in there leaves the library in the middle of a transaction, for good.
            if not isinstance(error, MemoryError) and not self._connection.in_transaction():
                raise
            self.is_broken = True
            raise BrokenMirrorError(f"database {self.path}: {of_the_machine(error) or error}") from error

    def _refuse_replaced(self) -> None:
        if _file_of(self.path) != self._file:
            raise ReplacedMirrorError(
                f"database {self.path}: it was taken away or replaced while it was in use: "
                f"move {self.path.name}-wal and {self.path.name}-shm away too, and start again"
            )


def _file_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from every other one; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def values_in(name: str) -> Select[Any]:
    """Return a sub-query over the members of a parameter that is a JSON array: any number of them, one statement.

    PostgreSQL spells it otherwise (`jsonb_array_elements_text`); this is the place for it.
    """
    return select(func.json_each(bindparam(name)).table_valued("value").c.value)


def array_of(values: Sequence[object]) -> str:
    """Return values as the JSON array that `values_in` reads."""
    return msgspec.json.encode(values).decode()


class Prepared:
    """A statement that is compiled once; its parameters are tuples in the order of `names`.

    Executing the driver's own SQL costs a third less than a compiled statement per batch. The values are the
    driver's: text for instants, numbers for booleans.
    """

    def __init__(self, statement: Executable, names: tuple[str, ...]) -> None:
        self._statement = statement
        self._names = names
        self._compiled: dict[str, tuple[str, Arrange | None]] = {}

    def sql(self, dialect: Dialect) -> tuple[str, Arrange | None]:
        """Return the SQL of a dialect, and what puts parameters into its order; None where that is theirs already."""
        if dialect.name not in self._compiled:
            is_plain = isinstance(self._statement, Insert) and self._statement.select is None
            keys = list(self._names) if is_plain else None
            compiled: Any = self._statement.compile(dialect=dialect, column_keys=keys)  # type: ignore[attr-defined]  # statements have it
            self._compiled[dialect.name] = str(compiled), self._arranging(compiled.positiontup or [], compiled.params)
        return self._compiled[dialect.name]

    def sql_at_once(self, dialect: Dialect) -> str | None:
        """Return the SQL that inserts `AT_ONCE` rows, for little more than half the cost; None if it inserts none."""
        head, _, values = self.sql(dialect)[0].rpartition(" VALUES ")
        return f"{head} VALUES {', '.join([values] * AT_ONCE)}" if head and not values.strip("(?, )") else None

    def _arranging(self, places: Sequence[str], constants: Mapping[str, Any]) -> Arrange | None:
        """Return what puts parameters where the compiled statement has its places, some of which are constants."""
        if tuple(places) == self._names:
            return None
        own = tuple(constants[name] for name in places if name not in self._names)
        names = (*self._names, *(name for name in places if name not in self._names))
        pick = itemgetter(*map(names.index, places)) if len(places) > 1 else lambda row: (row[names.index(places[0])],)
        return lambda row: pick(row + own)


@contextlib.asynccontextmanager
async def _whole(connection: Connection, thread: WriterThread) -> AsyncIterator[None]:
    """Begin, and commit or roll back: none of it is left halfway by a cancellation."""
    begun = None
    try:
        # A cancellation meanwhile comes after it has begun.
        begun = await thread.run(connection.begin)
        yield
    except BaseException:
        begun = begun or connection.get_transaction()
        if begun is not None:
            await thread.run(partial(rollback, begun))
        raise
    await thread.run(partial(commit, begun))


def commit(begun: RootTransaction) -> None:
    """Commit, or roll back where that fails. Runs in the writer's thread."""
    begun.__exit__(None, None, None)


def rollback(begun: RootTransaction) -> None:
    """Roll back. Runs in the writer's thread."""
    begun.rollback()


def transact(connection: Connection, pieces: Sequence[_Asked]) -> None:
    """Do pieces of work in one transaction, or each in its own where that fails. Runs in the writer's thread.

    Where the database itself fails it raises at once: nothing is tried again, and what was not done stays so.
    """
    on = Statements(connection)
    try:
        with connection.begin():
            results = [piece.work(on) for piece in pieces]
    except Exception as error:
        if _is_the_end(error):
            raise
        # It belongs to the one who asked.
        if len(pieces) > 1:
            for piece in pieces:
                transact(connection, [piece])
            return
        results, pieces[0].error = [None], error
    for piece, result in zip(pieces, results, strict=True):
        piece.is_done, piece.result = True, result


class Statements:
    """What can be done in a transaction, in the writer's thread. Rows leave it as plain tuples."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, statement: Executable | Compiled, rows: Any = None) -> int:
        """Execute a statement, once for each of `rows`; return how many rows it changed."""
        if isinstance(statement, Compiled):
            return self._execute(statement, rows or {})[1].rowcount
        return int(getattr(self._connection.execute(statement, rows), "rowcount", 0))

    def insert(self, statement: Insert, row: dict[str, Any]) -> int:
        """Insert one row and return its number."""
        return int(self._connection.execute(statement, row).inserted_primary_key[0])  # type: ignore[index]  # one row has one

    def rows(self, statement: Executable | Compiled, parameters: Any = None) -> Sequence[Any]:
        """Return all rows of a SELECT; for answers that are small by nature."""
        if isinstance(statement, Compiled):
            form, cursor = self._execute(statement, parameters or {})
            return form.rows(cursor.fetchall())
        found: Sequence[Any] = self._connection.execute(statement, parameters).all()
        return found

    def fetch(self, statement: Prepared, parameters: tuple[Any, ...]) -> Sequence[Any]:
        """Return all rows of a prepared SELECT, as the driver gives them."""
        sql, arrange = statement.sql(self._connection.dialect)
        with self._cursor() as cursor:
            cursor.execute(sql, parameters if arrange is None else arrange(parameters))
            return cursor.fetchall()

    def run_many(self, statement: Prepared, rows: Iterable[tuple[Any, ...]]) -> None:
        """Execute a prepared statement for each of `rows`, which are taken one by one."""
        sql, arrange = statement.sql(self._connection.dialect)
        taken: Any = rows if arrange is None else map(arrange, rows)
        with self._cursor() as cursor:
            if at_once := statement.sql_at_once(self._connection.dialect):
                rest: list[tuple[Any, ...]] = []
                groups: Any = _whole_groups(iter(taken), rest)
                cursor.executemany(at_once, groups)
                taken = rest
            cursor.executemany(sql, taken)

    def upsert(
        self,
        table: Table,
        keys: tuple[str, ...],
        rows: Sequence[dict[str, Any]],
        *,
        adding: frozenset[str] = frozenset(),
    ) -> None:
        """Insert rows; where one with the same keys stands, write its other columns anew, or add to them."""
        if rows:
            self._connection.execute(_upsert(table, keys, tuple(rows[0]), adding), list(rows))

    def _execute(self, statement: Compiled, parameters: Mapping[str, Any]) -> tuple[Form, sqlite3.Cursor]:
        form = statement.form(self._connection.dialect, tuple(parameters))
        driver: Any = self._connection.connection.driver_connection
        return form, driver.execute(form.sql, form.arranged(parameters))

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[DBAPICursor]:
        """Give a cursor of the driver: for many rows SQLAlchemy's own costs more than the database."""
        with contextlib.closing(self._connection.connection.cursor()) as cursor:
            yield cursor


def _whole_groups(rows: Iterator[tuple[Any, ...]], rest: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield the values of `AT_ONCE` rows at a time; what is too few for that is put into `rest`."""
    while len(some := list(islice(rows, AT_ONCE))) == AT_ONCE:
        yield tuple(chain.from_iterable(some))
    rest += some


@functools.cache
def _upsert(table: Table, keys: tuple[str, ...], columns: tuple[str, ...], adding: frozenset[str]) -> sqlite.Insert:
    statement = sqlite.insert(table)
    others = {
        name: statement.excluded[name] + table.c[name] if name in adding else statement.excluded[name]
        for name in columns
        if name not in keys
    }
    return statement.on_conflict_do_update(index_elements=list(keys), set_=others)


def execute(work: Callable[[Statements], T], on: Statements) -> T:
    """Do a piece of work. Runs in the writer's thread."""
    return work(on)


class Transaction:
    """The same from the loop, a statement at a time, or as a piece of work that the thread does at once.

    Each comes to its end, whoever is cancelled: nothing goes on behind the back of the next one.
    """

    def __init__(self, connection: Connection, thread: WriterThread) -> None:
        self._connection = connection
        self._thread = thread

    async def do(self, work: Callable[[Statements], T]) -> T:
        """Do a piece of work in the thread; it is one step for the loop."""
        return await self._thread.run(partial(execute, work, Statements(self._connection)))

    async def run(self, statement: Executable | Compiled, rows: Any = None) -> int:
        """Execute a statement, once for each of `rows`; return how many rows it changed."""
        return await self.do(lambda on: on.run(statement, rows))

    async def insert(self, statement: Insert, row: dict[str, Any]) -> int:
        """Insert one row and return its number."""
        return await self.do(lambda on: on.insert(statement, row))

    async def run_many(self, statement: Prepared, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute a prepared statement for each of `rows`."""
        await self.do(lambda on: on.run_many(statement, rows))

    async def upsert(
        self,
        table: Table,
        keys: tuple[str, ...],
        rows: Sequence[dict[str, Any]],
        *,
        adding: frozenset[str] = frozenset(),
    ) -> None:
        """Insert rows; where one with the same keys stands, write its other columns anew, or add to them."""
        await self.do(lambda on: on.upsert(table, keys, rows, adding=adding))

    async def rows(self, statement: Executable | Compiled, parameters: Any = None) -> Sequence[Any]:
        """Return all rows of a SELECT; for answers that are small by nature."""
        return await self.do(lambda on: on.rows(statement, parameters))


@contextlib.contextmanager
def translated(path: Path) -> Any:
    """Turn the library's exceptions into a MirrorError that names the file."""
    try:
        yield
    except DBAPIError as error:
        raise _class_of(error.orig)(told(path, error.orig)) from error
    except sqlite3.Error as error:
        raise _class_of(error)(told(path, error)) from error


def _is_the_end(error: BaseException) -> bool:
    """Say whether nothing may go on with the connection on which this was raised."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, MemoryError) or _class_of(cause) is BrokenMirrorError


def _class_of(error: BaseException | None) -> type[MirrorError]:
    is_breaking = primary(error) in _BREAKING or getattr(error, "sqlite_errorcode", None) in _BREAKING_EXTENDED
    return BrokenMirrorError if is_breaking else MirrorError


@contextlib.asynccontextmanager
async def open_writer(path: Path) -> AsyncIterator[Writer]:
    """Open the writer connection of a SQLite file, and create the file if there is none.

    At the end the journal goes back into the file, so that it can be read by users who may not write beside it.
    """
    check_library()
    thread = WriterThread(path)
    engine = _engine_on(thread)
    is_sound = True
    try:
        with translated(path):
            _ = await thread
            connection = await thread.run(engine.connect)
            writer = Writer(connection, thread, path)
            try:
                async with _journal_put_back(writer):
                    yield writer
            finally:
                is_sound = not writer.is_broken
                if writer.is_broken:
                    _never_close(connection.connection.driver_connection)
                await thread.run(connection.close)
    except BrokenMirrorError:
        is_sound = False
        raise
    finally:
        if is_sound:
            await thread.close()
        else:
            await thread.abandon()


def _engine_on(thread: WriterThread) -> Engine:
    """Return what writes SQL for the connection of a thread; of all threads that one alone uses it."""
    engine = create_engine("sqlite://", creator=lambda: thread.raw, poolclass=StaticPool)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        try:
            for pragma in _PRAGMAS:
                cursor.execute(pragma)
        except sqlite3.Error as error:
            if _class_of(error) is BrokenMirrorError:
                _never_close(connection)
            raise
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(_connection: object) -> None:
        thread.raw.execute("BEGIN IMMEDIATE")

    return engine


def _never_close(connection: object) -> None:
    """Leave a connection as it is until the process ends: closing it would write what is in the journal to the file.

    Also the interpreter's end would close it, so nothing may ever count its references down.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


@contextlib.asynccontextmanager
async def _journal_put_back(writer: Writer) -> AsyncIterator[None]:
    """Leave WAL at the end, unless the database itself failed: then nothing goes on with this handle."""
    is_sound = True
    try:
        yield
    except MirrorError as error:
        is_sound = not isinstance(error.__cause__, DBAPIError | sqlite3.Error)
        raise
    finally:
        if is_sound and not writer.is_broken:
            await writer.leave(_put_back_journal)


def _put_back_journal(connection: Connection) -> None:
    """Leave WAL, unless a reader still has the file: then the journal stays and is found at the next start."""
    raw: Any = connection.connection.driver_connection
    with contextlib.suppress(sqlite3.Error):
        raw.execute("PRAGMA busy_timeout = 100")
        raw.execute("PRAGMA journal_mode = DELETE")
