"""What a cycle counts: the one list of it. The table, the view and the commands follow."""

from msgspec import Struct
from msgspec.structs import fields


class Counts(Struct, kw_only=True):
    """What one cycle did; each is a column of the view `cycles`, under its own name."""

    pages: int = 0
    listed: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    gone: int = 0
    planned: int = 0
    applied: int = 0
    conflicted: int = 0
    failed: int = 0
    requests: int = 0
    throttled: int = 0
    waited_s: float = 0.0


COUNTS: dict[str, type[int] | type[float]] = {
    one.name: float if isinstance(one.default, float) else int for one in fields(Counts)
}
"""The names, in order, and what each holds."""
