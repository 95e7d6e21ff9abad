"""The words that all layers share: resources, pages, and how they are named."""

import datetime
from dataclasses import dataclass
from typing import NewType

Cursor = NewType("Cursor", str)
"""Where the next page is. Opaque: used byte for byte, never built, cut or re-encoded."""

ETag = NewType("ETag", str)
"""A service's name for one state of a resource. Opaque; the provider alone knows how If-Match wants it."""

CycleId = NewType("CycleId", int)
ListingId = NewType("ListingId", int)

ResourceType = NewType("ResourceType", str)
"""What a resource is: `device`, `device-group`, … Lower case, singular, dashes."""

Part = NewType("Part", str)
"""The piece of a resource that one request writes under one guard (a device's document, its properties)."""

DEVICE = ResourceType("device")


@dataclass(frozen=True, slots=True, order=True)
class ResourceKey:
    """One resource of one source. Ids are compared byte for byte; a provider folds case where its service does."""

    source: str
    type: ResourceType
    id: str

    def __str__(self) -> str:
        return f"{self.source} {self.type} {self.id!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a service says about a resource in words of its own, translated into the columns of the views.

    None where a service has no such thing.
    """

    display_name: str | None = None
    enabled: bool | None = None
    provisioned: bool | None = None
    simulated: bool | None = None
    template: str | None = None
    group_id: str | None = None
    status: str | None = None
    connection_state: str | None = None
    last_activity_at: datetime.datetime | None = None
    version: int | None = None


NO_FACTS = Facts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource as its service describes it.

    `document` is the service's JSON byte for byte, but for the secrets that the provider takes out. `is_another` says
    that it is known not to be the one that had this id before.
    """

    id: str
    document: bytes
    etag: ETag | None = None
    facts: Facts = NO_FACTS
    is_another: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """A part of a resource that its listing does not carry, as its service describes it (JSON).

    `desired` and `reported` are what it says of the device's desired and reported properties, as JSON objects.
    """

    id: str
    part: Part
    document: bytes
    desired: bytes | None = None
    reported: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A resource that is there, but whose description cannot be stored; what is known of it stays as it was."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer of a list. `next` is None on the last page and only there."""

    resources: tuple[Resource, ...]
    next: Cursor | None
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def size(self) -> int:
        """Return how many entries it has."""
        return len(self.resources) + len(self.unreadable)
