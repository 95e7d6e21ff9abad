"""Listings: their pages, where they stand, and what complete ones did not show.

A listing's number only grows. What the mirror believes of a listing depends on numbers and marks, never on
timestamps: clocks step.
"""

import datetime
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select, update

from fleetsync.clock import Clock
from fleetsync.core.bitmap import Bitmap, Run
from fleetsync.core.delta import Event, Stored, chained, compare, doubtful
from fleetsync.core.kind import TypeSpec
from fleetsync.core.model import Cursor, CycleId, ListingId, Page, ResourceType, Unreadable
from fleetsync.core.safety import Showing
from fleetsync.errors import InvalidResponseError
from fleetsync.mirror import kept, resources
from fleetsync.mirror.comparison import Batch, Expected
from fleetsync.mirror.compiled import Compiled
from fleetsync.mirror.engine import Prepared, Statements, Transaction, Writer
from fleetsync.mirror.late import Late
from fleetsync.mirror.tables import NOT_BY_KEY, coverage, listing, resource, seen, source, text_of

# A cursor that is older is not tried: services let them die, and the pages before it are stale.
CURSOR_LIFE = datetime.timedelta(hours=1)

# What is there is what there ever was, which the index of the keys tells alone, but for what is gone.
_OF_TYPE = (resource.c.source == bindparam("source"), resource.c.type == bindparam("type"))
_COUNT = Compiled(
    select(
        select(func.count()).select_from(resource).where(*_OF_TYPE).scalar_subquery()
        - select(func.count())
        .select_from(resource)
        .where(*NOT_BY_KEY, resource.c.gone_at.is_not(None))
        .scalar_subquery()
    )
)
_KNOWN = Compiled(
    select(resource.c.no, resource.c.id, resource.c.missed_since, resource.c.seen_at, resource.c.seen_by)
    .where(resource.c.source == bindparam("source"), resource.c.type == bindparam("type"))
    .where(resource.c.gone_at.is_(None), resource.c.id > bindparam("last"))
    .order_by(resource.c.id)
    .limit(5000)
)
_MISS = Prepared(
    update(resource)
    .where(resource.c.no == bindparam("b_no"))
    .values(missed_since=bindparam("b_since"), seen_at=bindparam("b_at"), seen_by=bindparam("b_by")),
    ("b_since", "b_at", "b_by", "b_no"),
)
_BURY = Prepared(
    update(resource)
    .where(resource.c.no == bindparam("b_no"))
    .values(gone_at=bindparam("b_at"), gone_reason=bindparam("b_reason")),
    ("b_at", "b_reason", "b_no"),
)
# How the last listing that was judged fared, and the last that missed nothing.
_JUDGED = Compiled(
    select(listing.c.agrees)
    .where(listing.c.source == bindparam("source"), listing.c.type == bindparam("type"))
    .where(listing.c.state.in_(("complete", "refused")))
    .order_by(listing.c.id.desc())
    .limit(1)
)
_WHOLE = Compiled(
    select(listing.c.counted - listing.c.shown)
    .where(listing.c.source == bindparam("source"), listing.c.type == bindparam("type"))
    .where(listing.c.state == "complete", listing.c.unseen == 0, listing.c.counted.is_not(None))
    .order_by(listing.c.id.desc())
    .limit(1)
)
_OPEN = Compiled(
    select(listing)
    .where(listing.c.source == bindparam("source"), listing.c.type == bindparam("type"), listing.c.state == "open")
    .order_by(listing.c.id.desc())
)
_BEGIN = insert(listing)
_STAND = Compiled(update(listing).where(listing.c.id == bindparam("b_id")))
_SEEN = Compiled(select(seen.c.chunk, seen.c.bits).where(seen.c.listing == bindparam("listing")))
_FORGET_SEEN = Compiled(delete(seen).where(seen.c.listing == bindparam("b_listing")))
_INTERRUPTED = "the process ended in the middle of it"


