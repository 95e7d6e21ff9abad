"""Rates: when a request may leave, and what a refusal changes.

- Every operation class is charged to exactly one bucket: its own, or the total of its scope. Buckets start empty.
- In a bucket the most urgent goes first, and urgency is a head start, no more: a write overtakes reads that came
  less than 2 s before it, and listings that came less than 5 s before it. So nobody starves, and within a class it is
  first come, first served.
- A refusal holds everybody of that bucket until the time that the service named, and lowers the rate; it climbs
  back by itself, never above the configured one (`fleetsync.core.pace`).
- Nobody polls. Of those who wait one sleeps until the next token is due and hands it to whoever is first by then.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from fleetsync.clock import Clock
from fleetsync.core.bucket import Rate
from fleetsync.errors import ServerFaultError, ThrottledError
from fleetsync.transport.gate import Gate
from fleetsync.transport.http import Http, Request, Response

PATIENCE_S = 120.0
_MINUTE_S = 60


class Urgency(Enum):
    """What a request is for; the value is its head start in seconds."""

    WRITE = 5.0
    READ = 3.0
    LIST = 0.0


_LISTINGS = frozenset({"list", "query"})
"""The operation classes of listings."""


def urgency_of(request: Request) -> Urgency:
    """Return how urgent `request` is: what may change something, then reads, then listings."""
    if not request.is_safe:
        return Urgency.WRITE
    return Urgency.LIST if request.operation in _LISTINGS else Urgency.READ


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a scope may use: a rate per operation class, None for those that share `total`.

    `daily` is how much of what the service counts per UTC day, None where there is no limit.
    """

    classes: Mapping[str, Rate | None]
    total: Rate | None = None
    daily: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One operation class at an instant.

    `permitted_per_s` is the configured rate of its bucket, `learned_per_s` what the service stands at the moment;
    classes that share a bucket show the same. `held_s` says for how long from now nothing may be sent; 0 is not at all.
    """

    operation: str
    permitted_per_s: float
    learned_per_s: float
    held_s: float
    used_60s: int
    waiting: int
    requests: int
    throttled: int
    waited_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """The permission to send one request: for which class, when it was given (monotonic), and after which wait."""

    operation: str
    at_s: float
    waited_s: float


@dataclass(slots=True, kw_only=True)
class Meter:
    """What one source's requests cost so far; several sources may share a limiter."""

    requests: int = 0
    throttled: int = 0
    waited_s: float = 0.0


class Limiter:
    """The buckets of one quota scope, shared by all sources in it.

    `patience_s`: during a hold that lasts longer than this nobody waits; `admit` raises instead.
    """

    def __init__(self, scope: str, budget: Budget, clock: Clock, *, patience_s: float = PATIENCE_S) -> None:
        self.scope = scope
        self._clock = clock
        self._patience_s = patience_s
        self._lanes: dict[str, _Lane] = {}
        self._gates: dict[str | None, Gate] = {}
        self.adopt(budget)

    def adopt(self, budget: Budget) -> None:
        """Keep to another budget from now on. Buckets and holds stay: new rates are no way around them."""
        rates: list[tuple[str | None, Rate | None]] = [(None, budget.total), *budget.classes.items()]
        for name, rate in rates:
            if rate is not None and name in self._gates:
                self._gates[name].adopt(rate)
            elif rate is not None:
                self._gates[name] = Gate(rate, self._clock, patience_s=self._patience_s)
        for operation, rate in budget.classes.items():
            if rate is None and budget.total is None:
                raise ValueError(f"{self.scope}: the operation class {operation} has neither a rate nor a total")
            gate = self._gates[None if rate is None else operation]
            self._lanes.setdefault(operation, _Lane(operation, gate)).gate = gate

    async def admit(self, operation: str, urgency: Urgency = Urgency.READ) -> Ticket:
        """Wait until a request of this class may leave. Cancelled, it leaves no hole.

        Raises:
            ThrottledError: the service wants nothing for longer than anybody should wait; nothing was sent.
        """
        lane = self._lanes[operation]
        began_s = self._clock.monotonic_s()
        lane.waiting += 1
        try:
            await lane.gate.pass_through(urgency.value)
        finally:
            lane.waiting -= 1
            now_s = self._clock.monotonic_s()
            lane.waited_s += now_s - began_s
        ticket = Ticket(operation=operation, at_s=now_s, waited_s=now_s - began_s)
        lane.note(ticket)
        return ticket

    def throttled(self, ticket: Ticket, retry_after_s: float | None) -> None:
        """Take note that the service refused the request of `ticket` because of its rate."""
        lane = self._lanes[ticket.operation]
        lane.throttled += 1
        lane.gate.slow_down(ticket.at_s, retry_after_s)

    def answered(self, ticket: Ticket) -> None:
        """Take note that the request of `ticket` went well."""
        self._lanes[ticket.operation].gate.ease(ticket.at_s)

    def usage(self) -> tuple[Usage, ...]:
        """Return the state of every class, in the order of the budget."""
        now_s = self._clock.monotonic_s()
        return tuple(lane.usage(now_s) for lane in self._lanes.values())


class _Lane:
    """One operation class: the gate that it goes through, and what is counted of it."""

    def __init__(self, operation: str, gate: Gate) -> None:
        self.operation = operation
        self.gate = gate
        self.waiting = 0
        self.requests = 0
        self.throttled = 0
        self.waited_s = 0.0
        self._seconds: deque[tuple[int, int]] = deque(maxlen=_MINUTE_S)

    def note(self, ticket: Ticket) -> None:
        """Count a request that leaves."""
        self.requests += 1
        second = int(ticket.at_s)
        count = self._seconds.pop()[1] if self._seconds and self._seconds[-1][0] == second else 0
        self._seconds.append((second, count + 1))

    def usage(self, now_s: float) -> Usage:
        return Usage(
            operation=self.operation,
            permitted_per_s=self.gate.rate.per_s,
            learned_per_s=self.gate.learned.per_s,
            held_s=self.gate.held_s,
            used_60s=sum(count for second, count in self._seconds if second > int(now_s) - _MINUTE_S),
            waiting=self.waiting,
            requests=self.requests,
            throttled=self.throttled,
            waited_s=self.waited_s,
        )


class Limited:
    """Sends when the limiter permits, and tells it what the service thought of that."""

    def __init__(self, http: Http, limiter: Limiter, meter: Meter | None = None) -> None:
        self._http = http
        self._limiter = limiter
        self._meter = meter or Meter()

    async def send(self, request: Request) -> Response:
        """Send `request` when its turn comes and return the answer.

        Raises:
            SourceError: as the layer below, which also has the say on what `ThrottledError` is.
        """
        ticket = await self._limiter.admit(request.operation, urgency_of(request))
        self._meter.requests += 1
        self._meter.waited_s += ticket.waited_s
        try:
            response = await self._http.send(request)
        except ThrottledError as error:
            self._meter.throttled += 1
            self._limiter.throttled(ticket, error.retry_after_s)
            raise
        except ServerFaultError as error:
            if error.retry_after_s is not None:
                self._limiter.throttled(ticket, error.retry_after_s)
            raise
        self._limiter.answered(ticket)
        return response
