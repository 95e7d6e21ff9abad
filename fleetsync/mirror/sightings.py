"""Single resources: what a read, or the answer of a write, shows of one."""

from typing import Any

import msgspec
from sqlalchemy import bindparam, select, update

from fleetsync.core.bitmap import Bitmap
from fleetsync.core.delta import Event, compare, succession
from fleetsync.core.document import digest_of
from fleetsync.core.kind import Succession, TypeSpec
from fleetsync.core.merge_patch import diff, same
from fleetsync.core.model import Detail, Part, Resource, ResourceKey
from fleetsync.mirror import kept, resources
from fleetsync.mirror.compiled import Compiled
from fleetsync.mirror.engine import Prepared, Statements
from fleetsync.mirror.resources import Scope
from fleetsync.mirror.tables import listing, resource, seen

_DETAILS = Prepared(
    select(resource.c.no, resource.c.details, resource.c.missed_since.is_not(None)).where(
        resource.c.source == bindparam("source"),
        resource.c.type == bindparam("type"),
        resource.c.id == bindparam("id"),
    ),
    ("source", "type", "id"),
)
_OPEN = Prepared(
    select(listing.c.id).where(
        listing.c.source == bindparam("source"), listing.c.type == bindparam("type"), listing.c.state == "open"
    ),
    ("source", "type"),
)

_DESCRIBE = Compiled(update(resource).where(resource.c.no == bindparam("b_no")))
_SEEN = Compiled(select(seen.c.chunk, seen.c.bits).where(seen.c.listing == bindparam("listing")))


def detail(on: Statements, key: ResourceKey, part: Part) -> object:
    """Return a part of a resource, decoded, that was read apart from its listing; None where it is not known."""
    rows = on.fetch(_DETAILS, (key.source, key.type, key.id))
    details = msgspec.json.decode(rows[0][1]) if rows and rows[0][1] else {}
    return details.get(part)


def record(on: Statements, scope: Scope, spec: TypeSpec, shown: Resource | Detail) -> None:
    """Store what one resource, or one part of one, looks like now, with its event."""
    match shown:
        case Resource():
            _record_resource(on, scope, spec, shown)
        case Detail():
            _record_detail(on, scope, spec, shown)


def succession_of(on: Statements, scope: Scope, spec: TypeSpec, shown: Resource) -> Succession:
    """Return what a read of a resource is to what is stored of its id."""
    stored = resources.find(on, scope, {shown.id: digest_of(shown.document)})
    return succession(stored.get(shown.id), shown, spec)


def _record_resource(on: Statements, scope: Scope, spec: TypeSpec, shown: Resource) -> None:
    digest = digest_of(shown.document)
    stored = resources.find(on, scope, {shown.id: digest})
    delta = compare(stored, [(shown, digest)], spec)
    numbers = resources.write(on, scope, delta)
    kept.forget(on, [one.no for one in delta.updates])
    resources.sight(on, scope, numbers)
    _show_to_open_listing(on, scope, numbers)


def _show_to_open_listing(on: Statements, scope: Scope, numbers: list[int]) -> None:
    """Count the row as seen by a listing that was cut short: it was looked at after that listing began."""
    for (id,) in on.fetch(_OPEN, (scope.source, scope.type)):
        bitmap = Bitmap(dict(on.rows(_SEEN, {"listing": id})))
        bitmap.add(numbers)
        rows = [{"listing": id, "chunk": chunk, "bits": bits} for chunk, bits in bitmap.changed().items()]
        on.upsert(seen, ("listing", "chunk"), rows)


def _record_detail(on: Statements, scope: Scope, spec: TypeSpec, shown: Detail) -> None:
    rows = on.fetch(_DETAILS, (scope.source, scope.type, shown.id))
    if not rows:
        return
    no, text, missed = rows[0]
    details: dict[str, Any] = msgspec.json.decode(text) if text else {}
    new = msgspec.json.decode(shown.document)
    is_first = shown.part not in details
    old = details.get(shown.part, {})
    if shown.part in spec.piecemeal:
        new = old | new
    if not is_first and same(old, new):
        if missed:  # the service had it just now
            resources.sight(on, scope, [no])
        return
    values: dict[str, Any] = {
        "details": resources.json_text(details | {shown.part: new}),
        "desired": shown.desired.decode() if shown.desired is not None else None,
        "reported": shown.reported.decode() if shown.reported is not None else None,
    }
    if not is_first:
        values["changed_at"] = scope.at
    on.run(_DESCRIBE, {"b_no": no, **values})
    resources.sight(on, scope, [no])
    if shown.part in spec.piecemeal:
        new = {name: value for name, value in new.items() if name in old}
    # Reading a part, or a piece, for the first time is no news of the resource.
    if not is_first and not same(old, new):
        resources.note(on, scope, [(no, Event.UPDATED, {shown.part: diff(old, new)})])
