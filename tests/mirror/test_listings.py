"""Listings: what they may say is gone, and what they may not."""

import datetime

import pytest
from sqlalchemy import text

from fleetsync.core.model import Detail, Page, Part
from fleetsync.core.safety import Showing
from fleetsync.mirror.listings import Listing
from tests.mirror.bench import SPEC, Bench, page, resource

PROPERTIES = Part("properties")


def properties(id: str, document: bytes = b'{"t":1}') -> Detail:
    return Detail(id=id, part=PROPERTIES, document=document, desired=b"{}", reported=document)


# P1


async def test_two_complete_listings_make_a_row_gone(bench: Bench) -> None:
    await bench.listed(page("a", "b"))
    first = await bench.listed(page("a"))
    assert await bench.bury(first) == []
    second = await bench.listed(page("a"))
    assert await bench.bury(second) == ["b"]
    assert bench.events() == [("a", "added"), ("b", "added"), ("b", "gone")]
    assert bench.rows("SELECT id FROM devices") == [("a",)]


async def test_one_complete_listing_only_nominates(bench: Bench) -> None:
    await bench.listed(page("a", "b"))
    going = await bench.listed(page("a"))
    assert await bench.missed(going, twice=False) == ["b"]
    assert await bench.missed(going, twice=True) == []
    assert bench.rows("SELECT id FROM devices ORDER BY id") == [("a",), ("b",)]


async def test_a_resumed_listing_nominates_and_never_confirms(bench: Bench) -> None:
    await bench.listed(page("a", "b"))
    await bench.listed(page("a"))
    await bench.cut_short(page("a", following="2"))
    resumed = await bench.begin()
    assert resumed.resumed
    await bench.mirror.listings.record(resumed, [page("c")])
    await bench.mirror.listings.complete(resumed)

    assert await bench.missed(resumed, twice=True) == []
    assert await bench.missed(resumed, twice=False) == ["b"]
    assert await bench.bury(await bench.listed(page("a", "c"))) == ["b"]


async def test_a_listing_that_is_not_believed_marks_nothing(bench: Bench) -> None:
    await bench.listed(page("a", "b"))
    for end in (
        lambda going: bench.mirror.listings.refuse(going, Showing(listed=1, shown=1, known=2, unseen=1), "why"),
        lambda going: bench.mirror.listings.fail(going, "why"),
    ):
        going = await bench.begin()
        await bench.mirror.listings.record(going, [page("a")])
        await end(going)
    assert bench.rows("SELECT id FROM resource WHERE missed_since IS NOT NULL") == []
    assert bench.rows("SELECT state, error FROM listing WHERE id > 1") == [("refused", "why"), ("failed", "why")]
    assert await bench.missed(await bench.listed(page("a")), twice=True) == []


async def test_a_listing_that_was_cut_short_and_abandoned_marks_nothing(bench: Bench) -> None:
    await bench.listed(page("a", "b"))
    await bench.cut_short(page("a", following="2"))
    await bench.clock.advance(3600)
    assert await bench.missed(await bench.listed(page("a")), twice=True) == []


@pytest.mark.parametrize("is_changed", [True, False])
async def test_a_direct_sighting_between_two_listings_starts_anew(bench: Bench, is_changed: bool) -> None:
    await bench.listed(page("a", "b"))
    await bench.listed(page("a"))
    await bench.sight(resource("b", '{"id":"b","n":"%s"}' % ("new" if is_changed else "b")))

    assert await bench.bury(await bench.listed(page("a"))) == []
    assert await bench.bury(await bench.listed(page("a"))) == ["b"]


@pytest.mark.parametrize("is_changed", [True, False])
async def test_a_part_that_was_read_between_two_listings_is_a_sighting_too(bench: Bench, is_changed: bool) -> None:
    await bench.listed(page("a", "b"))
    await bench.sight(properties("b"))
    await bench.listed(page("a"))
    await bench.sight(properties("b", b'{"t":2}' if is_changed else b'{"t":1}'))

    assert await bench.bury(await bench.listed(page("a"))) == []
    assert await bench.bury(await bench.listed(page("a"))) == ["b"]


