"""Did the service reject a write? The very same one is not repeated in every cycle, but at growing pauses."""

import datetime
from collections.abc import Iterable
from itertools import takewhile

from msgspec import Struct

from fleetsync.core.plan import Result

FIRST_S = 300.0
LONGEST_S = 86_400.0
"""The pause after a write was rejected once, and the longest; each is twice the one before."""

_FORBIDDEN = 403


class Rejected(Struct, frozen=True, kw_only=True):
    """A write that the service did not take: when it left, and its merge patch as it is stored."""

    at: datetime.datetime
    patch: str | None
    status: int | None
    result: Result

    def __str__(self) -> str:
        """Say so; the same words for as long as it lasts."""
        what = "refused it" if self.result is Result.REJECTED else "did not carry it out"
        status = "" if self.status is None else f" ({self.status})"
        return f"the service {what}{status}: `apply` sends it again, the daemon at growing pauses"


def is_rejection(result: Result, status: int | None) -> bool:
    """Say whether a write ended so that the same one is likely to end so again.

    A missing right is another matter: of such writes only a few are sent in a cycle, and it shows soon that it is
    there. Neither is trouble on the way, after which a write is sent again as soon as it may be.
    """
    if result is Result.REJECTED:
        return status != _FORBIDDEN
    return result is Result.FAILED and status is not None and status // 100 == 2  # accepted, and failed then


def resting(patch: str | None, rejected: Iterable[Rejected], *, now: datetime.datetime) -> Rejected | None:
    """Return the last rejection of a write if that should not be sent again yet; None where it may be.

    `rejected` are the last writes of its part, newest first, back to one that was carried out; those of another patch,
    and what came before them, do not count. A clock that steps makes it no longer than a pause.
    """
    mine = list(takewhile(lambda one: one.patch == patch, rejected))
    if not mine:
        return None
    pause_s = min(LONGEST_S, FIRST_S * 2.0 ** min(len(mine) - 1, 16))
    return mine[0] if abs((now - mine[0].at).total_seconds()) < pause_s else None
