"""Applying a plan: every change guarded, its intent stored before the request leaves, its outcome after."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import msgspec

from fleetsync.core.declaration import ABSENT
from fleetsync.core.merge_patch import Json
from fleetsync.core.model import CycleId, Detail, ETag, Part, Resource, ResourceKey
from fleetsync.core.path import leaves, render
from fleetsync.core.plan import Change, Guard, GuardKind, Leaf, Outcome, Result, actual_at, dropped
from fleetsync.errors import (
    AuthError,
    ConflictError,
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
from fleetsync.reconcile.together import AT_ONCE, MOST_TROUBLES, together

MOST_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """A part of a resource as it is now: what declarations are compared with, its guard, and what was read for it."""

    document: Mapping[str, object]
    guard: Guard | None
    shown: Resource | Detail


async def read_part(target: Target, key: ResourceKey, part: Part) -> Current:
    """Read a part of a resource from the service."""
    if part in target.kind.specs[key.type].details:
        return current_of(target, key, part, await target.detail(key, part))
    return current_of(target, key, part, await target.read(key))


def current_of(target: Target, key: ResourceKey, part: Part, shown: Resource | Detail) -> Current:
    """Return what an answer of the service says of a part."""
    decoded = msgspec.json.decode(shown.document)
    match shown:
        case Resource():
            document = target.declarable(key.type, decoded, {})
            return Current(document=document, guard=target.guard(part, shown), shown=shown)
        case Detail():
            document = target.declarable(key.type, {}, {part: decoded})
            return Current(document=document, guard=None, shown=shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unsent:
    """Why a change needs no request any more, or may not have one."""

    result: Result
    error: str | None = None


class Apply:
    """Applies the changes of one plan to one target.

    `reviewed` names a plan that a person reviewed: then a declared leaf that moved since is left alone.
    """

    def __init__(self, target: Target, mirror: Mirror, cycle: CycleId, *, reviewed: str | None = None) -> None:
        self._target = target
        self._mirror = mirror
        self._cycle = cycle
        self._reviewed = reviewed
        self._stopped: FleetsyncError | None = None
        self._troubles = 0

    async def run(self, changes: Sequence[Change], report: Callable[[Outcome], None]) -> None:
        """Send every change, several at once, and report what became of each.

        A resource with a write whose outcome is not known yet is left out: it has to be read first.

        Raises:
            SourceError: the service as a whole does not go on; what was not sent is still to be done.
            MirrorError: nothing more can be recorded, so nothing more is sent.
        """
        unsettled = {write.key for write in await self._mirror.journal.left_open(self._target.name)}
        by_key = groupby((change for change in changes if change.key not in unsettled), key=lambda change: change.key)
        waiting = iter([tuple(parts) for _, parts in by_key])
        async with together() as group:
            for _ in range(min(AT_ONCE, len(changes))):
                group.create_task(self._work(waiting, report))
        if self._stopped is not None:
            raise self._stopped
        if next(waiting, None) is not None:
            # Every worker was told to end where it stands: this is no plan that was carried out.
            raise asyncio.CancelledError

    async def _work(self, waiting: Iterator[tuple[Change, ...]], report: Callable[[Outcome], None]) -> None:
        for parts in waiting:
            await self._write_in_turn(parts, report)
            if self._stopped is not None:
                return

    async def _write_in_turn(self, parts: tuple[Change, ...], report: Callable[[Outcome], None]) -> None:
        """Write the parts of one resource, each after the outcome of the one before is on record."""
        for change in parts:
            try:
                report(await self._write(change))
                self._troubles = 0
            except (ResourceError, TransientError) as error:
                # Its write, if there was one, stays open; the next cycle reads before anything else.
                report(_failed(change, Result.FAILED, error))
                self._consider(error)
                return
            except (SourceError, MirrorError) as error:
                self._stopped = error
                return

    def _consider(self, error: ResourceError | TransientError) -> None:
        """Stop when what went wrong is no longer a matter of single resources."""
        if isinstance(error, TransientError):
            self._troubles += 1
            if self._troubles >= MOST_TROUBLES or isinstance(error, ThrottledError):
                self._stopped = error

    async def _write(self, change: Change) -> Outcome:
        """Make one change so: 412 means read again and decide again, a bounded number of times."""
        needs_reading = change.guard.needs_reread
        number = 0
        while True:
            number += 1
            attempt = Attempt(cycle=self._cycle, number=number, plan=self._reviewed)
            if needs_reading:
                current = await read_part(self._target, change.key, change.part)
                decided = self._decide_again(change, current)
                if isinstance(decided, _Unsent):
                    return await self._unsent(change, attempt, decided, current)
                change = decided
            outcome = await self._send(change, attempt)
            if outcome.result is not Result.CONFLICT or number == MOST_ATTEMPTS:
                return outcome
            needs_reading = True

    def _decide_again(self, change: Change, current: Current) -> Change | _Unsent:
        """Return what is left to do now that the resource was read again, or what became of the change without."""
        unmet: list[Leaf] = []
        for leaf in change.leaves:
            fresh = replace(leaf, actual=actual_at(current.document, leaf.path))
            if fresh.is_met:
                continue
            if self._reviewed is not None and not replace(fresh, declared=leaf.actual).is_met:
                return _Unsent(result=Result.CONFLICT, error="a declared value moved since the plan was reviewed")
            unmet.append(fresh)
        if not unmet:
            return _Unsent(result=Result.ALREADY)
        guard = current.guard or change.guard
        if guard.kind is GuardKind.REREAD and change.guard.kind is not GuardKind.REREAD:
            return _Unsent(result=Result.CONFLICT, error="the service shows no ETag for it any more")
        return replace(change, leaves=tuple(unmet), guard=guard)

    async def _unsent(self, change: Change, attempt: Attempt, why: _Unsent, current: Current) -> Outcome:
        """Record a change that was not sent."""
        outcome = Outcome(key=change.key, part=change.part, result=why.result, error=why.error)
        id = await self._mirror.journal.intend(change, attempt)
        await self._conclude(id, outcome, current.shown)
        return outcome

    async def _send(self, change: Change, attempt: Attempt) -> Outcome:
        """Send one request and record what became of it. An error that says nothing of that leaves the write open."""
        id = await self._mirror.journal.intend(change, attempt)
        try:
            written = await self._target.patch(change)
        except (ConflictError, NotFoundError) as error:
            return await self._conclude(id, _failed(change, Result.CONFLICT, error))
        except (ResourceError, AuthError) as error:
            outcome = await self._conclude(id, _failed(change, Result.REJECTED, error))
            if isinstance(error, AuthError):
                raise
            return outcome
        except TransientError as error:
            if not error.sent:
                await self._conclude(id, _failed(change, Result.FAILED, error))
                raise
            return await self._after_lost_answer(id, change, error)
        except InvalidResponseError as error:
            return await self._after_lost_answer(id, change, error)
        return await self._after_answer(id, change, written)

    async def _after_answer(self, id: int, change: Change, written: Written) -> Outcome:
        """Compare what the resource is now with what was asked: a dropped member is an outcome."""
        if written.shown is None or change.guard.needs_reread:
            current = await read_part(self._target, change.key, change.part)
        else:
            current = current_of(self._target, change.key, change.part, written.shown)
        ignored = ", ".join(render(path) for path in dropped(change, current.document))
        outcome = Outcome(
            key=change.key,
            part=change.part,
            result=Result.IGNORED if ignored else Result.APPLIED,
            status=written.status,
            request_id=written.request_id,
            error=f"accepted, but not taken over: {ignored}" if ignored else None,
        )
        return await self._conclude(id, outcome, current.shown)

    async def _after_lost_answer(self, id: int, change: Change, error: SourceError) -> Outcome:
        """Read what became of a request that may have been carried out."""
        current = await read_part(self._target, change.key, change.part)
        missing = dropped(change, current.document)
        result = verdict(not missing, etag=change.guard.etag, current=current)
        outcome = _failed(change, result, error) if missing else replace(_failed(change, result, error), error=None)
        return await self._conclude(id, outcome, current.shown)

    async def _conclude(self, id: int, outcome: Outcome, shown: Resource | Detail | None = None) -> Outcome:
        spec = self._target.kind.specs[outcome.key.type]
        shown_all = () if shown is None else (shown,)
        await self._mirror.journal.conclude(id, outcome, cycle=self._cycle, spec=spec, shown=shown_all)
        return outcome


def verdict(is_as_written: bool, *, etag: ETag | None, current: Current) -> Result:  # noqa: FBT001 - a predicate's value
    """Return what became of a write whose answer was lost, from what a read shows now.

    The same ETag as before it says that it was never carried out; another one, and other values, say nothing.
    """
    if is_as_written:
        return Result.APPLIED
    now = current.guard.etag if current.guard else None
    return Result.FAILED if etag is not None and etag == now else Result.UNKNOWN


async def settle(target: Target, mirror: Mirror, write: OpenWrite, cycle: CycleId) -> Outcome:
    """Find out by reading what became of a write that was left open, and record it.

    Raises:
        TransientError: it cannot be read now; the write stays open and its resource is not written to.
    """
    spec = target.kind.specs[write.key.type]
    shown: tuple[Resource | Detail, ...] = ()
    try:
        current = await read_part(target, write.key, write.part)
    except ResourceError as error:
        outcome = Outcome(key=write.key, part=write.part, result=Result.UNKNOWN, error=str(error), status=error.status)
    else:
        shown = (current.shown,)
        result = verdict(_shows(current.document, write.patch), etag=write.etag, current=current)
        error_text = None if result is Result.APPLIED else "the answer was lost; a read shows other values"
        outcome = Outcome(key=write.key, part=write.part, result=result, error=error_text)
    await mirror.journal.conclude(write.id, outcome, cycle=cycle, spec=spec, shown=shown)
    return outcome


def _shows(document: Mapping[str, object], patch: Mapping[str, Json]) -> bool:
    """Say whether a document has every value of a patch; null in a patch means that the member is not there."""
    for path, value in leaves(patch):
        declared = ABSENT if value is None else value
        if not Leaf(path=path, actual=actual_at(document, path), declared=declared, declarations=()).is_met:
            return False
    return True


def _failed(change: Change, result: Result, error: SourceError) -> Outcome:
    return Outcome(
        key=change.key,
        part=change.part,
        result=result,
        status=error.status,
        request_id=error.request_id,
        error=str(error),
    )
