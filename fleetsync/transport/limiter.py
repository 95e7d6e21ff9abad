"""Rates: when a request may leave, and what a refusal changes.

- Every operation class is charged to exactly one bucket: its own, or the total of its scope. Buckets start empty.
- In a bucket the most urgent goes first, and urgency is a head start, no more: a write overtakes reads that came
  less than 2 s before it, and listings that came less than 5 s before it. So nobody starves, and within a class it is
  first come, first served.
- A refusal holds everybody of that bucket until the time that the service named, and lowers the rate; it climbs
  back by itself, never above the configured one (`fleetsync.core.pace`). Answers that come ever later lower it a
  little as well (`fleetsync.core.latency`).
- Where a service counts per day, the budget of a scope ends with it (`fleetsync.transport.spending`).
- What was learned and spent outlives the process: it is stored after a refusal before the next request leaves. Who
  kills the process between the two costs the next one this hold, which lasts some milliseconds at most.
- Nobody polls. Of those who wait one sleeps until the next token is due and hands it to whoever is first by then.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum

from msgspec import Struct

from fleetsync.clock import Clock
from fleetsync.core.bucket import Rate
from fleetsync.core.duration import lasting
from fleetsync.core.kind import Daily
from fleetsync.core.pace import TOTAL, StoredScope
from fleetsync.errors import BrokenMirrorError, MirrorError, ThrottledError
from fleetsync.log import get_log
from fleetsync.transport.gate import Gate
from fleetsync.transport.http import Response
from fleetsync.transport.lane import Lane, Ticket, Usage
from fleetsync.transport.remaining import remaining
from fleetsync.transport.spending import Spending

PATIENCE_S = 120.0
_RETRY_S = 60.0
"""So long after it could not be stored it is not tried again only because more was spent."""


class Urgency(Enum):
    """What a request is for; the value is its head start in seconds."""

    WRITE = 5.0
    READ = 3.0
    LIST = 0.0


class Budget(Struct, frozen=True, kw_only=True):
    """What a scope may use: a rate per operation class, None for those that share `total`.

    `daily` is what may be spent in a UTC day, None where there is no limit, of what the service counts as `counts`
    says, None where it does not.
    """

    classes: Mapping[str, Rate | None]
    total: Rate | None = None
    daily: int | None = None
    counts: Daily | None = None


class ScopeUsage(Struct, frozen=True, kw_only=True):
    """A quota scope at an instant: every class, and what was spent today of the day's budget.

    Both are None where the service does not count per day, `daily` also where there is no limit.
    """

    scope: str
    classes: tuple[Usage, ...]
    spent: int | None = None
    daily: int | None = None


Store = Callable[[str, StoredScope], Awaitable[None]]
"""Stores what changed of a scope; `spent` is what came to it since the last time."""


class Limiter:
    """The buckets of one quota scope, shared by all sources in it.

    `patience_s`: during a hold that lasts longer than this nobody waits; `admit` raises instead. `left_behind` is what
    an earlier process stored, `store` stores for a later one; without it nothing outlives this one.
    """

    def __init__(
        self,
        scope: str,
        budget: Budget,
        clock: Clock,
        *,
        patience_s: float = PATIENCE_S,
        left_behind: StoredScope | None = None,
        store: Store | None = None,
    ) -> None:
        self.scope = scope
        self.clock = clock
        self._patience_s = patience_s
        self._lanes: dict[str, Lane] = {}
        self._gates: dict[str, Gate] = {}
        self._left_behind = {one.operation: one for one in left_behind.paces} if left_behind else {}
        self._spending = Spending(clock, left_behind.spent if left_behind else {})
        self._store = store
        self._storing = asyncio.Lock()
        self._not_before_s = clock.monotonic_s()
        self.adopt(budget)

    def adopt(self, budget: Budget) -> None:
        """Keep to another budget from now on. Buckets and holds stay: new rates are no way around them."""
        for name, rate in ((TOTAL, budget.total), *budget.classes.items()):
            if rate is not None and name in self._gates:
                self._gates[name].adopt(rate)
            elif rate is not None:
                self._gates[name] = self._gate(name, rate)
        for operation, rate in budget.classes.items():
            if rate is None and budget.total is None:
                raise ValueError(f"{self.scope}: the operation class {operation} has neither a rate nor a total")
            gate = self._gates[TOTAL if rate is None else operation]
            self._lanes.setdefault(operation, Lane(operation, gate)).gate = gate
        self._spending.adopt(budget.counts, budget.daily)

    def _gate(self, name: str, rate: Rate) -> Gate:
        left_behind = self._left_behind.get(name)
        return Gate(rate, self.clock, patience_s=self._patience_s, left_behind=left_behind)

    async def admit(self, operation: str, urgency: Urgency = Urgency.READ) -> Ticket:
        """Wait until a request of this class may leave. Cancelled, it leaves no hole.

        Raises:
            ThrottledError: the service wants nothing for longer than anybody should wait, or the day's budget is spent;
                nothing was sent.
        """
        lane = self._lanes[operation]
        with lane:
            while True:
                await self._wait_for_day(operation)
                await lane.gate.pass_through(urgency.value)
                if not lane.gate.held_s and not self._spending.closed_s(operation):
                    break
                lane.gate.give_back()  # it was closed between the token and now
        self._spending.leaves(operation)
        ticket = Ticket(operation=operation, at_s=self.clock.monotonic_s())
        lane.note(ticket)
        return ticket

    async def _wait_for_day(self, operation: str) -> None:
        while left_s := self._spending.closed_s(operation):
            if left_s > self._patience_s:
                text = f"{self._spending.why}; the next UTC day begins in {lasting(left_s)}"
                raise ThrottledError(text, sent=False, retry_after_s=left_s)
            await self.clock.sleep(left_s)

    def throttled(self, ticket: Ticket, retry_after_s: float | None) -> None:
        """Take note that the service refused the request of `ticket` because of its rate."""
        lane = self._lanes[ticket.operation]
        lane.throttled += 1
        lane.gate.slow_down(ticket.at_s, retry_after_s)

    def exhausted(self, ticket: Ticket, retry_after_s: float) -> None:
        """Take note that the service says that the quota of its day is spent: that is no matter of the rate."""
        refused = self._lanes[ticket.operation]
        refused.throttled += 1
        for lane in self._lanes.values():
            if lane is refused or self._spending.counts(lane.operation):
                lane.gate.hold(retry_after_s, "the service says that its daily quota is spent")

    def answered(self, ticket: Ticket, response: Response) -> None:
        """Take note that the request of `ticket` went well."""
        lane = self._lanes[ticket.operation]
        self._spending.answered(ticket.operation, len(response.body))
        lane.gate.ease(ticket.at_s)
        left = remaining(response.headers)
        if left is not None:
            lane.gate.warn(left)
        if response.took_s is not None:
            lane.watch(ticket, response.took_s, now_s=self.clock.monotonic_s())

    async def keep(self) -> None:
        """Store what changed since the last time, for another process. What cannot be stored is tried again later.

        Raises:
            BrokenMirrorError: the database failed: no later try will do better.
        """
        if self._store is None:
            return
        async with self._storing:
            changed = {name: gate for name, gate in self._gates.items() if gate.is_unstored}
            spent = self._spending.unstored()
            if not changed and not spent:
                return
            paces = tuple(gate.record(name) for name, gate in changed.items())
            for gate in changed.values():
                gate.is_unstored = False
            is_stored = False
            try:
                await self._store(self.scope, StoredScope(paces=paces, spent=spent))
                is_stored = True
                self._spending.stored(spent)
            except BrokenMirrorError:
                raise
            except MirrorError as error:
                self._not_before_s = self.clock.monotonic_s() + _RETRY_S
                get_log().error("rates.unstored", error=str(error))
            finally:
                for gate in changed.values():
                    gate.is_unstored |= not is_stored

    async def keep_before_next(self) -> None:
        """Do so before anything else leaves."""
        with contextlib.ExitStack() as stack:
            for gate in self._gates.values():
                stack.enter_context(gate.shut())
            await self.keep()

    @property
    def is_due_to_keep(self) -> bool:
        """Say whether so much was spent that it should be stored now."""
        return self._spending.is_material and self.clock.monotonic_s() >= self._not_before_s

    def usage(self) -> ScopeUsage:
        """Return the state of every class, in the order of the budget."""
        now_s = self.clock.monotonic_s()
        return ScopeUsage(
            scope=self.scope,
            classes=tuple(self._usage(lane, now_s) for lane in self._lanes.values()),
            spent=self._spending.today,
            daily=self._spending.budget,
        )

    def _usage(self, lane: Lane, now_s: float) -> Usage:
        held_s, why = lane.gate.held_s, lane.gate.why
        if (closed_s := self._spending.closed_s(lane.operation)) > held_s:
            held_s, why = closed_s, self._spending.why
        return Usage(
            operation=lane.operation,
            permitted_per_s=lane.gate.rate.per_s,
            learned_per_s=lane.gate.learned.per_s,
            held_s=held_s,
            why=why,
            used_60s=lane.used_60s(now_s),
            waiting=lane.waiting,
            requests=lane.requests,
            throttled=lane.throttled,
        )
