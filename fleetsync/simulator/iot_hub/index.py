"""The index that queries read: it learns of a write some time after it, and keeps an order of its own."""

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from operator import itemgetter
from typing import Final, Literal, TypeAlias

from fleetsync.simulator.iot_hub.records import Key, Record, row_document
from fleetsync.simulator.wire import encoded

Source: TypeAlias = Literal["devices", "devices.modules"]
Stored: TypeAlias = Record | int
"""A record, or the number of one that is still as the fleet began."""

CIRCLE: Final = 1 << 64
"""Places are numbers below it, and a scan may begin at any of them."""

_Placed: TypeAlias = tuple[int, Key]


@dataclass(slots=True, kw_only=True)
class Row:
    """What the index knows of one device or module."""

    key: Key
    stored: Stored
    text: bytes | None = None


class Index:
    """Rows by key, in the order of the hashes of their keys: no order to a client, and yet a stable one.

    A scan goes once around the circle of hashes; a row that comes or goes meanwhile moves no other.
    """

    def __init__(self, stored: Iterable[tuple[Key, Stored]], *, record: Callable[[Key, Stored], Record]) -> None:
        self.lag_s = 0.0
        self._record = record
        self._rows = {key: Row(key=key, stored=found) for key, found in stored}
        self._orders: dict[Source, list[_Placed]] = {"devices": [], "devices.modules": []}
        for key in self._rows:
            self._orders[_source(key)].append((place_of(key), key))
        for order in self._orders.values():
            order.sort()
        self._due: list[tuple[float, int, Key, Record | None]] = []
        self._serial = count()

    def size(self, source: Source) -> int:
        """Return the number of rows."""
        return len(self._orders[source])

    def publish(self, key: Key, record: Record | None, *, at: float) -> None:
        """Take note of a write; None is a deletion. It is seen after the lag."""
        heapq.heappush(self._due, (at + self.lag_s, next(self._serial), key, record))

    def settle(self, at: float) -> None:
        """See every write that is to be seen by now, in the order in which they became due."""
        while self._due and self._due[0][0] <= at:
            _, _, key, record = heapq.heappop(self._due)
            if record is None:
                self._remove(key)
            else:
                self._put(record)

    def walk(self, source: Source, *, start: int, after: int) -> Iterator[tuple[int, Row]]:
        """Yield the rows behind a place of a scan, each with its own place; -1 is before all.

        Places of a scan are distances from where it starts.
        """
        order = self._orders[source]
        begin = bisect_left(order, (start + after + 1) % CIRCLE, key=itemgetter(0))
        for step in range(len(order)):
            place, key = order[(begin + step) % len(order)]
            distance = (place - start) % CIRCLE
            if distance <= after:
                return
            yield distance, self._rows[key]

    def row_at(self, source: Source, *, start: int, distance: int) -> Row | None:
        """Return the row at a place of a scan, or None when it is gone."""
        found = next(self.walk(source, start=start, after=distance - 1), None)
        return found[1] if found is not None and found[0] == distance else None

    def record(self, row: Row) -> Record:
        """Return the record behind a row."""
        return self._record(row.key, row.stored)

    def stored(self) -> Iterator[tuple[Key, Stored]]:
        """Yield every key with what is known of it."""
        return ((row.key, row.stored) for row in self._rows.values())

    def text(self, row: Row) -> bytes:
        """Return the row as a query shows it; made when first asked for."""
        if row.text is None:
            row.text = encoded(row_document(self.record(row)))
        return row.text

    def _put(self, record: Record) -> None:
        if record.key not in self._rows:
            insort(self._orders[_source(record.key)], (place_of(record.key), record.key))
        self._rows[record.key] = Row(key=record.key, stored=record)

    def _remove(self, key: Key) -> None:
        if self._rows.pop(key, None) is not None:
            order = self._orders[_source(key)]
            del order[bisect_left(order, (place_of(key), key))]


def place_of(key: Key) -> int:
    """Return the place of a key in the circle."""
    return int.from_bytes(blake2b("\n".join(key).encode(), digest_size=8).digest(), "big")


def _source(key: Key) -> Source:
    return "devices.modules" if key[1] else "devices"
