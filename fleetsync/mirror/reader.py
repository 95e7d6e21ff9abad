"""Reading that is really read-only, from the standard library alone: `query` must start quickly.

`mode=ro` is not enough: VACUUM INTO, ATTACH and PRAGMA wrote files through such a connection. An authorizer allows
SELECT and what it needs, a progress handler ends what takes too long, a length limit ends what grows too large.
"""

import contextlib
import datetime
import itertools
import re
import sqlite3
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from msgspec import Struct

from fleetsync.clock import Clock
from fleetsync.core.sql_text import Token, own_names, tokens
from fleetsync.errors import MirrorError, NotYetError, TooLongError, UsageError
from fleetsync.mirror.library import check_library
from fleetsync.mirror.revision import head, mismatch
from fleetsync.mirror.trouble import primary, told

TIME_LIMIT_S = 30.0
MOST_IDLE = 4
"""So many are kept, each of which holds files and 2 MB of pages."""

_LENGTH_LIMIT = 64 * 1024 * 1024
_STEPS = 10_000

# Deterministic functions that a question needs. What is not here is refused, also what SQLite will learn later.
FUNCTIONS = frozenset(
    """
    abs ago avg ceil ceiling char coalesce count cume_dist date datetime dense_rank exp first_value floor format
    glob group_concat hex ifnull iif instr json json_array json_array_length json_each json_extract
    json_group_array json_group_object json_object json_patch json_quote json_tree json_type json_valid julianday
    lag last_value lead length like ln log log10 log2 lower ltrim max min mod nth_value ntile nullif octet_length
    percent_rank pow power printf quote rank replace round row_number rtrim sign sqrt strftime string_agg substr
    substring sum time timediff total trim trunc typeof unhex unicode unixepoch upper -> ->>
    """.split()  # noqa: SIM905 - readable
)
_TABLE_FUNCTIONS = frozenset({"json_each", "json_tree"})
_CATALOGUE = frozenset({"sqlite_master", "sqlite_schema"})

_UNITS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_AGO = re.compile(r"\s*(\d{1,6})\s+(second|minute|hour|day|week)s?\s*\Z")


