"""Cycles that only look: what the mirror holds afterwards, whatever the service did meanwhile."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fleetsync.core.model import Page, ResourceType
from fleetsync.errors import AuthError, FleetsyncError, InvalidResponseError, UnreachableError, UnsafePlanError
from fleetsync.reconcile.listing import MOST_EMPTY_PAGES, list_pages
from fleetsync.simulator import parse_faults
from tests.fakes.http import is_list, lost, refused
from tests.reconcile.rig import ALL_TYPES, Rig


async def test_the_first_listing_brings_every_device_as_the_service_has_it(rig: Rig) -> None:
    done = await rig.cycle()

    assert done.error is None
    assert done.complete
    assert rig.documents() == rig.truth()
    assert rig.events() == [(id, "added") for id in sorted(rig.truth())]
    assert (done.counts.pages, done.counts.listed, done.counts.added) == (4, 12, 12)
    assert rig.rows("SELECT state, known, error FROM sources") == [("up", 12, None)]


async def test_a_second_cycle_with_nothing_new_changes_nothing_but_when_it_looked(rig: Rig) -> None:
    rig.settings = replace(rig.settings, resources=ALL_TYPES)
    await rig.cycle(write=True)
    before, observed = rig.content(), rig.rows("SELECT DISTINCT observed_at, observed_by FROM resources")

    done = await rig.cycle(write=True)

    assert rig.content() == before
    assert (done.counts.unchanged, done.counts.added, done.counts.updated) == (done.counts.listed, 0, 0)
    assert rig.writes() == []
    later = rig.rows("SELECT DISTINCT observed_by FROM resources")
    assert later == [(done.cycle,)]
    assert rig.rows("SELECT MIN(observed_at) FROM resources") > [(max(at for at, _ in observed),)]


async def test_an_etag_that_changes_while_the_content_does_not_is_no_news(rig: Rig) -> None:
    await rig.cycle()
    id = rig.ids()[0]
    rig.cloud.operator_edit(id, {"displayName": rig.truth()[id]["displayName"]})
    events, changed_at = rig.events(), rig.rows("SELECT changed_at FROM devices WHERE id = ?", id)

    await rig.cycle()

    assert rig.documents() == rig.truth()
    assert rig.events() == events
    assert rig.rows("SELECT changed_at FROM devices WHERE id = ?", id) == changed_at
    assert rig.rows("SELECT etag FROM devices WHERE id = ?", id) == [(rig.truth()[id]["etag"],)]


async def test_a_change_goes_into_the_history_as_a_merge_patch(rig: Rig) -> None:
    await rig.cycle()
    id = rig.ids()[0]
    rig.cloud.operator_edit(id, {"displayName": "other"})

    done = await rig.cycle()

    assert done.counts.updated == 1
    assert rig.rows("SELECT event, patch FROM history WHERE resource_id = ? ORDER BY id", id) == [
        ("added", None),
        ("updated", '{"displayName":"other"}'),
    ]


async def test_a_device_that_a_listing_misses_and_the_service_does_not_find_is_gone_at_once(rig: Rig) -> None:
    await rig.cycle()
    id = rig.ids()[4]
    rig.cloud.delete_device(id)

    done = await rig.cycle()

    assert done.counts.gone == 1
    assert rig.documents() == rig.truth()
    [(reason,)] = rig.rows("SELECT gone_reason FROM resources WHERE id = ?", id)
    assert "not found by a read" in reason
    assert rig.events()[-1] == (id, "gone")
    assert rig.rows("SELECT known FROM sources") == [(11,)]


async def test_a_device_that_comes_back_is_returned_and_keeps_its_first_day(rig: Rig) -> None:
    await rig.cycle()
    id = rig.ids()[4]
    first = rig.rows("SELECT first_seen_at FROM devices WHERE id = ?", id)
    rig.cloud.delete_device(id)
    await rig.cycle()
    rig.cloud.add_device(id)

    await rig.cycle()

    assert rig.documents() == rig.truth()
    assert [event for who, event in rig.events() if who == id] == ["added", "gone", "returned"]
    assert rig.rows("SELECT first_seen_at, changed_at > first_seen_at FROM devices WHERE id = ?", id) == [
        (first[0][0], 1)
    ]
    assert rig.rows("SELECT gone_at, gone_reason FROM resources WHERE id = ?", id) == [(None, None)]


async def test_two_complete_listings_make_gone_what_cannot_be_read(rig: Rig) -> None:
    await rig.cycle()
    id = rig.ids()[4]
    rig.cloud.delete_device(id)
    rig.http.when(lambda request: request.operation == "read", before=refused(400))

    await rig.cycle()
    assert id in rig.ids()
    await rig.cycle()

    assert id not in rig.ids()
    [(reason,)] = rig.rows("SELECT gone_reason FROM resources WHERE id = ?", id)
    assert reason == "unseen by the complete listings 2 and 3"


@pytest.mark.parametrize("body", [b"<html>not found</html>", b"", b"null", b'{"error":{}}'])
async def test_a_404_that_is_not_in_the_services_words_proves_nothing(rig: Rig, body: bytes) -> None:
    await rig.cycle()
    rig.cloud.delete_device(rig.ids()[4])
    rig.http.when(lambda request: request.operation == "read", before=refused(404, body))

    await rig.cycle()

    assert len(rig.ids()) == 12


async def test_a_device_that_a_listing_misses_and_a_read_finds_stays(rig: Rig) -> None:
    await rig.cycle()
    rig.cloud.faults = parse_faults("short-list=0.9")
    before = rig.events()

    done = await rig.cycle()

    assert done.counts.gone == 0
    assert rig.ids() == sorted(rig.truth())
    assert rig.events() == before
    # The read was a direct sighting: the next listing that misses it is the first again.
    rig.http.when(lambda request: request.operation == "read", before=refused(400))
    await rig.cycle()
    assert rig.ids() == sorted(rig.truth())


@pytest.mark.parametrize("moment", range(1, 5))
async def test_what_is_edited_added_and_deleted_while_pages_are_read_is_right_one_cycle_later(
    rig: Rig, moment: int
) -> None:
    await rig.cycle()

    def edit(_request: object) -> None:
        devices = list(rig.truth())
        for id in devices[1::4]:
            rig.cloud.operator_edit(id, {"displayName": f"edited at {moment}"})
        for id in devices[2::4]:
            rig.cloud.delete_device(id)
        rig.cloud.add_device("a-first")
        rig.cloud.add_device("zz-last")

    rig.http.on(rig.http.requests + moment, before=edit)
    await rig.cycle()
    assert set(rig.truth()) - set(rig.ids()) <= {"a-first", "zz-last"}
    rig.http.heal()
    await rig.cycle()

    assert rig.documents() == rig.truth()


FAULTS = ["status=503", "reset", "reset-before", "truncate", "status-after=500", "html", "empty-body", "null", "array",
          "error-body", "deep-json", "nan", "no-value", "status=429", "redirect=http://evil.example/"]  # fmt: skip


@pytest.mark.parametrize("page", range(1, 5))
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_listing_that_is_cut_short_marks_nothing_and_the_next_cycle_is_right(
    rig: Rig, fault: str, page: int
) -> None:
    await rig.cycle()
    before = rig.content()
    rig.cloud.delete_device(rig.ids()[0])
    rig.cloud.delete_device(rig.ids()[-1])
    rig.cloud.faults = parse_faults(f"{fault}@{page}")

    done = await rig.cycle()

    assert not done.complete
    assert done.error is not None
    assert rig.content() == before
    assert rig.rows("SELECT state, error IS NOT NULL FROM sources WHERE state <> 'up'")
    rig.cloud.faults = ()
    done = await rig.cycle()
    assert done.complete
    assert rig.documents() == rig.truth()
    assert rig.rows("SELECT state, error FROM sources") == [("up", None)]


@pytest.mark.parametrize("page", range(1, 5))
async def test_a_first_listing_that_is_cut_short_goes_on_where_it_stopped(rig: Rig, page: int) -> None:
    rig.http.on(page, before=lost)
    done = await rig.cycle()
    assert isinstance(done.error, UnreachableError)
    assert len(rig.ids()) == 3 * (page - 1)
    assert rig.rows("SELECT added FROM cycles") == [(3 * (page - 1),)]

    done = await rig.cycle()

    assert done.error is None
    assert rig.documents() == rig.truth()
    assert rig.http.requests == 5
    assert sorted(rig.events()) == [(id, "added") for id in sorted(rig.truth())]


async def test_a_cursor_that_is_an_hour_old_is_not_tried(rig: Rig) -> None:
    rig.http.on(3, before=lost)
    await rig.cycle()
    await rig.clock.advance(3600)

    done = await rig.cycle()

    assert done.error is None
    assert done.counts.pages == 4
    assert rig.documents() == rig.truth()
    assert rig.rows("SELECT state FROM listing ORDER BY id") == [("abandoned",), ("complete",)]


async def test_a_cursor_that_died_begins_the_listing_anew_in_the_same_cycle(rig: Rig) -> None:
    rig.http.on(3, before=lost)
    await rig.cycle()
    rig.cloud.faults = parse_faults("dead-cursor@1")

    done = await rig.cycle()

    assert done.error is None
    assert done.complete
    assert rig.documents() == rig.truth()
    assert rig.rows("SELECT state, resumed FROM listing ORDER BY id") == [("failed", 1), ("complete", 0)]


async def test_a_resumed_listing_nominates_and_never_confirms(rig: Rig) -> None:
    await rig.cycle()
    id = rig.ids()[0]
    rig.cloud.delete_device(id)
    rig.http.when(lambda request: request.operation == "read", before=refused(400))
    await rig.cycle()
    assert rig.rows("SELECT missed_since FROM resource WHERE id = ?", id) == [(2,)]
    rig.http.on(rig.http.requests + 3, before=lost)
    await rig.cycle()

    done = await rig.cycle()

    assert done.complete
    assert rig.rows("SELECT resumed FROM listing WHERE id = 3") == [(1,)]
    assert id in rig.ids()
    await rig.cycle()
    assert id not in rig.ids()


async def test_rows_seen_before_a_cut_are_still_seen_after_it(rig: Rig) -> None:
    await rig.cycle()
    rig.http.on(rig.http.requests + 3, before=lost)
    await rig.cycle()

    await rig.cycle()

    assert rig.http.count(lambda request: request.operation == "read") == 0
    assert len(rig.ids()) == 12


async def test_an_empty_listing_of_something_that_was_not_empty_is_refused_whatever_the_limit(rig: Rig) -> None:
    await rig.cycle()
    before = rig.content()
    rig.cloud.faults = parse_faults("empty-list")

    done = await rig.cycle()

    assert isinstance(done.error, UnsafePlanError)
    assert "confirm plant --gone 12" in str(done.error)
    assert rig.content() == before
    assert rig.rows("SELECT state FROM sources") == [("refused",)]


async def test_an_empty_listing_of_nothing_is_fine(make: Callable[..., Rig]) -> None:
    rig = make(devices=0)
    async with rig.opened():
        done = await rig.cycle()
    assert done.complete
    assert done.error is None


async def test_a_short_listing_is_refused_as_often_as_it_comes(rig: Rig) -> None:
    rig.limit(max_gone=0.2)
    await rig.cycle()
    before = rig.content()
    rig.cloud.faults = parse_faults("short-list=0.5")

    for _ in range(3):
        done = await rig.cycle()
        assert isinstance(done.error, UnsafePlanError)
        assert not done.complete

    assert rig.content() == before
    assert rig.http.count(lambda request: request.operation == "read") == 0
    rig.cloud.faults = ()
    assert (await rig.cycle()).complete


async def test_a_short_listing_may_lose_its_share(rig: Rig) -> None:
    rig.limit(max_gone=0.25)
    await rig.cycle()
    for id in rig.ids()[:3]:
        rig.cloud.delete_device(id)

    done = await rig.cycle()

    assert done.counts.gone == 3
    assert rig.documents() == rig.truth()


async def test_confirming_a_number_of_vanished_devices_holds_for_that_number_exactly_once(rig: Rig) -> None:
    rig.limit(max_gone=0.0, min_known=0)
    await rig.cycle()
    rig.cloud.delete_device(rig.ids()[0])
    rig.cloud.delete_device(rig.ids()[1])
    assert rig.mirror is not None
    with pytest.raises(FleetsyncError, match="2 vanished resources were not refused; what waits is nothing"):
        await rig.mirror.cycles.confirm("plant", gone=2)
    done = await rig.cycle()
    assert isinstance(done.error, UnsafePlanError)
    assert len(rig.ids()) == 12
    with pytest.raises(FleetsyncError, match=r"what waits is --gone 2 \(device\)"):
        await rig.mirror.cycles.confirm("plant", gone=1)

    await rig.mirror.cycles.confirm("plant", gone=2)
    done = await rig.cycle()
    assert done.error is None
    assert rig.documents() == rig.truth()

    rig.cloud.delete_device(rig.ids()[0])
    rig.cloud.delete_device(rig.ids()[1])
    done = await rig.cycle()
    assert isinstance(done.error, UnsafePlanError)
    assert len(rig.ids()) == 10


async def test_a_confirmed_number_also_lets_an_empty_listing_pass(rig: Rig) -> None:
    await rig.cycle()
    for id in rig.ids():
        rig.cloud.delete_device(id)
    assert isinstance((await rig.cycle()).error, UnsafePlanError)
    assert rig.mirror is not None
    await rig.mirror.cycles.confirm("plant", gone=12)

    done = await rig.cycle()

    assert done.error is None
    assert rig.ids() == []
    assert (await rig.cycle()).error is None


@pytest.mark.parametrize("fault", ["loop-link@2", "loop-link=first@3", "loop-link", "empty-page", "empty-page@2-"])
async def test_pages_that_go_in_a_circle_or_never_end_are_refused(rig: Rig, fault: str) -> None:
    await rig.cycle()
    before = rig.content()
    rig.cloud.faults = parse_faults(fault)

    done = await rig.cycle()

    assert isinstance(done.error, InvalidResponseError)
    assert rig.content() == before
    rig.cloud.faults = ()
    assert (await rig.cycle()).complete


async def test_an_empty_page_with_a_link_is_not_the_end(rig: Rig) -> None:
    rig.cloud.faults = parse_faults("empty-page@2-4")

    done = await rig.cycle()

    assert done.complete
    assert rig.documents() == rig.truth()


async def test_a_link_to_somewhere_else_is_not_followed(rig: Rig) -> None:
    rig.cloud.faults = parse_faults("foreign-link=https://evil.example@2")

    done = await rig.cycle()

    assert isinstance(done.error, InvalidResponseError)
    assert not done.complete
    assert rig.cloud.counters.requests == 2


async def test_a_device_that_is_listed_twice_is_one_row_with_one_event(rig: Rig) -> None:
    rig.cloud.faults = parse_faults("twice")

    await rig.cycle()

    assert rig.documents() == rig.truth()
    assert len(rig.events()) == 12


async def test_a_type_that_is_forbidden_does_not_stop_the_others(rig: Rig) -> None:
    rig.settings = replace(rig.settings, resources=ALL_TYPES)
    await rig.cycle()
    before = rig.rows("SELECT COUNT(*) FROM device_groups")
    rig.http.when(lambda request: "/deviceGroups" in request.url, before=refused(403))
    rig.cloud.add_device("new")

    done = await rig.cycle()

    assert isinstance(done.error, AuthError)
    assert not done.complete
    assert "new" in rig.ids()
    assert rig.rows("SELECT COUNT(*) FROM device_groups") == before
    organization = rig.rows("SELECT MIN(observed_by), MAX(observed_by) FROM organizations")
    assert organization == [(done.cycle, done.cycle)]


async def test_a_refused_sign_in_ends_the_cycle(rig: Rig) -> None:
    rig.settings = replace(rig.settings, resources=ALL_TYPES)
    rig.http.when(is_list, before=refused(401))

    done = await rig.cycle()

    assert isinstance(done.error, AuthError)
    assert rig.http.requests == 1


async def test_a_device_that_cannot_be_stored_is_counted_as_there_and_keeps_its_row(rig: Rig) -> None:
    await rig.cycle()
    id = rig.ids()[5]
    before = rig.documents()[id]
    rig.cloud.operator_edit(id, {"displayName": "a\0b"})

    done = await rig.cycle()

    assert done.error is None
    assert done.complete
    assert rig.documents()[id] == before
    assert rig.http.count(lambda request: request.operation == "read") == 0
    rig.cloud.operator_edit(id, {"displayName": "fine again"})
    await rig.cycle()
    assert rig.documents() == rig.truth()


async def test_a_missed_device_that_cannot_be_stored_does_not_stop_the_listing(rig: Rig) -> None:
    await rig.cycle()
    id = rig.ids()[-1]
    rig.cloud.operator_edit(id, {"displayName": "a\0b"})
    rig.cloud.faults = parse_faults("short-list=0.95")

    done = await rig.cycle()

    assert done.error is None
    assert done.complete
    assert id in rig.ids()


async def test_a_page_is_asked_for_while_the_one_before_is_stored_and_never_more_than_the_queue_holds(
    rig: Rig,
) -> None:
    done = await rig.cycle()
    assert done.counts.pages == 4
    assert rig.http.requests == 4


async def test_one_that_vanished_and_cannot_be_asked_for_stays_and_is_made_up_for_later(rig: Rig) -> None:
    await rig.cycle()
    rig.cloud.delete_device(rig.ids()[0])
    rig.http.when(lambda request: request.operation == "read", before=refused(503))
    done = await rig.cycle()
    assert done.error is None, "one resource that cannot be read ends nothing for the others"
    assert len(rig.ids()) == 12

    await rig.cycle()

    assert rig.documents() == rig.truth()


class Scripted:
    """A source whose pages are a list of next cursors."""

    def __init__(self, *following: str | None) -> None:
        self.following = list(following)
        self.asked: list[str | None] = []

    async def page(self, type: ResourceType, cursor: str | None) -> Page:
        self.asked.append(cursor)
        return Page(resources=(), next=self.following.pop(0))  # type: ignore[arg-type]


async def pages_of(source: Scripted) -> int:
    return len([page async for page in list_pages(source, ResourceType("device"), None)])  # type: ignore[arg-type]


@pytest.mark.parametrize("following", [("a", "a"), ("a", "b", "a"), ("a", "b", "c", "b")])
async def test_links_that_were_met_before_are_a_circle(following: tuple[str, ...]) -> None:
    source = Scripted(*following)
    with pytest.raises(InvalidResponseError, match="circle"):
        await pages_of(source)
    assert len(source.asked) == len(following)


async def test_so_many_empty_pages_are_waited_out_and_not_one_more() -> None:
    assert await pages_of(Scripted(*map(str, range(MOST_EMPTY_PAGES)), None)) == MOST_EMPTY_PAGES + 1
    with pytest.raises(InvalidResponseError, match="do not end"):
        await pages_of(Scripted(*map(str, range(MOST_EMPTY_PAGES + 1)), None))


async def test_cursors_are_used_byte_for_byte() -> None:
    source = Scripted("http://x/?%24skiptoken=%257B", "b%2fc", None)
    await pages_of(source)
    assert source.asked == [None, "http://x/?%24skiptoken=%257B", "b%2fc"]
