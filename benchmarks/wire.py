"""HTTP/1.1 for servers that must cost next to nothing: one request at a time on a connection, whole answers."""

import asyncio
from collections.abc import Callable
from typing import Protocol

_END = b"\r\n\r\n"
_HEAD = b"HTTP/1.1 %d Words\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n%s\r\n"

Send = Callable[[bytes], None]


class Answers(Protocol):
    """What a server does: `answer` gets a request's head and body, and a way to send the answer, now or later."""

    port: int

    def answer(self, head: bytes, body: bytes, send: Send) -> None: ...


def answer(body: bytes, more: bytes = b"", *, status: int = 200) -> bytes:
    """Return an answer as bytes; `more` are header lines."""
    return _HEAD % (status, len(body), more) + body


def number_after(mark: bytes, text: bytes, otherwise: int) -> int:
    _, found, rest = text.partition(mark)
    return int(rest.split(b" ")[0].split(b"\r")[0]) if found else otherwise


class _Connection(asyncio.Protocol):
    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(_END)
        if end and len(body) >= number_after(b"content-length: ", head.lower(), 0):
            self._received = b""
            self._answers.answer(head, body, self._send)

    def _send(self, whole: bytes) -> None:
        if self._transport is not None:
            self._transport.write(whole)


async def serve(answers: Answers, begin: Callable[[], None] = lambda: None) -> None:
    """Listen on a free port, `begin`, print the port, and go on until the end of the process."""
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(answers), "127.0.0.1", 0)
    answers.port = server.sockets[0].getsockname()[1]
    begin()
    print(answers.port, flush=True)
    await server.serve_forever()
