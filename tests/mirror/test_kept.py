"""Pages that are known by their bytes, and what makes the mirror forget them."""

import random
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from fleetsync.core import model
from fleetsync.core.document import digest_of, digests_of
from fleetsync.core.kind import Succession
from fleetsync.core.model import Page
from fleetsync.errors import InvalidResponseError
from fleetsync.mirror import comparison, kept, resources
from fleetsync.mirror.engine import Prepared, Statements
from fleetsync.mirror.listings import Listing
from tests.mirror.bench import SPEC, Bench, closed, page, resource, source_row

KEPT = "SELECT first, last FROM kept_page ORDER BY first"
PLAIN, CLOSED = "other", "plant"


def watched(made: Page) -> tuple[Page, list[str]]:
    """Return a page, and what says whether it was opened."""
    opened: list[str] = []
    find = made._opened

    def noted() -> object:
        opened.append("opened")
        return find()

    made._opened = noted  # type: ignore[assignment]
    return made, opened


async def test_a_page_of_the_same_bytes_is_not_opened(bench: Bench) -> None:
    await bench.listed(closed("a", "b", following="2"), closed("c"))
    before = bench.rows("SELECT * FROM resource"), bench.rows("SELECT * FROM kept_page")
    assert bench.rows(KEPT) == [(1, 2), (3, 3)]
    (one, opened), (two, opened_too) = watched(closed("a", "b", following="2")), watched(closed("c"))
    going = await bench.listed(one, two)
    assert opened + opened_too == []
    assert (going.listed, going.shown, going.unchanged, going.missed) == (3, 3, 3, 0)
    assert (bench.rows("SELECT * FROM resource"), bench.rows("SELECT * FROM kept_page")) == before
    assert bench.rows("SELECT pages, first_page, last_page FROM listings ORDER BY id DESC LIMIT 1") == [(2, 2, 1)]


async def test_only_what_differs_is_opened_and_is_known_the_next_time(bench: Bench) -> None:
    shown = [("a", "b"), ("c", "d"), ("e", "f")]
    await bench.listed(*(closed(*ids) for ids in shown))
    shown[1] = ("c", "d=2")
    for wanted in ([0, 1, 0], [0, 0, 0]):
        pages = [watched(closed(*ids)) for ids in shown]
        going = await bench.listed(*(one for one, _ in pages))
        assert [len(opened) for _, opened in pages] == wanted
        assert (going.updated, going.unchanged) == (sum(wanted), 6 - sum(wanted))
    assert bench.events()[6:] == [("d", "updated")]


async def test_what_is_the_same_in_a_page_that_differs_is_not_read_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []
    fetch = Statements.fetch

    def noted(on: Statements, statement: Prepared, parameters: tuple[object, ...]) -> object:
        asked.append((statement, *parameters))
        return fetch(on, statement, parameters)

    await bench.listed(closed("a", "b", "c"), closed("d", "e", "f"))
    monkeypatch.setattr(Statements, "fetch", noted)
    going = await bench.listed(closed("new", "a", "b"), closed("c", "d", "e=2"), closed("f"))
    assert (going.added, going.updated, going.unchanged, going.missed) == (1, 1, 5, 0)
    assert [one[1:] for one in asked if one[0] is comparison._NEXT] == []
    assert [one[1] for one in asked if one[0] is resources._LOOK_AT] == ["[0,5]"]
    assert [one[3] for one in asked if one[0] is resources._FIND] == ['["new"]']
    assert bench.rows(KEPT) == [(3, 5), (6, 6)]


async def test_a_page_whose_borders_moved_is_known_by_its_new_ones(bench: Bench) -> None:
    await bench.listed(closed("a", "b"), closed("c", "d"))
    await bench.listed(closed("a"), closed("b", "c", "d"))
    assert bench.rows(KEPT) == [(1, 1), (2, 4)]
    await bench.listed(closed("a", "b", "c", "d"))
    assert bench.rows(KEPT) == [(1, 4)]


async def test_what_a_read_showed_otherwise_is_not_known(bench: Bench) -> None:
    await bench.listed(closed("a", "b"))
    await bench.sight(resource("a", '{"id":"a","read":1}'))
    assert bench.rows(KEPT) == []
    going = await bench.listed(closed("a", "b"))
    assert (going.updated, going.unchanged) == (1, 1)
    assert bench.rows("SELECT document ->> 'n' FROM devices WHERE id = 'a'") == [("a",)]


