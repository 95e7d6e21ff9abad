"""One process of ours, on a virtual loop, until it ends or is killed: the real daemon as `wiring` makes it, or a command.

A kill takes what SQLite had committed at that very instant: the bytes of the database and of its journal, as `kill -9`
leaves them. `kill_at_point` kills before or after any commit, or at any step of a request, `kill_at_step` at any turn of
the loop; what the process still does after that reaches nobody. `at_point` is told of every such point instead.
"""

import asyncio
import contextlib
import datetime
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Protocol

from fleetsync.daemon.daemon import Daemon
from fleetsync.daemon.work import Command, Reply
from fleetsync.errors import FleetsyncError
from fleetsync.wiring import service
from fleetsync.wiring.configuration import read_configuration
from tests.simulation.loop import Agenda, VirtualLoop
from tests.simulation.network import Network, Session

BEGINNING = datetime.datetime(2026, 11, 21, 18, 0, tzinfo=datetime.UTC)
STOP_S = 5.0
DAY_S = 86_400.0
_AWAKE_S = 0.5
_FAREWELL_S = 1.0
_LOOKS = 200
"""Who looks at the clock more often within one turn of the loop does nothing else, and every further look takes"""
_LOOK_S = 1.0
_DATABASE = ("fleetsync.db", "fleetsync.db-wal", "fleetsync.db-journal")
_COMMITS_NOTHING = ("", "execute", "rollback")
"""Pieces of work of the mirror, by name, after which the files are what they were; migrations are such by another name."""
_LEFTOVERS = (*_DATABASE, "fleetsync.db-shm")


class Machine:
    """What the processes of one history share: a folder, the time, and a wall clock that may step."""

    def __init__(self, folder: Path, agenda: Agenda, network: Network, random: Random) -> None:
        self.folder = folder
        self.agenda = agenda
        self.network = network
        self.random = random
        self.stepped_s = 0.0
        self.processes = 0

    @property
    def database(self) -> Path:
        """Return where the mirror is."""
        return self.folder / "fleetsync.db"

    def read_database(self) -> dict[str, bytes]:
        """Return the files of the database, by name."""
        files = (self.folder / name for name in _DATABASE)
        return {file.name: file.read_bytes() for file in files if file.exists()}

    def write_database(self, files: Mapping[str, bytes]) -> None:
        """Put these files in the place of the database, while no process runs."""
        for name in _LEFTOVERS:
            (self.folder / name).unlink(missing_ok=True)
        for name, content in files.items():
            (self.folder / name).write_bytes(content)

    def next_day_s(self) -> float:
        """Return when the next UTC day begins, on the agenda."""
        return self.agenda.now_s + DAY_S - self.service_now() % DAY_S

    def service_now(self) -> float:
        """Return the services' time, in seconds since 1970: theirs does not step."""
        return BEGINNING.timestamp() + self.agenda.now_s


class MachineClock:
    """The `Clock` of one process."""

    def __init__(self, machine: Machine, loop: VirtualLoop, random: Random) -> None:
        self._machine = machine
        self._loop = loop
        self._random = random
        self._turn = self._looks = 0

    def now(self) -> datetime.datetime:
        """Return the machine's wall clock."""
        return BEGINNING + datetime.timedelta(seconds=self.monotonic_s() + self._machine.stepped_s)

    def monotonic_s(self) -> float:
        """Return seconds since the machine started, suspend included.

        Who looks again and again and does nothing else in between, as a query does that goes on for ever, sees it run.
        """
        turn = self._loop.turns
        self._looks = self._looks + 1 if turn == self._turn else 0
        self._turn = turn
        if self._looks > _LOOKS:
            self._machine.agenda.now_s += _LOOK_S
            self._loop.held_up_s = self._loop.time()
        return self._loop.time() + self._loop.slept_s

    async def sleep(self, seconds: float) -> None:
        """Wait, on the clock that does not count suspend."""
        await asyncio.sleep(max(0.0, seconds))

    def timeout(self, seconds: float | None) -> contextlib.AbstractAsyncContextManager[object]:
        """Return a context that raises TimeoutError after `seconds`."""
        return asyncio.timeout(seconds)

    def jitter(self) -> float:
        """Return a random number in [0, 1)."""
        return self._random.random()


class Observer(Protocol):
    """Who is asked before a call of the database, and told after it."""

    def before_call(self, name: str) -> None:
        """Take note; raise what the database shall raise instead."""
        ...

    def after_call(self, name: str) -> None:
        """Take note."""
        ...


async def daemon(process: "Process") -> None:
    """Be the daemon."""
    configuration = read_configuration(process.machine.folder / "config.toml", process.clock)
    async with service.serving(configuration, process.clock) as process.daemon:
        try:
            await process.daemon.run()
        finally:
            await process.take_leave()


