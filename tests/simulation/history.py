"""One seed's history: a few hours of mischief, then peace, in which everything has to come right.

mischief      processes run, are killed and started again; people, services, network and machine misbehave
peace         nothing goes wrong any more; within `bound_s` everything has to have converged
nothing new   one more cycle of every source: it may change nothing, anywhere
the end       SIGTERM
"""

import base64
import shutil
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import quote

from fleetsync.daemon.work import Command
from tests.simulation.invariants import CONVERGENCE
from tests.simulation.mischief import Mischief
from tests.simulation.place import Place
from tests.simulation.places import KINDS
from tests.simulation.process import STOP_S, Process, is_ours
from tests.simulation.rest import changes, content, judge_writes, what_is_wrong, writes_seen
from tests.simulation.sizes import size_of
from tests.simulation.world import World

_GOING = "SELECT id FROM cycle WHERE source = ? AND finished_at IS NULL"
_WENT_ON = "SELECT id FROM listing WHERE id IN (SELECT max(id) FROM listing GROUP BY source, type) AND resumed LIMIT 1"
HOUR_S = 3600.0
RESTARTS_S = (0.0, 5.0, 5.0)
"""So long after its end a process is started again: at once by an impatient person, or by what supervises it."""
_LONGEST_RESTART_S = 120.0
_HURRY_S = 0.01
_LIVES_S = 60.0
"""Who does not live that long is waited for ever longer."""
BOUND_S = 6 * HOUR_S
"""So long after the last fault everything has converged: holds and pauses of an hour, and a few cycles after that."""
_STEP_S = 10.0
"""So long after the shortest interval it is looked again whether all is well."""


@dataclass(slots=True, kw_only=True)
class Told:
    """What a history came to."""

    seed: int
    violations: list[str]
    days: float
    requests: int
    commits: int
    kills: int
    cycles: int
    converged_s: float | None
    trace: str
    happened: Counter[str] = field(default_factory=Counter)
    tested: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)


