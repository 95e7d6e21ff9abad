"""Cycles and sources: what was done, how each source is, and what a person said about it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from fleetsync.clock import Clock
from fleetsync.core.breaker import FaultClass, StoredBreaker
from fleetsync.core.counts import Counts
from fleetsync.core.model import CycleId
from fleetsync.core.words import counted
from fleetsync.errors import ConfigError, FleetsyncError, Problem, UsageError
from fleetsync.mirror.compiled import Compiled
from fleetsync.mirror.engine import Writer
from fleetsync.mirror.tables import UtcDateTime, coverage, cycle, event, listing, metadata, resource_name, source

# The last listing of each type that came to its end, where it was refused.
_LAST = (
    select(func.max(listing.c.id))
    .where(listing.c.source == bindparam("source"), listing.c.state.in_(("complete", "refused")))
    .group_by(listing.c.type)
)
_REFUSED = Compiled(
    select(listing.c.type, listing.c.unseen)
    .where(listing.c.id.in_(_LAST), listing.c.state == "refused")
    .order_by(listing.c.type)
)
_SOURCES = Compiled(select(source))
_OF_SOURCE = update(source).where(source.c.name == bindparam("b_name"))
_CONFIRMED = Compiled(select(source.c.confirmed_writes).where(source.c.name == bindparam("name")))
_PAUSED = Compiled(select(source.c.paused).where(source.c.name == bindparam("name")))
_WAITS = or_(source.c.confirmed_writes.is_not(None), source.c.refused_writes.is_not(None))
_PASS = Compiled(_OF_SOURCE.where(_WAITS).values(confirmed_writes=None, refused_writes=None))
_LEFT_OPEN = Compiled(update(cycle).where(cycle.c.source == bindparam("b_source"), cycle.c.finished_at.is_(None)))
_FINISH = Compiled(update(cycle).where(cycle.c.id == bindparam("b_id")))
_BEGIN = insert(cycle)
_KNOWN = select(func.coalesce(func.sum(coverage.c.known), 0)).where(coverage.c.source == bindparam("b_name"))
_KNOW = _OF_SOURCE.values(known=_KNOWN.scalar_subquery())
_END = Compiled(_KNOW)
_SET = Compiled(_OF_SOURCE)
# What was wrong before, in whatever way, is wrong since then.
_END_AT_FAULT = Compiled(
    _KNOW.values(
        fault_since=func.coalesce(source.c.fault_since, bindparam("b_since", type_=UtcDateTime)),
    )
)


class SourceRow(Struct, frozen=True, kw_only=True):
    """A configured source. `identity` names the service that it mirrors: another one is refused under this name."""

    name: str
    kind: str
    url: str
    mode: str
    identity: str


class Ending(Struct, frozen=True, kw_only=True):
    """How a cycle ended: `outcome` is `done`, or what cut it short; `complete` says that every type was listed.

    `state` None: how the source is, is as it was before, and so are its error (`source_error`) and its fault.
    `fault` is the class of what is wrong with the source, None where nothing is, and `probe_at` the instant before
    which nothing is sent, if there is one. `breaker` is the open circuit, which has the say on both.
    """

    outcome: str
    complete: bool
    state: str | None
    error: str | None = None
    source_error: str | None = None
    fault: FaultClass | None = None
    breaker: StoredBreaker | None = None
    probe_at: datetime | None = None


class Cycles:
    """The part of the mirror that keeps the books."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    async def register(self, rows: Sequence[SourceRow], *, file: str) -> None:
        """Store which sources are configured; what left the configuration leaves the views.

        Raises:
            ConfigError: a source's name belongs to another service.
        """
        async with self._writer.transaction() as transaction:
            known = {row.name: row for row in await transaction.rows(_SOURCES)}
            if problems := moved(rows, {name: row.identity for name, row in known.items()}, file=file):
                raise ConfigError(*problems)
            names = [row.name for row in rows]
            left = [name for name, row in known.items() if row.configured and name not in names]
            if left:
                await transaction.run(update(source).where(source.c.name.in_(left)).values(configured=False))
            changed = [row for row in rows if _is_changed(row, known.get(row.name))]
            await transaction.upsert(source, ("name",), [asdict(row) | {"configured": True} for row in changed])

    async def begin(self, name: str) -> CycleId:
        """Start a cycle. One that an earlier process left open is closed as `interrupted`."""
        at = self._clock.now()
        async with self._writer.transaction() as transaction:
            left = {"finished_at": at, "outcome": "interrupted", "error": "the process ended in the middle of it"}
            await transaction.run(_LEFT_OPEN, {"b_source": name, **left})
            row = {"source": name, "started_at": at, "outcome": "running"}
            return CycleId(await transaction.insert(_BEGIN, row))

    async def finish(self, id: CycleId, name: str, counts: Counts, ending: Ending) -> None:
        """Close a cycle and say how its source is now."""
        at = self._clock.now()
        async with self._writer.transaction() as transaction:
            ended = {"outcome": ending.outcome, "complete": ending.complete, "error": ending.error}
            await transaction.run(_FINISH, {"b_id": id, **asdict(counts), "finished_at": at, **ended})
            values: dict[str, Any] = {"b_name": name}
            if ending.state is not None:
                values |= {"state": ending.state, "error": ending.source_error, **_fault(ending, at)}
            if ending.complete:
                values["last_complete_at"] = at
            await transaction.run(_END_AT_FAULT if "b_since" in values else _END, values)

    async def set_due(self, name: str, at: datetime) -> None:
        """Store when a source's next cycle is due."""
        await self._set(name, next_due_at=at)

    async def set_paused(self, name: str, *, paused: bool) -> None:
        """Pause a source, or let it go on."""
        await self._set(name, paused=paused)

    async def is_paused(self, name: str) -> bool:
        """Say whether a person paused the source."""
        async with self._writer.transaction() as transaction:
            rows = await transaction.rows(_PAUSED, {"name": name})
        return bool(rows and rows[0].paused)

    async def confirm(self, name: str, *, writes: int | None = None, gone: int | None = None) -> None:
        """Accept exactly the number of writes, or of vanished resources, that was refused last; once.

        Raises:
            FleetsyncError: that number was not, or nothing was.
        """
        async with self._writer.transaction() as transaction:
            values: dict[str, int] = {}
            if writes is not None:
                plans = await transaction.rows(select(source.c.refused_writes).where(source.c.name == name))
                waiting = {f"--writes {n}": n for (n,) in plans if n}
                _check_waits(f"{counted(writes, 'write')}", writes, waiting)
                values["confirmed_writes"] = writes
            if gone is not None:
                listings = await transaction.rows(_REFUSED, {"source": name})
                waiting = {f"--gone {n} ({type})": n for type, n in listings}
                _check_waits(f"{counted(gone, 'vanished resource')}", gone, waiting)
                values["confirmed_gone"] = gone
            await transaction.run(_SET, {"b_name": name, **values})

    async def is_confirmed(self, name: str, writes: int) -> bool:
        """Say whether a person accepted a plan with just so many writes, which is used up by that.

        One that nobody accepted is the one that waits from now on; what was accepted of an earlier one is void.
        """
        async with self._writer.transaction() as transaction:
            rows = await transaction.rows(_CONFIRMED, {"name": name})
            found = [tuple(row) for row in rows] == [(writes,)]
            values = {"confirmed_writes": None, "refused_writes": None if found else writes}
            await transaction.run(_SET, {"b_name": name, **values})
            return found

    async def pass_plan(self, name: str) -> None:
        """Take note that the last plan stayed within its limit: nothing waits any more, and no word is left over."""
        async with self._writer.transaction() as transaction:
            await transaction.run(_PASS, {"b_name": name})

    async def last_complete_at(self) -> dict[str, datetime | None]:
        """Return when each configured source was last listed completely."""
        statement = select(source.c.name, source.c.last_complete_at).where(source.c.configured)
        async with self._writer.transaction() as transaction:
            return dict(tuple(row) for row in await transaction.rows(statement))

    async def rename(self, old: str, new: str) -> None:
        """Give everything of a source another name.

        Raises:
            UsageError: there is no such source, or the new name is taken.
        """
        async with self._writer.transaction() as transaction:
            names = {row.name for row in await transaction.rows(select(source.c.name))}
            if old not in names or new in names:
                reason = f"no source {old!r}" if old not in names else f"there is a source {new!r} already"
                raise UsageError(f"{reason} in the database")
            for table in metadata.sorted_tables:
                column = table.c.name if table is source else table.c.get("source")
                if column is not None:
                    await transaction.run(update(table).where(column == old).values({column.name: new}))

    async def forget(self, name: str) -> None:
        """Delete everything of a source, its history as well.

        Raises:
            UsageError: there is no such source.
        """
        async with self._writer.transaction() as transaction:
            if not await transaction.rows(select(source.c.name).where(source.c.name == name)):
                raise UsageError(f"no source {name!r} in the database")
            numbers = select(resource_name.c.no).where(resource_name.c.source == name)
            await transaction.run(delete(event).where(event.c.no.in_(numbers)))
            for table in reversed(metadata.sorted_tables):
                column = table.c.name if table is source else table.c.get("source")
                if column is not None:
                    await transaction.run(delete(table).where(column == name))

    async def _set(self, name: str, **values: Any) -> None:
        async with self._writer.transaction() as transaction:
            await transaction.run(_SET, {"b_name": name, **values})


