"""Settings in, connected parts out: the only place that constructs things."""

import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetsync.clock import Clock
from fleetsync.config.declarations import DeclarationSet, load_declarations
from fleetsync.config.load import load
from fleetsync.config.secrets import read_secret
from fleetsync.config.settings import Secret, Settings, SourceSettings
from fleetsync.core.bucket import Rate, rate_of
from fleetsync.core.kind import Kind
from fleetsync.errors import ConfigError
from fleetsync.mirror.cycles import SourceRow
from fleetsync.mirror.mirror import Mirror, open_mirror
from fleetsync.providers import base
from fleetsync.reconcile.cycle import Job
from fleetsync.reconcile.progress import Report, silent
from fleetsync.transport.auth import ApiToken, NoTokens, Tokens
from fleetsync.transport.connect import connect
from fleetsync.transport.entra import ClientCertificate, Identity
from fleetsync.transport.limiter import Budget, Limiter, Meter
from fleetsync.transport.msal_tokens import (
    client_certificate_tokens,
    client_secret_tokens,
    device_code_tokens,
    managed_identity_tokens,
    workload_identity_tokens,
)
from fleetsync.transport.origin import Origin
from fleetsync.transport.secret import SecretText
from fleetsync.transport.session import Session, open_session

# A selector that looks at other rows wants them younger than this many intervals.
FRESH_INTERVALS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Everything that files say."""

    settings: Settings
    declared: DeclarationSet


def kinds() -> dict[str, Kind]:
    """Return every kind of service that there is a provider for."""
    return {name: base.load(name).kind for name in base.kinds()}


def read_configuration(file: Path, clock: Clock) -> Configuration:
    """Read the configuration and the declarations.

    Raises:
        ConfigError: all that is wrong with the configuration; if that is right, with the declarations.
    """
    # Late, because it imports the database library, which most commands need and `query` does not.
    from fleetsync.mirror.blank import faults_of  # noqa: PLC0415 - see above

    known = kinds()
    settings = load(file, known)
    declared = load_declarations(settings.declarations, settings)
    faults = faults_of(declared.declarations, known.values(), clock)
    if faults:
        raise ConfigError(
            *(declared.where_problem(declaration, f"is refused: {fault}") for declaration, fault in faults)
        )
    return Configuration(settings=settings, declared=declared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A source that can be asked, what its requests cost so far, and the limiter that it shares."""

    source: base.Source
    settings: SourceSettings
    meter: Meter
    limiter: Limiter
    tokens: Tokens


@contextlib.asynccontextmanager
async def connected(
    settings: Iterable[SourceSettings], clock: Clock, state: Path
) -> AsyncIterator[dict[str, Connected]]:
    """Give the sources by name, ready to be asked; nothing is sent yet. `state` is the folder for cached sign-ins."""
    async with contextlib.AsyncExitStack() as stack:
        sessions: dict[tuple[Path | None, str | None], Session] = {}
        chosen = tuple(settings)
        limiters = limiters_of(chosen, clock)
        parts: dict[str, Connected] = {}
        for one in chosen:
            trust = (one.ca_file, one.proxy)
            if trust not in sessions:
                sessions[trust] = await stack.enter_async_context(open_session(ca_file=one.ca_file, proxy=one.proxy))
            parts[one.name] = _connected(one, sessions[trust], limiters[scope_of(one)], clock, state)
        yield parts


def _connected(settings: SourceSettings, session: Session, limiter: Limiter, clock: Clock, state: Path) -> Connected:
    tokens = tokens_of(settings, clock, state)
    meter = Meter()
    http = connect(session, origin=Origin.of(settings.url), tokens=tokens, limiter=limiter, clock=clock, meter=meter)
    endpoint = base.Endpoint(name=settings.name, url=settings.url, http=http, settings=settings.own)
    source = base.load(settings.kind.name).connect(endpoint)
    return Connected(source=source, settings=settings, meter=meter, limiter=limiter, tokens=tokens)


def scope_of(settings: SourceSettings) -> str:
    """Return the name of the quota that a source's requests count against."""
    return base.load(settings.kind.name).scope(settings.url, settings.own)


def limiters_of(settings: Sequence[SourceSettings], clock: Clock) -> dict[str, Limiter]:
    """Return one limiter for each quota scope; sources that share one get the most cautious of their budgets."""
    budgets: dict[str, Budget] = {}
    for one in settings:
        scope, budget = scope_of(one), budget_of(one)
        budgets[scope] = _lower(budgets[scope], budget) if scope in budgets else budget
    return {scope: Limiter(scope, budget, clock) for scope, budget in budgets.items()}


