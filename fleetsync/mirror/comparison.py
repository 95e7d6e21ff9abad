"""Pages beside rows: which of the listed resources are as they are stored, found without looking into them.

A service lists its resources in much the same order every time, and rows are numbered in the order in which they were
first listed. So what a batch of pages is likely to be about are the rows after the last ones. That a whole page is as
it was is seen by its bytes alone, and what is the same in another by the digests that are kept with the page (`kept`).
Of pages that are not kept the rows are read in one go, and compared by id and digest. What is not among all these is
looked up by its id.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, compress, groupby
from operator import eq

from sqlalchemy import bindparam, select

from fleetsync.core.document import digest_of
from fleetsync.core.model import Page, Resource, Unreadable
from fleetsync.errors import InvalidResponseError
from fleetsync.mirror import kept
from fleetsync.mirror.engine import Prepared, Statements
from fleetsync.mirror.resources import Scope
from fleetsync.mirror.tables import NOT_BY_KEY, resource

_NEXT = Prepared(
    select(resource.c.no, resource.c.id, resource.c.digest)
    .where(resource.c.no > bindparam("after"), resource.c.no < bindparam("before"), *NOT_BY_KEY)
    .where(resource.c.gone_at.is_(None), resource.c.missed_since.is_(None))
    .order_by(resource.c.no)
    .limit(bindparam("most")),
    ("after", "before", "source", "type", "most"),
)

_NO_END = 1 << 62
_PATIENCE = 3
"""So many batches in a row that are not about the expected rows, and the list has another order."""


class Batch:
    """The entries of some pages in their order: their ids, and the digests of their documents.

    Pages that are `known` by their bytes are not opened, and their entries are not among these. `rows` are the numbers
    of the rows that are as the entries show them, as far as that was found out; beside the ids.
    """

    def __init__(self, pages: Sequence[Page]) -> None:
        self.pages = list(pages)
        self.page_digests = [None if page.body is None else digest_of(page.body) for page in pages]
        self.known: dict[int, range] = {}
        self._opened: list[int] = []
        self._ends: list[int] = []
        self._partly: dict[int, range] = {}
        self.ids: list[str] = []
        self.digests: list[bytes] = []
        self.rows: list[int | None] = []
        self.lost: list[Unreadable] = []

    def open(self, known: Mapping[bytes, range]) -> InvalidResponseError | None:
        """Open all pages but those of which the rows are known by their digests.

        Where one cannot be opened, it and those after it are left out; returned is why.
        """
        found = ((number, known.get(digest)) for number, digest in enumerate(self.page_digests) if digest is not None)
        self.known = {number: rows for number, rows in found if rows is not None}
        error = self._cut()
        self._opened = [number for number in range(len(self.pages)) if number not in self.known]
        self._partly = {}
        opened = [self.pages[number] for number in self._opened]
        self._ends = list(accumulate(len(page.ids) for page in opened))
        self.ids = [id for page in opened for id in page.ids]
        self.digests = [digest_of(document) for page in opened for document in page.documents]
        self.rows = [None] * len(self.ids)
        self.lost = [one for page in opened for one in page.lost]
        return error

    def recognise(self, rows: Mapping[bytes, int]) -> tuple[list[int], Sequence[int]]:
        """Find entries that are as they are stored by their digests alone; return their rows, and all other positions.

        Of entries with one id only the last is among them.
        """
        positions = self.positions()
        found = list(map(rows.get, self.digests)) if rows else []
        if not any(found):
            return [], positions
        for position in positions:
            self.rows[position] = found[position]
        begin = 0
        for number, end in zip(self._opened, self._ends, strict=True):
            if there := [row for row in self.rows[begin:end] if row is not None]:
                self._partly[number] = range(min(there), max(there) + 1)
            begin = end
        same = [row for row in self.rows if row is not None]
        return same, [position for position in positions if self.rows[position] is None]

    def _cut(self) -> InvalidResponseError | None:
        for number, page in enumerate(self.pages):
            try:
                if number not in self.known:
                    page.open()
            except InvalidResponseError as error:
                del self.pages[number:], self.page_digests[number:]
                self.known = {place: rows for place, rows in self.known.items() if place < number}
                return error
        return None

    @property
    def sizes(self) -> list[int]:
        """Return how many entries each page has."""
        return [
            len(self.known[number]) if number in self.known else page.size for number, page in enumerate(self.pages)
        ]

    def gaps(self, after: int) -> tuple[list[tuple[int, int, int]], int]:
        """Return where the rows of the pages probably are of which none is known: after which, before which, how many.

        `after` is the row before all of them; with it comes the last row of the last known page, or `after`.
        """
        gaps, most = [], 0
        for number, page in enumerate(self.pages):
            rows = self.known.get(number) or self._partly.get(number)
            if rows is None:
                most += len(page.ids)
                continue
            if most:
                gaps.append((after, rows.start, most))
            after, most = rows[-1], 0
        return ([*gaps, (after, _NO_END, most)] if most else gaps), after

    def clashes(self, numbers: Iterable[int]) -> bool:
        """Say whether one of these rows is shown by a known page as well."""
        ranges = sorted(self.known.values(), key=lambda rows: rows.start)
        begins = [rows.start for rows in ranges]
        places = ((number, bisect_right(begins, number) - 1) for number in numbers if begins)
        return any(place >= 0 and number in ranges[place] for number, place in places)

    def shown_in_a_row(self) -> Iterator[kept.Shown]:
        """Yield the opened pages whose rows follow one another, and are as they show them."""
        begin = 0
        for number, end in zip(self._opened, self._ends, strict=True):
            rows, digest, entries, begin = self.rows[begin:end], self.page_digests[number], self.digests[begin:end], end
            first = rows[0] if rows else None
            if digest is not None and first is not None and rows == list(range(first, first + len(rows))):
                yield kept.Shown(range(first, first + len(rows)), digest, entries)

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
        """Look into the entries at these positions, page by page; those that cannot be stored are put into `lost`."""
        for number, some in groupby(positions, partial(bisect_right, self._ends)):
            page, wanted = self.pages[self._opened[number]], list(some)
            begin = self._ends[number - 1] if number else 0
            is_whole = len(wanted) == self._ends[number] - begin
            shown = page.read_all() if is_whole else [page.read(position - begin) for position in wanted]
            for one, position in zip(shown, wanted, strict=True):
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

    pages: Mapping[bytes, range] = field(default_factory=dict)
    """The rows of the kept pages that a batch probably shows, by the digests of their bytes."""

    def open(self, on: Statements, scope: Scope, batch: Batch) -> InvalidResponseError | None:
        """Open those pages of a batch that are not known by their bytes; see `Batch.open`."""
        most = len(batch.pages)
        self.pages = {} if self.is_over else kept.following(on, scope.source, scope.type, after=self.after, most=most)
        return batch.open(self.pages)

    def unchanged(self, on: Statements, scope: Scope, batch: Batch) -> tuple[list[int], Sequence[int]]:
        """Return the rows that an opened batch shows as they are stored, and the positions of all other entries.

        Rows that a listing missed or that are gone are among neither: their entries are looked up.
        """
        pages = [rows for digest, rows in self.pages.items() if digest not in batch.page_digests] if batch.ids else []
        same, positions = batch.recognise(kept.entries(on, pages) if pages else {})
        gaps, self.after = batch.gaps(self.after)
        if self.is_over or not positions:
            return same, positions
        rows: list[tuple[int, str, bytes]] = []
        for after, before, most in gaps:
            found = on.fetch(_NEXT, (after, before, scope.source, scope.type, most))
            self.is_over = before == _NO_END and len(found) < most
            rows += found
        if not rows:
            return same, positions
        numbers, ids, digests = map(list, zip(*rows, strict=True))
        if ids == batch.ids:
            self.after = max(self.after, numbers[-1])
            are_same = list(map(eq, digests, batch.digests))
            batch.rows = [number if is_same else None for number, is_same in zip(numbers, are_same, strict=True)]
            same = list(compress(numbers, are_same))
            return same, [position for position in positions if not are_same[position]]
        more, others = self._matched(dict(zip(ids, rows, strict=True)), batch, positions)
        return same + more, others

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
                batch.rows[position] = row[0]
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
