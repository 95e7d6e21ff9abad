"""Pages beside rows: which of the listed resources are as they are stored, found without looking into them.

A service lists its resources in much the same order every time, and rows are numbered in the order in which they were
first listed. So what a batch of pages is likely to be about are the rows after the last ones. That a whole page is as
it was is seen by its bytes alone, and what is the same in another by the digests that are kept with the page (`kept`).
Of pages that are not kept the rows are read in one go, and compared by id and digest. What is not among all these is
looked up: where its row probably is, then by its id.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import compress, count, groupby
from operator import eq, ne

from msgspec import Struct
from sqlalchemy import bindparam, select

from fleetsync.core.document import digests_in
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


class _Opened(Struct, frozen=True):
    """A page that was opened: where it stands in its batch, and its entries.

    `rows` has the numbers of those that are recognised, each at its place in the page; at the other `places` it has
    nothing that is known. It is a range where the page is probably about these very rows. The entries at `places` are
    those of the batch from the position `begin` on.
    """

    number: int
    rows: Sequence[int | None]
    places: Sequence[int]
    begin: int

    def filled(self, rows: Sequence[int | None]) -> Sequence[int | None]:
        """Return the rows of all entries; `rows` are those of the batch's entries."""
        found = rows[self.begin : self.begin + len(self.places)]
        if isinstance(self.rows, range) and found == [self.rows[place] for place in self.places]:
            return self.rows
        filled = list(self.rows)
        for place, row in zip(self.places, found, strict=True):
            filled[place] = row
        return filled


class Batch:
    """The entries of some pages in their order: their ids, and the digests of their documents.

    Pages that are `known` by their bytes are not opened, and their entries are not among these; neither are those that
    were `recognised` by their digests, of which it only says how many they are. `rows` are the numbers of the rows that
    are as the entries show them, as far as that was found out; beside the ids. `likely` are the numbers of rows that
    entries probably are about. `kept` are the rows of pages that are kept and probably are about the same.
    """

    def __init__(self, pages: Sequence[Page]) -> None:
        self.pages = list(pages)
        self.page_digests = [page.digest for page in pages]
        self.kept: frozenset[range] = frozenset()
        self._clear()

    def _clear(self) -> None:
        self.known: dict[int, range] = {}
        self.recognised = 0
        self._opened: list[_Opened] = []
        self._ends: list[int] = []
        self._partly: dict[int, range] = {}
        self._vacant: set[int] = set()
        self._elsewhere: list[int] = []
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
        self.kept = frozenset(known.values())
        error = self._open_pages(known, _Others(others))
        # What stands there twice counts as it stands there last, so all has to be looked at in its order.
        elsewhere = set(self._elsewhere)
        if len(elsewhere) < len(self._elsewhere) or self._stand_in_place(elsewhere):
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
        digests = page.digests
        rows, places = others.rows(digests)
        if len(places) == len(digests):
            ids = page.ids
        else:
            ids, digests = page.ids_at(places), [digests[place] for place in places]
            self._recognise(number, rows, places)
        self._opened.append(_Opened(number, rows, places, len(self.ids)))
        self.ids += ids
        self.digests += digests
        self.rows += [None] * len(ids)
        self.lost += page.lost
        self._ends.append(len(self.ids))

    def _recognise(self, number: int, rows: Sequence[int | None], places: Sequence[int]) -> None:
        """Take note of the rows that were recognised in a page, and of where others of it probably are."""
        self.recognised += len(rows) - len(places)
        if isinstance(rows, range):
            self._partly[number] = rows
            likely = [rows[place] for place in places]
            self._vacant.update(likely)
        else:
            there = [row for row in rows if row is not None]
            self._partly[number] = range(min(there), max(there) + 1)
            self._elsewhere += there
            first = there[0] - rows.index(there[0])  # the row of the page's first entry, if all follow one another
            likely = [first + place for place in places]
        self.likely += likely

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
        found = set(numbers)
        return not found.isdisjoint(self._elsewhere) or self._stand_in_place(found)

    def _stand_in_place(self, numbers: Set[int]) -> bool:
        """Say whether one of these rows is shown by a known page, or by an entry that is recognised in its place."""
        partly = [one.rows for one in self._opened if isinstance(one.rows, range)]
        ranges = sorted([*self.known.values(), *partly], key=lambda rows: rows.start)
        begins = [rows.start for rows in ranges]
        places = ((number, bisect_right(begins, number) - 1) for number in numbers - self._vacant)
        return any(place >= 0 and number in ranges[place] for number, place in places)

    def shown_in_a_row(self) -> tuple[list[kept.Kept], set[int]]:
        """Return the opened pages whose rows follow one another, and are as they show them; and the rows of others."""
        pages: list[kept.Kept] = []
        apart: set[int] = set()
        for one in self._opened:
            rows, digest = one.filled(self.rows), self.page_digests[one.number]
            first = rows[0] if rows else None
            if digest is not None and first is not None and _follow(rows, first):
                pages.append(kept.Kept(range(first, first + len(rows)), digest, self.pages[one.number].entries))
            else:
                apart.update(row for row in rows if row is not None)
        return pages, apart

    @property
    def last(self) -> int | None:
        """Return the row of the last entry of all that were opened, as far as it is known."""
        return next((rows[-1] for one in reversed(self._opened) if (rows := one.filled(self.rows))), None)

    def positions(self) -> Sequence[int]:
        """Return where entries stand; of those with one id the last, which is believed."""
        last = {id: position for position, id in enumerate(self.ids)}
        return range(len(self.ids)) if len(last) == len(self.ids) else sorted(last.values())

    def described_in_two_ways(self) -> frozenset[str]:
        """Return the ids that stand in it with different documents."""
        last = dict(zip(self.ids, self.digests, strict=True))
        return frozenset(id for id, digest in zip(self.ids, self.digests, strict=True) if last[id] != digest)

    def digests_at(self, positions: Iterable[int]) -> dict[str, bytes]:
        """Return the digests of the entries at these positions, by id."""
        return {self.ids[position]: self.digests[position] for position in positions}

    def read(self, positions: Iterable[int]) -> tuple[list[tuple[Resource, bytes]], list[Unreadable]]:
        """Look into the entries at these positions: those that can be stored, with their digests, and the others."""
        lost: list[Unreadable] = []
        return list(self.each(positions, lost)), lost

    def each(self, positions: Iterable[int], lost: list[Unreadable]) -> Iterator[tuple[Resource, bytes]]:
        """Look into the entries at these positions, page by page; those that cannot be stored are put into `lost`."""
        for index, some in groupby(positions, partial(bisect_right, self._ends)):
            one, wanted = self._opened[index], list(some)
            shown = self.pages[one.number].read([one.places[position - one.begin] for position in wanted])
            for entry, position in zip(shown, wanted, strict=True):
                if isinstance(entry, Resource):
                    yield entry, self.digests[position]
                else:
                    lost.append(entry)


