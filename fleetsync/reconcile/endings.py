"""How a cycle ended: what went wrong in it, and how its source is because of that."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from fleetsync.core.breaker import FaultClass, StoredBreaker, fault_of
from fleetsync.core.model import ResourceType
from fleetsync.errors import (
    AuthError,
    CircuitOpenError,
    ConfigError,
    FleetsyncError,
    RejectedError,
    ThrottledError,
    UnsafePlanError,
)
from fleetsync.mirror.cycles import Ending

CUT_SHORT = Ending(outcome="interrupted", complete=False, state=None, error="cut short by a stop or a reload")

_OUTCOMES = {"up": "done", "refused": "refused", "throttled": "throttled", "down": "failed"}


class Trouble(Struct, frozen=True, kw_only=True):
    """Something that went wrong in a cycle: with one type alone or, without a `type`, with all that was left of it."""

    error: FleetsyncError
    type: ResourceType | None = None

    def __str__(self) -> str:
        text = " ".join(str(self.error).split())
        return text if self.type is None else f"{self.type}: {text}"


def ending_of(
    troubles: Sequence[Trouble], *, complete: bool, breaker: StoredBreaker | None = None, now: datetime
) -> Ending:
    """Return how a cycle with these troubles ended, at `now`; `breaker` is its source's circuit, if that is open."""
    errors = [trouble.error for trouble in troubles]
    state = state_of(errors)
    return Ending(
        outcome=_OUTCOMES[state],
        state=state,
        complete=complete,
        error=summary(troubles),
        source_error=_wrong(troubles, breaker),
        fault=next(filter(None, map(source_fault_of, errors)), None),
        breaker=breaker,
        probe_at=_held_until(errors, now),
    )


def _wrong(troubles: Collection[Trouble], breaker: StoredBreaker | None) -> str | None:
    """Return what is wrong with a source: what opened its circuit, and what else was found.

    That nothing is sent, and until when, is no part of it: that is told from the circuit.
    """
    if breaker is None:
        return summary(troubles)
    besides = [trouble for trouble in troubles if not isinstance(trouble.error, CircuitOpenError)]
    is_told = any(" ".join(str(trouble.error).split()) == breaker.error for trouble in besides)
    return "; ".join((*(() if is_told else (breaker.error,)), *map(str, besides)))


def source_fault_of(error: FleetsyncError) -> FaultClass | None:
    """Return what sort of thing is wrong with a source where a cycle of it met with this error; None where nothing is.

    What is one resource's trouble elsewhere is the service's where it ends a listing.
    """
    fault = fault_of(error)
    return FaultClass.SERVICE if fault is FaultClass.DEVICE else fault


def _held_until(errors: Iterable[FleetsyncError], now: datetime) -> datetime | None:
    asked_s = [error.retry_after_s for error in errors if isinstance(error, ThrottledError) and error.retry_after_s]
    return now + timedelta(seconds=max(asked_s)) if asked_s else None


def summary(troubles: Collection[Trouble]) -> str | None:
    """Return all troubles on one line; None where there are none."""
    return "; ".join(map(str, troubles)) or None


def state_of(errors: Iterable[FleetsyncError]) -> str:
    """Return how a source is after these errors, as in the view `sources`: what a person has to mend comes first."""
    states = {_state_of(error) for error in errors}
    return next((state for state in ("refused", "throttled", "down") if state in states), "up")


def _state_of(error: FleetsyncError) -> str:
    match error:
        case CircuitOpenError(fault=FaultClass.SIGN_IN.value):
            return "refused"
        case UnsafePlanError() | AuthError() | RejectedError() | ConfigError():
            return "refused"
        case ThrottledError():
            return "throttled"
        case _:
            return "down"