class Reader:
    """A connection that can only read, and only so much."""

    def __init__(self, path: Path, clock: Clock, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        """Open the database.

        Raises:
            NotYetError: there is none yet.
            MirrorError: it cannot be read.
        """
        check_library()
        if not path.exists():
            raise NotYetError(f"no database at {path} yet: `fleetsync sync` makes one")
        self._path = path
        self._clock = clock
        self.time_limit_s = time_limit_s
        self._deadline_s = float("inf")
        self.is_ended = False
        """Somebody interrupted it: it is of no more use."""
        self._said: list[str] = []
        self._ours = _authorizer(None, frozenset(), self._said)
        self._authorizer: Any = None
        self._columns: dict[str, frozenset[str]] = {}
        self._right: set[tuple[str, frozenset[str]]] = set()
        """What was compiled, with the views that it may read."""
        try:
            self._connection = self._connected(path)
            self._prepare()
        except sqlite3.Error as error:
            raise MirrorError(told(path, error)) from error

    def _connected(self, path: Path) -> sqlite3.Connection:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)

    def _prepare(self) -> None:
        connection = self._connection
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA busy_timeout = 5000")
        # Once, before the authorizer is in force: the first use of such a table touches the schema in memory.
        connection.execute("SELECT 1 FROM json_each('1'), json_tree('1')").close()
        connection.create_function("ago", 1, self._ago, deterministic=True)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LENGTH_LIMIT)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_progress_handler(self._is_over, _STEPS)
        names = connection.execute("SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
        self.views = frozenset(name for type, name in names if type == "view")
        self._tables = frozenset(name for type, name in names if type == "table")
        self._taken = {name.lower(): type for type, name in names} | dict.fromkeys(_CATALOGUE, "table")

    def close(self) -> None:
        """Close the connection; it holds nothing back from then on."""
        self._connection.close()

    def interrupt(self) -> None:
        """End what is running, from another thread, and let nothing more begin."""
        self.is_ended = True

    def _is_over(self) -> bool:
        return self.is_ended or self._clock.monotonic_s() > self._deadline_s

    def monotonic_s(self) -> float:
        """Return the seconds by which its time limits are measured."""
        return self._clock.monotonic_s()

    def revision(self) -> str | None:
        """Return the revision of the schema; None where it is none of ours."""
        if "alembic_version" not in self._tables:
            return None
        return next((str(found) for (found,) in self.rows("SELECT version_num FROM alembic_version")), None)

    def check_schema(self) -> None:
        """Make sure that the database is of this version.

        Raises:
            NotYetError: there is nothing in it yet.
            SchemaMismatchError: it was made by another version, or by something else.
        """
        found = self.revision()
        if found is None and not self._tables:
            raise NotYetError(f"nothing in the database {self._path} yet: `fleetsync sync` fills it")
        if found != head():
            raise mismatch(self._path, found, self._tables)

    def question(self, sql: str) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        """Run a user's SELECT over the views; return the names of its columns and its rows.

        Raises:
            UsageError: it is wrong, or not allowed.
            TooLongError: it takes longer than the limit; while its rows are fetched as well.
        """
        if fault := _fault_of(sql):
            raise UsageError(fault)
        columns, rows = self._run(sql, (), _Allowed(views=self.views, catalogue=True), self.time_limit_s)
        if not columns:
            raise UsageError("no question: one SELECT over the views")
        return columns, rows

    def compile(self, sql: str, views: frozenset[str]) -> None:
        """Make sure that a SELECT is right and reads nothing but `views`, without running it.

        Raises:
            UsageError: it is wrong, or not allowed.
        """
        if (sql, views) not in self._right:
            for _ in self._run(f"EXPLAIN {sql}", (), _Allowed(views=views), self.time_limit_s)[1]:
                break
            self._right.add((sql, views))

    def columns(self, view: str) -> frozenset[str]:
        """Return the names of a view's columns."""
        if view not in self._columns:
            self._authorize(None)
            cursor = self._connection.execute(f"SELECT * FROM {view} LIMIT 0")
            self._columns[view] = frozenset(column[0] for column in cursor.description)
        return self._columns[view]

    def definition(self, view: str) -> str:
        """Return the SELECT that makes up a view."""
        sql = "SELECT sql FROM sqlite_master WHERE type = 'view' AND name = ?"
        return next(str(text).partition(" AS ")[2] for (text,) in self.rows(sql, (view,)))

    def rows(
        self, sql: str, parameters: tuple[Any, ...] = (), *, within_s: float | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Run a SELECT of our own, over tables and views alike; `within_s` is a limit other than the reader's.

        Raises:
            UsageError: a selector in it fails on the data.
            TooLongError: it takes longer than the limit.
            MirrorError: it was interrupted, or the database cannot be read.
        """
        return self._run(sql, parameters, None, self.time_limit_s if within_s is None else within_s)[1]

    def _run(
        self, sql: str, parameters: tuple[Any, ...], allowed: "_Allowed | None", within_s: float
    ) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        own = own_names(sql) if allowed is not None else frozenset()
        if taken := own & self._taken.keys():
            raise UsageError(f"{min(taken)} is a {self._taken[min(taken)]}: nothing else may have that name")
        if self.is_ended:
            raise MirrorError(f"database {self._path}: interrupted")
        self._deadline_s = self._clock.monotonic_s() + within_s
        self._said.clear()
        self._authorize(_authorizer(allowed, own, self._said) if allowed is not None else self._ours)
        try:
            cursor = self._connection.execute(sql, parameters)
        except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError) as error:
            raise self._refusal(error) from error
        columns = tuple(column[0] for column in cursor.description or ())
        return columns, self._fetch(cursor)

    def _authorize(self, authorizer: Any) -> None:
        """Let statements do what this one allows; with another one SQLite has to prepare all of them again."""
        if authorizer is not self._authorizer:
            self._connection.set_authorizer(authorizer)
            self._authorizer = authorizer

    def _fetch(self, cursor: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
        try:
            while rows := cursor.fetchmany(500):
                yield from rows
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> UsageError | TooLongError | MirrorError:
        if isinstance(error, sqlite3.OperationalError) and str(error) == "interrupted":
            if self.is_ended:
                return MirrorError(f"database {self._path}: interrupted")
            return TooLongError(f"it took longer than the limit of {self.time_limit_s:g} s")
        if primary(error) in _BROKEN:
            return MirrorError(told(self._path, error))
        # What our own callbacks refused they have said better than the library, which only knows that they did.
        return UsageError(self._said[0] if self._said else str(error))

    def _ago(self, text: object) -> str:
        match = _AGO.match(str(text))
        if match is None:
            self._said.append(f"ago() takes a text like '30 days' (seconds, minutes, hours, days, weeks), not {text!r}")
            raise ValueError(self._said[0])
        at = self._clock.now() - datetime.timedelta(seconds=int(match[1]) * _UNITS_S[match[2]])
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_BROKEN = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }
)


def _denial(action: int, one: str | None, two: str | None) -> str:
    if action == sqlite3.SQLITE_FUNCTION:
        return f"not allowed: the function {two}(); the README lists those that are"
    if action == sqlite3.SQLITE_READ:
        return f"not allowed: {one} is no view; read the views, which the README lists"
    return "not allowed: only SELECT over the views, with the functions that the README lists"


@contextlib.contextmanager
def reading(path: Path, clock: Clock, *, any_schema: bool = False) -> Iterator[Reader]:
    """Give a reader of a database that exists and, unless `any_schema` will do, is of this version; and close it.

    Raises:
        NotYetError: there is none yet.
        SchemaMismatchError: it was made by another version, or by something else.
        MirrorError: it cannot be read.
    """
    reader = Reader(path, clock)
    try:
        if not any_schema:
            reader.check_schema()
        yield reader
    finally:
        reader.close()


class Readers:
    """Readers of one database for those who ask often: one that is done is kept for the next, which need not learn the
    schema again, as far as a few will do. Any thread may ask. One after whom something went wrong is not kept.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._idle: list[Reader] = []
        self._is_closed = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reader]:
        """Give a reader of a database that exists and is of this version.

        Raises as the function `reading` does.
        """
        with contextlib.ExitStack() as stack:
            try:
                reader = self._idle.pop()
            except IndexError:
                reader = Reader(self.path, self._clock)
                stack.callback(reader.close)
                reader.check_schema()
            else:
                stack.callback(reader.close)
            yield reader
            if not (self._is_closed or reader.is_ended or len(self._idle) >= MOST_IDLE):
                stack.pop_all()
                self._idle.append(reader)

    def close(self) -> None:
        """Close those that nobody uses, and each of the others as it is done."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()


class _Allowed(Struct, frozen=True, kw_only=True):
    """What a statement that is not ours may read."""

    views: Set[str]
    catalogue: bool = False


def _fault_of(sql: str) -> str | None:
    """Return what is wrong with the text of a question, in better words than the library's; None where nothing is."""
    if "\0" in sql or any("\ud800" <= character <= "\udfff" for character in sql):
        return "a question is text without NUL characters and halves of surrogate pairs"
    words = [word for word in tokens(sql) if word.kind != "comment"]
    if any(word.kind == "mark" and word.text in _PARAMETERS for word in words):
        return "a question has no parameters: write the value itself in place of ?, :name, @name or $name"
    if any(word != _SEMICOLON for word in itertools.dropwhile(_SEMICOLON.__ne__, words)):
        return "one SELECT at a time: nothing may follow the semicolon"
    return None


_SEMICOLON = Token("mark", ";")
_PARAMETERS = frozenset("?:@$")


def _authorizer(allowed: _Allowed | None, own: Set[str], said: list[str]) -> Any:
    """Return the callback that says what a statement may do; `allowed` None: our own SQL, any table.

    `own` names the statement's own queries: of one whose columns nobody uses (`count(*)`) SQLite asks as of a table.
    What it refuses goes into `said`, in words.
    """

    views = None if allowed is None else allowed.views
    has_catalogue = allowed is not None and allowed.catalogue

    def allow(action: int, one: str | None, two: str | None, _database: str | None, inside: str | None) -> int:
        match action:
            case sqlite3.SQLITE_SELECT | sqlite3.SQLITE_RECURSIVE:
                is_fine = True
            case sqlite3.SQLITE_FUNCTION:
                is_fine = (two or "").lower() in FUNCTIONS
            case sqlite3.SQLITE_READ:
                readable = views is None or inside in views or one in views
                counted = two == "" and (one or "").lower() in own
                catalogue = one in _CATALOGUE and has_catalogue
                is_fine = readable or counted or catalogue or one in _TABLE_FUNCTIONS
            case _:
                is_fine = False
        if not is_fine:
            said.append(_denial(action, one, two))
        return sqlite3.SQLITE_OK if is_fine else sqlite3.SQLITE_DENY

    return allow
