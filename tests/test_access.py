"""How SQLite gets at the rows: no question of the README, and no usual one to a view, reads a large table unnoticed."""

import asyncio
import contextlib
import re
from collections.abc import Iterator

import pytest

from fleetsync.mirror.mirror import open_mirror
from fleetsync.mirror.reader import Reader
from fleetsync.mirror.views import views
from fleetsync.providers.base import all_kinds
from tests.fakes.clock import FakeClock
from tests.test_questions import QUESTIONS

# What grows with the fleet or with time, by the names that the views give it; drift grows with what is wrong.
LARGE = {"r": "resource", "n": "name", "e": "event", "w": "write", "d": "drift_leaf"}
PARTIAL = {"resource_of_type", "resource_disabled", "resource_gone", "resource_missed", "write_open", "write_not_done"}

# The questions that read a whole table, and why no index is worth what it costs at every listing.
SCANNING = {
    "What is there in every service, what came and what went in a week, and what is not as declared?": (
        {"resource", "drift_leaf"},
        "it counts everything",
    ),
    "Which devices were not heard of for 30 days? (IoT Central does not say.)": (
        {"resource"},
        "the time changes with every message: a listing would write the index for each device that is alive",
    ),
    "Which twins are larger than 6 KB?": ({"resource"}, "the size changes with the document"),
    "Which ids are there in more than one source?": ({"resource"}, "it compares everything"),
    "Which devices lack a tag?": ({"resource"}, "what is in documents is the user's own; of one kind it takes a scan"),
    "Which devices do not report what they were told?": ({"resource"}, "it compares within every document"),
    "What is not as declared, by declaration, and why is it not being mended?": ({"drift_leaf"}, "it counts all drift"),
}


