"""Plans: what `fleetsync plan` costs with 200 declarations, beside one statement with the same 200 predicates."""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contest import Bound, Case, Suite
from benchmarks.scan import predicates
from benchmarks.service import mirrored

PLAN = "fleetsync plan"
SCAN = "one scan by hand"

_SMALL = 10_000
_DECLARATION = """
[[declaration]]
name = "d{number:03}"
where = "{where}"
priority = {number}
[declaration.desired]
properties.desired.firmware.channel = "main"
"""


@contextlib.contextmanager
def suite(folder: Path, devices: int) -> Iterator[Suite]:
    """Give a contest over a fleet of so many devices, and one over a small fleet for its memory."""
    cases = [_case(folder / name, size) for name, size in (("small", _SMALL), ("large", devices))]
    large = f"{devices:,} devices"
    bounds = [
        Bound(metric="cpu_s", of=(large, PLAN), to=(large, SCAN), most=2.0),
        Bound(metric="wall_s", of=(large, PLAN), to=(large, SCAN), most=2.0),
        Bound(metric="peak_mb", of=(large, PLAN), to=(f"{_SMALL:,} devices", PLAN), most=1.15),
    ]
    try:
        yield Suite(title="Plan of 200 declarations, without a request", cases=cases, bounds=bounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _case(folder: Path, devices: int) -> Case:
    config = mirrored(folder, devices)
    texts = (_DECLARATION.format(number=number, where=where) for number, where in enumerate(predicates()))
    (folder / "declarations" / "all.toml").write_text("".join(texts))
    plan = [sys.executable, "-m", "fleetsync", "--config", str(config), "plan", "--out", str(folder / "plan.json")]
    scan = [sys.executable, "-m", "benchmarks.scan", str(folder / "fleetsync.db")]
    return Case(name=f"{devices:,} devices", contestants={SCAN: lambda: scan, PLAN: lambda: plan}, against=(SCAN,))
