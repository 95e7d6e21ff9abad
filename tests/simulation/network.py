"""The network in one process: what looks like an aiohttp session to `transport.client`, and weather in between.

A request leaves, arrives, is carried out and answered; each of these is an instant of the agenda, and a process that
dies between two of them changes nothing about the others: what has left arrives, or is lost by chance.

Names are looked up, connections made and certificates checked by nobody here: weather raises what aiohttp would raise.
"""

import asyncio
import errno
import itertools
import ssl
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from fleetsync.simulator import LogLine, SimRequest, SimResponse, WriteRecord
from fleetsync.transport.session import CONNECT_S, Departure, departing
from tests.simulation.loop import Agenda

NEVER_S = 1e9
_PIECE = 1 << 20


@dataclass(slots=True, kw_only=True)
class Weather:
    """What the way to one service is like: seconds there and back, and how likely which mishap is for a request."""

    latency_s: float = 0.02
    mishaps: dict[str, float] = field(default_factory=dict)


class Service(Protocol):
    """What requests arrive at."""

    name: str
    url: str
    weather: Weather

    def handle(self, request: SimRequest) -> SimResponse:
        """Answer a request."""
        ...

    def last_line(self) -> LogLine:
        """Return what the service's books say of the last request."""
        ...

    def last_write(self) -> WriteRecord | None:
        """Return what they say of the last write."""
        ...


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request on the wire. Instants are the agenda's; None is: it did not happen, or not yet."""

    number: int
    process: int
    place: Any
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    left_s: float
    departed: bool = False
    """It is on the wire: a connection was there."""
    arrived_s: float | None = None
    line: LogLine | None = None
    """What the service's books say of it."""
    write: WriteRecord | None = None
    answer: SimResponse | None = None
    delivered_s: float | None = None
    """When the whole answer was in the hands of the process, which was alive."""
    failure: str | None = None
    """The mishap on its way, or on that of its answer."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What invariants remember of it."""

    @property
    def was_carried_out(self) -> bool:
        """Say whether the service did what it was asked to."""
        line = self.line
        if line is None or line.status == 0:
            return False
        return self.write is not None and self.write.changed if line.kind == "write" else True


@dataclass(slots=True, kw_only=True)
class Watchers:
    """Who is told of what happens on the wire."""

    strays: Callable[[str], None] = lambda _: None
    """It goes where nobody is configured, or may be led there."""
    leaves: Callable[[Exchange], None] = lambda _: None
    arrives: Callable[[Exchange], None] = lambda _: None
    answered: Callable[[Exchange], None] = lambda _: None
    """The service has carried it out, or not; the answer is on its way."""
    delivered: Callable[[Exchange], None] = lambda _: None


class Living(Protocol):
    """A process, as far as the network knows it."""

    number: int
    is_alive: bool

    def point(self, what: str) -> None:
        """Pass a place at which it may be killed."""
        ...


class Network:
    """The way from processes to services, by origin."""

    def __init__(self, agenda: Agenda, random: Random) -> None:
        self.agenda = agenda
        self.random = random
        self.watchers = Watchers()
        self.happened: Counter[str] = Counter()
        """How often each mishap happened."""
        self.requests = 0
        self.lost_with_its_process = 0.3
        """How likely it is that a request on its way is lost when its process dies."""
        self._services: dict[str, Service] = {}
        self._numbers = itertools.count(1)

    def connect(self, service: Service) -> None:
        """Put a service on the network."""
        self._services[service.url] = service

    def service_at(self, url: URL) -> Service | None:
        """Return who is at an origin."""
        return self._services.get(str(url.origin()))

    def begin(self, **request: Any) -> Exchange:
        """Open the record of a request."""
        self.requests += 1
        return Exchange(number=next(self._numbers), left_s=self.agenda.now_s, **request)

    def mishap(self, weather: Weather, *names: str) -> str | None:
        """Return which of these happens to a request now, if one does."""
        for name in names:
            if (chance := weather.mishaps.get(name)) and self.random.random() < chance:
                self.happened[name] += 1
                return name
        return None

    def one_way_s(self, weather: Weather) -> float:
        """Return how long a packet takes now."""
        return weather.latency_s * (0.5 + self.random.random())


