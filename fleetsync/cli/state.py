"""How everything is: `status`."""

import datetime
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fleetsync.cli import output, usage
from fleetsync.cli.invocation import Invocation
from fleetsync.cli.warnings import disk_warnings, ending, ending_services, sqlite_warnings, wal_warnings
from fleetsync.clock import Clock
from fleetsync.config.settings import Settings, SourceSettings
from fleetsync.core.counts import COUNTS
from fleetsync.core.duration import lasting
from fleetsync.core.words import counted
from fleetsync.errors import Problem
from fleetsync.mirror.lock import is_locked, lock_file
from fleetsync.mirror.reader import Reader, reading
from fleetsync.mirror.wal import wal_bytes

_SOURCES = (
    "name, kind, url, mode, state, last_complete_at, next_due_at, known, drifting, error, fault, fault_since, probe_at"
)
_BY_FAULT = frozenset({"down", "refused", "throttled"})
"""States that say no more than what is wrong."""
_CYCLES = ", ".join(("id, source, started_at, finished_at, outcome, complete", *COUNTS, "error"))
_DOUBTED = (
    "listings WHERE id IN (SELECT MAX(id) FROM listings WHERE state IN ('complete', 'refused') GROUP BY source, type)"
    " AND agrees = 0 ORDER BY source, type"
)
_ALIKE = (
    'SELECT source, type, path, declaration, "by", COUNT(*), MIN(resource_id) FROM drift'
    ' WHERE state = ? AND "by" IS NOT NULL GROUP BY source, type, path, declaration, "by" ORDER BY 1, 2, 3'
)


def look(invocation: Invocation) -> dict[str, Any]:
    """Return how everything is.

    `at` · `process`: the `pid` of the process that has the database, null when none has, and whether it is a `daemon`
    that takes commands · `database`: `path, size_bytes, wal_bytes, sqlite` · `sources`, as in the view, and for each
    `age_s` (since the last complete listing), `waits_for` (words, or null), `rates`, `daily`, `live` (`usage.as_json`),
    `last_cycle` (as in the view `cycles`, or null) · `drift`: leaves by state · `held`: declarations that are held,
    `name, file, error` · `contradictions`: `source, type, path, declarations, files, resources` (how many), `example`
    (an id) · `contested`: the same with `by` (who) in place of `files` · `rejected`: the same again, where the service
    does not take what is declared · `doubted_listings`: the last listing of each
    type, where the service itself counts other than it lists, `id, source, type, state, shown, counted, error` ·
    `refused_configuration`: what the running daemon did not take over at its last reload, `at, file, line, message` ·
    `warnings`: words.

    Raises:
        NotYetError: there is no database yet.
        SchemaMismatchError: another version made it.
        MirrorError: it cannot be read.
    """
    settings, clock = invocation.settings(), invocation.clock
    path = settings.database.path
    process = _process(path)
    used = usage.used(invocation, settings, daemon=process["daemon"])
    with reading(path, clock) as reader:
        found = _looked(reader, settings, clock, used)
        refused = list(_rows(reader, "at, file, line, message", "reload")) if process["daemon"] else []
    return {
        "at": _text_of(clock.now()),
        "process": process,
        "database": {
            "path": str(path),
            "size_bytes": path.stat().st_size,
            "wal_bytes": wal_bytes(path),
            "sqlite": sqlite3.sqlite_version,
        },
        **found,
        "refused_configuration": refused,
        "warnings": [
            *wal_warnings(path),
            *disk_warnings(path),
            *sqlite_warnings(),
            *ending(settings, clock),
            *ending_services(settings.sources.values(), clock),
        ],
    }


