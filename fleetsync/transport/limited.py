"""The layer that waits for the rate, and what waiting and sending cost a source."""

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from fleetsync.errors import QuotaSpentError, ServerFaultError, ThrottledError
from fleetsync.transport.http import Http, Request, Response
from fleetsync.transport.lane import Ticket
from fleetsync.transport.limiter import Limiter, Urgency
from fleetsync.transport.session import MOST_AT_ONCE

SPARE = 8
"""So many more than are on their way are at work: they read and write the database, or wait for the rate."""

_LISTINGS = frozenset({"list", "query"})
"""The operation classes of listings."""


def urgency_of(request: Request) -> Urgency:
    """Return how urgent `request` is: what may change something, then reads, then listings."""
    if not request.is_safe:
        return Urgency.WRITE
    return Urgency.LIST if request.operation in _LISTINGS else Urgency.READ


class Meter:
    """What one source's requests cost so far; several sources may share a limiter. A block of it is one that waits.

    `waited_s` is how long at least one of them waited for the rate: many that wait at once wait once. `at_once` is how
    many should be at work: those whose requests are on their way, and a few to take what the rate gives next. So their
    number follows rate x latency by itself, and only a few wait in the queues that sources share, or for connections:
    when a network that hung comes back, no more than these leave at one moment.
    """

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self._waiting = 0
        self._since_s = 0.0
        self._waited_s = 0.0
        self._on_their_way = 0
        self._departed = asyncio.Event()
        self.requests = 0
        self.throttled = 0

    @property
    def waited_s(self) -> float:
        """Return for how many seconds at least one request waited."""
        now_s = self.limiter.clock.monotonic_s()
        return self._waited_s + (now_s - self._since_s if self._waiting else 0.0)

    @property
    def at_once(self) -> int:
        """Return how many requests should wait or be on their way."""
        return min(MOST_AT_ONCE, self._on_their_way + SPARE)

    async def departure(self) -> None:
        """Wait until the next request leaves: more may be needed then."""
        self._departed.clear()
        await self._departed.wait()

    def sending(self) -> "_Sending":
        """Count a request that is sent in the block, from when what this gives is called as on its way."""
        self.requests += 1
        return _Sending(self)

    def departs(self) -> None:
        """Take note that a request is on its way."""
        self._on_their_way += 1
        self._departed.set()

    def arrives(self) -> None:
        """Take note that it is not any more."""
        self._on_their_way -= 1

    async def keep(self) -> None:
        """Store what was learned and spent, if anything changed."""
        await self.limiter.keep()

    def __enter__(self) -> None:
        """Count the block as waiting."""
        if not self._waiting:
            self._since_s = self.limiter.clock.monotonic_s()
        self._waiting += 1

    def __exit__(self, *_error: object) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._waited_s += self.limiter.clock.monotonic_s() - self._since_s


class _Sending:
    """One request that is sent, as often as it leaves: it may do so twice."""

    __slots__ = ("_departures", "_meter")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._departures = 0

    def __enter__(self) -> Callable[[], None]:
        return self._departs

    def __exit__(self, *_error: object) -> None:
        for _ in range(self._departures):
            self._meter.arrives()

    def _departs(self) -> None:
        self._departures += 1
        self._meter.departs()


class Limited:
    """Sends when the limiter permits, and tells it what the service thought of that."""

    def __init__(self, http: Http, limiter: Limiter, meter: Meter | None = None) -> None:
        self._http = http
        self._limiter = limiter
        self._meter = meter or Meter(limiter)

    async def send(self, request: Request) -> Response:
        """Send `request` when its turn comes and return the answer.

        Raises:
            SourceError: as the layer below, which also has the say on what `ThrottledError` is.
        """
        with self._meter:
            ticket = await self._limiter.admit(request.operation, urgency_of(request))
        if request.check is not None:
            request.check()
        try:
            with self._meter.sending() as departs:
                response = await self._http.send(replace(request, departs=departs))
        except (ThrottledError, ServerFaultError) as error:
            await self._heed(ticket, error)
            raise
        self._limiter.answered(ticket, response)
        if self._limiter.is_due_to_keep:
            await self._limiter.keep()
        return response

    async def _heed(self, ticket: Ticket, error: ThrottledError | ServerFaultError) -> None:
        self._meter.throttled += isinstance(error, ThrottledError)
        if isinstance(error, QuotaSpentError) and error.retry_after_s is not None:
            self._limiter.exhausted(ticket, error.retry_after_s)
        elif isinstance(error, ThrottledError) or error.retry_after_s is not None:
            self._limiter.throttled(ticket, error.retry_after_s)
        else:
            return
        await self._limiter.keep_before_next()
