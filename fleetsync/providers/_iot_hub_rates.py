"""What an IoT Hub lets its clients do, by tier and units. Checked 2026-11-21.

https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling

- Per hub one bucket for each row of the throttle table. Those of twins are shared with the devices' own twin traffic.
- Requests over a limit are served late before they are refused, and refusals name no time (429 without Retry-After).
- Twin reads, twin updates and queries count against the messages of a day, one for each 4 KB begun; the identity
  registry and configurations do not. A day is a UTC day. A spent one is 403 IotHubQuotaExceeded.
- Figures of Basic tiers are those of the Standard tier with the same number; they have no twins and no queries.
"""

from fleetsync.core.bucket import rate_of
from fleetsync.core.kind import Daily, Quota

OPERATIONS = ("query", "twin_read", "twin_write", "registry", "configuration")
DAILY = Daily(operations=frozenset({"query", "twin_read", "twin_write"}), message_bytes=4096)

_MINUTE_S = 60.0
_FREE = "F1"
_FREE_MESSAGES = 8_000
_MESSAGES = {"1": 400_000, "2": 6_000_000, "3": 300_000_000}
"""A day's messages per unit, by the number of the tier."""


def quota(tier: str, units: int) -> Quota:
    """Return the quota of a hub: `tier` is F1, B1 to B3 or S1 to S3, `units` at least 1."""
    size = tier[-1]
    per_s = _large(units) if size == "3" else _small(units, is_medium=size == "2")
    return Quota(
        classes={name: rate_of(per_s[name]) for name in OPERATIONS},
        daily=_FREE_MESSAGES if tier == _FREE else _MESSAGES[size] * units,
    )


def _small(units: int, *, is_medium: bool) -> dict[str, float]:
    return {
        "query": 20 / _MINUTE_S * units,
        "twin_read": max(100.0, 10.0 * units) if is_medium else 100.0,
        "twin_write": max(50.0, 5.0 * units) if is_medium else 50.0,
        "registry": 100 / _MINUTE_S * units,
        "configuration": 20 / _MINUTE_S * units,
    }


def _large(units: int) -> dict[str, float]:
    return {
        "query": 1_000 / _MINUTE_S * units,
        "twin_read": 500.0 * units,
        "twin_write": 250.0 * units,
        "registry": 5_000 / _MINUTE_S * units,
        "configuration": 20 / _MINUTE_S * units,
    }
