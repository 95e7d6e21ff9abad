"""Writes: the intent before the request leaves, the outcome before the next one for that resource."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from fleetsync.clock import Clock
from fleetsync.core.kind import TypeSpec
from fleetsync.core.model import CycleId, Detail, ETag, Part, Resource, ResourceKey, ResourceType
from fleetsync.core.operation import Operation
from fleetsync.core.plan import Change, Outcome, Result
from fleetsync.mirror import sightings
from fleetsync.mirror.compiled import Compiled
from fleetsync.mirror.engine import Prepared, Statements, Writer
from fleetsync.mirror.late import Late
from fleetsync.mirror.resources import Scope, json_text
from fleetsync.mirror.tables import operation, text_of, write

_INTENT = (
    *("source", "type", "resource_id", "part", "cycle", "plan", "declarations", "guard", "etag", "patch", "attempt"),
    *("outcome", "started_at"),
)
_INTEND = Prepared(insert(write).returning(write.c.id), _INTENT)
_BECAME = ("outcome", "status", "request_id", "error", "finished_at")
_CONCLUDE = Prepared(
    update(write).where(write.c.id == bindparam("b_id")).values({name: bindparam(f"b_{name}") for name in _BECAME}),
    (*(f"b_{name}" for name in _BECAME), "b_id"),
)
_END_OPERATION = Prepared(delete(operation).where(operation.c.write == bindparam("b_write")), ("b_write",))

_LEFT_OPEN = Compiled(
    select(
        *(write.c.id, write.c.type, write.c.resource_id, write.c.part, write.c.patch, write.c.etag),
        *(write.c.started_at, write.c.status, write.c.request_id, operation.c.handle, operation.c.deadline_at),
    )
    .select_from(write.outerjoin(operation))
    .where(write.c.source == bindparam("source"), write.c.outcome == "open")
    .order_by(write.c.id)
)


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """Which try of which cycle a write is; `plan` names the reviewed plan that asked for it."""

    cycle: CycleId
    number: int = 1
    plan: str | None = None


class OpenWrite(msgspec.Struct, frozen=True, kw_only=True):
    """A write whose outcome nobody knows: the process died, its answer was lost, or the service is still at work.

    With an `operation` the service was asked to do it until `deadline_at`; `status` and `request_id` are of its answer.
    """

    id: int
    key: ResourceKey
    part: Part
    patch: Mapping[str, object]
    etag: ETag | None
    started_at: datetime
    status: int | None = None
    request_id: str | None = None
    operation: Operation | None = None
    deadline_at: datetime | None = None


class Journal:
    """The part of the mirror that writes go through."""

    def __init__(self, writer: Writer, clock: Clock, late: Late) -> None:
        self._writer = writer
        self._clock = clock
        self._late = late

    async def intend(self, change: Change, attempt: Attempt) -> int:
        """Store that this request is about to be sent; return the number of the write."""
        row = {
            "source": change.key.source,
            "type": change.key.type,
            "resource_id": change.key.id,
            "part": change.part,
            "cycle": attempt.cycle,
            "plan": attempt.plan,
            "declarations": ", ".join(change.declarations),
            "guard": change.guard.kind.value,
            "etag": change.guard.etag,
            "patch": json_text(change.patch),
            "attempt": attempt.number,
            "outcome": Result.OPEN.value,
            "started_at": text_of(self._clock.now()),
        }
        intent = tuple(row[name] for name in _INTENT)
        return await self._writer.together(lambda on: int(on.fetch(_INTEND, intent)[0][0]))

    async def accept(self, accepted: OpenWrite) -> None:
        """Store the operation that a service answered with, and its answer, in one transaction."""
        if accepted.operation is None:
            raise TypeError("a write without an operation")
        row = {
            "write": accepted.id,
            "handle": accepted.operation.handle,
            "started_at": self._clock.now(),
            "deadline_at": accepted.deadline_at,
        }
        answer = {"status": accepted.status, "request_id": accepted.request_id}
        async with self._writer.transaction() as transaction:
            await transaction.run(insert(operation).values(row))
            await transaction.run(update(write).where(write.c.id == accepted.id).values(answer))

    async def move(self, moved: OpenWrite) -> OpenWrite:
        """Store when a write began and when it is given up, by a clock that is another one now; return the write."""
        began = update(write).where(write.c.id == moved.id).values({"started_at": moved.started_at})
        async with self._writer.transaction() as transaction:
            await transaction.run(began)
            if moved.deadline_at is not None:
                ends = {"started_at": moved.started_at, "deadline_at": moved.deadline_at}
                await transaction.run(update(operation).where(operation.c.write == moved.id).values(ends))
        return moved

    async def conclude(
        self, id: int, outcome: Outcome, *, cycle: CycleId, spec: TypeSpec, shown: Sequence[Resource | Detail] = ()
    ) -> None:
        """Store what became of a write and what the service shows of the resource since, in one transaction."""
        at = self._clock.now()
        scope = Scope(source=outcome.key.source, type=outcome.key.type, cycle=cycle, at=at)
        became = (outcome.result.value, outcome.status, outcome.request_id, outcome.error, text_of(at))

        def conclude(on: Statements) -> None:
            if shown:
                self._late.build_early(on)
            for one in shown:
                sightings.record(on, scope, spec, one)
            on.run_many(_END_OPERATION, [(id,)])
            on.run_many(_CONCLUDE, [(*became, id)])

        await self._writer.together(conclude)

    async def left_open(self, source: str) -> list[OpenWrite]:
        """Return the writes of earlier processes whose outcome is not known, oldest first."""
        async with self._writer.transaction() as transaction:
            rows = await transaction.rows(_LEFT_OPEN, {"source": source})
        return [
            OpenWrite(
                id=row.id,
                key=ResourceKey(source, ResourceType(row.type), row.resource_id),
                part=Part(row.part),
                patch=msgspec.json.decode(row.patch),
                etag=row.etag,
                started_at=row.started_at,
                status=row.status,
                request_id=row.request_id,
                operation=None if row.handle is None else Operation(handle=row.handle),
                deadline_at=row.deadline_at,
            )
            for row in rows
        ]
