"""Writing: how much of a permitted rate `fleetsync apply` uses, and how often it is refused, at a service with a limit.

python -m benchmarks.rates [RATE:MILLISECONDS ...]
"""

import json
import sys
import tempfile
import urllib.request
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


def table(cases: tuple[tuple[int, int], ...] = CASES) -> str:
    """Run all cases and return their table, as Markdown."""
    lines = [
        "### `fleetsync apply` at a permitted rate",
        "",
        "| rate | latency | writes | of the rate | 429 | CPU ms per write |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory(prefix="fleetsync-bench-") as folder:
        lines += [run(Path(folder) / f"{per_s}-{wait_ms}", per_s, wait_ms) for per_s, wait_ms in cases]
    return "\n".join([*lines, "", "At least 0.97 of the rate and no 429 is what is wanted.", ""])


if __name__ == "__main__":
    chosen = tuple((int(a), int(b)) for a, _, b in (one.partition(":") for one in sys.argv[1:]))
    print(table(chosen or CASES))