async def test_what_was_missed_is_found_again_by_the_same_bytes(bench: Bench) -> None:
    await bench.listed(closed("a", "b"), closed("c"))
    await bench.listed(closed("c"))
    assert bench.rows(KEPT) == [(3, 3)]
    await bench.listed(closed("a", "b"), closed("c"))
    assert bench.rows("SELECT COUNT(*) FROM resource WHERE missed_since IS NOT NULL") == [(0,)]
    assert bench.rows(KEPT) == [(1, 2), (3, 3)]


async def test_what_was_gone_returns_by_the_same_bytes(bench: Bench) -> None:
    await bench.listed(closed("a", "b"), closed("c"))
    await bench.listed(closed("c"))
    assert await bench.bury(await bench.listed(closed("c"))) == ["a", "b"]
    await bench.listed(closed("a", "b"), closed("c"))
    assert Counter(bench.events()) == Counter(
        {(id, event): 1 for id in "ab" for event in ("added", "gone", "returned")} | {("c", "added"): 1}
    )


async def test_the_pages_of_another_source_are_not_its_own(bench: Bench) -> None:
    await bench.listed(closed("a"))
    going = await bench.listed(closed("a"), source=PLAIN)
    assert (going.added, going.unchanged) == (1, 0)


async def test_a_row_where_a_new_entry_would_be_expected_is_another_sources(bench: Bench) -> None:
    await bench.mirror.cycles.register([source_row(), source_row("mill")], file="c")
    await bench.listed(closed("a", "b"))
    await bench.listed(closed("c"), source="mill")
    going = await bench.listed(closed("a", "b", "c=2"))
    assert (going.added, going.updated, going.unchanged) == (1, 0, 2)
    rows = bench.rows("SELECT source, id, document ->> 'n' FROM devices ORDER BY source, id")
    assert rows == [("mill", "c", "c"), ("plant", "a", "a"), ("plant", "b", "b"), ("plant", "c", "c=2")]


@pytest.mark.parametrize(
    ("first", "then", "n"),
    [
        (("a", "b"), ("a=2",), "a=2"),
        (("a=2",), ("a", "b"), "a"),
        (("a", "b"), ("a",), "a"),
        (("a", "x"), ("a=2",), "a=2"),
        (("a=2",), ("a", "x"), "a"),
        (("a", "x"), ("a", "b"), "a"),
    ],
)
async def test_what_stands_twice_is_believed_the_second_time(
    bench: Bench, first: tuple[str, ...], then: tuple[str, ...], n: str
) -> None:
    await bench.listed(closed("a", "b"), closed("c"))
    await bench.listed(closed(*first), closed(*then), closed("c"))
    assert bench.rows("SELECT document ->> 'n' FROM devices WHERE id = 'a'") == [(n,)]
    going = await bench.listed(closed("a", "b"), closed("c"))
    assert going.updated == (n != "a")


@pytest.mark.parametrize("is_last", [True, False])
async def test_what_is_changed_in_its_place_and_as_it_was_in_another_is_believed_the_second_time(
    bench: Bench, is_last: bool
) -> None:
    await bench.listed(closed("a", "b", "c", "d"), closed("e", "f", "g", "h"))
    changed, moved = closed("a", "b", "c", "d=2"), closed("d", "h", "g", "f", "e")
    going = await bench.listed(*((moved, changed) if is_last else (changed, moved)))
    assert bench.rows("SELECT document ->> 'n' FROM devices WHERE id = 'd'") == [("d=2" if is_last else "d",)]
    assert (going.updated, going.missed) == (int(is_last), 0)


@pytest.mark.parametrize(
    ("shown", "kept_rows", "unchanged"),
    [
        ((("a", "b", "c", "d"), ("d", "e", "f", "g")), [(1, 3), (4, 7)], 6),
        ((("a", "b=2", "c"), ("c", "d", "e", "f", "g")), [(3, 7)], 5),
        ((("c", "d", "e", "f", "g"), ("a", "b=2", "c")), [(1, 3), (4, 6)], 5),
    ],
)
async def test_of_pages_that_overlap_no_row_is_in_two_that_are_kept(
    bench: Bench, shown: tuple[tuple[str, ...], ...], kept_rows: list[tuple[int, int]], unchanged: int
) -> None:
    await bench.listed(closed("a", "b", "c"), closed("d", "e", "f"))
    going = await bench.listed(*(closed(*ids) for ids in shown))
    assert (going.added, going.unchanged, bench.rows(KEPT)) == (1, unchanged, kept_rows)


