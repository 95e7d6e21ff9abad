"""What SQLite says when a database cannot be used, with what to do about it."""

import os
import sqlite3
from pathlib import Path

_RIGHTS = "let user {user} read and write it, its folder and what is beside it"
_DAMAGED = (
    "it is damaged, or its disk cannot be read (see the kernel's log): put a backup in its place, "
    "or move it away and `fleetsync sync` fills a new one"
)
_ADVICE = {
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "its disk fails, or takes no more (see the kernel's log)",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_READONLY: _RIGHTS,
    sqlite3.SQLITE_CANTOPEN: f"{_RIGHTS}, and enough open files",
    sqlite3.SQLITE_BUSY: "another program holds it: end its transaction",
    sqlite3.SQLITE_LOCKED: "another program holds it: end its transaction",
}


def primary(error: BaseException | None) -> int:
    """Return the primary of SQLite's extended code; 0 where there is none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def told(path: Path, error: BaseException | None) -> str:
    """Return one line: which database, what SQLite says of it, and what to do where that is known."""
    advice = _ADVICE.get(primary(error))
    said = f"database {path}: {error}"
    return said if advice is None else f"{said}: {advice.format(user=os.geteuid())}"
