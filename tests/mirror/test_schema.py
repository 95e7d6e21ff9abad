"""The file: who may open it, what is in it, and how it is left."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

import fleetsync
from fleetsync.core.kind import Column, ColumnType
from fleetsync.errors import BrokenMirrorError, LockedError, MirrorError, SchemaMismatchError
from fleetsync.mirror import revision, schema
from fleetsync.mirror.lock import is_locked, lock_file, locked
from fleetsync.mirror.mirror import Mirror, open_mirror
from fleetsync.mirror.tables import metadata
from fleetsync.mirror.views import views
from fleetsync.providers.iot_central import KIND
from tests.fakes.clock import FakeClock
from tests.mirror.bench import source_row
from tests.mirror.columns import COLUMNS

PACKAGE = Path(fleetsync.__file__).parent


def query(path: Path, sql: str, mode: str = "ro") -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True)) as connection:
        found = connection.execute(sql).fetchall()
        connection.commit()
        return found


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_the_revisions_are_those_that_alembic_finds() -> None:
    scripts = ScriptDirectory(str(revision.migrations()))
    assert scripts.get_heads() == [revision.head()]
    assert {script.revision for script in scripts.walk_revisions()} == set(revision.revisions())


def content_of(path: Path) -> bytes:
    return path.read_bytes()


async def open_and_close(path: Path, *, upgrade: bool = False) -> None:
    async with open_mirror(path, [KIND], FakeClock(), upgrade=upgrade) as mirror:
        await mirror.cycles.register([source_row()], file="config.toml")


def test_the_migrations_make_the_tables_that_the_code_works_with(database: Path) -> None:
    engine = create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_views_have_exactly_their_columns_in_order(database: Path) -> None:
    names = {str(name) for (name,) in query(database, "SELECT name FROM sqlite_master WHERE type = 'view'")}
    assert names == COLUMNS.keys()
    with contextlib.closing(sqlite3.connect(database)) as connection:
        found = {
            view: [column[0] for column in connection.execute(f"SELECT * FROM {view}").description] for view in names
        }
    assert found == COLUMNS


async def test_opening_what_is_up_to_date_changes_no_byte_of_the_schema(database: Path) -> None:
    await open_and_close(database)
    before = query(database, "PRAGMA schema_version")
    await open_and_close(database)
    assert query(database, "PRAGMA schema_version") == before


async def test_views_of_another_version_are_made_anew(database: Path) -> None:
    query(database, "DROP VIEW drift", "rw")
    query(database, "CREATE VIEW old AS SELECT 1", "rw")
    await open_and_close(database)
    names = {name for (name,) in query(database, "SELECT name FROM sqlite_master WHERE type = 'view'")}
    assert names == COLUMNS.keys()


async def test_a_new_file_is_made_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "new.db"
    await open_and_close(path)
    assert query(path, "SELECT version_num FROM alembic_version") == [(revision.head(),)]


@pytest.mark.parametrize("name", ["a b.db", "50%25.db", "100%.db", "what?.db", "no#1.db", "ü.db", "a'b.db"])
async def test_a_file_may_have_an_odd_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    await open_and_close(path)
    schema.backup(path, tmp_path / f"copy of {name}")
    assert query(path, "SELECT name FROM sources") == query(tmp_path / f"copy of {name}", "SELECT name FROM sources")
    assert names_in(tmp_path) == sorted([name, f"{name}.lock", f"copy of {name}"])


LATER = """
import asyncio, sys
from pathlib import Path
from fleetsync.clock import SystemClock
from fleetsync.errors import SchemaMismatchError
from fleetsync.mirror.mirror import open_mirror
from fleetsync.mirror.revision import migrations
from fleetsync.providers.iot_central import KIND

async def main(path):
    assert migrations() == Path(sys.argv[2])
    try:
        async with open_mirror(path, [KIND], SystemClock()):
            sys.exit("it was not refused")
    except SchemaMismatchError as error:
        assert "db upgrade" in str(error), error
    assert not list(path.parent.glob("*.bak"))
    async with open_mirror(path, [KIND], SystemClock(), upgrade=True):
        pass

