"""A clock for tests: time passes only when a test says so, or when nothing else is left to do.

    clock = FakeClock()
    await clock.run(work(clock))         # drives `work`; waiting takes no real time
    await clock.advance(60)              # or step by step, beside tasks of the test's own
    clock.step(86_400)                   # the wall clock jumps; monotonic time does not

`run` jumps to the next sleeper whenever the event loop has nothing ready. It cannot see what goes on in sockets
and threads: a virtual timeout around real I/O would fire at once. Tests with real I/O use `advance`, or SystemClock.
"""

import asyncio
import contextlib
import datetime
import heapq
import itertools
import random
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START = datetime.datetime(2026, 11, 21, 18, 0, tzinfo=datetime.UTC)
_STUCK_S = 30.0


class FakeClock:
    """A `Clock` whose time is virtual.

    `seed` decides what `jitter()` throws. `oversleep` answers how much longer than asked a sleep takes, in seconds,
    as real ones do.
    """

    def __init__(
        self,
        *,
        now: datetime.datetime = START,
        seed: int = 0,
        oversleep: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._wall = now
        self._elapsed_s = 0.0
        self._random = random.Random(seed)
        self._oversleep = oversleep
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._set = asyncio.Event()

    def now(self) -> datetime.datetime:
        return self._wall + datetime.timedelta(seconds=self._elapsed_s)

    def monotonic_s(self) -> float:
        return self._elapsed_s

    def jitter(self) -> float:
        return self._random.random()

    async def sleep(self, seconds: float) -> None:
        """Wait until virtual time has passed; zero or less only lets other tasks run."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        alarm = self._ring_at(
            self._elapsed_s + seconds + self._oversleep(), lambda: woken.done() or woken.set_result(None)
        )
        try:
            await woken
        finally:
            self._cancel(alarm)

    @contextlib.asynccontextmanager
    async def timeout(self, seconds: float | None) -> AsyncIterator[object]:
        """Raise TimeoutError once `seconds` of virtual time have passed, as asyncio.timeout does with real ones."""
        async with asyncio.timeout(None) as timeout:
            if seconds is None:
                yield timeout
                return
            loop = asyncio.get_running_loop()
            alarm = self._ring_at(self._elapsed_s + seconds, lambda: timeout.reschedule(loop.time()))
            try:
                yield timeout
            finally:
                self._cancel(alarm)

    @property
    def sleepers(self) -> int:
        """How many sleeps and timeouts are pending."""
        return len(self._alarms)

    def step(self, seconds: float) -> None:
        """Let the wall clock jump, either way. Nobody wakes."""
        self._wall += datetime.timedelta(seconds=seconds)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass; sleepers wake in order, each at its own time, and run until they wait again."""
        until_s = self._elapsed_s + seconds
        await settle()
        while (next_s := self._next_s()) is not None and next_s <= until_s:
            self._wake_next()
            await settle()
        self._elapsed_s = max(self._elapsed_s, until_s)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; time jumps to the next sleeper whenever nothing else can run.

        Where nobody sleeps, it waits a few real seconds for threads or sockets, then fails.
        """
        task = asyncio.get_running_loop().create_task(work)
        try:
            while True:
                await settle(task)
                if task.done():
                    return task.result()
                if self._next_s() is not None:
                    self._wake_next()
                else:
                    await self._outside(task)
        finally:
            if task.cancel():
                await asyncio.gather(task, return_exceptions=True)

    async def _outside(self, task: "asyncio.Task[Any]") -> None:
        self._set.clear()
        alarm_set = asyncio.get_running_loop().create_task(self._set.wait())
        try:
            done, _ = await asyncio.wait({task, alarm_set}, timeout=_STUCK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm_set.cancel()
        if not done:
            raise AssertionError(f"stuck: nobody sleeps on this clock, and {task} is not done")

    def _ring_at(self, at_s: float, ring: Callable[[], None]) -> int:
        number = next(self._order)
        heapq.heappush(self._alarms, (at_s, number, ring))
        self._set.set()
        return number

    def _cancel(self, number: int) -> None:
        self._alarms = [alarm for alarm in self._alarms if alarm[1] != number]
        heapq.heapify(self._alarms)

    def _next_s(self) -> float | None:
        return self._alarms[0][0] if self._alarms else None

    def _wake_next(self) -> None:
        at_s, _, ring = heapq.heappop(self._alarms)
        self._elapsed_s = max(self._elapsed_s, at_s)
        ring()


async def settle(task: "asyncio.Task[Any] | None" = None) -> None:
    """Let every task run that can run without time passing; stop early when `task` is done."""
    loop: Any = asyncio.get_running_loop()
    for _ in range(100_000):
        await asyncio.sleep(0)
        # `_ready` is what the loop would run next: a public way to see that a loop is idle does not exist.
        if not loop._ready or (task is not None and task.done()):
            return
    raise AssertionError("the event loop never comes to rest")


async def until(is_so: Callable[[], bool]) -> None:
    """Let everything go on that takes no virtual time, threads and sockets included, until something is so."""
    loop = asyncio.get_running_loop()
    rests = _RESTS.get(loop) or _RESTS.setdefault(loop, _Rests(loop))
    rests.has_changed = True
    async with asyncio.timeout(_STUCK_S):
        while not is_so():
            await rests.next()
    rests.has_changed = True  # who waited goes on, and others may wait for what comes of that


class _Rests:
    """Knows when a loop comes to rest after something happened: only then can anything have become so.

    As for `settle`, there is no public way to hear of that: a loop with nothing to run waits for its selector.
    """

    def __init__(self, loop: Any) -> None:
        self.has_changed = True
        self._bells: set[asyncio.Event] = set()
        self._select = loop._selector.select
        loop._selector.select = self._selecting

    async def next(self) -> None:
        bell = asyncio.Event()
        self._bells.add(bell)
        try:
            await bell.wait()
        finally:
            self._bells.remove(bell)

    def _selecting(self, timeout: float | None = None) -> object:
        is_resting = timeout is None or timeout > 0
        if is_resting and self._bells and self.has_changed:
            self.has_changed = False
            for bell in self._bells:
                bell.set()
            return self._select(0)
        events = self._select(timeout)
        self.has_changed = self.has_changed or is_resting or bool(events)
        return events


_RESTS: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Rests]" = weakref.WeakKeyDictionary()
