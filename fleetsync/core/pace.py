"""The pace that a service stands, learned from its refusals, as arithmetic: values in, values out.

Multiplicative decrease, additive increase: a refusal takes 30 % off, and from there the pace climbs back to the
configured rate in at most `RECOVERY_S`. Refusals of requests that left before the last one was noticed are the
same refusal and count once. Answers that come ever later take 10 % off: they are a guess where a refusal is a fact.

A pace outlives its process as a `StoredPace`, on the wall clock, since monotonic readings mean nothing in another one.
"""

import datetime
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from fleetsync.core.bucket import Rate

DECREASE = 0.7
RECOVERY_S = 600.0
SLOWEST = 0.01
"""The share of the configured rate below which nothing is learned: a service that refuses all is probed by holds."""
DELAYED = 0.9
LOWEST_BY_GUESS = 0.25
"""The share of the configured rate below which late answers alone take nothing off."""
SCARCE = 20
"""So many requests that are left, by the word of the service, are few."""
MIN_HOLD_S = 1.0
LONGEST_HOLD_S = 86_400.0
"""No service asks for more than its daily quota does; a stored hold beyond that comes from a clock that stepped."""
MAX_BACKOFF_S = 60.0


class Pace(Struct, frozen=True, kw_only=True):
    """What a service has been seen to stand.

    `per_s` is the rate right after it was last lowered, `at_s` when that was (monotonic), `held_until_s` the
    instant before which nothing may be sent, `why` in words, `strikes` the refusals since something last went well.
    """

    per_s: float
    at_s: float
    held_until_s: float
    why: str = ""
    strikes: int = 0


class StoredPace(Struct, frozen=True, kw_only=True):
    """The same for another process: `at` and `held_until` are instants of the wall clock.

    `operation` is the class whose bucket it is about, `TOTAL` for the one that classes share.
    """

    operation: str
    per_s: float
    at: datetime.datetime
    held_until: datetime.datetime | None
    why: str


class StoredScope(Struct, frozen=True, kw_only=True):
    """What of a quota scope outlives a process: its paces, and what was spent by UTC day."""

    paces: tuple[StoredPace, ...] = ()
    spent: Mapping[datetime.date, int] = field(default_factory=dict)


TOTAL = "*"


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
        return _held_after_refusal(pace, now_s, retry_after_s, hold_s=0.0)
    strikes = pace.strikes + 1
    hold_s = backoff_s(strikes, chance, first_s=2.0)
    per_s = max(rate.per_s * SLOWEST, learned(pace, rate, now_s).per_s * DECREASE)
    lower = replace(pace, per_s=per_s, at_s=now_s, strikes=strikes)
    return _held_after_refusal(lower, now_s, retry_after_s, hold_s=hold_s)


def _held_after_refusal(pace: Pace, now_s: float, retry_after_s: float | None, *, hold_s: float) -> Pace:
    if retry_after_s is None:
        return held(pace, now_s + max(MIN_HOLD_S, hold_s), "the service refused a request and named no time")
    asked_s = max(MIN_HOLD_S, retry_after_s)
    return held(pace, now_s + asked_s, f"the service refused a request and asked for {asked_s:.0f} s")


def held(pace: Pace, until_s: float, why: str) -> Pace:
    """Return the pace with nothing to be sent before `until_s`; a hold that lasts longer stays."""
    return replace(pace, held_until_s=until_s, why=why) if until_s > pace.held_until_s else pace


def delayed(pace: Pace, rate: Rate, now_s: float) -> Pace:
    """Return the pace after answers came ever later: a little lower, with no hold."""
    per_s = learned(pace, rate, now_s).per_s
    lower = max(rate.per_s * LOWEST_BY_GUESS, per_s * DELAYED)
    return replace(pace, per_s=lower, at_s=now_s) if lower < per_s else pace


def warned(pace: Pace, rate: Rate, left: int, now_s: float) -> Pace:
    """Return the pace after the service said how many requests are left: lower where those are few, and never higher.

    The number is that of one of many counters and may be wrong, so it takes no more off than late answers do.
    """
    lower = rate.per_s * max(LOWEST_BY_GUESS, left / SCARCE)
    return replace(pace, per_s=lower, at_s=now_s) if lower < learned(pace, rate, now_s).per_s else pace


def answered(pace: Pace, sent_at_s: float) -> Pace:
    """Return the pace after something that left at `sent_at_s` went well; news from before a refusal change nothing."""
    return replace(pace, strikes=0) if pace.strikes and sent_at_s >= pace.at_s else pace


def backoff_s(attempt: int, chance: float, *, first_s: float = 1.0, cap_s: float = MAX_BACKOFF_S) -> float:
    """Return the back-off after failure number `attempt` (from 1): full jitter over a range that doubles.

    `chance` in [0, 1) comes from the clock. The first range is `first_s` wide, the widest `cap_s`.
    """
    return chance * min(cap_s, first_s * 2.0 ** min(attempt - 1, 32))


def stored(pace: Pace, operation: str, *, now_s: float, now: datetime.datetime) -> StoredPace:
    """Return the pace as another process can read it; a hold ends on a whole millisecond, and never early."""
    left_s = pace.held_until_s - now_s
    until = now + datetime.timedelta(seconds=left_s)
    return StoredPace(
        operation=operation,
        per_s=pace.per_s,
        at=now - datetime.timedelta(seconds=now_s - pace.at_s),
        # The database keeps milliseconds, and drops what is below them.
        held_until=until + datetime.timedelta(microseconds=-until.microsecond % 1000) if left_s > 0 else None,
        why=pace.why if left_s > 0 else "",
    )


def resumed(record: StoredPace, rate: Rate, *, now_s: float, now: datetime.datetime) -> Pace:
    """Return the pace that another process left behind.

    The wall clock may have stepped meanwhile: what was lowered in the future was lowered now, and a hold lasts no
    longer than it did from there, and never longer than `LONGEST_HOLD_S`.
    """
    ago_s = max(0.0, (now - record.at).total_seconds())
    hold_s = 0.0 if record.held_until is None else (record.held_until - max(now, record.at)).total_seconds()
    return Pace(
        per_s=min(rate.per_s, max(rate.per_s * SLOWEST, record.per_s)),
        at_s=now_s - ago_s,
        held_until_s=now_s + min(LONGEST_HOLD_S, max(0.0, hold_s)),
        why=record.why,
    )