def _looked(reader: Reader, settings: Settings, clock: Clock, used: usage.Used) -> dict[str, Any]:
    cycles = {
        row["source"]: row
        for row in _rows(reader, _CYCLES, "cycles WHERE id IN (SELECT MAX(id) FROM cycles GROUP BY source)")
    }
    rows = {row["name"]: row for row in _rows(reader, _SOURCES, "sources ORDER BY name")}
    rows |= {name: _never(one) for name, one in settings.sources.items() if name not in rows}
    return {
        "sources": [
            {**_source(row, cycles.get(name), clock.now()), **_rates(settings, name, used, clock)}
            for name, row in rows.items()
        ],
        "drift": dict(reader.rows("SELECT state, COUNT(*) FROM drift GROUP BY state ORDER BY state")),
        "held": list(_rows(reader, "name, file, error", "declarations WHERE error IS NOT NULL ORDER BY name")),
        "contradictions": [_dispute(row) for row in reader.rows(_ALIKE, ("conflict",))],
        "contested": [_contest(row) for row in reader.rows(_ALIKE, ("contested",))],
        "rejected": [_contest(row) for row in reader.rows(_ALIKE, ("pending",))],
        "doubted_listings": list(_rows(reader, "id, source, type, state, shown, counted, error", _DOUBTED)),
    }


def _never(source: SourceSettings) -> dict[str, Any]:
    """Return the row of a source that is configured and that no cycle has met yet."""
    row: dict[str, Any] = dict.fromkeys(_SOURCES.split(", "))
    known = {"name": source.name, "kind": source.kind.name, "url": source.url, "mode": source.mode.value}
    return row | known | {"state": "never", "known": 0, "drifting": 0}


def _rows(reader: Reader, columns: str, rest: str) -> Iterator[dict[str, Any]]:
    names = columns.split(", ")
    for row in reader.rows(f"SELECT {columns} FROM {rest}"):  # noqa: S608 - both are ours
        yield dict(zip(names, row, strict=True))


def _contest(row: Sequence[Any]) -> dict[str, Any]:
    source, type, path, declarations, by, resources, example = row
    return {
        "source": source,
        "type": type,
        "path": path,
        "declarations": declarations.split(", "),
        "by": by,
        "resources": resources,
        "example": example,
    }


def _dispute(row: Sequence[Any]) -> dict[str, Any]:
    shown = _contest(row)
    return {"files": shown.pop("by").split(" and "), **shown}


def _rates(settings: Settings, name: str, used: usage.Used, clock: Clock) -> dict[str, Any]:
    """Return what there is of a source's rates; of one that is not in the configuration nothing."""
    if name not in settings.sources:
        return {"rates": {}, "daily": None, "live": used.live}
    return usage.as_json(settings.sources[name], used, clock)


def _source(row: dict[str, Any], cycle: dict[str, Any] | None, now: datetime.datetime) -> dict[str, Any]:
    at = row["last_complete_at"]
    if cycle is not None:
        cycle = {**cycle, "complete": bool(cycle["complete"])}
    return {
        **row,
        "age_s": None if at is None else round((now - datetime.datetime.fromisoformat(at)).total_seconds(), 1),
        "waits_for": _waits_for(row),
        "last_cycle": cycle,
    }


def _waits_for(row: dict[str, Any]) -> str | None:
    match row["state"]:
        case "paused":
            return f"`fleetsync resume {row['name']}`"
        case "refused":
            return "a person: see the error"
        case "throttled":
            return "the service to take requests again"
        case "down":
            return "the service to answer again" if row["fault"] else "its next cycle: see the error"
        case "never":
            return "its first complete listing"
        case _:
            return None


def _process(database: Path) -> dict[str, Any]:
    pid = holder(database)
    return {"pid": pid, "daemon": pid is not None and _listens(database)}


def _listens(database: Path) -> bool:
    from fleetsync.daemon.control import socket_file
    from fleetsync.daemon.sockets import is_listening

    return is_listening(socket_file(database))


def holder(database: Path) -> int | None:
    """Return the process that has the database now; None when none has, 0 where it does not say."""
    if not is_locked(database):
        return None
    text = lock_file(database).read_text(encoding="ascii").strip()
    return int(text) if text.isdecimal() else 0


