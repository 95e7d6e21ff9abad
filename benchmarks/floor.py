"""The least that can be had: aiohttp, msgspec and sqlite3, written by hand, without a promise.

    python -m benchmarks.floor WAY URL DATABASE

WAY: `fetch` the pages and nothing else · `load` a new database, with its key from the beginning · `load-key-last` ·
`compare-in` each transaction's ids are looked up · `compare-ordered` the database is read beside the pages, which
works only where both have the same order.
"""

import asyncio
import contextlib
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import msgspec

_BATCH = 100
_TABLE = """
CREATE TABLE device (no INTEGER PRIMARY KEY, id TEXT NOT NULL, etag TEXT, display_name TEXT, enabled INTEGER,
    provisioned INTEGER, simulated INTEGER, template TEXT, document TEXT NOT NULL)
"""
_KEY = "CREATE UNIQUE INDEX device_by_id ON device (id)"
_INSERT = (
    "INSERT INTO device (id, etag, display_name, enabled, provisioned, simulated, template, document)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE = (
    "UPDATE device SET id = ?, etag = ?, display_name = ?, enabled = ?, provisioned = ?, simulated = ?, template = ?,"
    " document = ? WHERE no = ?"
)


class _Central(msgspec.Struct, rename="camel"):
    id: str
    etag: str | None = None
    display_name: str | None = None
    enabled: bool | None = None
    provisioned: bool | None = None
    simulated: bool | None = None
    template: str | None = None


class _Hub(msgspec.Struct, rename="camel"):
    device_id: str
    etag: str | None = None
    status: str | None = None
    connection_state: str | None = None
    last_activity_time: str | None = None
    version: int | None = None
    model_id: str | None = None


class _Link(msgspec.Struct):
    nextLink: str | None = None  # noqa: N815 - the service's spelling


class _List(_Link):
    value: list[msgspec.Raw] = []


async def central(session: aiohttp.ClientSession, base: str, shape: type[Any]) -> AsyncIterator[Any]:
    url: str | None = f"{base}/api/devices?api-version=2022-10-31-preview&maxpagesize=100"
    decoder = msgspec.json.Decoder(shape)
    while url is not None:
        async with session.get(url) as answer:
            page = decoder.decode(await answer.read())
        url = page.nextLink
        yield page


async def hub(session: aiohttp.ClientSession, base: str, *, whole: bool) -> AsyncIterator[Any]:
    headers = {"x-ms-max-item-count": "1000"}
    decoder = msgspec.json.Decoder(list[msgspec.Raw])
    while True:
        url = f"{base}/devices/query?api-version=2021-04-12"
        async with session.post(url, json={"query": "SELECT * FROM devices"}, headers=headers) as answer:
            body = await answer.read()
        yield _List(value=decoder.decode(body)) if whole else None
        if "x-ms-continuation" not in answer.headers:
            return
        headers["x-ms-continuation"] = answer.headers["x-ms-continuation"]


def pages(session: aiohttp.ClientSession, url: str, *, whole: bool) -> AsyncIterator[Any]:
    kind, base = url.split("+", 1)
    if kind == "hub":
        return hub(session, base, whole=whole)
    return central(session, base, _List if whole else _Link)


async def batches(session: aiohttp.ClientSession, url: str) -> AsyncIterator[list[bytes]]:
    batch: list[bytes] = []
    count = 0
    async for page in pages(session, url, whole=True):
        batch += map(bytes, page.value)
        count += 1
        if count % _BATCH == 0:
            yield batch
            batch = []
    if batch:
        yield batch


def rows(url: str, batch: list[bytes]) -> Iterator[tuple[Any, ...]]:
    decode = msgspec.json.Decoder(_Hub if url.startswith("hub+") else _Central).decode
    for document in batch:
        yield (*msgspec.structs.astuple(decode(document)), document.decode())


async def load(session: aiohttp.ClientSession, url: str, database: sqlite3.Connection, *, key_last: bool) -> None:
    database.execute(_TABLE)
    if not key_last:
        database.execute(_KEY)
    async for batch in batches(session, url):
        database.execute("BEGIN")
        database.executemany(_INSERT, rows(url, batch))
        database.execute("COMMIT")
    if key_last:
        database.execute(_KEY)


async def compare_in(session: aiohttp.ClientSession, url: str, database: sqlite3.Connection) -> None:
    async for batch in batches(session, url):
        listed = {row[0]: row for row in rows(url, batch)}
        marks = ",".join("?" * len(listed))
        sql = f"SELECT id, no, document FROM device WHERE id IN ({marks})"
        changed = [
            (*listed[id], no) for id, no, stored in database.execute(sql, list(listed)) if stored != listed[id][-1]
        ]
        update(database, changed)


async def compare_ordered(session: aiohttp.ClientSession, url: str, database: sqlite3.Connection) -> None:
    stored = database.execute("SELECT no, document FROM device ORDER BY no")
    async for batch in batches(session, url):
        beside = stored.fetchmany(len(batch))
        changed = [(listed, no) for listed, (no, known) in zip(batch, beside, strict=True) if known != listed.decode()]
        update(
            database,
            [
                (*row, no)
                for (row, no) in zip(rows(url, [one for one, _ in changed]), (no for _, no in changed), strict=True)
            ],
        )


def update(database: sqlite3.Connection, changed: list[tuple[Any, ...]]) -> None:
    if changed:
        database.execute("BEGIN")
        database.executemany(_UPDATE, changed)
        database.execute("COMMIT")


async def fetch(session: aiohttp.ClientSession, url: str) -> None:
    async for _ in pages(session, url, whole=False):
        pass


async def main(way: str, url: str, path: str) -> None:
    async with aiohttp.ClientSession() as session:
        if way == "fetch":
            await fetch(session, url)
            return
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            match way:
                case "load" | "load-key-last":
                    await load(session, url, database, key_last=way == "load-key-last")
                case "compare-in":
                    await compare_in(session, url, database)
                case _:
                    await compare_ordered(session, url, database)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
