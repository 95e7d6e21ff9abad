"""Selectors: a declaration's `where` as SQL over the view of its type, and the rows that it selects."""

import datetime
import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from fleetsync.core.bitmap import Bitmap
from fleetsync.core.contest import CARRIED_OUT, Standing, Written
from fleetsync.core.declaration import Declaration
from fleetsync.core.model import ETag, Part, Resource, ResourceType
from fleetsync.core.path import render
from fleetsync.core.plan import Leaf, Result
from fleetsync.core.rejection import Rejected, is_rejection
from fleetsync.core.sql_text import fault_in, quoted_names, reads_elsewhere
from fleetsync.errors import MirrorError, TooLongError, UsageError
from fleetsync.mirror.reader import Reader
from fleetsync.mirror.scan import Rows, Scan, Scanned
from fleetsync.mirror.views import numbered
from fleetsync.mirror.wishes import value_text

T = TypeVar("T")

_BATCH = 500
_HELD = (
    "SELECT x.error FROM selection x JOIN declaration d ON d.name = x.declaration"
    " WHERE x.declaration = ? AND x.source = ? AND d.selector IS ?"
)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A stored resource, with the parts of it that were read one by one."""

    no: int
    resource: Resource
    details: Mapping[Part, object]


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a resource: `writes` that were carried out, newest first, and what it was seen to be since.

    `rejected` are, by part, those that the service rejected since it last carried one out, newest first.
    """

    writes: Sequence[Written]
    rejected: Mapping[Part, Sequence[Rejected]]
    drift: Mapping[str, tuple[str | None, Standing]]
    """Of what was not as declared when that was last looked at: its value and how long, by path as it is rendered."""

    def standing(self, leaf: Leaf, now: datetime.datetime) -> Standing:
        """Return how long a leaf is seen to be as it is."""
        value, known = self.drift.get(render(leaf.path), (None, Standing(since=now, moved_at=now)))
        return known if value == value_text(leaf.actual) else replace(known, moved_at=now)


