"""EDGE: time and chance. Nothing else reads a clock, waits, or throws dice."""

import contextlib
import datetime
import random
import time
from typing import Protocol


class Clock(Protocol):
    """Time and chance, so that tests can hold both."""

    def now(self) -> datetime.datetime:
        """Return the wall clock, aware, UTC. It may step either way."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that never go back; they count suspend. Only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait at least `seconds`; less than zero is zero."""
        ...

    def timeout(self, seconds: float | None) -> "contextlib.AbstractAsyncContextManager[object]":
        """Return a context that raises TimeoutError after `seconds`; None never does."""
        ...

    def jitter(self) -> float:
        """Return a random number in [0, 1)."""
        ...


class SystemClock:
    """The machine's own clock."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def now(self) -> datetime.datetime:
        """Return the wall clock, aware, UTC."""
        return datetime.datetime.now(datetime.UTC)

    def monotonic_s(self) -> float:
        """Return seconds since boot, suspend included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        """Wait at least `seconds`."""
        import asyncio  # late: who only asks for the time, as `query` does, needs no event loop

        await asyncio.sleep(max(0.0, seconds))

    def timeout(self, seconds: float | None) -> "contextlib.AbstractAsyncContextManager[object]":
        """Return a context that raises TimeoutError after `seconds`."""
        import asyncio  # late: as above

        return asyncio.timeout(seconds)

    def jitter(self) -> float:
        """Return a random number in [0, 1)."""
        return self._random.random()
