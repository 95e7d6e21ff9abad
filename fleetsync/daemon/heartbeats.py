"""Heartbeats: by when each task is next heard of, and the watchdog that is fed while nobody is late.

A blocked event loop stops the feeding because nothing runs, a task that hangs or died because it is late. A long
listing is heard of at every page.
"""

from typing import NoReturn

from fleetsync.clock import Clock
from fleetsync.daemon.systemd import WATCHDOG, Notify
from fleetsync.log import get_log

SILENCE_S = 7200.0
"""Within a cycle nobody is silent for so long: a page takes minutes, with every hold and every repetition."""

_SLACK_S = 60.0


class Heartbeats:
    """Who has to be heard of, and by when."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_s: dict[str, float] = {}

    def expect(self, name: str, within_s: float) -> None:
        """Take note that `name` will be heard of in `within_s` seconds, give or take a minute."""
        self._due_s[name] = self._clock.monotonic_s() + within_s + _SLACK_S

    def heard(self, name: str) -> None:
        """Take note of a step of a cycle of `name`: the next one may take as long again."""
        if name in self._due_s:
            self._due_s[name] = max(self._due_s[name], self._clock.monotonic_s() + SILENCE_S)

    def release(self, name: str) -> None:
        """Expect nothing of `name` until it says so."""
        self._due_s.pop(name, None)

    def late(self) -> tuple[str, ...]:
        """Return who should have been heard of by now."""
        now_s = self._clock.monotonic_s()
        return tuple(name for name, due_s in self._due_s.items() if due_s < now_s)

    def forgive(self, seconds: float) -> None:
        """Give everybody so much more time."""
        for name in self._due_s:
            self._due_s[name] += seconds


async def feed_watchdog(heartbeats: Heartbeats, notify: Notify, clock: Clock, *, every_s: float) -> NoReturn:
    """Feed the watchdog while nobody is late; say once who is."""
    said: tuple[str, ...] = ()
    while True:
        began_s = clock.monotonic_s()
        await clock.sleep(every_s)
        # The clock counts suspend and sleeps do not: after waking everybody is as far as before.
        heartbeats.forgive(max(0.0, clock.monotonic_s() - began_s - every_s))
        late = heartbeats.late()
        if not late:
            notify(WATCHDOG)
        elif late != said:
            get_log().error("watchdog.starved", reason=f"not heard of in time: {', '.join(late)}")
        said = late
