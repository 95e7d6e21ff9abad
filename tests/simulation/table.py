"""What many histories came to, in one table; what never happened and what was never tested is named."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.simulation.episodes import FAULT_OF
from tests.simulation.history import Told
from tests.simulation.invariants import CONVERGENCE, PROMISES


@dataclass(slots=True)
class Table:
    """The sum of many histories."""

    seeds: int = 0
    days: float = 0.0
    requests: int = 0
    commits: int = 0
    kills: int = 0
    cycles: int = 0
    slowest_s: float = 0.0
    happened: Counter[str] = field(default_factory=Counter)
    tested: Counter[str] = field(default_factory=Counter)
    failed: list[Told] = field(default_factory=list)

    def add(self, told: Told) -> None:
        """Take in one history."""
        self.seeds += 1
        self.days += told.days
        self.requests += told.requests
        self.commits += told.commits
        self.kills += told.kills
        self.cycles += told.cycles
        self.slowest_s = max(self.slowest_s, told.converged_s or 0.0)
        self.happened += told.happened
        self.tested += told.tested
        if told.violations:
            self.failed.append(told)

    def missing(self) -> list[str]:
        """Return what never happened, and which promise was never put to the test."""
        return [
            *(f"fault {fault}: {name}" for name, fault in sorted(FAULT_OF.items()) if not self.happened[name]),
            *(promise for promise in (*PROMISES, CONVERGENCE) if not self.tested[promise]),
        ]

    def lines(self, took_s: float) -> Iterator[str]:
        """Return the table as text; `took_s` is what it cost in real time."""
        yield f"{self.seeds} histories, {self.days:.1f} virtual days in {took_s:.0f} s: "
        yield f"  {self.days * 86_400 / max(took_s, 1e-9):,.0f} times real time"
        yield from _rows(
            [
                ("requests", self.requests),
                ("commits", self.commits),
                ("cycles", self.cycles),
                ("processes killed", self.kills),
                ("slowest convergence, virtual s", round(self.slowest_s)),
            ]
        )
        yield "what went wrong, by entry of the list of faults, and how often:"
        by_fault = sorted((fault, name) for name, fault in FAULT_OF.items())
        yield from _rows((f"{fault:>2} {name}", self.happened[name]) for fault, name in by_fault)
        yield "promises, and how often each was put to the test:"
        yield from _rows((name, self.tested[name]) for name in (*PROMISES, CONVERGENCE))


def _rows(rows: Iterable[tuple[str, int]]) -> Iterator[str]:
    for name, count in rows:
        yield f"  {name:<58} {count:>12,}"
