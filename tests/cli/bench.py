"""The program, a built-in cloud on the loopback interface, and a folder with a configuration for it."""

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fleetsync.cli.main import run
from fleetsync.clock import Clock, SystemClock
from fleetsync.simulator import Cloud, Options

C = TypeVar("C", bound=Cloud)

DEVICES = 40
OPTIONS = Options(devices=DEVICES, seed=7, rate="none", latency_s=0.0)
_CONFIG = """
[sources.central]
kind = "iot-central"
url = "{url}"
mode = "{mode}"
weakest_guard = "reread"
auth = {{ method = "none" }}
rate = {{ list = "1000/s", read = "1000/s", write = "1000/s" }}
limits = {{ max_writes = "{max_writes}" }}
"""
RENAME = """
[[declaration]]
name = "rename"
where = "enabled AND id LIKE 'pump-%'"
[declaration.desired]
displayName = "A pump"
"""


@contextlib.contextmanager
def served(options: Options) -> Iterator[Cloud]:
    """Give a cloud that serves from a thread: a command has an event loop of its own."""
    with serving(Cloud(options)) as cloud:
        yield cloud


@contextlib.contextmanager
def serving(cloud: C) -> Iterator[C]:
    """Serve a cloud from a thread for the block."""
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        async with cloud.serving():
            stop = asyncio.Event()
            ready.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    loop, stop = ready.result(10)
    try:
        yield cloud
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


class HastyClock(SystemClock):
    """The machine's clock for who cannot wait."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(0)


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a command ended, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def invoke(*words: str, typed: str | None = None, clock: Clock | None = None) -> Result:
    """Run the program in this process; what it does not catch, the test gets."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.stdin = sys.stdin, io.StringIO(typed)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(words, clock or HastyClock())
    except SystemExit as ended:  # --help
        code = int(ended.code or 0)
    finally:
        sys.stdin = before
    return Result(exit_code=code, stdout=out.getvalue(), stderr=err.getvalue())


@dataclass
class Bench:
    """A folder with a configuration, and the program run in it."""

    folder: Path
    cloud: Cloud

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def database(self) -> Path:
        return self.folder / "fleetsync.db"

    @property
    def requests(self) -> int:
        return self.cloud.counters.requests

    def configure(self, *, mode: str = "manual", max_writes: str = "100%", more: str = "") -> None:
        self.config.write_text(_CONFIG.format(url=self.cloud.url, mode=mode, max_writes=max_writes) + more)

    def declare(self, text: str, file: str = "all.toml") -> None:
        folder = self.folder / "declarations"
        folder.mkdir(exist_ok=True)
        (folder / file).write_text(text)

    def run(self, *words: str, typed: str | None = None) -> Result:
        return invoke("--config", str(self.config), *words, typed=typed)

    def done(self, *words: str) -> str:
        """Run a command that has to go well, and return what it prints."""
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start the program for real."""
        return started("--config", str(self.config), *words)


def started(*words: str) -> "subprocess.Popen[str]":
    environ = {name: text for name, text in os.environ.items() if name != "FLEETSYNC_CONFIG"}
    return subprocess.Popen(
        [sys.executable, "-m", "fleetsync", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ | {"PYTHONUNBUFFERED": "1"},
    )
