"""The journal: it stays small once nobody holds it, and pruning goes on from where it is."""

import contextlib
import sqlite3
from collections.abc import Iterator

import pytest

from fleetsync.mirror import checkpoint
from fleetsync.mirror.wal import wal_bytes
from tests.mirror.bench import Bench, page

KEPT_BYTES = 256 * 1024


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make large what takes no time to write."""
    monkeypatch.setattr(checkpoint, "WAL_KEPT_BYTES", KEPT_BYTES)
    monkeypatch.setattr(checkpoint, "_GAP_MS", 1)


@contextlib.contextmanager
def reader(bench: Bench) -> Iterator[sqlite3.Connection]:
    """Give a reader in the middle of a transaction."""
    with contextlib.closing(sqlite3.connect(f"file:{bench.path}?mode=ro", uri=True, isolation_level=None)) as found:
        found.execute("BEGIN")
        found.execute("SELECT count(*) FROM resources").fetchall()
        yield found


async def write(bench: Bench, rounds: int) -> None:
    """Write about a hundred kilobytes a round."""
    for number in range(rounds):
        await bench.listed(page(*(f"d{number}-{id}" for id in range(300))))


async def test_a_journal_that_a_reader_holds_grows_and_is_put_back_when_the_reader_goes(bench: Bench) -> None:
    with reader(bench):
        await write(bench, 30)
        held_bytes = await bench.mirror.put_back()
        assert held_bytes > 4 * KEPT_BYTES
        await write(bench, 1)  # nobody was left in the way of the writer
    assert await bench.mirror.put_back() == 0
    assert wal_bytes(bench.path) == 0


async def test_readers_that_follow_each_other_without_a_gap_hold_it_no_longer_than_the_last_of_them(
    bench: Bench,
) -> None:
    first = contextlib.ExitStack()
    first.enter_context(reader(bench))
    try:
        for _ in range(6):
            await write(bench, 5)
            second = contextlib.ExitStack()
            second.enter_context(reader(bench))
            first.close()
            first = second
            assert await bench.mirror.put_back() > KEPT_BYTES
    finally:
        first.close()
    assert await bench.mirror.put_back() == 0


async def test_a_small_journal_is_left_to_itself(bench: Bench) -> None:
    await bench.mirror.put_back()
    before = wal_bytes(bench.path)
    await bench.listed(page("a"))
    assert before <= await bench.mirror.put_back() <= KEPT_BYTES


async def test_a_full_journal_is_given_back_by_itself_once_it_begins_anew(bench: Bench) -> None:
    """The limit that SQLite keeps by itself holds, without any of our own."""
    (limit,) = await bench.mirror._writer.run(
        lambda connection: connection.exec_driver_sql("PRAGMA journal_size_limit").one()
    )
    assert limit == 64 * 1024 * 1024
