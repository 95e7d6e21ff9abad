"""Starting: how long `fleetsync query "SELECT 1"` takes beside a Python that does nothing."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contest import Bound, Case, Suite
from benchmarks.service import mirrored

NOTHING = "python -c pass"
QUERY = 'fleetsync query "SELECT 1"'
STATUS = "fleetsync status"


@contextlib.contextmanager
def suite(folder: Path) -> Iterator[Suite]:
    """Give the contest, over a small mirror."""
    program = [sys.executable, "-m", "fleetsync", "--config", str(mirrored(folder, 1000))]
    case = Case(
        name="start",
        contestants={
            NOTHING: lambda: [sys.executable, "-c", "pass"],
            QUERY: lambda: [*program, "query", "SELECT 1"],
            STATUS: lambda: [*program, "status"],
        },
        against=(),
    )
    bounds = [
        Bound(metric=metric, of=("start", QUERY), beyond=("start", NOTHING), most=0.35)
        for metric in ("wall_s", "cpu_s")
    ]
    yield Suite(title="Starting", cases=[case], bounds=bounds)
