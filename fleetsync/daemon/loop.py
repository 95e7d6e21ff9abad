"""One source, again and again."""

import datetime
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from fleetsync.clock import Clock
from fleetsync.config.settings import Mode, SourceSettings
from fleetsync.core.schedule import first_pause_s, pause_s, retry_pause_s
from fleetsync.daemon.health import Health
from fleetsync.daemon.heartbeats import SILENCE_S, Heartbeats
from fleetsync.daemon.turns import Turn
from fleetsync.errors import BrokenMirrorError, FleetsyncError, TransientError, UnsafePlanError, of_the_machine
from fleetsync.log import get_log
from fleetsync.mirror.mirror import Mirror
from fleetsync.reconcile.cycle import Cycle, Done, Job
from fleetsync.reconcile.progress import Report, silent
from fleetsync.transport.breaking import Circuit

T = TypeVar("T")

_LONGEST = 256


class UnexpectedError(FleetsyncError):
    """A mistake of ours."""


async def attempt(work: Awaitable[T], *, source: str | None = None) -> T | FleetsyncError:
    """Return what `work` returns, or the error that it ended with: nothing of one source reaches another.

    An exception that is none of ours is a mistake in the program. It is logged with the lines that it came from, and
    returned as an `UnexpectedError`.

    Raises:
        BrokenMirrorError: the database failed, for all of them; the process should end and be started again.
    """
    try:
        return await work
    except BrokenMirrorError:
        raise
    except FleetsyncError as error:
        return error
    except Exception as error:  # the one place where a mistake of one source is kept from the others
        if isinstance(error, ExceptionGroup) and (broken := error.subgroup(BrokenMirrorError)) is not None:
            raise broken.exceptions[0] from error
        if (machine := of_the_machine(error)) is not None:
            return machine
        text = f"unexpected {type(error).__name__}: {error}"[:_LONGEST]
        get_log(source=source).error("program.failed", error=text, reason=_lines(error))
        return UnexpectedError(text)


def _lines(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)


class Surroundings(Struct, frozen=True, kw_only=True):
    """What the loops of all sources share."""

    mirror: Mirror
    clock: Clock
    heartbeats: Heartbeats
    health: Health
    listed: Callable[[str], None]
    """Called with the name of a source after every cycle in which it was listed completely."""


class Charge(Struct, frozen=True, kw_only=True):
    """One source in the daemon's care. `expires_at` says when what it signs in with ends, None where nobody knows."""

    settings: SourceSettings
    make_job: Callable[[Report], Job]
    circuit: Circuit
    expires_at: Callable[[], datetime.datetime | None]


class Loop:
    """Cycles of one source, at its interval, counted from the end of one to the start of the next."""

    def __init__(self, charge: Charge, turn: Turn, around: Surroundings) -> None:
        self._charge = charge
        self._turn = turn
        self._around = around
        self._name = charge.settings.name
        self._failures = 0

    async def run(self) -> None:
        """Go on until there are no more turns. What goes wrong in a cycle is noted and tried again later."""
        wait_s = first_pause_s(self._charge.settings.interval_s, self._around.clock.jitter())
        if (error := self._charge.circuit.error) is not None:
            # An earlier process found that: this one says it as well, and waits for the probe.
            self._around.health.note(self._name, error)
            wait_s = max(wait_s, self._charge.circuit.wait_s)
        while True:
            while not await self._rested(wait_s):
                wait_s = self._pause_s(None)
            done = await attempt(self._cycle(), source=self._name)
            if self._turn.is_ending:
                return
            errors = [done] if isinstance(done, FleetsyncError) else done.errors
            self._around.health.note(self._name, *errors)
            if isinstance(done, Done) and done.complete:
                self._around.listed(self._name)
            wait_s = self._pause_s(errors[0] if errors else None)

    async def _rested(self, wait_s: float) -> bool:
        """Wait until the next cycle is due; return whether it is: what happens meanwhile may change when."""
        around = self._around
        around.heartbeats.expect(self._name, wait_s)
        await attempt(self._note_times(wait_s), source=self._name)
        return await self._turn.rested(around.clock, wait_s)

    async def _note_times(self, wait_s: float) -> None:
        now = self._around.clock.now()
        await self._around.mirror.cycles.set_due(self._name, now + datetime.timedelta(seconds=wait_s))
        self._around.health.note_end(self._name, self._charge.expires_at(), now)

    async def _cycle(self) -> Done:
        around, turn = self._around, self._turn
        # A paused source is silent for as long as a person likes.
        around.heartbeats.release(self._name)
        await turn.while_paused(lambda: around.mirror.cycles.is_paused(self._name))
        around.heartbeats.expect(self._name, SILENCE_S)
        async with turn.taken():
            job = self._charge.make_job(turn.watched(silent))
            return await Cycle(job, write=job.settings.mode is Mode.ENFORCE).run()

    def _pause_s(self, error: FleetsyncError | None) -> float:
        """Return the seconds until the next cycle, after one that ended with `error`.

        One source that does not answer is asked again when its circuit says so, by the first request of a cycle.
        """
        interval_s, chance = self._charge.settings.interval_s, self._around.clock.jitter()
        if probe_s := self._charge.circuit.wait_s:
            self._failures = 0
            return probe_s
        if error is None or isinstance(error, UnsafePlanError):
            # What a safety limit refused waits for a person: trying more often helps nobody.
            self._failures = 0
            return pause_s(interval_s, chance)
        self._failures += 1
        wait_s = retry_pause_s(interval_s, self._failures, chance)
        asked_s = error.retry_after_s if isinstance(error, TransientError) else None
        return wait_s if asked_s is None else max(wait_s, asked_s + first_pause_s(interval_s, chance))
