"""How the rates of the sources are used: told by the daemon while it runs, else as it was stored."""

import asyncio
import contextlib
import datetime
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from fleetsync.cli.invocation import Invocation
from fleetsync.clock import Clock
from fleetsync.config.settings import Settings, SourceSettings
from fleetsync.core.duration import lasting
from fleetsync.errors import FleetsyncError
from fleetsync.mirror.reader import Readers
from fleetsync.transport.lane import Usage
from fleetsync.transport.limiter import ScopeUsage
from fleetsync.wiring.rates import budget_of, limiters_of, remembered, scope_of

_PATIENCE_S = 5.0


class Used(Struct, frozen=True, kw_only=True):
    """How every quota scope is used; `live` says that the daemon told it just now."""

    scopes: Mapping[str, ScopeUsage]
    live: bool


def used(invocation: Invocation, settings: Settings, *, daemon: bool) -> Used:
    """Return how the rates are used, from the daemon if there is one that answers soon."""
    told = asyncio.run(_told(invocation, settings)) if daemon else ()
    if told:
        return Used(scopes={one.scope: one for one in told}, live=True)
    with contextlib.closing(Readers(settings.database.path, invocation.clock)) as readers:
        limiters = limiters_of(settings.sources.values(), invocation.clock, remembered(readers))
    return Used(scopes={scope: limiter.usage() for scope, limiter in limiters.items()}, live=False)


async def _told(invocation: Invocation, settings: Settings) -> tuple[ScopeUsage, ...]:
    # Only where a daemon runs: these bring the library along that writes.
    from fleetsync.daemon.control import hand_over, socket_file
    from fleetsync.daemon.work import Command
    from fleetsync.reconcile.progress import silent

    try:
        async with invocation.clock.timeout(_PATIENCE_S):
            reply = await hand_over(socket_file(settings.database.path), Command(name="rates"), silent)
    except (FleetsyncError, TimeoutError):
        return ()
    return () if reply is None else reply.rates


def as_json(source: SourceSettings, used: Used, clock: Clock) -> dict[str, Any]:
    """Return what `status` shows of a source's rates.

    `rates`, by operation class: `permitted_per_s` · `learned_per_s`, what the service stands for now · `shared`: the
    class shares that rate with the others that do · `used_60s`: requests of the whole scope in the last minute,
    null where no daemon tells · `held_until` and `why`, null where requests may leave · `daily`: `spent` and `budget`
    of the UTC day (budget null: no limit), null where the service does not count · `live`: the daemon told it just now,
    else it is what was stored.
    """
    scope = used.scopes.get(scope_of(source))
    if scope is None:  # the daemon does not know of it yet
        return {"rates": {}, "daily": None, "live": used.live}
    shares = {name: rate is None for name, rate in budget_of(source).classes.items()}
    daily = None if scope.spent is None else {"spent": scope.spent, "budget": scope.daily}
    rates = {
        one.operation: {**_class(one, used, clock.now()), "shared": shares.get(one.operation, False)}
        for one in scope.classes
    }
    return {"rates": rates, "daily": daily, "live": used.live}


def _class(one: Usage, used: Used, now: datetime.datetime) -> dict[str, Any]:
    until = now + datetime.timedelta(seconds=one.held_s)
    return {
        "permitted_per_s": round(one.permitted_per_s, 4),
        "learned_per_s": round(one.learned_per_s, 4),
        "used_60s": one.used_60s if used.live else None,
        "held_until": until.isoformat(timespec="seconds").replace("+00:00", "Z") if one.held_s else None,
        "why": one.why or None,
    }


def texts(shown: Mapping[str, Any], at: datetime.datetime) -> Iterator[str]:
    """Yield what a person wants to know of that: rates, holds, and what of the day's budget is spent."""
    rates = shown["rates"]
    parts = [_rate(name, one) for name, one in rates.items() if not one["shared"]]
    if names := [name for name, one in rates.items() if one["shared"]]:
        parts.append(f"{_rate(', '.join(names), rates[names[0]])} in all")
    if parts:
        yield f"may use {'; '.join(parts)}"
    if recent := ", ".join(f"{one['used_60s']} {name}" for name, one in rates.items() if one["used_60s"]):
        yield f"used {recent} in the last minute"
    if shown["daily"] is not None:
        spent, budget = shown["daily"]["spent"], shown["daily"]["budget"]
        yield f"spent {spent} today" + ("" if budget is None else f" of the day's budget of {budget}")
    yield from holds(shown, at)


def holds(shown: Mapping[str, Any], at: datetime.datetime) -> Iterator[str]:
    """Yield what may not be sent, until when, and why."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, one in shown["rates"].items():
        if one["held_until"] is not None:
            found.setdefault((one["held_until"], one["why"]), []).append(name)
    for (until, why), held in found.items():
        left_s = (datetime.datetime.fromisoformat(until) - at).total_seconds()
        yield f"sends no {', '.join(held)} until {until}, in {lasting(max(0.0, left_s))}: {why}"


def _rate(name: str, one: Mapping[str, Any]) -> str:
    permitted, learned = one["permitted_per_s"], one["learned_per_s"]
    text = f"{name} {permitted:g}/s"
    return text if learned >= permitted else f"{text} (for now {learned:.3g}/s)"
