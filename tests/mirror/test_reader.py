"""Readers that can only read, and only so much."""

import contextlib
import itertools
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from fleetsync.clock import Clock
from fleetsync.errors import MirrorError, NotYetError, TooLongError, UsageError
from fleetsync.mirror.reader import MOST_IDLE, Reader, Readers
from fleetsync.transport.client import MAX_BYTES
from tests.fakes.clock import FakeClock
from tests.mirror.bench import Bench, page
from tests.mirror.columns import COLUMNS


@pytest.fixture
async def reader(bench: Bench) -> Any:
    await bench.listed(page("a", "b"))
    with contextlib.closing(Reader(bench.path, bench.clock)) as made:
        yield made


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def ask(reader: Reader, sql: str) -> list[tuple[Any, ...]]:
    return list(reader.question(sql)[1])


async def test_a_question_has_its_columns_and_rows(reader: Reader) -> None:
    columns, rows = reader.question("SELECT id, document ->> 'n' AS n FROM devices ORDER BY id")
    assert (columns, list(rows)) == (("id", "n"), [("a", "a"), ("b", "b")])
    assert reader.views == COLUMNS.keys()
    assert reader.columns("drift") == set(COLUMNS["drift"])


@pytest.mark.parametrize(
    "sql",
    [
        "WITH some AS (SELECT id FROM devices) SELECT COUNT(*) FROM some",
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT MAX(i) FROM n",
        "SELECT j.value FROM devices, json_each(document) j",
        "SELECT t.fullkey FROM devices, json_tree(document) t",
        "SELECT json_group_array(id) OVER () FROM devices",
        "SELECT name FROM sqlite_master WHERE type = 'view'",
        "SELECT COUNT(*) FROM devices d JOIN history h ON h.resource_id = d.id LEFT JOIN drift USING (source)",
        "SELECT * FROM devices AS d WHERE observed_at > ago('1 day') AND upper(id) LIKE 'A%'",
        "EXPLAIN QUERY PLAN SELECT * FROM devices",
    ],
)
async def test_what_only_reads_views_is_allowed(reader: Reader, sql: str) -> None:
    assert ask(reader, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "VACUUM INTO '{folder}/stolen.db'",
        "ATTACH '{folder}/stolen.db' AS x",
        "DETACH main",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA user_version",
        "PRAGMA query_only = OFF",
        "SELECT * FROM pragma_table_info('resource')",
        "DELETE FROM resource",
        "UPDATE devices SET id = 'x'",
        "INSERT INTO resource (id) VALUES ('x')",
        "CREATE TABLE x (a)",
        "CREATE TEMP TABLE x (a)",
        "CREATE TEMP VIEW x AS SELECT 1",
        "DROP VIEW devices",
        "REINDEX",
        "ANALYZE",
        "BEGIN",
        "SAVEPOINT x",
        "SELECT load_extension('x')",
        "SELECT writefile('{folder}/x', 'x')",
        "SELECT readfile('/etc/passwd')",
        "SELECT randomblob(10)",
        "SELECT zeroblob(1000000000)",
        "SELECT hex(randomblob(1000000000))",
        "SELECT random()",
        "SELECT sqlite_version()",
        "SELECT changes()",
        "SELECT * FROM resource",
        "SELECT cursor FROM listing",
        "SELECT COUNT(*) FROM source",
        "SELECT id FROM devices WHERE id IN (SELECT id FROM resource)",
        "WITH devices AS (SELECT * FROM listing) SELECT * FROM devices",
        "WITH x AS (WITH history AS (SELECT * FROM source) SELECT * FROM history) SELECT * FROM x",
        "SELECT * FROM (SELECT * FROM source) AS devices",
        "SELECT 1; SELECT 2",
        "SELECT \ud800",
        "SELECT nothing FROM devices",
        "SELEC",
        "",
    ],
)
async def test_what_does_anything_else_is_refused_and_leaves_no_trace(
    reader: Reader, sql: str, tmp_path: Path, bench: Bench
) -> None:
    files, rows = files_in(tmp_path), bench.rows("SELECT * FROM resource")
    with pytest.raises(UsageError):
        ask(reader, sql.replace("{folder}", str(tmp_path)))
    assert files_in(tmp_path) == files
    assert bench.rows("SELECT * FROM resource") == rows
    assert ask(reader, "SELECT COUNT(*) FROM devices") == [(2,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT printf('%.*c', 36000000, 'x') || printf('%.*c', 36000000, 'x')",
        "SELECT replace(printf('%.*c', 30000000, 'x'), 'x', 'yyy')",
        "SELECT length(group_concat(document || printf('%.*c', 36000000, 'x'))) FROM devices",
        "SELECT '" + "x" * 70_000_000 + "'",
    ],
)
async def test_what_grows_too_large_ends(reader: Reader, sql: str) -> None:
    with pytest.raises(UsageError, match="big"):
        ask(reader, sql)


