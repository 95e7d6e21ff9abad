"""What providers may ask the mirror."""

import contextlib
import datetime
import sqlite3
from pathlib import Path

import pytest

from fleetsync.core.model import DEVICE, ResourceKey, ResourceType
from fleetsync.errors import MirrorError, NotYetError
from fleetsync.mirror.known import Known
from fleetsync.mirror.reader import Readers
from tests.fakes.clock import FakeClock
from tests.mirror.bench import Bench, page

FLEET = page("b", "a", "é", "c")


def key(id: str, source: str = "plant") -> ResourceKey:
    return ResourceKey(source, DEVICE, id)


@pytest.fixture
async def known(bench: Bench) -> Known:
    await bench.listed(FLEET)
    return Known(bench.mirror.readers)


async def test_a_document_is_that_of_the_resource_asked_for(known: Known) -> None:
    assert await known.document(key("a")) == FLEET.resources[1].document
    assert await known.document(key("A")) is None
    assert await known.document(key("a", source="other")) is None
    assert await known.document(ResourceKey("plant", ResourceType("module"), "a")) is None


async def test_when_a_resource_was_observed_is_what_the_view_says_of_it(bench: Bench, known: Known) -> None:
    await bench.listed(FLEET)
    [(text,)] = bench.rows("SELECT observed_at FROM devices WHERE id = 'a'")
    assert await known.observed_at(key("a")) == datetime.datetime.fromisoformat(text)
    assert await known.observed_at(key("x")) is None


async def test_ids_come_by_code_point_and_so_many_at_a_time(known: Known) -> None:
    assert await known.ids("plant", DEVICE, after="", most=3) == ["a", "b", "c"]
    assert await known.ids("plant", DEVICE, after="c", most=3) == ["é"]
    assert await known.ids("plant", DEVICE, after="bb", most=1) == ["c"]
    assert await known.ids("plant", DEVICE, after="é", most=3) == []


async def test_what_is_gone_is_not_known(bench: Bench, known: Known) -> None:
    await bench.listed(page("b"))
    await bench.bury(await bench.listed(page("b")))
    assert await known.ids("plant", DEVICE, after="", most=9) == ["b"]
    assert await known.document(key("a")) is None


async def test_nobody_and_not_known_yet_are_two_things(bench: Bench) -> None:
    known = Known(bench.mirror.readers)
    with pytest.raises(NotYetError, match=r"not known before .*run `fleetsync sync plant` first"):
        await known.ids("plant", DEVICE, after="", most=9)
    await bench.listed(page())
    assert await known.ids("plant", DEVICE, after="", most=9) == []


async def test_a_source_that_left_the_configuration_is_not_known(bench: Bench, known: Known) -> None:
    await bench.mirror.cycles.register([], file="config.toml")
    with pytest.raises(NotYetError):
        await known.ids("plant", DEVICE, after="", most=9)


async def test_where_there_is_no_database_yet_nothing_is_known(tmp_path: Path) -> None:
    known = Known(Readers(tmp_path / "none.db", FakeClock()))
    assert await known.document(key("a")) is None
    assert await known.observed_at(key("a")) is None
    with pytest.raises(NotYetError):
        await known.ids("plant", DEVICE, after="", most=9)
    assert not (tmp_path / "none.db").exists()


async def test_a_database_of_something_else_is_said_to_be_so(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "theirs.db")) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(MirrorError, match="is not of fleetsync"):
        await Known(Readers(tmp_path / "theirs.db", FakeClock())).document(key("a"))
