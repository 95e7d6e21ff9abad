"""Rows of resources: finding them, and writing what a delta says."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import count, islice, repeat
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import Boolean, Integer, Text, and_, bindparam, delete, func, insert, null, select, update

from fleetsync.core.delta import Delta, Event, Stored, Update
from fleetsync.core.merge_patch import Json
from fleetsync.core.model import CycleId, Facts, Resource, ResourceType
from fleetsync.mirror.engine import Prepared, Statements, array_of, values_in
from fleetsync.mirror.tables import NOT_BY_KEY, UtcDateTime, event, resource, resource_name, text_of

_OWN = ("digest", "etag", "size_bytes")
_PLACE = ("no", "source", "type", "id")
_FACTS = Facts.__struct_fields__
_ANOTHER = (Event.REPLACED, Event.RETURNED)
_ADDED = ("first_seen_at", "changed_at", "seen_at", "seen_by")
_EVENT = ("no", "at", "cycle", "event", "patch", "reason")

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
# The driver takes its time for each column; of what is gone or was missed there are few, and they are found by id.
_LOOK_AT = Prepared(
    select(resource.c.id, resource.c.no, resource.c.digest, resource.c.document)
    .where(resource.c.no.in_(values_in("numbers")), *NOT_BY_KEY)
    .where(resource.c.gone_at.is_(None), resource.c.missed_since.is_(None)),
    ("numbers", "source", "type"),
)
# A number is nobody else's for as long as there is a history of it, also when its row was forgotten.
_NEXT_NO = Prepared(select(func.coalesce(func.max(resource_name.c.no), 0) + 1), ())

_AT_ONCE = 500
"""So many are in hand while rows are added."""
_NUMBERS = {True: 1, False: 0, None: None}

# Of the rows that were added last, which have the highest numbers: what they were called by before they were forgotten,
# their names, and then their events.
_FORGOTTEN = Prepared(
    select(resource_name.c.no, resource.c.no)
    .join(resource, and_(*(resource.c[place] == resource_name.c[place] for place in _PLACE[1:])))
    .where(resource.c.no >= bindparam("first")),
    ("first",),
)
_TAKE_OVER = Prepared(
    update(event).where(event.c.no == bindparam("b_before")).values(no=bindparam("b_no")), ("b_before", "b_no")
)
_UNNAME = Prepared(delete(resource_name).where(resource_name.c.no == bindparam("b_before")), ("b_before",))
_NAME_ADDED = Prepared(
    insert(resource_name).from_select(
        list(_PLACE),
        select(*(resource.c[place] for place in _PLACE))
        .where(resource.c.no >= bindparam("first"))
        .order_by(resource.c.no),
    ),
    ("first",),
)
_NOTED = (bindparam("at", type_=Text), bindparam("cycle", type_=Integer), bindparam("event", type_=Text))
_NOTE_ADDED = Prepared(
    insert(event).from_select(
        list(_EVENT[:4]),
        select(resource_name.c.no, *_NOTED)
        .where(resource_name.c.no >= bindparam("first"))
        .order_by(resource_name.c.no),
    ),
    ("at", "cycle", "event", "first"),
)
# Most have no reason, and the driver is slow with None.
_NOTE = Prepared(insert(event), _EVENT[:5])
_NOTE_WHY = Prepared(insert(event), _EVENT)
# What was known of a resource that had this id before says nothing about this one.
_BEGIN_ANEW = Prepared(
    update(resource)
    .where(resource.c.no == bindparam("b_no"))
    .values(details=null(), desired=null(), reported=null(), gone_at=null(), gone_reason=null()),
    ("b_no",),
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


def find(on: Statements, scope: Scope, digests: Mapping[str, bytes], likely: Sequence[int] = ()) -> dict[str, Stored]:
    """Return what is stored under the ids of `digests`, with the document where the digest differs.

    `likely` are the numbers of rows that may be those: to look up a row by its number costs half.
    """
    looked_at = on.fetch(_LOOK_AT, (array_of(likely), scope.source, scope.type)) if likely else ()
    stored = {
        id: Stored(no=no, digest=digest, document=None if digest == digests[id] else document)
        for id, no, digest, document in looked_at
        if id in digests
    }
    if others := [id for id in digests if id not in stored]:
        found = on.fetch(_FIND, (scope.source, scope.type, array_of(others)))
        differing = [no for id, no, digest, *_ in found if digest != digests[id]]
        documents = dict(on.fetch(_DOCUMENTS, (array_of(differing),))) if differing else {}
        for id, no, digest, gone, missed in found:
            stored[id] = Stored(no=no, digest=digest, gone=bool(gone), missed=bool(missed), document=documents.get(no))
    return stored


def write(on: Statements, scope: Scope, delta: Delta) -> list[int]:
    """Write what a delta says, with its events; return the numbers of all rows that it showed to be there.

    To forget the pages that showed what it updates is the caller's.
    """
    added = add(on, scope, delta.added)
    changed = [one for one in delta.updates if one.event is not None]
    _rewrite(on, scope, changed, has_changed=True)
    _rewrite(on, scope, [one for one in delta.updates if one.event is None], has_changed=False)
    on.run_many(_BEGIN_ANEW, [(one.no,) for one in changed if one.event in _ANOTHER])
    sight(on, scope, delta.found)
    note(on, scope, [(one.no, one.event, one.patch) for one in changed if one.event is not None])
    return [*delta.seen, *added]


def sight(on: Statements, scope: Scope, numbers: Sequence[int]) -> None:
    """Take note that these rows are there, whatever a listing missed before."""
    on.run_many(_SIGHT, [(text_of(scope.at), scope.cycle, no) for no in numbers])


def note(
    on: Statements,
    scope: Scope,
    events: Iterable[tuple[int, Event, Json]],
    reasons: Mapping[int, str] = MappingProxyType({}),
) -> None:
    """Write events into the history: of which row, what happened, and the merge patch of it.

    `reasons` has what says so, by row.
    """
    at = text_of(scope.at)
    rows = [(no, at, scope.cycle, happened.value, json_text(patch)) for no, happened, patch in events]
    if reasons:
        on.run_many(_NOTE_WHY, [(*row, reasons.get(row[0])) for row in rows])
    else:
        on.run_many(_NOTE, rows)


def json_text(value: Json) -> str | None:
    """Return a value as the database keeps it; None where there is none."""
    return None if value is None else msgspec.json.encode(value).decode()


def add(on: Statements, scope: Scope, new: Iterable[tuple[Resource, bytes]], *, is_blank: bool = False) -> range:
    """Add resources with their events, taken one by one with their digests; return the numbers of their rows.

    They take over the history of those that were forgotten under their ids; `is_blank` says that there are none.
    """
    ((first,),) = on.fetch(_NEXT_NO, ())
    last, rest = first - 1, iter(new)
    while some := list(islice(rest, _AT_ONCE)):
        _add(on, scope, last + 1, some)
        last += len(some)
    if last >= first:
        if not is_blank:
            taken_over = on.fetch(_FORGOTTEN, (first,))
            on.run_many(_TAKE_OVER, taken_over)
            on.run_many(_UNNAME, [(before,) for before, _ in taken_over])
        on.run_many(_NAME_ADDED, [(first,)])
        on.run_many(_NOTE_ADDED, [(text_of(scope.at), scope.cycle, Event.ADDED.value, first)])
    return range(first, last + 1)


def _add(on: Statements, scope: Scope, first: int, some: list[tuple[Resource, bytes]]) -> None:
    """Add rows from a number on. Their values are put together column by column: what no row has is left out.

    The driver is quick with exact types only: not with None, booleans and bytes.
    """
    at = repeat(text_of(scope.at))
    new, digests = zip(*some, strict=True)
    stated = _stated(new)
    columns = (
        count(first),
        repeat(scope.source),
        repeat(scope.type),
        [one.id for one in new],
        *_own(new, digests),
        *stated.values(),
        at,
        at,
        at,
        repeat(scope.cycle),
        [one.document.decode() for one in new],
    )
    on.run_many(_adding(tuple(stated)), zip(*columns, strict=False))


def _own(described: Sequence[Resource], digests: Iterable[bytes]) -> tuple[Iterable[Any], ...]:
    """Return the columns of `_OWN`."""
    return (
        map(bytearray, digests),
        [one.etag for one in described],
        [len(one.document) for one in described],
    )


def _stated(described: Sequence[Resource]) -> dict[str, Iterable[Any]]:
    """Return the facts that are stated of any resource, each with its values."""
    facts = zip(_FACTS, zip(*(msgspec.structs.astuple(one.facts) for one in described), strict=True), strict=True)
    return {name: _quick(name, column) for name, column in facts if column.count(None) < len(described)}


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


def _rewrite(on: Statements, scope: Scope, updates: Sequence[Update], *, has_changed: bool) -> None:
    """Write rows anew, column by column as in `_add`; `has_changed` is for more than what only says "still alive"."""
    if not updates:
        return
    at = repeat(text_of(scope.at))
    described = [one.resource for one in updates]
    stated = _stated(described)
    columns = (
        *_own(described, [one.digest for one in updates]),
        *stated.values(),
        *([at] if has_changed else []),
        at,
        repeat(scope.cycle),
        [one.document.decode() for one in described],
        [one.no for one in updates],
    )
    on.run_many(_rewriting(tuple(stated), has_changed=has_changed), zip(*columns, strict=False))


@cache
def _rewriting(facts: tuple[str, ...], *, has_changed: bool) -> Prepared:
    """Return the statement that writes rows anew with these facts and no others."""
    names = (*_OWN, *facts, *(["changed_at"] if has_changed else []), "seen_at", "seen_by", "document")
    written = {name: bindparam(f"b_{name}", type_=resource.c[name].type) for name in names}
    none = dict.fromkeys((name for name in _FACTS if name not in facts), null())
    statement = update(resource).where(resource.c.no == bindparam("b_no")).values(written | none)
    return Prepared(statement, (*(f"b_{name}" for name in names), "b_no"))


def _driven(value: object) -> object:
    """Return a value as the driver takes it."""
    return text_of(value) if isinstance(value, datetime.datetime) else value
