"""Readers: how long the questions of the README take while a pass lists, compares and stores a tenth of the fleet anew.

Those that an index serves are asked again and again; the others, which `tests/test_access.py` names with the reason,
once in a while.
"""

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.listing import FLEETSYNC, Place
from benchmarks.service import serving

_MOST_MS = 100.0


@dataclass(slots=True, kw_only=True)
class Readers:
    """Questions while passes run."""

    place: Place
    devices: int
    took_s: dict[str, list[float]] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    def run(self, rounds: int) -> None:
        """Load the fleet once; then ask for as long as it takes to store a tenth of it, so many times."""
        self.place.begin()
        subprocess.run(self.place.sync(), check=True, capture_output=True)
        database = self.place.of(FLEETSYNC) / "fleetsync.db"
        for _ in range(rounds):
            self.place.service.change(0.1)
            command = [sys.executable, "-m", "benchmarks.asking", str(database), *self.place.sync()]
            root = Path(__file__).parent.parent
            told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=root).stdout)
            self.why = told["why"]
            for question, took_s in told["took_s"].items():
                self.took_s.setdefault(question, []).extend(took_s)

    def table(self) -> str:
        """Return how often each question was asked, and how long it took."""
        lines = [
            f"### Questions of the README at {self.devices:,} devices while a pass runs",
            "",
            "| | asked | median ms | p99 ms | |",
            "| --- | ---: | ---: | ---: | --- |",
            *(self._line(question, sorted(took_s)) for question, took_s in self.took_s.items()),
        ]
        return "\n".join([*lines, ""])

    def _line(self, question: str, took_s: list[float]) -> str:
        if not took_s:
            return f"| {question} | 0 | | | |"
        median_ms = statistics.median(took_s) * 1000
        last_ms = took_s[min(len(took_s) - 1, len(took_s) * 99 // 100)] * 1000
        why = self.why.get(question)
        missed = " **(missed)**" if why is None and last_ms > _MOST_MS else ""
        scans = "" if why is None else f"scans: {why}"
        return f"| {question} | {len(took_s)} | {median_ms:.1f} | {last_ms:.1f}{missed} | {scans} |"


@contextlib.contextmanager
def suite(folder: Path, devices: int) -> Iterator[Readers]:
    """Give the readers of a hub of so many devices."""
    with serving(devices, shape="hub") as service:
        yield Readers(place=Place(folder=folder, service=service), devices=devices)
