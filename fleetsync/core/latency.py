"""How long answers take, and whether that rises, as arithmetic: values in, values out.

Some services serve requests over their limit late before they refuse any: a latency that rises well above what it was
is the first sign. What counts is the median of the last answers, so that a single slow one changes nothing, against a
baseline that follows it within minutes, so that a service that is always slow is not suspected, nor one for ever that
became slow for reasons of its own.
"""

import math

from msgspec import Struct
from msgspec.structs import replace

WINDOW = 7
"""The last answers whose median counts."""
LEAST_ANSWERS = 20
"""So many answers make the first baseline."""
TIMES = 3.0
MORE_S = 1.0
FOLLOWS_S = 600.0
"""The time constant with which the baseline follows."""
PAUSE_S = 10.0
"""So long what was done about a rise is given to show."""
_LARGEST_STEP = 0.05
"""After a pause of hours one answer is not the new baseline."""


class Latency(Struct, frozen=True, kw_only=True):
    """What answers of one operation class took: the last ones, and the baseline as of `at_s` (monotonic)."""

    recent_s: tuple[float, ...] = ()
    baseline_s: float = 0.0
    answers: int = 0
    at_s: float = 0.0


def observed(latency: Latency, took_s: float, *, now_s: float) -> Latency:
    """Return the latency after an answer that took `took_s` from when its request was on the wire."""
    recent_s = (*latency.recent_s, took_s)[-WINDOW:]
    now = replace(latency, recent_s=recent_s, answers=latency.answers + 1, at_s=now_s)
    if latency.answers < LEAST_ANSWERS:
        return replace(now, baseline_s=median(recent_s))
    if len(recent_s) < WINDOW:
        return now
    step = min(_LARGEST_STEP, 1 - math.exp(-max(0.0, now_s - latency.at_s) / FOLLOWS_S))
    return replace(now, baseline_s=latency.baseline_s + step * (median(recent_s) - latency.baseline_s))


def median(values: tuple[float, ...]) -> float:
    """Return the middle of some values, or what is between the two in the middle."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def is_rising(latency: Latency) -> bool:
    """Say whether answers take well longer than they did: several times as long, and over a second more."""
    if latency.answers <= LEAST_ANSWERS or len(latency.recent_s) < WINDOW:
        return False
    return median(latency.recent_s) > max(latency.baseline_s * TIMES, latency.baseline_s + MORE_S)


def heeded(latency: Latency) -> Latency:
    """Return the latency after something was done about it: only answers from now on tell whether that was enough."""
    return replace(latency, recent_s=())
