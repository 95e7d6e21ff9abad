"""Rows of resources: finding them, and writing what a delta says."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import bindparam, case, func, insert, null, select, update

from fleetsync.core.delta import Delta, Event, Stored, Update
from fleetsync.core.merge_patch import Json
from fleetsync.core.model import CycleId, Resource, ResourceType
from fleetsync.mirror.engine import Prepared, Transaction
from fleetsync.mirror.tables import event, resource, text_of

_DESCRIPTION = (
    "digest",
    "etag",
    "size_bytes",
    "display_name",
    "enabled",
    "provisioned",
    "simulated",
    "template",
    "group_id",
    "status",
    "connection_state",
    "last_activity_at",
    "version",
    "document",
)
_PLACE = ("no", "source", "type", "id")
_ADDED = ("first_seen_at", "changed_at", "seen_at", "seen_by")
_EVENT = ("source", "type", "resource_id", "at", "cycle", "event", "patch", "reason")

_FIND = select(
    resource.c.id,
    resource.c.no,
    resource.c.digest,
    resource.c.gone_at.is_not(None),
    resource.c.missed_since.is_not(None),
).where(
    resource.c.source == bindparam("source"),
    resource.c.type == bindparam("type"),
    resource.c.id.in_(bindparam("ids", expanding=True)),
)
_DOCUMENTS = select(resource.c.no, resource.c.document).where(resource.c.no.in_(bindparam("numbers", expanding=True)))
_NEXT_NO = select(func.coalesce(func.max(resource.c.no), 0) + 1)

_ADD = Prepared(insert(resource), (*_PLACE, *_DESCRIPTION, *_ADDED))
_NOTE = Prepared(insert(event), _EVENT)
_REWRITE = Prepared(
    update(resource)
    .where(resource.c.no == bindparam("b_no"))
    .values(
        **{name: bindparam(f"b_{name}") for name in _DESCRIPTION},
        changed_at=func.coalesce(bindparam("b_changed_at"), resource.c.changed_at),
        seen_at=bindparam("b_seen_at"),
        seen_by=bindparam("b_seen_by"),
        # What was read of a resource that had this id before says nothing about this one.
        **{
            name: case((bindparam("b_may_be_another"), null()), else_=resource.c[name])
            for name in ("details", "desired", "reported")
        },
        missed_since=null(),
        gone_at=null(),
        gone_reason=null(),
    ),
    tuple(f"b_{name}" for name in (*_DESCRIPTION, "changed_at", "seen_at", "seen_by", "may_be_another", "no")),
)
_SIGHT = Prepared(
    update(resource)
    .where(resource.c.no == bindparam("b_no"))
    .values(seen_at=bindparam("b_seen_at"), seen_by=bindparam("b_seen_by"), missed_since=null()),
    ("b_seen_at", "b_seen_by", "b_no"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which rows are meant, and by which cycle and when they are looked at."""

    source: str
    type: ResourceType
    cycle: CycleId
    at: datetime.datetime


async def find(transaction: Transaction, scope: Scope, digests: Mapping[str, bytes]) -> dict[str, Stored]:
    """Return what is stored under the ids of `digests`, with the document where the digest differs."""
    rows = await transaction.rows(_FIND, {"source": scope.source, "type": scope.type, "ids": list(digests)})
    differing = [no for id, no, digest, _, _ in rows if digest != digests[id]]
    documents = dict(await transaction.rows(_DOCUMENTS, {"numbers": differing})) if differing else {}
    return {
        id: Stored(no=no, digest=digest, gone=gone, missed=missed, document=_bytes(documents.get(no)))
        for id, no, digest, gone, missed in rows
    }


def _bytes(document: str | None) -> bytes | None:
    return None if document is None else document.encode()


async def write(transaction: Transaction, scope: Scope, delta: Delta) -> list[int]:
    """Write what a delta says, with its events; return the numbers of all rows that it showed to be there."""
    added = await _add(transaction, scope, delta.added)
    at = text_of(scope.at)
    await transaction.run_many(_REWRITE, [_rewritten(one, at, scope.cycle) for one in delta.updates])
    await transaction.run_many(_SIGHT, [(at, scope.cycle, no) for no in delta.found])
    events: list[tuple[str, Event, Json]] = [(new.id, Event.ADDED, None) for new, _ in delta.added]
    events += [(one.resource.id, one.event, one.patch) for one in delta.updates if one.event is not None]
    await note(transaction, scope, events)
    return delta.seen + added


async def sight(transaction: Transaction, scope: Scope, numbers: Sequence[int]) -> None:
    """Take note that these rows were looked at alone, and are there."""
    await transaction.run_many(_SIGHT, [(text_of(scope.at), scope.cycle, no) for no in numbers])


async def note(
    transaction: Transaction,
    scope: Scope,
    events: Iterable[tuple[str, Event, Json]],
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write events into the history: id, what happened, and the merge patch of it; `reasons` has what says so by id."""
    at = text_of(scope.at)
    rows = [
        (scope.source, scope.type, id, at, scope.cycle, happened.value, json_text(patch), reasons.get(id))
        for id, happened, patch in events
    ]
    await transaction.run_many(_NOTE, rows)


def json_text(value: Json) -> str | None:
    """Return a value as the database keeps it; None where there is none."""
    return None if value is None else msgspec.json.encode(value).decode()


async def _add(transaction: Transaction, scope: Scope, added: list[tuple[Resource, bytes]]) -> list[int]:
    if not added:
        return []
    first = int((await transaction.rows(_NEXT_NO))[0][0])
    numbers = list(range(first, first + len(added)))
    at = text_of(scope.at)
    rows = [
        (no, scope.source, scope.type, new.id, *_described(new, digest), at, at, at, scope.cycle)
        for no, (new, digest) in zip(numbers, added, strict=True)
    ]
    await transaction.run_many(_ADD, rows)
    return numbers


def _rewritten(one: Update, at: str, cycle: CycleId) -> tuple[Any, ...]:
    changed_at = None if one.event is None else at
    may_be_another = one.event in (Event.REPLACED, Event.RETURNED)
    return (*_described(one.resource, one.digest), changed_at, at, cycle, may_be_another, one.no)


def _described(new: Resource, digest: bytes) -> tuple[Any, ...]:
    facts = new.facts
    return (
        digest,
        new.etag,
        len(new.document),
        facts.display_name,
        facts.enabled,
        facts.provisioned,
        facts.simulated,
        facts.template,
        facts.group_id,
        facts.status,
        facts.connection_state,
        None if facts.last_activity_at is None else text_of(facts.last_activity_at),
        facts.version,
        new.document.decode(),
    )
