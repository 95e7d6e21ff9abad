"""The token buckets of Azure Resource Manager, one for each class of methods, and the headers that hint at them.

Facts (learn.microsoft.com, request limits and throttling, read 2026-11): reads 250 and 25/s, writes and deletes 200 and
10/s, for each subscription; POST counts as a write, also when it only lists. The headers are hints: some answers
carry none, and where a provider has limits of its own another name stands in their place.
"""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from fleetsync.simulator.arm.routes import CATALOG, HUB, Route
from fleetsync.simulator.bucket import Limit
from fleetsync.simulator.errors import SimulatorError

MethodClass: TypeAlias = Literal["read", "write", "delete"]

CLASSES: Final[tuple[MethodClass, ...]] = ("read", "write", "delete")
DOCUMENTED: Final = "documented"
UNLIMITED: Final = "none"

_FIGURES: Final[Mapping[MethodClass, tuple[float, float]]] = {
    "read": (25, 250),
    "write": (10, 200),
    "delete": (10, 200),
}
_PREFIX: Final = "x-ms-ratelimit-remaining-subscription"


def limits(text: str, retry_after: str) -> Mapping[MethodClass, Limit | None]:
    """Return the limit of every class: the documented ones, none, or one for all of them like `5/s burst 10`.

    Raises:
        SimulatorError: the text is none of these.
    """
    if text == DOCUMENTED:
        return {
            name: Limit(per_s=per_s, burst=burst, retry_after=retry_after) for name, (per_s, burst) in _FIGURES.items()
        }
    limit = Limit.parse(text)
    if limit is not None and limit.retry_after is not None:
        raise SimulatorError("what a 429 of Azure Resource Manager asks for is an option of its own")
    own = None if limit is None else Limit(per_s=limit.per_s, burst=limit.burst, retry_after=retry_after)
    return dict.fromkeys(CLASSES, own)


def class_of(method: str) -> MethodClass:
    """Return the class of a method."""
    if method in ("GET", "HEAD"):
        return "read"
    return "delete" if method == "DELETE" else "write"


def hints(method: str, route: Route | None, left: float | None) -> dict[str, str]:
    """Return the header that tells how many requests of the class are left, if this answer has one."""
    if left is None or (route is not None and route.words == CATALOG and route.is_list and route.group is None):
        return {}
    if route is not None and route.words == HUB and method != "GET":
        return {f"{_PREFIX}-resource-requests": str(int(left))}
    return {f"{_PREFIX}-{class_of(method)}s": str(int(left))}
