"""A mirror, and short words for what cycles do to it."""

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fleetsync.core.kind import TypeSpec
from fleetsync.core.model import DEVICE, Cursor, CycleId, ETag, Facts, Page, Resource, Unreadable
from fleetsync.errors import InvalidResponseError
from fleetsync.mirror.cycles import SourceRow
from fleetsync.mirror.listings import Listing
from fleetsync.mirror.mirror import Mirror
from fleetsync.providers.iot_central import KIND
from tests.fakes.clock import FakeClock

SPEC: TypeSpec = KIND.specs[DEVICE]


def source_row(name: str = "plant", identity: str = "iot-central at a") -> SourceRow:
    return SourceRow(name=name, kind="iot-central", url="https://a", mode="manual", identity=identity)


def resource(id: str, document: str = "", **facts: Any) -> Resource:
    text = document or f'{{"id":"{id}","n":1}}'
    return Resource(id=id, document=text.encode(), etag=ETag(f"etag of {text}"), facts=Facts(**facts))


def page(*ids: str, following: str | None = None, unreadable: tuple[str, ...] = ()) -> Page:
    """Return a page; an id like `a=2` has another document than `a`."""
    found = tuple(resource(id.split("=")[0], f'{{"id":"{id.split("=")[0]}","n":"{id}"}}') for id in ids)
    lost = tuple(Unreadable(id=id, reason="NUL") for id in unreadable)
    return Page(resources=found, next=None if following is None else Cursor(following), unreadable=lost)


def closed(*ids: str, following: str | None = None) -> Page:
    """Return the same page as a provider gives it: nobody looked into it; one whose id is `!` has none."""
    shown = page(*ids)

    def named(array: bytes | msgspec.Raw) -> list[str]:
        found = [one["id"] for one in msgspec.json.decode(array)]
        if "!" in found:
            raise InvalidResponseError("an entry without an id")
        return found

    def read(documents: Sequence[bytes]) -> list[Resource]:
        named(b"[%b]" % b",".join(documents))
        return [next(one for one in shown.resources if one.document == document) for document in documents]

    body = msgspec.Raw(b"[%b]" % b",".join(shown.documents))
    return Page.closed(body, lambda: shown.documents, named, read, None if following is None else Cursor(following))


@dataclass
class Bench:
    """A mirror with the source `plant`, and short words for what a cycle does to it."""

    mirror: Mirror
    clock: FakeClock
    path: Path

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, parameters).fetchall()

    async def begin(self, source: str = "plant") -> Listing:
        self.clock.step(60)
        return await self.mirror.listings.begin(source, SPEC, await self.mirror.cycles.begin(source))

    async def listed(self, *pages: Page, source: str = "plant") -> Listing:
        """List to the end, and believe it."""
        going = await self.begin(source)
        await self.mirror.listings.record(going, pages)
        await self.mirror.listings.complete(going)
        return going

    async def cut_short(self, *pages: Page) -> Listing:
        """List, and break off after these pages."""
        going = await self.begin()
        if pages:
            await self.mirror.listings.record(going, pages)
        return going

    async def sight(self, *shown: Any, cycle: int = 99) -> None:
        self.clock.step(60)
        await self.mirror.record("plant", SPEC, shown, CycleId(cycle))

    async def missed(self, going: Listing, *, twice: bool) -> list[str]:
        return [row.id for row in await self.mirror.listings.missed(going, twice=twice, most=1000)]

    async def bury(self, going: Listing) -> list[str]:
        rows = await self.mirror.listings.missed(going, twice=True, most=1000)
        await self.mirror.listings.mark_gone(going, [(row, "unseen twice") for row in rows])
        return [row.id for row in rows]

    def events(self) -> list[tuple[str, str]]:
        return self.rows("SELECT resource_id, event FROM history ORDER BY id")