asyncio.run(main(Path(sys.argv[1])))
"""


def test_an_older_database_is_refused_until_it_is_upgraded_after_a_backup(database: Path, tmp_path: Path) -> None:
    installed = tmp_path / "later" / "fleetsync"
    shutil.copytree(PACKAGE, installed, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(revision.migrations(), installed / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    (installed / "migrations" / "versions" / "9999_later.py").write_text(
        f'revision = "9999"\ndown_revision = "{revision.head()}"\n\n\ndef upgrade():\n    pass\n'
    )
    before = query(database, "SELECT version_num FROM alembic_version")

    done = subprocess.run(
        [sys.executable, "-c", LATER, str(database), str(installed / "migrations")],
        cwd=installed.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert query(database, "SELECT version_num FROM alembic_version") == [("9999",)]
    [backup] = database.parent.glob("*.bak")
    assert backup.name == f"mirror.db.{revision.head()}.bak"
    assert query(backup, "SELECT version_num FROM alembic_version") == before
    assert backup.stat().st_mode & 0o777 == 0o640


def schema_of(path: Path, revision_: str) -> None:
    """Make a database as an earlier version did."""
    config = Config()
    config.set_main_option("script_location", str(revision.migrations()))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision_)
    engine.dispose()


def first_schema(path: Path) -> None:
    """Make a database as the first version did, with something in it."""
    schema_of(path, "0001")
    columns = "name, kind, url, identity, mode, configured, paused, state, known, drifting"
    query(
        path,
        f"INSERT INTO source ({columns}) VALUES ('plant', 'iot-central', 'u', 'i', 'manual', 1, 1, 'up', 7, 0)",
        "rw",
    )
    query(path, "CREATE VIEW sources AS SELECT name FROM source", "rw")


async def test_what_the_first_schema_held_is_there_after_the_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "first.db"
    first_schema(path)

    async with open_mirror(path, [KIND], FakeClock(), upgrade=True) as mirror:
        assert not await mirror.cycles.is_confirmed("plant", 3)

    assert query(path, "SELECT name, state, known FROM sources") == [("plant", "paused", 7)]
    assert query(path, "SELECT refused_writes FROM source") == [(3,)]
    assert names_in(tmp_path) == ["first.db", "first.db.0001.bak", "first.db.lock"]


async def test_rows_and_indexes_are_the_same_when_the_key_has_become_an_index(tmp_path: Path, database: Path) -> None:
    path = tmp_path / "fifth.db"
    schema_of(path, "0005")
    columns = "no, source, type, id, digest, size_bytes, first_seen_at, changed_at, seen_at, seen_by, document"
    values = "7, 'plant', 'device', 'a', x'00ff', 2, 'then', 'then', 'then', 1, '{}'"
    query(path, f"INSERT INTO resource ({columns}) VALUES ({values})", "rw")
    query(path, "CREATE VIEW devices AS SELECT id FROM resource", "rw")
    before = query(path, "SELECT * FROM resource")

    async with open_mirror(path, [KIND], FakeClock(), upgrade=True):
        pass

    assert query(path, "SELECT * FROM resource") == before
    indexes = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'resource' ORDER BY name"
    assert query(path, indexes) == query(database, indexes)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        query(path, f"INSERT INTO resource ({columns}) VALUES ({values.replace('7', '8', 1)})", "rw")


# Two ids that are the same in two sources, one of them in two types too; one has a tombstone, one no row any more. The
# numbers of the last events were given away and forgotten.
SEVENTH = """
INSERT INTO source (name, kind, url, identity, mode, configured, paused, state, known, drifting) VALUES
    ('plant', 'iot-central', 'u', 'i', 'manual', 1, 0, 'up', 7, 0), ('other', 'iot-hub', 'u', 'i', 'manual', 1, 0, 'up', 7, 0);
INSERT INTO resource
    (no, source, type, id, gone_at, digest, size_bytes, first_seen_at, changed_at, seen_at, seen_by, document) VALUES
    (3, 'plant', 'device', 'live', NULL, x'00', 2, 'then', 'then', 'then', 1, '{}'),
    (4, 'plant', 'module', 'live', NULL, x'00', 2, 'then', 'then', 'then', 1, '{}'),
    (6, 'plant', 'device', 'buried', 'then', x'00', 2, 'then', 'then', 'then', 1, '{}'),
    (9, 'other', 'device', 'live', NULL, x'00', 2, 'then', 'then', 'then', 1, '{}');
