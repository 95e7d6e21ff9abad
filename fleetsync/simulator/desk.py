"""The desk in front of a service: limit, faults, the doorman and the books, for whatever is behind it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from fleetsync.simulator.bucket import Bucket, Limit, Meter
from fleetsync.simulator.counters import Call, Counters
from fleetsync.simulator.faults import Drawn, Injector
from fleetsync.simulator.mischief import instead, spoiled, with_header
from fleetsync.simulator.wire import RefusedError, SimRequest, SimResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What came of carrying a request out; `changed` when the stored state is another one now."""

    answer: SimResponse
    changed: bool = False


class Service(Protocol):
    """What is behind a desk: one file, one kind of service."""

    def recognise(self, request: SimRequest) -> Call:
        """Say what a request is about, without doing or refusing anything."""
        ...

    def admit(self, request: SimRequest) -> None:
        """Let the request pass, or raise RefusedError for want of a good token."""
        ...

    def carry_out(self, request: SimRequest, call: Call, faults: Drawn) -> Carried:
        """Do it and answer, or raise RefusedError."""
        ...

    def refuse(self, status: int, code: str, message: str) -> SimResponse:
        """Return an error in the service's own dialect."""
        ...


@dataclass(slots=True, kw_only=True)
class Desk:
    """Serves requests one at a time; `limit` belongs to the service, faults and counters to the whole cloud.

    `name` is that of the service, with what it limits behind a dot when it has several limits. A request that is
    over the limit is answered late, if `patience_s` allows, before any is refused.
    """

    name: str
    now: Callable[[], float]
    counters: Counters
    injector: Callable[[], Injector]
    limit: Limit | None = None
    patience_s: float = 0.0
    latency_s: float = 0.0
    bucket: Bucket = field(init=False)
    meter: Meter = field(init=False)

    def __post_init__(self) -> None:
        self.bucket = Bucket(self.limit)
        self.renew()

    def renew(self) -> None:
        """Start a new meter; the bucket stays as full as it is."""
        self.meter = Meter(self.limit)
        self.counters.watch(self.name, self.meter)

    def serve(self, request: SimRequest, service: Service) -> SimResponse:
        """Answer a request and enter it in the books."""
        at = self.now()
        call = service.recognise(request)
        faults = self.injector().draw(call.kind, self.name.partition(".")[0])
        wait_s = self.bucket.wait_s(at, patience_s=self.patience_s)
        self.meter.note(at, refused=wait_s is None, delayed=bool(wait_s))
        carried = self._outcome(request, call, service, faults=faults, at=at, allowed=wait_s is not None)
        answer = replace(carried.answer, delay_s=carried.answer.delay_s + self.latency_s + (wait_s or 0.0))
        answer = spoiled(answer, faults, service.refuse)
        self.counters.note(request, call, answer, at=at, faults=faults, changed=carried.changed)
        return answer

    def _outcome(
        self, request: SimRequest, call: Call, service: Service, *, faults: Drawn, at: float, allowed: bool
    ) -> Carried:
        injected = instead(faults, service.refuse, at=at)
        if injected is not None:
            return Carried(answer=injected)
        if not allowed:
            return Carried(answer=self._throttled(service))
        try:
            service.admit(request)
            return service.carry_out(request, call, faults)
        except RefusedError as error:
            return Carried(answer=service.refuse(error.status, error.code, error.message))

    def _throttled(self, service: Service) -> SimResponse:
        answer = service.refuse(429, "TooManyRequests", "the application's request limit is exceeded")
        after = self.limit.retry_after if self.limit else None
        return answer if after is None else with_header(answer, "Retry-After", after)