class Session:
    """What `transport.client.Client` uses of an aiohttp session, for the requests of one process.

    A dead process sends nothing and hears nothing.
    """

    def __init__(self, network: Network, process: "Living") -> None:
        self._network = network
        self._process = process

    async def __aenter__(self) -> "Session":
        return self

    async def __aexit__(self, *_error: object) -> None:
        pass

    def request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        data: bytes | None,
        allow_redirects: bool,
    ) -> "_Going":
        """Return a context that sends a request and gives its answer."""
        network = self._network
        service = network.service_at(url)
        if service is None or allow_redirects:
            network.watchers.strays(f"{method} {url}, redirects followed: {allow_redirects}")
            raise aiohttp.InvalidURL(url)
        exchange = network.begin(
            process=self._process.number,
            place=service,
            method=method,
            target=url.raw_path_qs,
            headers={**headers, "Host": f"{url.raw_host}:{url.port}"},
            body=data or b"",
        )
        departure = departing.get()
        assert departure is not None
        return _Going(network, service, exchange, departure, self._process)


class _Going:
    """One request on its way."""

    def __init__(
        self,
        network: Network,
        service: Service,
        exchange: Exchange,
        departure: Departure,
        process: "Living",
    ) -> None:
        self._network = network
        self._service = service
        self._exchange = exchange
        self._departure = departure
        self._process = process

    async def __aenter__(self) -> "Answer":
        network, exchange, weather = self._network, self._exchange, self._service.weather
        if self._process.is_alive:
            network.watchers.leaves(exchange)
        await self._connect(weather)
        self._departure.leaves()
        if not self._process.is_alive:
            raise aiohttp.ServerDisconnectedError
        exchange.departed = True
        answered: asyncio.Future[SimResponse | None] = asyncio.get_running_loop().create_future()
        lost = network.mishap(weather, "keep-alive-closed", "reset-on-the-way", "no-answer")
        if lost is None:
            network.agenda.after(network.one_way_s(weather), lambda: self._arrive(answered))
        else:
            exchange.failure = lost
        if lost in ("keep-alive-closed", "reset-on-the-way"):
            await asyncio.sleep(network.one_way_s(weather))
            raise aiohttp.ServerDisconnectedError if lost == "keep-alive-closed" else _reset()
        self._process.point(f"a {exchange.method} has left")
        answer = await answered
        return self._opened(answer)

    async def __aexit__(self, *_error: object) -> None:
        pass

    async def _connect(self, weather: Weather) -> None:
        mishap = self._network.mishap(weather, *_CONNECTING)
        if mishap is None:
            return
        self._exchange.failure = mishap
        wait_s, error = _CONNECTING[mishap]
        await asyncio.sleep(wait_s)
        raise error()

    def _arrive(self, answered: "asyncio.Future[SimResponse | None]") -> None:
        """Let the service answer, and send the answer back."""
        network, exchange, service = self._network, self._exchange, self._service
        if not self._process.is_alive and network.random.random() < network.lost_with_its_process:
            exchange.failure = "its process died"
            return
        exchange.arrived_s = network.agenda.now_s
        network.watchers.arrives(exchange)
        request = SimRequest(
            method=exchange.method, target=exchange.target, headers=dict(exchange.headers), body=exchange.body
        )
        exchange.answer = service.handle(request)
        exchange.line = service.last_line()
        exchange.write = service.last_write() if exchange.line.kind == "write" else None
        network.watchers.answered(exchange)
        if exchange.line.kind == "write":
            self._process.point("a write was carried out")
        back_s = exchange.answer.delay_s + network.one_way_s(service.weather)

        def deliver() -> None:
            if self._process.is_alive and not answered.done():
                answered.set_result(exchange.answer)

        network.agenda.after(back_s, deliver)

    def _opened(self, answer: SimResponse | None) -> "Answer":
        network, exchange, weather = self._network, self._exchange, self._service.weather
        assert answer is not None
        mishap = "reset" if answer.reset else network.mishap(weather, *_ANSWERING)
        if mishap == "reset":
            exchange.failure = exchange.failure or "reset"
            raise _reset()

        def at_end() -> None:
            if self._process.is_alive:
                self._process.point("an answer was read")
            if self._process.is_alive:
                exchange.delivered_s = network.agenda.now_s
                network.watchers.delivered(exchange)

        return Answer(answer, mishap, at_end)


