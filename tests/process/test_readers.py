"""A second user, of the group that may read, reads the database whatever the daemon does."""

import asyncio
import os
import pickle
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fleetsync.simulator import Cloud, Options

READERS = 54_321
READER = 65_534
QUESTION = "SELECT count(*) FROM devices"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A state folder as the unit makes it: 0750, with the group of the readers."""
    path = Path(tempfile.mkdtemp(prefix="fleetsync-test-"))
    os.chown(path, 0, READERS)
    path.chmod(0o750)
    yield path
    shutil.rmtree(path)


def as_reader(work: Callable[[], object]) -> object:
    """Return what `work` returns, or the text of what it raises, in a process of the reading user."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(READERS, READERS, READERS)
        os.setresuid(READER, READER, READER)
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - it goes to the parent
            result = str(error)
        os.write(sending, pickle.dumps(result))
        os._exit(0)
    os.close(sending)
    os.waitpid(child, 0)
    with os.fdopen(receiving, "rb") as pipe:
        return pickle.loads(pipe.read())


def count(database: Path) -> object:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    (number,) = connection.execute(QUESTION).fetchone()
    connection.close()
    return number


def write(database: Path) -> object:
    connection = sqlite3.connect(database)
    connection.execute("DELETE FROM source")
    connection.commit()
    return "written"


@asynccontextmanager
async def daemon(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the daemon with the group and the umask of the unit; it is ready inside the block."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(folder / "notify"))
        systemd.setblocking(False)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fleetsync", "--config", str(folder / "config.toml"), "run"),
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
            group=READERS,
            umask=0o027,
            stderr=asyncio.subprocess.PIPE,
        )
        loop = asyncio.get_running_loop()
        while b"READY=1" not in await loop.sock_recv(systemd, 4096):
            pass
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.communicate()
            (folder / "notify").unlink()


async def test_the_reading_group_reads_with_the_daemon_up_stopped_and_killed(folder: Path) -> None:
    database = folder / "fleetsync.db"
    cloud = Cloud(Options(devices=120, rate="none", latency_s=0.0))
    async with cloud.serving():
        text = cloud.configuration().replace("[sources.central.auth]", 'rate.list = "1000/s"\n[sources.central.auth]')
        (folder / "config.toml").write_text(text, encoding="utf-8")
        sync = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fleetsync", "--config", str(folder / "config.toml"), "sync"),
            group=READERS,
            umask=0o027,
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await sync.wait() == 0
        for how in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            async with daemon(folder) as process:
                assert as_reader(lambda: count(database)) == 120, "up"
                assert "readonly" in str(as_reader(lambda: write(database)))
                process.send_signal(how)
                await process.wait()
                assert process.returncode == (0 if how is signal.SIGTERM else -signal.SIGKILL)
            assert as_reader(lambda: count(database)) == 120, f"after {how.name}"
        assert {path.stat().st_uid for path in folder.iterdir()} == {0}, "the reader left nothing behind"
