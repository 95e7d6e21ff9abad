"""Writes that go on after their answer: followed to their end, never sent twice, also when the process is killed."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fleetsync.config.settings import SourceSettings
from fleetsync.core.declaration import Declaration
from fleetsync.core.operation import Followed, pause_s
from fleetsync.errors import InvalidResponseError, ThrottledError, UnreachableError
from fleetsync.mirror.cycles import SourceRow
from fleetsync.mirror.mirror import Mirror, open_mirror
from fleetsync.reconcile.cycle import Cycle, Done, Job
from fleetsync.reconcile.progress import Progress
from fleetsync.transport.breaking import Circuit
from tests.fakes.clock import FakeClock, until
from tests.fakes.http import Killed
from tests.fakes.slow import KIND, Settings, Slow, SlowTarget
from tests.reconcile.rig import NAME, SOURCE, declare

MOVED = declare({"group": "b"})
SETTINGS: SourceSettings = replace(SOURCE, kind=KIND, own=Settings())


@dataclass
class Meter:
    requests: int = 0
    throttled: int = 0
    waited_s: float = 0.0
    at_once: int = 16

    async def departure(self) -> None:
        await asyncio.Event().wait()

    async def keep(self) -> None:
        """There are no rates to keep."""


@dataclass
class House:
    """A database, a clock, and a service that outlives the process."""

    path: Path
    clock: FakeClock
    service: Slow
    declarations: list[Declaration] = field(default_factory=lambda: [MOVED])
    progress: list[Progress] = field(default_factory=list)
    mirror: Mirror | None = None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with open_mirror(self.path, [KIND], self.clock) as mirror:
            row = SourceRow(name=NAME, kind="slow", url="https://slow", mode="manual", identity="slow at here")
            await mirror.cycles.register([row], file="config.toml")
            self.mirror = mirror
            yield

    async def cycle(self, *, write: bool = True) -> Done:
        return await self.clock.run(self.work(write=write).run())

    def work(self, *, write: bool = True) -> Cycle:
        assert self.mirror is not None
        job = Job(
            source=SlowTarget(NAME, self.service),
            settings=SETTINGS,
            meter=Meter(),
            circuit=Circuit(self.clock),
            mirror=self.mirror,
            clock=self.clock,
            declarations=self.declarations,
            longest_s={NAME: 900.0},
            report=self.progress.append,
        )
        return Cycle(job, write=write)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()

    def outcomes(self) -> list[tuple[str, str]]:
        return self.rows("SELECT resource_id, outcome FROM writes ORDER BY resource_id, id")

    def underway(self) -> list[tuple[str]]:
        return self.rows("SELECT handle FROM operation ORDER BY write")

    def mirrored(self) -> dict[str, str]:
        return {id: json.loads(text)["group"] for id, text in self.rows("SELECT id, document FROM devices")}


@pytest.fixture
def build(tmp_path: Path, template: Path) -> Iterator[Any]:
    def make(name: str = "house", **more: Any) -> House:
        path = tmp_path / f"{name}.db"
        shutil.copyfile(template, path)
        clock = FakeClock()
        return House(path=path, clock=clock, service=Slow(clock, **more))

    return make


@pytest.fixture
async def house(build: Any) -> AsyncIterator[House]:
    made = build()
    async with made.opened():
        yield made


# To the end


async def test_a_write_that_goes_on_is_followed_and_read_back(house: House) -> None:
    done = await house.cycle()

    assert done.error is None
    assert done.counts.applied == 3
    assert house.service.groups() == house.mirrored() == {"d0": "b", "d1": "b", "d2": "b"}
    assert house.rows("SELECT outcome, status, request_id, error FROM writes ORDER BY id") == [
        ("applied", 202, f"request d{number}", None) for number in range(3)
    ]
    assert house.underway() == []
    assert house.rows("SELECT COUNT(*) FROM drift") == [(0,)]
    assert Counter(house.service.moves) == {"d0": 1, "d1": 1, "d2": 1}


async def test_the_operation_is_on_record_before_anybody_asks_for_its_end(house: House) -> None:
    known: list[list[tuple[str]]] = []
    house.service.on_step = lambda step: known.append(house.underway()) if step == "poll" else None
    await house.cycle()
    assert known[0]
    assert all(("op-1",) in handles or ("op-2",) in handles or ("op-3",) in handles for handles in known)


async def test_waiting_for_one_operation_holds_up_no_other(build: Any) -> None:
    house = build(devices=200)
    async with house.opened():
        task = asyncio.get_running_loop().create_task(house.work().run())
        await until(lambda: len(house.service.moves) == 200)
        assert house.clock.monotonic_s() == 0.0

        async def join() -> Done:
            return await task

        done = await house.clock.run(join())
    assert done.counts.applied == 200


async def test_the_second_part_of_a_device_waits_for_the_end_of_the_first(house: House) -> None:
    house.declarations = [MOVED, declare({"name": "x"}, "named", where="id = 'd0'")]
    order: list[str] = []
    house.service.on_step = order.append
    done = await house.cycle()
    assert done.counts.applied == 4
    assert house.service.document("d0") == {"id": "d0", "group": "b", "name": "x"}
    assert [index for index, step in enumerate(order) if step == "written"][-1] > order.index("poll")
    assert house.rows("SELECT part FROM write WHERE resource_id = 'd0' ORDER BY id") == [("group",), ("name",)]


async def test_questions_come_slower_and_slower_unless_the_service_says_when(build: Any) -> None:
    house = build(devices=1, lasts_s=100.0)
    async with house.opened():
        await house.cycle()
    assert [at_s for at_s, _ in house.service.polls] == [1, 3, 7, 15, 31, 61, 91, 121]
    other = build("other", devices=1, lasts_s=100.0, asks_s=40.0)
    async with other.opened():
        await other.cycle()
    assert [at_s for at_s, _ in other.service.polls] == [40, 80, 120]


@pytest.mark.parametrize(
    ("asked_s", "last_s", "expected_s"),
    [(None, None, 1), (None, 1, 2), (None, 16, 30), (None, 30, 30), (0, 5, 1), (7.5, 30, 7.5), (3600, None, 60)],
)
def test_how_long_to_wait(asked_s: float | None, last_s: float | None, expected_s: float) -> None:
    assert pause_s(asked_s, last_s) == expected_s


async def test_whoever_watches_hears_of_the_waiting(house: House) -> None:
    await house.cycle()
    assert "waiting for the service" in {one.step for one in house.progress}


# Ends that are none


async def test_a_failed_operation_is_reported_in_the_services_own_words(house: House) -> None:
    house.service.ending = lambda id: "failed" if id == "d1" else "done"
    done = await house.cycle()
    assert (done.counts.applied, done.counts.failed) == (2, 1)
    assert house.rows("SELECT resource_id, outcome, error FROM writes WHERE error IS NOT NULL") == [
        ("d1", "failed", "Conflict: the device is busy")
    ]
    assert house.mirrored() == {"d0": "b", "d1": "a", "d2": "b"}
    assert house.underway() == []


async def test_a_write_whose_operation_failed_is_not_begun_again_in_every_cycle(house: House) -> None:
    house.service.ending = lambda _: "failed"
    for waits_s, moves in ((0, 3), (60, 3), (300, 6), (300, 6), (300, 9)):
        await house.clock.advance(waits_s)
        await house.cycle()
        assert len(house.service.moves) == moves


async def test_an_operation_that_ends_with_errors_and_did_it_is_applied_with_its_errors(house: House) -> None:
    house.service.ending = lambda _: "half"
    done = await house.cycle()
    assert done.counts.applied == 3
    assert house.rows("SELECT DISTINCT outcome, error FROM writes") == [("applied", "Conflict: the device is busy")]


async def test_an_operation_that_is_done_and_did_nothing_is_ignored(house: House) -> None:
    house.service.ending = lambda id: "deaf" if id == "d2" else "done"
    done = await house.cycle()
    assert done.counts.failed == 1
    assert house.outcomes() == [("d0", "applied"), ("d1", "applied"), ("d2", "ignored")]
    assert house.rows("SELECT error FROM writes WHERE outcome = 'ignored'") == [
        ("accepted, but not taken over: group",)
    ]


async def test_an_operation_that_never_ends_is_given_up_at_its_deadline(house: House) -> None:
    house.service.ending = lambda id: "never" if id == "d0" else "done"
    done = await house.cycle()
    assert 900 <= house.clock.monotonic_s() < 910
    assert done.counts.failed == 1
    assert house.outcomes() == [("d0", "unknown"), ("d1", "applied"), ("d2", "applied")]
    [(error,)] = house.rows("SELECT error FROM writes WHERE outcome = 'unknown'")
    assert error == "the service did not finish it in time; a read shows other values"


async def test_a_lost_operation_leaves_the_write_open_until_it_cannot_be_carried_out_any_more(house: House) -> None:
    house.service.ending = lambda _: "lost"

    done = await house.cycle()
    assert (done.counts.applied, done.counts.failed) == (0, 0)
    assert {outcome for _, outcome in house.outcomes()} == {"open"}

    await house.clock.advance(60)
    done = await house.cycle()
    assert done.counts.applied == 3
    assert {outcome for _, outcome in house.outcomes()} == {"applied"}
    assert Counter(house.service.moves) == {"d0": 1, "d1": 1, "d2": 1}


async def test_a_lost_operation_that_did_nothing_is_unknown_after_the_deadline_and_then_sent_again(
    house: House,
) -> None:
    house.service.ending = lambda _: "lost"
    house.service.lasts_s = 1e9
    await house.cycle()
    await house.clock.advance(890)
    await house.cycle()
    assert {outcome for _, outcome in house.outcomes()} == {"open"}
    await house.clock.advance(20)
    house.service.lasts_s = 6.0
    house.service.ending = lambda _: "done"
    await house.cycle()
    assert [outcome for _, outcome in house.outcomes()] == ["unknown", "applied"] * 3
    assert house.rows("SELECT DISTINCT error FROM writes WHERE outcome = 'unknown'") == [
        ("the service does not know its operation (no such operation); a read shows other values",)
    ]


@pytest.mark.parametrize("has_etags", [False, True])
async def test_a_write_of_that_kind_whose_answer_is_lost_is_not_sent_again_while_it_may_go_on(
    house: House, has_etags: bool
) -> None:
    house.service.has_etags = has_etags

    def lose(step: str) -> None:
        if step == "written":
            raise UnreachableError("reset", sent=True)

    house.service.on_step = lose
    done = await house.cycle()
    assert done.counts.failed == 0
    assert {outcome for _, outcome in house.outcomes()} == {"open"}
    house.service.on_step = lambda _: None
    await house.cycle()
    assert {outcome for _, outcome in house.outcomes()} == {"open"}
    await house.clock.advance(6)
    await house.cycle()
    assert {outcome for _, outcome in house.outcomes()} == {"applied"}
    assert Counter(house.service.moves) == {"d0": 1, "d1": 1, "d2": 1}


async def test_a_write_of_that_kind_that_a_crash_cut_off_has_failed_once_it_cannot_go_on_and_nothing_changed(
    house: House,
) -> None:
    """Its answer, which names the operation, came and was not stored."""
    house.service.has_etags = True
    house.service.lasts_s = 1e9

    def kill(step: str) -> None:
        if step == "written":
            raise Killed(step)

    house.service.on_step = kill
    with pytest.raises(Killed):
        await house.cycle()
    house.service.on_step = lambda _: None
    sent = len(house.service.moves)
    for _ in range(2):
        await house.cycle(write=False)
        assert {outcome for _, outcome in house.outcomes()} == {"open"}
        await house.clock.advance(440)
    await house.clock.advance(30)
    await house.cycle(write=False)
    assert {outcome for _, outcome in house.outcomes()} == {"failed"}
    assert len(house.service.moves) == sent
    assert house.rows("SELECT DISTINCT error FROM writes") == [
        ("the answer was lost; a read shows that it was not carried out",)
    ]


async def test_a_question_that_gets_no_answer_leaves_the_write_to_the_next_cycle(house: House) -> None:
    def silent(step: str) -> None:
        if step == "poll":
            raise ThrottledError("too many")

    house.service.on_step = silent
    done = await house.cycle()
    assert isinstance(done.error, ThrottledError)
    assert len(house.underway()) == 3
    house.service.on_step = lambda _: None
    await house.clock.advance(60)
    done = await house.cycle()
    assert done.counts.applied == 3
    assert Counter(house.service.moves) == {"d0": 1, "d1": 1, "d2": 1}


async def test_an_answer_that_is_none_is_asked_for_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    standing = house.service.standing
    answers = iter(range(1000))

    def garbled(handle: str) -> Followed:
        followed = standing(handle)
        if next(answers) < 3:
            raise InvalidResponseError("html")
        return followed

    monkeypatch.setattr(house.service, "standing", garbled)
    done = await house.cycle()
    assert done.error is None
    assert done.counts.applied == 3


async def test_a_device_that_is_gone_when_its_move_has_failed_is_still_told_why(house: House) -> None:
    house.service.ending = lambda _: "failed"

    def unreachable(step: str) -> None:
        if step == "read" and house.service.polls:
            raise UnreachableError("reset", sent=True)

    house.service.on_step = unreachable
    await house.cycle()
    assert house.rows("SELECT DISTINCT outcome, error FROM writes") == [("failed", "Conflict: the device is busy")]


async def break_off(house: House) -> None:
    """End a cycle in which the service is at work for every device."""
    task = asyncio.get_running_loop().create_task(house.work().run())
    await until(lambda: len(house.underway()) == 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cycle_that_does_not_write_asks_once_and_waits_for_nothing(house: House) -> None:
    house.service.lasts_s = 60.0
    await break_off(house)
    assert len(house.service.polls) == 0

    await house.cycle(write=False)

    assert len(house.service.polls) == 3
    assert house.clock.monotonic_s() == 0
    assert {outcome for _, outcome in house.outcomes()} == {"open"}
    done = await house.cycle()
    assert done.counts.applied == 3
    assert len(house.service.moves) == 3


async def test_a_wall_clock_that_steps_back_makes_no_deadline_longer(house: House) -> None:
    house.service.ending = lambda _: "never"
    await break_off(house)
    house.clock.step(-7 * 86_400)
    at_s = house.clock.monotonic_s()
    await house.cycle()
    assert house.clock.monotonic_s() - at_s <= 900
    assert {outcome for _, outcome in house.outcomes()} == {"unknown"}


async def test_a_wall_clock_that_steps_back_keeps_no_lost_operation_open_for_longer(house: House) -> None:
    house.service.ending = lambda _: "lost"
    house.service.lasts_s = 1e9
    await house.cycle()
    house.clock.step(-86_400)
    await house.cycle()
    assert {outcome for _, outcome in house.outcomes()} == {"open"}, "it may still be carried out"
    await house.clock.advance(910)
    house.service.lasts_s = 6.0
    house.service.ending = lambda _: "done"
    await house.cycle()
    assert [outcome for _, outcome in house.outcomes()] == ["unknown", "applied"] * 3


# kill -9


class Tripwire:
    """Counts the points where the process may be killed, and kills it at one of them."""

    def __init__(self, house: House, number: int | None) -> None:
        self._house = house
        self._number = number
        self.count = 0
        self.survivor = house.path.with_suffix(".survivor")

    def __call__(self, _step: str) -> None:
        self.count += 1
        if self.count == self._number:
            for suffix in ("", "-wal"):
                if Path(f"{self._house.path}{suffix}").exists():
                    shutil.copyfile(f"{self._house.path}{suffix}", f"{self.survivor}{suffix}")
            raise Killed(_step)


@contextlib.contextmanager
def wired(house: House, wire: Tripwire, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a tripwire before and after every transaction, at every step of the service and at every sleep."""
    assert house.mirror is not None
    writer, transaction, sleep = house.mirror._writer, house.mirror._writer.transaction, house.clock.sleep

    @contextlib.asynccontextmanager
    async def stumbling() -> AsyncIterator[Any]:
        wire("transaction")
        async with transaction() as one:
            yield one
        wire("committed")

    async def tired(seconds: float) -> None:
        wire("sleep")
        await sleep(seconds)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "transaction", stumbling)
        patch.setattr(house.clock, "sleep", tired)
        house.service.on_step = wire
        yield
    house.service.on_step = lambda _: None


