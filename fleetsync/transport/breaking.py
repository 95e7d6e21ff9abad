"""The layer that leaves a source alone while it does not answer; see `fleetsync.core.breaker`."""

import asyncio
import datetime
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from msgspec.structs import replace

from fleetsync.clock import Clock
from fleetsync.core.breaker import (
    CLOSED,
    FaultClass,
    Moment,
    StoredBreaker,
    answered,
    failed,
    resumed,
    stored,
    tripped,
)
from fleetsync.errors import AuthError, CircuitOpenError, FleetsyncError, SourceError, ThrottledError, TransientError
from fleetsync.transport.http import Http, Request, Response

_INSTANT_S = 1e-6
"""A wait so short is rounding."""


class Circuit:
    """The way to one source: closed, open, or half open with one probe on its way while everybody else waits for it.

    `left_behind` is what an earlier process stored.
    """

    def __init__(self, clock: Clock, left_behind: StoredBreaker | None = None) -> None:
        self._clock = clock
        self._breaker = CLOSED if left_behind is None else resumed(left_behind, self._now())
        self._probe: asyncio.Event | None = None

    @property
    def wait_s(self) -> float:
        """Return for how many seconds nothing is sent, 0 where that is not so."""
        if self._breaker.open_until_s is None:
            return 0.0
        left_s = self._breaker.open_until_s - self._clock.monotonic_s()
        return left_s if left_s > _INSTANT_S else 0.0

    @property
    def record(self) -> StoredBreaker | None:
        """Return what another process should know; None while requests may be sent."""
        return stored(self._breaker, self._now())

    @property
    def error(self) -> CircuitOpenError | None:
        """Return what who sends is told now; None while requests may be sent."""
        return self._error() if self._breaker.is_open else None

    def trip(self, error: FleetsyncError) -> None:
        """Take note that an error ended a whole cycle."""
        self._breaker = tripped(self._breaker, error, self._now())

    def heal(self) -> None:
        """Take note that a cycle went well."""
        self._breaker = CLOSED

    def probe_now(self) -> None:
        """Let the next request go out: a person asks."""
        if self._breaker.is_open:
            self._breaker = replace(self._breaker, open_until_s=self._clock.monotonic_s())

    async def admit(self) -> bool:
        """Let somebody send a request; return whether it is the probe. Then `end_probe` has to follow.

        Raises:
            CircuitOpenError: the next probe is not due.
        """
        while self._probe is not None:
            await self._probe.wait()
        if not self._breaker.is_open:
            return False
        if self.wait_s:
            raise self._error()
        self._probe = asyncio.Event()
        return True

    def end_probe(self) -> None:
        """Let those go on who wait for the probe."""
        if self._probe is not None:
            self._probe.set()
            self._probe = None

    def check(self, *, is_probe: bool) -> None:
        """Make sure that what was admitted may still be sent.

        Raises:
            CircuitOpenError: the circuit opened meanwhile.
        """
        if self._breaker.is_open and not is_probe:
            raise self._error()

    def answered(self) -> None:
        """Take note of an answer."""
        self._breaker = answered(self._breaker)

    def failed(self, error: SourceError, about: str, *, is_probe: bool) -> None:
        """Take note of a request for `about` that failed.

        Raises:
            CircuitOpenError: that is why the circuit is open now, and sending it again is of no use.
        """
        self._breaker = failed(self._breaker, error, about, self._now(), is_probe=is_probe)
        if self._breaker.is_open and isinstance(error, TransientError) and not isinstance(error, ThrottledError):
            raise self._error(error) from error

    def _error(self, cause: TransientError | None = None) -> CircuitOpenError:
        breaker = self._breaker
        fault = (breaker.fault or FaultClass.SERVICE).value
        probe_at = self._clock.now() + datetime.timedelta(seconds=self.wait_s)
        since = "" if breaker.since is None else f" since {_shown(breaker.since)}"
        text = f"{fault} fault{since}, next try at {_shown(probe_at)}: {breaker.error}"
        return CircuitOpenError(text, fault=fault, cause=cause)

    def _now(self) -> Moment:
        return Moment(at=self._clock.now(), at_s=self._clock.monotonic_s(), chance=self._clock.jitter())


class Breaking:
    """Sends while the circuit is closed, and tells it what became of that.

    It is above the layer that signs in, whose refusals count, and below the one that repeats: every attempt counts,
    and none follows once the circuit is open. What waits for the rate while it opens is not sent either.
    """

    def __init__(self, http: Http, circuit: Circuit) -> None:
        self._http = http
        self._circuit = circuit

    async def send(self, request: Request) -> Response:
        """Send `request` and return the answer.

        Raises:
            CircuitOpenError: the source is known not to answer; where that is not news, nothing was sent.
            SourceError: as the layer below.
        """
        is_probe = await self._circuit.admit()
        try:
            return await self._send(request, is_probe=is_probe)
        finally:
            if is_probe:
                self._circuit.end_probe()

    async def _send(self, request: Request, *, is_probe: bool) -> Response:
        check: Callable[[], None] = partial(self._circuit.check, is_probe=is_probe)
        try:
            response = await self._http.send(replace(request, check=check))
        except CircuitOpenError:
            raise
        except SourceError as error:
            if request.is_extra and isinstance(error, AuthError) and error.status is not None:
                self._circuit.answered()  # by the service, which lets us ask for other things
            else:
                self._circuit.failed(error, urlsplit(request.url).path, is_probe=is_probe)
            raise
        self._circuit.answered()
        return response


def _shown(at: datetime.datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
