"""The UTC day, in which services count, and what was spent in it, as arithmetic: values in, values out."""

import datetime
from collections.abc import Mapping

_KEPT = 3


def day_of(now: datetime.datetime) -> datetime.date:
    """Return the UTC day of an instant."""
    return now.astimezone(datetime.UTC).date()


def left_s(now: datetime.datetime) -> float:
    """Return the seconds from an instant until the next UTC day."""
    at = now.astimezone(datetime.UTC)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0) + datetime.timedelta(days=1)
    return (midnight - at).total_seconds()


def charged(spent: Mapping[datetime.date, int], day: datetime.date, cost: int) -> dict[datetime.date, int]:
    """Return what was spent by day after `cost` more in `day`.

    A wall clock may step to another day and back, so that the days beside it are kept; of more, the latest.
    """
    now = {**spent, day: spent.get(day, 0) + cost}
    return {each: now[each] for each in (day, *sorted(now.keys() - {day}, reverse=True)[: _KEPT - 1])}
