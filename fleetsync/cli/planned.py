"""Plans: made from the mirror alone, shown, and saved for a review."""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from msgspec import Struct, field

from fleetsync.cli import doing, forecasts, output, usage
from fleetsync.cli.invocation import Invocation, chosen
from fleetsync.config.settings import Mode, SourceSettings
from fleetsync.core.declaration import ABSENT, UNKNOWN
from fleetsync.core.forecast import Forecast
from fleetsync.core.merge_patch import Json
from fleetsync.core.path import render
from fleetsync.core.plan import Change, Drift, DriftState, Leaf, Plan
from fleetsync.core.words import counted
from fleetsync.errors import FleetsyncError, NotYetError
from fleetsync.mirror.reader import reading
from fleetsync.mirror.selection import Selection
from fleetsync.mirror.views import view_of
from fleetsync.providers.base import all_kinds
from fleetsync.reconcile.planning import Planner
from fleetsync.reconcile.reviewed import HeldDeclaration, as_json
from fleetsync.wiring.configuration import longest_ages_s, read_configuration
from fleetsync.wiring.sources import unconnected

_CHANGES_WAIT = 3
_FILE_MODE = 0o640
_MOST_BLOCKS = 5
_MOST_NAMED = 3


class Planned(Struct, frozen=True, kw_only=True):
    """A plan, the settings of its source, the declarations that are held in it, and what `apply` takes.

    `ahead` forecasts the writes, `before` the listing and the reading that come before them; `holds` says what may not
    be sent at first.
    """

    plan: Plan
    settings: SourceSettings
    held: tuple[HeldDeclaration, ...]
    ahead: Forecast
    before: Forecast
    holds: tuple[str, ...]


class Plans(Struct, frozen=True, kw_only=True):
    """The plans that could be made, and why those of other sources could not, by name."""

    made: tuple[Planned, ...]
    unplanned: Mapping[str, NotYetError]


def make(invocation: Invocation, names: Iterable[str]) -> Plans:
    """Return the plans of these sources (all, when there are none), from the mirror alone.

    Raises:
        NotYetError: there is no database.
        SchemaMismatchError: the database was made by another version.
    """
    doing.set_up_log(invocation)
    clock = invocation.clock
    configuration = read_configuration(invocation.file(), clock)
    settings, declarations = configuration.settings, configuration.declared.declarations
    sources = chosen(settings, names)
    used = usage.used(invocation, settings, daemon=False)
    files = {one.name: one.file for one in declarations}
    with reading(settings.database.path, clock) as reader:
        selection = Selection(reader, view_of(all_kinds().values()))
        ages_s = selection.ages_s(clock.now())
        unplanned = {one.name: _never_listed(one) for one in sources if ages_s.get(one.name) is None}
        found: list[Planned] = []
        for one in sources:
            if one.name in unplanned:
                continue
            longest_s = longest_ages_s(settings)
            planner = Planner(unconnected(one), one, declarations, at=clock.now(), ages_s=ages_s, longest_s=longest_s)
            planned = planner.plan(selection, asked=True)
            stocks = forecasts.stocks_of(reader, one)
            held = tuple(
                HeldDeclaration(name=each.declaration, file=files[each.declaration], error=each.error)
                for each in planned.selected
                if each.error
            )
            found.append(
                Planned(
                    plan=planned.plan,
                    settings=one,
                    held=held,
                    ahead=forecasts.writing(one, planned.plan, stocks),
                    before=forecasts.listing(one, stocks, forecasts.details(one, planner, selection, stocks)),
                    holds=tuple(usage.holds(usage.as_json(one, used, clock), clock.now())),
                )
            )
    return Plans(made=tuple(found), unplanned=unplanned)


def _never_listed(source: SourceSettings) -> NotYetError:
    return NotYetError(f"source {source.name} was never listed completely: run `fleetsync sync {source.name}` first")


