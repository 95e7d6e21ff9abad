"""How much of a permitted rate `fleetsync apply` uses at a service with a limit, and how often it is refused."""

import contextlib
import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contest import measured
from benchmarks.service import started

CASES = tuple((per_s, wait_ms) for per_s in (10, 100, 1000) for wait_ms in (20, 80))
_SECONDS = 20
"""So long a case writes at its rate."""

_CONFIG = """
declarations = "declarations"

[sources.plant]
kind = "iot-central"
url = "{url}"
mode = "manual"
resources = ["device"]
auth = {{ method = "none" }}
rate = {{ list = "1000/s", write = "{per_s}/s" }}
limits = {{ max_writes = "100%" }}
"""
_DECLARATION = """
[[declaration]]
name = "all"
where = "true"
desired.displayName = "as declared"
"""


def run(folder: Path, per_s: int, wait_ms: int) -> str:
    """Write for a while at a rate, and return a line of the table."""
    devices = per_s * _SECONDS
    with started("benchmarks.limited", str(devices), str(per_s), str(wait_ms)) as base:
        (folder / "declarations").mkdir(parents=True)
        (folder / "declarations" / "all.toml").write_text(_DECLARATION)
        (folder / "config.toml").write_text(_CONFIG.format(url=base, per_s=per_s))
        spent = measured([sys.executable, "-m", "fleetsync", "--config", str(folder / "config.toml"), "apply"])
        with urllib.request.urlopen(f"{base}/control/figures") as answer:
            figures = json.load(answer)
    fine = figures["used"] >= 0.97 and not figures["refused"] and figures["taken"] == devices
    cells = (f"{per_s}/s", f"{wait_ms} ms", f"{figures['taken']:,}", f"{figures['used']:.3f}", str(figures["refused"]))
    return f"| {' | '.join(cells)} | {spent.cpu_s / devices * 1000:.2f} |{'' if fine else ' **missed**'}"


class Rates:
    """All rates and latencies, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines: list[str] = []

    def run(self, _rounds: int) -> None:
        """Run them, once: what is measured is a share, which needs no other to be compared with."""
        self._lines = [run(self._folder / f"{per_s}-{wait_ms}", per_s, wait_ms) for per_s, wait_ms in CASES]

    def table(self) -> str:
        """Return what came of it, as Markdown."""
        head = [
            "### `fleetsync apply` at a permitted rate",
            "",
            "| rate | latency | writes | of the rate | 429 | CPU ms per write |",
            "| ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        return "\n".join([*head, *self._lines, "", "At least 0.97 of the rate and no 429 is what is wanted.", ""])


@contextlib.contextmanager
def suite(folder: Path) -> Iterator[Rates]:
    """Give the contest of a rate with itself."""
    yield Rates(folder)
