"""Pages beside rows: which of the listed resources are as they are stored, found without looking into them.

A service lists its resources in much the same order every time, and rows are numbered in the order in which they were
first listed. So the rows that a batch of pages is likely to be about are those after the last ones: they are read in
one go, and compared by id and digest. What is not among them is looked up by its id.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from sqlalchemy import bindparam, select

from fleetsync.core.delta import digest_of
from fleetsync.core.model import Page, Resource, Unreadable
from fleetsync.mirror.engine import Prepared, Statements
from fleetsync.mirror.resources import Scope
from fleetsync.mirror.tables import NOT_BY_KEY, resource

_NEXT = Prepared(
    select(resource.c.no, resource.c.id, resource.c.digest)
    .where(resource.c.no > bindparam("after"), *NOT_BY_KEY)
    .where(resource.c.gone_at.is_(None), resource.c.missed_since.is_(None))
    .order_by(resource.c.no)
    .limit(bindparam("most")),
    ("after", "source", "type", "most"),
)

_PATIENCE = 3
"""So many batches in a row that are not about the expected rows, and the list has another order."""


class Batch:
    """The entries of some pages in their order: their ids, and the digests of their documents."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self._pages = pages
        self._ends = list(accumulate(len(page.ids) for page in pages))
        self.ids: list[str] = [id for page in pages for id in page.ids]
        self.digests: list[bytes] = [digest_of(document) for page in pages for document in page.documents]
        self.lost = [one for page in pages for one in page.lost]

    def positions(self) -> Sequence[int]:
        """Return where entries stand; of those with one id the last, which is believed."""
        last = {id: position for position, id in enumerate(self.ids)} if self.has_twice else {}
        return sorted(last.values()) if last else range(len(self.ids))

    @property
    def has_twice(self) -> bool:
        """Say whether an id stands in it more than once."""
        return len(set(self.ids)) < len(self.ids)

    def described_in_two_ways(self) -> frozenset[str]:
        """Return the ids that stand in it with different documents."""
        first: dict[str, bytes] = {}
        pairs = zip(self.ids, self.digests, strict=True) if self.has_twice else ()
        return frozenset(id for id, digest in pairs if first.setdefault(id, digest) != digest)

    def digests_at(self, positions: Iterable[int]) -> dict[str, bytes]:
        """Return the digests of the entries at these positions, by id."""
        return {self.ids[position]: self.digests[position] for position in positions}

    def read(self, positions: Iterable[int]) -> tuple[list[tuple[Resource, bytes]], list[Unreadable]]:
        """Look into the entries at these positions: those that can be stored, with their digests, and the others."""
        lost: list[Unreadable] = []
        return list(self.each(positions, lost)), lost

    def each(self, positions: Iterable[int], lost: list[Unreadable]) -> Iterator[tuple[Resource, bytes]]:
        """Look into the entries at these positions one by one; those that cannot be stored are put into `lost`."""
        for position in positions:
            number = bisect_right(self._ends, position)
            one = self._pages[number].read(position - (self._ends[number - 1] if number else 0))
            if isinstance(one, Resource):
                yield one, self.digests[position]
            else:
                lost.append(one)


@dataclass(slots=True)
class Expected:
    """The place in the rows where a listing is: what it shows next probably follows."""

    after: int = 0
    is_over: bool = False
    misses: int = 0

    def unchanged(self, on: Statements, scope: Scope, batch: Batch) -> tuple[list[int], Sequence[int]]:
        """Return the rows that a batch shows as they are stored, and the positions of all other entries.

        Rows that a listing missed or that are gone are among neither: their entries are looked up.
        """
        positions = batch.positions()
        if self.is_over or not positions:
            return [], positions
        rows = on.fetch(_NEXT, (self.after, scope.source, scope.type, len(batch.ids)))
        self.is_over = len(rows) < len(batch.ids)
        if not rows:
            return [], positions
        numbers, ids, digests = map(list, zip(*rows, strict=True))
        if ids == batch.ids and digests == batch.digests:
            self.after = numbers[-1]
            return numbers, ()
        return self._matched(dict(zip(ids, rows, strict=True)), batch, positions)

    def _matched(
        self, rows: dict[str, tuple[int, str, bytes]], batch: Batch, positions: Sequence[int]
    ) -> tuple[list[int], Sequence[int]]:
        same: list[int] = []
        others: list[int] = []
        shown = 0
        for position in positions:
            row = rows.get(batch.ids[position])
            if row is None:
                others.append(position)
                continue
            shown = max(shown, row[0])
            if row[2] == batch.digests[position]:
                same.append(row[0])
            else:
                others.append(position)
        self.after = max(shown, self.after)
        return same, others

    def found(self, last: int | None, *, looked_up: int, of: int) -> None:
        """Go on after the row `last`, the one of a batch's last entry, if most of it had to be looked up."""
        if 2 * looked_up <= of:
            self.misses = 0
        elif last is not None and self.misses < _PATIENCE:
            self.misses += 1
            self.after, self.is_over = last, False
        else:
            self.is_over = True
