"""What each source may use of which quota."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from fleetsync.clock import Clock
from fleetsync.config.settings import SourceSettings
from fleetsync.core.bucket import Rate, rate_of
from fleetsync.core.pace import StoredScope
from fleetsync.errors import FleetsyncError
from fleetsync.mirror.reader import Readers
from fleetsync.mirror.scopes import stored_scopes
from fleetsync.providers import base
from fleetsync.transport.limiter import Budget, Limiter, Store

NOTHING: Mapping[str, StoredScope] = MappingProxyType({})


def scope_of(settings: SourceSettings) -> str:
    """Return the name of the quota that a source's requests count against."""
    return base.load(settings.kind.name).scope(settings.url, settings.own)


def remembered(readers: Readers) -> dict[str, StoredScope]:
    """Return what earlier processes learned and spent, by scope; nothing where no database can be read."""
    try:
        with readers.reading() as reader:
            return stored_scopes(reader)
    except FleetsyncError:
        return {}


def limiters_of(
    settings: Iterable[SourceSettings],
    clock: Clock,
    left_behind: Mapping[str, StoredScope] = NOTHING,
    store: Store | None = None,
) -> dict[str, Limiter]:
    """Return one limiter for each quota scope; sources that share one get the most cautious of their budgets."""
    return {
        scope: Limiter(scope, budget, clock, left_behind=left_behind.get(scope), store=store)
        for scope, budget in budgets_of(settings).items()
    }


async def keep_all(limiters: Iterable[Limiter]) -> None:
    """Store what they learned and spent, before the process ends."""
    for limiter in limiters:
        await limiter.keep()


def budgets_of(settings: Iterable[SourceSettings]) -> dict[str, Budget]:
    """Return what each quota scope may use: of the sources that share one, the most cautious."""
    budgets: dict[str, Budget] = {}
    for one in settings:
        scope, budget = scope_of(one), budget_of(one)
        budgets[scope] = _lower(budgets[scope], budget) if scope in budgets else budget
    return budgets


def budget_of(settings: SourceSettings) -> Budget:
    """Return what a source may use: its explicit rates and daily figure, else its share of the quota."""
    kind, rate = settings.kind, settings.rate
    quota = kind.quota(settings.own)
    share = rate.share if kind.has_documented_quota else 1.0
    classes = {
        name: rate.classes.get(name) or (None if documented is None else _shared(documented, share))
        for name, documented in quota.classes.items()
    }
    return Budget(
        classes=classes,
        total=None if quota.total is None else _shared(quota.total, share),
        counts=kind.daily,
        daily=rate.daily or (None if quota.daily is None else max(1, int(quota.daily * share))),
    )


def _shared(documented: Rate, share: float) -> Rate:
    return documented if share == 1.0 else rate_of(documented.per_s * share)


def _lower(one: Budget, other: Budget) -> Budget:
    classes = {name: _lower_rate(rate, other.classes[name]) for name, rate in one.classes.items()}
    dailies = [each.daily for each in (one, other) if each.daily is not None]
    daily = min(dailies, default=None)
    return Budget(classes=classes, total=_lower_rate(one.total, other.total), daily=daily, counts=one.counts)


def _lower_rate(one: Rate | None, other: Rate | None) -> Rate | None:
    if one is None or other is None:
        return one or other
    return min(one, other, key=lambda rate: rate.per_s)
