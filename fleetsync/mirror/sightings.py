"""Single resources: what a read, or the answer of a write, shows of one."""

from typing import Any

import msgspec
from sqlalchemy import bindparam, select, update

from fleetsync.core.bitmap import Bitmap
from fleetsync.core.delta import Event, compare, digest_of
from fleetsync.core.kind import TypeSpec
from fleetsync.core.merge_patch import diff, same
from fleetsync.core.model import Detail, Part, Resource, ResourceKey
from fleetsync.mirror import resources
from fleetsync.mirror.engine import Statements, Transaction
from fleetsync.mirror.resources import Scope
from fleetsync.mirror.tables import listing, resource, seen

_DETAILS = select(resource.c.no, resource.c.details, resource.c.missed_since.is_not(None)).where(
    resource.c.source == bindparam("source"),
    resource.c.type == bindparam("type"),
    resource.c.id == bindparam("id"),
)


async def detail(transaction: Transaction, key: ResourceKey, part: Part) -> object:
    """Return a part of a resource, decoded, that was read apart from its listing; None where it is not known."""
    rows = await transaction.rows(_DETAILS, {"source": key.source, "type": key.type, "id": key.id})
    details = msgspec.json.decode(rows[0].details) if rows and rows[0].details else {}
    return details.get(part)


async def record(transaction: Transaction, scope: Scope, spec: TypeSpec, shown: Resource | Detail) -> None:
    """Store what one resource, or one part of one, looks like now, with its event."""
    match shown:
        case Resource():
            await _record_resource(transaction, scope, spec, shown)
        case Detail():
            await _record_detail(transaction, scope, spec, shown)


async def _record_resource(transaction: Transaction, scope: Scope, spec: TypeSpec, shown: Resource) -> None:
    digest = digest_of(shown.document)

    def write(on: Statements) -> list[int]:
        stored = resources.find(on, scope, {shown.id: digest})
        numbers = resources.write(on, scope, compare(stored, [(shown, digest)], spec))
        resources.sight(on, scope, numbers)
        return numbers

    numbers = await transaction.do(write)
    await _show_to_open_listing(transaction, scope, numbers)


async def _show_to_open_listing(transaction: Transaction, scope: Scope, numbers: list[int]) -> None:
    """Count the row as seen by a listing that was cut short: it was looked at after that listing began."""
    where = (listing.c.source == scope.source, listing.c.type == scope.type, listing.c.state == "open")
    for (id,) in await transaction.rows(select(listing.c.id).where(*where)):
        chunks = dict(await transaction.rows(select(seen.c.chunk, seen.c.bits).where(seen.c.listing == id)))
        bitmap = Bitmap(chunks)
        bitmap.add(numbers)
        rows = [{"listing": id, "chunk": chunk, "bits": bits} for chunk, bits in bitmap.changed().items()]
        await transaction.upsert(seen, ("listing", "chunk"), rows)


async def _record_detail(transaction: Transaction, scope: Scope, spec: TypeSpec, shown: Detail) -> None:
    rows = await transaction.rows(_DETAILS, {"source": scope.source, "type": scope.type, "id": shown.id})
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
            await transaction.do(lambda on: resources.sight(on, scope, [no]))
        return
    values: dict[str, Any] = {
        "details": resources.json_text(details | {shown.part: new}),
        "desired": shown.desired.decode() if shown.desired is not None else None,
        "reported": shown.reported.decode() if shown.reported is not None else None,
    }
    if not is_first:
        values["changed_at"] = scope.at
    await transaction.run(update(resource).where(resource.c.no == no).values(values))
    await transaction.do(lambda on: resources.sight(on, scope, [no]))
    if shown.part in spec.piecemeal:
        new = {name: value for name, value in new.items() if name in old}
    # Reading a part, or a piece, for the first time is no news of the resource.
    if not is_first and not same(old, new):
        happened = [(shown.id, Event.UPDATED, {shown.part: diff(old, new)})]
        await transaction.do(lambda on: resources.note(on, scope, happened))
