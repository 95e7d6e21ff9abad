"""How far a cycle is, for whoever watches."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of one source's cycle; `total` is None where nobody knows it."""

    source: str
    step: str
    done: int
    total: int | None = None


Report = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """Watch nothing."""
