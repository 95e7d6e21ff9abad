"""The daemon, made of its parts."""

import contextlib
import os
from collections.abc import AsyncIterator
from functools import partial

from fleetsync.clock import Clock
from fleetsync.config.settings import SourceSettings
from fleetsync.daemon.control import serve, socket_file
from fleetsync.daemon.daemon import Daemon
from fleetsync.daemon.parts import Link, Orders, Parts
from fleetsync.errors import ConfigError, Problem
from fleetsync.mirror.mirror import Mirror
from fleetsync.transport.limiter import Limiter, ScopeUsage
from fleetsync.transport.session import open_session
from fleetsync.transport.threads import start_in_daemon_thread
from fleetsync.wiring.configuration import Configuration, read_configuration
from fleetsync.wiring.rates import budgets_of, keep_all, limiters_of, remembered, scope_of
from fleetsync.wiring.sources import connected_through, opened_mirror, orders_of, source_rows


class _Running:
    """What the daemon's parts are made from, as the configuration is now."""

    def __init__(self, configuration: Configuration, mirror: Mirror, clock: Clock) -> None:
        self._configuration = configuration
        self._mirror = mirror
        self._clock = clock
        self._limiters = self._limiters_of(configuration)

    def orders(self) -> Orders:
        """Return what the configuration asks of the daemon."""
        return orders_of(self._configuration)

    async def reload(self) -> Orders:
        """Read the configuration again and take it over.

        Raises:
            ConfigError: it is wrong, or wants another database; the old one stays.
        """
        old = self._configuration.settings
        new = await start_in_daemon_thread(partial(read_configuration, old.file, self._clock))
        if new.settings.database.path != old.database.path:
            reason = f"the database is {old.database.path} until the next start"
            raise ConfigError(Problem(message=reason, file=str(old.file)))
        await self._mirror.cycles.register(source_rows(new.settings.sources.values()), file=str(old.file))
        self._configuration = new
        for scope, budget in budgets_of(new.settings.sources.values()).items():
            # One that is there keeps its buckets and holds: a reload is no way around them.
            if scope in self._limiters:
                self._limiters[scope].adopt(budget)
        self._limiters = self._limiters_of(new) | self._limiters
        return self.orders()

    def _limiters_of(self, configuration: Configuration) -> dict[str, Limiter]:
        sources = configuration.settings.sources.values()
        return limiters_of(sources, self._clock, remembered(self._mirror.readers), self._mirror.paces.store)

    def rates(self) -> tuple[ScopeUsage, ...]:
        """Return how the quota scopes are used now."""
        return tuple(limiter.usage() for limiter in self._limiters.values())

    async def keep(self) -> None:
        """Store what was learned of rates and spent of days, before the process ends."""
        await keep_all(self._limiters.values())

    async def prune(self) -> None:
        """Forget what is older than it is to be kept."""
        keep = self._configuration.settings.database
        await self._mirror.prune(history_s=keep.keep_history_s, gone_s=keep.keep_gone_s, cycles_s=keep.keep_cycles_s)

    @contextlib.asynccontextmanager
    async def connect(self, settings: SourceSettings) -> AsyncIterator[Link]:
        """Give the link of a source; nothing is sent yet."""
        async with open_session(ca_file=settings.ca_file, proxy=settings.proxy) as session:
            limiter = self._limiters[scope_of(settings)]
            part = connected_through(session, settings, limiter, self._clock, self._mirror.readers)
            yield part.link


@contextlib.asynccontextmanager
async def serving(configuration: Configuration, clock: Clock) -> AsyncIterator[Daemon]:
    """Give the daemon, with the mirror in its hands and its control socket open; an older schema is upgraded.

    Raises:
        MirrorError: the mirror is in use, cannot be written, or was made by a newer version.
        ConfigError: a source's name belongs to another service.
    """
    async with opened_mirror(configuration.settings, clock, upgrade=True) as mirror:
        running = _Running(configuration, mirror, clock)
        parts = Parts(
            connect=running.connect,
            reload=running.reload,
            mirror=mirror,
            clock=clock,
            environment=os.environ,
            prune=running.prune,
            put_back=mirror.put_back,
            rates=running.rates,
        )
        daemon = Daemon(running.orders(), parts)
        try:
            async with serve(socket_file(mirror.path), daemon.carry_out, clock):
                yield daemon
        finally:
            await running.keep()