def _text_of(at: datetime.datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show(found: dict[str, Any]) -> None:
    """Print it for people."""
    running = _running(found["process"])
    database = found["database"]
    output.line(
        f"database {database['path']}, {database['size_bytes'] // 1024} KiB, SQLite {database['sqlite']}; {running}"
    )
    at = datetime.datetime.fromisoformat(found["at"])
    columns = ("source", "state", "mode", "listed", "next", "known", "drifting", "last cycle")
    output.table(columns, (_row(one, at) for one in found["sources"]))
    for one in found["sources"]:
        for text in _texts(one, at):
            output.line((f"{one['name']}: ", "bold"), text)
    if found["drift"]:
        output.line("drift: ", ", ".join(f"{count} {state}" for state, count in found["drift"].items()))
    for one in found["held"]:
        output.line(f"declaration {one['name']} ({one['file']}) is ", ("held", "yellow"), f": {one['error']}")
    _show_disputes(found)
    for one in found["doubted_listings"]:
        where = f"{one['source']} {one['type']}"
        numbers = f"listing {one['id']} shows {one['shown']}, and the service itself counts {one['counted']}"
        output.line(("doubtful: ", "yellow"), f"{where}: {numbers}")
    for one in found["refused_configuration"]:
        problem = Problem(message=one["message"], file=one["file"], line=one["line"])
        output.line(("refused: ", "red"), f"{problem}; the configuration before {one['at']} runs on")
    for warning in found["warnings"]:
        output.line(("warning: ", "yellow"), warning)


def _show_disputes(found: dict[str, Any]) -> None:
    """Print what declarations, somebody else or the service have against what is declared."""
    for one in found["contradictions"]:
        where = f"{one['source']} {one['type']} {one['path']}"
        disagree = " and ".join(one["declarations"])
        files = " and ".join(one["files"])
        output.line(
            ("contradiction: ", "red"), f"{where}: {disagree} ({files}), {counted(one['resources'], 'resource')}"
        )
    for word in ("contested", "rejected"):
        for one in found[word]:
            where = f"{one['source']} {one['type']} {one['path']}"
            whose = f"{', '.join(one['declarations'])}: {one['by']}; {counted(one['resources'], 'resource')}"
            output.line((f"{word}: ", "yellow"), f"{where}: {whose}, such as {one['example']!r}")


def _texts(one: dict[str, Any], at: datetime.datetime) -> Iterator[str]:
    """Yield what a person wants to know of a source besides its row."""
    yield from usage.texts(one, at)
    if one["fault"]:
        yield _fault_text(one, at)
    elif one["error"]:
        yield one["error"]
    if one["waits_for"] and not (one["fault"] and one["state"] in _BY_FAULT):
        yield f"waits for {one['waits_for']}"


def _fault_text(one: dict[str, Any], at: datetime.datetime) -> str:
    """Say once what is wrong with a source, since when, why, and what comes next."""
    since = datetime.datetime.fromisoformat(one["fault_since"])
    age = lasting(max(0.0, (at - since).total_seconds()))
    parts = [f"{one['fault']} fault for {age}, since {one['fault_since']}: {one['error']}"]
    if one["probe_at"] and datetime.datetime.fromisoformat(one["probe_at"]) > at:
        parts.append(f"it is asked again at {one['probe_at']}, nothing is sent before")
    if one["state"] == "refused":
        parts.append("a person has to act")
    return "; ".join(parts)


def _running(process: dict[str, Any]) -> str:
    if process["pid"] is None:
        return "the daemon does not run"
    who = "the daemon is" if process["daemon"] else "in use by"
    return f"{who} process {process['pid'] or 'unknown'}"


def _row(one: dict[str, Any], now: datetime.datetime) -> tuple[object, ...]:
    age = "never" if one["age_s"] is None else f"{lasting(one['age_s'])} ago"
    cycle = one["last_cycle"]
    done = (
        "none"
        if cycle is None
        else ", ".join(
            f"{cycle[name]} {name}"
            for name in ("listed", "added", "updated", "gone", "applied", "failed")
            if cycle[name]
        )
        or cycle["outcome"]
    )
    return (
        one["name"],
        one["state"],
        one["mode"],
        age,
        _due(one["next_due_at"], now),
        one["known"],
        one["drifting"],
        done,
    )


def _due(at: str | None, now: datetime.datetime) -> str:
    if at is None:
        return ""
    left_s = (datetime.datetime.fromisoformat(at) - now).total_seconds()
    return f"in {lasting(left_s)}" if left_s > 0 else "due"