class Answer:
    """What `Client` uses of an aiohttp response."""

    def __init__(self, answer: SimResponse, mishap: str | None, at_end: Callable[[], None]) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.content = self
        self._answer = answer
        self._mishap = mishap
        self._at_end = at_end
        self._is_closed = False

    def close(self) -> None:
        """Drop the connection."""
        self._is_closed = True

    async def iter_any(self) -> AsyncIterator[bytes]:
        """Give the body in pieces, as they come."""
        body = _unpacked(self._answer)
        if self._mishap == "endless-body":
            while not self._is_closed:
                yield b" " * _PIECE
                await asyncio.sleep(0.01)
            return
        cut = self._answer.truncate_at if self._answer.truncate_at is not None else None
        if self._mishap in ("cut-body", "wrong-length"):
            cut = len(body) // 2 if self._mishap == "cut-body" else len(body)
        if self._mishap == "slow-body" or self._answer.pace_s:
            # One byte a second: a body of any length is not there in time, and what comes is not worth a step each.
            pace_s = self._answer.pace_s or 1.0
            await asyncio.sleep(pace_s * len(body) / 2)
            yield body[: len(body) // 2]
            await asyncio.sleep(pace_s * len(body) / 2)
            yield body[len(body) // 2 :]
        else:
            yield body if cut is None else body[:cut]
        if cut is not None:
            raise aiohttp.ClientPayloadError("Response payload is not completed")
        self._at_end()


def _unpacked(answer: SimResponse) -> bytes:
    encoding = {name.lower(): value for name, value in answer.headers.items()}.get("content-encoding")
    return zlib.decompress(answer.body, wbits=31, bufsize=_PIECE) if encoding == "gzip" else answer.body


def _reset() -> Exception:
    return aiohttp.ClientOSError(errno.ECONNRESET, "Connection reset by peer")


_REQUEST = aiohttp.RequestInfo(URL("http://127.0.0.1"), "CONNECT", CIMultiDictProxy(CIMultiDict()))
_KEY = ConnectionKey("127.0.0.1", 443, True, True, None, None, None)


def _connector(number: int) -> Callable[[], Exception]:
    return lambda: aiohttp.ClientConnectorError(_KEY, OSError(number, errno.errorcode[number]))


def _untrusted(code: int) -> Callable[[], Exception]:
    def error() -> Exception:
        reason = ssl.SSLCertVerificationError(1, "certificate verify failed")
        reason.verify_code = code
        return aiohttp.ClientConnectorCertificateError(_KEY, reason)

    return error


def _old_tls() -> Exception:
    reason = ssl.SSLError(1, "wrong version number")
    reason.reason = "WRONG_VERSION_NUMBER"
    return aiohttp.ClientConnectorSSLError(_KEY, reason)


_CONNECTING: Mapping[str, tuple[float, Callable[[], Exception]]] = {
    "refused": (0.01, _connector(errno.ECONNREFUSED)),
    "unreachable": (0.01, _connector(errno.EHOSTUNREACH)),
    "hanging-connect": (CONNECT_S, lambda: aiohttp.ConnectionTimeoutError("Connection timeout to host")),
    "dead-dns": (0.01, lambda: aiohttp.ClientConnectorDNSError(_KEY, OSError(-2, "Name or service not known"))),
    "slow-dns": (CONNECT_S, lambda: aiohttp.ConnectionTimeoutError("Connection timeout to host")),
    "lying-dns": (0.05, _untrusted(62)),
    "unknown-ca": (0.05, _untrusted(20)),
    "expired-certificate": (0.05, _untrusted(10)),
    "wrong-name": (0.05, _untrusted(62)),
    "old-tls": (0.05, _old_tls),
    "company-proxy": (0.05, lambda: aiohttp.ClientHttpProxyError(_REQUEST, (), status=407)),
    "dead-proxy": (0.05, lambda: aiohttp.ClientProxyConnectionError(_KEY, OSError(errno.ECONNREFUSED, "refused"))),
    "no-descriptors": (0.0, _connector(errno.EMFILE)),
}
_ANSWERING = ("reset", "cut-body", "wrong-length", "slow-body", "endless-body")
