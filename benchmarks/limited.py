"""A service with a limit: it takes PATCHes at a rate, each after a while, refuses what is above it, and counts.

    python -m benchmarks.limited DEVICES RATE MILLISECONDS

It prints its port. `GET /control/figures` says how its writes came. Its limit is a bucket of a tenth of a second's
worth and one, full at the beginning: who sends as evenly as can be is still some milliseconds early now and then, on
arrival. Lists are not limited and wait for nothing.
"""

import asyncio
import json
import sys

from benchmarks.fleet import Fleet
from benchmarks.wire import Send, answer, number_after, serve

_PAGE = 100


class Limited:
    """The devices, and what came for them."""

    def __init__(self, devices: int, per_s: float, wait_s: float) -> None:
        fleet = Fleet(devices, shape="central", order="sorted")
        self.documents = [json.loads(document) | {"etag": "0"} for document in fleet.documents]
        self.places = {document["id"]: at for at, document in enumerate(self.documents)}
        self.port = 0
        self.wait_s = wait_s
        self._per_s, self._burst = per_s, 1.0 + per_s / 10
        self._tokens, self._at_s = self._burst, 0.0
        self._first_s = self._last_s = 0.0
        self._taken = self._refused = 0

    def admits(self, now_s: float) -> bool:
        """Take a write, or refuse it."""
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._tokens < 1.0:
            self._refused += 1
            return False
        self._tokens -= 1.0
        self._first_s = self._first_s or now_s
        self._last_s = now_s
        self._taken += 1
        return True

    def figures(self) -> dict[str, float]:
        """Return how many were taken and refused, and what was used of the rate from the first to the last."""
        span_s = self._last_s - self._first_s
        used = (self._taken - 1) / (span_s * self._per_s) if span_s else 0.0
        return {"taken": self._taken, "refused": self._refused, "used": used}

    def page(self, first: int) -> bytes:
        """Return the page that begins with this device."""
        page: dict[str, object] = {"value": self.documents[first : first + _PAGE]}
        if first + _PAGE < len(self.documents):
            place = f"/api/devices?api-version=2022-10-31-preview&maxpagesize=100&%24skiptoken={first + _PAGE}"
            page["nextLink"] = f"http://127.0.0.1:{self.port}{place}"
        return json.dumps(page).encode()

    def patch(self, id: str, body: bytes) -> bytes:
        """Return the device as it is after a write; its ETag is another one."""
        document = self.documents[self.places[id]]
        document |= json.loads(body)
        document["etag"] = f"{int(document['etag']) + 1}"
        return json.dumps(document).encode()

    def answer(self, head: bytes, body: bytes, send: Send) -> None:
        """Answer a request: a write after its while, anything else at once."""
        method, path = head.split(b" ", 2)[:2]
        if method == b"PATCH":
            loop = asyncio.get_running_loop()
            if self.admits(loop.time()):
                document = self.patch(path.split(b"?")[0].rsplit(b"/", 1)[1].decode(), body)
                loop.call_later(self.wait_s, send, answer(document))
            else:
                send(answer(b"{}", b"Retry-After: 1\r\n", status=429))
        elif path == b"/control/figures":
            send(answer(json.dumps(self.figures()).encode()))
        else:
            send(answer(self.page(number_after(b"skiptoken=", path, 0))))


if __name__ == "__main__":
    asyncio.run(serve(Limited(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]) / 1000)))
