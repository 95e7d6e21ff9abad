"""Token buckets as arithmetic: values in, values out; somebody else waits.

A bucket may go into debt: taking from an empty one is allowed and answers how long to wait, so that callers
queue in the order in which they came and none polls.
"""

from msgspec import Struct
from msgspec.structs import replace

_SLACK_S = 0.05


class Rate(Struct, frozen=True, kw_only=True):
    """At most `per_s * w + burst` requests in every window of w seconds."""

    per_s: float
    burst: float = 1.0

    def __post_init__(self) -> None:
        if not (self.per_s > 0 and self.burst >= 1):
            raise ValueError(f"a rate needs more than 0 per second and a burst of at least 1: {self}")

    def __str__(self) -> str:
        return f"{self.per_s:g}/s burst {self.burst:g}"


def rate_of(per_s: float) -> Rate:
    """Return the rate with the default burst: a tenth of a second's worth, at least 1."""
    return Rate(per_s=per_s, burst=max(1.0, per_s / 10))


def evened(rate: Rate) -> Rate:
    """Return the rate to send at, with a burst that a service with the same bucket takes also when it comes late.

    While a burst is on its way, our bucket earns the next tokens and the service's, still full, earns none: who uses
    all of them is refused by as much as the burst was late. So 50 ms worth is left for the way, except for what
    makes up for 50 ms that we slept too long: that part of the rate would be lost.
    """
    slack = _SLACK_S * rate.per_s
    return replace(rate, burst=max(min(rate.burst, 1.0 + slack), rate.burst - slack))


class Bucket(Struct, frozen=True, kw_only=True):
    """Tokens at an instant of a monotonic clock; below zero is debt."""

    tokens: float
    at_s: float


def empty_bucket(now_s: float) -> Bucket:
    """Return a bucket without tokens: a restart does not earn a burst."""
    return Bucket(tokens=0.0, at_s=now_s)


def refill(bucket: Bucket, rate: Rate, now_s: float) -> Bucket:
    """Return the bucket as it is at `now_s`. A clock that steps back counts as no time passed."""
    elapsed_s = max(0.0, now_s - bucket.at_s)
    return Bucket(tokens=min(rate.burst, bucket.tokens + elapsed_s * rate.per_s), at_s=max(now_s, bucket.at_s))


def take(bucket: Bucket, rate: Rate, *, now_s: float, cost: float = 1.0) -> tuple[Bucket, float]:
    """Take `cost` tokens; return the new bucket and the seconds to wait before acting."""
    now = refill(bucket, rate, now_s)
    left = now.tokens - cost
    return replace(now, tokens=left), max(0.0, -left / rate.per_s)


def give_back(bucket: Bucket, cost: float = 1.0) -> Bucket:
    """Return the bucket with tokens that were taken and not used; the next refill caps them at the burst."""
    return replace(bucket, tokens=bucket.tokens + cost)


def drained(bucket: Bucket, until_s: float) -> Bucket:
    """Return the bucket without tokens to spare and earning none before `until_s`; debt stays debt."""
    return Bucket(tokens=min(0.0, bucket.tokens), at_s=max(bucket.at_s, until_s))