@pytest.fixture(name="reader", scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Give a reader of an empty mirror: nobody counts rows for SQLite in a full one either."""
    path = tmp_path_factory.mktemp("empty") / "empty.db"

    async def make() -> None:
        async with open_mirror(path, all_kinds().values(), FakeClock()):
            pass

    asyncio.run(make())
    with contextlib.closing(Reader(path, FakeClock())) as reader:
        yield reader


def steps(reader: Reader, sql: str) -> list[str]:
    reader._connection.set_authorizer(None)
    return [detail for *_, detail in reader._connection.execute(f"EXPLAIN QUERY PLAN {sql}")]


def scanned(reader: Reader, sql: str) -> set[str]:
    """Return the large tables that a question reads from one end to the other."""
    found = (re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step) for step in steps(reader, sql))
    return {LARGE[match[1]] for match in found if match and match[1] in LARGE and match[2] not in PARTIAL}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_of_the_readme_reads_no_large_table_unless_it_is_said_why(reader: Reader, question: str) -> None:
    tables, _ = SCANNING.get(question, (set(), ""))
    assert scanned(reader, QUESTIONS[question]) == tables


def test_every_question_that_is_said_to_scan_is_one_of_the_readme() -> None:
    assert SCANNING.keys() <= QUESTIONS.keys()


@pytest.mark.parametrize("view", sorted(views(all_kinds().values())))
def test_a_view_finds_one_resource_by_its_key(reader: Reader, view: str) -> None:
    by = {
        "resources": "source = 'a' AND type = 'device' AND id = 'x'",
        "history": "source = 'a' AND type = 'device' AND resource_id = 'x'",
        "drift": "source = 'a' AND type = 'device' AND resource_id = 'x'",
        "writes": "source = 'a' AND type = 'device' AND resource_id = 'x'",
        "cycles": "source = 'a' AND id = 1",
        "sources": "name = 'a'",
        "declarations": "name = 'a'",
    }.get(view, "source = 'a' AND id = 'x'")
    assert not [step for step in steps(reader, f"SELECT * FROM {view} WHERE {by}") if step.startswith("SCAN")]


@pytest.mark.parametrize("view", sorted(set(views(all_kinds().values())) - {"devices", "resources", "history", "writes", "drift"}))  # fmt: skip
def test_what_is_few_is_read_without_reading_all_devices(reader: Reader, view: str) -> None:
    for sql in (f"SELECT * FROM {view}", f"SELECT COUNT(*) FROM {view}"):
        # Its own small table may be read whole.
        assert [step for step in steps(reader, sql) if re.match(r"SCAN r\b", step)] == []


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        ("SELECT id FROM devices WHERE source = 'a'", "resource"),
        ("SELECT id FROM device_groups WHERE source = 'a'", "resource_of_type"),
        ("SELECT * FROM resources WHERE gone_at > ago('7 days')", "resource_gone"),
        ("SELECT * FROM history WHERE at > ago('7 days')", "event_by_time"),
        ("SELECT * FROM history WHERE at > ago('7 days') ORDER BY at DESC, id DESC LIMIT 100", "event_by_time"),
        ("SELECT * FROM writes WHERE source = 'a' AND outcome = 'open'", "write_open"),
        ("SELECT * FROM drift WHERE source = 'a'", "drift_leaf"),
        ("SELECT * FROM cycles WHERE source = 'a' ORDER BY id DESC LIMIT 1", "cycle"),
    ],
)  # fmt: skip
def test_a_usual_question_goes_by_an_index(reader: Reader, sql: str, index: str) -> None:
    assert scanned(reader, sql) == set()
    assert any("USING" in step and index in step for step in steps(reader, sql))
    assert not any("TEMP B-TREE" in step for step in steps(reader, sql))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM history WHERE resource_id = 'x'",
        "SELECT * FROM history WHERE resource_id = 'x' ORDER BY at DESC",
        "SELECT * FROM history WHERE source = 'a' AND type = 'device' AND resource_id = 'x' ORDER BY id DESC",
        "SELECT * FROM history WHERE resource_id = 'x' AND at > ago('7 days')",
        "SELECT h.* FROM devices d JOIN history h ON h.resource_id = d.id AND h.source = d.source WHERE d.id = 'x'",
    ],
)
def test_the_history_of_one_id_goes_by_its_numbers(reader: Reader, sql: str) -> None:
    assert scanned(reader, sql) == set()
    found = [
        match[1] for step in steps(reader, sql) if (match := re.search(r"(resource_name_by_id|event_by_\w+)", step))
    ]
    assert found == ["resource_name_by_id", "event_by_resource"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM history",
        "SELECT * FROM history ORDER BY id DESC LIMIT 10",
        "SELECT event, count(*) FROM history WHERE source = 'a' AND type = 'device' GROUP BY event",
        "SELECT * FROM history WHERE source = 'a' ORDER BY id",
        "SELECT d.id, h.event FROM devices d JOIN history h ON h.resource_id = d.id AND h.source = d.source",
    ],
)
def test_what_reads_all_of_history_reads_it_as_it_stands(reader: Reader, sql: str) -> None:
    assert scanned(reader, sql) == {"event"}
    assert not any("event_by_resource" in step for step in steps(reader, sql))


@pytest.mark.parametrize(
    ("few", "id"),
    [
        ("resources x ON x.gone_at IS NOT NULL", "id"),
        ("writes x ON x.outcome = 'failed'", "resource_id"),
        ("drift x ON h.at >= x.since", "resource_id"),
    ],
)
def test_a_few_resources_lead_to_their_history(reader: Reader, few: str, id: str) -> None:
    key = f"AND h.source = x.source AND h.type = x.type AND h.resource_id = x.{id}"
    assert "event" not in scanned(reader, f"SELECT h.at FROM history h JOIN {few} {key}")
    blocked = "JOIN devices x ON h.source = x.source AND h.type = 'device' AND h.resource_id = x.id WHERE NOT x.enabled"
    assert "event" not in scanned(reader, f"SELECT h.at FROM history h {blocked}")


def test_the_indexes_are_those_that_are_needed_here_or_by_the_mirror_itself(reader: Reader) -> None:
    names = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    found = {name for (name,) in reader._connection.execute(names)}
    own = {
        "cycle_by_source",
        "listing_by_type",
        "resource_by_key",
        "resource_name_by_id",
        "event_by_resource",
        "event_by_time",
        "write_by_resource",
    }
    assert found == PARTIAL | own


def test_this_test_sees_a_scan(reader: Reader) -> None:
    assert scanned(reader, "SELECT * FROM history WHERE event = 'gone'") == {"event"}
