"""Looking at the machine: what has to be right around fleetsync, and is not always."""

import datetime
import os
import resource
import shutil
import socket
import sqlite3
import ssl
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from msgspec import Struct
from msgspec.structs import asdict

from fleetsync.cli import doing, forecasts, output
from fleetsync.cli.invocation import Invocation
from fleetsync.cli.warnings import ending, wal_warnings
from fleetsync.clock import Clock
from fleetsync.config.secrets import exposed_secrets
from fleetsync.config.settings import Settings, SourceSettings
from fleetsync.core.duration import lasting
from fleetsync.core.forecast import Stock
from fleetsync.core.model import ResourceType
from fleetsync.errors import FleetsyncError, MirrorError, NotYetError
from fleetsync.mirror.library import SAFE, check_library
from fleetsync.mirror.reader import reading
from fleetsync.tasks import together
from fleetsync.transport.threads import start_in_daemon_thread
from fleetsync.wiring.rates import limiters_of, scope_of

Verdict = Literal["ok", "warn", "fail"]

_PATIENCE_S = 10.0
_MOST_SKEW_S = 60.0
_FREE_BYTES = 1024**3
_DESCRIPTORS = 1024


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    subject: str
    verdict: Verdict
    text: str


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return what `doctor --json` prints: `findings`, each with `subject`, `verdict` (ok, warn, fail) and `text`."""
    return {"findings": [asdict(finding) for finding in findings]}


async def examine(invocation: Invocation) -> list[Finding]:
    """Look at everything. One request without a token goes to the host of each source.

    Raises:
        ConfigError: the configuration is wrong: `fleetsync check` is the place to begin.
    """
    doing.set_up_log(invocation)
    settings, clock = invocation.settings(), invocation.clock
    here = [_sqlite(), *_files(settings), _disk(settings.database.path), _descriptors(), *_secrets(settings)]
    here += [_warn("sign-in", text) for text in ending(settings, clock)]
    here += [_warn("database", text) for text in wal_warnings(settings.database.path)]
    async with together() as group:
        visits = [group.create_task(_visit(one, clock)) for one in settings.sources.values()]
    there = [finding for visit in visits for finding in visit.result()]
    return [*here, *there, *_quota(settings, clock)]


def _ok(subject: str, text: str) -> Finding:
    return Finding(subject=subject, verdict="ok", text=text)


def _warn(subject: str, text: str) -> Finding:
    return Finding(subject=subject, verdict="warn", text=text)


def _fail(subject: str, text: str) -> Finding:
    return Finding(subject=subject, verdict="fail", text=text)


def _sqlite() -> Finding:
    try:
        check_library()
    except MirrorError as error:
        return _fail("sqlite", str(error))
    if sqlite3.sqlite_version_info >= SAFE:
        return _ok("sqlite", sqlite3.sqlite_version)
    text = "two writers can corrupt a file (a bug of 3.7.0 to 3.51.2): fleetsync keeps to one, let nothing else write"
    return _warn("sqlite", f"{sqlite3.sqlite_version}: {text}")


def _files(settings: Settings) -> Iterator[Finding]:
    """Look at the rights of the database, and of the folder, where its journal and its lock are."""
    database = settings.database.path
    folder = database.parent
    if not folder.exists():
        yield _warn("folder", f"{folder} does not exist yet")
        return
    yield _writable("folder", folder, os.W_OK | os.X_OK)
    if database.exists():
        yield _writable("database", database, os.W_OK)
    else:
        yield _warn("database", f"{database} does not exist yet: `fleetsync sync` makes it")


def _writable(subject: str, path: Path, wanted: int) -> Finding:
    if not os.access(path, wanted):
        return _fail(subject, f"{path} cannot be written to by user {os.geteuid()}")
    if path.stat().st_mode & stat.S_IWOTH:
        return _warn(subject, f"{path} can be written to by everybody: chmod o-w")
    return _ok(subject, f"{path} can be written to")


def _disk(database: Path) -> Finding:
    folder = next((folder for folder in database.parents if folder.exists()), Path("/"))
    free = shutil.disk_usage(folder).free
    text = f"{free // 2**20} MiB free at {folder}"
    size = database.stat().st_size if database.exists() else 0
    return (
        _ok("disk", text)
        if free > max(_FREE_BYTES, 2 * size)
        else _warn("disk", f"{text}: a backup needs as much again")
    )


def _descriptors() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{soft} open files allowed"
    return (
        _ok("descriptors", text) if soft >= _DESCRIPTORS else _warn("descriptors", f"{text}: fewer than {_DESCRIPTORS}")
    )


def _secrets(settings: Settings) -> Iterator[Finding]:
    return (_warn("secrets", str(problem)) for problem in exposed_secrets(settings))


async def _visit(source: SourceSettings, clock: Clock) -> list[Finding]:
    """Look up the host of a source, knock there, and compare clocks."""
    parts = urlsplit(source.url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    looks: tuple[Callable[[], list[Finding]], ...] = (lambda: _knock(source, clock),)
    if source.proxy is None:  # else the proxy looks it up
        looks = (lambda: _look_up(source.name, host, port), *looks)
    found: list[Finding] = []
    for look in looks:
        try:
            async with clock.timeout(_PATIENCE_S):
                found += await start_in_daemon_thread(look)
        except TimeoutError:
            found.append(_fail(f"{source.name}", f"{host} did not answer within {_PATIENCE_S:g} s"))
        if found[-1].verdict == "fail":
            break
    return found


def _look_up(source: str, host: str, port: int) -> list[Finding]:
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        return [_fail(f"{source} dns", f"{host}: {error.strerror or error}")]
    return [_ok(f"{source} dns", f"{host} is {', '.join(sorted(addresses))}")]


class _NoRedirect(HTTPRedirectHandler):
    """Lets a redirection be an answer like any other."""

    def redirect_request(self, *_arguments: Any) -> None:
        """Go nowhere."""


def _knock(source: SourceSettings, clock: Clock) -> list[Finding]:
    """Ask for the front page, without a token; any answer will do."""
    proxies = {} if source.proxy is None else {"http": source.proxy, "https": source.proxy}
    subject = f"{source.name} tls" if source.url.startswith("https:") else f"{source.name} connection"
    try:
        trust = ssl.create_default_context(cafile=source.ca_file)
        opener = build_opener(ProxyHandler(proxies), HTTPSHandler(context=trust), _NoRedirect)
        request = Request(source.url, method="HEAD")  # noqa: S310 - the configuration allows https, and http to loopback
        with opener.open(request, timeout=_PATIENCE_S) as answer:
            date = answer.headers.get("Date")
    except HTTPError as error:  # an answer all the same
        date = error.headers.get("Date")
        error.close()
    except (URLError, OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        return [_fail(subject, f"{source.url}: {reason}")]
    return [_ok(subject, f"{source.url} answers"), _clock(source.name, date, clock)]


def _clock(source: str, date: str | None, clock: Clock) -> Finding:
    subject = f"{source} clock"
    try:
        there = parsedate_to_datetime(date or "")
    except ValueError:
        return _warn(subject, "the service does not say what time it is")
    if there.tzinfo is None:
        there = there.replace(tzinfo=datetime.UTC)
    skew_s = (clock.now() - there).total_seconds()
    text = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} the service"
    return _ok(subject, text) if abs(skew_s) < _MOST_SKEW_S else _warn(subject, f"{text}: tokens may be refused")


def _quota(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Yield the permitted rates of each scope, and how long a cycle of each source takes at them."""
    for scope, limiter in limiters_of(tuple(settings.sources.values()), clock).items():
        rates = ", ".join(f"{usage.operation} {usage.permitted_per_s:g}/s" for usage in limiter.usage().classes)
        names = ", ".join(name for name, one in settings.sources.items() if scope_of(one) == scope)
        yield _ok(f"quota of {scope}", f"{rates}; shared by {names}" if "," in names else rates)
    try:
        with reading(settings.database.path, clock) as reader:
            for one in settings.sources.values():
                if stocks := forecasts.stocks_of(reader, one):
                    yield _cycle(one, stocks)
    except NotYetError:
        return  # said above: there is no database yet
    except FleetsyncError as error:
        yield _fail("database", str(error))


def _cycle(source: SourceSettings, stocks: Mapping[ResourceType, Stock]) -> Finding:
    """Say how long a listing of what is known takes, and whether that fits the interval; `check` knows more of it."""
    ahead = forecasts.listing(source, stocks)
    subject, text = f"{source.name} cycle", forecasts.text_of(ahead, source)
    if ahead.seconds <= source.interval_s:
        return _ok(subject, text)
    return _warn(subject, f"{text}, longer than its interval of {lasting(source.interval_s)}")


def show(findings: Sequence[Finding]) -> None:
    """Print a line for each."""
    styles: dict[Verdict, str] = {"ok": "green", "warn": "yellow", "fail": "red"}
    for one in findings:
        output.line((f"{one.verdict:4}", styles[one.verdict]), f"  {one.subject}: {one.text}")