async def test_a_sighting_while_a_listing_is_cut_short_counts_for_it(bench: Bench) -> None:
    await bench.listed(page("a", "b"))
    await bench.cut_short(page("a", following="2"))
    await bench.sight(resource("b", '{"id":"b","n":"b"}'))
    resumed = await bench.begin()
    await bench.mirror.listings.record(resumed, [page("c")])
    await bench.mirror.listings.complete(resumed)
    assert await bench.missed(resumed, twice=False) == []


async def test_a_listing_that_shows_it_again_starts_anew(bench: Bench) -> None:
    await bench.listed(page("a", "b"))
    await bench.listed(page("a"))
    await bench.listed(page("a", "b"))
    assert await bench.bury(await bench.listed(page("a"))) == []
    assert bench.events() == [("a", "added"), ("b", "added")]


async def test_what_cannot_be_read_is_there_all_the_same(bench: Bench) -> None:
    await bench.listed(page("a", "b"))
    for _ in range(3):
        assert await bench.bury(await bench.listed(page("a", unreadable=("b", "never stored")))) == []
    assert bench.rows("SELECT id FROM devices ORDER BY id") == [("a",), ("b",)]


async def test_another_source_and_another_type_are_not_concerned(bench: Bench) -> None:
    await bench.listed(page("a"))
    await bench.listed(page("a", "b"), source="other")
    for _ in range(2):
        assert await bench.bury(await bench.listed(page("c"))) == ([] if _ == 0 else ["a"])
    assert bench.rows("SELECT source, id FROM resource WHERE gone_at IS NULL ORDER BY 1, 2") == [
        ("other", "a"), ("other", "b"), ("plant", "c"),
    ]  # fmt: skip


@pytest.mark.parametrize("step_s", [-86_400.0, 86_400.0, -1e9])
async def test_clocks_that_step_do_not_make_anything_gone(bench: Bench, step_s: float) -> None:
    await bench.listed(page("a", "b"))
    await bench.listed(page("a"))
    bench.clock.step(step_s)
    await bench.sight(resource("b"))
    assert await bench.bury(await bench.listed(page("a"))) == []
    bench.clock.step(-step_s)
    assert await bench.bury(await bench.listed(page("a", "b"))) == []


async def test_what_came_back_is_one_row_with_its_own_events(bench: Bench) -> None:
    await bench.listed(page("a", "b"))
    await bench.listed(page("a"))
    await bench.bury(await bench.listed(page("a")))
    before = bench.rows("SELECT no, first_seen_at FROM resource WHERE id = 'b'")
    await bench.listed(page("a", "b"))

    assert [event for id, event in bench.events() if id == "b"] == ["added", "gone", "returned"]
    assert bench.rows("SELECT no, first_seen_at FROM resource WHERE id = 'b'") == before
    assert bench.rows("SELECT gone_at, gone_reason FROM resources WHERE id = 'b'") == [(None, None)]
    assert await bench.bury(await bench.listed(page("a"))) == []


# Where a listing stands


async def test_a_listing_goes_on_from_its_last_committed_cursor_with_all_it_has_seen(bench: Bench) -> None:
    await bench.listed(page("a", "b", "c"))
    cut = await bench.cut_short(page("a", following="2"), page("b", following="3"))
    resumed = await bench.begin()
    assert (resumed.id, resumed.cursor, resumed.pages, resumed.listed) == (cut.id, "3", 2, 2)
    assert (resumed.pages_before, resumed.listed_before) == (2, 2)
    await bench.mirror.listings.record(resumed, [page("c")])
    showing = await bench.mirror.listings.showing(resumed)
    assert (showing.listed, showing.known, showing.unseen) == (3, 3, 0)


