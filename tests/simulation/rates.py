"""P7: how fast requests leave, and that none does while its service asked for silence.

"In every window of w seconds at most rate x w + burst" is what a bucket of that rate and burst never runs dry of; the
bucket here is filled and emptied by nothing of ours, and no process takes it along when it dies.

A request leaves where it leaves the layers of ours: from then on it may wait for a connection.
"""

import email.utils
import re
from dataclasses import dataclass

from tests.simulation.invariants import Verdicts
from tests.simulation.network import Exchange
from tests.simulation.place import Asked, Place

FLOOR_S = 1.0
CAP_S = 3600.0
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
_SLACK = 1e-6
_JUST_NOW_S = 0.1
"""Who is killed so soon after a refusal may not have stored it."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


@dataclass(slots=True)
class _Hold:
    until_s: float
    since_s: float


class Rates:
    """Watches the requests to one place."""

    def __init__(self, place: Place, verdicts: Verdicts) -> None:
        self._place = place
        self._verdicts = verdicts
        self._buckets: dict[str, _Bucket] = {}
        self._holds: dict[str, _Hold] = {}

    def leaves(self, exchange: Exchange, asked: Asked) -> None:
        """Judge a request that leaves."""
        name, now_s = self._place.bucket(asked.operation), exchange.left_s
        rate, burst = self._place.permitted(name)
        bucket = self._buckets.setdefault(name, _Bucket(burst, now_s))
        bucket.tokens = min(burst, bucket.tokens + (now_s - bucket.at_s) * rate) - 1
        bucket.at_s = now_s
        where = f"{self._place.name}, {name}"
        self._verdicts.check("P7", bucket.tokens >= -_SLACK, f"{where}: more than {rate:g}/s burst {burst:g} leave")
        hold = self._holds.get(name)
        if hold is not None:
            self._verdicts.check(
                "P7",
                now_s >= hold.until_s - _SLACK,
                f"{where}: request {exchange.number} leaves {hold.until_s - now_s:.3f} s before Retry-After",
            )

    def delivered(self, exchange: Exchange, asked: Asked) -> None:
        """Take note of a refusal."""
        answer = exchange.answer
        if answer is None or exchange.delivered_s is None:
            return
        headers = {name.lower(): value for name, value in answer.headers.items()}
        text = headers.get("retry-after")
        if answer.status != 429 and (text is None or answer.status < 500):
            return
        until_s = exchange.delivered_s + (FLOOR_S if text is None else _asked_s(text, headers.get("date"), exchange))
        name = self._place.bucket(asked.operation)
        before = self._holds.get(name)
        if before is None or until_s > before.until_s:
            self._holds[name] = _Hold(until_s, exchange.delivered_s)

    def died(self, now_s: float, *, stepped_s: float) -> None:
        """Forget what a process that was killed, or lost its database, had no time to store, or stored by a clock that has stepped since."""
        self._holds = {
            name: hold
            for name, hold in self._holds.items()
            if hold.since_s < now_s - _JUST_NOW_S and hold.since_s > stepped_s
        }


def _asked_s(text: str, date: str | None, exchange: Exchange) -> float:
    if _SECONDS.fullmatch(text.strip()):
        seconds = float(text)
    else:
        try:
            until = email.utils.parsedate_to_datetime(text)
            now = email.utils.parsedate_to_datetime(date) if date else exchange.notes["machine_now"]
            seconds = (until - now).total_seconds()
        except (ValueError, TypeError):
            seconds = FLOOR_S
    return min(CAP_S, max(FLOOR_S, seconds))
