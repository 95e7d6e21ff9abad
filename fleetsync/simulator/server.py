"""The thin edge to the network: aiohttp.web in front of a cloud, and the mishaps that need a socket."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeAlias
from weakref import WeakSet

from aiohttp import web

from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.wire import SimRequest, SimResponse

Handle: TypeAlias = Callable[[SimRequest], SimResponse]

_LINGER_NOT = struct.pack("ii", 1, 0)
_SHUTDOWN_S = 0.1


def listener(address: str) -> socket.socket:
    """Return a listening socket for `host:port`; port 0 takes a free one.

    Raises:
        SimulatorError: the address is not of that form, or cannot be listened on.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise SimulatorError(f'listen address "{address}" is not like "127.0.0.1:8080"')
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family)
    except OSError as error:
        raise SimulatorError(f'cannot listen on "{address}": {error.strerror or error}') from error


def address_of(sock: socket.socket) -> str:
    """Return the address that a socket listens on, as `host:port`."""
    host, port = sock.getsockname()[:2]
    return f"{host}:{port}"


@asynccontextmanager
async def served(handle: Handle, sock: socket.socket, context: ssl.SSLContext | None) -> AsyncIterator[None]:
    """Serve requests from a listening socket for as long as the context lasts; then the socket is closed."""
    connections: WeakSet[asyncio.BaseTransport] = WeakSet()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.transport is not None:
            connections.add(request.transport)
        body = await request.read()
        # raw_path is what came over the wire; request.url would have been normalised.
        found = SimRequest(method=request.method, target=request.raw_path, headers=request.headers, body=body)
        return await _deliver(request, handle(found))

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.SockSite(runner, sock, ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()
        sock.close()
        await _cut(connections)


async def _cut(connections: Iterable[asyncio.BaseTransport]) -> None:
    # An idle client never answers the end of a TLS session, and the loop may be gone before anybody gives up.
    for transport in connections:
        if isinstance(transport, asyncio.Transport):
            transport.abort()
    await asyncio.sleep(0)


async def _deliver(request: web.BaseRequest, answer: SimResponse) -> web.StreamResponse:
    if answer.delay_s > 0:
        await asyncio.sleep(answer.delay_s)
    if answer.reset is not None:
        _abort(request)
        return web.Response()
    if answer.truncate_at is None and answer.pace_s == 0:
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
    return await _streamed(request, answer)


async def _streamed(request: web.BaseRequest, answer: SimResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(answer.body)
    await response.prepare(request)
    try:
        async for piece in _pieces(answer):
            await response.write(piece)
    except ConnectionError:
        # The client had enough; that is what these answers are for.
        return response
    if answer.truncate_at is not None and request.transport is not None:
        request.transport.close()
    return response


async def _pieces(answer: SimResponse) -> AsyncIterator[bytes]:
    body = answer.body if answer.truncate_at is None else answer.body[: answer.truncate_at]
    if answer.pace_s == 0:
        yield body
        return
    for index in range(len(body)):
        yield body[index : index + 1]
        await asyncio.sleep(answer.pace_s)


def _abort(request: web.BaseRequest) -> None:
    transport = request.transport
    if transport is None:
        return
    # With a linger time of zero the peer is sent a reset, not an orderly end.
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()
