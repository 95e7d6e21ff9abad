"""Writing at a rate while a large fleet is listed by the same process: does either notice the other?"""

import contextlib
import json
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks.service import serving, started

_PER_S = 100
_SECONDS = 20
_WAIT_MS = 20
_USED = 0.97
_MOST_MS = 10.0
_EVERY_S = 0.5
_LOOKS = 240

_CONFIG = """
declarations = "declarations"

[sources.written]
kind = "iot-central"
url = "{written}"
mode = "enforce"
resources = ["device"]
auth = {{ method = "none" }}
rate = {{ list = "1000/s", write = "{per_s}/s" }}
limits = {{ max_writes = "100%" }}

[sources.listed]
kind = "iot-central"
url = "{listed}"
mode = "observe"
interval = "1s"
resources = ["device"]
auth = {{ method = "none" }}
rate = {{ list = "1000000/s" }}
"""
_DECLARATION = """
[[declaration]]
name = "all"
where = "source = 'written'"
desired.displayName = "as declared"
"""


class Beside:
    """A daemon with two sources: one is written, the other listed as fast as it goes, again and again."""

    def __init__(self, folder: Path, devices: int) -> None:
        self._folder = folder
        self._devices = devices
        self._lines: list[str] = []

    def run(self, rounds: int) -> None:
        """Do so, each time with a new database."""
        for number in range(rounds):
            self._lines.append(self._once(self._folder / str(number)))

    def _once(self, folder: Path) -> str:
        (folder / "declarations").mkdir(parents=True)
        (folder / "declarations" / "all.toml").write_text(_DECLARATION)
        writes, late = _PER_S * _SECONDS, folder / "late.json"
        limited = started("benchmarks.limited", str(writes), str(_PER_S), str(_WAIT_MS))
        with limited as written, serving(self._devices) as listed:
            config = folder / "config.toml"
            config.write_text(_CONFIG.format(written=written, listed=listed.base, per_s=_PER_S))
            command = [sys.executable, "-m", "benchmarks.lagging", str(late), "--config", str(config), "run"]
            root, log = Path(__file__).parent.parent, folder / "log"
            with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, cwd=root) as daemon:
                try:
                    figures = _until_taken(written, writes, daemon)
                finally:
                    daemon.terminate()
        lines = log.read_text().splitlines()
        listings = sum('"cycle.finished"' in line and '"source": "listed"' in line for line in lines)
        return _line(figures, sorted(json.loads(late.read_text())), listings)

    def table(self) -> str:
        """Return what came of it, as Markdown."""
        head = [
            f"### {_PER_S} writes a second beside the listing of {self._devices:,} devices, in one process",
            "",
            "| writes | of the rate | 429 | listings | loop late, ms: median | p99 | most |",
            "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        wanted = f"At least {_USED} of the rate, no 429 and {_MOST_MS:g} ms at p99 is what is wanted."
        return "\n".join([*head, *self._lines, "", wanted, ""])


def _until_taken(base: str, writes: int, daemon: subprocess.Popen[bytes]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for _ in range(_LOOKS):
        with urllib.request.urlopen(f"{base}/control/figures") as answer:
            figures = json.load(answer)
        if figures["taken"] >= writes:
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise RuntimeError(f"the daemon ended with {daemon.wait(_EVERY_S)}")
    return figures


def _line(figures: dict[str, float], late_ms: list[float], listings: int) -> str:
    last_ms = late_ms[len(late_ms) * 99 // 100]
    is_fine = figures["used"] >= _USED and not figures["refused"] and last_ms <= _MOST_MS
    cells = (
        f"{figures['taken']:,}",
        f"{figures['used']:.3f}",
        f"{figures['refused']}",
        f"{listings}",
        f"{statistics.median(late_ms):.1f}",
        f"{last_ms:.1f}",
        f"{late_ms[-1]:.0f}",
    )
    return f"| {' | '.join(cells)} |{'' if is_fine else ' **missed**'}"


@contextlib.contextmanager
def suite(folder: Path, devices: int) -> Iterator[Beside]:
    """Give the contest of a rate with a listing."""
    yield Beside(folder, devices)
