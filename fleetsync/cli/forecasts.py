"""What is ahead of a source, from the mirror: the requests of a full cycle, and whether its interval can be kept."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fleetsync.clock import Clock
from fleetsync.config.settings import Settings, SourceSettings
from fleetsync.core.duration import lasting
from fleetsync.core.forecast import (
    Batch,
    Forecast,
    Rates,
    Stock,
    cycles_per_day,
    in_turn,
    least_interval_s,
    pages,
    readings,
    side_by_side,
    writes,
)
from fleetsync.core.model import Part, ResourceType
from fleetsync.core.plan import Plan
from fleetsync.core.words import counted
from fleetsync.errors import Problem
from fleetsync.mirror.reader import Reader
from fleetsync.mirror.selection import Selection
from fleetsync.mirror.views import view_of
from fleetsync.providers.base import all_kinds
from fleetsync.reconcile.planning import Planner
from fleetsync.wiring.configuration import Configuration, longest_ages_s
from fleetsync.wiring.rates import budget_of, budgets_of, scope_of
from fleetsync.wiring.sources import unconnected

_STOCKS = "SELECT type, COUNT(*), AVG(size_bytes) FROM resource WHERE source = ? AND gone_at IS NULL GROUP BY type"
_PAGES = (
    "SELECT type, listed, pages FROM listing WHERE id IN"
    " (SELECT MAX(id) FROM listing WHERE source = ? AND state = 'complete' GROUP BY type)"
)
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def stocks_of(reader: Reader, source: SourceSettings) -> dict[ResourceType, Stock]:
    """Return what is known of each type of a source that was listed completely once."""
    known = {ResourceType(type): (count, mean) for type, count, mean in reader.rows(_STOCKS, (source.name,))}
    found: dict[ResourceType, Stock] = {}
    for name, listed, page_count in reader.rows(_PAGES, (source.name,)):
        type = ResourceType(name)
        if type in source.resources:
            # A single page says only that so many fit on it.
            size = listed / page_count if page_count > 1 else max(listed, source.kind.specs[type].page_size)
            count, mean_bytes = known.get(type, (0, 0.0))
            found[type] = Stock(count=count, mean_bytes=mean_bytes, page_size=max(1.0, size))
    return found


def writing(source: SourceSettings, plan: Plan, stocks: Mapping[ResourceType, Stock]) -> Forecast:
    """Forecast the writes of a plan, and the readings that frame some of them."""
    return side_by_side(writes(source.kind, plan.changes, stocks), _rates(source), source.kind.daily)


def listing(source: SourceSettings, stocks: Mapping[ResourceType, Stock], details: Iterable[Batch] = ()) -> Forecast:
    """Forecast a full cycle without writes: all pages, and details."""
    batches = (pages(source.kind.specs[type], stock) for type, stock in stocks.items())
    return in_turn((*batches, *details), _rates(source), source.kind.daily)


def details(
    source: SourceSettings, planner: Planner, selection: Selection, stocks: Mapping[ResourceType, Stock]
) -> Iterator[Batch]:
    """Yield what it takes to read the details that declarations want."""
    if not any(spec.details for spec in source.kind.types):
        return
    times: Counter[tuple[ResourceType, Part]] = Counter()
    for one in planner.wanting_details(selection):
        is_piecemeal = one.part in source.kind.specs[one.key.type].piecemeal
        times[one.key.type, one.part] += len(one.paths) if is_piecemeal else 1
    for (type, part), number in sorted(times.items()):
        yield from readings(source.kind, part, number, stocks[type].mean_bytes if type in stocks else 0.0)


def _rates(source: SourceSettings) -> Rates:
    budget = budget_of(source)
    return Rates(classes=budget.classes, total=budget.total)


def cycles(configuration: Configuration, reader: Reader, clock: Clock) -> dict[str, Forecast]:
    """Forecast a full cycle of each source that was listed completely once."""
    settings, declarations = configuration.settings, configuration.declared.declarations
    selection = Selection(reader, view_of(all_kinds().values()))
    ages_s, longest_s = selection.ages_s(clock.now()), longest_ages_s(settings)
    found: dict[str, Forecast] = {}
    for name, one in settings.sources.items():
        if stocks := stocks_of(reader, one):
            planner = Planner(unconnected(one), one, declarations, at=clock.now(), ages_s=ages_s, longest_s=longest_s)
            found[name] = listing(one, stocks, details(one, planner, selection, stocks))
    return found


def as_json(forecast: Forecast, source: SourceSettings) -> dict[str, Any]:
    """Return a forecast as JSON: `requests` by operation class, `seconds`, and `daily`, null where nobody counts.

    That has `cost`, `budget` and the `share` that the one is of the other, both null where there is no budget.
    """
    budget = budget_of(source).daily
    share = None if budget is None else round(forecast.cost / budget, 4)
    return {
        "requests": dict(forecast.requests),
        "seconds": round(forecast.seconds, 1),
        "daily": None if source.kind.daily is None else {"cost": forecast.cost, "budget": budget, "share": share},
    }


def text_of(forecast: Forecast, source: SourceSettings) -> str:
    """Return a forecast in words: `620 requests (registry 20, twin_write 600), 10 min, 0.3% of the day's budget`."""
    classes = ", ".join(f"{operation} {number}" for operation, number in forecast.requests.items())
    parts = [f"{counted(forecast.total, 'request')} ({classes})", minutes(forecast.seconds)]
    budget = budget_of(source).daily
    if budget is not None and forecast.cost:
        parts.append(f"{forecast.cost / budget:.1%} of the day's budget")
    return ", ".join(parts)


def minutes(seconds: float) -> str:
    """Return a time for people: about so long, or less than a minute."""
    return "less than a minute" if seconds < 60 else f"about {lasting(seconds)}"


def unkeepable(
    settings: Settings, ahead: Mapping[str, Forecast], sources: Iterable[SourceSettings]
) -> Iterator[Problem]:
    """Yield the intervals that cannot be kept within the rates and the budget of a day, with the shortest that can.

    Sources of one scope share its budget: `ahead` is of all of them, also of those that nobody asks about.
    """
    budgets = budgets_of(settings.sources.values())
    scopes = {name: scope_of(settings.sources[name]) for name in ahead}
    costs = {name: one.cost * cycles_per_day(one, settings.sources[name].interval_s) for name, one in ahead.items()}
    for source in sources:
        if (one := ahead.get(name := source.name)) is None:
            continue
        daily = budgets[scopes[name]].daily
        others = sum(cost for other, cost in costs.items() if other != name and scopes[other] == scopes[name])
        least_s = least_interval_s(one, others, daily)
        if least_s is None or source.interval_s < least_s:
            message = _why_not(source, one, least_s, daily)
            yield Problem(message=f"source {name}: {message}", file=str(settings.file))


def _why_not(source: SourceSettings, ahead: Forecast, least_s: float | None, daily: int | None) -> str:
    if least_s is None:
        return (
            f"no interval can be kept: one cycle costs {ahead.cost} of the day's budget of {daily}, which other sources"
            " may need as well; list fewer `resources`, or allow more with `rate.daily`"
        )
    text = interval_text(source.interval_s)
    if ahead.seconds > source.interval_s:
        why = f"a cycle takes {counted(ahead.total, 'request')}, {minutes(ahead.seconds)} at the permitted rates"
    else:
        times = round(cycles_per_day(ahead, source.interval_s))
        why = f"{counted(times, 'cycle')} a day cost {times * ahead.cost} of the day's budget of {daily}"
    return f'an interval of "{text}" cannot be kept: {why}; the shortest possible is "{interval_text(least_s)}"'


def interval_text(seconds: float) -> str:
    """Return a duration as the configuration takes it, rounded up where it fits no unit exactly."""
    unit, size = next(
        (unit, size)
        for unit, size in _UNITS
        if size == 1 or seconds >= 30 * size or (seconds >= size and seconds % size == 0)
    )
    return f"{math.ceil(seconds / size)}{unit}"
