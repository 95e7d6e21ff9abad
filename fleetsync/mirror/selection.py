"""Selectors: a declaration's `where` as SQL over the view of its type, and the rows that it selects."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fleetsync.core.bitmap import Bitmap
from fleetsync.core.declaration import Declaration
from fleetsync.core.model import ETag, Part, Resource, ResourceType
from fleetsync.core.sql_text import fault_in, quoted_names, reads_elsewhere
from fleetsync.errors import MirrorError, TooLongError, UsageError
from fleetsync.mirror.reader import Reader
from fleetsync.mirror.wishes import Selected

_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A stored resource, with the parts of it that were read one by one."""

    no: int
    resource: Resource
    details: Mapping[Part, object]


class Selection:
    """Runs selectors over the mirror. Blocking: call it in a thread."""

    def __init__(self, reader: Reader, views: Mapping[ResourceType, str]) -> None:
        self._reader = reader
        self._views = views

    def interrupt(self) -> None:
        """End what is running, from another thread; nothing happens where it has ended."""
        self._reader.interrupt()

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

    def select(self, source: str, declaration: Declaration) -> Selected:
        """Return the rows that a declaration selects in a source; one that fails is held, alone."""
        if fault := self.fault(declaration):
            return Selected(declaration=declaration.name, error=fault)
        matched = Bitmap()
        try:
            matched.add(no for (no,) in self._reader.rows(*self._statement(source, declaration)))
        except (UsageError, TooLongError) as error:
            return Selected(declaration=declaration.name, error=str(error))
        return Selected(declaration=declaration.name, matched=matched)

    def selected_last(self, source: str, declaration: Declaration) -> Bitmap:
        """Return what a declaration selected in a source when it last could."""
        chunks = "SELECT chunk, bits FROM selected WHERE declaration = ? AND source = ?"
        return Bitmap(dict(self._reader.rows(chunks, (declaration.name, source))))

    def _statement(self, source: str, declaration: Declaration) -> tuple[str, tuple[Any, ...]]:
        view = self._views[declaration.type]
        condition = "" if declaration.where is None else f" AND (\n{declaration.where}\n)"
        sql = (
            "SELECT r.no FROM resource r JOIN "
            f"(SELECT id FROM {view} WHERE source = ?{condition}) d "
            "ON r.id = d.id WHERE r.source = ? AND r.type = ?"
        )
        return sql, (source, source, declaration.type)

    def rows(self, numbers: Bitmap) -> Iterator[Row]:
        """Yield the rows with these numbers that are there, in the order of their numbers."""
        batch: list[int] = []
        for no in numbers:
            batch.append(no)
            if len(batch) == _BATCH:
                yield from self._rows(batch)
                batch = []
        yield from self._rows(batch)

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