class Process:
    """One process. It ends by itself (`has_ended`), or is killed (`is_alive` no longer). `life` is what it is there for."""

    def __init__(self, machine: Machine, observer: Observer, life: "Life" = daemon) -> None:
        machine.processes += 1
        self.machine = machine
        self.number = machine.processes
        self.observer = observer
        self.began_s = machine.agenda.now_s
        self.is_alive = True
        self.is_killed = False
        self.was_stopped = False
        self.steps = 0
        self.points = 0
        """How many places there were so far at which it could have been killed."""
        self._has_talked = False
        self.kill_at_point = 0
        self.kill_at_step = 0
        self.at_point: Callable[[str], None] | None = None
        self.loop = VirtualLoop(machine.agenda, Random(machine.random.random()), self._step)
        self.clock = MachineClock(machine, self.loop, Random(machine.random.random()))
        self.daemon: Daemon | None = None
        self.error: BaseException | None = None
        self.left: dict[str, bytes] = {}
        self.unclosed: list[Any] = []
        """Connections that only its end gives back, without a word to the database."""
        self._main = self.loop.create_task(_awaited(life(self)))
        self._main.add_done_callback(lambda _: self.loop.stop() if self.is_alive else None)
        self._commands: set[Any] = set()
        self._reader: sqlite3.Connection | None = None

    @property
    def has_ended(self) -> bool:
        """Say whether it is over, one way or the other."""
        return not self.is_alive or self._main.done()

    def run(self, until_s: float) -> None:
        """Let it run until that instant, or until it ends."""
        agenda = self.machine.agenda
        is_due = False

        def stop() -> None:
            nonlocal is_due
            is_due = True
            self.loop.stop()

        agenda.at(until_s, stop)
        self._is_paused = False
        while not (self.has_ended or is_due or self._is_paused):
            self.loop.run_forever()

    def pause(self) -> None:
        """Let `run` return."""
        self._is_paused = True
        self.loop.stop()

    def session(self, **_options: object) -> Session:
        """Stand for `open_session`."""
        return Session(self.machine.network, self)

    def kill(self) -> None:
        """Kill it here: what it does from now on nobody sees."""
        if self.is_alive:
            self.is_alive = False
            self.is_killed = True
            self.left = self.machine.read_database()
            self.loop.leave_the_world()

    def put_away(self) -> None:
        """Free what it holds, and leave behind what it left behind."""
        if self._reader is not None:
            self._reader.close()
        self.is_alive = False
        if self._main.done() and not self._main.cancelled():
            self.error = self._main.exception()
        self.loop.put_away()
        if self.unclosed and not self.is_killed:
            self.left = self.machine.read_database()
        for connection in self.unclosed:
            connection.close()
        if self.is_killed or self.unclosed:
            self.machine.write_database(self.left)

    def after_awake(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something when it has been awake for so long: neither suspended nor blocked. Never, where it ends before."""
        if seconds <= 0:
            act()
        else:
            self.loop.call_later(_AWAKE_S, self.after_awake, seconds - _AWAKE_S, act)

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal; return whether it obeys."""
        obey = self.loop.signals.get(number)
        if obey is not None:
            self.was_stopped |= number == signal.SIGTERM
            self.loop.call_soon(obey)
        return obey is not None

    def order(self, command: Command, told: Callable[[Reply], None] = lambda _: None) -> None:
        """Give the daemon a command, as over its socket."""
        daemon = self.daemon
        if daemon is not None and self.is_alive and not self._main.done():
            task = self.loop.create_task(daemon.carry_out(command, lambda _: None))
            self._commands.add(task)
            task.add_done_callback(self._commands.discard)
            task.add_done_callback(lambda done: None if done.cancelled() or done.exception() else told(done.result()))

    async def take_leave(self) -> None:
        """Give commands a second for their last words, as the control socket does: nothing closes before they end."""
        if self._commands:
            await asyncio.wait(self._commands, timeout=_FAREWELL_S)
        for task in tuple(self._commands):
            task.cancel()
        if self._commands:
            await asyncio.wait(self._commands)

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return what a reader of the database sees now."""
        if self._reader is None:
            self._reader = open_reader(self.machine.database)
        return self._reader.execute(sql, parameters).fetchall()

    def around_database(self, function: Callable[[], Any]) -> Any:
        """Call the database, if the process still lives before and after it."""
        if not self.is_alive:
            return function()
        name = str(getattr(getattr(function, "func", None), "__name__", ""))
        is_commit = name not in _COMMITS_NOTHING
        if is_commit and self._has_talked:
            # Where nothing was on the wire since the last commit, a kill leaves what it would have left then.
            self.point("before a commit")
        if self.is_alive:
            self.observer.before_call(name)
        result = function()
        if is_commit and self.is_alive:
            self.point("after a commit")
            self._has_talked = False
        if self.is_alive:
            self.observer.after_call(name)
        return result

    def point(self, what: str) -> None:
        """Pass a place at which it may be killed."""
        self.points += 1
        self._has_talked = True
        if self.at_point is not None:
            self.at_point(what)
        if self.points == self.kill_at_point:
            self.kill()

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.kill_at_step:
            self.loop.interrupt(self.kill)


Life = Callable[[Process], Awaitable[None]]


async def _awaited(life: Awaitable[None]) -> None:
    await life


def open_reader(path: Path) -> sqlite3.Connection:
    """Return a connection that reads."""
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)


def is_ours(error: BaseException | None) -> bool:
    """Say whether a process ended as it may: without an error, or with one of our own."""
    return error is None or isinstance(error, FleetsyncError)
