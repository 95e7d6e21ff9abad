"""The service: a process on the loopback interface that sends prepared bytes, so cheap that it is not measured.

    python -m benchmarks.standin DEVICES SHAPE ORDER

It prints its port. `POST /control/change/SHARE` changes devices, `POST /control/wait/MILLISECONDS` delays each page.
"""

import asyncio
import sys
from collections.abc import Callable

from benchmarks.fleet import Fleet

_END = b"\r\n\r\n"


class Pages:
    """Every answer of a listing, head and body, ready to be sent."""

    def __init__(self, fleet: Fleet, shape: str) -> None:
        self._fleet = fleet
        self._made: Callable[[list[bytes], int | None], bytes] = {"central": self._central, "hub": _hub}[shape]
        self.port = 0
        self.wait_s = 0.0
        self.answers: list[bytes] = []

    def prepare(self) -> None:
        pages = list(self._fleet.pages())
        last = len(pages) - 1
        self.answers = [self._made(page, None if number == last else number + 1) for number, page in enumerate(pages)]

    def change(self, share: float) -> None:
        self._fleet.change(share)
        self.prepare()

    @property
    def devices(self) -> int:
        return len(self._fleet.documents)

    def _central(self, page: list[bytes], following: int | None) -> bytes:
        link = b""
        if following is not None:
            place = f"/api/devices?api-version=2022-10-31-preview&maxpagesize=100&%24skiptoken={following}"
            link = f',"nextLink":"http://127.0.0.1:{self.port}{place}"'.encode()
        return _answer(b'{"value":[' + b",".join(page) + b"]" + link + b"}")


def _hub(page: list[bytes], following: int | None) -> bytes:
    more = b"" if following is None else f"x-ms-continuation: {following}\r\n".encode()
    return _answer(b"[" + b",".join(page) + b"]", more)


def _answer(body: bytes, more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n%s\r\n"
    return head % (len(body), more) + body


class StandIn(asyncio.Protocol):
    """One connection."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(_END)
        if end and len(rest) >= _number_after(b"content-length: ", head.lower(), 0):
            self._received = b""
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        pages, path = self._pages, head.split(b" ", 2)[1]
        if path.startswith(b"/control/"):
            what, value = path.split(b"/")[2:]
            if what == b"change":
                pages.change(float(value))
            else:
                pages.wait_s = float(value) / 1000
            self._send(_answer(b"{}"))
        elif path.startswith(b"/statistics/"):
            self._send(_answer(b'{"totalDeviceCount":%d}' % pages.devices))
        else:
            mark = b"skiptoken=" if head.startswith(b"GET") else b"x-ms-continuation: "
            answer = pages.answers[_number_after(mark, head, 0)]
            if pages.wait_s:
                asyncio.get_running_loop().call_later(pages.wait_s, self._send, answer)
            else:
                self._send(answer)

    def _send(self, answer: bytes) -> None:
        if self._transport is not None:
            self._transport.write(answer)


def _number_after(mark: bytes, text: bytes, otherwise: int) -> int:
    _, found, rest = text.partition(mark)
    return int(rest.split(b" ")[0].split(b"\r")[0]) if found else otherwise


async def main(devices: int, shape: str, order: str) -> None:
    pages = Pages(Fleet(devices, shape=shape, order=order), shape)
    server = await asyncio.get_running_loop().create_server(lambda: StandIn(pages), "127.0.0.1", 0)
    pages.port = server.sockets[0].getsockname()[1]
    pages.prepare()
    print(pages.port, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
