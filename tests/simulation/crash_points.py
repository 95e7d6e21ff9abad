"""A scenario in which our process crashes at every point: before and after each commit, when a request has left, when a
write was carried out, and when an answer was read.

A crash is a fork: the child is the world in which the process is killed there, and the parent the one in which it goes
on. In the child what was in the files at that instant is put into a folder of its own, the next process starts on it,
does what the first one was told to and what the scenario still has in store, and comes to rest; then all promises have
to hold, and what the services carried out and what the history tells have to be what they are without any crash.

Between two points nothing happens that anybody else could see: a crash there is a crash at the point before. And where
the files are, byte for byte, what they were at the last crash, and nobody wrote to a service since, the next process
would begin as it did then: such a point is counted and not played again.
"""

import contextlib
import gc
import os
import pickle
import re
import shutil
import signal
import tempfile
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from fleetsync.daemon.work import Command, Reply, Work
from fleetsync.reconcile.progress import silent
from fleetsync.wiring.configuration import Configuration, read_configuration
from fleetsync.wiring.sources import working
from tests.simulation.history import memory
from tests.simulation.place import Place
from tests.simulation.process import Life, Process, is_ours
from tests.simulation.rest import changes, content, judge_writes, what_is_wrong, writes_seen
from tests.simulation.sizes import TINY
from tests.simulation.world import ACCEPTS, World

RESTART_S = 5.0
BETWEEN_S = 1000.0
"""Between two cycles: longer than any index lags, and than it is waited for a write whose answer was lost."""
MOST_CYCLES = 8
"""After so many everything has come to rest."""
_LONGEST_S = 6 * 3600.0

