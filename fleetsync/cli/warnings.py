"""What a person should know before it becomes an error."""

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from fleetsync.clock import Clock
from fleetsync.config.settings import Settings, SourceSettings
from fleetsync.core.words import counted
from fleetsync.mirror.library import SAFE
from fleetsync.mirror.wal import LARGE_WAL_BYTES, wal_bytes

LITTLE_ROOM_BYTES = 16 * 1024 * 1024

_WARN_DAYS = 30
_SOON = ("api-token", "client-certificate")
"""The ways to sign in with something that says when it ends."""


def wal_warnings(database: Path) -> Iterator[str]:
    """Yield what to do about a journal that a reader holds open."""
    size = wal_bytes(database)
    if size > LARGE_WAL_BYTES:
        yield (
            f"the WAL of {database} has {size // 2**20} MiB: some program holds the database open for reading; "
            f"find it with `fuser {database}` and end its transaction"
        )


def disk_warnings(database: Path) -> Iterator[str]:
    """Yield that there is next to no room where the database is: then what is wrong cannot be stored there either."""
    free = shutil.disk_usage(database.parent).free
    if free < LITTLE_ROOM_BYTES:
        yield f"{free // 2**20} MiB are free at {database.parent}: what comes next cannot be stored: make room"


def sqlite_warnings() -> Iterator[str]:
    """Yield what to mind with a SQLite that can corrupt a file."""
    if sqlite3.sqlite_version_info < SAFE:
        yield (
            f"SQLite {sqlite3.sqlite_version} has the bug of 3.7.0 to 3.51.2 that can corrupt a file with two writers: "
            "fleetsync keeps to one; let no other program write to this file"
        )


def ending_services(sources: Iterable[SourceSettings], clock: Clock) -> Iterator[str]:
    """Yield which sources' services are to end, or ended, and what to do."""
    for source in sources:
        end = source.kind.ends
        if end is not None:
            days = (end.on - clock.now().date()).days
            word = f"ends on {end.on}, in {counted(days, 'day')}" if days >= 0 else f"ended on {end.on}"
            yield f"source {source.name}: the service behind {source.kind.name} {word}: {end.advice}"


def ending(settings: Settings, clock: Clock) -> Iterator[str]:
    """Yield the tokens and certificates that end within thirty days, or ended."""
    sources = [source for source in settings.sources.values() if source.auth.method in _SOON]
    if not sources:
        return
    from fleetsync.errors import AuthError
    from fleetsync.wiring.sign_in import tokens_of

    for source in sources:
        try:
            end = tokens_of(source, clock, settings.database.path.parent).expires_at()
        except AuthError as error:
            yield f"source {source.name}: {error}"
            continue
        if end is not None and (days := (end - clock.now()).days) < _WARN_DAYS:
            what = source.auth.method.rpartition("-")[2]
            word = f"ends in {counted(days, 'day')}, on {end:%Y-%m-%d}" if days >= 0 else f"ended on {end:%Y-%m-%d}"
            yield f"source {source.name}: its {what} {word}: replace it"
