"""What one kind of service is like: what its configuration, its planning and its rates need to know of it.

A provider states this about itself (`providers/base.py`); `wiring` hands it to the configuration, which
therefore needs no provider.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Set
from datetime import date
from enum import Enum, StrEnum, auto
from typing import Any

from msgspec import Struct, field

from fleetsync.core.bucket import Rate
from fleetsync.core.model import Part, ResourceType
from fleetsync.core.path import Path


class Succession(Enum):
    """What a description of a resource is to the one that is stored."""

    FOLLOWS = auto()
    DOUBTFUL = auto()
    """It may be older than what is stored: a list that lags is not to be believed about it."""
    UNCLEAR = auto()
    """It follows, or it is of another resource that was given the same id: only its incarnation tells. In a list that
    lags it may be older as well."""
    REPLACES = auto()
    """It is of another resource that was given the same id."""


def follows(_stored: Mapping[str, Any], _shown: Mapping[str, Any]) -> Succession:
    """Say that the last word is the newest: true of services that answer lists and reads from one place."""
    return Succession.FOLLOWS


def no_secret(_name: str) -> bool:
    """Say that no member is a secret."""
    return False


ANY = "*"
"""As a key of a writable path: any name; as its last one also anything below it."""


class Writable(Struct, frozen=True, kw_only=True):
    """A path that can be declared, the values that it takes and the part of the resource that it is in."""

    path: Path
    part: Part
    value: object = object
    """A type that msgspec can check: `bool`, `str`, `list[str]`, …; `object` takes any JSON value."""
    folds: bool = False
    """Texts that differ in letter case only are one value to the service."""

    def covers(self, path: Path) -> bool:
        """Say whether `path` is this path, or below it where it ends in ANY."""
        fits = len(path) >= len(self.path) if self.path[-1] == ANY else len(path) == len(self.path)
        return fits and all(own in (ANY, given) for own, given in zip(self.path, path, strict=False))


class ColumnType(StrEnum):
    """What a column of a view holds."""

    TEXT = "text"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    JSON = "json"


class Column(Struct, frozen=True, kw_only=True):
    """A column of a type's view: a member of the document.

    `names` turns the numbers of an enum into their names; a number without one is shown as it is.
    """

    path: Path
    type: ColumnType = ColumnType.TEXT
    names: Mapping[int, str] = field(default_factory=dict)


class TypeSpec(Struct, frozen=True, kw_only=True):
    """One type of resource of a kind.

    `view` is the view that shows it, `columns` what that view has besides the columns that all have. Two kinds that
    share a type share its view.
    """

    type: ResourceType
    view: str
    columns: Mapping[str, Column] = field(default_factory=dict)
    cheap: bool = True
    """Listed unless the configuration says otherwise."""
    writable: tuple[Writable, ...] = ()
    details: tuple[Part, ...] = ()
    """The parts that a listing does not carry; they are read one resource at a time, where a plan needs them."""
    piecemeal: frozenset[Part] = frozenset()
    """Those of `details` of which only the paths are read that a plan needs; what else they hold is not known."""
    operations: Mapping[Part, float] = field(default_factory=dict)
    """The parts whose writes may go on after their answer, or without one, and for how many seconds at most: so long
    one whose end is not known stays open, and its resource is not written to."""
    volatile: tuple[Path, ...] = ()
    """Members that only say "still alive": stored, but no `updated` event."""
    is_secret: Callable[[str], bool] = no_secret
    """Which members are left out of documents, by name and at any depth: nothing at or below one can be declared."""
    lags: bool = False
    """Lists are answered from an index that lags. Then a resource is gone only when a read says so, one that was gone
    is back only when a read says so, and what does not follow the stored description is read as well."""
    moves: bool = False
    """Where one is read holds a place from which it can be taken: that it is not found there, or anywhere when it is
    looked for, does not say that it is gone, since a list may miss it while it is moved. The next listing decides."""
    succession: Callable[[Mapping[str, Any], Mapping[str, Any]], Succession] = follows
    """Pure: what a description is to the stored one; both are decoded documents."""
    incarnation: Part | None = None
    """The part that tells two resources apart that had one id after the other; compared where it is known."""
    listed_as: str = "list"
    """The operation class that a page of its listing counts as."""
    page_size: int = 100
    """How many of it a page has, as far as one knows before; for forecasts."""

    def lasts_s(self, part: Part) -> float:
        """Return for how many seconds a write of a part may go on after its answer."""
        return self.operations.get(part, 0.0)

    def is_known(self, part: Part, path: Path, document: Mapping[str, object], known_parts: Set[Part]) -> bool:
        """Say whether the value at a path of a part is known, from the parts that were read.

        `document` is what they are as declarations are compared with it.
        """
        if part not in self.details:
            return True
        return part in known_parts and (part not in self.piecemeal or path[0] in document)

    def writable_at(self, path: Path) -> Writable | None:
        """Return what covers `path`, or None where it cannot be declared."""
        return next((writable for writable in self.writable if writable.covers(path)), None)


class Daily(Struct, frozen=True, kw_only=True):
    """How a service counts per UTC day: requests of which operation classes, and what one of them costs.

    With `message_bytes` an answer costs one for each so many bytes that it begins, at least one; else a request costs
    one.
    """

    operations: frozenset[str]
    message_bytes: int | None = None

    def cost(self, answer_bytes: float) -> int:
        """Return what a request costs whose answer is so long."""
        return 1 if self.message_bytes is None else max(1, math.ceil(answer_bytes / self.message_bytes))


class Cost(Struct, frozen=True, kw_only=True):
    """What requests of one part cost: how many of which operation class one write takes, and one reading alone.

    A write here has a guard that the service itself checks; what frames it with reads adds two readings.
    """

    write: Mapping[str, int]
    read: Mapping[str, int]


class Quota(Struct, frozen=True, kw_only=True):
    """What a service lets one of its quota scopes do.

    `total` is one budget for all operation classes together; `classes` has a rate per class, None where
    only the total counts. `daily` is how much of what the kind's `Daily` counts a UTC day has, None where there is no
    figure.
    """

    classes: Mapping[str, Rate | None]
    total: Rate | None = None
    daily: int | None = None


class Ending(Struct, frozen=True, kw_only=True):
    """The last day of a service, and what its users should do before."""

    on: date
    advice: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of service.

    `settings` is a frozen dataclass of the keys that only this kind has; a field without a default must be configured.
    A property `reads` of it names other sources whose devices it goes by (`reads_of`).
    `quota` is pure: it takes an instance of `settings`, and its quota has a rate for each of `operations`.
    """

    name: str
    settings: type
    types: tuple[TypeSpec, ...]
    operations: tuple[str, ...]
    """The operation classes: what the service counts apart, or an operator may want to limit apart."""
    quota: Callable[[Any], Quota]
    methods: tuple[str, ...]
    interval_s: float
    scope: str | None = None
    """The token scope of Entra ID sign-in; None where the service has no such thing."""
    scopes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The scopes of methods that have one of their own."""
    sign_in: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    """By method the values of keys that need not be configured, since they are the same for everybody."""
    url: str | None = None
    """Where the service is, if it is the same for everybody."""
    ends: Ending | None = None
    """When the service is to end, if it is."""
    has_documented_quota: bool = True
    """Without one the figures are our own caution, and a share of them makes no sense."""
    daily: Daily | None = None
    """What the service counts per day; None where it does not."""
    costs: Mapping[Part, Cost] = dataclasses.field(default_factory=dict)
    """For forecasts: of every part that can be written or is a detail."""
    specs: Mapping[ResourceType, TypeSpec] = dataclasses.field(init=False)

    def scope_of(self, method: str) -> str | None:
        """Return the token scope of a way to sign in."""
        return self.scopes.get(method, self.scope)

    def __post_init__(self) -> None:
        object.__setattr__(self, "specs", {spec.type: spec for spec in self.types})


def reads_of(own: object) -> tuple[str, ...]:
    """Return the names of the other sources that a source with these settings of its own goes by."""
    return tuple(getattr(own, "reads", ()))