@dataclass(slots=True, kw_only=True)
class Listing:
    """One listing of one type while it goes on. `seen` holds the numbers of the rows that it showed.

    `ended`: its last page is stored; only the judgement of what it showed is still to come.
    """

    id: ListingId
    source: str
    spec: TypeSpec
    cycle: CycleId
    started_at: datetime.datetime
    cursor: Cursor | None = None
    resumed: bool = False
    ended: bool = False
    seen: Bitmap = field(default_factory=Bitmap)
    expected: Expected = field(default_factory=Expected)
    pages: int = 0
    listed: int = 0
    pages_before: int = 0
    """Of these pages so many were read by earlier cycles, which were cut short."""
    listed_before: int = 0
    chain: str | None = None
    """What tells its chain of pages from another; see `chained`."""
    unreadable: int = 0
    """How many of its entries could not be stored."""
    strangers: int = 0
    """How many of those are in no row of ours."""
    is_doubted: bool = False
    """The service counts more than it shows: it confirms nothing that an earlier one missed."""
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    counted: int | None = None
    """How many the service counts itself; None where it does not."""
    passed_over: int = 0
    """How many are there and could not be read, or stored."""
    missed: int | None = None
    """How many of those that are known it did not show; None until it is complete."""
    first_passed_over: Unreadable | None = None

    @property
    def type(self) -> ResourceType:
        """Return what it lists."""
        return self.spec.type

    @property
    def shown(self) -> int:
        """Return how many different resources it showed: one that is listed twice is one."""
        return len(self.seen) + self.strangers

    def pass_over(self, some: Sequence[Unreadable]) -> None:
        """Take note of resources of which nothing new is known."""
        self.passed_over += len(some)
        self.first_passed_over = self.first_passed_over or next(iter(some), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A row that complete listings do not show; `since` is the first of them."""

    no: int
    id: str
    since: ListingId


class Listings:
    """The part of the mirror that listings write to."""

    def __init__(self, writer: Writer, clock: Clock, late: Late) -> None:
        self._writer = writer
        self._clock = clock
        self._late = late

    async def begin(self, source: str, spec: TypeSpec, cycle: CycleId) -> Listing:
        """Return a listing to go on with: the one that was cut short, while its cursor lives, else a new one."""
        async with self._writer.transaction() as transaction:
            left = await transaction.rows(_OPEN, {"source": source, "type": spec.type})
            for row in left:
                if row is left[0] and self._is_alive(row):
                    return await self._resumed(transaction, row, spec, cycle)
                await self._close(transaction, ListingId(row.id), "abandoned", row.error or _INTERRUPTED)
            at = self._clock.now()
            values = {"source": source, "type": spec.type, "cycle": cycle, "started_at": at, "state": "open"}
            id = ListingId(await transaction.insert(_BEGIN, values))
            return Listing(id=id, source=source, spec=spec, cycle=cycle, started_at=at)

    def _is_alive(self, row: Any) -> bool:
        return row.cursor_at is not None and abs(self._clock.now() - row.cursor_at) < CURSOR_LIFE

    async def _resumed(self, transaction: Transaction, row: Any, spec: TypeSpec, cycle: CycleId) -> Listing:
        on = {"resumed": True, "resumed_from": row.pages, "cut_by": row.error or _INTERRUPTED, "error": None}
        await transaction.run(_STAND, {"b_id": row.id, **on, "cycle": cycle})
        chunks = await transaction.rows(_SEEN, {"listing": row.id})
        return Listing(
            id=ListingId(row.id),
            source=row.source,
            spec=spec,
            cycle=cycle,
            started_at=row.started_at,
            cursor=Cursor(row.cursor) if row.cursor is not None else None,
            resumed=True,
            ended=row.ended,
            seen=Bitmap(dict(chunks), msgspec.json.decode(row.runs, type=list[Run]) if row.runs else ()),
            pages=row.pages,
            listed=row.listed,
            pages_before=row.pages,
            listed_before=row.listed,
            chain=row.chain,
            unreadable=row.unreadable or 0,
            strangers=row.strangers or 0,
        )

    async def doubtful(self, going: Listing, pages: Sequence[Page]) -> frozenset[str]:
        """Return the ids of what pages of a list show and is not to be believed without a read; none if it never lags.

        Those that are described in two ways at once are among them.
        """
        if not going.spec.lags:
            return frozenset()
        scope = self._scope(going)

        def look(on: Statements) -> frozenset[str]:
            batch, going_on = Batch(pages), replace(going.expected)
            going_on.open(on, scope, batch)
            if self._late.are_new(on, scope, batch.ids):
                return batch.described_in_two_ways()
            left = going_on.left(on, scope, batch)
            stored = resources.find(on, scope, batch.digests_at(left), batch.likely)
            if batch.clashes(one.no for one in stored.values()):
                batch.open({})
                left = batch.positions()
                stored = resources.find(on, scope, batch.digests_at(left))
            listed, _ = batch.read(_differing(batch, left, stored))
            return batch.described_in_two_ways() | doubtful(stored, listed, going.spec)

        async with self._writer.transaction() as transaction:
            return await transaction.do(look)

    def _scope(self, going: Listing) -> resources.Scope:
        return resources.Scope(source=going.source, type=going.type, cycle=going.cycle, at=self._clock.now())

    async def record(self, going: Listing, pages: Sequence[Page]) -> None:
        """Store whole pages, what they showed to be there, and the cursor, in one transaction.

        Raises:
            InvalidResponseError: one of them shows something without an id. Those before it are stored.
        """
        scope = self._scope(going)
        async with self._writer.transaction() as transaction:
            error = await transaction.do(lambda on: self._record(on, scope, going, pages))
        going.seen.saved(going.seen.in_runs()[1])
        if error is not None:
            raise error

    def _record(
        self, on: Statements, scope: resources.Scope, going: Listing, shown: Sequence[Page]
    ) -> InvalidResponseError | None:
        batch = Batch(shown)
        error = going.expected.open(on, scope, batch)
        pages, listed = batch.pages, batch.sizes
        if not pages:
            return error
        if batch.digests and not going.pages:
            self._late.postpone(on)
        self._compare(on, scope, going, batch)
        for page, size in zip(pages, listed, strict=True):
            going.chain = chained(going.chain, size, page.next)
            going.listed += size
        runs, chunks = going.seen.in_runs()
        rows = [{"listing": going.id, "chunk": chunk, "bits": bits} for chunk, bits in chunks.items()]
        on.upsert(seen, ("listing", "chunk"), rows)
        sizes = {"last_page": listed[-1]} | ({} if going.pages else {"first_page": listed[0]})
        going.cursor = pages[-1].next
        going.ended = going.cursor is None
        going.pages += len(pages)
        values = sizes | {
            "pages": going.pages,
            "chain": going.chain,
            "listed": going.listed,
            "shown": going.shown,
            "unreadable": going.unreadable,
            "strangers": going.strangers,
            "cursor": going.cursor,
            "cursor_at": scope.at,
            "runs": msgspec.json.encode(runs).decode(),
            "ended": going.ended,
        }
        on.run(_STAND, {"b_id": going.id, **values})
        return error

    def _compare(self, on: Statements, scope: resources.Scope, going: Listing, batch: Batch) -> None:
        """Write what differs from what is stored; most of it does not, and is not looked into."""
        if self._load(on, scope, going, batch):
            return
        left = going.expected.left(on, scope, batch)
        stored = resources.find(on, scope, batch.digests_at(left) | {one.id: b"" for one in batch.lost}, batch.likely)
        if batch.clashes(one.no for one in stored.values()):
            # What is shown again, and otherwise, counts as it was shown last: all has to be looked at in its order.
            batch.open({})
            left = batch.positions()
            stored = resources.find(on, scope, batch.digests_at(left) | {one.id: b"" for one in batch.lost})
        differing = _differing(batch, left, stored)
        same = sum(row is not None for row in batch.rows)
        listed, lost = batch.read(differing)
        lost += batch.lost
        delta = compare(stored, listed, going.spec)
        numbers = resources.write(on, scope, delta)
        now = dict(zip((one.id for one, _ in delta.added), numbers[len(delta.seen) :], strict=True))
        now |= {one.id: stored[one.id].no for one, _ in listed if one.id in stored}
        for position in differing:
            batch.rows[position] = now.get(batch.ids[position])
        pages, apart = batch.shown_in_a_row()
        for rows in (*batch.known.values(), *(page.rows for page in pages), apart):
            going.seen.add(rows)
        kept.keep(on, scope.source, scope.type, pages, batch.kept)
        kept.forget(on, [one.no for one in delta.updates if one.no in apart])
        # What cannot be read is there all the same; a tombstone stays one until it can be read.
        there = [stored[one.id].no for one in lost if one.id in stored and not stored[one.id].gone]
        resources.sight(on, scope, there)
        going.seen.add(there)
        going.unreadable += len(lost)
        going.strangers += len(lost) - len(there)
        going.pass_over(lost)
        going.added += len(delta.added)
        going.updated += sum(one.event is not None for one in delta.updates)
        known = batch.recognised + sum({rows.start: len(rows) for rows in batch.known.values()}.values())
        going.unchanged += delta.unchanged + same + known
        going.expected.found(batch.last, looked_up=len(left), of=len(batch.ids) + known)

    def _load(self, on: Statements, scope: resources.Scope, going: Listing, batch: Batch) -> bool:
        """Add all of a batch, if none of it is known; return whether it is stored so."""
        if not self._late.is_loading:
            return False
        positions = batch.positions()
        if batch.lost or batch.known or batch.recognised:  # which may have rows
            self._late.build_early(on)
        if not self._late.takes(on, scope, [batch.ids[position] for position in positions]):
            return False
        lost: list[Unreadable] = []
        added = resources.add(on, scope, batch.each(positions, lost), is_blank=self._late.is_blank)
        going.seen.add(added)
        if len(added) == len(batch.rows):
            batch.rows = list(added)
            kept.keep(on, scope.source, scope.type, batch.shown_in_a_row()[0])
        going.unreadable += len(lost)
        going.strangers += len(lost)
        going.pass_over(lost)
        going.added += len(added)
        going.expected.after = added.stop - 1
        return True

    async def showing(self, going: Listing) -> Showing:
        """Return what a listing that reached its end showed, against what is known."""
        async with self._writer.transaction() as transaction:
            await transaction.do(self._late.build)
            return await self._showing(transaction, going)

    async def _showing(self, transaction: Transaction, going: Listing) -> Showing:
        """Count instead of looking row by row: every row that was seen is one that is known."""
        key = {"source": going.source, "type": going.type}
        ((known,),) = await transaction.rows(_COUNT, key)
        whole = () if going.counted is None else await transaction.rows(_WHOLE, key)
        return Showing(
            listed=going.listed,
            shown=going.shown,
            known=known,
            unseen=known - len(going.seen),
            counted=going.counted,
            added=going.added,
            usual=whole[0][0] if whole else 0,
        )

    async def agreed(self, going: Listing) -> bool:
        """Say whether the last listing of this type that was judged showed what the service counted."""
        async with self._writer.transaction() as transaction:
            rows = await transaction.rows(_JUDGED, {"source": going.source, "type": going.type})
        return not rows or rows[0].agrees is not False

    async def complete(self, going: Listing, *, accepted: bool = False) -> None:
        """Close a listing that reached its end and is believed: it speaks for every row but those it missed.

        Where the service counts more than it shows, none is missed, and what was known of all is as old as before;
        unless a person `accepted` it.
        """
        async with self._writer.transaction() as transaction:
            showing = await self._showing(transaction, going)
            going.missed = showing.unseen
            nominates = accepted or showing.nominates
            going.is_doubted = not (accepted or showing.confirms)
            if showing.unseen and nominates:
                await self._mark_missed(transaction, going)
            await self._judge(transaction, going, "complete", showing, error=showing.disagreement)
            if showing.unseen and not nominates:
                await self._know(transaction, going, showing.known)
                return
            row = {
                "source": going.source,
                "type": going.type,
                "listing": going.id,
                "observed_at": going.started_at,
                "observed_by": going.cycle,
                "known": showing.known,
            }
            await transaction.upsert(coverage, ("source", "type"), [row])

    async def fail(self, going: Listing, error: str) -> None:
        """Close a listing that cannot go on: it marks nothing."""
        async with self._writer.transaction() as transaction:
            await self._close(transaction, going.id, "failed", error)

    async def cut(self, going: Listing, error: str) -> None:
        """Say what cut a listing short that is to be gone on with."""
        async with self._writer.transaction() as transaction:
            await transaction.do(self._late.build)
            await transaction.run(_STAND, {"b_id": going.id, "error": error})

    async def refuse(self, going: Listing, showing: Showing, error: str) -> None:
        """Close a listing that is not believed because of how many rows it did not show: it marks nothing."""
        async with self._writer.transaction() as transaction:
            await self._judge(transaction, going, "refused", replace(showing, unseen=showing.missing), error=error)

    async def _judge(
        self, transaction: Transaction, going: Listing, state: str, showing: Showing, *, error: str | None
    ) -> None:
        agrees = None if showing.counted is None else showing.disagreement is None
        more = {"unseen": showing.unseen, "counted": showing.counted, "agrees": agrees}
        await self._close(transaction, going.id, state, error, **more)

    async def _know(self, transaction: Transaction, going: Listing, known: int) -> None:
        """Take note of how many rows there are now, although nothing that is known of them is newer than before."""
        where = (coverage.c.source == going.source, coverage.c.type == going.type)
        await transaction.run(update(coverage).where(*where).values(known=known))

    async def is_confirmed(self, going: Listing, unseen: int) -> bool:
        """Say whether a person accepted that just so many vanished from this listing, which is used up by that.

        A word is about the last listing of this type, if that was refused for as many; else it is void.
        """
        last = (
            select(listing.c.state, listing.c.unseen)
            .where(listing.c.source == going.source, listing.c.type == going.type, listing.c.id < going.id)
            .where(listing.c.state.in_(("complete", "refused")))
            .order_by(listing.c.id.desc())
            .limit(1)
        )
        said = update(source).where(source.c.name == going.source, source.c.confirmed_gone == unseen)
        async with self._writer.transaction() as transaction:
            was_refused = [tuple(row) for row in await transaction.rows(last)] == [("refused", unseen)]
            return bool(await transaction.run(said.values(confirmed_gone=None))) and was_refused

    async def missed(self, going: Listing, *, twice: bool, most: int, after: str = "") -> list[Missed]:
        """Return up to `most` rows that are still believed to be there and that `going` did not show, by id.

        `twice`: those that an earlier complete listing had missed as well, else those that only `going` missed.
        A resumed listing may nominate a row, never confirm one: to it nothing was missed twice; neither to one that
        lags, or that shows less than the service counts. `after` is the last id of the batch before.
        """
        confirms = not (going.resumed or going.spec.lags or going.is_doubted)
        earlier = resource.c.missed_since < (going.id if confirms else 0)
        statement = (
            select(resource.c.no, resource.c.id, resource.c.missed_since)
            .where(resource.c.source == going.source, resource.c.type == going.type)
            .where(resource.c.gone_at.is_(None), resource.c.missed_since.is_not(None))
            .where(earlier if twice else ~earlier, resource.c.id > after)
            .order_by(resource.c.id)
            .limit(most)
        )
        async with self._writer.transaction() as transaction:
            rows = await transaction.rows(statement)
        return [Missed(no=no, id=id, since=since) for no, id, since in rows]

    async def sight(self, going: Listing, rows: Sequence[Missed]) -> None:
        """Take note that the service has these after all, whatever it says of them."""
        scope, numbers = self._scope(going), [row.no for row in rows]
        async with self._writer.transaction() as transaction:
            await transaction.do(lambda on: resources.sight(on, scope, numbers))

    async def mark_gone(self, going: Listing, rows: Sequence[tuple[Missed, str]]) -> None:
        """Turn rows into tombstones, with their events; with each goes its reason, which cites what decided it.

        What is cited is kept for as long as the tombstone and the event.
        """
        scope = self._scope(going)
        async with self._writer.transaction() as transaction:
            at = text_of(scope.at)
            await transaction.run_many(_BURY, [(at, reason, row.no) for row, reason in rows])
            cited = {going.id, *(row.since for row, _ in rows)}
            await transaction.run(update(listing).where(listing.c.id.in_(cited)).values(cited_at=scope.at))
            await transaction.run(
                update(coverage)
                .where(coverage.c.source == going.source, coverage.c.type == going.type)
                .values(known=coverage.c.known - len(rows))
            )
            events = [(row.no, Event.GONE, None) for row, _ in rows]
            reasons = {row.no: reason for row, reason in rows}
            await transaction.do(lambda on: resources.note(on, scope, events, reasons))

    async def _mark_missed(self, transaction: Transaction, going: Listing) -> None:
        """Mark the rows that this listing is the first not to show.

        When they were last observed is written into them, since coverage no longer speaks for them.
        """
        before = await transaction.rows(
            select(coverage.c.observed_at, coverage.c.observed_by).where(
                coverage.c.source == going.source, coverage.c.type == going.type
            )
        )
        listed_at, listed_by = before[0] if before else (going.started_at, -1)
        async for rows in self._known(transaction, going):
            missed = [row for row in rows if row.missed_since is None and row.no not in going.seen]
            last = ((listed_at, listed_by) if listed_by > row.seen_by else (row.seen_at, row.seen_by) for row in missed)
            marks = [(going.id, text_of(at), by, row.no) for row, (at, by) in zip(missed, last, strict=True)]
            await transaction.run_many(_MISS, marks)
            await transaction.do(partial(_forget, [row.no for row in missed]))

    async def _known(self, transaction: Transaction, going: Listing) -> AsyncIterator[Sequence[Any]]:
        """Yield the rows that are there, in batches; how many there are does not matter to the memory."""
        last = ""
        while rows := await transaction.rows(_KNOWN, {"source": going.source, "type": going.type, "last": last}):
            yield rows
            last = rows[-1].id

    async def _close(
        self, transaction: Transaction, id: ListingId, state: str, error: str | None, **more: int | None
    ) -> None:
        await transaction.do(self._late.build)
        ended = {
            "state": state,
            "error": error,
            "finished_at": self._clock.now(),
            "cursor": None,
            "cursor_at": None,
            "runs": None,
        }
        await transaction.run(_STAND, {"b_id": id, **ended, **more})
        await transaction.run(_FORGET_SEEN, {"b_listing": id})


def _forget(numbers: Sequence[int], on: Statements) -> None:
    kept.forget(on, numbers)


def _differing(batch: Batch, positions: Iterable[int], stored: Mapping[str, Stored]) -> list[int]:
    """Return which of `positions` show something else than is stored; take note of the rows of the others."""
    differing: list[int] = []
    for position in positions:
        known = stored.get(batch.ids[position])
        if known is None or known.gone or known.missed or known.digest != batch.digests[position]:
            differing.append(position)
        else:
            batch.rows[position] = known.no
    return differing
