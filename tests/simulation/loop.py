"""An event loop without a clock, a socket or a thread: time jumps to the next timer, and chance orders what is ready.

asyncio promises that callbacks run in the order in which they were asked for, and a program that relies on that between
tasks is one unlucky answer away from a surprise. So every turn of the loop shuffles what is ready, with the seed.

Time belongs to the `Agenda`, which outlives loops: the services, the operators and the mischief have their appointments
there, and a process of ours is a loop that may die at any of its steps. A loop that is dead runs on for a while in a
time of its own, where nothing that it does reaches anybody, only to put its tasks away.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from random import Random
from typing import Any


class StuckError(AssertionError):
    """Nothing is ready, nobody sleeps, and nothing is on the agenda."""


class Agenda:
    """The time of the world, in seconds since it began, and what happens in it when."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._appointments: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, at_s: float, act: Callable[[], None]) -> None:
        """Let something happen at an instant; one that has passed is now."""
        heapq.heappush(self._appointments, (max(at_s, self.now_s), next(self._numbers), act))

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Let something happen in so many seconds."""
        self.at(self.now_s + seconds, act)

    @property
    def next_s(self) -> float:
        """Return the instant of the next appointment, infinity where there is none."""
        return self._appointments[0][0] if self._appointments else float("inf")

    def keep_next(self) -> None:
        """Let time pass until the next appointment, and keep it."""
        at_s, _, act = heapq.heappop(self._appointments)
        self.now_s = max(self.now_s, at_s)
        act()

    def pass_until(self, until_s: float) -> None:
        """Let time pass while no process of ours runs."""
        while self.next_s <= until_s:
            self.keep_next()
        self.now_s = max(self.now_s, until_s)

    def clear(self) -> None:
        """Drop all appointments."""
        self._appointments.clear()


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop on the agenda's time. `before_step` is called before every turn that runs something."""

    def __init__(self, agenda: Agenda, random: Random, before_step: Callable[[], None] = lambda: None) -> None:
        self._agenda = agenda
        self._random = random
        self._before_step = before_step
        self.slept_s = 0.0
        self.held_up_s = -1.0
        """When something that runs in it last took time."""
        self.turns = 0
        """How often something was ready."""
        self._private_s: float | None = None
        self.signals: dict[int, Callable[[], object]] = {}
        super().__init__()
        self.set_exception_handler(self._note)
        self.complaints: list[str] = []
        """What asyncio had to complain about: an exception that nobody took note of."""

    def time(self) -> float:
        """Return seconds that do not count suspend, as CLOCK_MONOTONIC does not."""
        return self._agenda.now_s - self.slept_s if self._private_s is None else self._private_s

    def wait(self, timeout: float | None) -> None:
        """Let so much time pass, or so much as there is until something happens in the world."""
        if self._private_s is not None:
            self._private_s += timeout or 0.0
            return
        agenda = self._agenda
        until_s = float("inf") if timeout is None else agenda.now_s + timeout
        if agenda.next_s <= until_s:
            agenda.keep_next()
        elif timeout is None:
            raise StuckError("nobody sleeps, and nothing will happen any more")
        else:
            agenda.now_s = until_s

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep: the world goes on, and this loop does not notice."""
        self._agenda.pass_until(self._agenda.now_s + seconds)
        self.slept_s += seconds

    def leave_the_world(self) -> None:
        """Go on in a time of its own, which no appointment and nobody else shares; `stop` what runs."""
        self._private_s = self.time()
        self.stop()

    def put_away(self) -> None:
        """End every task, dead or alive, and close."""
        self._private_s = self.time()
        self._random = Random(0)
        self._stopping = False  # who was killed while nothing ran has been told to stop
        for _ in range(50):
            tasks = asyncio.all_tasks(self)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.run_until_complete(asyncio.wait(tasks, timeout=100.0))
        else:
            raise StuckError(f"tasks that cannot be cancelled: {asyncio.all_tasks(self)}")
        self.run_until_complete(self.shutdown_asyncgens())
        self.close()

    def interrupt(self, act: Callable[[], None]) -> None:
        """Do something somewhere among what is ready now: before some of it, after the rest."""
        handle = asyncio.Handle(act, (), self)
        self._ready.insert(self._random.randint(0, len(self._ready)), handle)

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Take note of who obeys a signal."""
        self.signals[sig] = lambda: callback(*args)

    def remove_signal_handler(self, sig: int) -> bool:
        """Forget who obeys it."""
        return self.signals.pop(sig, None) is not None

    def add_reader(self, *_arguments: Any) -> None:
        """Wait for nobody: sockets are not part of this world."""

    def remove_reader(self, *_arguments: Any) -> bool:
        """Change nothing."""
        return False

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if self._private_s is None:
            self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    # What BaseEventLoop does more thoroughly, and at ten times the cost of what runs in these tests

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:
        """Let something be done at the next turn."""
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(scheduled)._scheduled = False
        if ready or self._stopping:
            self.wait(0)
        else:
            self.wait(max(0.0, scheduled[0]._when - self.time()) if scheduled else None)
        end_s = self.time() + self._clock_resolution
        while scheduled and scheduled[0]._when < end_s:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            ready.append(handle)
        if not ready:
            return
        todo = list(ready)
        ready.clear()
        if len(todo) > 1:
            self._random.shuffle(todo)
        self.turns += 1
        ready.extend(todo)
        if self._private_s is None:
            self._before_step()
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _write_to_self(self) -> None:
        pass