INSERT INTO event (id, source, type, resource_id, at, cycle, event, patch, reason) VALUES
    (1, 'plant', 'device', 'live', 'at 1', 1, 'added', NULL, NULL),
    (2, 'plant', 'device', 'forgotten', 'at 1', 1, 'added', NULL, NULL),
    (4, 'other', 'device', 'live', 'at 1', 2, 'added', NULL, NULL),
    (5, 'other', 'device', 'forgotten', 'at 1', 2, 'added', NULL, NULL),
    (7, 'plant', 'module', 'live', 'at 2', 3, 'added', NULL, NULL),
    (8, 'plant', 'device', 'live', 'at 2', 3, 'updated', '{"a": 1}', NULL),
    (9, 'plant', 'device', 'forgotten', 'at 3', 5, 'gone', NULL, 'unseen twice'),
    (11, 'plant', 'device', 'buried', 'at 3', 5, 'gone', NULL, 'not found'),
    (12, 'other', 'device', 'forgotten', 'at 2', 6, 'updated', 'null', NULL);
UPDATE sqlite_sequence SET seq = 40 WHERE name = 'event';
CREATE VIEW history AS SELECT e.id, e.source, e.type, e.resource_id, e.at, e.cycle, e.event, e.patch
    FROM event e JOIN source s ON s.name = e.source AND s.configured;
