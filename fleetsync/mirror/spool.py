"""What a plan finds, however much: kept in databases that are nobody else's, have no name, and end with it.

What is little needs none. SQLite puts what no longer fits its cache on the disk, so memory does not grow.
"""

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, TypeVar, overload

from fleetsync.errors import MirrorError

T = TypeVar("T")

_CACHE_KIB = 1024
_BATCH = 500


class _Private:
    """A database of our own, made when there is much to keep. One thread at a time; which one does not matter."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._connection: sqlite3.Connection | None = None
        self._waiting: list[tuple[Any, ...]] = []
        """What is not in the database yet, the bytes last: all there is, where there is no database."""
        self._waiting_bytes = 0

    def __del__(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _write(self, sql: str, row: tuple[Any, ...]) -> None:
        self._waiting.append(row)
        self._waiting_bytes += len(row[-1])
        if len(self._waiting) >= _BATCH or self._waiting_bytes >= _CACHE_KIB * 1024:
            with _translated():
                self._connection = self._connection or self._opened()
                self._flush(self._connection, sql)

    def _flush(self, connection: sqlite3.Connection, sql: str) -> None:
        rows, self._waiting, self._waiting_bytes = self._waiting, [], 0
        connection.executemany(sql, rows)

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            connection.execute(f"PRAGMA {pragma}").close()
        connection.execute(self._table)
        # One transaction without an end: nobody else waits for it, and nothing of it is to last.
        connection.execute("BEGIN")
        return connection

    def _rows(
        self, connection: sqlite3.Connection, write: str, read: str, parameters: tuple[Any, ...] = ()
    ) -> Iterator[tuple[Any, ...]]:
        with _translated():
            self._flush(connection, write)
            cursor = connection.execute(read, parameters)
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
        if self._connection is None:
            return map(self._decode, (value for _, _, value in sorted(self._waiting, key=itemgetter(0, 1))))
        found = self._rows(self._connection, self._ADD, f"{_ITEMS} ORDER BY type, id, rowid")
        return map(self._decode, (value for (value,) in found))

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
        if self._connection is None:
            return iter(sorted((chunk, value) for of, chunk, value in self._waiting if of == name))
        sql = "SELECT chunk, value FROM piece WHERE name = ? ORDER BY chunk"
        return self._rows(self._connection, self._PUT, sql, (name,))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        advice = "what a plan finds needs room in the folder for temporary files, which TMPDIR names"
        raise MirrorError(f"a temporary database: {error}: {advice}") from error