async def test_a_listing_without_a_committed_page_is_begun_anew(bench: Bench) -> None:
    cut = await bench.cut_short()
    anew = await bench.begin()
    assert anew.id > cut.id
    assert not anew.resumed
    assert bench.rows("SELECT state FROM listing") == [("abandoned",), ("open",)]


@pytest.mark.parametrize(
    ("step_s", "is_resumed"), [(3500.0, True), (3600.0, False), (-3500.0, True), (-86_400.0, False)]
)
async def test_an_hour_is_the_life_of_a_cursor_whichever_way_the_clock_steps(
    bench: Bench, step_s: float, is_resumed: bool
) -> None:
    await bench.cut_short(page("a", following="2"))
    bench.clock.step(step_s)
    assert (await bench.begin()).resumed is is_resumed


async def test_a_listing_that_ended_and_was_not_judged_is_judged_without_a_request(bench: Bench) -> None:
    await bench.listed(page("a", "b"))
    await bench.cut_short(page("a"))
    resumed = await bench.begin()
    assert resumed.ended
    assert resumed.cursor is None
    showing = await bench.mirror.listings.showing(resumed)
    assert (showing.listed, showing.known, showing.unseen) == (1, 2, 1)


async def test_numbers_of_listings_only_grow(bench: Bench) -> None:
    numbers = [(await bench.listed(page("a"))).id for _ in range(3)]
    async with bench.mirror._writer.transaction() as transaction:
        await transaction.run(text("DELETE FROM listing"))
    assert (await bench.begin()).id > max(numbers)


# Duplicates


async def test_a_device_twice_in_a_page_or_on_two_pages_is_one_row(bench: Bench) -> None:
    await bench.listed(page("a", "a=2", "b"), page("b=2", "c"))
    assert bench.rows("SELECT id, document ->> 'n' FROM devices ORDER BY id") == [
        ("a", "a=2"),
        ("b", "b=2"),
        ("c", "c"),
    ]
    assert [id for id, event in bench.events() if event == "added"] == ["a", "b", "c"]


# When it was looked at


async def test_a_complete_listing_speaks_for_every_row_that_it_showed(bench: Bench) -> None:
    first = await bench.listed(page("a", "b"))
    second = await bench.listed(page("a", "b"))
    assert bench.rows("SELECT DISTINCT observed_by FROM devices") == [(second.cycle,)]
    assert bench.rows("SELECT DISTINCT seen_by FROM resource") == [(first.cycle,)]
    [(observed_at,)] = bench.rows("SELECT DISTINCT observed_at FROM devices")
    assert datetime.datetime.fromisoformat(observed_at) == second.started_at


async def test_a_row_that_was_missed_keeps_the_time_of_the_last_listing_that_showed_it(bench: Bench) -> None:
    await bench.listed(page("a", "b"))
    shown = await bench.listed(page("a", "b"))
    before = bench.rows("SELECT observed_at, observed_by FROM devices WHERE id = 'b'")
    for _ in range(2):
        await bench.listed(page("a"))
    assert bench.rows("SELECT observed_at, observed_by FROM devices WHERE id = 'b'") == before
    assert before[0][1] == shown.cycle


async def test_a_sighting_is_later_than_the_listing_before_it_and_earlier_than_the_one_after(bench: Bench) -> None:
    await bench.listed(page("a"))
    going = await bench.begin()
    await bench.sight(resource("a", '{"id":"a","n":"a"}'), cycle=going.cycle)
    [(at, by)] = bench.rows("SELECT observed_at, observed_by FROM devices")
    assert by == going.cycle
    later = await bench.listed(page("a"))
    assert bench.rows("SELECT observed_by FROM devices") == [(later.cycle,)]
    assert bench.rows("SELECT observed_at FROM devices") > [(at,)]


