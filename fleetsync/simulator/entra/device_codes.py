"""Sign-in with a code that a person would enter elsewhere; here it is approved after some polls."""

from dataclasses import dataclass
from random import Random
from typing import Final

from fleetsync.simulator.entra.tokens import b64url
from fleetsync.simulator.wire import Object, RefusedError

_LIFE_S: Final = 900
_PAGE: Final = "https://microsoft.com/devicelogin"


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """A sign-in that waits for a person."""

    scope: str
    expires_at: float
    polls: int = 0
    polled_at: float | None = None


class DeviceCodes:
    """The codes that were given out and not yet redeemed."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._waiting: dict[str, _Waiting] = {}

    def begin(self, scope: str, *, at: float, interval_s: int) -> Object:
        """Give out a code."""
        code, user_code = b64url(self._random.randbytes(24)), f"{self._random.randrange(10**9):09}"
        self._waiting[code] = _Waiting(scope=scope, expires_at=at + _LIFE_S)
        return {
            "device_code": code,
            "user_code": user_code,
            "verification_uri": _PAGE,
            "expires_in": _LIFE_S,
            "interval": interval_s,
            "message": f"To sign in, open {_PAGE} and enter the code {user_code} (the simulator approves by itself).",
        }

    def redeem(self, code: str, *, at: float, interval_s: int, polls: int) -> str:
        """Return the scope of a code that was polled often enough; it is good for once.

        Raises:
            RefusedError: 400, nobody has approved it yet, it was polled too soon, or it is unknown or expired.
        """
        waiting = self._waiting.get(code)
        if waiting is None or waiting.expires_at <= at:
            raise RefusedError(400, "expired_token", "AADSTS70020: the device code is unknown or expired.")
        # A client waits for the interval by another clock than ours; a tenth of it is for the difference.
        hasty = waiting.polled_at is not None and at - waiting.polled_at < interval_s * 0.9
        waiting.polled_at = at
        if hasty:
            raise RefusedError(400, "slow_down", "AADSTS70044: polled too often.")
        waiting.polls += 1
        if waiting.polls <= polls:
            raise RefusedError(400, "authorization_pending", "AADSTS70016: nobody has signed in yet.")
        del self._waiting[code]
        return waiting.scope
