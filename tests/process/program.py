"""The real program in a process of its own, and what surrounds it: a folder, a configuration, systemd's socket."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0
"""So long a test waits for what has to happen; it is no promise of the program."""


def logged_in(lines: Iterable[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines if line.startswith("{")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended, what it said, and how many seconds that took."""

    code: int
    out: str
    err: str
    took_s: float

    @property
    def line(self) -> str:
        """Return the one line on standard error; there may be no other."""
        assert self.err.count("\n") == 1, self.err
        (line,) = self.err.splitlines()
        return line

    def log(self) -> list[dict[str, Any]]:
        """Return what was logged."""
        return logged_in(self.err.splitlines())


@dataclass(kw_only=True)
class Program:
    """A folder with a configuration. `around` is what the command line is put behind, as `strace` and its options."""

    folder: Path
    around: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def database(self) -> Path:
        return self.folder / "fleetsync.db"

    def start(self, *words: str, **environ: str) -> "Running":
        command = [*self.around, sys.executable, "-m", "fleetsync", "--config", str(self.config), *words]
        return Running(command, {**os.environ, **self.environ, **environ})

    def run(self, *words: str) -> Ended:
        with contextlib.closing(self.start(*words)) as running:
            return running.ended()

    @contextlib.contextmanager
    def daemon(self) -> Iterator["Daemon"]:
        """Run the daemon for the block; if it still runs at its end, it is killed."""
        with (
            tempfile.TemporaryDirectory(prefix="fleetsync-") as short,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
        ):
            address = str(Path(short) / "notify")
            systemd.bind(address)
            Path(address).chmod(0o666)
            systemd.settimeout(0.1)
            with contextlib.closing(self.start("run", NOTIFY_SOCKET=address)) as running:
                yield Daemon(running, systemd)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what another program reads in the database."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()


class Running:
    """A process of the program; what it writes is read while it runs, so that no pipe is ever full."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.began_s = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ,
        )
        self.said: dict[str, list[str]] = {"out": [], "err": []}
        self._news = threading.Condition()
        self._speaking = 2
        self._readers = [
            threading.Thread(target=self._read, args=(stream, self.said[name]), daemon=True)
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._speaking -= 1
            self._news.notify_all()

    @property
    def pid(self) -> int:
        """The process itself, also where it is behind another one that waits for it."""
        return self._process.pid

    @property
    def cpu_s(self) -> float:
        """Seconds of the processor that it has used so far."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def log(self) -> list[dict[str, Any]]:
        """Return the log so far."""
        return logged_in(tuple(self.said["err"]))

    def logged(self, event: str, *, after: int = 0, **keys: object) -> dict[str, Any]:
        """Wait until an event with these keys is logged, after so many other lines, and return it."""

        def found() -> dict[str, Any] | None:
            return next((one for one in self.log()[after:] if {"event": event, **keys}.items() <= one.items()), None)

        return self._awaited(found)

    def _awaited(self, look: Callable[[], Any]) -> Any:
        with self._news:
            assert self._news.wait_for(lambda: look() is not None or not self._speaking, PATIENCE_S), self.said
        found = look()
        assert found is not None, self.said
        return found

    def tell(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def ended(self) -> Ended:
        """Wait for the end; seconds count from the start."""
        code = self._process.wait(PATIENCE_S)
        took_s = time.monotonic() - self.began_s
        for reader in self._readers:
            reader.join(PATIENCE_S)
        out, err = ("".join(lines) for lines in self.said.values())
        return Ended(code=code, out=out, err=err, took_s=took_s)

    def close(self) -> None:
        if self.is_alive:
            self._process.kill()
        self._process.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)


class Daemon:
    """The daemon, and what it tells systemd."""

    def __init__(self, running: Running, systemd: socket.socket) -> None:
        self.running = running
        self._systemd = systemd
        self.status = ""
        """What `systemctl status` shows."""

    def until(self, *texts: str) -> float:
        """Wait until systemd is told something that contains one of `texts`; return the seconds since the start."""
        while time.monotonic() - self.running.began_s < PATIENCE_S:
            was_alive = self.running.is_alive
            told = self._told()
            if any(text in line for line in told for text in texts):
                return time.monotonic() - self.running.began_s
            assert told or was_alive, self.running.said
        raise AssertionError(self.running.said)

    def healed(self) -> None:
        """Wait until nothing is wrong any more."""
        while ";" in self.status:
            self.until("STATUS=")

    def _told(self) -> list[str]:
        try:
            lines = self._systemd.recv(4096).decode().splitlines()
        except TimeoutError:
            return []
        for line in lines:
            if line.startswith("STATUS="):
                self.status = line.removeprefix("STATUS=")
        return lines

    def ready(self) -> float:
        """Wait until it is ready; return the seconds since the start."""
        return self.until("READY=1")

    def stopped(self, number: signal.Signals = signal.SIGTERM) -> Ended:
        """Tell it to end and wait for that; seconds count from the signal."""
        self.running.began_s = time.monotonic()
        self.running.tell(number)
        return self.running.ended()
