"""Pieces of work that share a transaction."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from fleetsync.errors import MirrorError
from fleetsync.mirror.engine import Statements, Writer, open_writer


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
