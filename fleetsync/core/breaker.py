"""What is wrong with a source, and when it is asked again: values in, values out.

- A source that does not answer is left alone: after `MOST_FAILING` different things failed in a row, with nothing that
  went well between them, or at once where the sign-in is refused, the breaker opens. Nothing is sent then.
- When its pause is over one request goes out, the probe. An answer closes it; a failure opens it again for longer.
- What is about one resource is an answer: the service is there. So is a refusal because of the rate, which is the rate
  limiter's business alone.
- Pauses grow until a whole cycle went well. Another process takes them over, but asks after one short pause: whoever
  mended something and started again should not wait, and who crashes again and again does not hammer.
"""

import datetime
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from fleetsync.core.schedule import pause_s
from fleetsync.errors import (
    AuthError,
    CircuitOpenError,
    FleetsyncError,
    InvalidResponseError,
    ResourceError,
    ServerFaultError,
    SourceError,
    ThrottledError,
    TransientError,
    UnreachableError,
)

MOST_FAILING = 5
"""One bad device does not stop the others; so many different ones in a row are no longer the devices'."""

_FORBIDDEN = 403


class FaultClass(Enum):
    """What sort of thing is wrong; the values are those of the view `sources`."""

    SIGN_IN = "sign-in"
    THROTTLE = "throttle"
    SERVICE = "service"
    NETWORK = "network"
    DEVICE = "device"


_FAULTS: tuple[tuple[type[SourceError] | tuple[type[SourceError], ...], FaultClass], ...] = (
    (ThrottledError, FaultClass.THROTTLE),
    (UnreachableError, FaultClass.NETWORK),
    ((ServerFaultError, InvalidResponseError), FaultClass.SERVICE),
    (AuthError, FaultClass.SIGN_IN),
    (ResourceError, FaultClass.DEVICE),
)

_PAUSES_S = {FaultClass.SIGN_IN: (60.0, 1800.0), FaultClass.SERVICE: (15.0, 600.0), FaultClass.NETWORK: (15.0, 600.0)}
"""The first pause and the longest. Refused sign-ins wait for a person, and services lock out who repeats them."""


class Moment(Struct, frozen=True, kw_only=True):
    """When something happened: on the wall clock, and monotonic; `chance` in [0, 1) spreads what follows from it."""

    at: datetime.datetime
    at_s: float
    chance: float


class Breaker(Struct, frozen=True, kw_only=True):
    """How a source is.

    `fault` is what was wrong last, in words `error`, `since` when the first of the failures in a row was; None while
    nothing is wrong. `failing` is what failed since something last went well. `open_until_s` is when the next probe is
    due (monotonic), None while requests may be sent; `openings` is how often it opened since a cycle last went well.
    """

    fault: FaultClass | None = None
    since: datetime.datetime | None = None
    error: str = ""
    failing: frozenset[str] = frozenset()
    openings: int = 0
    open_until_s: float | None = None

    @property
    def is_open(self) -> bool:
        """Say whether nothing may be sent but a probe, when that is due."""
        return self.open_until_s is not None


CLOSED = Breaker()


class StoredBreaker(Struct, frozen=True, kw_only=True):
    """An open breaker for another process: `probe_at` is an instant of the wall clock."""

    fault: FaultClass
    since: datetime.datetime
    error: str
    openings: int
    probe_at: datetime.datetime


def fault_of(error: FleetsyncError) -> FaultClass | None:
    """Return what sort of thing is wrong where this was raised; None where that is no matter of the source."""
    if isinstance(error, CircuitOpenError):
        return FaultClass(error.fault)
    return next((fault for classes, fault in _FAULTS if isinstance(error, classes)), None)


def failed(breaker: Breaker, error: SourceError, about: str, when: Moment, *, is_probe: bool) -> Breaker:
    """Return the breaker after a request for `about` failed; `is_probe` says that it was sent although it was open."""
    fault = fault_of(error)
    if fault not in _PAUSES_S or error.status == _FORBIDDEN:
        # Without a status the limiter said so, and nothing was sent: no news.
        return breaker if fault is FaultClass.THROTTLE and error.status is None else answered(breaker)
    noted = _noted(breaker, fault, error, when)
    noted = replace(noted, failing=noted.failing | {about})
    if breaker.is_open and not is_probe:
        return noted  # late news of what left before
    is_enough = is_probe or fault is FaultClass.SIGN_IN or len(noted.failing) >= MOST_FAILING
    return _opened(noted, fault, error, when) if is_enough else noted


def answered(breaker: Breaker) -> Breaker:
    """Return the breaker after the service answered a request."""
    return replace(breaker, failing=frozenset(), open_until_s=None) if breaker.openings else CLOSED


def tripped(breaker: Breaker, error: FleetsyncError, when: Moment) -> Breaker:
    """Return the breaker after an error ended a whole cycle."""
    fault = fault_of(error)
    if breaker.is_open or fault not in _PAUSES_S:
        return breaker
    return _opened(_noted(breaker, fault, error, when), fault, error, when)


def _noted(breaker: Breaker, fault: FaultClass, error: FleetsyncError, when: Moment) -> Breaker:
    since = when.at if breaker.since is None else min(breaker.since, when.at)
    return replace(breaker, fault=fault, error=" ".join(str(error).split()), since=since)


def _opened(breaker: Breaker, fault: FaultClass, error: FleetsyncError, when: Moment) -> Breaker:
    openings = breaker.openings + 1
    asked_s = error.retry_after_s if isinstance(error, TransientError) else None
    open_s = max(probe_pause_s(fault, openings, when.chance), asked_s or 0.0)
    return replace(breaker, failing=frozenset(), openings=openings, open_until_s=when.at_s + open_s)


def probe_pause_s(fault: FaultClass, openings: int, chance: float) -> float:
    """Return the seconds to the probe after a breaker opened that many times in a row (at least 1)."""
    first_s, longest_s = _PAUSES_S[fault]
    return pause_s(min(longest_s, first_s * 2.0 ** min(openings - 1, 16)), chance)


def stored(breaker: Breaker, when: Moment) -> StoredBreaker | None:
    """Return the breaker as another process can read it; None while requests may be sent."""
    if breaker.fault is None or breaker.since is None or breaker.open_until_s is None:
        return None
    return StoredBreaker(
        fault=breaker.fault,
        since=breaker.since,
        error=breaker.error,
        openings=breaker.openings,
        probe_at=when.at + datetime.timedelta(seconds=max(0.0, breaker.open_until_s - when.at_s)),
    )


def resumed(record: StoredBreaker, when: Moment) -> Breaker:
    """Return the breaker that another process left behind; the next probe is no further off than a first one."""
    left_s = max(0.0, (record.probe_at - when.at).total_seconds())
    first_s = probe_pause_s(record.fault, 1, when.chance)
    return Breaker(
        fault=record.fault,
        since=record.since,
        error=record.error,
        openings=record.openings,
        open_until_s=when.at_s + min(first_s, left_s),
    )
