"""What a page says happened: stored rows against the resources just read."""

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from fleetsync.core.kind import Succession, TypeSpec
from fleetsync.core.merge_patch import Json, diff
from fleetsync.core.model import Cursor, Resource

_object = msgspec.json.Decoder(dict[str, Any])
"""A document as the object that every provider makes sure it is; each call with a type would look into the type."""


class Event(StrEnum):
    """What can happen to a resource; the values of `history.event`."""

    ADDED = "added"
    UPDATED = "updated"
    GONE = "gone"
    RETURNED = "returned"
    REPLACED = "replaced"
    RELEASED = "released"


def chained(before: str | None, size: int, following: Cursor | None) -> str:
    """Return what tells a chain of pages, `before` and then one more, from any other; hexadecimal, 16 bytes.

    Two chains are the same when all their cursors are, and how many entries there were on each page.
    """
    said = f"{size} {following or ''}".encode(errors="surrogatepass")
    return hashlib.blake2b(bytes.fromhex(before or "") + said, digest_size=16).hexdigest()


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What the mirror has of a resource. `document` is there only where it differs from the one just read."""

    no: int
    digest: bytes
    gone: bool = False
    missed: bool = False
    document: str | None = None


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """A row to write anew. `event` is None where only volatile members differ: no history."""

    no: int
    resource: Resource
    digest: bytes
    event: Event | None
    patch: Json = None


class Delta(msgspec.Struct, kw_only=True):
    """What one page says: rows to add, rows to write anew, and the numbers of all known rows that it showed.

    `found` are those that a listing had missed before. `unchanged` counts rows that need no writing.
    """

    added: list[tuple[Resource, bytes]] = msgspec.field(default_factory=list)
    updates: list[Update] = msgspec.field(default_factory=list)
    seen: list[int] = msgspec.field(default_factory=list)
    found: list[int] = msgspec.field(default_factory=list)
    unchanged: int = 0


def doubtful(stored: Mapping[str, Stored], listed: Iterable[tuple[Resource, bytes]], spec: TypeSpec) -> frozenset[str]:
    """Return the ids of which a list that lags is not to be believed: a read has to decide.

    Those are resources that are on record as gone, those whose description does not follow the stored one, and those
    that are described in two ways at once.
    """
    doubted: set[str] = set()
    first: dict[str, bytes] = {}
    for resource, digest in listed:
        known = stored.get(resource.id)
        is_gone = known is not None and known.gone
        is_old = succession(known, resource, spec) is not Succession.FOLLOWS
        if is_gone or is_old or first.setdefault(resource.id, digest) != digest:
            doubted.add(resource.id)
    return frozenset(doubted)


def succession(known: Stored | None, shown: Resource, spec: TypeSpec) -> Succession:
    """Return what is shown of a resource is to what is known of its id."""
    if known is None or known.document is None:  # nothing before it, or nothing differs
        return Succession.FOLLOWS
    return spec.succession(_object.decode(known.document), _object.decode(shown.document))


def compare(stored: Mapping[str, Stored], listed: Iterable[tuple[Resource, bytes]], spec: TypeSpec) -> Delta:
    """Return what `listed`, resources with their digests, says against what is `stored` under their ids.

    A resource that stands twice in one page is believed the second time.
    """
    delta = Delta()
    for resource, digest in {resource.id: (resource, digest) for resource, digest in listed}.values():
        known = stored.get(resource.id)
        if known is None:
            delta.added.append((resource, digest))
            continue
        delta.seen.append(known.no)
        if known.missed:
            delta.found.append(known.no)
        if known.digest == digest and not known.gone:
            delta.unchanged += 1
        else:
            delta.updates.append(_update(known, resource, digest, spec))
    return delta


def _update(known: Stored, resource: Resource, digest: bytes, spec: TypeSpec) -> Update:
    if known.document is None:  # only a tombstone can be written anew as it was
        return Update(no=known.no, resource=resource, digest=digest, event=Event.RETURNED)
    old, new = _object.decode(known.document), _object.decode(resource.document)
    patch = diff(old, new, but=spec.volatile) or None
    event: Event | None = Event.UPDATED
    if known.gone:
        event = Event.RETURNED
    elif patch is None:
        event = None
    elif resource.is_another or spec.succession(old, new) is Succession.REPLACES:
        event = Event.REPLACED
    return Update(no=known.no, resource=resource, digest=digest, event=event, patch=patch)
