"""Applying a plan: every change guarded, its intent stored before the request leaves, its outcome after."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import timedelta
from itertools import groupby
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from fleetsync.clock import Clock
from fleetsync.core.declaration import agree
from fleetsync.core.model import CycleId, Detail, Part, Resource, ResourceKey, ResourceType
from fleetsync.core.operation import LASTS_S, Operation
from fleetsync.core.plan import Change, GuardKind, Leaf, Outcome, Result, actual_at, dropped
from fleetsync.errors import (
    AuthError,
    CircuitOpenError,
    ConflictError,
    DeviceFaultError,
    FleetsyncError,
    InvalidResponseError,
    MirrorError,
    NotFoundError,
    ResourceError,
    SourceError,
    ThrottledError,
    TransientError,
)
from fleetsync.mirror.journal import Attempt, OpenWrite
from fleetsync.mirror.mirror import Mirror
from fleetsync.providers.base import Target, Written
from fleetsync.reconcile.current import Current, current_of, read_part
from fleetsync.reconcile.settlement import Settlement, not_taken_over
from fleetsync.reconcile.together import MOST_TROUBLES, Crew, Hands
from fleetsync.tasks import together

T = TypeVar("T")

MOST_ATTEMPTS = 3
_FORBIDDEN = 403
MOST_UNDERWAY = 256
"""So many operations are waited for at once, each of which asks the service now and then."""


class _Unsent(Struct, frozen=True, kw_only=True):
    """Why a change needs no request any more, or may not have one."""

    result: Result
    error: str | None = None


def _nothing() -> None:
    pass


class _Going(Struct, frozen=True, kw_only=True):
    """A plan that is being applied: who is told what became of each write, and that we wait, and how many waits."""

    group: asyncio.TaskGroup
    report: Callable[[Outcome], None]
    step: Callable[[], None]
    underway: asyncio.Semaphore


class Apply:
    """Applies the changes of one plan to one target.

    `reviewed` names a plan that a person reviewed: then a declared leaf that moved since is left alone.
    """

    def __init__(
        self, target: Target, mirror: Mirror, cycle: CycleId, clock: Clock, *, reviewed: str | None = None
    ) -> None:
        self._target = target
        self._mirror = mirror
        self._cycle = cycle
        self._clock = clock
        self._reviewed = reviewed
        self._settlement = Settlement(target, mirror, cycle, clock)
        self._stopped: FleetsyncError | None = None
        self._refusals: Counter[tuple[ResourceType, Part]] = Counter()
        self._nonsense = 0
        self.forbidden: dict[tuple[ResourceType, Part], AuthError] = {}
        """The parts that the identity may not write, or not read, and the words of the first refusal."""

    async def run(
        self,
        changes: Iterable[Change],
        report: Callable[[Outcome], None],
        hands: Hands,
        step: Callable[[], None] = _nothing,
    ) -> None:
        """Send every change, several at once, and report what became of each; those of one resource come together.

        Also sees the operations through that an earlier process left behind. A resource with a write whose outcome is
        not known yet is left out: it has to be read first. `step` is called now and then while the service is at work;
        it and `report` may raise CancelledError to end the work where it stands.

        What the identity may not do, part by part, is in `forbidden` then; it stops no other part.

        Raises:
            SourceError: the service as a whole does not go on; what was not sent is still to be done.
            MirrorError: nothing more can be recorded, so nothing more is sent.
        """
        left = await self._mirror.journal.left_open(self._target.name)
        unsettled = {write.key for write in left}
        by_key = groupby((change for change in changes if change.key not in unsettled), key=lambda change: change.key)
        waiting = (tuple(parts) for _, parts in by_key)
        async with together() as group:
            going = _Going(group=group, report=report, step=step, underway=asyncio.Semaphore(MOST_UNDERWAY))
            group.create_task(self._resume([write for write in left if write.operation is not None], going))
            Crew(group, self._until_stopped(waiting), lambda parts: self._write_in_turn(parts, going), hands)
        if self._stopped is not None:
            raise self._stopped
        if next(waiting, None) is not None:
            # Every worker was told to end where it stands: this is no plan that was carried out.
            raise asyncio.CancelledError

    def _until_stopped(self, waiting: Iterator[T]) -> Iterator[T]:
        while self._stopped is None and (following := next(waiting, None)) is not None:
            yield following

    async def _resume(self, left: Iterable[OpenWrite], going: _Going) -> None:
        for write in left:
            await self._hand_over(write, (), going)

    async def _write_in_turn(self, parts: tuple[Change, ...], going: _Going) -> None:
        """Write the parts of one resource, each after the outcome of the one before is on record."""
        for number, change in enumerate(parts):
            if self._is_forbidden(change):
                continue
            ended = await self._recorded(change.key, change.part, self._write(change), going)
            if isinstance(ended, OpenWrite):
                await self._hand_over(ended, parts[number + 1 :], going)
                return
            if ended is None or ended.result is Result.OPEN:
                return

    async def _hand_over(self, write: OpenWrite, rest: tuple[Change, ...], going: _Going) -> None:
        """Let a task of its own wait for the end of an operation, so that whoever sent the write can send others."""
        await going.underway.acquire()
        going.group.create_task(self._see_through(write, rest, going))

    async def _see_through(self, write: OpenWrite, rest: tuple[Change, ...], going: _Going) -> None:
        try:
            ended = await self._recorded(write.key, write.part, self._settlement.wait(write, going.step), going)
        finally:
            going.underway.release()
        if ended is not None and self._stopped is None:
            await self._write_in_turn(rest, going)

    async def _recorded(self, key: ResourceKey, part: Part, work: Awaitable[T], going: _Going) -> T | Outcome | None:
        """Report the outcome of some work on one write; None when it failed and the next part has to wait."""
        try:
            ended = await work
        except (ResourceError, TransientError) as error:
            # Its write, if there was one, stays open; the next cycle reads before anything else.
            going.report(_failed(key, part, Result.FAILED, error))
            if isinstance(error, ThrottledError | CircuitOpenError):
                self._stopped = error
            return None
        except InvalidResponseError as error:
            # Likewise; so many in a row are not about single resources any more.
            going.report(_failed(key, part, Result.FAILED, error))
            self._nonsense += 1
            if self._nonsense >= MOST_TROUBLES:
                self._stopped = error
            return None
        except (SourceError, MirrorError) as error:
            if isinstance(error, AuthError) and error.status == _FORBIDDEN:
                return self._forbid(key, part, error, going)
            self._stopped = error
            return None
        if isinstance(ended, Outcome):
            going.report(ended)
            del self._refusals[key.type, part]
            self._nonsense = 0
        return ended

    def _forbid(self, key: ResourceKey, part: Part, error: AuthError, going: _Going) -> Outcome:
        """Take note that the identity may not write this part, here at least."""
        outcome = _failed(key, part, Result.REJECTED, error)
        going.report(outcome)
        self._refusals[key.type, part] += 1
        self.forbidden.setdefault((key.type, part), error)
        return outcome

    def _is_forbidden(self, change: Change) -> bool:
        """Say whether a part was refused so often in a row that nobody asks for it again in this cycle."""
        return self._refusals[change.key.type, change.part] >= MOST_TROUBLES

    async def _write(self, change: Change) -> Outcome | OpenWrite:
        """Make one change so: 412 means read again and decide again, a bounded number of times.

        What comes back may be a write that goes on after its answer.
        """
        needs_reading = change.guard.needs_reread
        read: tuple[Resource | Detail, ...] = ()
        number = 0
        while True:
            number += 1
            attempt = Attempt(cycle=self._cycle, number=number, plan=self._reviewed)
            if needs_reading:
                current = await self._read(change)
                decided = self._decide_again(change, current)
                if isinstance(decided, _Unsent):
                    return await self._unsent(change, attempt, decided, current)
                change, read = decided, (current.shown,)
            outcome = await self._send(change, attempt, *read)
            if isinstance(outcome, OpenWrite) or outcome.result is not Result.CONFLICT or number == MOST_ATTEMPTS:
                return outcome
            needs_reading = True

    async def _read(self, change: Change) -> Current:
        return await read_part(self._target, change.key, change.part, [leaf.path for leaf in change.leaves])

    def _decide_again(self, change: Change, current: Current) -> Change | _Unsent:
        """Return what is left to do now that the resource was read again, or what became of the change without."""
        unmet: list[Leaf] = []
        for leaf in change.leaves:
            fresh = replace(leaf, actual=actual_at(current.document, leaf.path))
            if fresh.is_met:
                continue
            if self._reviewed is not None and not agree(fresh.actual, leaf.actual, folds=leaf.folds):
                return _Unsent(result=Result.CONFLICT, error="a declared value moved since the plan was reviewed")
            unmet.append(fresh)
        if not unmet:
            return _Unsent(result=Result.ALREADY)
        guard = current.guard or change.guard
        if guard.kind is GuardKind.REREAD and change.guard.kind is not GuardKind.REREAD:
            return _Unsent(result=Result.CONFLICT, error="the service shows no ETag for it any more")
        decided = replace(change, leaves=tuple(unmet), guard=guard)
        objections = self._target.objections(decided, current.shown) if isinstance(current.shown, Resource) else ()
        refused = {one.path for one in objections}
        leaves = tuple(leaf for leaf in unmet if leaf.path not in refused)
        return replace(decided, leaves=leaves) if leaves else _Unsent(result=Result.CONFLICT, error=objections[0].by)

    async def _unsent(self, change: Change, attempt: Attempt, why: _Unsent, current: Current) -> Outcome:
        """Record a change that was not sent."""
        outcome = Outcome(key=change.key, part=change.part, result=why.result, error=why.error)
        id = await self._mirror.journal.intend(change, attempt)
        await self._conclude(id, outcome, current.shown)
        return outcome

    async def _send(self, change: Change, attempt: Attempt, *read: Resource | Detail) -> Outcome | OpenWrite:
        """Send one request and record what became of it. An error that says nothing of that leaves the write open.

        What was `read` for it is recorded where the write was not carried out.
        """
        id = await self._mirror.journal.intend(change, attempt)
        try:
            written = await self._target.patch(change)
        except (ConflictError, NotFoundError) as error:
            return await self._conclude(id, _failed(change.key, change.part, Result.CONFLICT, error))
        except (TransientError, DeviceFaultError, InvalidResponseError) as error:
            if not error.sent:
                await self._conclude(id, _failed(change.key, change.part, Result.FAILED, error), *read)
                raise
            return await self._settlement.look(self._open(id, change, error), str(error))
        except (ResourceError, AuthError) as error:
            outcome = await self._conclude(id, _failed(change.key, change.part, Result.REJECTED, error), *read)
            if isinstance(error, AuthError):
                raise
            return outcome
        if written.operation is not None:
            return await self._accepted(self._open(id, change, written), written.operation)
        return await self._after_answer(id, change, written)

    def _open(self, id: int, change: Change, answer: Written | SourceError) -> OpenWrite:
        return OpenWrite(
            id=id,
            key=change.key,
            part=change.part,
            patch=change.patch,
            etag=change.guard.etag,
            started_at=self._clock.now(),
            status=answer.status,
            request_id=answer.request_id,
        )

    async def _accepted(self, write: OpenWrite, operation: Operation) -> OpenWrite:
        """Put an operation on record before anybody asks for its end: then no crash loses it."""
        lasts_s = self._target.kind.specs[write.key.type].operations.get(write.part, LASTS_S)
        deadline_at = write.started_at + timedelta(seconds=lasts_s)
        accepted = replace(write, operation=operation, deadline_at=deadline_at)
        await self._mirror.journal.accept(accepted)
        return accepted

    async def _after_answer(self, id: int, change: Change, written: Written) -> Outcome:
        """Compare what the resource is now with what was asked: a dropped member is an outcome."""
        if written.shown is None or change.guard.needs_reread:
            current = await self._read(change)
        else:
            current = current_of(self._target, change.key, change.part, written.shown)
        missing = dropped(change, current.document)
        outcome = Outcome(
            key=change.key,
            part=change.part,
            result=Result.IGNORED if missing else Result.APPLIED,
            status=written.status,
            request_id=written.request_id,
            error=not_taken_over(missing) if missing else None,
        )
        return await self._conclude(id, outcome, current.shown, *written.also)

    async def _conclude(self, id: int, outcome: Outcome, *shown: Resource | Detail) -> Outcome:
        spec = self._target.kind.specs[outcome.key.type]
        await self._mirror.journal.conclude(id, outcome, cycle=self._cycle, spec=spec, shown=shown)
        return outcome


def _failed(key: ResourceKey, part: Part, result: Result, error: SourceError) -> Outcome:
    return Outcome(
        key=key, part=part, result=result, status=error.status, request_id=error.request_id, error=str(error)
    )
