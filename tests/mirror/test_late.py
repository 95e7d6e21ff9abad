"""First loads: which indexes they leave out, when those are built, and what is known without them."""

from collections.abc import Sequence

import msgspec
import pytest

from fleetsync.core.kind import Succession
from fleetsync.core.model import DEVICE, Page, Part, Resource, ResourceKey
from fleetsync.core.plan import Outcome, Result
from fleetsync.errors import InvalidResponseError
from fleetsync.mirror import late, met
from fleetsync.mirror.listings import Listing
from fleetsync.mirror.met import Met
from tests.mirror.bench import SPEC, Bench, page, resource, source_row

INDEXES = ["resource_by_key", "resource_name_by_id"]
BODY = msgspec.Raw(b'["a", "bad"]')
COUNTS = ("added", "updated", "unchanged", "listed", "shown")


def built(bench: Bench) -> list[str]:
    names = "SELECT name FROM sqlite_schema WHERE name IN ('resource_by_key', 'resource_name_by_id') ORDER BY name"
    return [name for (name,) in bench.rows(names)]


def ids(bench: Bench) -> list[tuple[str, str]]:
    return bench.rows("SELECT source, id FROM devices ORDER BY source, id")


def counts(going: Listing) -> list[int]:
    return [getattr(going, name) for name in COUNTS]


async def test_a_first_load_builds_the_indexes_when_it_ends(bench: Bench) -> None:
    assert built(bench) == INDEXES
    going = await bench.begin()
    await bench.mirror.listings.record(going, [page("a", "b")])
    assert built(bench) == []
    assert ids(bench) == [("plant", "a"), ("plant", "b")]
    await bench.mirror.listings.complete(going)
    assert built(bench) == INDEXES
    await bench.begin()
    assert built(bench) == INDEXES, "what is there keeps its indexes"


async def test_where_nothing_is_shown_nothing_is_left_out(bench: Bench) -> None:
    going = await bench.begin()
    assert built(bench) == INDEXES
    await bench.mirror.listings.record(going, [page()])
    assert built(bench) == INDEXES


async def test_a_first_load_that_is_cut_short_builds_them_as_well(bench: Bench) -> None:
    going = await bench.cut_short(page("a", following="2"))
    assert built(bench) == []
    await bench.mirror.listings.cut(going, "the network")
    assert built(bench) == INDEXES


async def test_of_a_fleet_whose_history_was_pruned_every_index_stays(bench: Bench) -> None:
    await bench.listed(page("a"))
    bench.clock.step(60)
    await bench.mirror.prune(history_s=1, gone_s=1, cycles_s=1)
    assert bench.events() == []
    await bench.cut_short(page("a", "b", following="2"))
    assert built(bench) == INDEXES


async def test_of_a_fleet_that_is_forgotten_but_for_its_history_the_names_keep_their_index(bench: Bench) -> None:
    await bench.listed(page("a"))
    await bench.listed(page())
    await bench.bury(await bench.listed(page()))
    bench.clock.step(60)
    await bench.mirror.prune(history_s=1000, gone_s=1, cycles_s=1)
    await bench.cut_short(page("b", "a", following="2"))
    assert built(bench) == ["resource_name_by_id"]
    assert bench.events() == [("a", "added"), ("a", "gone"), ("b", "added"), ("a", "added")]
    assert bench.rows("SELECT id FROM resource_name ORDER BY id") == [("a",), ("b",)], "what comes again has one name"


async def test_what_a_kill_left_without_them_gets_them_at_the_next_start(bench: Bench) -> None:
    await bench.cut_short(page("a", following="2"))
    assert built(bench) == []
    await bench.mirror._writer.run(late.build_left)
    assert built(bench) == INDEXES
    assert bench.events() == [("a", "added")]


async def in_turn(bench: Bench, batches: Sequence[Sequence[Page]], *, with_key: bool) -> tuple[list[int], object]:
    """Store batches as a first load does, or with the key; return the counts, and what is there then."""
    going = await bench.begin()
    if with_key:
        bench.mirror._late.postpone = lambda on: None  # type: ignore[method-assign]
    for batch in batches:
        await bench.mirror.listings.record(going, batch)
    await bench.mirror.listings.complete(going)
    rows = bench.rows("SELECT no, id, document, missed_since, digest, enabled, template FROM resource ORDER BY no")
    return counts(going), (rows, bench.rows("SELECT resource_id, event, patch FROM history ORDER BY id"))


@pytest.mark.parametrize("with_key", [False, True])
@pytest.mark.parametrize(
    ("batches", "wanted"),
    [
        ([["a", "b"], ["b", "c"]], [3, 0, 1, 4, 3]),
        ([["a", "b"], ["b=2", "c"], ["d"]], [4, 1, 0, 5, 4]),
        ([["a", "a=2"], ["b"]], [2, 0, 0, 3, 2]),
        ([["a"], ["b", "b=2", "a=2"], ["a=3"]], [2, 2, 0, 5, 2]),
        ([["a"], []], [1, 0, 0, 1, 1]),
    ],
)
async def test_what_is_shown_again_by_a_first_load_is_what_it_is_with_the_key(
    bench: Bench, batches: list[list[str]], wanted: list[int], with_key: bool
) -> None:
    found, there = await in_turn(bench, [[page(*batch, following="x")] for batch in batches], with_key=with_key)
    assert found == wanted
    rows, events = there  # type: ignore[misc]
    assert [row[1] for row in rows] == sorted({id.split("=")[0] for batch in batches for id in batch})
    assert all(row[3] is None for row in rows)
    assert [event for _, event, _ in events].count("updated") == wanted[1]