async def live(house: House, wire: Tripwire, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house.opened():
        with wired(house, wire, monkeypatch):
            await house.cycle()


POINTS = 50
"""At least so many there are; how often is asked while the database works differs from run to run."""


async def test_there_are_as_many_points_as_are_killed(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house = build(devices=2)
    wire = Tripwire(house, None)
    await live(house, wire, monkeypatch)
    assert wire.count >= POINTS


@pytest.mark.parametrize("pause_s", [0.0, 10.0])
@pytest.mark.parametrize("number", range(1, POINTS + 1))
async def test_a_kill_at_any_point_moves_no_device_twice(
    build: Any, monkeypatch: pytest.MonkeyPatch, number: int, pause_s: float
) -> None:
    """The next process comes at once, while the service is at work, or when it has done it."""
    house = build(devices=2)
    wire = Tripwire(house, number)
    with pytest.raises(Killed):
        await live(house, wire, monkeypatch)
    house.path = wire.survivor
    await house.clock.advance(pause_s)

    async with house.opened():
        for number in range(5):
            if number > 1 and set(house.mirrored().values()) == {"b"}:
                break
            await house.cycle()
            await house.clock.advance(300)

    assert house.service.groups() == house.mirrored() == {"d0": "b", "d1": "b"}
    assert Counter(house.service.moves) == {"d0": 1, "d1": 1}
    assert house.rows("SELECT COUNT(*) FROM drift") == [(0,)]
    assert house.underway() == []
    assert [outcome for _, outcome in house.outcomes() if outcome not in ("applied", "unknown")] == []
