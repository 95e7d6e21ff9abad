"""What happened to one resource: its events and the writes to it."""

import json
from typing import Any

from fleetsync.cli import output
from fleetsync.cli.nearest import unknown
from fleetsync.mirror.reader import Reader

_EVENTS = (
    "SELECT e.id, e.at, e.cycle, e.event, e.patch, e.reason FROM event e JOIN resource_name n ON n.no = e.no"
    " WHERE n.source = ? AND n.type = ? AND n.id = ?"
)
_WRITES = (
    "SELECT id, started_at, finished_at, cycle, outcome, attempt, guard, etag, patch, declarations, plan, status,"
    " request_id, error FROM writes WHERE source = ? AND type = ? AND resource_id = ?"
)
_WRITE_KEYS = (
    "id", "at", "finished_at", "cycle", "outcome", "attempt", "guard", "etag", "patch", "declarations", "plan",
    "status", "request_id", "error",
)  # fmt: skip


def history(reader: Reader, source: str, type: str, id: str) -> dict[str, Any]:
    """Return what happened to a resource, newest first.

    `source`, `type`, `id` · `entries`: each with `at` and `what`. `what` is "event": `id, cycle, event, patch, reason`;
    or "write": `id, cycle, outcome, attempt, guard, etag, patch, declarations, plan, status, request_id, error,
    finished_at`. They are the columns of the views `history` and `writes`; `patch` is JSON, `declarations` a list,
    `reason` what says that it is gone.

    Raises:
        NotFoundError: there is no such resource, and there never was.
    """
    key = (source, type, id)
    events = [_event(row) for row in reader.rows(_EVENTS, key)]
    writes = [_write(row) for row in reader.rows(_WRITES, key)]
    if not events and not writes and not list(reader.rows(_KNOWN, key)):
        raise unknown(reader, source, type, id)
    entries = sorted(events + writes, key=lambda entry: (entry["at"], entry["what"], entry["id"]), reverse=True)
    return {"source": source, "type": type, "id": id, "entries": entries}


_KNOWN = "SELECT 1 FROM resources WHERE source = ? AND type = ? AND id = ?"


def _event(row: tuple[Any, ...]) -> dict[str, Any]:
    number, at, cycle, event, patch, reason = row
    shown = {"what": "event", "id": number, "at": at, "cycle": cycle, "event": event}
    return {**shown, "patch": _json(patch), "reason": reason}


def _write(row: tuple[Any, ...]) -> dict[str, Any]:
    write = dict(zip(_WRITE_KEYS, row, strict=True))
    names = [name for name in str(write["declarations"]).split(", ") if name]
    return {"what": "write", **write, "patch": _json(write["patch"]), "declarations": names}


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def show(found: dict[str, Any]) -> None:
    """Print the entries, a line each."""
    for entry in found["entries"]:
        patch = "" if entry["patch"] is None else f"  {output.json_text(entry['patch'])}"
        if entry["what"] == "event":
            reason = "" if entry["reason"] is None else f"  {entry['reason']}"
            output.line(entry["at"], "  ", (entry["event"], "bold"), patch, reason)
        else:
            output.line(
                entry["at"], "  write ", (entry["outcome"], "bold"), f" under {entry['guard']}", patch, _rest(entry)
            )


def _rest(write: dict[str, Any]) -> str:
    by = f"  ({', '.join(write['declarations'])})"
    return by if write["error"] is None else f"{by}  {write['error']}"
