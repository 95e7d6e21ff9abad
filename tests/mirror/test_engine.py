"""Pieces of work that share a transaction."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, text
from sqlalchemy.schema import CreateTable

from fleetsync.errors import BrokenMirrorError, MirrorError
from fleetsync.mirror.engine import AT_ONCE, Prepared, Statements, Writer, open_writer


@pytest.fixture(name="writer")
async def writer_of_an_empty_table(tmp_path: Path) -> AsyncIterator[Writer]:
    async with open_writer(tmp_path / "a.db") as writer:
        async with writer.transaction() as transaction:
            await transaction.run(text("CREATE TABLE a (n INTEGER PRIMARY KEY)"))
        yield writer


def adding(n: int, commits: list[int]) -> object:
    def add(on: Statements) -> int:
        on.run(text(f"INSERT INTO a VALUES ({n})"))
        commits.append(n)
        return n * 10

    return add


def numbers(writer: Writer) -> list[int]:
    with sqlite3.connect(writer.path) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM a ORDER BY n")]


async def all_of(writer: Writer, *pieces: object) -> list[object]:
    """Ask for pieces of work while a transaction is under way."""
    async with writer.transaction():
        asked = [asyncio.ensure_future(writer.together(piece)) for piece in pieces]  # type: ignore[arg-type]
        await asyncio.sleep(0)
    return await asyncio.gather(*asked, return_exceptions=True)


async def test_all_that_wait_are_committed_at_once_and_each_gets_its_own_answer(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    works: list[str] = []
    run = writer._thread.run

    async def counted(function: object) -> object:
        works.append(getattr(getattr(function, "func", None), "__name__", ""))
        return await run(function)  # type: ignore[arg-type]

    monkeypatch.setattr(writer._thread, "run", counted)
    done: list[int] = []
    assert await all_of(writer, *(adding(n, done) for n in range(50))) == [n * 10 for n in range(50)]
    assert works.count("transact") == 1
    assert numbers(writer) == done == list(range(50))


@pytest.mark.parametrize("many", [0, 1, AT_ONCE - 1, AT_ONCE, 2 * AT_ONCE + 1])
async def test_rows_that_are_inserted_many_at_once_are_all_there_in_their_order(writer: Writer, many: int) -> None:
    table = Table("b", MetaData(), Column("id", Integer, primary_key=True), Column("n", Integer), Column("t", Text))
    async with writer.transaction() as transaction:
        await transaction.run(CreateTable(table))
        await transaction.run_many(Prepared(insert(table), ("t", "n")), [(f"t{n}", n) for n in range(many)])
    with sqlite3.connect(writer.path) as connection:
        rows = connection.execute("SELECT id, n, t FROM b ORDER BY id").fetchall()
    assert rows == [(n + 1, n, f"t{n}") for n in range(many)]


async def test_a_piece_that_fails_takes_no_other_with_it(writer: Writer) -> None:
    def fails(on: Statements) -> None:
        on.run(text("INSERT INTO a VALUES (77)"))
        raise ValueError("no")

    first, second, third, fourth = await all_of(writer, adding(1, []), fails, adding(1, []), adding(2, []))
    assert (first, fourth) == (10, 20)
    assert isinstance(second, ValueError)
    assert isinstance(third, MirrorError)
    assert numbers(writer) == [1, 2]
    assert not writer.is_broken


async def test_a_piece_is_committed_when_it_returns(writer: Writer) -> None:
    assert await writer.together(adding(3, [])) == 30  # type: ignore[arg-type]
    assert numbers(writer) == [3]


async def test_who_is_cancelled_while_waiting_is_not_done(writer: Writer) -> None:
    async with writer.transaction():
        asked = asyncio.ensure_future(writer.together(adding(1, [])))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    await writer.together(adding(2, []))  # type: ignore[arg-type]
    assert numbers(writer) == [2]


async def test_who_leads_and_is_cancelled_does_it_for_the_others_still(writer: Writer) -> None:
    async with writer.transaction():
        leads, follows = (asyncio.ensure_future(writer.together(adding(n, []))) for n in (1, 2))  # type: ignore[arg-type]
        await asyncio.sleep(0)
    for _ in range(3):  # until it is at it
        await asyncio.sleep(0)
    assert writer._turn.locked()
    leads.cancel()
    assert await follows == 20
    assert numbers(writer)[-1] == 2


def failing_once(code: int, *, from_try: int = 1) -> object:
    """Return work that fails once, the try `from_try`, as the database itself does."""
    tries: list[int] = []

    def fail(on: Statements) -> None:
        tries.append(1)
        if len(tries) == from_try:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = code
            raise error
        if len(tries) < from_try:
            raise ValueError("no")

    return fail


@pytest.mark.parametrize("from_try", [1, 2])
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_CORRUPT])
async def test_when_the_database_fails_under_many_nothing_is_tried_again(
    writer: Writer, code: int, from_try: int
) -> None:
    asked = await all_of(writer, adding(1, []), failing_once(code, from_try=from_try), adding(2, []))
    assert all(isinstance(one, BrokenMirrorError) for one in asked)
    assert writer.is_broken
    assert 2 not in numbers(writer)


async def test_memory_that_runs_out_under_many_breaks_it_for_all(writer: Writer) -> None:
    tries: list[int] = []

    def fail(on: Statements) -> None:
        tries.append(1)
        raise MemoryError

    asked = await all_of(writer, adding(1, []), fail, adding(2, []))
    assert all(isinstance(one, BrokenMirrorError) for one in asked)
    assert (tries, numbers(writer)) == ([1], [])


async def test_who_is_cancelled_takes_no_one_with_the_same_work_with_him(writer: Writer) -> None:
    done: list[int] = []

    def work(on: Statements) -> int:
        done.append(1)
        return 7

    async with writer.transaction():
        asked = [asyncio.ensure_future(writer.together(work)) for _ in range(2)]
        await asyncio.sleep(0)
        asked[1].cancel()
        await asyncio.sleep(0)
    assert await asked[0] == 7
    assert done == [1]
