"""The limit of a service: a token bucket that refuses, and a meter that checks the clients by its own sum."""

import re
from dataclasses import dataclass
from typing import Self

from fleetsync.simulator.errors import SimulatorError

_RATE = re.compile(r"(?P<per_s>\d+(\.\d+)?)/s(\s+burst\s+(?P<burst>\d+(\.\d+)?))?(\s+retry-after\s+(?P<after>\S.*))?")

_GRAIN = 0.001
"""Tokens; differences below it are those of the clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """So many requests a second in the long run, and so many at once after a pause.

    `retry_after` is the header of a refusal: seconds, an HTTP date or nonsense, sent as it is; None
    sends none, which is what IoT Central is documented to do.
    """

    per_s: float
    burst: float
    retry_after: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `20/s burst 20 retry-after 2`; the last two are optional, and `none` is no limit.

        Without a burst it is one second's worth, at least one.

        Raises:
            SimulatorError: the text is none of these, or allows nothing at all.
        """
        if text.strip() == "none":
            return None
        match = _RATE.fullmatch(text.strip())
        if match is None or float(match["per_s"]) <= 0:
            raise SimulatorError(f'rate "{text}" is neither "none" nor like "20/s burst 20 retry-after 2"')
        per_s = float(match["per_s"])
        burst = float(match["burst"]) if match["burst"] else max(1.0, per_s)
        if burst < 1:
            raise SimulatorError(f'rate "{text}" has a burst below one request')
        return cls(per_s=per_s, burst=burst, retry_after=match["after"])


class Bucket:
    """A full bucket of tokens that refills with time; a refused request takes none.

    With patience, requests that come too early take tokens that are not there yet, and wait for them.
    """

    def __init__(self, limit: Limit | None) -> None:
        self.limit = limit
        self._tokens = limit.burst if limit else 0.0
        self._filled_at: float | None = None

    @property
    def left(self) -> float | None:
        """Return the tokens that the last request left; None without a limit."""
        return None if self.limit is None else max(0.0, self._tokens)

    def take(self, at: float) -> bool:
        """Take a token, and return whether there was one."""
        return self.wait_s(at) is not None

    def wait_s(self, at: float, *, patience_s: float = 0.0) -> float | None:
        """Take a token, and return how long it takes to get it; None when that is too long, and none is taken.

        A clock that steps back counts as no time passed.
        """
        if self.limit is None:
            return 0.0
        passed_s = max(0.0, at - self._filled_at) if self._filled_at is not None else 0.0
        self._filled_at = at
        self._tokens = min(self.limit.burst, self._tokens + passed_s * self.limit.per_s)
        # Epoch seconds in a float are good for a quarter of a microsecond, so a whole token may look like less.
        missing = 1.0 - _GRAIN - self._tokens
        if missing > patience_s * self.limit.per_s:
            return None
        # What is within the grain is given, and not owed.
        self._tokens = max(0.0, self._tokens - 1.0) if missing <= 0 else self._tokens - 1.0
        return max(0.0, -self._tokens / self.limit.per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterReading:
    """What a service saw of its clients' pace.

    `over_rate` is the largest number of requests by which any window of time held more than
    rate x window + burst. `utilisation` is the share of the rate that was used from the first to the last
    request, not counting the burst; None without a limit or a span. `delayed` requests were served late.
    """

    limit: str
    requests: int
    refused: int
    over_rate: float
    utilisation: float | None
    first_at: float | None
    last_at: float | None
    delayed: int = 0


class Meter:
    """Counts arrivals, refused ones too; it knows nothing of the bucket's tokens."""

    def __init__(self, limit: Limit | None) -> None:
        self._limit = limit
        self._requests = 0
        self._refused = 0
        self._delayed = 0
        self._level = 0.0
        self._highest = 0.0
        self._first_at: float | None = None
        self._last_at: float | None = None

    def note(self, at: float, *, refused: bool, delayed: bool = False) -> None:
        """Count one arrival.

        The level after an arrival is the largest excess of all windows that end with it, since a window that
        has fallen behind the rate is never worth keeping.
        """
        passed_s = at - self._last_at if self._last_at is not None else 0.0
        per_s = self._limit.per_s if self._limit else 0.0
        self._level = max(0.0, self._level - max(0.0, passed_s) * per_s) + 1.0
        self._highest = max(self._highest, self._level)
        self._first_at = at if self._first_at is None else self._first_at
        self._last_at = at
        self._requests += 1
        self._refused += refused
        self._delayed += delayed

    def reading(self) -> MeterReading:
        """Return the sums so far."""
        limit = self._limit
        return MeterReading(
            limit=f"{limit.per_s:g}/s burst {limit.burst:g}" if limit else "none",
            requests=self._requests,
            refused=self._refused,
            over_rate=round(max(0.0, self._highest - limit.burst), 2) if limit else 0.0,
            utilisation=self._utilisation(),
            first_at=self._first_at,
            last_at=self._last_at,
            delayed=self._delayed,
        )

    def _utilisation(self) -> float | None:
        if self._limit is None or self._first_at is None or self._last_at is None:
            return None
        span_s = self._last_at - self._first_at
        if span_s <= 0:
            return None
        return round((self._requests - self._limit.burst) / (self._limit.per_s * span_s), 4)
