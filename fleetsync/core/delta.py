"""What a page says happened: stored rows against the resources just read."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from fleetsync.core.merge_patch import Json, diff, same, without
from fleetsync.core.model import Resource
from fleetsync.core.path import Path


class Event(StrEnum):
    """What can happen to a resource; the values of `history.event`."""

    ADDED = "added"
    UPDATED = "updated"
    GONE = "gone"
    RETURNED = "returned"
    REPLACED = "replaced"
    RELEASED = "released"


def digest_of(document: bytes) -> bytes:
    """Return 16 bytes that tell two documents apart."""
    return hashlib.blake2b(document, digest_size=16).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the mirror has of a resource. `document` is there only where it differs from the one just read."""

    no: int
    digest: bytes
    gone: bool = False
    missed: bool = False
    document: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A row to write anew. `event` is None where only volatile members differ: no history."""

    no: int
    resource: Resource
    digest: bytes
    event: Event | None
    patch: Json = None


@dataclass(slots=True, kw_only=True)
class Delta:
    """What one page says: rows to add, rows to write anew, and the numbers of all known rows that it showed.

    `found` are those that a listing had missed before. `unchanged` counts rows that need no writing.
    """

    added: list[tuple[Resource, bytes]] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    found: list[int] = field(default_factory=list)
    unchanged: int = 0


def compare(
    stored: Mapping[str, Stored], listed: Iterable[tuple[Resource, bytes]], volatile: tuple[Path, ...] = ()
) -> Delta:
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
            delta.updates.append(_update(known, resource, digest, volatile))
    return delta


def _update(known: Stored, resource: Resource, digest: bytes, volatile: tuple[Path, ...]) -> Update:
    old = without(_decoded(known.document), volatile) if known.digest != digest else None
    new = without(_decoded(resource.document), volatile) if known.digest != digest else None
    patch = None if same(old, new) else diff(old, new)
    event = Event.RETURNED if known.gone else None if patch is None else Event.UPDATED
    return Update(no=known.no, resource=resource, digest=digest, event=event, patch=patch)


def _decoded(document: bytes | None) -> Json:
    return None if document is None else msgspec.json.decode(document)
