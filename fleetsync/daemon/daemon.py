"""The daemon: all sources at once, until it is told to stop; told to reload, it minds what is new."""

import asyncio
import contextlib
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from functools import partial
from typing import Any, NoReturn

from fleetsync.config.settings import SourceSettings
from fleetsync.core.kind import reads_of
from fleetsync.core.schedule import retry_pause_s
from fleetsync.daemon import systemd
from fleetsync.daemon.health import Health
from fleetsync.daemon.heartbeats import Heartbeats, feed_watchdog
from fleetsync.daemon.loop import Charge, Loop, Surroundings, attempt
from fleetsync.daemon.parts import Link, Orders, Parts, job_of
from fleetsync.daemon.turns import Turn
from fleetsync.daemon.work import Command, MakeJob, Reply, Work
from fleetsync.errors import BrokenMirrorError, ConfigError, FleetsyncError, NotYetError, Problem
from fleetsync.log import get_log
from fleetsync.reconcile.cycle import Done, Job
from fleetsync.reconcile.progress import Report
from fleetsync.tasks import together

STOP_GRACE_S = 2.0
"""So long a page or a write may take to its end when the daemon stops. With a second for the books and one for who
still speaks to us the whole stop takes under 5 s."""

RELOAD_GRACE_S = 60.0
"""So long a source that is reconfigured may take to the end of its page or write; nothing hurries."""

_PRUNE_S = 3600.0
_WAL_S = 60.0