def save(plans: Plans, file: Path) -> None:
    """Write the plans to a file, all or nothing, for its owner and group only.

    Raises:
        FleetsyncError: it cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=file.absolute().parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as new:
                new.writelines(_pieces(plans))
                new.flush()
                os.fsync(new.fileno())
            temporary = Path(name)
            temporary.chmod(_FILE_MODE)
            temporary.replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise FleetsyncError(f"plan {file}: {error.strerror}") from error


def print_as_json(plans: Plans) -> None:
    """Print what `--out` writes, byte for byte.

    That is `reconcile.reviewed.as_json`, with a `forecast` of the writes for each source (`forecasts.as_json`), and in
    it one of what comes before, `listing`; and in `unplanned` each `source` that has no plan, and the `error`.
    """
    sys.stdout.writelines(_pieces(plans))


def _pieces(plans: Plans) -> Iterator[str]:
    found = as_json((one.plan, one.held) for one in plans.made)
    found["unplanned"] = [{"source": name, "error": str(error)} for name, error in plans.unplanned.items()]
    for shown, one in zip(found["sources"], plans.made, strict=True):
        before = forecasts.as_json(one.before, one.settings)
        shown["forecast"] = {**forecasts.as_json(one.ahead, one.settings), "listing": before}
    yield from output.json_pieces(found)
    yield "\n"


def show(plans: Plans) -> None:
    """Print each change with its guard and its values, what is held and why, and a summary."""
    for planned in plans.made:
        for change in planned.plan.changes:
            _show_change(change)
        _show_left(planned.plan)
        for held in planned.held:
            output.line(f"declaration {held.name} ({held.file}) is ", ("held", "yellow"), f": {held.error}")
        _summarize(planned)


def _left(plan: Plan) -> Iterator[Drift]:
    """Yield the drift that no change of the plan mends."""
    return (one for one in plan.drift if one.state is not DriftState.PENDING)


class _Alike(Struct):
    """Values that one reason keeps from being written: how many, the first, ids to name, and what some of them are."""

    first: Drift
    size: int = 0
    ids: list[str] = field(default_factory=list)
    values: set[str] = field(default_factory=set)

    def add(self, drift: Drift) -> None:
        """Take one more."""
        self.size += 1
        if len(self.ids) < _MOST_NAMED:
            self.ids.append(drift.key.id)
        if len(self.values) < 2:
            self.values.add(value_text(drift.leaf.actual))


def _show_left(plan: Plan) -> None:
    """Print what is not written, by resource; where one reason keeps many from it, once for all of them."""
    alike: dict[tuple[str, ...], _Alike] = {}
    for one in _left(plan):
        alike.setdefault(_kept_by(one), _Alike(one)).add(one)
    few = (one for one in _left(plan) if alike[_kept_by(one)].size <= _MOST_BLOCKS)
    for key, group in groupby(few, key=lambda one: one.key):
        output.line((str(key), "bold"), ("  not written", "yellow"))
        for one in group:
            _show_leaf(one.leaf, reason=_reason(one))
    for some in alike.values():
        if some.size > _MOST_BLOCKS:
            _show_many(some)


def _kept_by(drift: Drift) -> tuple[str, ...]:
    leaf = drift.leaf
    return (drift.key.type, render(leaf.path), value_text(leaf.declared), *leaf.declarations, _reason(drift))


def _show_many(some: _Alike) -> None:
    key = some.first.key
    title = f"{key.source} {counted(some.size, key.type)}"
    output.line((title, "bold"), ("  not written", "yellow"), f": {', '.join(map(repr, some.ids))}, …")
    actual = some.values.pop() if len(some.values) == 1 else "several values"
    _show_leaf(some.first.leaf, reason=_reason(some.first), actual=actual)


def _show_change(change: Change) -> None:
    guard = change.guard
    also = ", reread" if guard.reread else ""
    output.line((str(change.key), "bold"), f"  {change.part}, guard ", (f"{guard.kind.value}{also}", "cyan"))
    for leaf in change.leaves:
        _show_leaf(leaf)


def _show_leaf(leaf: Leaf, *, reason: str | None = None, actual: str | None = None) -> None:
    by = f"  ({', '.join(leaf.declarations)})"
    output.line(
        f"    {render(leaf.path)}: ",
        (actual or value_text(leaf.actual), "red"),
        " -> ",
        (value_text(leaf.declared), "green"),
        by,
        (f"  {reason}" if reason else "", "yellow"),
    )


def _reason(drift: Drift) -> str:
    match drift.state:
        case DriftState.UNKNOWN:
            return "not read yet: the next cycle reads it"
        case DriftState.CONFLICT:
            return f"contradiction: {drift.by}"
        case state:
            return f"{state.value}: {drift.by}" if drift.by else state.value


def value_text(value: Json | object) -> str:
    """Return a declared or an actual value as JSON, or the word for what stands there instead."""
    if value is ABSENT:
        return "absent"
    return "unknown" if value is UNKNOWN else output.json_text(value)


def _summarize(planned: Planned) -> None:
    plan, settings = planned.plan, planned.settings
    left = sum(1 for _ in _left(plan))
    parts = [
        f"{counted(len(plan.changes), 'change')} on {counted(plan.known, 'known resource')}",
        f"{counted(left, 'value')} not written",
    ]
    if plan.unread:
        parts.append(f"{counted(plan.unread, 'resource')} not read yet")
    if planned.ahead.total:
        parts.append(forecasts.text_of(planned.ahead, settings))
        parts.append(f"before that, to list, {forecasts.text_of(planned.before, settings)}")
    if settings.mode is Mode.OBSERVE and plan.changes:
        parts.append('mode "observe": apply writes nothing here')
    output.line((settings.name, "bold"), f": {'; '.join(parts)}")
    for text in planned.holds if planned.ahead.total else ():
        output.line((settings.name, "bold"), f": {text}")


def complain(plans: Plans) -> int:
    """Name the files of declarations that contradict each other, and what could not be planned; return the exit code.

    The worst comes first: 1, then 75.
    """
    contradictions = sorted({reason for planned in plans.made for _, reason in planned.plan.contradictions})
    for reason in contradictions:
        output.complain(f"{reason}: give one of them a higher priority")
    for error in plans.unplanned.values():
        output.complain(str(error))
    if contradictions:
        return FleetsyncError.exit_code
    return NotYetError.exit_code if plans.unplanned else 0


def exit_code_of(plans: Plans, code: int) -> int:
    """Return what `plan --exit-code` ends with, where it ends with `code` without.

    That is 1 where a declaration is held, and what it wants is not known.
    """
    if any(one.held for one in plans.made):
        return FleetsyncError.exit_code
    return code or (0 if all(one.plan.is_empty for one in plans.made) else _CHANGES_WAIT)