async def test_a_page_of_which_a_little_changed_is_kept_in_its_place(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.listed(closed("a", "b"), closed("c", "d"))
    (before,) = bench.rows("SELECT digest, entries FROM kept_page WHERE first = 3")
    written: list[Prepared] = []
    run_many = Statements.run_many

    def noted(on: Statements, statement: Prepared, rows: list[tuple[object, ...]]) -> None:
        written.extend([statement] if rows else [])
        run_many(on, statement, rows)

    monkeypatch.setattr(Statements, "run_many", noted)
    going = await bench.listed(closed("a", "b"), closed("c", "d=2"))
    assert kept._KEEP_ON in written
    assert kept._FORGET not in written
    assert (going.updated, going.unchanged, bench.rows(KEPT)) == (1, 3, [(1, 2), (3, 4)])
    (after,) = bench.rows("SELECT digest, entries FROM kept_page WHERE first = 3")
    assert after[0] != before[0]
    assert (after[1][:16], after[1][16:]) == (before[1][:16], digest_of(resource("d", '{"id":"d","n":"d=2"}').document))


async def test_what_is_looked_into_for_its_id_is_not_looked_into_again(bench: Bench) -> None:
    await bench.listed(closed("a", "b", "c"))
    shown = closed("a", "b=2", "c")
    read, asked = shown._read, []
    shown._read = lambda documents: asked.append(list(documents)) or read(documents)  # type: ignore[misc]
    assert (await bench.listed(shown)).updated == 1
    assert [len(documents) for documents in asked] == [1]


async def test_what_has_no_id_ends_a_listing_after_the_pages_before_it(bench: Bench) -> None:
    await bench.listed(closed("a"))
    going = await bench.begin()
    with pytest.raises(InvalidResponseError, match="without an id"):
        await bench.mirror.listings.record(
            going, [closed("a", following="2"), closed("b", following="3"), closed("!", following="4"), closed("c")]
        )
    assert (going.pages, going.cursor, going.listed) == (2, "3", 2)
    assert bench.rows("SELECT id FROM devices ORDER BY id") == [("a",), ("b",)]
    with pytest.raises(InvalidResponseError):
        await bench.mirror.listings.record(going, [closed("!", following="5")])
    assert (going.pages, going.cursor) == (2, "3")


async def test_what_has_no_id_beside_something_that_is_known_ends_a_listing_as_well(bench: Bench) -> None:
    await bench.listed(closed("a", "b"), closed("c", "d"))
    going = await bench.begin()
    shown = [closed("a", "b=2", following="2"), closed("c", "!", following="3"), closed("e")]
    with pytest.raises(InvalidResponseError, match="without an id"):
        await bench.mirror.listings.record(going, shown)
    assert (going.pages, going.listed, going.updated, going.unchanged) == (1, 2, 1, 1)


async def test_a_list_that_lags_is_doubted_where_a_known_page_says_otherwise(bench: Bench) -> None:
    await bench.listed(closed("a", "b"), closed("c"))
    going = await bench.begin()
    going.spec = msgspec.structs.replace(SPEC, lags=True, succession=lambda _stored, _shown: Succession.FOLLOWS)
    one, opened = watched(closed("a", "b"))
    assert await bench.mirror.listings.doubtful(going, [one, closed("c=2")]) == set()
    assert not opened
    assert await bench.mirror.listings.doubtful(going, [closed("a", "b"), closed("c=2", "a=2")]) == {"a"}
    assert await bench.mirror.listings.doubtful(going, [closed("a", "b=2"), closed("c", "a=2")]) == {"a"}


async def test_of_a_list_that_lags_nothing_is_digested_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.listed(closed("a", "b"), closed("c"))
    digested: list[bytes] = []
    monkeypatch.setattr(model, "digest_of", lambda one: digested.append(bytes(one)) or digest_of(one))
    monkeypatch.setattr(model, "digests_of", lambda all_of: digested.extend(map(bytes, all_of)) or digests_of(all_of))
    going = await bench.begin()
    going.spec = msgspec.structs.replace(SPEC, lags=True, succession=lambda _stored, _shown: Succession.FOLLOWS)
    shown = [closed("a", "b=2"), closed("c")]
    assert await bench.mirror.listings.doubtful(going, shown) == set()
    await bench.mirror.listings.record(going, shown)
    assert (going.updated, going.unchanged) == (1, 2)
    assert len(digested) == len(set(digested)) == 4


@pytest.mark.parametrize("body", [b"[]", b"[ \r\n\t]"])
def test_a_page_is_seen_to_be_empty_without_being_opened(body: bytes) -> None:
    made, opened = watched(Page.closed(msgspec.Raw(body), list, list, list, None))  # type: ignore[arg-type]
    assert (made.is_empty, opened) == (True, [])
    assert not closed("a").is_empty
    assert (page().is_empty, page("a").is_empty, page(unreadable=("a",)).is_empty) == (True, False, False)


def some_pages(chance: random.Random) -> list[list[str]]:
    """Return a listing: mostly the fleet in its order, in pages; some change, move, vanish, or stand there twice."""
    ids = [f"d{number:02}" for number in range(chance.choice((6, 12, 18)))]
    if chance.random() < 0.2:
        chance.shuffle(ids)
    shown = [id if chance.random() < 0.93 else f"{id}={chance.randrange(3)}" for id in ids if chance.random() < 0.97]
    while shown and chance.random() < 0.4:
        shown.insert(chance.randrange(len(shown) + 1), f"{chance.choice(ids)}={chance.randrange(3)}")
    size = chance.choice((2, 3, 3, 3, 6))
    pages = [shown[begin : begin + size] for begin in range(0, len(shown), size)]
    if pages and chance.random() < 0.2:
        pages.insert(chance.randrange(len(pages) + 1), chance.choice(pages))
    return pages or [[]]


async def list_so(bench: Bench, source: str, batches: list[list[list[str]]], *, is_cut: bool) -> Listing:
    made: Callable[..., Page] = closed if source == CLOSED else page
    going = await bench.begin(source)
    for number, batch in enumerate(batches):
        pages = [made(*ids, following=f"{number}.{place}") for place, ids in enumerate(batch)]
        if number == len(batches) - 1:
            pages[-1].next = None
        await bench.mirror.listings.record(going, pages)
    if is_cut:
        await bench.mirror.listings.fail(going, "cut")
        return going
    await bench.mirror.listings.complete(going)
    rows = await bench.mirror.listings.missed(going, twice=True, most=1000)
    await bench.mirror.listings.mark_gone(going, [(row, "unseen twice") for row in rows])
    return going


def believed(bench: Bench, source: str) -> object:
    columns = "id, digest, document, missed_since IS NULL, gone_at IS NULL"
    rows = bench.rows(f"SELECT {columns} FROM resource WHERE source = ? ORDER BY id", source)
    events = bench.rows(
        "SELECT resource_id, event, patch FROM history WHERE source = ? ORDER BY resource_id, id", source
    )
    return rows, events


@pytest.mark.parametrize("seed", range(60))
async def test_what_is_believed_is_the_same_whether_pages_are_known_or_not(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    await bench.mirror.cycles.register([source_row(CLOSED), source_row(PLAIN)], file="c")
    shown = some_pages(chance)
    for _ in range(6):
        if chance.random() < 0.6:
            shown = some_pages(chance)
        size, is_cut = chance.choice((1, 2, 5)), chance.random() < 0.2
        batches = [shown[begin : begin + size] for begin in range(0, len(shown), size)]
        going, other = [await list_so(bench, source, batches, is_cut=is_cut) for source in (CLOSED, PLAIN)]
        counted = ("listed", "shown", "added", "updated", "missed")
        assert [getattr(going, name) for name in counted] == [getattr(other, name) for name in counted]
        assert believed(bench, CLOSED) == believed(bench, PLAIN)
        for first, last, entries in bench.rows("SELECT first, last, entries FROM kept_page"):
            there = "SELECT digest FROM resource WHERE no BETWEEN ? AND ? AND gone_at IS NULL AND missed_since IS NULL"
            found = [digest for (digest,) in bench.rows(f"{there} ORDER BY no", first, last)]
            assert (len(found), entries) == (last - first + 1, b"".join(found))


@pytest.mark.parametrize("seed", range(12))
async def test_it_is_the_same_where_listings_are_gone_on_with_and_reads_come_in_between(
    bench: Bench, seed: int
) -> None:
    chance = random.Random(seed)
    await bench.mirror.cycles.register([source_row(CLOSED), source_row(PLAIN)], file="c")
    shown = some_pages(chance)
    for _ in range(6):
        if chance.random() < 0.4:
            shown = some_pages(chance)
        cut_at = chance.randrange(len(shown))
        read = [resource(id, f'{{"id":"{id}","n":"read"}}') for id in chance.choices(["d00", "d04", "d08"], k=2)]
        for source in (CLOSED, PLAIN):
            going = await bench.begin(source)
            pages = [(closed if source == CLOSED else page)(*ids, following=str(at)) for at, ids in enumerate(shown)]
            if cut_at:
                await bench.mirror.listings.record(going, pages[:cut_at])
            await bench.mirror.listings.cut(going, "cut")
            await bench.mirror.record(source, SPEC, read, going.cycle)
            going = await bench.begin(source)
            await bench.mirror.listings.record(going, pages[cut_at:])
            await bench.mirror.listings.complete(going)
        assert believed(bench, CLOSED) == believed(bench, PLAIN)