class Daemon:
    """Minds the sources: each has a task, a turn, and a link of its own, so that none slows another."""

    def __init__(self, orders: Orders, parts: Parts) -> None:
        self._orders = orders
        self._parts = parts
        self._notify = systemd.notifier(parts.environment)
        self._around = Surroundings(
            mirror=parts.mirror,
            clock=parts.clock,
            heartbeats=Heartbeats(parts.clock),
            health=Health(lambda text: self._notify(systemd.status(text))),
            listed=self._let_follow,
        )
        self._turns: defaultdict[str, Turn] = defaultdict(Turn)
        self._jobs: dict[str, MakeJob] = {name: partial(_not_connected, name) for name in orders.sources}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()
        self._stop_asked = asyncio.Event()
        self._broken: BrokenMirrorError | None = None
        self._reload_asked = asyncio.Event()
        self._work = Work(self._jobs, parts.mirror, turns=self._turns, rates=parts.rates, ended=self._hear)

    async def carry_out(self, command: Command, report: Report) -> Reply:
        """Do a command, between the daemon's own cycles, and return what became of it; it raises nothing."""
        if self._stop_asked.is_set():
            return Reply(error="the daemon stops; nothing was done: try again", exit_code=NotYetError.exit_code)
        try:
            return await self._work.carry_out(command, report)
        except BrokenMirrorError as error:
            self._broken = error
            self._stop_asked.set()
            return Reply(error=str(error), exit_code=error.exit_code)

    def stop(self) -> None:
        """Let `run` come to its end."""
        self._stop_asked.set()

    def reload(self) -> None:
        """Read the configuration again. A wrong one changes nothing."""
        self._reload_asked.set()

    async def run(self) -> None:
        """Mind the sources until SIGTERM, SIGINT or `stop`; SIGHUP is `reload`.

        Raises:
            Exception: a mistake outside every source; the process should end and be started again.
        """
        log = get_log()
        with self._obeying_signals():
            async with together() as self._group:
                await attempt(self._parts.mirror.reloads.accept())
                others = [self._group.create_task(work) for work in self._others()]
                for name in self._orders.sources:
                    self._start(name)
                self._around.health.watch(tuple(self._orders.sources))
                self._notify(systemd.READY)
                log.info("daemon.started")
                await self._stop_asked.wait()
                if self._broken is not None:
                    raise self._broken
                self._notify(systemd.STOPPING)
                log.info("daemon.stopping")
                for task in others:
                    task.cancel()
                await _at_once(self._end(name, grace_s=STOP_GRACE_S) for name in tuple(self._tasks))
            log.info("daemon.stopped")

    def _others(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Give what goes on beside the sources."""
        yield self._reload_when_asked()
        if self._parts.put_back is not None:
            yield self._watch_wal(self._parts.put_back)
        if self._parts.prune is not None:
            yield self._prune_hourly(self._parts.prune)
        every_s = systemd.watchdog_s(self._parts.environment)
        if every_s is not None:
            yield feed_watchdog(self._around.heartbeats, self._notify, self._parts.clock, every_s=every_s)

    async def _prune_hourly(self, prune: Callable[[], Awaitable[object]]) -> NoReturn:
        log = get_log()
        while True:
            await self._parts.clock.sleep(_PRUNE_S)
            error = await attempt(prune())
            if isinstance(error, FleetsyncError):
                log.error("prune.failed", error=str(error))

    async def _watch_wal(self, put_back: Callable[[], Awaitable[int]]) -> NoReturn:
        while True:
            await self._parts.clock.sleep(_WAL_S)
            size_bytes = await attempt(put_back())
            if isinstance(size_bytes, int):
                self._around.health.note_wal(size_bytes)

    @contextlib.contextmanager
    def _obeying_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        obeyed = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop, signal.SIGHUP: self.reload}
        for number, act in obeyed.items():
            loop.add_signal_handler(number, act)
        try:
            yield
        finally:
            for number in obeyed:
                loop.remove_signal_handler(number)

    # One source

    def _start(self, name: str) -> None:
        turn = self._turns[name] = Turn()
        turn.on_step = partial(self._around.heartbeats.heard, name)
        self._jobs[name] = partial(_not_connected, name)
        self._tasks[name] = self._group.create_task(self._mind(self._orders.sources[name], turn))

    async def _mind(self, settings: SourceSettings, turn: Turn) -> None:
        """Connect a source and run its loop. A link that cannot be made is tried again, and holds up nobody."""
        failures = 0
        while not turn.is_ending:
            error = await attempt(self._mind_connected(settings, turn), source=settings.name)
            if isinstance(error, FleetsyncError):
                failures += 1
                pause_s = retry_pause_s(settings.interval_s, failures, self._parts.clock.jitter())
                self._around.health.note(settings.name, error)
                self._around.heartbeats.expect(settings.name, pause_s)
                await self._parts.clock.sleep(pause_s)

    async def _mind_connected(self, settings: SourceSettings, turn: Turn) -> None:
        async with self._parts.connect(settings) as link:
            self._jobs[settings.name] = make_job = partial(self._job, settings, link)
            charge = Charge(settings=settings, make_job=make_job, circuit=link.circuit, expires_at=link.expires_at)
            await Loop(charge, turn, self._around).run()

    def _job(self, settings: SourceSettings, link: Link, report: Report) -> Job:
        return job_of(link, settings, self._orders, self._parts.mirror, self._parts.clock, report)

    async def _end(self, name: str, *, grace_s: float) -> None:
        await self._turns[name].end(self._parts.clock, grace_s=grace_s)
        self._tasks[name].cancel()
        await asyncio.wait({self._tasks[name]})
        del self._tasks[name], self._jobs[name], self._turns[name]
        self._around.heartbeats.release(name)

    def _hear(self, job: Job, done: Done) -> None:
        """Take what the cycle of a command found for news, as if it had been the daemon's own."""
        name, health = done.source, self._around.health
        was_wrong = health.is_wrong(name)
        health.note(name, *done.errors)
        if job.circuit.wait_s or (was_wrong and not done.errors):
            # It is well, or left alone: the next cycle comes at the interval from now, or with the probe.
            self._turns[name].end_rest(is_due=False)
        if done.complete:
            self._let_follow(name)

    def _let_follow(self, name: str) -> None:
        """Let those go on at once who only waited until this source was listed."""
        for other, settings in self._orders.sources.items():
            if name in reads_of(settings.own) and self._around.health.is_waiting(other):
                self._turns[other].end_rest(is_due=True)

    # Another configuration

    async def _reload_when_asked(self) -> NoReturn:
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()
            self._notify(*systemd.reloading())
            orders = await attempt(self._parts.reload())
            if isinstance(orders, FleetsyncError):
                await self._refuse(orders)
            else:
                await self._adopt(orders)
            self._notify(systemd.READY, systemd.status(self._around.health.text))

    async def _refuse(self, error: FleetsyncError) -> None:
        self._around.health.note_configuration(error)
        problems = error.problems if isinstance(error, ConfigError) else (Problem(message=str(error)),)
        await attempt(self._parts.mirror.reloads.refuse(problems))
        for problem in problems:
            get_log().error("config.refused", error=str(problem), reason="the old one runs on")

    async def _adopt(self, orders: Orders) -> None:
        """Begin, end and replace what changed; what did not goes on, with the new declarations from its next cycle."""
        before, self._orders = self._orders.sources, orders
        after = orders.sources
        await _at_once(self._replace(name) for name in {**before, **after} if before.get(name) != after.get(name))
        self._around.health.note_configuration(None)
        await attempt(self._parts.mirror.reloads.accept())
        self._around.health.watch(tuple(after))
        get_log().info("config.reloaded")

    async def _replace(self, name: str) -> None:
        if name in self._tasks:
            await self._end(name, grace_s=RELOAD_GRACE_S)
        if name in self._orders.sources:
            self._start(name)


async def _at_once(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    async with together() as group:
        for work in works:
            group.create_task(work)


def _not_connected(name: str, _report: Report) -> Job:
    raise NotYetError(f"source {name} is not connected: `fleetsync status` says why")
