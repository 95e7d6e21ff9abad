"""One process per database: a flock on a file of its own, beside the database and never on it.

SQLite 3.7.0 to 3.51.2 can corrupt a file when two connections write or checkpoint at the same moment, and
closing any descriptor of the database itself would drop SQLite's own locks.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from fleetsync.errors import LockedError

_TRIES = 20_000
"""So often is the lock tried while others only ask for it: some hundredths of a second."""


def lock_file(database: Path) -> Path:
    """Return where the lock of a database is."""
    return database.with_name(database.name + ".lock")


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the lock of a database; the file stays, the lock ends with the process.

    Raises:
        LockedError: another process has it; the message says which.
    """
    path = lock_file(database)
    with path.open("a+", encoding="ascii") as file:
        if not _taken(file):
            file.seek(0)
            holder = file.read(20).strip() or "unknown"
            raise LockedError(f"database {database} is in use by process {holder}")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _taken(file: TextIO) -> bool:
    """Say whether the lock could be taken. Who only asks (`is_locked`) has it for an instant, shared: that passes."""
    for _ in range(_TRIES):
        if _try(file, fcntl.LOCK_EX):
            return True
        if not _try(file, fcntl.LOCK_SH):
            return False
        os.sched_yield()
    return False


def _try(file: TextIO, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(database: Path) -> bool:
    """Say whether some process holds the lock right now; creates nothing."""
    try:
        with lock_file(database).open("r", encoding="ascii") as file:
            return not _try(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
