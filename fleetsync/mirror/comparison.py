"""Pages beside rows: which of the listed resources are as they are stored, found without looking into them.

A service lists its resources in much the same order every time, and rows are numbered in the order in which they were
first listed. So what a batch of pages is likely to be about are the rows after the last ones. That a whole page is as
it was is seen by its bytes alone, and what is the same in another by the digests that are kept with the page (`kept`).
Of pages that are not kept the rows are read in one go, and compared by id and digest. What is not among all these is
looked up: where its row probably is, then by its id.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import compress, groupby
from operator import eq

from sqlalchemy import bindparam, select

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
    of the rows that are as the entries show them, as far as that was found out; beside the ids. An entry whose row was
    `recognised` by its digest alone has an empty id: nobody looked for it. `likely` are the numbers of rows that others
    probably are about.
    """

    def __init__(self, pages: Sequence[Page]) -> None:
        self.pages = list(pages)
        self.page_digests = [page.digest for page in pages]
        self._clear()

    def _clear(self) -> None:
        self.known: dict[int, range] = {}
        self.recognised: set[int] = set()
        self._opened: list[int] = []
        self._ends: list[int] = []
        self._partly: dict[int, range] = {}
        self._left: list[int] = []
        self.likely: list[int] = []
        self.ids: list[str] = []
        self.digests: list[bytes] = []
        self.rows: list[int | None] = []
        self.lost: list[Unreadable] = []

    def open(self, known: Mapping[bytes, range], others: Sequence[kept.Kept] = ()) -> InvalidResponseError | None:
        """Open all pages but those of which the rows are known by their digests; in `others` their entries may stand.

        Where one cannot be opened, it and those after it are left out; returned is why.
        """
        self._clear()
        error = self._open_pages(known, _Others(others))
        if len(self.recognised) + len(self._left) < len(self.ids):  # some stand there twice: their order counts
            return self.open(known) or error
        return error

    def _open_pages(self, known: Mapping[bytes, range], others: "_Others") -> InvalidResponseError | None:
        for number, page in enumerate(self.pages):
            digest = self.page_digests[number]
            if digest is not None and digest in known:
                self.known[number] = known[digest]
                continue
            try:
                self._add(number, page, others)
            except InvalidResponseError as error:
                del self.pages[number:], self.page_digests[number:]
                return error
        return None

    def _add(self, number: int, page: Page, others: "_Others") -> None:
        found = others.rows(page.digests)
        begin = len(self.ids)
        if there := list(filter(None, found)):  # no row has the number 0
            left = [position for position, row in enumerate(found) if row is None]
            ids = [""] * len(found)
            for position, id in zip(left, page.ids_at(left), strict=True):
                ids[position] = id
            self.ids += ids
            self._left += [begin + position for position in left]
            self._partly[number] = range(min(there), max(there) + 1)
            self.recognised.update(there)
            first = there[0] - found.index(there[0])  # the row of the page's first entry, if all follow one another
            self.likely += [first + position for position in left]
        else:
            self.ids += page.ids
            self._left += range(begin, len(self.ids))
        self.digests += page.digests
        self.rows += found
        self.lost += page.lost
        self._opened.append(number)
        self._ends.append(len(self.ids))

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
                most += len(page.documents)
                continue
            if most:
                gaps.append((after, rows.start, most))
            after, most = rows[-1], 0
        return ([*gaps, (after, _NO_END, most)] if most else gaps), after

    def clashes(self, numbers: Iterable[int]) -> bool:
        """Say whether one of these rows is shown by a known page as well, or by an entry that is recognised."""
        ranges = sorted(self.known.values(), key=lambda rows: rows.start)
        begins = [rows.start for rows in ranges]
        places = ((number, bisect_right(begins, number) - 1) for number in numbers)
        return any(number in self.recognised or (place >= 0 and number in ranges[place]) for number, place in places)

    def shown_in_a_row(self) -> Iterator[kept.Kept]:
        """Yield the opened pages whose rows follow one another, and are as they show them."""
        begin = 0
        for number, end in zip(self._opened, self._ends, strict=True):
            rows, digest, entries, begin = self.rows[begin:end], self.page_digests[number], self.digests[begin:end], end
            first = rows[0] if rows else None
            if digest is not None and first is not None and rows == list(range(first, first + len(rows))):
                yield kept.Kept(range(first, first + len(rows)), digest, entries)

    def positions(self) -> Sequence[int]:
        """Return where entries stand that are not recognised; of those with one id the last, which is believed."""
        last = {self.ids[position]: position for position in self._left}
        return self._left if len(last) == len(self._left) else sorted(last.values())

    @property
    def named(self) -> list[str]:
        """Return the ids of the entries that are not recognised."""
        return [self.ids[position] for position in self._left]

    def described_in_two_ways(self) -> frozenset[str]:
        """Return the ids that stand in it with different documents."""
        last = self.digests_at(self._left)
        return frozenset(self.ids[at] for at in self._left if last[self.ids[at]] != self.digests[at])

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
            shown = page.read([position - begin for position in wanted])
            for one, position in zip(shown, wanted, strict=True):
                if isinstance(one, Resource):
                    yield one, self.digests[position]
                else:
                    lost.append(one)


class _Others:
    """The entries of kept pages, to be found again in pages that come otherwise."""

    def __init__(self, pages: Sequence[kept.Kept]) -> None:
        self._pages = pages
        self._next = iter(pages)

    def rows(self, digests: Sequence[bytes]) -> list[int | None]:
        """Return the rows of the next page's entries, by their digests; None where there is no such."""
        likely = next(self._next, None)
        if likely is not None and len(likely.entries) == len(digests):  # most are where they were
            found = [
                row if before == now else None
                for row, before, now in zip(likely.rows, likely.entries, digests, strict=True)
            ]
            if 2 * found.count(None) <= len(found):
                return found
        return list(map(self._by_digest.get, digests)) if self._pages else [None] * len(digests)

    @cached_property
    def _by_digest(self) -> dict[bytes, int]:
        return {entry: row for page in self._pages for entry, row in zip(page.entries, page.rows, strict=True)}


@dataclass(slots=True)
class Expected:
    """The place in the rows where a listing is: what it shows next probably follows."""

    after: int = 0
    is_over: bool = False
    misses: int = 0

    def open(self, on: Statements, scope: Scope, batch: Batch) -> InvalidResponseError | None:
        """Open those pages of a batch that are not known by their bytes; see `Batch.open`."""
        if self.is_over:
            return batch.open({})
        pages = kept.following(on, scope.source, scope.type, after=self.after, most=len(batch.pages))
        shown = set(batch.page_digests)
        others = [rows for digest, rows in pages.items() if digest not in shown]
        return batch.open(pages, kept.opened(on, others) if others and not shown <= pages.keys() else ())

    def unchanged(self, on: Statements, scope: Scope, batch: Batch) -> tuple[list[int], Sequence[int]]:
        """Return the rows that an opened batch shows as they are stored, and the positions of all other entries.

        Rows that a listing missed or that are gone are among neither: their entries are looked up.
        """
        same, positions = sorted(batch.recognised), batch.positions()
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
            batch.likely += [number for number, is_same in zip(numbers, are_same, strict=True) if not is_same]
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
                batch.likely.append(row[0])
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