def _fault(ending: Ending, at: datetime) -> dict[str, Any]:
    """Return the columns that say what is wrong, and since when unless something was wrong before."""
    breaker = ending.breaker
    fault = ending.fault if breaker is None else breaker.fault
    if fault is None:
        return {"fault": None, "fault_since": None, "probe_at": None, "openings": 0}
    return {
        "fault": fault.value,
        "b_since": at if breaker is None else breaker.since,
        "probe_at": ending.probe_at if breaker is None else breaker.probe_at,
        "openings": 0 if breaker is None else breaker.openings,
    }


def _check_waits(title: str, number: int, waiting: Mapping[str, int]) -> None:
    if number not in waiting.values():
        was = "was" if number == 1 else "were"
        raise FleetsyncError(f"{title} {was} not refused; what waits is {' or '.join(waiting) or 'nothing'}")


def _is_changed(row: SourceRow, known: Any) -> bool:
    return known is None or not known.configured or asdict(row) != {name: getattr(known, name) for name in asdict(row)}


def moved(rows: Iterable[SourceRow], known: Mapping[str, str], *, file: str) -> list[Problem]:
    """Return a problem for each source whose name belongs to another service; `known` has the identities by name."""
    return [
        Problem(
            message=f"source {row.name!r} mirrored {known[row.name]} and is now {row.identity}: "
            f"give it another name, or run `fleetsync db forget {row.name}` first",
            file=file,
        )
        for row in rows
        if known.get(row.name, row.identity) != row.identity
    ]