def budget_of(settings: SourceSettings) -> Budget:
    """Return what a source may use: its explicit rates, else its share of the quota."""
    quota, rate = settings.kind.quota, settings.rate
    share = rate.share if quota.documented else 1.0
    classes = {
        name: rate.classes.get(name) or (None if documented is None else _shared(documented, share))
        for name, documented in quota.classes.items()
    }
    return Budget(classes=classes, total=None if quota.total is None else _shared(quota.total, share))


def _shared(documented: Rate, share: float) -> Rate:
    return documented if share == 1.0 else rate_of(documented.per_s * share)


def _lower(one: Budget, other: Budget) -> Budget:
    classes = {name: _lower_rate(rate, other.classes[name]) for name, rate in one.classes.items()}
    return Budget(classes=classes, total=_lower_rate(one.total, other.total))


def _lower_rate(one: Rate | None, other: Rate | None) -> Rate | None:
    if one is None or other is None:
        return one or other
    return min(one, other, key=lambda rate: rate.per_s)


def tokens_of(settings: SourceSettings, clock: Clock, state: Path) -> Tokens:
    """Return where a source's Authorization header comes from; nothing is asked yet."""
    auth = settings.auth
    match auth.method:
        case "none":
            return NoTokens()
        case "api-token":
            return ApiToken(secret_text(auth.secrets["token"]))
        case "client-secret":
            return client_secret_tokens(identity_of(settings), secret_text(auth.secrets["client_secret"]), clock)
        case "client-certificate":
            certificate = secret_text(auth.secrets["certificate"])
            phrase = auth.secrets.get("passphrase")
            both = ClientCertificate(
                certificate=certificate,
                private_key=certificate,
                passphrase=secret_text(phrase) if phrase is not None else None,
            )
            return client_certificate_tokens(identity_of(settings), both, clock)
        case "workload-identity":
            assertion = secret_text(Secret("file", auth.options["token_file"]))
            return workload_identity_tokens(identity_of(settings), assertion, clock)
        case "managed-identity":
            scope = settings.scope or settings.kind.scope or ""
            return managed_identity_tokens(scope, clock, client_id=auth.options.get("client_id"))
        case "device-code":
            command = f"fleetsync check {settings.name} --sign-in"
            return device_code_tokens(identity_of(settings), sign_in_file(settings, state), clock, command=command)
        case method:
            raise LookupError(f"no such way to sign in: {method}")


def identity_of(settings: SourceSettings) -> Identity:
    """Return who signs in for a source, and where."""
    options = settings.auth.options
    return Identity(
        tenant_id=options.get("tenant_id", "organizations"),
        client_id=options["client_id"],
        scope=settings.scope or settings.kind.scope or "",
        authority=settings.authority,
        ca_file=settings.ca_file,
        proxy=settings.proxy,
    )


def sign_in_file(settings: SourceSettings, state: Path) -> Path:
    """Return where the sign-in of a person is kept."""
    return state / f"{settings.name}.sign-in"


def secret_text(secret: Secret) -> SecretText:
    """Return a secret that is read when it is needed."""
    place = f"{secret.source} {secret.place!r}"
    return SecretText(place=place, read=lambda: read_secret(secret, os.environ, credentials_directory()))


def credentials_directory() -> Path | None:
    """Return where systemd puts credentials; None where it does not."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(folder) if folder else None


def source_rows(settings: Settings) -> list[SourceRow]:
    """Return the configured sources as the database keeps them."""
    return [
        SourceRow(
            name=one.name,
            kind=one.kind.name,
            url=one.url,
            mode=one.mode.value,
            identity=f"{one.kind.name} at {Origin.of(one.url)}",
        )
        for one in settings.sources.values()
    ]


@contextlib.asynccontextmanager
async def opened_mirror(settings: Settings, clock: Clock, *, upgrade: bool = False) -> AsyncIterator[Mirror]:
    """Open the mirror for writing, with the configured sources registered in it.

    Raises:
        MirrorError: it is in use, cannot be written, or was made by another version.
        ConfigError: a source's name belongs to another service.
    """
    async with open_mirror(settings.database.path, kinds().values(), clock, upgrade=upgrade) as mirror:
        await mirror.cycles.register(source_rows(settings), file=str(settings.file))
        yield mirror


def longest_ages_s(settings: Settings) -> Mapping[str, float]:
    """Return for every source how old its last complete listing may be for selectors that look at other rows."""
    return {name: one.interval_s * FRESH_INTERVALS for name, one in settings.sources.items()}


def job_of(part: Connected, configuration: Configuration, mirror: Mirror, clock: Clock, report: Report = silent) -> Job:
    """Return what a cycle of a source works with."""
    return Job(
        source=part.source,
        settings=part.settings,
        meter=part.meter,
        mirror=mirror,
        clock=clock,
        declarations=configuration.declared.declarations,
        longest_s=longest_ages_s(configuration.settings),
        report=report,
    )
