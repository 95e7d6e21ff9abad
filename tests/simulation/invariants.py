"""The promises as predicates over the wire, the mirror and the services, checked while a history goes on.

Each is in a file of its own: `listings` (P1, P2, P11), `writing` (P3, P4, P5, P9), `rates` (P7) and `whole` (P6, P8,
P10, P12, convergence). `Verdicts` counts how often each was really put to the test: where there was something that it
could have found wrong.
"""

from collections import Counter
from dataclasses import dataclass, field

PROMISES = tuple(f"P{number}" for number in range(1, 13))
CONVERGENCE = "convergence"


@dataclass(slots=True)
class Verdicts:
    """What was checked, and what was found wrong."""

    tested: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    _most: int = 20

    def check(self, promise: str, holds: object, text: str) -> None:
        """Put a promise to the test; `text` says what is wrong where it does not hold."""
        self.tested[promise] += 1
        if not holds:
            self.blame(promise, text)

    def blame(self, promise: str, text: str) -> None:
        """Take note of a broken promise."""
        if len(self.violations) < self._most:
            self.violations.append(f"{promise}: {text}")
