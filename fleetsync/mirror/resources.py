"""Rows of resources: finding them, and writing what a delta says."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import count, islice, repeat
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import Boolean, ColumnElement, Integer, Text, bindparam, case, func, insert, null, select, update

from fleetsync.core.delta import Delta, Event, Stored, Update
from fleetsync.core.merge_patch import Json
from fleetsync.core.model import CycleId, Facts, Resource, ResourceType
from fleetsync.mirror import kept
from fleetsync.mirror.engine import Prepared, Statements, array_of, values_in
from fleetsync.mirror.tables import UtcDateTime, event, resource, text_of

_OWN = ("digest", "etag", "size_bytes")
_DESCRIPTION = (*_OWN, *Facts.__struct_fields__)
_PLACE = ("no", "source", "type", "id")
_FACTS = Facts.__struct_fields__
_ADDED = ("first_seen_at", "changed_at", "seen_at", "seen_by")
_REWRITTEN = ("document", "changed_at", "seen_at", "seen_by", "may_be_another", "no")
_EVENT = ("source", "type", "resource_id", "at", "cycle", "event", "patch", "reason")

_FIND = Prepared(
    select(
        resource.c.id,
        resource.c.no,
        resource.c.digest,
        resource.c.gone_at.is_not(None),
        resource.c.missed_since.is_not(None),
    ).where(
        resource.c.source == bindparam("source"),
        resource.c.type == bindparam("type"),
        resource.c.id.in_(values_in("ids")),
    ),
    ("source", "type", "ids"),
)
_DOCUMENTS = Prepared(
    select(resource.c.no, resource.c.document).where(resource.c.no.in_(values_in("numbers"))), ("numbers",)
)
_NEXT_NO = Prepared(select(func.coalesce(func.max(resource.c.no), 0) + 1), ())

_AT_ONCE = 500
"""So many are in hand while rows are added."""
_NUMBERS = {True: 1, False: 0, None: None}


def _noting(order: ColumnElement[Any]) -> Prepared:
    """Return what writes the events of the rows that were added last, which have the highest numbers."""
    added = (resource.c.source, resource.c.type, resource.c.id)
    noted = (bindparam("at", type_=Text), bindparam("cycle", type_=Integer), bindparam("event", type_=Text))
    rows = select(*added, *noted).where(resource.c.no >= bindparam("first")).order_by(order)
    return Prepared(insert(event).from_select(list(_EVENT[:6]), rows), ("at", "cycle", "event", "first"))


# By id is the order of the index that they go into, of which each page is then written once. While a first load does
# without that index there is nothing to put in order.
_NOTE_ADDED = _noting(resource.c.id)
_NOTE_LOADED = _noting(resource.c.no)
_NOTE = Prepared(insert(event), _EVENT)
_REWRITE = Prepared(
    update(resource)
    .where(resource.c.no == bindparam("b_no"))
    .values(
        **{name: bindparam(f"b_{name}") for name in (*_DESCRIPTION, "document")},
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
    tuple(
        f"b_{name}" for name in (*_DESCRIPTION, "document", "changed_at", "seen_at", "seen_by", "may_be_another", "no")
    ),
)
_SIGHT = Prepared(
    update(resource)
    .where(resource.c.no == bindparam("b_no"))
    .values(seen_at=bindparam("b_seen_at"), seen_by=bindparam("b_seen_by"), missed_since=null()),
    ("b_seen_at", "b_seen_by", "b_no"),
)


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows are meant, and by which cycle and when they are looked at."""

    source: str
    type: ResourceType
    cycle: CycleId
    at: datetime.datetime


def find(on: Statements, scope: Scope, digests: Mapping[str, bytes]) -> dict[str, Stored]:
    """Return what is stored under the ids of `digests`, with the document where the digest differs."""
    if not digests:
        return {}
    rows = on.fetch(_FIND, (scope.source, scope.type, array_of(list(digests))))
    differing = [no for id, no, digest, _, _ in rows if digest != digests[id]]
    documents = dict(on.fetch(_DOCUMENTS, (array_of(differing),))) if differing else {}
    return {
        id: Stored(no=no, digest=digest, gone=bool(gone), missed=bool(missed), document=_bytes(documents.get(no)))
        for id, no, digest, gone, missed in rows
    }


def _bytes(document: str | None) -> bytes | None:
    return None if document is None else document.encode()