"""
KILLED_LOAD = "DROP INDEX resource_by_key; DROP INDEX event_by_resource;"


@pytest.mark.parametrize("more", ["", KILLED_LOAD])
async def test_history_is_the_same_when_it_goes_by_numbers(tmp_path: Path, more: str) -> None:
    path = tmp_path / "seventh.db"
    schema_of(path, "0007")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(SEVENTH + more)
    history, reasons = "SELECT * FROM history ORDER BY id", "SELECT id, reason FROM event ORDER BY id"
    before = query(path, history), query(path, reasons)
    assert len(before[0]) == 9

    async with open_mirror(path, [KIND], FakeClock(), upgrade=True):
        pass

    assert (query(path, history), query(path, reasons)) == before
    assert query(path, "SELECT no, source, type, id FROM resource_name ORDER BY no") == [
        *query(path, "SELECT no, source, type, id FROM resource ORDER BY no"),
        (10, "other", "device", "forgotten"),
        (11, "plant", "device", "forgotten"),
    ]
    query(path, "INSERT INTO event (no, at, cycle, event) VALUES (3, 'at 4', 7, 'updated')", "rw")
    assert query(path, "SELECT max(id) FROM event") == [(41,)], "a number that was given away is not given again"


async def test_a_newer_database_is_refused_and_left_as_it_is(database: Path) -> None:
    query(database, "UPDATE alembic_version SET version_num = '9999'", "rw")
    before = content_of(database)
    for upgrade in (False, True):
        with pytest.raises(SchemaMismatchError, match="has schema 9999, which is newer; this version"):
            await open_and_close(database, upgrade=upgrade)
    assert query(database, "PRAGMA journal_mode") == [("delete",)]
    assert content_of(database)[100:] == before[100:]


async def test_a_database_of_somebody_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    query(path, "CREATE TABLE theirs (a)", "rwc")
    before = content_of(path)
    with pytest.raises(SchemaMismatchError, match=r"is not of fleetsync: it holds theirs; .* name another file"):
        await open_and_close(path, upgrade=True)
    assert query(path, "PRAGMA journal_mode") == [("delete",)]
    assert content_of(path)[100:] == before[100:]


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("not a database, but long enough to be read as one" * 30)
    before = content_of(path)
    with pytest.raises(MirrorError, match=r"text\.db"):
        await open_and_close(path)
    assert content_of(path) == before


async def test_a_folder_that_cannot_be_made_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MirrorError, match="file"):
        await open_and_close(tmp_path / "file" / "x.db")


async def test_a_second_opening_says_who_has_it(database: Path) -> None:
    async with open_mirror(database, [KIND], FakeClock()):
        assert is_locked(database)
        with pytest.raises(LockedError, match=r"in use by process \d+"):
            await open_and_close(database)
    assert not is_locked(database)
    await open_and_close(database)


def test_who_only_asks_for_the_lock_keeps_nobody_from_taking_it(database: Path) -> None:
    with locked(database):
        pass
    program = (
        "import sys\nfrom pathlib import Path\nfrom fleetsync.mirror.lock import is_locked\n"
        "print(flush=True)\nwhile True:\n    is_locked(Path(sys.argv[1]))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(database)], stdout=subprocess.PIPE) as asking:
        try:
            assert asking.stdout is not None
            asking.stdout.readline()
            for _ in range(1000):
                with locked(database):
                    pass
        finally:
            asking.kill()


def test_a_lock_ends_with_its_process(database: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom fleetsync.mirror.lock import locked\n"
        "with locked(Path(sys.argv[1])):\n    os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(database)], check=False)
    assert lock_file(database).exists()
    assert not is_locked(database)


def test_asking_for_a_lock_makes_no_file(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


async def test_while_it_is_open_it_is_durable_and_readable_and_afterwards_one_file(database: Path) -> None:
    async with open_mirror(database, [KIND], FakeClock()) as mirror:
        await mirror.cycles.register([source_row()], file="c")
        assert query(database, "PRAGMA journal_mode") == [("wal",)]
        assert query(database, "SELECT name FROM sources") == [("plant",)]
        async with mirror._writer.transaction() as transaction:
            assert await transaction.rows(text("PRAGMA synchronous")) == [(2,)]
    assert query(database, "PRAGMA journal_mode") == [("delete",)]
    assert names_in(database.parent) == ["mirror.db", "mirror.db.lock"]
    assert query(database, "SELECT name FROM sources") == [("plant",)]


async def test_the_journal_goes_back_also_when_the_work_failed(database: Path) -> None:
    async def fail() -> None:
        async with open_mirror(database, [KIND], FakeClock()) as mirror:
            await mirror.cycles.register([source_row()], file="c")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert query(database, "PRAGMA journal_mode") == [("delete",)]
    assert query(database, "SELECT name FROM sources") == [("plant",)]


async def test_a_reader_that_still_has_the_file_keeps_the_journal_and_loses_nothing(database: Path) -> None:
    async with open_mirror(database, [KIND], FakeClock()) as mirror:
        reader = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM sources").fetchall()
        await mirror.cycles.register([source_row()], file="c")
    reader.close()
    await open_and_close(database)
    assert query(database, "SELECT name FROM sources") == [("plant",)]
    assert query(database, "PRAGMA journal_mode") == [("delete",)]


async def test_a_backup_is_the_database_at_one_instant_and_never_overwrites(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    async with open_mirror(database, [KIND], FakeClock()) as mirror:
        await mirror.cycles.register([source_row()], file="c")
        schema.backup(database, target)
        await mirror.cycles.register([source_row("other")], file="c")
    assert query(target, "SELECT name FROM sources") == [("plant",)]
    before = content_of(target)
    with pytest.raises(MirrorError, match="exists already"):
        schema.backup(database, target)
    assert content_of(target) == before


KILLED = """
import os, sys
from pathlib import Path
from fleetsync.mirror import revision, schema

os.fsync = lambda _: os.kill(os.getpid(), 9)
schema.backup(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_backup_that_was_killed_is_none_and_can_be_made_again(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    done = subprocess.run([sys.executable, "-c", KILLED, str(database), str(target)], check=False)
    assert done.returncode == -9
    assert not target.exists()
    schema.backup(database, target)
    assert query(target, "PRAGMA integrity_check") == [("ok",)]
    assert target.stat().st_mode & 0o777 == 0o640


async def test_an_upgrade_after_one_that_failed_makes_a_backup_beside_the_first(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_connection: object) -> None:
        raise MirrorError("no space")

    monkeypatch.setattr(schema, "head", lambda: "9999")
    monkeypatch.setattr(schema, "_upgrade", fail)
    for _ in range(3):
        with pytest.raises(MirrorError, match="no space"):
            await open_and_close(database, upgrade=True)
    [revision] = query(database, "SELECT version_num FROM alembic_version")
    kept = [f"mirror.db.{revision[0]}{number}.bak" for number in (".2", ".3", "")]
    assert names_in(database.parent) == sorted(["mirror.db", "mirror.db.lock", *kept])


class Failing:
    """The driver's connection, of which one commit fails as one whose fsync fails does."""

    def __init__(self, connection: Any, code: int) -> None:
        self._connection = connection
        self._code = code

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def commit(self) -> None:
        self._connection.rollback()  # as SQLite does by itself
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = self._code
        raise error


async def fail_once(mirror: Mirror, code: int) -> None:
    """Let one commit fail with a code, and none after it."""
    pooled: Any = mirror._writer._connection.connection
    sound = pooled.dbapi_connection
    pooled.dbapi_connection = Failing(sound, code)
    with pytest.raises(MirrorError, match="disk I/O error"):
        await mirror.cycles.set_paused("plant", paused=True)
    pooled.dbapi_connection = sound


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB])
async def test_nothing_goes_on_with_a_connection_whose_database_failed(database: Path, code: int) -> None:
    async with open_mirror(database, [KIND], FakeClock()) as mirror:
        await mirror.cycles.register([source_row()], file="c")
        await fail_once(mirror, code)
        for _ in range(2):
            with pytest.raises(BrokenMirrorError, match="failed before: restart"):
                await mirror.cycles.set_paused("plant", paused=True)
    assert query(database, "PRAGMA journal_mode") == [("wal",)]
    assert query(database, "SELECT state FROM sources") == [("never",)]


