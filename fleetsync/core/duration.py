"""Durations for people."""

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def lasting(seconds: float) -> str:
    """Return a duration in the largest unit of which it has at least two: `90 s`, `5 min`, `30 h`, `3 d`."""
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
