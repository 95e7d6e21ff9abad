"""How long a service asks us to wait."""

import datetime
import email.utils
import re
from collections.abc import Mapping

from fleetsync.core.day import left_s

FLOOR_S = 1.0
CAP_S = 3600.0

_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def retry_after_s(headers: Mapping[str, str], now: datetime.datetime) -> float | None:
    """Return the seconds to wait from now that the answer with these lower-case headers asks for.

    None where it does not ask. A date is compared with the answer's own Date header, and with `now` only where
    there is none. At least `FLOOR_S`, which is also what nonsense means; at most `CAP_S`.
    """
    text = headers.get("retry-after")
    if text is None:
        return None
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return _within(float(text))
    until = _instant(text)
    if until is None:
        return FLOOR_S
    return _within((until - (_instant(headers.get("date", "")) or now)).total_seconds())


def next_day_s(headers: Mapping[str, str], now: datetime.datetime) -> float:
    """Return the seconds from now until the service's next UTC day, when daily quotas come back."""
    return left_s(_instant(headers.get("date", "")) or now)


def _within(seconds: float) -> float:
    return min(CAP_S, max(FLOOR_S, seconds))


def _instant(text: str) -> datetime.datetime | None:
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