def _follow(rows: Sequence[int | None], first: int) -> bool:
    """Say whether rows are all there, and follow one another."""
    return isinstance(rows, range) or rows == list(range(first, first + len(rows)))


class _Others:
    """The entries of kept pages, to be found again in pages that come otherwise."""

    def __init__(self, pages: Sequence[kept.Kept]) -> None:
        self._pages = pages
        self._next = iter(pages)

    def rows(self, digests: Sequence[bytes]) -> tuple[Sequence[int | None], Sequence[int]]:
        """Return the rows of the next page's entries, by their digests, and at which places there is none.

        Where most are where they were, these are the rows of the kept page, all of them.
        """
        likely = next(self._next, None)
        if likely is not None and len(likely.rows) == len(digests):
            places = list(compress(count(), map(ne, digests_in(likely.entries), digests)))
            if 2 * len(places) <= len(digests):
                return likely.rows, places
        if not self._pages:
            return [None] * len(digests), range(len(digests))
        rows = list(map(self._by_digest.get, digests))
        return rows, [place for place, row in enumerate(rows) if row is None]

    @cached_property
    def _by_digest(self) -> dict[bytes, int]:
        return {
            entry: row for page in self._pages for entry, row in zip(digests_in(page.entries), page.rows, strict=True)
        }


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

    def left(self, on: Statements, scope: Scope, batch: Batch) -> Sequence[int]:
        """Return the positions of those entries of an opened batch that do not show an expected row as it is stored.

        Rows that a listing missed or that are gone are not expected: their entries are looked up.
        """
        positions = batch.positions()
        gaps, self.after = batch.gaps(self.after)
        if self.is_over or not positions:
            return positions
        rows: list[tuple[int, str, bytes]] = []
        for after, before, most in gaps:
            found = on.fetch(_NEXT, (after, before, scope.source, scope.type, most))
            self.is_over = before == _NO_END and len(found) < most
            rows += found
        if not rows:
            return positions
        numbers, ids, digests = map(list, zip(*rows, strict=True))
        if ids != batch.ids:
            return self._matched(dict(zip(ids, rows, strict=True)), batch, positions)
        self.after = max(self.after, numbers[-1])
        are_same = list(map(eq, digests, batch.digests))
        batch.rows = [number if is_same else None for number, is_same in zip(numbers, are_same, strict=True)]
        batch.likely += [number for number, is_same in zip(numbers, are_same, strict=True) if not is_same]
        return [position for position in positions if not are_same[position]]

    def _matched(
        self, rows: dict[str, tuple[int, str, bytes]], batch: Batch, positions: Sequence[int]
    ) -> Sequence[int]:
        others: list[int] = []
        shown = 0
        for position in positions:
            row = rows.get(batch.ids[position])
            if row is None:
                others.append(position)
                continue
            shown = max(shown, row[0])
            if row[2] == batch.digests[position]:
                batch.rows[position] = row[0]
            else:
                batch.likely.append(row[0])
                others.append(position)
        self.after = max(shown, self.after)
        return others

    def found(self, last: int | None, *, looked_up: int, of: int) -> None:
        """Go on after the row `last`, the one of a batch's last entry, if most of it had to be looked up."""
        if 2 * looked_up <= of:
            self.misses = 0
        elif last is not None and self.misses < _PATIENCE:
            self.misses += 1
            self.after, self.is_over = last, False
        else:
            self.is_over = True