class Selection:
    """Runs selectors over the mirror. Blocking: call it in a thread."""

    def __init__(self, reader: Reader, views: Mapping[ResourceType, str]) -> None:
        self._reader = reader
        self._views = views
        self._ending = threading.Lock()
        self._is_done = False

    def interrupt(self) -> None:
        """End what is running, from another thread; nothing happens where it has ended."""
        with self._ending:
            if not self._is_done:
                self._reader.interrupt()

    def close(self) -> None:
        """Let go of the reader, which may be somebody else's from now on."""
        with self._ending:
            self._is_done = True

    def fault(self, declaration: Declaration) -> str | None:
        """Return what is wrong with a selector whatever the data are; None where nothing is."""
        where, view = declaration.where, self._views[declaration.type]
        if where is None:
            return None
        if fault := fault_in(where):
            return fault
        unknown = [name for name in quoted_names(where) if name not in self._reader.columns(view)]
        if unknown:
            return f"no such column: {unknown[0]!r} (texts stand in single quotes)"
        try:
            # Alone, so that it cannot end a bracket of ours; in brackets, so that it cannot reach out of them.
            for clause in (where, f"(\n{where}\n)"):
                self._reader.compile(f"SELECT id FROM {view} WHERE\n{clause}\n", frozenset(self._views.values()))
        except UsageError as error:
            return str(error)
        return None

    def stale(
        self, declaration: Declaration, ages_s: Mapping[str, float | None], longest_s: Mapping[str, float]
    ) -> str | None:
        """Return what holds a selector that looks at other rows: a source that nobody listed lately."""
        if declaration.where is None or not reads_elsewhere(declaration.where):
            return None
        for source, age_s in ages_s.items():
            if age_s is None or age_s > longest_s.get(source, float("inf")):
                return f"it reads other rows, and {source} has no complete listing younger than three intervals"
        return None

    def scan(self, source: str, type: ResourceType, declarations: Sequence[Declaration]) -> Scanned:
        """Return which rows of a type each of some declarations selects in a source; one that fails is held, alone."""
        faults = {one.name: fault for one in declarations if (fault := self.fault(one)) is not None}
        sound = [one for one in declarations if one.name not in faults]
        found = Scan(self._reader, self._looked_at(source, type), sound).run()
        found.faults.update(faults)
        return found

    def scan_again(
        self, source: str, type: ResourceType, declarations: Sequence[Declaration], first: Scanned, among: Bitmap
    ) -> Scanned:
        """Return which of the rows `among` all each of some declarations selects, after a `first` scan of all.

        `among` gets those as well that a selector that looks at other rows selects now and did not, or did before only.
        """
        return Scan(self._reader, self._looked_at(source, type), declarations, first=first, among=among).run()

    def _looked_at(self, source: str, type: ResourceType) -> Rows:
        view = self._views[type]
        return Rows(
            source=source,
            type=type,
            view=view,
            select=numbered(self._reader.definition(view)),
            columns=self._reader.columns(view),
        )

    def selects(self, source: str, declaration: Declaration, row: Row) -> tuple[bool, str | None]:
        """Say whether a declaration selects a row, and what holds it: by its text, this row, or the last cycle."""
        if error := self.fault(declaration):
            return False, error
        view = self._views[declaration.type]
        sql = f"SELECT no FROM ({numbered(self._reader.definition(view))}) AS {view} WHERE no = ?"
        if declaration.where is not None:
            sql += f" AND (\n{declaration.where}\n)"
        try:
            found = bool(list(self._reader.rows(sql, (row.no,))))
        except (UsageError, TooLongError) as error:
            return False, str(error)
        last = list(self._reader.rows(_HELD, (declaration.name, source, declaration.where)))
        return found, last[0][0] if last else None

    def selected_last(self, source: str, declaration: Declaration) -> Bitmap:
        """Return what a declaration selected in a source when it last could."""
        chunks = "SELECT chunk, bits FROM selected WHERE declaration = ? AND source = ?"
        return Bitmap(dict(self._reader.rows(chunks, (declaration.name, source))))

    def rows(self, numbers: Iterable[tuple[int, T]]) -> Iterator[tuple[Row, T]]:
        """Yield the rows with these ascending numbers that are there, each with what came with its number."""
        waiting = iter(numbers)
        while batch := dict(itertools.islice(waiting, _BATCH)):
            for row in self._rows(tuple(batch)):
                yield row, batch[row.no]

    def _rows(self, numbers: Sequence[int]) -> Iterator[Row]:
        if not numbers:
            return
        marks = ", ".join("?" * len(numbers))
        sql = (
            "SELECT no, id, etag, document, details FROM resource "
            f"WHERE no IN ({marks}) AND gone_at IS NULL ORDER BY no"
        )
        for no, id, etag, document, details in self._reader.rows(sql, tuple(numbers)):
            resource = Resource(id=id, document=document.encode(), etag=ETag(etag) if etag is not None else None)
            yield Row(no=no, resource=resource, details=msgspec.json.decode(details) if details else {})

    def find(self, source: str, type: ResourceType, id: str) -> Row | None:
        """Return one resource that is there, by its id."""
        sql = "SELECT no FROM resource WHERE source = ? AND type = ? AND id = ?"
        for (no,) in list(self._reader.rows(sql, (source, type, id))):
            return next(self._rows([no]), None)
        return None

    def numbers(self, source: str, type: ResourceType, ids: Iterable[str]) -> Iterator[int]:
        """Yield the numbers of the rows of resources."""
        waiting = iter(ids)
        while batch := tuple(itertools.islice(waiting, _BATCH)):
            marks = ", ".join("?" * len(batch))
            sql = f"SELECT no FROM resource WHERE source = ? AND type = ? AND id IN ({marks})"
            yield from (no for (no,) in self._reader.rows(sql, (source, type, *batch)))

    def ids(self, numbers: Iterable[int]) -> Iterator[str]:
        """Yield the ids of the resources in rows."""
        waiting = iter(numbers)
        while batch := tuple(itertools.islice(waiting, _BATCH)):
            sql = f"SELECT id FROM resource WHERE no IN ({', '.join('?' * len(batch))})"
            yield from (id for (id,) in self._reader.rows(sql, batch))

    def pasts(self, source: str, type: ResourceType, ids: Sequence[str]) -> dict[str, Past]:
        """Return what was done to those of these resources that we wrote to, or tried to; 500 ids at most."""
        marks = ", ".join("?" * len(ids))
        where = f"source = ? AND type = ? AND resource_id IN ({marks})"
        told = ", ".join(f"'{result.value}'" for result in (*CARRIED_OUT, Result.REJECTED, Result.FAILED))
        key = (source, type, *ids)
        writes: dict[str, list[Written]] = {}
        rejected: dict[str, dict[Part, list[Rejected]]] = {}
        carried_out: set[tuple[str, str]] = set()
        sql = f"SELECT resource_id, part, started_at, patch, status, outcome FROM write WHERE {where}"
        for id, part, at, patch, status, outcome in self._reader.rows(
            f"{sql} AND outcome IN ({told}) ORDER BY id DESC", key
        ):
            result = Result(outcome)
            if result in CARRIED_OUT:
                one = Written(at=_instant(at), patch=msgspec.json.decode(patch), result=result)
                writes.setdefault(id, []).append(one)
                carried_out.add((id, part))
            elif is_rejection(result, status) and (id, part) not in carried_out:
                refusal = Rejected(at=_instant(at), patch=patch, status=status, result=result)
                rejected.setdefault(id, {}).setdefault(Part(part), []).append(refusal)
        drift: dict[str, dict[str, tuple[str | None, Standing]]] = {}
        sql = f"SELECT resource_id, path, actual, since, COALESCE(moved_at, since) FROM drift_leaf WHERE {where}"
        for id, path, actual, at, moved_at in self._reader.rows(sql, key) if writes else ():
            standing = Standing(since=_instant(at), moved_at=_instant(moved_at))
            drift.setdefault(id, {})[path] = actual, standing
        return {
            id: Past(writes=writes.get(id, ()), rejected=rejected.get(id, {}), drift=drift.get(id, {}))
            for id in writes.keys() | rejected.keys()
        }

    def known(self, source: str) -> int:
        """Return how many resources a source is known to have, by its last complete listings.

        Raises:
            MirrorError: the database cannot be read.
        """
        try:
            found = self._reader.rows("SELECT SUM(known) FROM coverage WHERE source = ?", (source,))
            return next(int(known or 0) for (known,) in found)
        except (UsageError, TooLongError) as error:
            raise MirrorError(str(error)) from error

    def ages_s(self, now: datetime.datetime) -> dict[str, float | None]:
        """Return how many seconds ago each configured source was last listed completely; None: never."""
        rows = self._reader.rows("SELECT name, last_complete_at FROM sources")
        return {
            name: None if at is None else (now - datetime.datetime.fromisoformat(at)).total_seconds()
            for name, at in rows
        }


def _instant(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)