async def test_what_cannot_be_stored_does_not_end_a_first_load(bench: Bench) -> None:
    going = await bench.begin()
    await bench.mirror.listings.record(going, [page("a", following="2")])
    await bench.mirror.listings.record(going, [page("b", unreadable=("x", "a"), following="3")])
    await bench.mirror.listings.record(going, [page("c", "b")])
    assert counts(going) == [3, 0, 1, 6, 4]
    assert (going.unreadable, going.strangers) == (2, 1)
    await bench.mirror.listings.complete(going)
    assert bench.rows("SELECT shown, unreadable FROM listings") == [(4, 2)]


async def test_sources_that_load_at_once_know_each_their_own(bench: Bench) -> None:
    await bench.mirror.cycles.register([source_row(), source_row("other")], file="c")
    one, other = await bench.begin(), await bench.begin("other")
    await bench.mirror.listings.record(one, [page("a", "b", following="2")])
    await bench.mirror.listings.record(other, [page("a", following="2")])
    assert built(bench) == []
    await bench.mirror.listings.record(other, [page("b")])
    await bench.mirror.listings.complete(other)
    assert built(bench) == INDEXES
    await bench.mirror.listings.record(one, [page("b=2", "c")])
    await bench.mirror.listings.complete(one)
    assert ids(bench) == [("other", "a"), ("other", "b"), ("plant", "a"), ("plant", "b"), ("plant", "c")]
    assert (counts(one), counts(other)) == ([3, 1, 0, 4, 3], [2, 0, 0, 2, 2])


async def test_what_was_read_alone_while_a_first_load_goes_on_is_known_to_it(bench: Bench) -> None:
    going = await bench.begin()
    await bench.mirror.listings.record(going, [page("a", following="2")])
    await bench.sight(resource("b"), resource("a"))
    await bench.mirror.listings.record(going, [page("b")])
    await bench.mirror.listings.complete(going)
    assert ids(bench) == [("plant", "a"), ("plant", "b")]


async def test_a_batch_that_was_rolled_back_can_be_stored_again(bench: Bench) -> None:
    def read(documents: Sequence[bytes]) -> list[Resource]:
        if b"bad" in documents:
            raise InvalidResponseError("no id in it")
        return [resource(document.decode()) for document in documents]

    going = await bench.begin()
    shown = Page.closed(BODY, lambda: [b"a", b"bad"], lambda _array: ["a", "b"], read, None)
    with pytest.raises(InvalidResponseError):
        await bench.mirror.listings.record(going, [shown])
    assert ids(bench) == []
    await bench.mirror.listings.record(going, [page("a", "b")])
    await bench.mirror.listings.complete(going)
    assert ids(bench) == [("plant", "a"), ("plant", "b")]
    assert counts(going) == [2, 0, 0, 2, 2]


async def test_a_list_that_lags_is_doubted_where_a_first_load_shows_a_device_in_two_ways(bench: Bench) -> None:
    going = await bench.begin()
    going.spec = msgspec.structs.replace(SPEC, lags=True, succession=lambda _stored, _shown: Succession.DOUBTFUL)
    listings = bench.mirror.listings
    assert await listings.doubtful(going, [page("a", "b")]) == set()
    assert await listings.doubtful(going, [page("a", "b"), page("b=2")]) == {"b"}
    await listings.record(going, [page("a", "b")])
    assert await listings.doubtful(going, [page("c")]) == set()
    assert await listings.doubtful(going, [page("a=2", "b", "c")]) == {"a"}


def test_nothing_that_was_met_is_overlooked() -> None:
    known = Met()
    some = [str(number) for number in range(20_000)]
    assert known.takes(("a", "device"), some)
    assert all(known.may_know(("a", "device"), [id]) for id in some)
    assert not known.may_know(("b", "device"), some)
    assert not known.takes(("a", "device"), ["new", some[-1]])


def test_what_is_full_says_that_nothing_is_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(met, "_MOST", 3)
    known = Met()
    assert known.takes(("a", "device"), ["1", "2"])
    assert not known.takes(("a", "device"), ["3", "4"])


async def test_what_a_write_is_found_to_have_made_while_a_first_load_goes_on_is_known_to_it(bench: Bench) -> None:
    going = await bench.begin()
    await bench.mirror.listings.record(going, [page("a", following="2")])
    outcome = Outcome(key=ResourceKey("plant", DEVICE, "b"), part=Part("document"), result=Result.APPLIED)
    await bench.mirror.journal.conclude(1, outcome, cycle=going.cycle, spec=SPEC, shown=[resource("b")])
    await bench.mirror.listings.record(going, [page("b", "c")])
    await bench.mirror.listings.complete(going)
    assert ids(bench) == [("plant", "a"), ("plant", "b"), ("plant", "c")]
    assert built(bench) == INDEXES
