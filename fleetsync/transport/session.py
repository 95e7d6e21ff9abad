"""The one place that opens an aiohttp session, and what is switched off in it."""

import functools
import socket
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection

from fleetsync.clock import Clock
from fleetsync.errors import ConfigError, Problem
from fleetsync.transport.threads import DaemonThreads

if TYPE_CHECKING:
    from aiohttp.tracing import Trace

Session = aiohttp.ClientSession
"""What `open_session` returns, for those who only pass it on."""

CONNECT_S = 20.0
MOST_AT_ONCE = 256
"""Requests of a source, and so many connections: none that may leave waits for one."""

_LOOKUPS = 16


def open_session(
    *, ca_file: Path | None = None, proxy: str | None = None, trust_env: bool = False, connect_s: float = CONNECT_S
) -> Session:
    """Return a pool of kept-alive connections; close it with `async with`. Must be called in a running loop.

    `ca_file` replaces the system's certificate authorities. Proxies and passwords from the environment and from
    .netrc are used only with `trust_env`. `connect_s` bounds the way to a usable connection: name lookup, TCP, TLS.

    Raises:
        ConfigError: `ca_file` cannot be read.
    """
    session = aiohttp.ClientSession(
        connector=_Connector(limit=MOST_AT_ONCE, ssl=_trust(ca_file), resolver=_Resolver()),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s),
        skip_auto_headers={"Content-Type"},
        proxy=proxy,
        trust_env=trust_env,
    )
    # aiohttp repeats GET, PUT and DELETE by itself when a connection dies after sending, and has no public switch
    # for it. A PUT that was applied twice was seen at a server (3.14.5); tests/transport/test_session.py counts.
    session._retry_connection = False  # noqa: SLF001 - see above
    return session


class Departure:
    """Whether a request may have reached the service, and since when."""

    __slots__ = ("_clock", "_departs", "_left_s", "sent")

    def __init__(self, clock: Clock, departs: Callable[[], None] | None = None) -> None:
        self._clock = clock
        self._departs = departs
        self._left_s: float | None = None
        self.sent = False

    def leaves(self) -> None:
        """Take note that it has a connection, and goes on the wire."""
        self.sent = True
        self._left_s = self._clock.monotonic_s()
        if self._departs is not None:
            self._departs()

    @property
    def ago_s(self) -> float | None:
        """Return how long ago it went on the wire, None where nobody saw it."""
        return None if self._left_s is None else self._clock.monotonic_s() - self._left_s


departing: ContextVar[Departure | None] = ContextVar("departing", default=None)
"""The request that the running task sends, which whoever connects tells that it leaves."""


class _Connector(aiohttp.TCPConnector):
    """Says when a request leaves; aiohttp's own traces say it as well, for as much as a tenth of what a page costs."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: "list[Trace]",
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        departure = departing.get()
        if departure is not None:
            departure.leaves()
        return connection


def _trust(ca_file: Path | None) -> ssl.SSLContext | bool:
    """Return the authorities in `ca_file`, else True: the system's, which aiohttp has read already."""
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigError(Problem(message=f"ca_file {ca_file} cannot be read: {error.strerror or error}")) from error


class _Resolver(AbstractResolver):
    """The system's name lookup, where a dead name server cannot hold up anything but its own request."""

    def __init__(self) -> None:
        self._threads = DaemonThreads(_LOOKUPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        look_up = functools.partial(
            socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=found,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, proto, _, address in await self._threads.run(look_up)
        ]

    async def close(self) -> None:
        """Leave the threads to their fate."""
