"""A part of a resource as its service shows it now."""

from collections.abc import Collection, Mapping

import msgspec

from fleetsync.core.model import Detail, Part, Resource, ResourceKey
from fleetsync.core.path import Path
from fleetsync.core.plan import Guard
from fleetsync.providers.base import Target


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a resource as it is now: what declarations are compared with, its guard, and what was read for it."""

    document: Mapping[str, object]
    guard: Guard | None
    shown: Resource | Detail


async def read_part(target: Target, key: ResourceKey, part: Part, paths: Collection[Path]) -> Current:
    """Read a part of a resource from the service, at least what it is at these paths."""
    if part in target.kind.specs[key.type].details:
        return current_of(target, key, part, await target.detail_at(key, part, paths))
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
