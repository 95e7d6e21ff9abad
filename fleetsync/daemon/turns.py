"""Turns: one cycle per source at a time, and none after somebody said that it is the end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from fleetsync.clock import Clock
from fleetsync.errors import NotYetError
from fleetsync.reconcile.progress import Progress, Report
from fleetsync.tasks import together


class Turn:
    """Whose turn it is with one source: the daemon's own cycles and those of commands come one after the other."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[object] | None = None
        self._woken = asyncio.Event()
        self._rest: asyncio.Task[None] | None = None
        self._is_due = False
        self.is_ending = False
        self.on_step: Callable[[], None] = _nothing
        """Called at every step that a cycle reports, whoever began it."""

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Wait for the turn and have it for the block.

        Raises:
            NotYetError: there are no more turns.
        """
        async with self._lock:
            if self.is_ending:
                raise NotYetError("the daemon stops or reloads; nothing was done: try again")
            self._holder = asyncio.current_task()
            try:
                yield
            finally:
                self._holder = None

    def watched(self, report: Report) -> Report:
        """Return a report that passes everything on, and lets a cycle end where it stands once `end` was called."""

        def step(progress: Progress) -> None:
            self.on_step()
            report(progress)
            if self.is_ending:
                # What was reported is stored; what follows would only be cut off. A cycle that writes is here in one
                # of several tasks of a group: the others finish the write they are in, and end here too.
                raise asyncio.CancelledError

        return step

    async def end(self, clock: Clock, *, grace_s: float) -> None:
        """Let nobody have a turn any more. Who has it ends after its current page or write, or is cancelled."""
        self.is_ending = True
        self.wake()
        with contextlib.suppress(TimeoutError):
            async with clock.timeout(grace_s), self._lock:
                return
        if self._holder is not None:
            self._holder.cancel()

    async def rested(self, clock: Clock, seconds: float) -> bool:
        """Wait between two cycles; return whether the next one is due by now: see `end_rest`."""
        self._is_due = True
        async with together() as group:
            self._rest = group.create_task(clock.sleep(seconds))
        return self._is_due

    def end_rest(self, *, is_due: bool) -> None:
        """Let who waits for the next cycle begin it, if it is due, or else reckon anew."""
        if self._rest is not None and self._rest.cancel():
            self._is_due = is_due

    def wake(self) -> None:
        """Let who waits in `while_paused` look again."""
        self._woken.set()

    async def while_paused(self, is_paused: Callable[[], Awaitable[bool]]) -> None:
        """Wait until the source is not paused, or there are no more turns."""
        while True:
            # Cleared before the look: what happens between the look and the wait is not missed.
            self._woken.clear()
            if self.is_ending or not await is_paused():
                return
            await self._woken.wait()


def _nothing() -> None:
    pass