@pytest.mark.parametrize("comes", [True, False])
async def test_nothing_is_written_to_a_database_that_was_replaced_or_taken_away(database: Path, comes: bool) -> None:
    async with open_mirror(database, [KIND], FakeClock()) as mirror:
        await mirror.cycles.register([source_row()], file="c")
        database.rename(database.with_name("elsewhere.db"))
        if comes:
            database.write_bytes(b"")
        for reason in ("replaced while it was in use: move mirror.db-wal", "failed before"):
            with pytest.raises(BrokenMirrorError, match=reason):
                await mirror.cycles.set_paused("plant", paused=True)
    assert database.exists() is comes
    assert not comes or database.read_bytes() == b""


async def test_a_full_disk_breaks_nothing_for_later(database: Path) -> None:
    async with open_mirror(database, [KIND], FakeClock()) as mirror:
        await mirror.cycles.register([source_row()], file="c")
        await fail_once(mirror, sqlite3.SQLITE_FULL)
        await mirror.cycles.set_paused("plant", paused=True)
    assert query(database, "SELECT state FROM sources") == [("paused",)]


def test_booleans_and_integers_in_a_view_have_their_type_on_every_engine() -> None:
    columns = {
        "b": Column(path=("b",), type=ColumnType.BOOLEAN),
        "n": Column(path=("in", "n"), type=ColumnType.INTEGER),
    }
    first = KIND.types[-1]
    kind = replace(KIND, types=(msgspec.structs.replace(first, columns=columns),))
    select = views([kind])[first.view]
    assert "CAST(r.document ->> 'b' AS boolean) AS b" in select
    assert "CAST(r.document -> 'in' ->> 'n' AS bigint) AS n" in select


@pytest.mark.parametrize(("shown", "value"), [("true", 1), ("false", 0), ("null", None)])
def test_a_boolean_in_a_view_is_one_or_zero_or_null(shown: str, value: int | None) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        sql = "SELECT CAST(r.document ->> 'b' AS boolean) FROM (SELECT ? AS document) r"
        assert connection.execute(sql, (f'{{"b": {shown}}}',)).fetchall() == [(value,)]


def test_a_backup_that_cannot_be_made_says_why(tmp_path: Path, database: Path) -> None:
    with pytest.raises(MirrorError, match="backup of"):
        schema.backup(tmp_path / "none.db", tmp_path / "copy.db")
    with pytest.raises(MirrorError, match="backup of"):
        schema.backup(database, tmp_path / "none" / "copy.db")
    (tmp_path / "text.db").write_text("no database at all" * 100)
    with pytest.raises(MirrorError, match="backup of"):
        schema.backup(tmp_path / "text.db", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_kind_whose_types_have_no_column_of_a_shared_view_shows_null_there() -> None:
    assert views([KIND]).keys() == COLUMNS.keys()


def test_a_mirror_is_opened_without_the_dialect_of_another_engine() -> None:
    code = "import sys; import fleetsync.mirror.mirror; print('sqlalchemy.dialects.postgresql' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)

    assert done.stdout == "False\n"
