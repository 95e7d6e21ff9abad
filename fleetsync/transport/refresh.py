"""Tokens that end: one sign-in for all who wait, before the old token ends, and a copy that outlives bad moments."""

import asyncio
import datetime
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from fleetsync.clock import Clock
from fleetsync.transport.threads import start_in_daemon_thread

MARGIN_S = 60.0
"""A token with less left is not sent any more."""

PAUSE_S = 60.0
"""After a sign-in that failed nobody knocks again for so long while a token is good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A bearer token and how long it lives from now."""

    text: str = field(repr=False)
    lifetime_s: float


class SignIn(Protocol):
    """A way to get a token. It blocks and is called in a thread, one call at a time."""

    def acquire(self, *, anew: bool) -> AccessToken:
        """Return a token; with `anew` none that was returned before.

        Raises:
            AuthError: a person must act.
            TransientError: not now.
        """
        ...

    def expires_at(self) -> datetime.datetime | None:
        """Return when what it signs in with ends; None where that is not known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    header: str = field(repr=False)
    refresh_at_s: float
    good_until_s: float


class RefreshedTokens:
    """Bearer tokens of a sign-in, for any number of tasks.

    A token is renewed in the background once half of its life has passed, and used until `MARGIN_S` before its end
    whatever goes wrong meanwhile. A cancelled waiter takes nothing from the others. That a wrong secret is not tried
    again and again is the circuit's business, above.
    """

    def __init__(self, sign_in: SignIn, clock: Clock) -> None:
        self._sign_in = sign_in
        self._clock = clock
        self._kept: _Kept | None = None
        self._flight: asyncio.Future[AccessToken] | None = None
        self._quiet_until_s = clock.monotonic_s()
        self._anew = False

    async def authorization(self) -> str:
        """Return the header's value.

        Raises:
            AuthError: a person must act.
            TransientError: no token could be had now.
        """
        now_s = self._clock.monotonic_s()
        if self._kept is None or now_s >= self._kept.good_until_s:
            self._flight = self._flight or self._take_off()
            return _header(await asyncio.shield(self._flight))
        if now_s >= max(self._kept.refresh_at_s, self._quiet_until_s):
            self._flight = self._flight or self._take_off()
        return self._kept.header

    async def refused(self, value: str) -> None:
        """Forget the token in `value`, if it is still the one in use; the next one will be new."""
        if self._flight is not None:
            await asyncio.wait({self._flight})
        if self._kept is not None and self._kept.header == value:
            self._kept = None
            self._anew = True

    def expires_at(self) -> datetime.datetime | None:
        """Return when what it signs in with ends; None where that is not known."""
        return self._sign_in.expires_at()

    def _take_off(self) -> "asyncio.Future[AccessToken]":
        now_s = self._clock.monotonic_s()
        flight = start_in_daemon_thread(partial(self._sign_in.acquire, anew=self._anew))
        flight.add_done_callback(partial(self._land, now_s))
        return flight

    def _land(self, began_s: float, flight: "asyncio.Future[AccessToken]") -> None:
        self._flight = None
        if flight.exception() is not None:
            self._quiet_until_s = self._clock.monotonic_s() + PAUSE_S
            return
        token = flight.result()
        self._anew = False
        self._kept = _Kept(
            header=_header(token),
            refresh_at_s=began_s + token.lifetime_s / 2,
            good_until_s=began_s + token.lifetime_s - MARGIN_S,
        )


def _header(token: AccessToken) -> str:
    return f"Bearer {token.text}"
