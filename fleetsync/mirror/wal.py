"""The journal (WAL) beside the database: how large it is, and how large it should be."""

from pathlib import Path

WAL_KEPT_BYTES = 64 * 1024 * 1024
"""So large it may stay; what it was larger is given back when it begins anew."""

LARGE_WAL_BYTES = 256 * 1024 * 1024
"""So large it is held by a reader, and a person should know."""


def wal_bytes(database: Path) -> int:
    """Return the size of what is not yet back in the database file."""
    try:
        return database.with_name(f"{database.name}-wal").stat().st_size
    except FileNotFoundError:
        return 0
