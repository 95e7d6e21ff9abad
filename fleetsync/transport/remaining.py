"""How many requests a service says are left: a hint of Azure Resource Manager, whose counters jump about."""

from collections.abc import Mapping

_PREFIX = "x-ms-ratelimit-remaining-"


def remaining(headers: Mapping[str, str]) -> int | None:
    """Return the smallest number that the lower-case headers of an answer name; None where they name none."""
    values = (value for name, value in headers.items() if name.startswith(_PREFIX))
    return min((int(value) for value in values if value.isdecimal()), default=None)
