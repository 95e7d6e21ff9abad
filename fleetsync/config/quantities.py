"""Durations, percentages, rates and the like, as people write them: `90d`, `20%`, `5/s burst 5`, `3 in 24h`."""

import re

from fleetsync.config.values import UnfitError
from fleetsync.config.wording import kind_of, quote
from fleetsync.core.bucket import Rate, rate_of
from fleetsync.core.contest import Rewrites

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "y": 365 * 86_400}
_PERIODS_S = {"s": 1, "min": 60, "h": 3_600}
_LONGEST_S = 100 * _UNITS_S["y"]

_DURATION = re.compile(r"([0-9]{1,12}) ?([smhdy])")
_REWRITES = re.compile(r"([0-9]{1,9}) in ([0-9]{1,12} ?[smhdy])")
_PERCENTAGE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%")
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
_RATE = re.compile(rf"({_NUMBER}) ?/ ?(s|min|h)(?: +burst +({_NUMBER}))?")


def as_duration(value: object) -> float:
    """Return the seconds of a duration such as "30s", "5m", "6h", "90d" or "1y" (365 days), at least one second."""
    match = _match(_DURATION, value, 'a duration like "30s", "5m", "6h", "90d" or "1y"')
    seconds = int(match[1]) * _UNITS_S[match[2]]
    if not 1 <= seconds <= _LONGEST_S:
        raise UnfitError("must be a duration of at least 1s and at most 100y")
    return float(seconds)


def as_percentage(value: object) -> float:
    """Return a percentage from "0%" to "100%" as a share."""
    match = _match(_PERCENTAGE, value, 'a percentage like "20%"')
    if float(match[1]) > 100:
        raise UnfitError('must be a percentage from "0%" to "100%"')
    return float(match[1]) / 100


def as_rate(value: object) -> Rate:
    """Return a rate such as "10/s", "20/min", "1000/h" or "5/s burst 5".

    The default burst is a tenth of a second's worth, at least 1.
    """
    match = _match(_RATE, value, 'a rate like "10/s", "20/min", "1000/h" or "5/s burst 5"')
    per_s = float(match[1]) / _PERIODS_S[match[2]]
    burst = float(match[3]) if match[3] else rate_of(per_s).burst if per_s else 1.0
    if not per_s or burst < 1:
        raise UnfitError("must be a rate of more than 0 with a burst of at least 1")
    return Rate(per_s=per_s, burst=burst)


def as_rewrites(value: object) -> Rewrites:
    """Return how often something may be written, such as "3 in 24h": at least once."""
    match = _match(_REWRITES, value, 'a number and a duration like "3 in 24h"')
    if not int(match[1]):
        raise UnfitError('must be at least once: sources that nobody may write to have mode = "observe"')
    return Rewrites(most=int(match[1]), window_s=as_duration(match[2]))


def _match(pattern: re.Pattern[str], value: object, wanted: str) -> re.Match[str]:
    if not isinstance(value, str):
        raise UnfitError(f"must be {wanted}, not {kind_of(value)}")
    match = pattern.fullmatch(value.strip())
    if match is None:
        raise UnfitError(f"must be {wanted}, not {quote(value)}")
    return match
