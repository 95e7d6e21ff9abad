"""SIGTERM on the real process, in the middle of a listing that the service is slow to answer."""

import asyncio
import os
import signal
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fleetsync.simulator import Cloud, Options, SimRequest, SimResponse

_FREEZES = """
import atexit, gc, sys
atexit.register(lambda: print(gc.get_freeze_count() > 0))
sys.argv = ["fleetsync", "--version"]
from fleetsync.cli.main import main
main()
"""


class SlowCloud(Cloud):
    """A cloud whose third page takes its time, and that tells its client to end meanwhile."""

    client: "asyncio.subprocess.Process | None" = None
    pages = 0
    delay_s = 60.0

    def handle(self, request: SimRequest) -> SimResponse:
        self.pages += request.target.startswith("/api/devices?")
        response = super().handle(request)
        if self.pages == 3 and self.client is not None:
            self.client.send_signal(signal.SIGTERM)
            response = replace(response, delay_s=self.delay_s)
        return response


@pytest.mark.parametrize(
    ("command", "delay_s", "code"),
    [
        pytest.param("run", 0.1, 0, id="the daemon finishes the page"),
        pytest.param("sync", 60.0, 143, id="sync"),
        pytest.param("apply", 60.0, 143, id="apply"),
    ],
)
async def test_a_process_that_is_told_to_end_closes_its_books(
    tmp_path: Path, command: str, delay_s: float, code: int
) -> None:
    cloud = SlowCloud(Options(devices=1000, rate="none", latency_s=0.0))
    cloud.delay_s = delay_s
    async with cloud.serving():
        rates = 'mode = "manual"\ninterval = "1s"\nresources = ["device"]\nrate.list = "1000/s"\n\n'
        text = cloud.configuration().replace("[sources.central.auth]", f"{rates}[sources.central.auth]")
        (tmp_path / "config.toml").write_text(text, encoding="utf-8")
        cloud.client = client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fleetsync", "--config", str(tmp_path / "config.toml"), command),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, complaints = await asyncio.wait_for(client.communicate(), 30)

    assert client.returncode == code, complaints
    assert b"Traceback" not in complaints
    connection = sqlite3.connect(f"file:{tmp_path / 'fleetsync.db'}?mode=ro", uri=True)
    books = connection.execute("SELECT outcome, complete FROM cycles").fetchall()
    connection.close()
    assert books == [("interrupted", 0)]


async def test_the_end_of_the_program_looks_for_no_rubbish() -> None:
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _FREEZES), stdout=asyncio.subprocess.PIPE, env=os.environ
    )
    printed, _ = await done.communicate()

    assert printed.decode().split()[-1] == "True"
