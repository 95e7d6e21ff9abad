"""What the daemon is given: a configuration's orders, and what it is made of."""

import contextlib
import datetime
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct

from fleetsync.clock import Clock
from fleetsync.config.settings import SourceSettings
from fleetsync.core.declaration import Declaration
from fleetsync.mirror.mirror import Mirror
from fleetsync.providers.base import Source
from fleetsync.reconcile.cycle import Job, Meter
from fleetsync.reconcile.progress import Report, silent
from fleetsync.transport.breaking import Circuit
from fleetsync.transport.limiter import ScopeUsage


class Orders(Struct, frozen=True, kw_only=True):
    """What a configuration asks of the daemon. `longest_s`: see `Planner`."""

    sources: Mapping[str, SourceSettings]
    declarations: Sequence[Declaration]
    longest_s: Mapping[str, float]


class Link(Struct, frozen=True, kw_only=True):
    """A source that can be asked. `expires_at` says when what it signs in with ends, None where nobody knows."""

    source: Source
    meter: Meter
    circuit: Circuit
    expires_at: Callable[[], datetime.datetime | None]


def job_of(
    link: Link, settings: SourceSettings, orders: Orders, mirror: Mirror, clock: Clock, report: Report = silent
) -> Job:
    """Return what a cycle of a source works with."""
    return Job(
        source=link.source,
        settings=settings,
        meter=link.meter,
        circuit=link.circuit,
        mirror=mirror,
        clock=clock,
        declarations=orders.declarations,
        longest_s=orders.longest_s,
        report=report,
    )


class Parts(Struct, frozen=True, kw_only=True):
    """What the daemon is made of.

    `connect` gives a source's link for as long as the source is minded. `reload` reads the configuration again,
    without blocking the event loop, and registers its sources in the mirror, or raises a `ConfigError`. `prune`
    forgets what is older than it is to be kept. `put_back` keeps the journal small, and returns its size in bytes.
    `environment` says how systemd wants to hear of us. `rates` tells how
    the quota scopes are used.
    """

    connect: Callable[[SourceSettings], contextlib.AbstractAsyncContextManager[Link]]
    reload: Callable[[], Awaitable[Orders]]
    mirror: Mirror
    clock: Clock
    environment: Mapping[str, str]
    prune: Callable[[], Awaitable[object]] | None = None
    put_back: Callable[[], Awaitable[int]] | None = None
    rates: Callable[[], tuple[ScopeUsage, ...]] = tuple
