"""Putting the journal back into the database file.

SQLite does that by itself as it grows, and begins it anew when nobody reads from it. Readers that follow each other
without a gap keep it from doing so; then it grows until somebody waits for such a gap, which happens here.
"""

import contextlib

from sqlalchemy import Connection

from fleetsync.mirror.engine import BUSY_MS, Writer
from fleetsync.mirror.wal import WAL_KEPT_BYTES, wal_bytes

_GAP_MS = 1000
"""So long a gap is waited for. Meanwhile nothing is written; whoever reads goes on."""


async def put_back(writer: Writer) -> int:
    """Put a journal that has grown back into the file, if readers let it; return its size in bytes then."""
    if wal_bytes(writer.path) > WAL_KEPT_BYTES:
        await writer.run(_truncate)
    return wal_bytes(writer.path)


def _truncate(connection: Connection) -> None:
    # The driver's own: a checkpoint is refused inside of a transaction, which SQLAlchemy would begin.
    with contextlib.closing(connection.connection.cursor()) as cursor:
        cursor.execute(f"PRAGMA busy_timeout = {_GAP_MS}")
        try:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.fetchall()
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