async def test_a_second_listing_with_nothing_new_writes_no_row_and_no_event(bench: Bench) -> None:
    await bench.listed(page("a", "b"))
    before = bench.rows("SELECT * FROM resource"), bench.rows("SELECT * FROM event")
    await bench.listed(page("a", "b"))
    assert (bench.rows("SELECT * FROM resource"), bench.rows("SELECT * FROM event")) == before


# Parts


async def test_a_part_that_is_read_for_the_first_time_is_no_news_and_later_is(bench: Bench) -> None:
    await bench.listed(page("a"))
    await bench.sight(properties("a"), properties("nobody"))
    assert bench.events() == [("a", "added")]
    await bench.sight(properties("a", b'{"t":2}'))
    assert bench.rows("SELECT patch FROM history WHERE event = 'updated'") == [('{"properties":{"t":2}}',)]
    before = bench.rows("SELECT * FROM resource")
    await bench.sight(properties("a", b'{ "t": 2.0 }'))
    assert bench.rows("SELECT * FROM resource") == before
    assert bench.rows("SELECT desired_properties, reported_properties FROM devices") == [("{}", '{"t":2}')]


async def test_odd_ids_are_parameters_and_nothing_more(bench: Bench) -> None:
    ids = ["'; DROP TABLE resource; --", "a\nb", "\x1b[31m", "x" * 255, "温度計", "%", "_", "A", "a"]
    shown = [resource(id, '{"id":0}') for id in ids]
    await bench.sight(*shown)
    assert sorted(id for (id,) in bench.rows("SELECT id FROM devices")) == sorted(ids)
    assert SPEC.view == "devices"


# The record


RECORD = "SELECT state, ending, pages, first_page, last_page, listed, shown, unreadable, unseen, error FROM listings"


async def test_a_listing_leaves_a_record_of_its_pages_and_of_its_end(bench: Bench) -> None:
    await bench.listed(page("a", "b", "c", following="2"), page("c", "d", following="3"), page("e", unreadable=("x",)))
    assert bench.rows(RECORD) == [("complete", "no next link", 3, 3, 2, 7, 6, 1, 0, None)]
    await bench.listed(page("a", "b", unreadable=("c",)))
    assert bench.rows(f"{RECORD} WHERE id = 2") == [("complete", "no next link", 1, 3, 3, 3, 3, 1, 2, None)]


async def test_the_same_chain_of_pages_is_the_same_in_the_record_and_no_other(bench: Bench) -> None:
    chain = (page("a", "b", following="2"), page("c"))
    await bench.listed(*chain)
    await bench.listed(*chain)
    await bench.listed(page("a", "b", following="3"), page("c"))
    await bench.listed(page("a", following="2"), page("b", "c"))
    cut = await bench.cut_short(chain[0])
    resumed = await bench.begin()
    await bench.mirror.listings.record(resumed, [chain[1]])
    await bench.mirror.listings.complete(resumed)
    first, *others = [chain for (chain,) in bench.rows("SELECT chain FROM listings ORDER BY id")]
    assert [other == first for other in others] == [True, False, False, True]
    assert cut.id == resumed.id


async def test_the_record_says_where_a_listing_went_on_and_what_had_cut_it_short(bench: Bench) -> None:
    columns = "SELECT state, ending, resumed_from, cut_by, error FROM listings ORDER BY id DESC LIMIT 1"
    cut = await bench.cut_short(page("a", following="2"))
    assert bench.rows(columns) == [("open", None, None, None, None)]
    await bench.mirror.listings.cut(cut, "429")
    assert bench.rows(columns) == [("open", "cut short", None, None, "429")]

    await bench.mirror.listings.record(await bench.begin(), [page("b", following="3")])
    assert bench.rows(columns) == [("open", None, 1, "429", None)]
    going = await bench.begin()
    assert bench.rows(columns) == [("open", None, 2, "the process ended in the middle of it", None)]
    await bench.mirror.listings.record(going, [page("c")])
    await bench.mirror.listings.complete(going)
    assert bench.rows(columns) == [("complete", "no next link", 2, "the process ended in the middle of it", None)]

    await bench.mirror.listings.cut(await bench.cut_short(page("a", following="2")), "503")
    await bench.clock.advance(3600)
    await bench.listed(page("a"))
    assert bench.rows("SELECT state, ending, error FROM listings WHERE id = 2") == [("abandoned", "cut short", "503")]


