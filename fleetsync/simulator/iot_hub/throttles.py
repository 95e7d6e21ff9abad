"""How much an IoT Hub of a tier allows: a limit for every class of operations, and messages a day.

Facts (iot-hub-devguide-quotas-throttling at learn.microsoft.com, read 2026-11): the figures below; requests over
a limit are first served late, then refused, without Retry-After; reads and writes of twins and queries are
charged as messages of 4 KB. Limits are evaluated over about a minute; a burst of one second is the strict side.
"""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from fleetsync.simulator.bucket import Limit
from fleetsync.simulator.errors import SimulatorError

Operation: TypeAlias = Literal["query", "twin_read", "twin_write", "registry", "configuration"]

OPERATIONS: Final[tuple[Operation, ...]] = ("query", "twin_read", "twin_write", "registry", "configuration")
TIERS: Final = ("F1", "B1", "B2", "B3", "S1", "S2", "S3")
UNLIMITED: Final = "none"

PATIENCE_S: Final = 10.0
"""The longest that a request is kept waiting before it is refused."""

_BURST_S: Final = 1.0
_DAY_S: Final = 86_400
_MESSAGE_BYTES: Final = 4096
_CHARGED: Final = frozenset({"query", "twin_read", "twin_write"})
_PER_MINUTE: Final = 1 / 60


def limits(tier: str, units: int) -> Mapping[Operation, Limit | None]:
    """Return the limits of a tier; that of `none` has none.

    Raises:
        SimulatorError: there is no such tier, or no unit.
    """
    if tier == UNLIMITED:
        return dict.fromkeys(OPERATIONS)
    if tier not in TIERS:
        raise SimulatorError(f'tier "{tier}" is none of: {", ".join((*TIERS, UNLIMITED))}')
    if units < 1:
        raise SimulatorError("an IoT Hub has at least one unit")
    rates = _large(units) if tier.endswith("3") else _small(units, is_medium=tier.endswith("2"))
    return {operation: Limit(per_s=rate, burst=max(1.0, rate * _BURST_S)) for operation, rate in rates.items()}


def most_configurations(tier: str) -> int:
    """Return how many configurations there can be."""
    return 20 if tier.startswith("F") else 100


def has_twins(tier: str) -> bool:
    """True for a tier with twins, queries and configurations."""
    return not tier.startswith("B")


def _small(units: int, *, is_medium: bool) -> dict[Operation, float]:
    return {
        "query": 20 * _PER_MINUTE * units,
        "twin_read": max(100.0, 10.0 * units) if is_medium else 100.0,
        "twin_write": max(50.0, 5.0 * units) if is_medium else 50.0,
        "registry": 100 * _PER_MINUTE * units,
        "configuration": 20 * _PER_MINUTE * units,
    }


def _large(units: int) -> dict[Operation, float]:
    return {
        "query": 1000 * _PER_MINUTE * units,
        "twin_read": 500.0 * units,
        "twin_write": 250.0 * units,
        "registry": 5000 * _PER_MINUTE * units,
        "configuration": 20 * _PER_MINUTE * units,
    }


class Quota:
    """The messages of a day, which begins at midnight UTC; `limit` may be set, and None is no limit."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._day = 0
        self._used = 0

    def used(self, at: float) -> int:
        """Return the messages of the day so far."""
        self._turn(at)
        return self._used

    def is_spent(self, operation: Operation, at: float) -> bool:
        """True when an operation is charged and nothing is left for it."""
        return operation in _CHARGED and self.limit is not None and self.used(at) >= self.limit

    def charge(self, operation: Operation, size: int, at: float) -> None:
        """Charge an answer of so many bytes."""
        self._turn(at)
        if operation in _CHARGED:
            self._used += max(1, -(-size // _MESSAGE_BYTES))

    def _turn(self, at: float) -> None:
        day = int(at // _DAY_S)
        if day != self._day:
            self._day, self._used = day, 0
