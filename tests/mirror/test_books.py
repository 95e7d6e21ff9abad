"""Sources, cycles, the journal, and what is wanted: what the mirror keeps besides the resources."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from fleetsync.core.bitmap import Bitmap
from fleetsync.core.breaker import FaultClass, StoredBreaker
from fleetsync.core.counts import Counts
from fleetsync.core.declaration import ABSENT, UNKNOWN, Declaration
from fleetsync.core.model import DEVICE, CycleId, ETag, Part, ResourceKey
from fleetsync.core.operation import Operation
from fleetsync.core.plan import Change, Drift, DriftState, Guard, GuardKind, Leaf, Outcome, Result
from fleetsync.core.safety import Showing
from fleetsync.errors import ConfigError, FleetsyncError, UsageError
from fleetsync.mirror.cycles import Ending
from fleetsync.mirror.faults import stored_breakers
from fleetsync.mirror.journal import Attempt, OpenWrite
from fleetsync.mirror.reader import reading
from fleetsync.mirror.tables import metadata, text_of
from fleetsync.mirror.wishes import Selected
from fleetsync.providers.iot_central import KIND
from tests.fakes.clock import START
from tests.mirror.bench import SPEC, Bench, closed, page, resource, source_row

FAULTS = "SELECT state, fault, fault_since, probe_at FROM sources"
DOCUMENT = Part("document")
KEY = ResourceKey("plant", DEVICE, "a")
GUARD = Guard(kind=GuardKind.IF_MATCH, etag=ETag("e"))
NAME = Leaf(path=("displayName",), actual="x", declared="y", declarations=("d",))
CHANGE = Change(key=KEY, part=DOCUMENT, guard=GUARD, leaves=(NAME,))


def wish(name: str, leaves: dict[tuple[str, ...], object], **more: object) -> Declaration:
    return Declaration(name=name, file=f"{name}.toml", line=1, leaves=leaves, **more)  # type: ignore[arg-type]


async def selected(bench: Bench, name: str, *ids: str, error: str | None = None) -> Selected:
    numbers = [no for id in ids for (no,) in bench.rows("SELECT no FROM resource WHERE id = ?", id)]
    bitmap = Bitmap()
    bitmap.add(numbers)
    return Selected(declaration=name, matched=bitmap, error=error)


# Sources


async def test_a_source_that_leaves_the_configuration_leaves_the_views_and_stays_stored(bench: Bench) -> None:
    await bench.listed(page("a"))
    await bench.mirror.cycles.register([source_row("other")], file="c")
    assert bench.rows("SELECT COUNT(*) FROM devices") == bench.rows("SELECT COUNT(*) FROM history") == [(0,)]
    assert bench.rows("SELECT name FROM sources") == [("other",)]
    await bench.mirror.cycles.register([source_row(), source_row("other")], file="c")
    assert bench.rows("SELECT id FROM devices") == [("a",)]


async def test_a_name_that_belongs_to_another_service_is_refused_until_it_is_forgotten(bench: Bench) -> None:
    await bench.listed(page("a"))
    with pytest.raises(ConfigError, match="db forget plant"):
        await bench.mirror.cycles.register([source_row(identity="iot-central at b"), source_row("new")], file="c")
    assert bench.rows("SELECT name, url FROM sources") == [("plant", "https://a")]
    await bench.mirror.cycles.forget("plant")
    await bench.mirror.cycles.register([source_row(identity="iot-central at b")], file="c")
    assert bench.rows("SELECT COUNT(*) FROM resource") == [(0,)]


async def fill(bench: Bench) -> None:
    """Put something of the source into every table that knows sources."""
    going = await bench.listed(page("a", "b"))
    await bench.listed(closed("a", "b"))
    await bench.listed(page("a", "b"), source="other")
    await bench.mirror.journal.intend(CHANGE, Attempt(cycle=going.cycle))
    await bench.mirror.wishes.declare([wish("d", {("displayName",): "y"})], going.cycle, "plant")
    drift = Drift(key=KEY, leaf=NAME, state=DriftState.PENDING)
    await bench.mirror.wishes.evaluate("plant", [await selected(bench, "d", "a")], [drift])
    await bench.cut_short(page("a", following="2"))


async def underway(bench: Bench) -> OpenWrite:
    """Let the service of the open write answer with an operation."""
    [left] = await bench.mirror.journal.left_open("plant")
    operation = Operation(handle=f"https://a/{'x' * 3900}?t=%2F%3A%27*", wait_s=3.0)
    later = START + timedelta(seconds=900)
    accepted = replace(left, operation=operation, deadline_at=later, status=202, request_id="r")
    await bench.mirror.journal.accept(accepted)
    return accepted


def counts(bench: Bench, source: str) -> dict[str, int]:
    tables = {table.name: "name" if table.name == "source" else "source" for table in metadata.sorted_tables
              if table.name == "source" or "source" in table.c}  # fmt: skip
    events = "event e JOIN resource_name n ON n.no = e.no"
    return {
        table: int(bench.rows(f"SELECT COUNT(*) FROM {table} WHERE {column} = ?", source)[0][0])
        for table, column in {**tables, events: "n.source"}.items()
    }


async def test_renaming_takes_everything_along(bench: Bench) -> None:
    await fill(bench)
    before = counts(bench, "plant")
    assert all(before.values()), before
    await bench.mirror.cycles.rename("plant", "works")
    assert counts(bench, "works") == before
    assert not any(counts(bench, "plant").values())


@pytest.mark.parametrize(("old", "new"), [("nobody", "x"), ("plant", "other"), ("plant", "plant")])
async def test_renaming_nothing_or_onto_something_is_refused(bench: Bench, old: str, new: str) -> None:
    await bench.mirror.cycles.register([source_row(), source_row("other")], file="c")
    with pytest.raises(UsageError):
        await bench.mirror.cycles.rename(old, new)
    assert bench.rows("SELECT name FROM sources ORDER BY 1") == [("other",), ("plant",)]


async def test_forgetting_takes_everything_of_one_source_and_nothing_of_another(bench: Bench) -> None:
    await bench.mirror.cycles.register([source_row(), source_row("other")], file="c")
    await fill(bench)
    other = counts(bench, "other")
    await underway(bench)
    await bench.mirror.cycles.forget("plant")
    assert not any(counts(bench, "plant").values())
    assert bench.rows("SELECT COUNT(*) FROM operation") == [(0,)]
    assert counts(bench, "other") == other
    assert bench.rows("SELECT COUNT(*) FROM seen") == [(0,)]
    assert bench.rows("SELECT COUNT(*) FROM event WHERE no NOT IN (SELECT no FROM resource_name)") == [(0,)]
    with pytest.raises(UsageError, match="no source 'plant'"):
        await bench.mirror.cycles.forget("plant")


async def test_a_cycle_that_a_process_left_open_is_interrupted_when_the_next_begins(bench: Bench) -> None:
    first = await bench.mirror.cycles.begin("plant")
    second = await bench.mirror.cycles.begin("plant")
    ending = Ending(outcome="done", complete=True, state="up")
    await bench.mirror.cycles.finish(second, "plant", Counts(listed=2, waited_s=1.5), ending)
    assert bench.rows(
        "SELECT id, outcome, complete, listed, waited_s, finished_at IS NULL FROM cycles ORDER BY id"
    ) == [
        (first, "interrupted", 0, 0, 0.0, 0),
        (second, "done", 1, 2, 1.5, 0),
    ]
    assert bench.rows("SELECT state, last_complete_at, error FROM sources") == [("up", text_of(START), None)]
    assert await bench.mirror.cycles.last_complete_at() == {"plant": START}


async def test_a_source_is_never_up_before_its_first_complete_cycle_and_paused_when_a_person_says_so(
    bench: Bench,
) -> None:
    cycles = bench.mirror.cycles
    assert bench.rows("SELECT state FROM sources") == [("never",)]
    await cycles.set_paused("plant", paused=True)
    assert await cycles.is_paused("plant")
    assert bench.rows("SELECT state FROM sources") == [("paused",)]
    await cycles.set_paused("plant", paused=False)
    assert not await cycles.is_paused("plant")
    await cycles.set_due("plant", START)
    assert bench.rows("SELECT next_due_at FROM sources") == [(text_of(START),)]


async def test_what_a_person_accepted_is_kept_until_it_is_used(bench: Bench) -> None:
    cycles = bench.mirror.cycles
    assert not await cycles.is_confirmed("plant", 3)
    await cycles.confirm("plant", writes=3)
    assert await cycles.is_confirmed("plant", 3)
    assert not await cycles.is_confirmed("plant", 3)
    assert not await cycles.is_confirmed("nobody", 3)


async def test_only_what_was_refused_last_can_be_accepted(bench: Bench) -> None:
    cycles = bench.mirror.cycles
    assert not await cycles.is_confirmed("plant", 3)
    assert not await cycles.is_confirmed("plant", 1)
    for source, numbers, waits in (
        ("plant", {"writes": 3}, "3 writes were not refused; what waits is --writes 1"),
        ("plant", {"gone": 1}, "1 vanished resource was not refused; what waits is nothing"),
        ("nobody", {"writes": 1}, "1 write was not refused; what waits is nothing"),
    ):
        with pytest.raises(FleetsyncError) as refused:
            await cycles.confirm(source, **numbers)
        assert str(refused.value) == waits
    await cycles.confirm("plant", writes=1)


async def test_every_type_has_a_last_listing_of_its_own(bench: Bench) -> None:
    cycles, listings = bench.mirror.cycles, bench.mirror.listings
    other = KIND.types[1]
    for spec, unseen in ((SPEC, 4), (SPEC, 2), (other, 3)):
        showing = Showing(listed=9, shown=9, known=9 + unseen, unseen=unseen)
        await listings.refuse(await listings.begin("plant", spec, CycleId(1)), showing, "too few")
    with pytest.raises(FleetsyncError, match=rf"--gone 2 \(device\) or --gone 3 \({other.type}\)"):
        await cycles.confirm("plant", gone=4)
    await cycles.confirm("plant", gone=3)
    assert not await listings.is_confirmed(await listings.begin("plant", SPEC, CycleId(2)), 3)


async def test_an_operation_is_kept_byte_for_byte_until_its_write_has_ended(bench: Bench) -> None:
    id = await bench.mirror.journal.intend(CHANGE, Attempt(cycle=CycleId(7)))
    accepted = await underway(bench)
    # How long to wait was said at another time.
    kept = Operation(handle=accepted.operation.handle) if accepted.operation else None
    assert await bench.mirror.journal.left_open("plant") == [replace(accepted, operation=kept)]
    outcome = Outcome(key=KEY, part=DOCUMENT, result=Result.APPLIED, status=202, request_id="r", error=None)
    await bench.mirror.journal.conclude(id, outcome, cycle=CycleId(7), spec=SPEC)
    assert await bench.mirror.journal.left_open("plant") == bench.rows("SELECT * FROM operation") == []
    with pytest.raises(TypeError):
        await bench.mirror.journal.accept(replace(accepted, operation=None))


async def test_instants_without_an_offset_are_refused(bench: Bench) -> None:
    with pytest.raises(ValueError, match="without an offset"):
        text_of(START.replace(tzinfo=None))
    assert text_of(START) == "2026-11-21T18:00:00.000Z"


# The journal


async def test_an_intent_is_on_record_before_its_outcome(bench: Bench) -> None:
    await bench.listed(page("a"))
    id = await bench.mirror.journal.intend(CHANGE, Attempt(cycle=CycleId(7), number=2, plan="p.json"))
    columns = "type, resource_id, cycle, plan, declarations, guard, etag, patch, attempt, outcome, finished_at"
    assert bench.rows(f"SELECT {columns} FROM writes") == [
        ("device", "a", 7, "p.json", "d", "if-match", "e", '{"displayName":"y"}', 2, "open", None)
    ]
    [left] = await bench.mirror.journal.left_open("plant")
    assert (left.id, left.key, left.part, left.patch, left.etag) == (id, KEY, DOCUMENT, {"displayName": "y"}, "e")
    assert await bench.mirror.journal.left_open("other") == []


async def test_an_outcome_and_what_it_shows_go_in_together(bench: Bench) -> None:
    await bench.listed(page("a"))
    id = await bench.mirror.journal.intend(CHANGE, Attempt(cycle=CycleId(7)))
    outcome = Outcome(key=KEY, part=DOCUMENT, result=Result.APPLIED, status=200, request_id="r", error=None)
    shown = resource("a", '{"id":"a","n":"after"}')
    await bench.mirror.journal.conclude(id, outcome, cycle=CycleId(7), spec=SPEC, shown=[shown])
    assert bench.rows("SELECT outcome, status, request_id, finished_at IS NOT NULL FROM writes") == [
        ("applied", 200, "r", 1)
    ]
    assert bench.rows("SELECT patch, cycle FROM history WHERE event = 'updated'") == [('{"n":"after"}', 7)]
    assert await bench.mirror.journal.left_open("plant") == []


# What is wanted


async def test_drift_counts_from_when_it_was_first_seen_and_goes_when_it_is_gone(bench: Bench) -> None:
    await bench.listed(page("a", "b"))
    wishes = bench.mirror.wishes
    await wishes.declare([wish("d", {("displayName",): "y"})], CycleId(1), "plant")
    absent = Leaf(path=("tags", "a.b"), actual=UNKNOWN, declared=ABSENT, declarations=("d", "e"))
    drift = [Drift(key=KEY, leaf=NAME, state=DriftState.PENDING), Drift(key=KEY, leaf=absent, state=DriftState.UNKNOWN)]
    await wishes.evaluate("plant", [await selected(bench, "d", "a")], drift)
    since = bench.rows("SELECT DISTINCT since FROM drift")
    bench.clock.step(600)
    held = [Drift(key=KEY, leaf=NAME, state=DriftState.HELD, by="nobody"), drift[1]]
    await wishes.evaluate("plant", [await selected(bench, "d", "a")], held)

    assert bench.rows('SELECT path, actual, declared, declaration, state, "by" FROM drift ORDER BY path') == [
        ("displayName", '"x"', '"y"', "d", "held", "nobody"),
        ('tags."a.b"', None, None, "d, e", "unknown", None),
    ]
    assert bench.rows("SELECT DISTINCT since FROM drift") == since
    assert bench.rows("SELECT drifting FROM sources") == [(1,)]
    await wishes.evaluate("plant", [await selected(bench, "d", "a")], [])
    assert bench.rows("SELECT COUNT(*) FROM drift") == [(0,)]


async def test_a_declaration_that_disappears_releases_what_it_had_selected_source_by_source(bench: Bench) -> None:
    await bench.mirror.cycles.register([source_row(), source_row("other")], file="c")
    await bench.listed(page("a", "b", "c"))
    await bench.listed(page("z"), source="other")
    wishes, made = bench.mirror.wishes, wish("d", {("displayName",): "y", ("tags", "old"): ABSENT})
    for source, ids in (("plant", "ab"), ("other", "z")):
        await wishes.declare([made], CycleId(1), source)
        await wishes.evaluate(source, [await selected(bench, "d", *ids)], [])

    await wishes.declare([], CycleId(2), "plant")

    patch = '{"declaration":"d","paths":["displayName","tags.old"]}'
    released = "SELECT source, resource_id, cycle, patch FROM history WHERE event = 'released' ORDER BY 1, 2"
    assert bench.rows(released) == [("plant", "a", 2, patch), ("plant", "b", 2, patch)]
    assert bench.rows("SELECT name, matched FROM declarations") == [("d", 1)]
    await wishes.declare([], CycleId(3), "other")
    assert bench.rows(released)[0] == ("other", "z", 3, patch)
    assert bench.rows("SELECT COUNT(*) FROM declarations") == [(0,)]
    assert bench.rows("SELECT COUNT(*) FROM selected") == [(0,)]


async def test_a_declaration_that_no_longer_names_a_source_is_released_there(bench: Bench) -> None:
    await bench.listed(page("a"))
    wishes = bench.mirror.wishes
    await wishes.declare([wish("d", {("displayName",): "y"})], CycleId(1), "plant")
    await wishes.evaluate("plant", [await selected(bench, "d", "a")], [])
    await wishes.declare([wish("d", {("displayName",): "y"}, sources=("other",))], CycleId(2), "plant")
    assert bench.rows("SELECT resource_id FROM history WHERE event = 'released'") == [("a",)]


async def test_a_held_declaration_keeps_what_it_had_selected_and_says_why(bench: Bench) -> None:
    await bench.listed(page("a", "b"))
    wishes, made = bench.mirror.wishes, wish("d", {("displayName",): "y"})
    await wishes.declare([made], CycleId(1), "plant")
    await wishes.evaluate("plant", [await selected(bench, "d", "a")], [])
    await wishes.evaluate("plant", [await selected(bench, "d", error="it is wrong")], [])
    assert bench.rows("SELECT error FROM declarations") == [("it is wrong",)]
    await wishes.declare([], CycleId(2), "plant")
    assert bench.rows("SELECT resource_id FROM history WHERE event = 'released'") == [("a",)]


async def test_nothing_new_is_written_when_nothing_is_new(bench: Bench) -> None:
    await bench.listed(page("a"))
    wishes, made = bench.mirror.wishes, wish("d", {("displayName",): "y"})
    drift = [Drift(key=KEY, leaf=NAME, state=DriftState.PENDING)]
    for _ in range(2):
        await wishes.declare([made], CycleId(1), "plant")
        await wishes.evaluate("plant", [await selected(bench, "d", "a")], drift)
    async with bench.mirror._writer.transaction() as transaction:
        before = (await transaction.rows(text("SELECT total_changes()")))[0][0]
    await wishes.declare([made], CycleId(1), "plant")
    await wishes.evaluate("plant", [await selected(bench, "d", "a")], drift)
    async with bench.mirror._writer.transaction() as transaction:
        after = (await transaction.rows(text("SELECT total_changes()")))[0][0]
    assert after == before


# What is wrong with a source


def later(seconds: float) -> str:
    return text_of(START + timedelta(seconds=seconds))


async def ended(bench: Bench, state: str, **more: object) -> None:
    cycle = await bench.mirror.cycles.begin("plant")
    ending = Ending(outcome="failed", complete=False, state=state, **more)  # type: ignore[arg-type]
    await bench.mirror.cycles.finish(cycle, "plant", Counts(), ending)


def breakers(bench: Bench) -> dict[str, StoredBreaker]:
    with reading(bench.path, bench.clock) as reader:
        return stored_breakers(reader)


async def test_what_is_wrong_with_a_source_is_as_old_as_its_first_failure_and_outlives_the_process(
    bench: Bench,
) -> None:
    first = StoredBreaker(
        fault=FaultClass.NETWORK,
        since=START,
        error="no route",
        openings=1,
        probe_at=START + timedelta(seconds=15),
    )
    await ended(bench, "down", error="a sentence", source_error="no route", fault=FaultClass.SERVICE, breaker=first)
    assert bench.rows(FAULTS) == [("down", "network", later(0), later(15))]
    assert breakers(bench) == {"plant": first}

    again = replace(first, since=START + timedelta(hours=1), fault=FaultClass.SIGN_IN, openings=2)
    await ended(bench, "refused", source_error="no route", breaker=again)
    assert bench.rows(FAULTS) == [("refused", "sign-in", later(0), later(15))]
    assert breakers(bench) == {"plant": replace(again, since=START)}


async def test_what_holds_no_request_is_wrong_all_the_same_until_a_cycle_finds_it_well(bench: Bench) -> None:
    until = START + timedelta(seconds=90)
    await ended(bench, "throttled", error="busy", fault=FaultClass.THROTTLE, probe_at=until)
    began = text_of(bench.clock.now())
    assert bench.rows(FAULTS) == [("throttled", "throttle", began, later(90))]
    assert breakers(bench) == {}

    bench.clock.step(60)
    await ended(bench, None, error="cut short")  # type: ignore[arg-type]  # as it was before
    assert bench.rows(FAULTS) == [("throttled", "throttle", began, later(90))]

    await ended(bench, "up")
    assert bench.rows(FAULTS) == [("never", None, None, None)]
