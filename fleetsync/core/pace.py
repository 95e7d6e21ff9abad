"""The pace that a service stands, learned from its refusals, as arithmetic: values in, values out.

Multiplicative decrease, additive increase: a refusal takes 30 % off, and from there the pace climbs back to the
configured rate in at most `RECOVERY_S`. Refusals of requests that left before the last one was noticed are the
same refusal and count once.
"""

from dataclasses import dataclass, replace

from fleetsync.core.bucket import Rate

DECREASE = 0.7
RECOVERY_S = 600.0
SLOWEST = 0.01
"""The share of the configured rate below which nothing is learned: a service that refuses all is probed by holds."""
MIN_HOLD_S = 1.0
MAX_BACKOFF_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a service has been seen to stand.

    `per_s` is the rate right after the last refusal, `at_s` when that was noticed (monotonic), `held_until_s` the
    instant before which nothing may be sent, `strikes` the refusals since something last went well.
    """

    per_s: float
    at_s: float
    held_until_s: float
    strikes: int = 0


def unrefused(rate: Rate, now_s: float) -> Pace:
    """Return the pace of a service that has refused nothing yet: the configured rate."""
    return Pace(per_s=rate.per_s, at_s=now_s, held_until_s=now_s)


def learned(pace: Pace, rate: Rate, now_s: float) -> Rate:
    """Return the rate to keep at `now_s`: never above the configured `rate`, its burst in proportion, at least 1."""
    climbed = pace.per_s + max(0.0, now_s - pace.at_s) * rate.per_s / RECOVERY_S
    per_s = min(rate.per_s, climbed)
    return Rate(per_s=per_s, burst=max(1.0, rate.burst * per_s / rate.per_s))


def refused(
    pace: Pace, rate: Rate, *, now_s: float, sent_at_s: float, retry_after_s: float | None, chance: float
) -> Pace:
    """Return the pace after the service refused, because of its rate, a request that left at `sent_at_s`.

    Without `retry_after_s` the hold doubles with each refusal in a row; `chance` in [0, 1) spreads it.
    """
    if sent_at_s < pace.at_s:
        return _held(pace, now_s + max(MIN_HOLD_S, retry_after_s or 0.0))
    strikes = pace.strikes + 1
    hold_s = backoff_s(strikes, chance, first_s=2.0) if retry_after_s is None else retry_after_s
    per_s = max(rate.per_s * SLOWEST, learned(pace, rate, now_s).per_s * DECREASE)
    return _held(replace(pace, per_s=per_s, at_s=now_s, strikes=strikes), now_s + max(MIN_HOLD_S, hold_s))


def answered(pace: Pace, sent_at_s: float) -> Pace:
    """Return the pace after something that left at `sent_at_s` went well; news from before a refusal change nothing."""
    return replace(pace, strikes=0) if pace.strikes and sent_at_s >= pace.at_s else pace


def backoff_s(attempt: int, chance: float, *, first_s: float = 1.0, cap_s: float = MAX_BACKOFF_S) -> float:
    """Return the back-off after failure number `attempt` (from 1): full jitter over a range that doubles.

    `chance` in [0, 1) comes from the clock. The first range is `first_s` wide, the widest `cap_s`.
    """
    return chance * min(cap_s, first_s * 2.0 ** min(attempt - 1, 32))


def _held(pace: Pace, until_s: float) -> Pace:
    return replace(pace, held_until_s=max(pace.held_until_s, until_s))
