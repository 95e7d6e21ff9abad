"""The words that all layers share: resources, pages, and how they are named."""

import contextlib
import datetime
from collections.abc import Callable, Sequence
from typing import NewType

import msgspec

from fleetsync.core.document import digest_of, digests_in, digests_of
from fleetsync.errors import InvalidResponseError

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


class ResourceKey(msgspec.Struct, frozen=True, order=True):
    """One resource of one source. Ids are compared byte for byte; a provider folds case where its service does."""

    source: str
    type: ResourceType
    id: str

    def __str__(self) -> str:
        return f"{self.source} {self.type} {self.id!r}"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
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


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One resource as its service describes it.

    `document` is the service's JSON byte for byte, but for the secrets that the provider takes out. `is_another` says
    that it is known not to be the one that had this id before.
    """

    id: str
    document: bytes
    etag: ETag | None = None
    facts: Facts = NO_FACTS
    is_another: bool = False


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a resource that its listing does not carry, as its service describes it (JSON).

    `desired` and `reported` are what it says of the device's desired and reported properties, as JSON objects.
    """

    id: str
    part: Part
    document: bytes
    desired: bytes | None = None
    reported: bytes | None = None


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that is there, but whose description cannot be stored; what is known of it stays as it was."""

    id: str
    reason: str


_SHORT = 64

Documents = Sequence[bytes | msgspec.Raw]
"""Documents that may be pieces of a page which nobody copied."""

Named = Callable[[bytes | msgspec.Raw], Sequence[str]]
Read = Callable[[Sequence[bytes]], Sequence[Resource | Unreadable]]


class Page:
    """One answer of a list. `next` is None on the last page and only there.

    `ids` and `documents` stand side by side. A page is opened where that is worth while, and so are the resources in
    it (`read`): most of a fleet is as it was, which the page's bytes or a document alone show. What cannot be stored is
    found out only then; what is known to be so before is in `lost`.
    """

    __slots__ = (
        "_digest",
        "_documents",
        "_entries",
        "_ids",
        "_named",
        "_opened",
        "_read",
        "_resources",
        "_shown",
        "_size",
        "body",
        "lost",
        "next",
    )

    def __init__(
        self,
        *,
        resources: Sequence[Resource],
        next: Cursor | None,  # noqa: A002 - the contract's own word
        unreadable: Sequence[Unreadable] = (),
    ) -> None:
        self.body: msgspec.Raw | None = None
        self._opened: Callable[[], Documents]
        self._named: Named
        self._read: Read | None = None
        self._ids: Sequence[str] | None = [one.id for one in resources]
        self._documents: Documents | None = [one.document for one in resources]
        self._digest: bytes | None = None
        self._entries: bytes | None = None
        self._size = len(resources)
        self._resources = resources
        self._shown: tuple[Sequence[int], Sequence[Resource | Unreadable]] | None = None
        self.next = next
        self.lost = tuple(unreadable)

    @classmethod
    def closed(
        cls,
        body: msgspec.Raw,
        opened: Callable[[], Documents],
        named: Named,
        read: Read,
        following: Cursor | None,
    ) -> "Page":
        """Return a page that nobody looked into. `opened` finds the documents in the array `body`.

        Of any of them, in an array, `named` returns the ids; `read` looks into them. All are pure, and raise what the
        service is to blame for. The same document is always the same id and the same resource.
        """
        page = cls(resources=(), next=following)
        page.body, page._opened, page._named, page._read = body, opened, named, read
        page._ids = page._documents = None
        return page

    @property
    def documents(self) -> Documents:
        """Return the documents of what it shows.

        Raises:
            InvalidResponseError: they cannot be told apart.
        """
        if self._documents is None:
            self._documents = self._opened()
            self._size = len(self._documents)
        return self._documents

    @property
    def digest(self) -> bytes | None:
        """Return what tells its bytes from any others; None where it came without."""
        if self._digest is None and self.body is not None:
            self._digest = digest_of(self.body)
        return self._digest

    @property
    def digests(self) -> Sequence[bytes]:
        """Return what tells each document from any other; errors as of `documents`."""
        if self._entries is not None:
            return digests_in(self._entries)
        digests = digests_of(self.documents)
        self._entries = b"".join(digests)
        return digests

    @property
    def entries(self) -> bytes:
        """Return its `digests`, joined."""
        if self._entries is None:
            return b"".join(self.digests)
        return self._entries

    @property
    def ids(self) -> Sequence[str]:
        """Return the ids of what it shows.

        Raises:
            InvalidResponseError: something has none.
        """
        if self._ids is None and self.body is not None:
            self._ids = self._named(self.body)
        return self._ids or ()

    def ids_at(self, positions: Sequence[int]) -> Sequence[str]:
        """Return the ids of what stands at these positions; errors as of `ids`.

        What is read for that is kept until it is asked for, and all other documents are let go.
        """
        if self._ids is None:
            with contextlib.suppress(InvalidResponseError):  # which says better where it is when all are read
                self._shown = positions, self.read(positions)
                self._documents = None
                return [one.id for one in self._shown[1]]
        return [self.ids[position] for position in positions]

    @property
    def is_empty(self) -> bool:
        """Say whether there is nothing in it."""
        if self._documents is None and self.body is not None:
            return len(memoryview(self.body)) < _SHORT and not bytes(self.body)[1:-1].strip()
        return not self.size

    @property
    def size_bytes(self) -> int:
        """Return how large what it shows is."""
        return sum(len(one.document) for one in self._resources) if self.body is None else len(memoryview(self.body))

    def read(self, positions: Sequence[int]) -> Sequence[Resource | Unreadable]:
        """Look into what stands at these positions."""
        if self._read is None:
            return [self._resources[position] for position in positions]
        if self._shown is not None and self._shown[0] == positions:
            return self._shown[1]
        return self._read([bytes(self.documents[position]) for position in positions])

    @property
    def size(self) -> int:
        """Return how many entries it has."""
        return (self._size or len(self.documents)) + len(self.lost)

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Return all that can be stored, looked into."""
        return tuple(one for one in self._all() if isinstance(one, Resource))

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """Return all that cannot be stored."""
        return (*self.lost, *(one for one in self._all() if isinstance(one, Unreadable)))

    def _all(self) -> Sequence[Resource | Unreadable]:
        return self.read(range(len(self.documents)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Page) and self._compared() == other._compared()

    __hash__ = None  # type: ignore[assignment]  # nobody needs it

    def __repr__(self) -> str:
        return f"Page(resources={self.resources!r}, next={self.next!r}, unreadable={self.unreadable!r})"

    def _compared(self) -> object:
        return self.resources, self.unreadable, self.next
