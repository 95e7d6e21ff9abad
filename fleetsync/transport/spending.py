"""What a scope may spend in a UTC day, where its service counts per day."""

import datetime
from collections.abc import Mapping

from fleetsync.clock import Clock
from fleetsync.core.day import charged, day_of, left_s
from fleetsync.core.kind import Daily

_MATERIAL = 0.01
"""The share of a budget whose loss in a crash is one too much."""


class Spending:
    """Counts what requests cost per day, by the wall clock: a service counts by its own, and so does a person.

    A request is charged as one when it leaves, and what more its answer costs when that is there. So the budget is
    exceeded by no more than what is on its way when it ends.
    """

    def __init__(self, clock: Clock, spent: Mapping[datetime.date, int]) -> None:
        self._clock = clock
        self._spent = dict(spent)
        self._daily: Daily | None = None
        self._budget: int | None = None
        self._unstored: dict[datetime.date, int] = {}

    def adopt(self, daily: Daily | None, budget: int | None) -> None:
        """Keep to another budget from now on; what was spent stays spent."""
        self._daily, self._budget = daily, budget

    @property
    def budget(self) -> int | None:
        """Return how much a day may cost, None where there is no limit."""
        return self._budget

    @property
    def today(self) -> int | None:
        """Return what was spent today, None where the service does not count."""
        return None if self._daily is None else self._spent.get(day_of(self._clock.now()), 0)

    def leaves(self, operation: str) -> None:
        """Charge a request that leaves."""
        if self.counts(operation):
            self._charge(1)

    def answered(self, operation: str, size_bytes: int) -> None:
        """Charge what an answer of this size costs beyond the request."""
        if self._daily is not None and self.counts(operation):
            self._charge(self._daily.cost(size_bytes) - 1)

    def closed_s(self, operation: str) -> float:
        """Return for how many seconds the budget lets no request of this class leave, 0 where that is not so."""
        today = self.today
        if today is None or self._budget is None or today < self._budget or not self.counts(operation):
            return 0.0
        return left_s(self._clock.now())

    @property
    def why(self) -> str:
        """Return why nothing may leave, in words."""
        return f"the daily budget of {self._budget} is spent"

    @property
    def is_material(self) -> bool:
        """Say whether so much was spent since it was last stored that a crash should not forget it."""
        return self._budget is not None and sum(self._unstored.values()) > self._budget * _MATERIAL

    def unstored(self) -> dict[datetime.date, int]:
        """Return what was spent by day and is not stored yet."""
        return dict(self._unstored)

    def stored(self, by_day: Mapping[datetime.date, int]) -> None:
        """Take note that so much of it is stored now."""
        left = ((day, cost - by_day.get(day, 0)) for day, cost in self._unstored.items())
        self._unstored = {day: cost for day, cost in left if cost}

    def counts(self, operation: str) -> bool:
        """Say whether the service counts requests of this class."""
        return self._daily is not None and operation in self._daily.operations

    def _charge(self, cost: int) -> None:
        if cost:
            day = day_of(self._clock.now())
            self._spent = charged(self._spent, day, cost)
            self._unstored[day] = self._unstored.get(day, 0) + cost
