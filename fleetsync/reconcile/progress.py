"""How far a cycle is, for whoever watches."""

from collections.abc import Callable

from msgspec import Struct


class Progress(Struct, frozen=True, kw_only=True):
    """One step of one source's cycle; `total` is None where nobody knows it."""

    source: str
    step: str
    done: int
    total: int | None = None


Report = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """Watch nothing."""
