"""One token bucket, those who wait at it, and what the service has shown that it stands."""

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from fleetsync.clock import Clock
from fleetsync.core.bucket import Rate, drained, empty_bucket, evened, give_back, refill, take
from fleetsync.core.duration import lasting
from fleetsync.core.pace import (
    StoredPace,
    answered,
    delayed,
    held,
    learned,
    refused,
    resumed,
    stored,
    unrefused,
    warned,
)
from fleetsync.errors import ThrottledError

_INSTANT_S = 1e-9
"""A wait so short is rounding."""


@dataclass(order=True, slots=True)
class _Waiter:
    due_s: float
    number: int
    admitted: bool = field(default=False, compare=False)
    called: asyncio.Event = field(default_factory=asyncio.Event, compare=False)


class Gate:
    """Lets requests through at a rate, the most urgent first.

    Those who wait form a heap. One of them leads: it sleeps until the next token is due, takes it and hands it to the
    first of the heap, until it is first itself; then it calls the next leader. So nobody polls, nobody's
    place depends on when he wakes, and somebody who gives up leaves no hole.
    """

    def __init__(self, rate: Rate, clock: Clock, *, patience_s: float, left_behind: StoredPace | None = None) -> None:
        self.rate = rate
        self._clock = clock
        self._patience_s = patience_s
        now_s = clock.monotonic_s()
        self._bucket = empty_bucket(now_s)
        self._pace = unrefused(rate, now_s)
        if left_behind is not None:
            self._pace = resumed(left_behind, rate, now_s=now_s, now=clock.now())
        self._queue: list[_Waiter] = []
        self._numbers = itertools.count()
        self._led = False
        self._shut = 0
        self._opened = asyncio.Event()
        self._opened.set()
        self.is_unstored = False
        """Something of the pace changed that another process should know, since this was last set to False."""

    def adopt(self, rate: Rate) -> None:
        """Keep to another rate from now on; what the service has shown that it stands is not forgotten."""
        now_s = self._clock.monotonic_s()
        if self.learned == self.rate:
            self._pace = replace(self._pace, per_s=rate.per_s, at_s=now_s)
        self._bucket = refill(self._bucket, self.learned, now_s)
        self.rate = rate

    @property
    def learned(self) -> Rate:
        """Return the rate that is kept at the moment."""
        return learned(self._pace, self.rate, self._clock.monotonic_s())

    @property
    def held_s(self) -> float:
        """Return for how many seconds nothing may be sent, 0 where that is not so."""
        left_s = self._pace.held_until_s - self._clock.monotonic_s()
        return left_s if left_s > _INSTANT_S else 0.0

    @property
    def why(self) -> str:
        """Return why nothing may be sent, in words; empty where that is not so."""
        return self._pace.why if self.held_s else ""

    def record(self, operation: str) -> StoredPace:
        """Return the pace as another process can read it."""
        return stored(self._pace, operation, now_s=self._clock.monotonic_s(), now=self._clock.now())

    async def pass_through(self, head_start_s: float) -> None:
        """Wait for a token. Of two, the one who came less than the difference in `head_start_s` later goes first.

        Raises:
            ThrottledError: nothing may be sent for longer than the patience.
        """
        if not (self._queue or self._led or self._shut) and not self._take():
            return  # nobody is before them
        due_s = self._clock.monotonic_s() - head_start_s
        waiter = _Waiter(due_s, next(self._numbers))
        heapq.heappush(self._queue, waiter)
        try:
            while not waiter.admitted:
                await (self._wait(waiter) if self._led else self._lead(waiter))
        except BaseException:
            self._give_up(waiter)
            raise

    def give_back(self) -> None:
        """Take back the token of somebody who will not send after all."""
        self._bucket = give_back(self._bucket)

    @contextlib.contextmanager
    def shut(self) -> Iterator[None]:
        """Let nobody through for the block."""
        self._shut += 1
        self._opened.clear()
        try:
            yield
        finally:
            self._shut -= 1
            if not self._shut:
                self._opened.set()

    def slow_down(self, sent_at_s: float, retry_after_s: float | None) -> None:
        """Send nothing for a while and less afterwards: the service refused what left at `sent_at_s`."""
        self._pace = refused(
            self._pace,
            self.rate,
            now_s=self._clock.monotonic_s(),
            sent_at_s=sent_at_s,
            retry_after_s=retry_after_s,
            chance=self._clock.jitter(),
        )
        self._keep_to_pace()

    def hold(self, seconds: float, why: str) -> None:
        """Send nothing for so long."""
        self._pace = held(self._pace, self._clock.monotonic_s() + seconds, why)
        self._keep_to_pace()

    def lag(self) -> None:
        """Send a little less: the service answers ever later."""
        self._pace = delayed(self._pace, self.rate, self._clock.monotonic_s())
        self.is_unstored = True

    def warn(self, left: int) -> None:
        """Send less if the service says that few requests are left."""
        pace = warned(self._pace, self.rate, left, self._clock.monotonic_s())
        if pace is not self._pace:
            self._pace = pace
            self.is_unstored = True

    def _keep_to_pace(self) -> None:
        self._bucket = drained(self._bucket, self._pace.held_until_s)
        self.is_unstored = True

    def ease(self, sent_at_s: float) -> None:
        """Take note that what left at `sent_at_s` went well."""
        self._pace = answered(self._pace, sent_at_s)

    async def _wait(self, waiter: _Waiter) -> None:
        waiter.called.clear()
        await waiter.called.wait()

    async def _lead(self, waiter: _Waiter) -> None:
        self._led = True
        try:
            while not waiter.admitted:
                await self._next_token()
                first = heapq.heappop(self._queue)
                first.admitted = True
                first.called.set()
        finally:
            self._led = False
            self._call_next()

    async def _next_token(self) -> None:
        """Take a token when there is one. Nothing is taken before that, so that a sleep too long earns no burst."""
        while True:
            await self._opened.wait()
            left_s = self._take()
            if not left_s:
                return
            self._check_patience()
            await self._clock.sleep(left_s)

    def _take(self) -> float:
        """Take a token if there is one, else return in how many seconds there may be."""
        now_s = self._clock.monotonic_s()
        bucket, wait_s = take(self._bucket, evened(learned(self._pace, self.rate, now_s)), now_s=now_s)
        left_s = max(bucket.at_s + wait_s, self._pace.held_until_s) - now_s
        if left_s > _INSTANT_S:
            return left_s
        self._bucket = bucket
        return 0.0

    def _check_patience(self) -> None:
        if self.held_s > self._patience_s:
            raise ThrottledError(
                f"{self.why}: no requests for {lasting(self.held_s)}", sent=False, retry_after_s=self.held_s
            )

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter.admitted:
            self.give_back()
            return
        self._queue.remove(waiter)
        heapq.heapify(self._queue)
        if not self._led:
            self._call_next()

    def _call_next(self) -> None:
        if self._queue:
            self._queue[0].called.set()
