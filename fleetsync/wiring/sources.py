"""Sources and the mirror, connected: ready to be asked, nothing sent yet."""

import contextlib
import datetime
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct

from fleetsync.clock import Clock, SystemClock
from fleetsync.config.settings import Settings, SourceSettings
from fleetsync.core.breaker import StoredBreaker
from fleetsync.core.model import ResourceKey, ResourceType
from fleetsync.daemon.parts import Link, Orders, job_of
from fleetsync.daemon.work import Work
from fleetsync.errors import FleetsyncError
from fleetsync.mirror.cycles import SourceRow
from fleetsync.mirror.faults import stored_breakers
from fleetsync.mirror.known import Known
from fleetsync.mirror.mirror import Mirror, open_mirror
from fleetsync.mirror.reader import Readers
from fleetsync.providers import base
from fleetsync.transport.auth import Tokens
from fleetsync.transport.breaking import Circuit
from fleetsync.transport.connect import connect
from fleetsync.transport.http import Request, Response
from fleetsync.transport.limited import Meter
from fleetsync.transport.limiter import Limiter, Store
from fleetsync.transport.origin import Origin
from fleetsync.transport.session import Session, open_session
from fleetsync.wiring.configuration import Configuration, longest_ages_s
from fleetsync.wiring.rates import keep_all, limiters_of, remembered, scope_of
from fleetsync.wiring.sign_in import tokens_of


class Connected(Struct, frozen=True, kw_only=True):
    """A source that can be asked, what its requests cost so far, how it is, and the limiter that it shares."""

    source: base.Source
    settings: SourceSettings
    meter: Meter
    limiter: Limiter
    circuit: Circuit
    tokens: Tokens

    @property
    def link(self) -> Link:
        """Return what cycles need of it."""
        return Link(source=self.source, meter=self.meter, circuit=self.circuit, expires_at=self.tokens.expires_at)


@contextlib.asynccontextmanager
async def connected(
    settings: Iterable[SourceSettings], clock: Clock, database: Path, *, store: Store | None = None
) -> AsyncIterator[dict[str, Connected]]:
    """Give the sources by name, ready to be asked; nothing is sent yet. `database` need not be there yet.

    They keep to the rates that are remembered in it; what they learn is stored at the end at the latest, where there
    is a `store`. What an earlier process found to be wrong with them is remembered as well.
    """
    async with contextlib.AsyncExitStack() as stack:
        sessions: dict[tuple[Path | None, str | None], Session] = {}
        chosen = tuple(settings)
        readers = stack.enter_context(contextlib.closing(Readers(database, clock)))
        limiters = limiters_of(chosen, clock, remembered(readers), store)
        parts: dict[str, Connected] = {}
        for one in chosen:
            trust = (one.ca_file, one.proxy)
            if trust not in sessions:
                sessions[trust] = await stack.enter_async_context(open_session(ca_file=one.ca_file, proxy=one.proxy))
            parts[one.name] = connected_through(sessions[trust], one, limiters[scope_of(one)], clock, readers)
        try:
            yield parts
        finally:
            await keep_all(limiters.values())


class _Nowhere:
    """Stands where nothing may be asked for."""

    async def send(self, request: Request) -> Response:
        raise AssertionError(f"a request without a connection: {request.method}")

    async def document(self, key: ResourceKey) -> bytes | None:
        raise AssertionError(f"asked for {key} without a connection")

    async def observed_at(self, key: ResourceKey) -> datetime.datetime | None:
        raise AssertionError(f"asked for {key} without a connection")

    async def ids(self, source: str, type: ResourceType, *, after: str, most: int) -> Sequence[str]:
        raise AssertionError(f"asked for {most} {type}s of {source} after {after!r} without a connection")


def unconnected(settings: SourceSettings) -> base.Source:
    """Return a source for what needs no request: what of it can be declared, and under which guard."""
    nowhere = _Nowhere()
    endpoint = base.Endpoint(
        name=settings.name, url=settings.url, http=nowhere, known=nowhere, clock=SystemClock(), settings=settings.own
    )
    return base.load(settings.kind.name).connect(endpoint)


def connected_through(
    session: Session, settings: SourceSettings, limiter: Limiter, clock: Clock, readers: Readers
) -> Connected:
    """Return a source that sends through a session and a limiter.

    `readers` are those of the mirror, which need not be there yet; beside it are the cached sign-ins.
    """
    tokens = tokens_of(settings, clock, readers.path.parent)
    meter, circuit = Meter(limiter), Circuit(clock, broken(readers).get(settings.name))
    origin = Origin.of(settings.url)
    http = connect(session, origin=origin, tokens=tokens, meter=meter, circuit=circuit, clock=clock)
    endpoint = base.Endpoint(
        name=settings.name,
        url=settings.url,
        http=http,
        known=Known(readers),
        clock=clock,
        settings=settings.own,
    )
    source = base.load(settings.kind.name).connect(endpoint)
    return Connected(source=source, settings=settings, meter=meter, limiter=limiter, circuit=circuit, tokens=tokens)


def broken(readers: Readers) -> dict[str, StoredBreaker]:
    """Return what earlier processes found to be wrong with sources; nothing where no database can be read."""
    try:
        with readers.reading() as reader:
            return stored_breakers(reader)
    except FleetsyncError:
        return {}


def source_rows(sources: Iterable[SourceSettings]) -> list[SourceRow]:
    """Return sources as the database keeps them."""
    return [
        SourceRow(
            name=one.name,
            kind=one.kind.name,
            url=one.url,
            mode=one.mode.value,
            identity=_identity(one),
        )
        for one in sources
    ]


def _identity(settings: SourceSettings) -> str:
    """Return what a source is the mirror of. Where everybody's service is at one address, that is a part of it."""
    where = f"{settings.kind.name} at {Origin.of(settings.url)}"
    return where if settings.kind.url is None else f"{where}, {scope_of(settings)}"


@contextlib.asynccontextmanager
async def opened_mirror(
    settings: Settings, clock: Clock, *, create: bool = True, upgrade: bool = False
) -> AsyncIterator[Mirror]:
    """Open the mirror for writing, with the configured sources registered in it.

    Raises:
        NotYetError: there is none, and none is to be made.
        MirrorError: it is in use, cannot be written, or was made by another version.
        ConfigError: a source's name belongs to another service.
    """
    kinds = base.all_kinds().values()
    async with open_mirror(settings.database.path, kinds, clock, create=create, upgrade=upgrade) as mirror:
        await mirror.cycles.register(source_rows(settings.sources.values()), file=str(settings.file))
        yield mirror


def orders_of(configuration: Configuration) -> Orders:
    """Return what a configuration asks of whoever runs cycles."""
    return Orders(
        sources=configuration.settings.sources,
        declarations=configuration.declared.declarations,
        longest_s=longest_ages_s(configuration.settings),
    )


@contextlib.asynccontextmanager
async def working(configuration: Configuration, clock: Clock, *, create: bool) -> AsyncIterator[Work]:
    """Give what carries out the commands of a person while no daemon does: it has the mirror and its lock.

    Raises:
        NotYetError: there is no mirror, and none is to be made.
        MirrorError: the mirror is in use, cannot be written, or was made by another version.
        ConfigError: a source's name belongs to another service.
    """
    settings = configuration.settings
    async with (
        opened_mirror(settings, clock, create=create) as mirror,
        connected(settings.sources.values(), clock, mirror.path, store=mirror.paces.store) as parts,
    ):
        orders = orders_of(configuration)
        jobs = {name: partial(job_of, part.link, part.settings, orders, mirror, clock) for name, part in parts.items()}
        yield Work(jobs, mirror)