class History:
    """The history of one seed."""

    def __init__(self, seed: int, template: Path, *, kinds: tuple[type[Place], ...] = KINDS) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"fleetsync-{seed}-", dir=memory()))
        self.world = World(self._folder, template, seed, kinds, size_of(seed))
        self.mischief = Mischief(self.world)
        self._next_look_s = self.world.size.look_s
        self._random = Random(f"restarts of {seed}")
        self._restart_s = 0.0

    def run(self) -> Told:
        """Let it happen, and return what came of it."""
        world = self.world
        converged_s = None
        try:
            self._live_until(self.mischief.plan())
            self._make_peace()
            converged_s = self._converge()
            if converged_s is not None:
                self._expect_nothing_new()
            self._stop()
        except Exception as error:  # noqa: BLE001 - it is the seed that finds it again, whatever it is
            world.verdicts.blame("the simulation", f"{error!r}: {traceback.format_exc()}")
        finally:
            if world.process is not None:
                world.bury()
            shutil.rmtree(self._folder, ignore_errors=True)
        return self._told(converged_s)

    def _told(self, converged_s: float | None) -> Told:
        world = self.world
        return Told(
            seed=world.seed,
            violations=world.verdicts.violations,
            days=world.agenda.now_s / 86_400,
            requests=world.network.requests,
            commits=world.commits,
            kills=world.happened["kill"],
            cycles=sum('"cycle.finished"' in line for line in world.log),
            converged_s=converged_s,
            trace=world.trace.digest,
            happened=sum((place.happened for place in world.places), world.happened + world.network.happened),
            tested=world.verdicts.tested,
            log=world.log,
        )

    # The phases

    def _live_until(self, until_s: float) -> None:
        """Let processes run, one after the other, until that instant."""
        world, agenda = self.world, self.world.agenda
        while agenda.now_s < until_s and not world.verdicts.violations:
            process = world.process
            if process is None:
                process = world.start()
                self.mischief.greet(process)
                if process.number > 1 and not self._restart_s and not world.is_quiet:
                    self._hurry(process)
            process.run(min(until_s, self._next_look_s))
            if process.has_ended:
                self._bury()
                lived_s = agenda.now_s - process.began_s
                again_s = 2 * self._restart_s if lived_s < _LIVES_S else 0.0
                self._restart_s = min(_LONGEST_RESTART_S, max(again_s, self._random.choice(RESTARTS_S)))
                agenda.pass_until(agenda.now_s + self._restart_s)
                continue
            self.mischief.pause(process)
            if agenda.now_s >= self._next_look_s:
                world.look()
                self._next_look_s = agenda.now_s + world.size.look_s

    def _hurry(self, process: Process) -> None:
        """Let the person who started it again at once want to see everything at once."""
        command = Command(name="sync", sources=tuple(place.name for place in self.world.places))
        self.world.agenda.after(_HURRY_S, lambda: process.order(command))

    def _bury(self) -> None:
        process = self.world.process
        assert process is not None
        self.world.bury()
        error = process.error
        if process.is_killed or (error is None and process.was_stopped):
            return
        if not is_ours(error) or not self.mischief.explains(error):
            self.world.verdicts.blame("P10", f"a process ended by itself: {error!r}")

    def _make_peace(self) -> None:
        self.mischief.end()
        self.world.is_quiet = True

    def _converge(self) -> float | None:
        world, agenda = self.world, self.world.agenda
        began_s = agenda.now_s
        for place in world.places:
            if place.mode == "manual":
                self._apply_often(place)
        wrong: list[str] = []
        step_s = min(place.interval_s for place in world.places) + _STEP_S
        self._be_off_until(max(place.rests_until_s for place in world.places))
        bound_s = agenda.now_s + BOUND_S
        while agenda.now_s < bound_s:
            self._live_until(agenda.now_s + step_s)
            if world.verdicts.violations:
                return None
            world.look()
            wrong = what_is_wrong(world)
            if not wrong:
                world.verdicts.tested[CONVERGENCE] += 1
                return agenda.now_s - began_s
        if world.process is not None:
            wrong[8:] = [str(row) for row in world.process.rows("SELECT name, mode, state, error FROM sources")]
            wrong += [str(row) for row in world.process.rows("SELECT * FROM drift LIMIT 8")]
        world.verdicts.check(CONVERGENCE, False, "; ".join(wrong))
        return None

    def _be_off_until(self, until_s: float) -> None:
        """Pass the rest of a day on which somebody may not be asked any more."""
        if until_s > self.world.agenda.now_s:
            if self.world.process is not None:
                self.world.process.kill()
                self._bury()
            self.world.agenda.pass_until(until_s)

    def _apply_often(self, place: Place) -> None:
        world = self.world

        def apply() -> None:
            if world.process is not None:
                world.process.order(Command(name="apply", sources=(place.name,)), world.accept)
            world.agenda.after(place.interval_s, apply)

        world.agenda.after(1.0, apply)

    def _expect_nothing_new(self) -> None:
        """P6: cycles that find nothing new change nothing."""
        world = self.world
        process = world.process
        changed, sent, most = [""], 0, 2
        # What converged just now may still be on its way into the books: then it is the cycle after that which counts.
        for number in range(3):
            if number == most or not (changed or sent):
                break
            if process is None or world.verdicts.violations:
                return
            before, writes = content(process), writes_seen(world)
            self._live_through_a_cycle()
            if process is not world.process or process.has_ended:
                return  # of a kill that was arranged before
            changed, sent = changes(before, content(process)), writes_seen(world) - writes
            # One that began before the peace, and was gone on with, has shown nothing of what its first pages were.
            most += not number and bool(process.rows(_WENT_ON))
        world.verdicts.check("P6", not changed and not sent, f"{sent} writes, and changes in {changed}")

    def _live_through_a_cycle(self) -> None:
        """Let every source end a cycle that it began after this, and have a moment for what is left to do."""
        world, agenda = self.world, self.world.agenda
        began_s, bound_s = agenda.now_s, 3 * max(place.interval_s for place in world.places) + HOUR_S
        process = world.process
        left = {
            place.name: world.cycles_ended[place.name] + (2 if process and process.rows(_GOING, place.name) else 1)
            for place in world.places
        }
        while any(world.cycles_ended[name] < count for name, count in left.items()):
            if agenda.now_s > began_s + bound_s or world.verdicts.violations:
                break
            self._live_until(agenda.now_s + 20.0)

    def _stop(self) -> None:
        world, process = self.world, self.world.process
        if process is None or process.has_ended or world.verdicts.violations:
            return
        judge_writes(world, process)
        began_s = world.agenda.now_s
        process.signal(signal.SIGTERM)
        process.run(began_s + 2 * STOP_S)
        took_s = world.agenda.now_s - began_s
        world.verdicts.check("P10", process.has_ended and took_s <= STOP_S, f"SIGTERM took {took_s:.1f} s")
        self._find_secrets()

    def _find_secrets(self) -> None:
        text = "".join(self.world.log).encode() + self.world.machine.database.read_bytes()
        for place in self.world.places:
            for secret in place.secrets:
                self.world.happened["secret looked for"] += 1
                if self.world.logs_everything:
                    self.world.happened["secret looked for in a log of everything"] += 1
                forms = (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode())
                if any(form.encode() in text for form in forms):
                    self.world.verdicts.blame("P8", f"{place.name}: a secret is in the log or in the database")


def memory() -> str | None:
    """Return a folder in memory where there is one: a disk would only make it slow."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


Make = Callable[[int], History]
