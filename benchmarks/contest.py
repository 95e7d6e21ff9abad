"""The frame: contestants that take turns, what each process spent, and the ratios between them.

A `Suite` is a list of cases that are run one after the other in each round, so that a case may go on with what the
one before left behind. In a case every contestant runs once per round, in turn: what the machine does meanwhile meets
all of them.
"""

import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

_MB = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one process took. `cpu_s` is user and system time; `written_mb` went to files, NaN where nobody says.

    `left_mb` is how large its database is at the end, NaN where it has none.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    written_mb: float
    left_mb: float = math.nan

    @property
    def written_times(self) -> float:
        """Return how often its database was written, by size."""
        return self.written_mb / self.left_mb


Command = Callable[[], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question. `contestants` give the command of a process by name; `prepare` is called before each of them."""

    name: str
    contestants: Mapping[str, Command]
    against: tuple[str, ...]
    """The contestants that the others are compared with."""
    prepare: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What must hold: the median, over the rounds, of a metric of `of` divided by that of `to` is at most `most`.

    `of` and `to` are (case, contestant); without `to` the metric itself is bounded, or what it is beyond that of
    `beyond`.
    """

    metric: str
    of: tuple[str, str]
    most: float
    to: tuple[str, str] | None = None
    beyond: tuple[str, str] | None = None


@dataclass(slots=True, kw_only=True)
class Suite:
    """Cases that belong together, in their order. `begin` is called before each round.

    `left` says where those who leave a database have it.
    """

    title: str
    cases: Sequence[Case]
    begin: Callable[[], None] = lambda: None
    left: Mapping[str, Path] = field(default_factory=dict)
    bounds: Sequence[Bound] = ()
    results: dict[tuple[str, str], list[Spent]] = field(default_factory=dict)

    def run(self, rounds: int) -> None:
        """Let everybody run `rounds` times, in turn."""
        for number in range(rounds):
            self.begin()
            for case in self.cases:
                for name, command in case.contestants.items():
                    case.prepare()
                    spent = replace(measured(command()), left_mb=self._left_mb(name))
                    self.results.setdefault((case.name, name), []).append(spent)
                    _say(f"round {number + 1}: {case.name}: {name}: {spent.wall_s:.2f} s, CPU {spent.cpu_s:.2f} s")

    def _left_mb(self, name: str) -> float:
        return self.left[name].stat().st_size / _MB if name in self.left else math.nan

    def table(self) -> str:
        """Return the results as Markdown: medians, and ratios with their smallest and largest."""
        lines = [f"### {self.title}", ""]
        for case in self.cases:
            heads = ["", "wall s", "CPU s", "peak MB", "written MB"]
            heads += [f"{what} to {other}" for other in case.against for what in ("CPU", "wall")]
            lines += [f"**{case.name}**", "", _row(heads), _row(["---"] + ["---:"] * (len(heads) - 1))]
            lines += [self._line(case, name) for name in case.contestants]
            lines.append("")
        return "\n".join([*lines, *self._judged(), ""])

    def _line(self, case: Case, name: str) -> str:
        all_of = self.results[case.name, name]
        cells = [name, *(f"{_median(all_of, metric):.2f}" for metric in ("wall_s", "cpu_s"))]
        cells += [f"{_median(all_of, 'peak_mb'):.0f}", f"{_median(all_of, 'written_mb'):.1f}"]
        for other in case.against:
            for metric in ("cpu_s", "wall_s"):
                ratios = self._ratios(metric, (case.name, name), (case.name, other))
                low_high = f" ({min(ratios):.2f} to {max(ratios):.2f})" if name != other and len(ratios) > 1 else ""
                cells.append(f"{statistics.median(ratios):.2f}{low_high}")
        return _row(cells)

    def _ratios(self, metric: str, of: tuple[str, str], to: tuple[str, str]) -> list[float]:
        pairs = zip(self.results[of], self.results[to], strict=True)
        return [getattr(one, metric) / getattr(other, metric) for one, other in pairs]

    def _judged(self) -> list[str]:
        return [
            f"- {metric_of(bound.metric)} of {' / '.join(bound.of)}"
            + (f" to {' / '.join(bound.to)}" if bound.to else "")
            + (f" beyond {' / '.join(bound.beyond)}" if bound.beyond else "")
            + f": {self._value(bound):.2f}, at most {bound.most:g}"
            + (" **(missed)**" if self._value(bound) > bound.most else "")
            for bound in self.bounds
            if bound.of in self.results and (bound.to is None or bound.to in self.results)
        ]

    def _value(self, bound: Bound) -> float:
        if bound.beyond is not None:
            return _median(self.results[bound.of], bound.metric) - _median(self.results[bound.beyond], bound.metric)
        if bound.to is None:
            return _median(self.results[bound.of], bound.metric)
        return statistics.median(self._ratios(bound.metric, bound.of, bound.to))


def measured(command: Sequence[str], *, quiet: bool = True) -> Spent:
    """Run a process to its end and return what it took; its output is shown where it fails.

    Raises:
        RuntimeError: it failed.
    """
    began_s = time.perf_counter()
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        cwd=Path(__file__).parent.parent,
    )
    output = process.stdout.read() if process.stdout else b""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    wall_s = time.perf_counter() - began_s
    written_mb = _written_mb(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {output.decode()[-2000:]}")
    return Spent(wall_s=wall_s, cpu_s=_cpu_s(usage), peak_mb=usage.ru_maxrss * 1024 / _MB, written_mb=written_mb)


def _cpu_s(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _written_mb(pid: int) -> float:
    """Return what an ended process gave to files, also what the kernel had not put on the disk: `wchar` of Linux."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return math.nan
    return int(dict(line.split(": ") for line in lines)["wchar"]) / _MB


def metric_of(name: str) -> str:
    return {
        "cpu_s": "CPU",
        "wall_s": "wall time",
        "peak_mb": "peak MB",
        "written_mb": "written MB",
        "written_times": "written MB to the size of the database",
    }[name]


def _median(all_of: Sequence[Spent], metric: str) -> float:
    return statistics.median(getattr(one, metric) for one in all_of)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
