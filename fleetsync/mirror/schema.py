"""The schema's version: creating, upgrading, and refusing what does not fit."""

import itertools
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from fleetsync.core.kind import Kind
from fleetsync.errors import MirrorError
from fleetsync.mirror import late
from fleetsync.mirror.engine import Writer
from fleetsync.mirror.revision import head, migrations, mismatch, revisions
from fleetsync.mirror.views import views

_VERSIONS = "alembic_version"
_VERSION = text(f"SELECT version_num FROM {_VERSIONS}")


async def prepare(writer: Writer, kinds: Iterable[Kind], *, upgrade: bool) -> None:
    """Make the schema and the views what this version needs.

    A new file is always filled. An older one is upgraded when `upgrade` allows it, after a backup copy beside it.

    Raises:
        SchemaMismatchError: older and not to be upgraded, or made by a newer version.
    """
    found = await _revision(writer)
    if found != head():
        if found is not None:
            if found not in revisions() or not upgrade:
                raise mismatch(writer.path, found, ())
            backup(writer.path, _free_name(writer.path, found))
        await writer.run(_upgrade)
    await writer.run(late.build_left)
    await writer.run(lambda connection: _renew_views(connection, views(kinds)))


def backup(database: Path, target: Path) -> None:
    """Copy a database as it is at one instant, also while it is written to.

    Raises:
        MirrorError: the target exists, or a file cannot be read or written.
    """
    if target.exists():
        raise MirrorError(f"backup {target} exists already")
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as source:
            _copy(source, target)
    except (sqlite3.Error, OSError) as error:
        raise MirrorError(f"backup of {database} to {target}: {error}") from error


def _free_name(database: Path, revision: str) -> Path:
    """Return the first name for a backup that is not taken: an earlier upgrade may have failed after its own."""
    numbers = itertools.chain(("",), (f".{number}" for number in itertools.count(2)))
    files = (database.with_name(f"{database.name}.{revision}{number}.bak") for number in numbers)
    return next(file for file in files if not file.exists())


def _copy(source: sqlite3.Connection, target: Path) -> None:
    """Copy under another name; whatever ends it, half a copy never has the name of a whole one."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    part = Path(name)
    try:
        with closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
        os.fchmod(handle, 0o640)
        os.fsync(handle)
        part.rename(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    _flush(target.parent)


def _flush(folder: Path) -> None:
    """Put a folder's new names on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


async def _revision(writer: Writer) -> str | None:
    """Return the schema's revision, None for an empty database.

    Raises:
        SchemaMismatchError: it holds tables of somebody else.
    """
    names: list[str] = []
    found: list[str | None] = []

    def look(connection: Connection) -> None:
        with connection.begin():
            names.extend(inspect(connection).get_table_names())
            rows = connection.execute(_VERSION).all() if _VERSIONS in names else []
            found.append(rows[0][0] if rows else None)

    await writer.run(look)
    if names and found[0] is None:
        raise mismatch(writer.path, None, names)
    return found[0]


def _upgrade(connection: Connection) -> None:
    # Imported at need: most starts find the schema as it should be.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _renew_views(connection: Connection, wanted: Mapping[str, str]) -> None:
    """Create the views anew where they are not as they should be; an unchanged schema is not written to."""
    with connection.begin():
        inspector = inspect(connection)
        there = {name: inspector.get_view_definition(name) for name in inspector.get_view_names()}
        statements = {name: f"CREATE VIEW {name} AS {select}" for name, select in wanted.items()}
        if there == statements:
            return
        for name in there:
            connection.execute(text(f"DROP VIEW {name}"))
        for statement in statements.values():
            connection.exec_driver_sql(statement)