async def test_the_largest_document_that_a_service_can_send_is_read(reader: Reader, bench: Bench) -> None:
    with contextlib.closing(sqlite3.connect(bench.path)) as connection:
        connection.execute(
            "UPDATE resource SET document = json_object('n', printf('%.*c', ?, 'x')) WHERE id = 'a'", (MAX_BYTES,)
        )
        connection.commit()
    [(document,)] = reader.rows("SELECT document FROM resource WHERE id = 'a'")
    assert len(document) > MAX_BYTES


@pytest.mark.parametrize("table", ["resource", "Resource", "source", "sqlite_master"])
async def test_a_query_of_ones_own_may_not_have_the_name_of_a_table(reader: Reader, table: str) -> None:
    with pytest.raises(UsageError, match="is a table"):
        ask(reader, f"WITH {table} AS (SELECT 1) SELECT count(*) FROM main.{table}")


async def test_only_a_question_may_look_at_the_catalogue(reader: Reader) -> None:
    sql = "SELECT 1 FROM devices WHERE EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'write')"
    assert ask(reader, sql) == [(1,), (1,)]
    with pytest.raises(UsageError, match="not allowed"):
        reader.compile(sql, reader.views)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_CORRUPT_INDEX, sqlite3.SQLITE_BUSY])
async def test_a_database_that_fails_is_no_mistake_of_who_asks_also_by_an_extended_code(
    reader: Reader, code: int
) -> None:
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode = code
    assert isinstance(reader._refusal(error), MirrorError)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("", "no question: one SELECT"),
        (" \n;", "no question"),
        ("-- SELECT 1", "no question"),
        ("SELECT ?", "no parameters: write the value itself"),
        ("SELECT :name", "no parameters"),
        ("SELECT $1", "no parameters"),
        ("SELECT 1; SELECT 2", "one SELECT at a time"),
        ("SELECT '\0'", "without NUL"),
        ("SELECT '\ud800'", "halves of surrogate pairs"),
        ("SELECT randomblob(1)", r"not allowed: the function randomblob\(\)"),
        ("SELECT * FROM resource", "not allowed: resource is no view"),
        ("PRAGMA user_version", "not allowed: only SELECT"),
        ("SELECT * FROM pragma_table_list", "not allowed: only SELECT"),
        ("SELECT ago('soon')", r"ago\(\) takes a text like '30 days' \(seconds, .*\), not 'soon'"),
    ],
)
async def test_a_refusal_says_in_our_words_what_to_do(reader: Reader, sql: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ask(reader, sql)


async def test_a_refusal_is_about_its_own_question(reader: Reader) -> None:
    for sql, words in (
        ("SELECT ago('x')", "takes a text"),
        ("SELECT random()", "function random"),
        ("SELEC", "syntax"),
    ):
        with pytest.raises(UsageError, match=words):
            ask(reader, sql)


@pytest.mark.parametrize(
    "sql", ["SELECT 1;", "SELECT 1 ; -- that is all", "SELECT ';?:@$' AS \"a;b\"", "SELECT '{}' ->> '$.x' -- why?"]
)
async def test_marks_in_texts_and_comments_and_a_last_semicolon_do_no_harm(reader: Reader, sql: str) -> None:
    assert len(ask(reader, sql)) == 1


async def test_a_format_that_grows_too_large_gives_nothing(reader: Reader) -> None:
    assert ask(reader, "SELECT printf('%.*c', 100000000, 'x')") == [(None,)]


class Hurrying(FakeClock):
    """A clock on which a second passes whenever somebody looks."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds = itertools.count()

    def monotonic_s(self) -> float:
        return float(next(self._seconds))


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
    ],
)
async def test_what_never_ends_ends_at_the_time_limit(bench: Bench, sql: str) -> None:
    clock = Hurrying()
    with contextlib.closing(Reader(bench.path, clock)) as reader:
        with pytest.raises(TooLongError, match="longer than the limit of 30 s"):
            ask(reader, sql)
        assert 30 <= clock.monotonic_s() < 60
        assert ask(reader, "SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("text", "instant"),
    [("30 days", "2026-10-22T18:01:00.000Z"), ("1 second", "2026-11-21T18:00:59.000Z"),
     (" 2  hours ", "2026-11-21T16:01:00.000Z"), ("1 week", "2026-11-14T18:01:00.000Z"),
     ("0 minutes", "2026-11-21T18:01:00.000Z")],
)  # fmt: skip
async def test_ago_is_an_instant_as_the_database_writes_it(reader: Reader, text: str, instant: str) -> None:
    assert ask(reader, f"SELECT ago('{text}')") == [(instant,)]


@pytest.mark.parametrize("text", ["30", "days", "-1 days", "1 month", "1.5 days", "", "9999999 days", "1 day\n2"])
async def test_ago_takes_nothing_else(reader: Reader, text: str) -> None:
    with pytest.raises(UsageError, match=r"^ago\(\) takes a text like '30 days'"):
        ask(reader, f"SELECT ago('{text}')")
    with pytest.raises(UsageError):
        ask(reader, "SELECT ago(NULL)")


async def test_a_reader_sees_what_is_committed_and_holds_nobody_up(reader: Reader, bench: Bench) -> None:
    await bench.listed(page("c"))
    assert ask(reader, "SELECT COUNT(*) FROM devices") == [(3,)]
    rows = reader.question("SELECT id FROM devices")[1]
    next(rows)
    await bench.listed(page("d"))
    assert ask(reader, "SELECT COUNT(*) FROM devices") == [(4,)]


def test_a_database_that_is_not_there_comes_later_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotYetError):
        Reader(tmp_path / "none.db", FakeClock())
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("no database, but long enough" * 100)
    with pytest.raises(MirrorError, match=r"text\.db"):
        Reader(path, FakeClock())


def test_an_interrupted_reader_that_was_closed_is_left_alone(database: Path) -> None:
    clock: Clock = FakeClock()
    reader = Reader(database, clock)
    reader.close()
    reader.interrupt()


def test_a_path_may_be_odd(database: Path, tmp_path: Path) -> None:
    odd = tmp_path / "what? 50%25 #1.db"
    odd.write_bytes(database.read_bytes())
    with contextlib.closing(Reader(odd, FakeClock())) as reader:
        assert ask(reader, "SELECT COUNT(*) FROM devices") == [(0,)]


@pytest.fixture
async def readers(bench: Bench) -> Any:
    await bench.listed(page("a"))
    with contextlib.closing(Readers(bench.path, bench.clock)) as made:
        yield made


async def test_a_reader_that_is_done_serves_the_next_one_who_sees_what_is_new(readers: Readers, bench: Bench) -> None:
    with readers.reading() as first:
        assert ask(first, "SELECT id FROM devices") == [("a",)]
        with readers.reading() as other:
            assert other is not first
    await bench.listed(page("a", "b"))
    with readers.reading() as again:
        assert again is first
        assert ask(again, "SELECT id FROM devices") == [("a",), ("b",)]
        assert list(again.rows("SELECT id FROM resource")) == [("a",), ("b",)]


async def test_a_reader_with_which_something_went_wrong_is_not_kept(readers: Readers) -> None:
    with pytest.raises(UsageError), readers.reading() as wrong:
        ask(wrong, "SELECT nothing FROM devices")
    with readers.reading() as interrupted:
        assert interrupted is not wrong
        interrupted.interrupt()
    with readers.reading() as sound:
        assert sound is not interrupted
        assert ask(sound, "SELECT id FROM devices") == [("a",)]
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        wrong.columns("devices")


async def test_a_reader_that_is_in_use_when_all_are_closed_is_closed_as_it_is_done(readers: Readers) -> None:
    with readers.reading(), readers.reading() as idle:
        pass
    with readers.reading() as used:
        readers.close()
        assert ask(used, "SELECT id FROM devices") == [("a",)]
    for one in (idle, used):
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            one.columns("devices")


async def test_what_a_user_may_not_read_stays_so_after_a_select_of_our_own(reader: Reader) -> None:
    assert list(reader.rows("SELECT id FROM resource")) == [("a",), ("b",)]
    with pytest.raises(UsageError, match="resource is no view"):
        ask(reader, "SELECT id FROM resource")
    assert list(reader.rows("SELECT id FROM resource")) == [("a",), ("b",)]


async def test_a_selection_that_is_done_is_not_interrupted_any_more(bench: Bench) -> None:
    await bench.listed(page("a"))
    with bench.mirror.selection() as selection:
        pass
    selection.interrupt()
    with bench.mirror.readers.reading() as sound:
        assert ask(sound, "SELECT id FROM devices") == [("a",)]


async def test_no_more_readers_are_kept_than_a_few(readers: Readers) -> None:
    with contextlib.ExitStack() as stack:
        many = [stack.enter_context(readers.reading()) for _ in range(MOST_IDLE + 2)]
    left = 0
    for one in many:
        with contextlib.suppress(sqlite3.ProgrammingError):
            left += bool(one.columns("devices"))
    assert left == MOST_IDLE
