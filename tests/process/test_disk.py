"""The disk under the real process: full, read-only, failing. What is written there, and what is said of it."""

import contextlib
import os
import re
import resource
import shutil
import sqlite3
import stat
import sys
from pathlib import Path

import pytest

from fleetsync.simulator import Cloud
from tests.process.conftest import CONFIG, DEVICES, Documented, beside, mounted, needs_mounts, needs_strace, works
from tests.process.program import Program

KNOWN = [(DEVICES,)]
COUNT = "SELECT count(*) FROM devices"
SOMEBODY_ELSE = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def seen_by(pid: int, path: Path) -> Path:
    """Return a file as a process sees it, which has mounts of its own."""
    return Path(f"/proc/{pid}/root{path}")


def fill(file: Path) -> None:
    """Leave no room on a disk."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as ballast:
        while ballast.write(bytes(4096)):
            pass


@needs_mounts
def test_a_full_disk_ends_nothing_and_loses_nothing(program: Program, cloud: Cloud, documented: Documented) -> None:
    state = program.folder / "state"
    state.mkdir()
    program.config.write_text(CONFIG.format(url=cloud.url, more='[database]\nurl = "sqlite:///state/fleetsync.db"'))
    program.around = mounted(f"mount -t tmpfs -o size=4m none {state}")
    with program.daemon() as daemon:
        daemon.ready()
        daemon.running.logged("cycle.finished", outcome="done")
        inside = seen_by(daemon.running.pid, state)
        fill(inside / "ballast")
        daemon.until("unrecorded")
        documented("the disk is full", daemon.status)
        down = daemon.running.logged("source.down", reason="unrecorded")
        documented("the disk is full", down["error"])
        status = Program(folder=program.folder, around=beside(daemon.running.pid)).run("status")
        assert f"0 MiB are free at {state}" in status.out
        sent = cloud.counters.requests

        (inside / "ballast").unlink()
        daemon.healed()
        daemon.running.logged("source.up")
        assert cloud.counters.requests > sent

        fill(inside / "ballast")
        daemon.until("unrecorded")
        descriptor = os.open(inside, os.O_PATH)
        ended = daemon.stopped()
        assert ended.code == 0
        assert ended.took_s < 5.0
        # The descriptor holds the disk, which else would have gone with its last process.
        for file in ("fleetsync.db", "fleetsync.db-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(f"/proc/self/fd/{descriptor}/{file}", program.folder)
        os.close(descriptor)
    assert program.ask(COUNT) == KNOWN
    assert program.ask("PRAGMA integrity_check") == [("ok",)]


def test_a_file_that_may_grow_no_further_ends_the_command_and_the_next_one_does_it_all(
    program: Program, documented: Documented
) -> None:
    program.around = ("sh", "-c", 'ulimit -f 200; exec "$@"', "sh")
    ended = program.run("sync")
    assert ended.code == 1
    documented("the disk fails", ended.line, ended.code)

    program.around = ()
    assert program.run("sync").code == 0
    assert program.ask(COUNT) == KNOWN
    assert program.ask("SELECT count(*) FROM history WHERE event = 'added'") == KNOWN


def test_a_daemon_whose_file_may_grow_no_further_ends_and_says_why(mirrored: Program, documented: Documented) -> None:
    with mirrored.daemon() as daemon:
        daemon.ready()
        daemon.running.logged("cycle.finished", outcome="done")
        resource.prlimit(daemon.running.pid, resource.RLIMIT_FSIZE, (4096, 4096))
        daemon.until("disk I/O error")
        ended = daemon.running.ended()
    assert ended.code == 1
    documented("the disk fails", ended.err.splitlines()[-1], ended.code)
    documented("the disk fails", daemon.status)
    assert "Traceback" not in ended.err


CALLS = "fsync,fdatasync,pwrite64,ftruncate,unlink"


@needs_strace
@pytest.mark.parametrize(
    ("fault", "command", "what"),
    [
        pytest.param("inject=fsync,fdatasync:error=EIO:when=8", "run", "the disk fails", id="fsync"),
        pytest.param("inject=pwrite64:error=EIO:when=25", "sync", "the disk fails", id="write"),
        pytest.param("inject=pread64:error=EIO:when=40+", "sync", "the database is damaged", id="read"),
    ],
)
def test_nothing_is_done_with_the_files_after_the_disk_failed(
    mirrored: Program, documented: Documented, fault: str, command: str, what: str
) -> None:
    trace, database = mirrored.folder / "trace", mirrored.database
    files = [word for end in ("", "-wal", "-journal") for word in ("-P", f"{database}{end}")]
    mirrored.around = ("strace", "-qq", "-f", "-o", str(trace), *files, "-e", f"trace={CALLS},pread64", "-e", fault)
    if command == "run":
        with mirrored.daemon() as daemon:
            daemon.ready()
            ended = daemon.running.ended()
    else:
        ended = mirrored.run(command)
    assert ended.code == 1
    documented(what, ended.err.splitlines()[-1], ended.code)
    assert "Traceback" not in ended.err
    calls = trace.read_text().splitlines()
    failed = max(number for number, call in enumerate(calls) if "INJECTED" in call)
    done = [call for call in calls[failed + 1 :] if re.search(rf"\b({CALLS.replace(',', '|')})\(", call)]
    assert done == [], "nobody knows what of it is on the disk"

    mirrored.around = ()
    assert mirrored.run("sync").code == 0
    assert mirrored.ask(COUNT) == KNOWN
    assert mirrored.ask("PRAGMA integrity_check") == [("ok",)]
    assert mirrored.ask("SELECT count(*) FROM cycles WHERE outcome = 'running'") == [(0,)]


@needs_mounts
@pytest.mark.parametrize("name", ["", "fleetsync.db"], ids=["folder", "file"])
def test_what_is_read_only_can_be_asked_and_not_written(mirrored: Program, documented: Documented, name: str) -> None:
    place = mirrored.folder / name
    mirrored.around = mounted(f"mount --bind {place} {place}; mount -o remount,bind,ro {place}")
    ended = mirrored.run("sync")
    assert ended.code == 1
    documented("the disk or the file is read-only", ended.line, ended.code)
    if not name:
        assert mirrored.run("query", COUNT).out.splitlines()[-1] == str(DEVICES)


@pytest.mark.skipif(
    os.geteuid() != 0 or not works(*SOMEBODY_ELSE, sys.executable, "-c", "import fleetsync"),
    reason="only root can be two users, and the other one has to reach the program",
)
@pytest.mark.parametrize("shut", ["folder", "database", "lock"])
def test_files_of_another_user_are_refused_with_their_name(
    mirrored: Program, documented: Documented, shut: str
) -> None:
    folder = mirrored.folder
    while not folder.stat().st_mode & stat.S_IXOTH:  # up to what everybody may enter
        folder.chmod(0o755)
        folder = folder.parent
    state = mirrored.folder / "state"
    state.mkdir()
    database = Path(shutil.move(mirrored.database, state / "fleetsync.db"))
    (state / "fleetsync.db.lock").touch()
    for path, mode in ((state, 0o777), (database, 0o666), (state / "fleetsync.db.lock", 0o666)):
        path.chmod(mode)
    closed = {"folder": state, "database": database, "lock": state / "fleetsync.db.lock"}[shut]
    closed.chmod(0o700 if shut == "folder" else 0o600)
    with mirrored.config.open("a") as config:
        config.write('[database]\nurl = "sqlite:///state/fleetsync.db"\n')
    mirrored.around = SOMEBODY_ELSE
    ended = mirrored.run("sync")
    assert ended.code == 1, ended
    documented("the files belong to another user", ended.line, ended.code)


def test_a_folder_that_is_missing_is_made_and_one_that_is_a_file_is_named(
    program: Program, cloud: Cloud, documented: Documented
) -> None:
    program.config.write_text(CONFIG.format(url=cloud.url, more='[database]\nurl = "sqlite:///a/b/fleetsync.db"'))
    assert program.run("sync").code == 0
    assert (program.folder / "a" / "b" / "fleetsync.db").exists()

    shutil.rmtree(program.folder / "a")
    (program.folder / "a").write_text("")
    ended = program.run("sync")
    assert ended.code == 1
    documented("the files belong to another user", ended.line, ended.code)


def damage(database: Path, how: str) -> None:
    size = database.stat().st_size
    match how:
        case "text":
            database.write_text("no database at all\n" * 1000)
        case "cut":
            os.truncate(database, size // 2)
        case "header":
            os.truncate(database, 100)
        case "holes":
            with database.open("r+b") as file:
                file.seek(2 * 4096)
                file.write(b"\xa5" * (size - 4 * 4096))


@pytest.mark.parametrize("how", ["text", "cut", "header", "holes"])
def test_a_damaged_database_is_left_as_it_is(mirrored: Program, documented: Documented, how: str) -> None:
    damage(mirrored.database, how)
    before = mirrored.database.read_bytes()
    ended = mirrored.run("sync")
    assert ended.code == 1
    documented("the database is damaged", ended.line, ended.code)
    if how != "holes":  # there the file is good enough to be opened
        assert mirrored.database.read_bytes() == before


def test_a_damaged_database_can_be_moved_away(mirrored: Program, documented: Documented) -> None:
    damage(mirrored.database, "cut")
    ended = mirrored.run("query", "SELECT id, document FROM devices")
    documented("the database is damaged", ended.line, ended.code)
    mirrored.database.unlink()
    assert mirrored.run("sync").code == 0, "as the message says"


def test_a_database_of_a_newer_version_stops_the_daemon(mirrored: Program, documented: Documented) -> None:
    with contextlib.closing(sqlite3.connect(mirrored.database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with mirrored.daemon() as daemon:
        daemon.until("STATUS=")
        ended = daemon.running.ended()
    documented("the database is of a newer fleetsync", ended.line, ended.code)
    documented("the database is of a newer fleetsync", daemon.status)


def test_a_database_that_is_replaced_under_the_daemon_is_not_touched(
    mirrored: Program, mirror: Path, documented: Documented
) -> None:
    with mirrored.daemon() as daemon:
        daemon.ready()
        daemon.running.logged("cycle.finished", outcome="done")
        copy = mirrored.folder / "copy.db"
        shutil.copy(mirror, copy)
        copy.rename(mirrored.database)
        daemon.until("taken away")
        ended = daemon.running.ended()
    assert ended.code == 78, "systemd does not start it again: it would find the journal of another file"
    documented("the database was replaced while it was in use", ended.err.splitlines()[-1], ended.code)
    documented("the database was replaced while it was in use", daemon.status)
    assert mirrored.database.read_bytes() == mirror.read_bytes()

    for end in ("-wal", "-shm"):
        mirrored.database.with_name(f"fleetsync.db{end}").unlink(missing_ok=True)
    assert mirrored.run("sync").code == 0
    assert mirrored.ask(COUNT) == KNOWN
