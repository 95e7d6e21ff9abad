"""The contract between fleetsync and a service: what a provider is, a source, a target."""

import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from msgspec import Struct

from fleetsync.clock import Clock
from fleetsync.core.kind import Kind
from fleetsync.core.model import Cursor, Detail, Page, Part, Resource, ResourceKey, ResourceType
from fleetsync.core.operation import Followed, Operation
from fleetsync.core.path import Path
from fleetsync.core.plan import Change, Guard, Objection
from fleetsync.transport.http import Http

S = TypeVar("S")


class Source(Protocol):
    """A service that can be listed and read. Providers inherit it, and with it what not every service has."""

    kind: ClassVar[Kind]
    name: str

    async def page(self, type: ResourceType, cursor: Cursor | None) -> Page:
        """Return the first page, or the one at `cursor`.

        Raises:
            InvalidResponseError: the answer lacks its promised array, or links elsewhere.
        """
        ...

    async def read(self, key: ResourceKey) -> Resource:
        """Return the resource as it is now.

        Raises:
            NotFoundError: the service says in its own words that it does not exist.
        """
        ...

    async def detail(self, key: ResourceKey, part: Part) -> Detail:
        """Return a part that listings do not carry (`TypeSpec.details`), as it is now."""
        raise LookupError(f"no part {part!r} of {key} to read")

    async def detail_at(self, key: ResourceKey, part: Part, paths: Collection[Path]) -> Detail:  # noqa: ARG002 - for those that have any
        """Return such a part; of one that is read piecemeal (`TypeSpec.piecemeal`) what is at these declared paths."""
        return await self.detail(key, part)

    def declarable(self, type: ResourceType, document: object, details: Mapping[Part, object]) -> Mapping[str, object]:
        """Return what declarations are compared with, shaped as they are. Pure.

        `details` holds the parts that are known; a part that is missing leaves out its paths.
        """
        ...

    async def introduce(self) -> None:
        """Make sure that the service lets us in to what the settings name; for `check --online`, before anything else.

        Raises:
            SourceError: it does not, or not there.
        """

    async def count(self, type: ResourceType) -> int | None:  # noqa: ARG002 - for those that have one
        """Return how many there are by a count of the service's own, apart from its list; None where it has none."""
        return None


class Written(Struct, frozen=True, kw_only=True):
    """The answer to a write. `shown` is what it says the resource is now, None if it does not say.

    `also` are parts of it that the answer told besides. With an `operation` the service has only begun it.
    """

    shown: Resource | Detail | None
    status: int
    request_id: str | None
    also: tuple[Detail, ...] = ()
    operation: Operation | None = None


@runtime_checkable
class Target(Source, Protocol):
    """A source that can be patched."""

    def guard(self, part: Part, resource: Resource) -> Guard | None:
        """Return the strongest guard that the service has for this part; None where a write is not possible."""
        ...

    def objections(self, change: Change, resource: Resource) -> Sequence[Objection]:  # noqa: ARG002 - for those that have any
        """Return the leaves of a change that must not be sent, and why: rules that the service is known to have. Pure.

        `resource` is what the change is planned on.
        """
        return ()

    def author(self, resource: Resource) -> str | None:  # noqa: ARG002 - for those that know one
        """Return who changed a resource last, in the service's words; None where it does not say. Pure."""
        return None

    async def patch(self, change: Change) -> Written:
        """Send one guarded write, once.

        Raises:
            ConflictError: the guard refused it.
        """
        ...

    async def follow(self, key: ResourceKey, part: Part, operation: Operation) -> Followed:  # noqa: ARG002 - for those that have any
        """Return where an operation stands that `patch` answered a write of this part with. It is asked once.

        A handle that the service does not know is `LOST`, not an error.
        """
        raise LookupError(f"{key}: {self.kind.name} has no operations")


class Known(Protocol):
    """What the mirror knows, of any source. It is what is committed; nothing is sent for it."""

    async def document(self, key: ResourceKey) -> bytes | None:
        """Return the document of a resource that is there; None where there is no such.

        Raises:
            MirrorError: the mirror cannot be read.
        """
        ...

    async def observed_at(self, key: ResourceKey) -> datetime | None:
        """Return since when at the latest a resource is known to be as it is; None where there is no such.

        Raises:
            MirrorError: the mirror cannot be read.
        """
        ...

    async def ids(self, source: str, type: ResourceType, *, after: str, most: int) -> Sequence[str]:
        """Return the first ids after `after`, by code point, of what is there.

        Raises:
            NotYetError: nobody listed it completely yet: what is there is not known.
            MirrorError: the mirror cannot be read.
        """
        ...


class Endpoint(Struct, frozen=True, kw_only=True):
    """What a provider is connected with: where the service is, a way to send, what the mirror knows, its settings.

    `clock` is for instants that a service names; a provider waits for nothing.
    """

    name: str
    url: str
    http: Http
    known: Known
    clock: Clock
    settings: object

    def own(self, type: type[S]) -> S:
        """Return the settings as what the kind says they are."""
        if not isinstance(self.settings, type):
            raise TypeError(f"settings of another kind: {self.settings!r}")
        return self.settings


class Provider(Struct, frozen=True, kw_only=True):
    """Code for one kind of service.

    `connect` builds a source without sending anything. `scope` names the quota that its requests count against,
    from the endpoint's URL and settings: sources with the same scope share one set of buckets.
    """

    kind: Kind
    connect: Callable[[Endpoint], Source]
    scope: Callable[[str, object], str]


def load(kind: str) -> Provider:
    """Return the provider of a kind: `iot-central` is `fleetsync.providers.iot_central`.

    Raises:
        LookupError: there is no such kind.
    """
    if kind not in kinds():
        raise LookupError(kind)
    module = importlib.import_module(f"fleetsync.providers.{kind.replace('-', '_')}")
    provider: Provider = module.PROVIDER
    return provider


class _Kinds(Mapping[str, Kind]):
    """Kinds by name; the code of one is loaded when it is asked for."""

    def __getitem__(self, name: str) -> Kind:
        try:
            return load(name).kind
        except LookupError as error:
            raise KeyError(name) from error

    def __iter__(self) -> Iterator[str]:
        return iter(kinds())

    def __len__(self) -> int:
        return len(kinds())


def all_kinds() -> Mapping[str, Kind]:
    """Return every kind of service that there is a provider for, by name."""
    return _Kinds()


@functools.cache
def kinds() -> tuple[str, ...]:
    """Return the names of all kinds, sorted."""
    package = importlib.util.find_spec("fleetsync.providers")
    places = package.submodule_search_locations if package else None
    names = (module.name for module in pkgutil.iter_modules(places))
    return tuple(sorted(name.replace("_", "-") for name in names if name != "base" and not name.startswith("_")))