Step = Callable[["Play"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Steps, one after the other; those that `crashing` made are killed at each of their points.

    `shows` is what it is about: kinds of events, outcomes of writes, faults, guards. `same` names what has to be as it is
    without a crash: what the services carried out (`writes`) and what the history tells (`events`).
    """

    kinds: tuple[type[Place], ...]
    steps: tuple[Step, ...]
    shows: tuple[str, ...] = ()
    is_repeated: bool = False
    """Whoever was interrupted by the crash gives the command again: it does more than any cycle does."""
    seed: int = 1
    wishes: tuple[str, ...] | None = None
    """The declarations that there are, of those that the places know; None is all."""
    listed: tuple[str, ...] | None = None
    """The types that the first place lists; None is what it chooses."""
    same: tuple[str, ...] = ("writes", "events")


@dataclass(slots=True, kw_only=True)
class Ended:
    """What came of a scenario, or of what followed a crash."""

    violations: list[str]
    writes: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    """What services carried out for us: source, type, id, members."""
    events: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    tested: Counter[str] = field(default_factory=Counter)
    cycles: int = 0
    """So many it took to come to rest."""
    shown: set[str] = field(default_factory=set)
    """Kinds of events, outcomes and guards of writes, and what went wrong."""


@dataclass(slots=True, kw_only=True)
class Played:
    """What came of a scenario and of all of its crashes, by point."""

    undisturbed: Ended
    crashed: dict[str, Ended]
    points: int
    """Those that are not played again as well."""

    def violations(self, same: tuple[str, ...]) -> list[str]:
        """Return everything that was wrong, and where the crash was."""
        found = [f"without a crash: {text}" for text in self.undisturbed.violations]
        for point, ended in self.crashed.items():
            found += [f"{point}: {text}" for text in ended.violations]
            for what in same if not ended.violations else ():
                found += [f"{point}: {text}" for text in _differences(what, self.undisturbed, ended)]
        return found


def _differences(what: str, undisturbed: Ended, ended: Ended) -> Iterator[str]:
    wanted, found = getattr(undisturbed, what), getattr(ended, what)
    if wanted - found:
        yield f"{what} that are missing: {dict(wanted - found)}"
    if found - wanted:
        yield f"{what} that are too many: {dict(found - wanted)}"


class Play:
    """One scenario on its way."""

    def __init__(self, scenario: Scenario, template: Path) -> None:
        self.scenario = scenario
        self._folder = Path(tempfile.mkdtemp(prefix="fleetsync-crash-", dir=memory()))
        self.world = World(self._folder, template, scenario.seed, scenario.kinds, TINY)
        self.world.network.lost_with_its_process = 0.0
        self.replies: list[Reply] = []
        self.kill_at_point = 0
        """The point at which the next process is killed, in this world; 0 is none."""
        self._step = 0
        self._is_crashing = False
        self._has_crashed = False
        self._points: Counter[str] = Counter()
        self._crashed: dict[str, Ended] = {}
        self._left: object = None
        self._configuration: Configuration | None = None
        self._events: Counter[tuple[Any, ...]] = Counter()
        self._cycles = 0
        self._shown: set[str] = set()
        if scenario.wishes is not None:
            for place in self.world.places:
                place.wishes = [wish for wish in place.wishes if wish.name in scenario.wishes]
        if scenario.listed is not None:
            self.world.list_only(self.place, scenario.listed)
        self.configure()

    def run(self) -> Played:
        """Play it, with every crash there is."""
        try:
            undisturbed = self._go_on(0)
        finally:
            if self.world.process is not None:
                self.world.bury()
            shutil.rmtree(self._folder, ignore_errors=True)
        return Played(undisturbed=undisturbed, crashed=self._crashed, points=self._points.total())

    # What scenarios are made of

    @property
    def place(self) -> Any:
        """Return the first place."""
        return self.world.places[0]

    def configure(self) -> None:
        """Write the configuration as it should be now."""
        self.world.write_configuration()
        self._configuration = None

    def configuration(self, process: Process) -> Configuration:
        """Return what the files say. Reading them has no effect, and takes its time: it is done once."""
        if self._configuration is None:
            self._configuration = read_configuration(self.world.machine.folder / "config.toml", process.clock)
        settings, path = self._configuration.settings, self.world.machine.database
        settings = replace(settings, database=replace(settings.database, path=path))
        return msgspec.structs.replace(self._configuration, settings=settings)

    def run_process(self, life: Life, *, for_s: float = _LONGEST_S) -> Process:
        """Run a process until it ends, or for so long; then it is told to end."""
        world = self.world
        process = world.start(life)
        process.at_point = self._point if self._is_crashing else None
        process.kill_at_point, self.kill_at_point = self.kill_at_point, 0
        process.run(world.agenda.now_s + for_s)
        if not process.has_ended:
            process.signal(signal.SIGTERM)
            process.run(world.agenda.now_s + _LONGEST_S)
        world.bury()
        if not is_ours(process.error) or not process.has_ended:
            world.verdicts.blame("P10", f"a process ended by itself: {process.error!r}")
        world.agenda.pass_until(world.agenda.now_s + RESTART_S)
        return process

    def crash(self, step: Step) -> None:
        """Play a step, with a crash at every point of it, unless there was one already."""
        self._is_crashing = not self._has_crashed
        try:
            step(self)
        finally:
            self._is_crashing = False

    def _go_on(self, first: int) -> Ended:
        """Play from a step on, come to rest, and judge."""
        steps = self.scenario.steps
        for number in range(first, len(steps)):
            self._step = number
            steps[number](self)
        self.run_process(self._rest)
        return Ended(
            violations=self.world.verdicts.violations,
            writes=self._writes(),
            events=self._events,
            tested=self.world.verdicts.tested,
            cycles=self._cycles,
            shown=self._shown
            | {name for place in self.world.places for name in place.happened}
            | {*self.world.happened},
        )

    # Crashes

    def _point(self, what: str) -> None:
        self._points[what] += 1
        point = f"step {self._step + 1}, {what} ({self._points[what]})"
        is_on_its_way = what.endswith("has left") and not what.startswith("a GET")
        left = self._step, self.world.machine.read_database(), writes_seen(self.world)
        if left != self._left or is_on_its_way:
            self._crashed[point] = self._forked(is_lost=False)
        if is_on_its_way:
            self._crashed[f"{point}, and is lost"] = self._forked(is_lost=True)
        # What is on its way will have been carried out by then.
        self._left = None if is_on_its_way else left

    def _forked(self, *, is_lost: bool) -> Ended:
        """Return what comes of a crash here."""
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # Whatever other threads there are, the child only works in one of its own.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            os.close(reading)
            self._be_the_child(writing, is_lost=is_lost)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
        ended: Ended = pickle.loads(told)
        return ended

    def _be_the_child(self, writing: int, *, is_lost: bool) -> None:
        """Crash, go on, tell, and end without the goodbyes that are the parent's."""
        gc.disable()
        threading.settrace(None)  # type: ignore[arg-type]  # that is how it is switched off
        told: list[Ended] = []

        def go_on() -> None:
            # In a thread of its own no loop runs yet.
            try:
                told.append(self._after_the_crash(is_lost=is_lost))
            except BaseException:  # noqa: BLE001 - the parent reads it
                told.append(Ended(violations=[traceback.format_exc()]))

        try:
            thread = threading.Thread(target=go_on)
            thread.start()
            thread.join()
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(pickle.dumps(told[0]))
        finally:
            os._exit(0)

    def _after_the_crash(self, *, is_lost: bool) -> Ended:
        world, process = self.world, self.world.process
        assert process is not None
        world.network.lost_with_its_process = float(is_lost)
        self._has_crashed, self._is_crashing = True, False
        process.at_point = None
        process.kill()
        # The files belong to the parent: whatever this process does to them would be done to those.
        with tempfile.TemporaryDirectory(prefix="fleetsync-crashed-", dir=memory()) as folder:
            shutil.copytree(self._folder, folder, dirs_exist_ok=True, ignore=_not_ours)
            world.machine.folder = Path(folder)
            world.machine.write_database(process.left)
            world.look_back(process)
            world.agenda.pass_until(world.agenda.now_s + RESTART_S)
            return self._go_on(self._step if self.scenario.is_repeated else self._step + 1)

    # Rest

    async def _rest(self, process: Process) -> None:
        """Run cycles until they change nothing any more, as a person would who accepts what is refused."""
        world = self.world
        wrong: list[str] = ["no cycle was run"]
        before, sent = None, -1
        async with self.working(process) as work:
            for number in range(MOST_CYCLES):
                await process.clock.sleep(BETWEEN_S if number else 0.0)
                reply = await work.carry_out(Command(name="apply"), silent)
                await _accept(reply, work)
                wrong = what_is_wrong(world)
                now, written = content(process), writes_seen(world)
                if before is not None and not wrong:
                    wrong = changes(before, now) + ([f"{written - sent} writes"] if written > sent else [])
                    if not wrong:
                        break
                before, sent = now, written
        world.verdicts.check("P6", not wrong, f"never at rest: {'; '.join(wrong)}")
        judge_writes(world, process)
        events = process.rows("SELECT source, type, resource_id, event FROM history")
        # Two changes may be seen at once.
        self._events = Counter(event for event in events if event[-1] != "updated")
        self._events.update({event for event in events if event[-1] == "updated"})
        self._cycles = number + 1
        self._shown = {event[-1] for event in events}
        self._shown |= {word for row in process.rows("SELECT outcome, guard FROM writes") for word in row}

    @contextlib.asynccontextmanager
    async def working(self, process: Process) -> AsyncIterator[Work]:
        async with working(self.configuration(process), process.clock, create=True) as work:
            yield work

    def _writes(self) -> Counter[tuple[Any, ...]]:
        return Counter(
            (place.name, write.type, write.id, write.members)
            for place in self.world.places
            for write in place.cloud._books._writes
            if write.by == "client" and write.changed
        )


def _not_ours(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if re.fullmatch(r"fleetsync\.db(-wal|-shm|-journal)?|.*\.(lock|sock)", name)]


async def _accept(reply: Reply, work: Work) -> None:
    """Accept what was refused, as the words of the refusal say."""
    for one in reply.sources:
        for source, what, number in ACCEPTS.findall(one.error or ""):
            await work.carry_out(Command(name="confirm", sources=(source,), **{what: int(number)}), silent)


# Steps


def crashing(step: Step) -> Step:
    """Return the step with a crash at every point of it."""
    return lambda play: play.crash(step)


def command(name: str, **more: Any) -> Step:
    """Return the step of a command without a daemon, for all sources where nothing else is said."""

    def life(play: "Play") -> Life:
        async def be(process: Process) -> None:
            async with play.working(process) as work:
                play.replies.append(await work.carry_out(Command(name=name, **more), silent))

        return be

    return lambda play: _done(play.run_process(life(play)))


def _done(_process: Process) -> None:
    """Drop what a step returns."""


def passing(seconds: float) -> Step:
    """Return the step in which time passes."""
    return lambda play: play.world.agenda.pass_until(play.world.agenda.now_s + seconds)


sync, apply = command("sync"), command("apply")
