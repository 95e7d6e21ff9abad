"""What an earlier process stored of what is wrong with the sources."""

import datetime

from fleetsync.core.breaker import FaultClass, StoredBreaker
from fleetsync.mirror.reader import Reader


def stored_breakers(reader: Reader) -> dict[str, StoredBreaker]:
    """Return what is stored, by source; nothing of sources that are well."""
    found: dict[str, StoredBreaker] = {}
    for name, fault, since, error, openings, probe_at in reader.rows(
        "SELECT name, fault, fault_since, error, openings, probe_at FROM source WHERE openings > 0"
    ):
        found[name] = StoredBreaker(
            fault=FaultClass(fault),
            since=datetime.datetime.fromisoformat(since),
            error=error or "",
            openings=openings,
            probe_at=datetime.datetime.fromisoformat(probe_at),
        )
    return found
