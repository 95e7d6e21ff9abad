"""The service: a process on the loopback interface that sends prepared bytes, so cheap that it is not measured.

    python -m benchmarks.standin DEVICES SHAPE ORDER

It prints its port. `POST /control/change/SHARE` changes devices, `POST /control/wait/MILLISECONDS` delays each page.
"""

import asyncio
import sys
from collections.abc import Callable

from benchmarks.fleet import Fleet
from benchmarks.wire import Send, answer, number_after, serve


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

    def answer(self, head: bytes, _body: bytes, send: Send) -> None:
        """Answer a request."""
        path = head.split(b" ", 2)[1]
        if path.startswith(b"/control/"):
            what, value = path.split(b"/")[2:]
            if what == b"change":
                self.change(float(value))
            else:
                self.wait_s = float(value) / 1000
            send(answer(b"{}"))
        elif path.startswith(b"/statistics/"):
            send(answer(b'{"totalDeviceCount":%d}' % self.devices))
        else:
            mark = b"skiptoken=" if head.startswith(b"GET") else b"x-ms-continuation: "
            page = self.answers[number_after(mark, head, 0)]
            if self.wait_s:
                asyncio.get_running_loop().call_later(self.wait_s, send, page)
            else:
                send(page)

    def _central(self, page: list[bytes], following: int | None) -> bytes:
        link = b""
        if following is not None:
            place = f"/api/devices?api-version=2022-10-31-preview&maxpagesize=100&%24skiptoken={following}"
            link = f',"nextLink":"http://127.0.0.1:{self.port}{place}"'.encode()
        return answer(b'{"value":[' + b",".join(page) + b"]" + link + b"}")


def _hub(page: list[bytes], following: int | None) -> bytes:
    more = b"" if following is None else f"x-ms-continuation: {following}\r\n".encode()
    return answer(b"[" + b",".join(page) + b"]", more)


if __name__ == "__main__":
    served = Pages(Fleet(int(sys.argv[1]), shape=sys.argv[2], order=sys.argv[3]), sys.argv[2])
    asyncio.run(serve(served, served.prepare))
