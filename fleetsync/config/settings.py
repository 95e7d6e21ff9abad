"""The configuration as typed values. Every duration is in seconds, every share in 0 to 1."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from fleetsync.core.bucket import Rate
from fleetsync.core.contest import Rewrites
from fleetsync.core.kind import Kind
from fleetsync.core.model import ResourceType

DAY_S = 86_400.0


class Mode(StrEnum):
    """Who may write to a source."""

    OBSERVE = "observe"
    MANUAL = "manual"
    ENFORCE = "enforce"


class WeakestGuard(StrEnum):
    """The weakest guard under which a source may be written to."""

    ETAG = "etag"
    REREAD = "reread"


class Secret:
    """A secret's whereabouts; its text is read when it is needed and never kept in a printable value.

    `source` is `credential`, `file` or `env`, `place` the name or path that was configured. `line` is where it was
    configured, for messages only: two secrets at one place are equal.
    """

    __slots__ = ("line", "place", "source")

    def __init__(self, source: str, place: str, *, line: int | None = None) -> None:
        self.source = source
        self.place = place
        self.line = line

    def __repr__(self) -> str:
        return f"Secret({self.source}={self.place!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.source, self.place) == (other.source, other.place)

    def __hash__(self) -> int:
        return hash((self.source, self.place))


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Where the mirror is and how long it remembers."""

    path: Path
    keep_history_s: float = 90 * DAY_S
    keep_gone_s: float = 365 * DAY_S
    keep_cycles_s: float = 30 * DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is logged, and how it looks."""

    level: str = "info"
    format: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """How to sign in. `options` holds the method's plain texts (`tenant_id`, `client_id`, …), `secrets` its secrets."""

    method: str
    options: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSettings:
    """How much of a quota a source may use.

    `classes` are the explicit rates; what is not in there gets `share` of the documented quota, and so does the day
    where `daily` does not say how much of what the service counts it may cost.
    """

    share: float = 0.6
    classes: Mapping[str, Rate] = field(default_factory=dict)
    daily: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a listing or a plan may not exceed without a person's word."""

    max_gone: float = 0.2
    max_writes: float = 0.3
    min_known: int = 10
    max_rewrites: Rewrites = field(default_factory=Rewrites)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """One source. `own` is an instance of `kind.settings`."""

    name: str
    kind: Kind
    url: str
    auth: AuthSettings
    own: object
    resources: tuple[ResourceType, ...]
    interval_s: float
    mode: Mode = Mode.OBSERVE
    weakest_guard: WeakestGuard = WeakestGuard.ETAG
    rate: RateSettings = field(default_factory=RateSettings)
    limits: Limits = field(default_factory=Limits)
    ca_file: Path | None = None
    proxy: str | None = None
    authority: str | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration."""

    file: Path
    declarations: Path
    database: DatabaseSettings
    log: LogSettings
    sources: Mapping[str, SourceSettings]
