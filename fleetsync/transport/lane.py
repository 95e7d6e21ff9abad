"""One operation class: the gate that it goes through, what is counted of it, and how long its answers take."""

from collections import deque

from msgspec import Struct

from fleetsync.core.latency import PAUSE_S, Latency, heeded, is_rising, observed
from fleetsync.transport.gate import Gate

_MINUTE_S = 60


class Usage(Struct, frozen=True, kw_only=True):
    """One operation class at an instant.

    `permitted_per_s` is the configured rate of its bucket, `learned_per_s` what the service stands at the moment;
    classes that share a bucket show the same. `held_s` says for how long from now nothing may be sent, and `why` in
    words; 0 and empty are not at all.
    """

    operation: str
    permitted_per_s: float
    learned_per_s: float
    held_s: float
    why: str
    used_60s: int
    waiting: int
    requests: int
    throttled: int


class Ticket(Struct, frozen=True, kw_only=True):
    """The permission to send one request: for which class, and when it was given (monotonic)."""

    operation: str
    at_s: float


class Lane:
    """One operation class of a limiter."""

    def __init__(self, operation: str, gate: Gate) -> None:
        self.operation = operation
        self.gate = gate
        self.waiting = 0
        self.requests = 0
        self.throttled = 0
        self._latency = Latency()
        self._heeded_s = float("-inf")
        self._seconds: deque[tuple[int, int]] = deque(maxlen=_MINUTE_S)

    def __enter__(self) -> None:
        """Count somebody who waits, for the block."""
        self.waiting += 1

    def __exit__(self, *_error: object) -> None:
        self.waiting -= 1

    def note(self, ticket: Ticket) -> None:
        """Count a request that leaves."""
        self.requests += 1
        second = int(ticket.at_s)
        count = self._seconds.pop()[1] if self._seconds and self._seconds[-1][0] == second else 0
        self._seconds.append((second, count + 1))

    def used_60s(self, now_s: float) -> int:
        """Return how many requests left in the last minute."""
        return sum(count for second, count in self._seconds if second > int(now_s) - _MINUTE_S)

    def watch(self, ticket: Ticket, took_s: float, *, now_s: float) -> None:
        """Send less where answers come ever later. What left before that was last done tells nothing new."""
        if ticket.at_s < self._heeded_s:
            return
        self._latency = observed(self._latency, took_s, now_s=now_s)
        if is_rising(self._latency) and now_s >= self._heeded_s + PAUSE_S:
            self.gate.lag()
            self._latency = heeded(self._latency)
            self._heeded_s = now_s
