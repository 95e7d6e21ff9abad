"""Checking everything that files say, and with `--online` that the services agree."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fleetsync.cli import doing, forecasts, output
from fleetsync.cli.invocation import Invocation, chosen
from fleetsync.cli.warnings import ending_services
from fleetsync.clock import Clock
from fleetsync.config.secrets import exposed_secrets, missing_secrets
from fleetsync.config.settings import Settings, SourceSettings
from fleetsync.config.sources import UNKNOWN_KIND
from fleetsync.core.forecast import Forecast, cycles_per_day
from fleetsync.core.words import counted
from fleetsync.daemon.work import worst
from fleetsync.errors import (
    AuthError,
    ConfigError,
    MirrorError,
    NotYetError,
    Problem,
    SourceError,
    TransientError,
    UsageError,
)
from fleetsync.mirror.cycles import moved
from fleetsync.mirror.reader import reading
from fleetsync.mirror.revision import head
from fleetsync.providers.base import Source
from fleetsync.transport.device_code import sign_in_with_device_code
from fleetsync.wiring.configuration import Configuration, Reading, read_files
from fleetsync.wiring.sign_in import credentials_directory, identity_of, sign_in_file
from fleetsync.wiring.sources import connected, source_rows

_CONFIGURATION = 78
_FORBIDDEN = 403


async def check(invocation: Invocation, names: Iterable[str], *, online: bool) -> dict[str, Any]:
    """Return what is wrong, all of it.

    `file` · `problems`: `file, line, message`; what a person must mend · `warnings`, likewise · `sources`: `name, kind,
    url, mode, types`, `forecast` (of a full cycle: `forecasts.as_json`, the `cycles_per_day` that its interval means,
    and all that as `text`; null before the first complete listing), and with `online` also `online`: by type null or
    the error; types after one for which the service could not be asked at all are left out; none where files are
    wrong · `declarations`: how many, null where files are wrong · `database`: `path, schema, expected` (schema null:
    there is none), null where it is not clear which, or it cannot be read · `exit_code`: 0, 78 where there are
    problems, else 75 or 1 where a service did not do as it should.
    """
    doing.set_up_log(invocation)
    file = invocation.file()
    found: dict[str, Any] = {"file": str(file), "warnings": [], "sources": [], "declarations": None, "database": None}
    try:
        files = read_files(file, invocation.clock)
    except ConfigError as error:
        return {**found, "problems": [_json(one) for one in error.problems], "exit_code": _CONFIGURATION}
    settings = files.draft.settings
    sources = chosen(settings, names)
    problems = list(_problems(files))
    if files.draft.has_database:
        found["database"], wrong = _database(settings, invocation.clock)
        problems += wrong
    ahead: dict[str, Forecast] = {}
    if not problems:
        configuration = Configuration(settings=settings, declared=files.declared)
        ahead = _ahead(configuration, invocation.clock)
        problems += forecasts.unkeepable(settings, ahead, sources)
    found["problems"] = [_json(one) for one in problems]
    found["warnings"] = [_json(one) for one in (*exposed_secrets(settings), *_ending(file, sources, invocation.clock))]
    code = 0
    if not files.problems:
        configuration = Configuration(settings=settings, declared=files.declared)
        found["sources"] = [_source(one, ahead.get(one.name)) for one in sources]
        found["declarations"] = len(files.declared.declarations)
        if online:
            code = await _try(found["sources"], sources, configuration, invocation.clock)
    return {**found, "exit_code": _CONFIGURATION if problems else code}


def _problems(files: Reading) -> Iterator[Problem]:
    """Yield what is wrong with the configuration, with the secrets that it names, and with the declarations."""
    secrets = missing_secrets(files.draft.settings, os.environ, credentials_directory())
    yield from sorted((*files.draft.problems, *secrets), key=lambda problem: problem.line or 0)
    yield from files.declaration_problems


def _json(problem: Problem) -> dict[str, Any]:
    return {"file": problem.file, "line": problem.line, "message": problem.message}


def _ending(file: Path, sources: Iterable[SourceSettings], clock: Clock) -> Iterator[Problem]:
    return (Problem(message=message, file=str(file)) for message in ending_services(sources, clock))


def _ahead(configuration: Configuration, clock: Clock) -> dict[str, Forecast]:
    try:
        with reading(configuration.settings.database.path, clock) as reader:
            return forecasts.cycles(configuration, reader, clock)
    except NotYetError:
        return {}


def _source(one: SourceSettings, ahead: Forecast | None) -> dict[str, Any]:
    return {
        "name": one.name,
        "kind": one.kind.name,
        "url": one.url,
        "mode": one.mode.value,
        "types": list(one.resources),
        "forecast": None if ahead is None else _forecast(one, ahead),
    }


def _forecast(one: SourceSettings, ahead: Forecast) -> dict[str, Any]:
    return {
        **forecasts.as_json(ahead, one),
        "cycles_per_day": round(cycles_per_day(ahead, one.interval_s), 1),
        "text": forecasts.text_of(ahead, one),
    }


def _database(settings: Settings, clock: Clock) -> tuple[dict[str, Any] | None, tuple[Problem, ...]]:
    """Return what there is of the database, and what is wrong with it, or with the sources that it knows."""
    path = settings.database.path
    found: dict[str, Any] = {"path": str(path), "schema": None, "expected": head()}
    try:
        with reading(path, clock, any_schema=True) as reader:
            found["schema"] = reader.revision()
            reader.check_schema()
            identities = dict(reader.rows("SELECT name, identity FROM source"))
    except NotYetError:
        return found, ()  # the first `sync` makes it
    except MirrorError as error:
        return found if found["schema"] else None, (Problem(message=str(error)),)
    clear = [one for one in settings.sources.values() if one.url and one.kind is not UNKNOWN_KIND]
    return found, tuple(moved(source_rows(clear), identities, file=str(settings.file)))


async def _try(
    shown: list[dict[str, Any]], sources: Sequence[SourceSettings], configuration: Configuration, clock: Clock
) -> int:
    """Read one page of each type of each source into `shown`; return the exit code."""
    codes: list[int] = []
    async with connected(sources, clock, configuration.settings.database.path) as parts:
        for one, settings in zip(shown, sources, strict=True):
            one["online"], code = await _read_pages(parts[settings.name].source, settings)
            codes.append(code)
    return worst(codes)


async def _read_pages(source: Source, settings: SourceSettings) -> tuple[dict[str, str | None], int]:
    """Return what became of the first page of each type, and the exit code."""
    found: dict[str, str | None] = {}
    codes: list[int] = []
    for number, type in enumerate(settings.resources):
        try:
            if number == 0:
                await source.introduce()
            _ = (await source.page(type, None)).ids
            found[type] = None
        except (SourceError, NotYetError, MirrorError) as error:
            found[type] = str(error)
            codes.append(error.exit_code)
            if isinstance(error, SourceError) and _is_final(error):
                break
    return found, worst(codes)


def _is_final(error: SourceError) -> bool:
    """Say whether the next type would end the same way: nobody answers, or nobody is signed in."""
    return isinstance(error, TransientError) or (isinstance(error, AuthError) and error.status != _FORBIDDEN)


async def sign_in(invocation: Invocation, names: Iterable[str]) -> None:
    """Have a person sign in for each of these sources (all, when there are none) that are signed in so.

    Raises:
        UsageError: none of them is.
        AuthError: refused, declined, or too late.
    """
    doing.set_up_log(invocation)
    settings = invocation.settings()
    sources = [one for one in chosen(settings, names) if one.auth.method == "device-code"]
    if not sources:
        raise UsageError("--sign-in: no source with the method device-code")
    state = settings.database.path.parent
    state.mkdir(parents=True, exist_ok=True)
    for one in sources:
        output.remark(f"source {one.name}:")
        await sign_in_with_device_code(identity_of(one), sign_in_file(one.name, state), output.remark)


def show(found: dict[str, Any]) -> None:
    """Print problems to standard error and the rest for people."""
    for one in found["problems"]:
        output.remark(_place(one))
    for one in found["warnings"]:
        output.remark(f"warning: {_place(one)}")
    for one in found["sources"]:
        output.line(
            (one["name"], "bold"), f": {one['kind']} at {one['url']}, mode {one['mode']}: ", ", ".join(one["types"])
        )
        if one["forecast"] is not None:
            per_day = one["forecast"]["cycles_per_day"]
            output.line(f"  a cycle: {one['forecast']['text']}; {per_day:g} a day")
        for type, error in one.get("online", {}).items():
            word = ("fine", "green") if error is None else (error, "red")
            output.line(f"  {type}: ", word)
    if found["declarations"] is not None:
        output.line(counted(found["declarations"], "declaration"))
    if found["database"] is not None:
        output.line(f"database {found['database']['path']}: ", *_schema(found["database"]))
    if found["exit_code"] == 0:
        output.line(("all is well", "green"))


def _schema(database: dict[str, Any]) -> Iterator[str]:
    yield f"schema {database['schema']}" if database["schema"] else "none yet"


def _place(problem: dict[str, Any]) -> str:
    return str(Problem(message=problem["message"], file=problem["file"], line=problem["line"]))
