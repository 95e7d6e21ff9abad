"""What commands ask for, whether the daemon does it or the command itself: the same work, the same reply."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Name = Literal["sync", "apply", "confirm", "pause", "resume"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command. No `sources` means all. `plan` is the absolute path of a reviewed plan."""

    name: Name
    sources: tuple[str, ...] = ()
    writes: int | None = None
    gone: int | None = None
    plan: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReply:
    """What a command did in one source; `counts` as in the view `cycles`, `held` and `skipped` in words."""

    source: str
    cycle: int | None = None
    complete: bool = False
    counts: dict[str, Any] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    held: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    error: str | None = None
    exit_code: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The reply to a command: what each source did, and the exit code of the whole."""

    sources: tuple[SourceReply, ...] = ()
    error: str | None = None
    exit_code: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it and as it crosses the socket."""
        return asdict(self)
