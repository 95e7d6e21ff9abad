"""One resource against the declarations, field by field."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fleetsync.cli import doing, output
from fleetsync.cli.invocation import Invocation, chosen
from fleetsync.cli.nearest import unknown
from fleetsync.config.settings import SourceSettings
from fleetsync.config.wording import suggestion
from fleetsync.core.declaration import (
    ABSENT,
    UNKNOWN,
    Contradiction,
    Declaration,
    Missing,
    Wanted,
    Wish,
    in_force,
    merge,
)
from fleetsync.core.kind import TypeSpec
from fleetsync.core.merge_patch import Json
from fleetsync.core.model import Part, ResourceType
from fleetsync.core.path import Path, overlap, render
from fleetsync.core.plan import Leaf, actual_at
from fleetsync.errors import UsageError
from fleetsync.mirror.reader import reading
from fleetsync.mirror.selection import Row, Selection
from fleetsync.mirror.views import view_of
from fleetsync.providers.base import Target, all_kinds
from fleetsync.reconcile.planning import declarable, held_by, known_parts
from fleetsync.wiring.configuration import longest_ages_s, read_configuration
from fleetsync.wiring.sources import unconnected

_DRIFT = 'SELECT path, state, "by", since FROM drift WHERE source = ? AND type = ? AND resource_id = ?'


def explain(invocation: Invocation, source: str, type: str, id: str) -> dict[str, Any]:
    """Return what is declared of a resource and why.

    `source`, `type`, `id` · `declarations`: those that may select it: `name, file, line, priority, selects` (true or
    false), `error` (what holds it) · `fields`, by path: `path`; `actual` and `declared`, left out where there is no
    value; `unknown` (not read yet); `unset` (declared not to be there); `met`; `declarations` (who won, nobody where
    they contradict each other) with their `priority`; `disputed` (those that do) and `overruled`: `declaration, file,
    line, priority, path, declared` or `unset`; `state`, `by` and `since` of the view `drift`, null where it has
    nothing; `guard`, what a write would carry; `held`, why it would not be sent · `contradictions`, in words.

    Raises:
        UsageError: there is no such source or type.
        NotFoundError: there is no such resource now; if there was, it says since when it is gone, and why.
    """
    doing.set_up_log(invocation)
    clock = invocation.clock
    configuration = read_configuration(invocation.file(), clock)
    settings = configuration.settings
    [one] = chosen(settings, [source])
    spec = _spec(one, type)
    declarations = in_force(configuration.declared.declarations, source, spec.type)
    with reading(settings.database.path, clock) as reader:
        selection = Selection(reader, view_of(all_kinds().values()))
        row = selection.find(source, spec.type, id)
        if row is None:
            raise unknown(reader, source, type, id)
        ages_s = selection.ages_s(clock.now())
        looks = [
            _look(selection, each, source, row, selection.stale(each, ages_s, longest_ages_s(settings)))
            for each in declarations
        ]
        drift = {path: rest for path, *rest in reader.rows(_DRIFT, (source, type, id))}
    selecting = [each for each, look in zip(declarations, looks, strict=True) if look["selects"]]
    wish = merge(selecting)
    return {
        "source": source,
        "type": type,
        "id": id,
        "declarations": looks,
        "fields": _Fields(one, spec, row, selecting, drift).of(wish),
        "contradictions": [str(contradiction) for contradiction in wish.contradictions],
    }


def _spec(settings: SourceSettings, type: str) -> TypeSpec:
    spec = settings.kind.specs.get(ResourceType(type))
    if spec is None:
        near = suggestion(type, settings.kind.specs) or f": there is {', '.join(settings.kind.specs)}"
        raise UsageError(f"{settings.kind.name} has no type {type!r}{near}")
    return spec


def _look(selection: Selection, declaration: Declaration, source: str, row: Row, stale: str | None) -> dict[str, Any]:
    selects, held = selection.selects(source, declaration, row)
    error = stale or held
    return {
        "name": declaration.name,
        "file": declaration.file,
        "line": declaration.line,
        "priority": declaration.priority,
        "selects": error is None and selects,
        "error": error,
    }


class _Fields:
    """The declared fields of one resource."""

    def __init__(
        self,
        settings: SourceSettings,
        spec: TypeSpec,
        row: Row,
        selecting: Sequence[Declaration],
        drift: Mapping[str, Sequence[Any]],
    ) -> None:
        self._settings = settings
        self._spec = spec
        self._row = row
        self._source = unconnected(settings)
        self._document = declarable(self._source, spec, row)
        self._selecting = {declaration.name: declaration for declaration in selecting}
        self._drift = drift

    def of(self, wish: Wish) -> list[dict[str, Any]]:
        """Return the fields of a wish, by path."""
        return [self._field(wanted, wish.contradictions) for wanted in wish.leaves]

    def _field(self, wanted: Wanted, contradictions: Iterable[Contradiction]) -> dict[str, Any]:
        path = wanted.path
        writable = self._spec.writable_at(path)
        part = writable.part if writable is not None else Part("")
        is_known = self._spec.is_known(part, path, self._document, known_parts(self._row))
        actual = actual_at(self._document, path) if is_known else UNKNOWN
        disputed = [name for one in contradictions if overlap(one.path, path) for name in one.declarations]
        winners = () if disputed else wanted.declarations
        folds = writable is not None and writable.folds
        leaf = Leaf(path=path, actual=actual, declared=wanted.value, declarations=winners, folds=folds)
        state, by, since = self._drift.get(render(path), (None, None, None))
        return {
            "path": render(path),
            **_value("actual", actual),
            **({} if disputed else _value("declared", wanted.value)),
            "met": not disputed and leaf.is_met,
            "declarations": list(winners),
            "priority": self._selecting[wanted.declarations[0]].priority,
            "disputed": [one for one in self._claims(path) if one["declaration"] in disputed],
            "overruled": [one for one in self._claims(path) if one["declaration"] not in {*disputed, *winners}],
            "state": state,
            "by": by,
            "since": since,
            **self._guard(part),
        }

    def _claims(self, path: Path) -> Iterable[dict[str, Any]]:
        """Yield what each declaration wants at a place, or above or below it."""
        for name, declaration in self._selecting.items():
            for other, value in declaration.leaves.items():
                if overlap(other, path):
                    yield {
                        "declaration": name,
                        "file": declaration.file,
                        "line": declaration.line,
                        "priority": declaration.priority,
                        "path": render(other),
                        **_value("declared", value),
                    }

    def _guard(self, part: Part) -> dict[str, Any]:
        guard = self._source.guard(part, self._row.resource) if isinstance(self._source, Target) else None
        return {"guard": guard.kind.value if guard else None, "held": held_by(guard, self._settings)}


def _value(key: str, value: Json | Missing) -> dict[str, Any]:
    """Return a value under its key, or what stands there instead."""
    if value is ABSENT:
        return {"unset": True} if key == "declared" else {}
    return {"unknown": True} if value is UNKNOWN else {key: value}


def show(found: dict[str, Any]) -> None:
    """Print it for people."""
    output.line((f"{found['source']} {found['type']} {found['id']!r}", "bold"))
    for field in found["fields"]:
        _show_field(field)
    if not found["fields"]:
        output.line("  nothing of it is declared")
    for text in found["contradictions"]:
        output.line(("  contradiction: ", "red"), text)
    for one in found["declarations"]:
        word = f"held: {one['error']}" if one["error"] else "selects it" if one["selects"] else "does not select it"
        output.line(f"  declaration {one['name']} ({one['file']}:{one['line']}, priority {one['priority']}) ", word)


def _show_field(field: dict[str, Any]) -> None:
    output.line(f"  {field['path']}: ", *_state(field))
    output.line("    actual    ", "unknown, not read yet" if "unknown" in field else _text(field, "actual"))
    if not field["disputed"]:
        who = f"  {', '.join(field['declarations'])}, priority {field['priority']}"
        output.line("    declared  ", _text(field, "declared"), who)
    for word in ("disputed", "overruled"):
        for other in field[word]:
            where = f"{other['declaration']} ({other['file']}:{other['line']}), priority {other['priority']}"
            at = "" if other["path"] == field["path"] else f" at {other['path']}"
            output.line(f"    {word:10}", _text(other, "declared"), f"{at}  {where}")
    if not field["met"]:
        output.line(
            "    guard     ", f"{field['guard'] or 'none'}{'; held: ' + field['held'] if field['held'] else ''}"
        )


def _state(field: dict[str, Any]) -> Iterable[output.Styled]:
    if field["disputed"]:
        yield ("contradiction, nothing of this resource is written", "red")
        return
    yield ("as declared", "green") if field["met"] else (field["state"] or "found just now", "yellow")
    if field["by"]:
        yield f" ({field['by']})"


def _text(field: dict[str, Any], key: str) -> str:
    return output.json_text(field[key]) if key in field else "absent"