def write(on: Statements, scope: Scope, delta: Delta) -> list[int]:
    """Write what a delta says, with its events; return the numbers of all rows that it showed to be there."""
    added = _add_all(on, scope, delta.added, _NOTE_ADDED)
    at = text_of(scope.at)
    kept.forget(on, [one.no for one in delta.updates])
    on.run_many(_REWRITE, [_rewritten(one, at, scope.cycle) for one in delta.updates])
    on.run_many(_SIGHT, [(at, scope.cycle, no) for no in delta.found])
    note(on, scope, [(one.resource.id, one.event, one.patch) for one in delta.updates if one.event is not None])
    return [*delta.seen, *added]


def sight(on: Statements, scope: Scope, numbers: Sequence[int]) -> None:
    """Take note that these rows were looked at alone, and are there."""
    on.run_many(_SIGHT, [(text_of(scope.at), scope.cycle, no) for no in numbers])


def note(
    on: Statements,
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
    on.run_many(_NOTE, rows)


def json_text(value: Json) -> str | None:
    """Return a value as the database keeps it; None where there is none."""
    return None if value is None else msgspec.json.encode(value).decode()


def load(on: Statements, scope: Scope, new: Iterable[tuple[Resource, bytes]]) -> range:
    """Add resources in a first load, taken one by one with their digests; return the numbers of their rows."""
    return _add_all(on, scope, new, _NOTE_LOADED)


def _add_all(on: Statements, scope: Scope, new: Iterable[tuple[Resource, bytes]], note: Prepared) -> range:
    """Add resources with their events."""
    ((first,),) = on.fetch(_NEXT_NO, ())
    last, rest = first - 1, iter(new)
    while some := list(islice(rest, _AT_ONCE)):
        _add(on, scope, last + 1, some)
        last += len(some)
    if last >= first:
        on.run_many(note, [(text_of(scope.at), scope.cycle, Event.ADDED.value, first)])
    return range(first, last + 1)


def _add(on: Statements, scope: Scope, first: int, some: list[tuple[Resource, bytes]]) -> None:
    """Add rows from a number on. Their values are put together column by column: what no row has is left out.

    The driver is quick with exact types only: not with None, booleans and bytes.
    """
    at = repeat(text_of(scope.at))
    new, digests = zip(*some, strict=True)
    facts = zip(_FACTS, zip(*(msgspec.structs.astuple(one.facts) for one in new), strict=True), strict=True)
    stated = {name: _quick(name, column) for name, column in facts if column.count(None) < len(new)}
    columns = (
        count(first),
        repeat(scope.source),
        repeat(scope.type),
        [one.id for one in new],
        map(bytearray, digests),
        [one.etag for one in new],
        [len(one.document) for one in new],
        *stated.values(),
        at,
        at,
        at,
        repeat(scope.cycle),
        [one.document.decode() for one in new],
    )
    on.run_many(_adding(tuple(stated)), zip(*columns, strict=False))


@cache
def _adding(facts: tuple[str, ...]) -> Prepared:
    """Return the statement that adds rows with these facts."""
    return Prepared(insert(resource), (*_PLACE, *_OWN, *facts, *_ADDED, "document"))


def _quick(name: str, column: tuple[Any, ...]) -> Iterable[Any]:
    """Return the values of a fact in types that the driver is quick with."""
    match resource.c[name].type:
        case Boolean():
            return map(_NUMBERS.__getitem__, column)
        case UtcDateTime():
            return map(_driven, column)
        case _:
            return column


def _rewritten(one: Update, at: str, cycle: CycleId) -> tuple[Any, ...]:
    changed_at = None if one.event is None else at
    may_be_another = one.event in (Event.REPLACED, Event.RETURNED)
    described = _described(one.resource, one.digest)
    return (*described, one.resource.document.decode(), changed_at, at, cycle, may_be_another, one.no)


def _described(new: Resource, digest: bytes) -> tuple[Any, ...]:
    facts = new.facts
    if facts.last_activity_at is None:
        return (digest, new.etag, len(new.document), *msgspec.structs.astuple(facts))
    return (digest, new.etag, len(new.document), *map(_driven, msgspec.structs.astuple(facts)))


def _driven(value: object) -> object:
    """Return a value as the driver takes it."""
    return text_of(value) if isinstance(value, datetime.datetime) else value
