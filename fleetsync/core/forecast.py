"""What is ahead: how many requests, how long they take at the permitted rates, what of a day they cost. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import Struct

from fleetsync.core.bucket import Rate
from fleetsync.core.kind import Cost, Daily, Kind, TypeSpec
from fleetsync.core.model import Part, ResourceType
from fleetsync.core.plan import Change

DAY_S = 86_400.0
_FRAME = 2
"""The readings around a write whose guard is a comparison of ours."""


class Stock(Struct, frozen=True, kw_only=True):
    """What is known of one type: how many there are, how long one is on average, and how many a page had last."""

    count: int
    mean_bytes: float
    page_size: float


class Batch(Struct, frozen=True, kw_only=True):
    """Requests of one operation class, and how long an answer is on average."""

    operation: str
    requests: int
    answer_bytes: float


class Rates(Struct, frozen=True, kw_only=True):
    """What requests are charged to: a rate per operation class, None for those that share `total`."""

    classes: Mapping[str, Rate | None]
    total: Rate | None

    def seconds(self, batches: Iterable[Batch]) -> dict[str | None, float]:
        """Return how long these take by bucket; None is the total."""
        found: dict[str | None, float] = {}
        for batch in batches:
            rate = self.classes[batch.operation] or self.total
            if rate is None:
                raise LookupError(f"no rate for {batch.operation}")
            bucket = batch.operation if self.classes[batch.operation] else None
            found[bucket] = found.get(bucket, 0.0) + batch.requests / rate.per_s
        return found


class Forecast(Struct, frozen=True, kw_only=True):
    """What some requests take: how many by operation class, how long, and what of a day's budget.

    `cost` is 0 where the service does not count per day.
    """

    requests: Mapping[str, int]
    seconds: float
    cost: int

    @property
    def total(self) -> int:
        """Return how many requests it takes in all."""
        return sum(self.requests.values())


def in_turn(batches: Iterable[Batch], rates: Rates, daily: Daily | None) -> Forecast:
    """Forecast requests of which each kind waits for the one before, as the steps of a cycle do."""
    batches = tuple(batches)
    return _forecast(batches, sum(rates.seconds(batches).values()), daily)


def side_by_side(batches: Iterable[Batch], rates: Rates, daily: Daily | None) -> Forecast:
    """Forecast requests that many workers send at once, as those of a plan: the slowest bucket decides."""
    batches = tuple(batches)
    return _forecast(batches, max(rates.seconds(batches).values(), default=0.0), daily)


def _forecast(batches: tuple[Batch, ...], seconds: float, daily: Daily | None) -> Forecast:
    requests: Counter[str] = Counter()
    cost = 0
    for batch in batches:
        requests[batch.operation] += batch.requests
        if daily is not None and batch.operation in daily.operations:
            cost += batch.requests * daily.cost(batch.answer_bytes)
    return Forecast(requests=dict(sorted(requests.items())), seconds=seconds, cost=cost)


def pages(spec: TypeSpec, stock: Stock) -> Batch:
    """Return the pages of a full listing of one type: at least one."""
    count = max(1, math.ceil(stock.count / stock.page_size))
    return Batch(operation=spec.listed_as, requests=count, answer_bytes=stock.count * stock.mean_bytes / count)


def readings(kind: Kind, part: Part, times: int, answer_bytes: float) -> list[Batch]:
    """Return what it takes to read a part so many times."""
    return _batches(kind.costs[part].read, times, answer_bytes)


def writes(kind: Kind, changes: Iterable[Change], stocks: Mapping[ResourceType, Stock]) -> list[Batch]:
    """Return what it takes to carry out changes, with the readings that frame some of them."""
    framed: Counter[tuple[ResourceType, Part, bool]] = Counter(
        (change.key.type, change.part, change.guard.needs_reread) for change in changes
    )
    found: list[Batch] = []
    for (type, part, is_framed), times in sorted(framed.items()):
        cost: Cost = kind.costs[part]
        answer_bytes = stocks[type].mean_bytes if type in stocks else 0.0
        found += _batches(cost.write, times, answer_bytes)
        found += _batches(cost.read, times * _FRAME, answer_bytes) if is_framed else []
    return found


def _batches(cost: Mapping[str, int], times: int, answer_bytes: float) -> list[Batch]:
    return [
        Batch(operation=operation, requests=number * times, answer_bytes=answer_bytes)
        for operation, number in sorted(cost.items())
    ]


def cycles_per_day(forecast: Forecast, interval_s: float) -> float:
    """Return how many such cycles a day has: an interval lies between the end of one and the start of the next."""
    return DAY_S / (interval_s + forecast.seconds)


def least_interval_s(forecast: Forecast, others_cost: float, daily: int | None) -> float | None:
    """Return the shortest interval that can be kept, None where none can: one cycle costs more than a day has.

    A cycle ends before the next would have been due, and all cycles of a day stay within its budget, of which others
    need `others_cost`.
    """
    if daily is None or not forecast.cost:
        return forecast.seconds
    left = daily - others_cost
    if forecast.cost > left:
        return None
    return max(forecast.seconds, DAY_S * forecast.cost / left - forecast.seconds)
