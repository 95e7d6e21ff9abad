"""Writes: the intent before the request leaves, the outcome before the next one for that resource."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import insert, select, update

from fleetsync.clock import Clock
from fleetsync.core.kind import TypeSpec
from fleetsync.core.model import CycleId, Detail, ETag, Part, Resource, ResourceKey, ResourceType
from fleetsync.core.plan import Change, Outcome, Result
from fleetsync.mirror import sightings
from fleetsync.mirror.engine import Writer
from fleetsync.mirror.resources import Scope, json_text
from fleetsync.mirror.tables import write


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Which try of which cycle a write is; `plan` names the reviewed plan that asked for it."""

    cycle: CycleId
    number: int = 1
    plan: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWrite:
    """A write whose outcome nobody knows: the process died, or its answer was lost."""

    id: int
    key: ResourceKey
    part: Part
    patch: Mapping[str, object]
    etag: ETag | None


class Journal:
    """The part of the mirror that writes go through."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

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
            "started_at": self._clock.now(),
        }
        async with self._writer.transaction() as transaction:
            return await transaction.insert(insert(write), row)

    async def conclude(
        self, id: int, outcome: Outcome, *, cycle: CycleId, spec: TypeSpec, shown: Sequence[Resource | Detail] = ()
    ) -> None:
        """Store what became of a write and what the service shows of the resource since, in one transaction."""
        at = self._clock.now()
        scope = Scope(source=outcome.key.source, type=outcome.key.type, cycle=cycle, at=at)
        values = {
            "outcome": outcome.result.value,
            "status": outcome.status,
            "request_id": outcome.request_id,
            "error": outcome.error,
            "finished_at": at,
        }
        async with self._writer.transaction() as transaction:
            for one in shown:
                await sightings.record(transaction, scope, spec, one)
            await transaction.run(update(write).where(write.c.id == id).values(values))

    async def left_open(self, source: str) -> list[OpenWrite]:
        """Return the writes of earlier processes whose outcome is not known, oldest first."""
        columns = (write.c.id, write.c.type, write.c.resource_id, write.c.part, write.c.patch, write.c.etag)
        statement = select(*columns).where(write.c.source == source, write.c.outcome == "open").order_by(write.c.id)
        async with self._writer.transaction() as transaction:
            rows = await transaction.rows(statement)
        return [
            OpenWrite(
                id=id,
                key=ResourceKey(source, ResourceType(type), resource_id),
                part=Part(part),
                patch=msgspec.json.decode(patch),
                etag=etag,
            )
            for id, type, resource_id, part, patch, etag in rows
        ]
