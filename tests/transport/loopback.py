"""Servers on 127.0.0.1 that do exactly as they are told, well or badly."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Seen:
    """What a server saw. `head` is a request's first line and headers, as text."""

    connections: int = 0
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""

    @property
    def lines(self) -> list[str]:
        return [head.splitlines()[0] for head in self.heads]

    def header(self, name: str, number: int = -1) -> str | None:
        for line in self.heads[number].splitlines()[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name:
                return value.strip()
        return None


Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]] | None
"""Bytes to send, something that sends by itself, or None: close without a word."""


def answer(status: int = 200, body: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextlib.asynccontextmanager
async def serve(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Seen]:
    """Answer the requests, over all connections, with `answers` in turn; the last one serves for all that follow."""
    seen, left = Seen(), list(answers)
    tasks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            seen.heads.append(head)
            length = int(seen.header("content-length") or 0)
            seen.bodies.append(await reader.readexactly(length))
            reply = left.pop(0) if len(left) > 1 else left[0]
            if reply is None:
                return
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(writer)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    seen.url = f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{port}"
    try:
        yield seen
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
