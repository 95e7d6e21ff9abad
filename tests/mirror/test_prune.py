from fleetsync.core.counts import Counts
from fleetsync.core.model import CycleId
from fleetsync.mirror.cycles import Ending
from tests.mirror.bench import Bench, page

DAY_S = 86_400.0
KEEP = {"history_s": 10 * DAY_S, "gone_s": 20 * DAY_S, "cycles_s": 5 * DAY_S}
DONE = Ending(outcome="done", complete=True, state="up")


async def finished(bench: Bench, cycle: CycleId) -> None:
    await bench.mirror.cycles.finish(cycle, "plant", Counts(), DONE)


async def test_what_is_older_than_it_is_kept_is_forgotten_and_nothing_else(bench: Bench) -> None:
    first = await bench.listed(page("stays", "goes"))
    await finished(bench, first.cycle)
    await bench.listed(page("stays"))
    gone = await bench.bury(await bench.listed(page("stays")))
    assert gone == ["goes"]

    bench.clock.step(6 * DAY_S)
    last = await bench.listed(page("stays"))
    await finished(bench, last.cycle)
    assert await bench.mirror.prune(**KEEP) > 0
    assert bench.rows("SELECT count(*) FROM history") == [(3,)], "history is kept for longer"
    assert bench.rows("SELECT id FROM resources ORDER BY id") == [("goes",), ("stays",)]
    assert (first.cycle,) not in bench.rows("SELECT id FROM cycles")
    assert bench.rows("SELECT max(id) FROM cycles") == [(last.cycle,)]

    bench.clock.step(5 * DAY_S)
    await bench.mirror.prune(**KEEP)
    assert bench.rows("SELECT count(*) FROM history") == [(0,)]
    assert bench.rows("SELECT id FROM resources ORDER BY id") == [("goes",), ("stays",)]

    bench.clock.step(10 * DAY_S)
    await bench.mirror.prune(**KEEP)
    assert bench.rows("SELECT id FROM resources") == [("stays",)], "what is there is never forgotten"
    assert bench.rows("SELECT id FROM cycles") == [(last.cycle,)], "nor is the last cycle of a source"


async def test_pruning_goes_in_small_steps_and_ends(bench: Bench) -> None:
    await bench.listed(page(*(f"d{number}" for number in range(2500))))
    bench.clock.step(11 * DAY_S)
    assert await bench.mirror.prune(**KEEP) >= 2500
    assert await bench.mirror.prune(**KEEP) == 0


def names(bench: Bench) -> list[tuple[int, str]]:
    return bench.rows("SELECT no, id FROM resource_name ORDER BY no")


async def forgotten(bench: Bench) -> None:
    """Let one of two go, and forget its tombstone but not its history."""
    await bench.listed(page("stays", "goes"))
    await bench.listed(page("stays"))
    assert await bench.bury(await bench.listed(page("stays"))) == ["goes"]
    bench.clock.step(5 * DAY_S)
    await bench.mirror.prune(history_s=10 * DAY_S, gone_s=DAY_S, cycles_s=DAY_S)
    assert bench.rows("SELECT id FROM resources") == [("stays",)]


async def test_what_was_forgotten_keeps_its_history_and_its_number_for_as_long_as_that_lasts(bench: Bench) -> None:
    await forgotten(bench)
    await bench.listed(page("stays", "new"))
    assert names(bench) == [(1, "stays"), (2, "goes"), (3, "new")]
    assert bench.rows("SELECT resource_id, event FROM history ORDER BY id") == [
        ("stays", "added"), ("goes", "added"), ("goes", "gone"), ("new", "added"),
    ]  # fmt: skip
    bench.clock.step(6 * DAY_S)
    await bench.mirror.prune(**KEEP)
    assert names(bench) == [(1, "stays"), (3, "new")], "the name goes with the last event"
    assert bench.events() == [("new", "added")]


async def test_what_was_forgotten_and_comes_again_has_one_history(bench: Bench) -> None:
    await forgotten(bench)
    await bench.listed(page("stays", "goes"))
    assert names(bench) == [(1, "stays"), (3, "goes")]
    assert bench.rows("SELECT source, type, event FROM history WHERE resource_id = 'goes' ORDER BY id") == [
        ("plant", "device", event) for event in ("added", "gone", "added")
    ]
    bench.clock.step(6 * DAY_S)
    await bench.mirror.prune(**KEEP)
    assert names(bench) == [(1, "stays"), (3, "goes")]


async def test_a_tombstone_keeps_its_name_when_its_history_is_forgotten_first(bench: Bench) -> None:
    await bench.listed(page("stays", "goes"))
    await bench.listed(page("stays"))
    await bench.bury(await bench.listed(page("stays")))
    bench.clock.step(11 * DAY_S)
    await bench.mirror.prune(**KEEP)
    assert (bench.events(), names(bench)) == ([], [(1, "stays"), (2, "goes")])
    bench.clock.step(10 * DAY_S)
    await bench.mirror.prune(**KEEP)
    assert names(bench) == [(1, "stays")]


async def test_a_clock_that_stepped_back_forgets_nothing(bench: Bench) -> None:
    await bench.listed(page("a"))
    bench.clock.step(-400 * DAY_S)
    assert await bench.mirror.prune(**KEEP) == 0


async def test_a_listing_is_kept_as_long_as_something_that_is_gone_names_it(bench: Bench) -> None:
    await bench.listed(page("stays", "goes"))
    await bench.listed(page("stays"))
    await bench.bury(await bench.listed(page("stays")))
    listings = "SELECT id FROM listings ORDER BY id"
    bench.clock.step(6 * DAY_S)
    await bench.mirror.prune(**KEEP)
    assert bench.rows(listings) == [(2,), (3,)]
    bench.clock.step(13 * DAY_S)
    await bench.mirror.prune(**KEEP)
    assert bench.rows(listings) == [(2,), (3,)], "the tombstone is still there"
    bench.clock.step(2 * DAY_S)
    await bench.mirror.prune(**KEEP)
    assert bench.rows(listings) == []


async def test_a_listing_that_nominated_what_is_not_decided_yet_is_kept(bench: Bench) -> None:
    await bench.listed(page("stays", "goes"))
    await bench.listed(page("stays"))
    bench.clock.step(100 * DAY_S)
    await bench.mirror.prune(**KEEP)
    assert bench.rows("SELECT id FROM listings") == [(2,)]