async def counted(bench: Bench, count: int, *ids: str) -> Listing:
    going = await bench.begin()
    await bench.mirror.listings.record(going, [page(*ids)])
    going.counted = count
    await bench.mirror.listings.complete(going)
    return going


NOTED = "SELECT unseen, counted, agrees, error FROM listings ORDER BY id DESC LIMIT 1"


async def test_a_list_that_shows_fewer_than_the_service_counts_nominates_nothing(bench: Bench) -> None:
    await counted(bench, 3, "a", "b", "c")
    observed = bench.rows("SELECT id, observed_by FROM devices ORDER BY id")
    short = await counted(bench, 3, "a", "b")
    assert bench.rows("SELECT id FROM resource WHERE missed_since IS NOT NULL") == []
    assert bench.rows(NOTED) == [(1, 3, 0, "the service itself counts 3, and its list shows 2")]
    assert not await bench.mirror.listings.agreed(short)
    assert bench.rows("SELECT id, observed_by FROM devices ORDER BY id") == observed, "it speaks for nothing"

    await counted(bench, 2, "a", "b")
    assert bench.rows(NOTED) == [(1, 2, 1, None)]
    assert bench.rows("SELECT id, missed_since FROM resource WHERE missed_since IS NOT NULL") == [("c", 3)]


async def test_a_list_that_shows_fewer_than_the_service_counts_confirms_nothing(bench: Bench) -> None:
    await counted(bench, 3, "a", "b", "c")
    await counted(bench, 2, "a", "b")
    going = await counted(bench, 3, "a", "b")
    assert await bench.missed(going, twice=True) == []
    assert await bench.missed(going, twice=False) == ["c"], "a read may still say so"
    assert await bench.bury(await counted(bench, 2, "a", "b")) == ["c"]


async def test_what_the_service_always_counts_in_excess_is_no_doubt(bench: Bench) -> None:
    await counted(bench, 5, "a", "b", "c")
    await counted(bench, 4, "a", "b")
    assert await bench.bury(await counted(bench, 4, "a", "b")) == ["c"]


async def test_a_word_that_so_many_are_gone_stands_against_the_count(bench: Bench) -> None:
    await counted(bench, 3, "a", "b", "c")
    going = await bench.begin()
    await bench.mirror.listings.record(going, [page("a", "b")])
    going.counted = 3
    await bench.mirror.listings.complete(going, accepted=True)
    assert await bench.missed(going, twice=False) == ["c"]


async def test_what_is_no_longer_said_of_a_resource_is_null(bench: Bench) -> None:
    facts = "SELECT id, display_name, enabled, version, last_activity_at FROM devices ORDER BY id"
    at = datetime.datetime(2026, 11, 22, 10, tzinfo=datetime.UTC)
    said = {"display_name": "A", "enabled": False, "version": 3, "last_activity_at": at}
    await bench.listed(Page(resources=[resource("a", **said), resource("b")], next=None))
    assert bench.rows(facts) == [("a", "A", 0, 3, "2026-11-22T10:00:00.000Z"), ("b", None, None, None, None)]
    changed = [resource("a", '{"id":"a","n":2}'), resource("b", '{"id":"b","n":2}', enabled=True, version=0)]
    await bench.listed(Page(resources=changed, next=None))
    assert bench.rows(facts) == [("a", None, None, None, None), ("b", None, 1, 0, None)]
    await bench.listed(Page(resources=[resource("a", '{"id":"a","n":3}'), changed[1]], next=None))
    assert bench.rows(facts) == [("a", None, None, None, None), ("b", None, 1, 0, None)]
