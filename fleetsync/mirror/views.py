"""The views: the contract with everybody who reads the database.

The views of the resource types are generated from what the providers say of their types, so that a new service
brings its views along. Both SQLite and PostgreSQL understand the SQL.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from fleetsync.core.counts import COUNTS
from fleetsync.core.kind import Column, ColumnType, Kind
from fleetsync.core.model import DEVICE, ResourceType

_OBSERVED = (
    "CASE WHEN r.gone_at IS NULL AND r.missed_since IS NULL AND c.observed_by > r.seen_by"
    " THEN c.{column} ELSE r.{own} END AS {column}"
)
OBSERVED = (
    _OBSERVED.format(column="observed_at", own="seen_at"),
    _OBSERVED.format(column="observed_by", own="seen_by"),
)
_FROM = (
    "FROM resource r JOIN source s ON s.name = r.source AND s.configured"
    " LEFT JOIN coverage c ON c.source = r.source AND c.type = r.type"
)

_DEVICES = (
    "r.source",
    "s.kind",
    "r.id",
    "r.display_name",
    "r.enabled",
    "r.provisioned",
    "r.simulated",
    "r.template",
    "r.group_id",
    "r.status",
    "r.connection_state",
    "r.last_activity_at",
    "r.version",
    "r.etag",
    "r.size_bytes",
    "r.document",
    "r.document -> 'tags' AS tags",
    "COALESCE(r.desired, r.document -> 'properties' -> 'desired') AS desired_properties",
    "COALESCE(r.reported, r.document -> 'properties' -> 'reported') AS reported_properties",
    "r.first_seen_at",
    "r.changed_at",
    *OBSERVED,
)

_RESOURCES = (
    "r.source",
    "s.kind",
    "r.type",
    "r.id",
    "r.document",
    "r.etag",
    "r.first_seen_at",
    "r.changed_at",
    *OBSERVED,
    "r.gone_at",
    "r.gone_reason",
)

_SELECTED = "FROM selection x JOIN source s ON s.name = x.source AND s.configured WHERE x.declaration = d.name"

_FIXED = {
    "resources": f"SELECT {', '.join(_RESOURCES)} {_FROM}",
    "history": (
        "SELECT e.id, n.source, n.type, n.id AS resource_id, e.at, e.cycle, e.event, e.patch"
        " FROM event e JOIN resource_name n ON n.no = e.no JOIN source s ON s.name = n.source AND s.configured"
    ),
    "listings": (
        "SELECT l.id, l.source, l.type, l.cycle, l.started_at, l.finished_at, l.state,"
        " CASE WHEN l.ended THEN 'no next link' WHEN l.state <> 'open' OR l.error IS NOT NULL THEN 'cut short' END"
        " AS ending, l.pages, l.first_page, l.last_page, l.chain, l.resumed_from, l.cut_by, l.listed, l.shown,"
        " l.unreadable, l.unseen, l.counted, l.agrees, l.error"
        " FROM listing l JOIN source s ON s.name = l.source AND s.configured"
    ),
    "drift": (
        'SELECT d.source, d.type, d.resource_id, d.path, d.actual, d.declared, d.declaration, d.state, d."by", d.since'
        " FROM drift_leaf d JOIN source s ON s.name = d.source AND s.configured"
    ),
    "writes": (
        "SELECT w.id, w.source, w.type, w.resource_id, w.cycle, w.plan, w.declarations, w.guard, w.etag, w.patch,"
        " w.attempt, w.status, w.outcome, w.request_id, w.started_at, w.finished_at, w.error"
        " FROM write w JOIN source s ON s.name = w.source AND s.configured"
    ),
    "cycles": (
        "SELECT y.id, y.source, y.started_at, y.finished_at, y.outcome, y.complete,"
        f" {', '.join(f'y.{name}' for name in COUNTS)}, y.error"
        " FROM cycle y JOIN source s ON s.name = y.source AND s.configured"
    ),
    "sources": (
        "SELECT s.name, s.kind, s.url, s.mode,"
        " CASE WHEN s.paused THEN 'paused'"
        " WHEN s.last_complete_at IS NULL AND s.state = 'up' THEN 'never' ELSE s.state END AS state,"
        " s.last_complete_at, s.next_due_at, s.known, s.drifting, s.error,"
        " s.fault, s.fault_since, s.probe_at FROM source s WHERE s.configured"
    ),
    "declarations": (
        "SELECT d.name, d.file, d.type, d.selector, d.priority,"
        f" (SELECT COALESCE(SUM(x.matched), 0) {_SELECTED}) AS matched,"
        f" (SELECT COALESCE(SUM(x.drifting), 0) {_SELECTED}) AS drifting,"
        f" (SELECT MIN(x.error) {_SELECTED}) AS error"
        " FROM declaration d"
    ),
}


class _TypeView(Struct):
    type: ResourceType
    columns: dict[str, dict[str, Column]] = field(default_factory=dict)
    """By column, then by kind."""


def views(kinds: Iterable[Kind]) -> dict[str, str]:
    """Return the SELECT of every view by its name, for all types of these kinds."""
    found: dict[str, _TypeView] = {}
    for kind in kinds:
        for spec in kind.types:
            view = found.setdefault(spec.view, _TypeView(spec.type))
            for name, column in spec.columns.items():
                view.columns.setdefault(name, {})[kind.name] = column
    return {name: _select(view) for name, view in found.items()} | _FIXED


def view_of(kinds: Iterable[Kind]) -> Mapping[ResourceType, str]:
    """Return which view shows which type."""
    return {spec.type: spec.view for kind in kinds for spec in kind.types}


def numbered(select: str) -> str:
    """Return the SELECT of a type's view with one more column, the first: `no`, the row's number."""
    return select.replace("SELECT ", "SELECT r.no, ", 1)


def _select(view: _TypeView) -> str:
    where = f"WHERE r.type = '{view.type}' AND r.gone_at IS NULL"
    if view.type == DEVICE:
        return f"SELECT {', '.join(_DEVICES)} {_FROM} {where}"
    where += " AND r.type <> 'device'"  # in the words of the index `resource_of_type`
    own = (f"{_expression(by_kind)} AS {name}" for name, by_kind in view.columns.items())
    columns = ("r.source", "r.id", "r.display_name", "r.etag", "r.document", *own)
    rest = ("r.first_seen_at", "r.changed_at", *OBSERVED)
    return f"SELECT {', '.join((*columns, *rest))} {_FROM} {where}"


def _expression(by_kind: Mapping[str, Column]) -> str:
    expressions = {kind: _member(column) for kind, column in by_kind.items()}
    if len(set(expressions.values())) == 1:
        return next(iter(expressions.values()))
    cases = " ".join(f"WHEN '{kind}' THEN {expression}" for kind, expression in expressions.items())
    return f"CASE s.kind {cases} END"


def _member(column: Column) -> str:
    *above, last = column.path
    found = "r.document" + "".join(_step("->", key) for key in above)
    if column.names:
        value = f"CAST({found}{_step('->>', last)} AS text)"
        cases = " ".join(f"WHEN '{number}' THEN '{name}'" for number, name in column.names.items())
        return f"CASE {value} {cases} ELSE {value} END"
    match column.type:
        case ColumnType.JSON:
            return found + _step("->", last)
        case ColumnType.BOOLEAN:
            return f"CAST({found}{_step('->>', last)} AS boolean)"
        case ColumnType.INTEGER:
            return f"CAST({found}{_step('->>', last)} AS bigint)"
        case _:
            return found + _step("->>", last)


def _step(arrow: str, key: str) -> str:
    return f" {arrow} '{key}'"
