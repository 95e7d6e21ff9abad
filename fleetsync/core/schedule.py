"""When next: intervals with jitter, and longer ones while something is broken."""

_SPREAD = 0.1
_FIRST_RETRY_S = 300.0


def pause_s(interval_s: float, chance: float) -> float:
    """Return the seconds from the end of one cycle to the start of the next: the interval, 10 % either way.

    `chance` is in [0, 1).
    """
    return interval_s * (1 - _SPREAD + 2 * _SPREAD * chance)


def first_pause_s(interval_s: float, chance: float) -> float:
    """Return the seconds before a source's first cycle, so that many that start together do not meet."""
    return min(5.0, interval_s * _SPREAD) * chance


def retry_pause_s(interval_s: float, failures: int, chance: float) -> float:
    """Return the seconds to the next try after `failures` cycles that failed one after the other (at least 1).

    That is for what failed although the source answers: one bad type makes no other wait for longer than ever. It
    doubles from a quarter of the interval, at first at most five minutes, to the interval; 10 % either way.
    """
    first_s = min(interval_s / 4, _FIRST_RETRY_S)
    return pause_s(min(interval_s, first_s * 2 ** min(failures - 1, 16)), chance)
