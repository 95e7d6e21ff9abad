"""The simulated cloud as an `Http`, without sockets, on any clock.

    http = CloudHttp(cloud, clock)
    http.on(3, after=lost)                 # the third request is carried out, its answer never arrives
    http.on(3, before=refused(503))        # it never gets there; the service is said to be unavailable
    http.when(is_write, before=somebody_edits)

A hook runs when a request arrives (`before`) or when it was carried out (`after`), and may raise: one of our errors,
or `Killed`, which no code of ours catches, as nothing catches kill -9.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from fleetsync.clock import Clock
from fleetsync.errors import InvalidResponseError, UnreachableError
from fleetsync.simulator import Cloud, SimRequest, SimResponse
from fleetsync.transport.client import error_of
from fleetsync.transport.http import Request, Response
from fleetsync.transport.origin import Origin
from tests.fakes.clock import START

Hook = Callable[[Request], None]
Matches = Callable[[Request], bool]


class Killed(BaseException):
    """The process is no more."""


def lost(request: Request) -> None:
    """Fail as a connection that closes: nobody knows whether the request was carried out."""
    raise UnreachableError(f"{request.method}: the connection was reset", sent=True)


def refused(status: int, body: bytes = b'{"error":{"code":"Injected","message":"injected"}}') -> Hook:
    """Return a hook that answers with a status instead."""

    def refuse(request: Request) -> None:
        raise error_of(request, Response(status=status, headers={}, body=body), START)

    return refuse


def killed(request: Request) -> None:
    """End the process."""
    raise Killed(request.url)


def is_write(request: Request) -> bool:
    """Say whether it changes something."""
    return request.method in ("PATCH", "PUT")


def is_list(request: Request) -> bool:
    """Say whether it asks for a page."""
    return request.operation in ("list", "query")


@dataclass
class _Rule:
    matches: Matches
    before: Hook | None
    after: Hook | None
    left: int


@dataclass
class CloudHttp:
    """Sends every request to `cloud`; it is its own meter.

    `page_size` makes pages shorter than asked for, as a service may. `latency_s` passes before each answer.
    """

    cloud: Cloud
    clock: Clock
    page_size: int | None = None
    latency_s: float = 0.0
    requests: int = 0
    throttled: int = 0
    waited_s: float = 0.0
    at_once: int = 16
    sent: list[Request] = field(default_factory=list)
    """Every request, in the order in which they arrived."""
    sent_at_s: list[float] = field(default_factory=list)
    """When they did (monotonic)."""
    _rules: list[_Rule] = field(default_factory=list)

    def on(self, number: int, *, before: Hook | None = None, after: Hook | None = None) -> None:
        """Run hooks at the request with this number, from 1, counted from the beginning."""
        self.when(lambda _: self.requests == number, before=before, after=after)

    def when(
        self, matches: Matches, *, before: Hook | None = None, after: Hook | None = None, times: int = 1_000_000
    ) -> None:
        """Run hooks at the next `times` requests that match."""
        self._rules.append(_Rule(matches=matches, before=before, after=after, left=times))

    def heal(self) -> None:
        """Forget all hooks."""
        self._rules.clear()

    def count(self, matches: Matches) -> int:
        """Return how many requests matched."""
        return sum(map(matches, self.sent))

    def arrivals(self, matches: Matches) -> list[float]:
        """Return when the requests arrived that matched."""
        return [at_s for at_s, request in zip(self.sent_at_s, self.sent, strict=True) if matches(request)]

    async def departure(self) -> None:
        """Never return: there are always as many at work."""
        await asyncio.Event().wait()

    async def keep(self) -> None:
        """Store nothing: no rate is learned."""

    async def send(self, request: Request) -> Response:
        self.requests += 1
        self.sent.append(request)
        began_s = self.clock.monotonic_s()
        self.sent_at_s.append(began_s)
        if request.departs is not None:
            request.departs()
        hooks = self._hooks(request)
        handle = self._service(request)
        if self.latency_s:
            await self.clock.sleep(self.latency_s)
        for rule in hooks:
            if rule.before:
                rule.before(request)
        answer = handle(self._arriving(request))
        for rule in hooks:
            if rule.after:
                rule.after(request)
        if answer.delay_s:
            await self.clock.sleep(answer.delay_s)
        return msgspec.structs.replace(self._response(request, answer), took_s=self.clock.monotonic_s() - began_s)

    def _hooks(self, request: Request) -> list[_Rule]:
        hooks = [rule for rule in self._rules if rule.left and rule.matches(request)]
        for rule in hooks:
            rule.left -= 1
        return hooks

    def _service(self, request: Request) -> Callable[[SimRequest], SimResponse]:
        cloud = self.cloud
        services = {
            cloud.url: cloud.handle,
            cloud.hub_url: cloud.handle_hub,
            cloud.sphere_url: cloud.handle_sphere,
            cloud.relay_url: cloud.handle_relay,
            cloud.arm_url: cloud.handle_arm,
        }
        for url, handle in services.items():
            if Origin.of(url).admits(request.url):
                return handle
        raise InvalidResponseError(f"{request.method} was not sent: its address leads elsewhere")

    def _arriving(self, request: Request) -> SimRequest:
        target = "/" + request.url.split("/", 3)[3]
        if self.page_size is not None:
            target = target.replace("&maxpagesize=100", f"&maxpagesize={self.page_size}")
        return SimRequest(method=request.method, target=target, headers=dict(request.headers), body=request.body or b"")

    def _response(self, request: Request, answer: SimResponse) -> Response:
        if answer.is_lost:
            lost(request)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        response = Response(status=answer.status, headers=headers, body=answer.body)
        if not 200 <= answer.status < 300:
            raise error_of(request, response, self.clock.now())
        return response
