"""What a plan finds, however much: kept in databases that are nobody else's, have no name, and end with it.

SQLite keeps a small one in memory and puts what no longer fits its cache on the disk, so memory does not grow.
"""

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, overload

from fleetsync.errors import MirrorError

T = TypeVar("T")

_CACHE_KIB = 1024
_BATCH = 500


class _Private:
    """A database of our own, made when there is something to keep. One thread at a time; which one does not matter."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._connection: sqlite3.Connection | None = None
        self._waiting: list[tuple[Any, ...]] = []

    def __del__(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _write(self, sql: str, row: tuple[Any, ...]) -> None:
        self._waiting.append(row)
        if len(self._waiting) >= _BATCH:
            self._flush(sql)

    def _flush(self, sql: str) -> None:
        rows, self._waiting = self._waiting, []
        if rows:
            with _translated():
                self._connection = self._connection or self._opened()
                self._connection.executemany(sql, rows)

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            connection.execute(f"PRAGMA {pragma}").close()
        connection.execute(self._table)
        # One transaction without an end: nobody else waits for it, and nothing of it is to last.
        connection.execute("BEGIN")
        return connection

    def _rows(self, sql: str, parameters: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        if self._connection is None:
            return
        with _translated():
            cursor = self._connection.execute(sql, parameters)
            while rows := cursor.fetchmany(_BATCH):
                yield from rows


class Sorted(_Private, Sequence[T]):
    """Items in the order of their keys, and those of one key in the order in which they came.

    An item is read anew each time that somebody asks for it.
    """

    _ADD = "INSERT INTO item VALUES (?, ?, ?)"

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        super().__init__("CREATE TABLE item (type TEXT NOT NULL, id TEXT NOT NULL, value BLOB NOT NULL)")
        self._decode = decode
        self._size = 0

    def add(self, type: str, id: str, value: bytes) -> None:
        """Take one more item; its key is its resource's."""
        self._write(self._ADD, (type, id, value))
        self._size += 1

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        self._flush(self._ADD)
        return map(self._decode, (value for (value,) in self._rows(f"{_ITEMS} ORDER BY type, id, rowid")))

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return tuple(itertools.islice(self, *index.indices(self._size)))
        place = range(self._size)[index]
        return next(itertools.islice(self, place, None))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return NotImplemented if not isinstance(other, Sequence) else False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # a mutable sequence has none


_ITEMS = "SELECT value FROM item"


class Chunks(_Private):
    """Pieces of many things, each under a name and a number."""

    _PUT = "INSERT INTO piece VALUES (?, ?, ?)"

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE piece (name TEXT NOT NULL, chunk INTEGER NOT NULL, value BLOB NOT NULL,"
            " PRIMARY KEY (name, chunk))"
        )

    def put(self, name: str, chunk: int, value: bytes) -> None:
        """Keep a piece."""
        self._write(self._PUT, (name, chunk, value))

    def of(self, name: str) -> Iterator[tuple[int, bytes]]:
        """Yield the pieces under a name, by number."""
        self._flush(self._PUT)
        return self._rows("SELECT chunk, value FROM piece WHERE name = ? ORDER BY chunk", (name,))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        advice = "what a plan finds needs room in the folder for temporary files, which TMPDIR names"
        raise MirrorError(f"a temporary database: {error}: {advice}") from error
