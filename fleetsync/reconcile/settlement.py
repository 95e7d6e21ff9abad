"""What became of writes that are not on record as ended: their answer was lost, or they go on after it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from fleetsync.clock import Clock
from fleetsync.core.declaration import ABSENT, agree
from fleetsync.core.kind import Succession, TypeSpec
from fleetsync.core.merge_patch import Json
from fleetsync.core.model import CycleId, Detail, Resource
from fleetsync.core.operation import Followed, Standing, pause_s
from fleetsync.core.path import Path, leaves, render
from fleetsync.core.plan import Outcome, Result, actual_at
from fleetsync.errors import DeviceFaultError, InvalidResponseError, ResourceError, TransientError
from fleetsync.mirror.journal import OpenWrite
from fleetsync.mirror.mirror import Mirror
from fleetsync.providers.base import Target
from fleetsync.reconcile.current import Current, read_part

_FAILED = "the service says that it failed, and not why"


class Settlement:
    """Finds out what became of writes, and records it. No write is ever sent from here.

    What the resource shows decides. A write that may still be carried out, because the service takes its time with
    such writes, stays open until that time is over: else it would be planned, and sent, again.
    """

    def __init__(self, target: Target, mirror: Mirror, cycle: CycleId, clock: Clock) -> None:
        self._target = target
        self._mirror = mirror
        self._cycle = cycle
        self._clock = clock

    async def look(self, write: OpenWrite, why: str = "the answer was lost") -> Outcome:
        """Ask once how a write stands; record it when it has ended. `why` says for whoever reads it why we ask.

        Raises:
            TransientError: nobody can tell now; the write stays open and its resource is not written to.
        """
        write = await self._begun_by_now(write)
        said = await self._ask(write)
        return await self._settle(write, said, why, is_late=self._clock.now() >= self._given_up_at(write))

    async def wait(self, write: OpenWrite, watch: Callable[[], None]) -> Outcome:
        """Ask until the operation of a write has ended, or its time is over; call `watch` after each question.

        Raises:
            TransientError: nobody can tell now; the write stays open and its resource is not written to.
        """
        # On the clock that does not step; between processes there is only the other one.
        until_s = self._clock.monotonic_s() + self._left_s(write)
        wait_s = pause_s(None if write.operation is None else write.operation.wait_s, None)
        while True:
            await self._clock.sleep(min(wait_s, until_s - self._clock.monotonic_s()))
            said = await self._ask(write)
            is_late = self._clock.monotonic_s() >= until_s
            if is_late or said is None or said.standing is not Standing.RUNNING:
                return await self._settle(write, said, "the answer was lost", is_late=is_late)
            watch()
            wait_s = pause_s(said.wait_s, wait_s)

    async def _ask(self, write: OpenWrite) -> Followed | None:
        if write.operation is None:
            return None
        try:
            return await self._target.follow(write.key, write.part, write.operation)
        except ResourceError as error:
            return Followed(standing=Standing.LOST, error=str(error))
        except InvalidResponseError as error:
            # Nothing was said; the next answer may be one.
            return Followed(standing=Standing.RUNNING, error=str(error))

    async def _settle(self, write: OpenWrite, said: Followed | None, why: str, *, is_late: bool) -> Outcome:
        if said is not None and said.standing is Standing.RUNNING and not is_late:
            return _outcome(write, Result.OPEN, said.error)
        try:
            paths = [path for path, _ in leaves(write.patch)]
            current = await read_part(self._target, write.key, write.part, paths)
        except (ResourceError, TransientError) as error:
            return await self._conclude(write, _unreadable(write, said, error))
        missing = not_shown(write.patch, current, self._target.kind.specs[write.key.type])
        is_as_before = bool(missing) and await self._is_as_before(write, current)
        outcome = _judged(write, said, why, missing, is_as_before=is_as_before)
        if not is_late and (outcome.result is Result.UNKNOWN or (said is None and missing)):
            # Nobody said how it ended, and as long as it may go on, that nothing changed yet says nothing.
            outcome = replace(outcome, result=Result.OPEN)
        return await self._conclude(write, outcome, current.shown)

    async def _is_as_before(self, write: OpenWrite, current: Current) -> bool:
        """Say whether the ETag shows that a write was never carried out. One made anew with that id may have it too."""
        if write.etag is None or current.guard is None or write.etag != current.guard.etag:
            return False
        if not isinstance(current.shown, Resource):
            return True
        spec = self._target.kind.specs[write.key.type]
        return await self._mirror.succession(write.key.source, spec, current.shown, self._cycle) is (Succession.FOLLOWS)

    async def _conclude(self, write: OpenWrite, outcome: Outcome, *shown: Resource | Detail) -> Outcome:
        spec = self._target.kind.specs[write.key.type]
        if outcome.result is Result.OPEN:
            await self._mirror.record(write.key.source, spec, shown, self._cycle)
        else:
            await self._mirror.journal.conclude(write.id, outcome, cycle=self._cycle, spec=spec, shown=shown)
        return outcome

    async def _begun_by_now(self, write: OpenWrite) -> OpenWrite:
        """Return a write that began in the future as begun now: a wall clock that stepped back makes nothing longer."""
        now = self._clock.now()
        if write.started_at <= now:
            return write
        ago = now - write.started_at
        deadline_at = None if write.deadline_at is None else write.deadline_at + ago
        return await self._mirror.journal.move(replace(write, started_at=now, deadline_at=deadline_at))

    def _given_up_at(self, write: OpenWrite) -> datetime:
        if write.deadline_at is not None:
            return write.deadline_at
        return write.started_at + timedelta(seconds=self._target.kind.specs[write.key.type].lasts_s(write.part))

    def _left_s(self, write: OpenWrite) -> float:
        """Return how long to go on asking; a wall clock that stepped back makes it no longer than it ever was."""
        given_up_at = self._given_up_at(write)
        return max(0.0, (given_up_at - max(self._clock.now(), write.started_at)).total_seconds())


def _judged(
    write: OpenWrite, said: Followed | None, why: str, missing: Sequence[Path], *, is_as_before: bool
) -> Outcome:
    """Return what became of a write, from what the service says of it and what it shows; `UNKNOWN` may change yet."""
    words = None if said is None else said.error
    if not missing:
        return _outcome(write, Result.APPLIED, words)
    match None if said is None else said.standing:
        case Standing.FAILED:
            return _outcome(write, Result.FAILED, words or _FAILED)
        case Standing.DONE:
            return _outcome(write, Result.IGNORED, not_taken_over(missing))
        case Standing.RUNNING:
            why = "the service did not finish it in time"
        case Standing.LOST:
            why = f"the service does not know its operation ({words})" if words else "its operation is lost"
        case None if is_as_before:
            # The same ETag as before says that it was never carried out; another one, and other values, say nothing.
            return _outcome(write, Result.FAILED, f"{why}; a read shows that it was not carried out")
        case _:
            pass
    return _outcome(write, Result.UNKNOWN, f"{why}; a read shows other values")


def _unreadable(write: OpenWrite, said: Followed | None, error: ResourceError | TransientError) -> Outcome:
    """Return what became of a write whose resource cannot be read.

    Raises:
        TransientError: a later read may tell.
        DeviceFaultError: likewise.
    """
    if said is not None and said.standing is Standing.FAILED:
        return _outcome(write, Result.FAILED, said.error or _FAILED)
    if isinstance(error, TransientError | DeviceFaultError):
        raise error
    return replace(_outcome(write, Result.UNKNOWN, str(error)), status=error.status)


def _outcome(write: OpenWrite, result: Result, error: str | None) -> Outcome:
    return Outcome(
        key=write.key,
        part=write.part,
        result=result,
        status=write.status,
        request_id=write.request_id,
        error=error,
    )


def not_shown(patch: Mapping[str, Json], current: Current, spec: TypeSpec) -> list[Path]:
    """Return the paths of a patch whose values a part does not show; null means that the member is not there."""
    missing = []
    for path, value in leaves(patch):
        writable = spec.writable_at(path)
        folds = writable is not None and writable.folds
        if not agree(actual_at(current.document, path), ABSENT if value is None else value, folds=folds):
            missing.append(path)
    return missing


def not_taken_over(missing: Iterable[Path]) -> str:
    """Say that a write was accepted and left members out: that is an outcome."""
    return f"accepted, but not taken over: {', '.join(map(render, missing))}"
