"""The program, in a loop that measures how late it is.

    python -m benchmarks.lagging FILE ARGUMENT...

The arguments are those of `fleetsync`. At its end FILE holds, as JSON, how many milliseconds late each timer was that
was due every 5 ms; one that never had its turn, since the one before was too late, counts too. The first second is
left out: a program that starts does nothing else.
"""

import asyncio
import atexit
import json
import sys
from pathlib import Path

from fleetsync.cli.main import main as fleetsync

_EVERY_S = 0.005
_STARTS_S = 1.0


class Watched(asyncio.DefaultEventLoopPolicy):
    """Gives loops with such a timer."""

    def __init__(self) -> None:
        super().__init__()
        self.late_ms: list[float] = []

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        loop = super().new_event_loop()
        begins_s = loop.time() + _STARTS_S
        loop.call_at(begins_s, self._look, loop, begins_s)
        return loop

    def _look(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        now_s = loop.time()
        while due_s <= now_s:
            self.late_ms.append((now_s - due_s) * 1000)
            due_s += _EVERY_S
        loop.call_at(due_s, self._look, loop, due_s)


def main(file: Path, arguments: list[str]) -> None:
    watched = Watched()
    asyncio.set_event_loop_policy(watched)
    atexit.register(lambda: file.write_text(json.dumps(watched.late_ms)))
    sys.argv = ["fleetsync", *arguments]
    fleetsync()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
