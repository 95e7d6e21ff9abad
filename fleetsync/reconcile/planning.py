"""Planning: the mirror against the declarations. No request is sent, nothing is written; it blocks, so use a thread."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from fleetsync.config.declarations import basis
from fleetsync.config.settings import SourceSettings, WeakestGuard
from fleetsync.core.bitmap import Bitmap
from fleetsync.core.declaration import UNKNOWN, Declaration, Wish, in_force, merge
from fleetsync.core.kind import TypeSpec
from fleetsync.core.model import Part, ResourceKey
from fleetsync.core.path import Path, overlap
from fleetsync.core.plan import Change, Drift, DriftState, Guard, GuardKind, Leaf, Plan, actual_at, compare, dropped
from fleetsync.mirror.selection import Row, Selection
from fleetsync.mirror.wishes import Selected
from fleetsync.providers.base import Source, Target
from fleetsync.reconcile.details import WantedDetail


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, and what each declaration selects on the way to it."""

    plan: Plan
    selected: tuple[Selected, ...]


class Planner:
    """Plans one source."""

    def __init__(
        self,
        source: Source,
        settings: SourceSettings,
        declarations: Sequence[Declaration],
        *,
        ages_s: Mapping[str, float | None],
        longest_s: Mapping[str, float],
    ) -> None:
        """Take what a plan depends on besides the mirror.

        `ages_s` says how long ago each source was last listed completely, `longest_s` what is too long for a selector
        that looks at other rows (three intervals).
        """
        self._source = source
        self._settings = settings
        self._declarations = declarations
        self._ages_s = ages_s
        self._longest_s = longest_s

    def plan(self, selection: Selection) -> Planned:
        """Return the plan; the same mirror and declarations give the same plan."""
        draft = _Draft(self._source, self._settings)
        selected: list[Selected] = []
        for spec in self._specs():
            claims = [self._claim(selection, one) for one in in_force(self._declarations, self._source.name, spec.type)]
            selected += (claim.selected for claim in claims)
            for row, mine, held in _claimed(selection, claims):
                draft.consider(spec, row, mine, held)
        plan = draft.plan(basis(self._declarations), selection.known(self._source.name))
        return Planned(plan=plan, selected=tuple(_with_drift(selected, plan)))

    def meets(self, selection: Selection, change: Change) -> bool:
        """Say whether a resource is there and has every value that a change wants."""
        row = selection.find(change.key.source, change.key.type, change.key.id)
        if row is None:
            return False
        return not dropped(change, declarable(self._source, self._settings.kind.specs[change.key.type], row))

    def wanting_details(self, selection: Selection) -> list[WantedDetail]:
        """Return the resources of which a declaration wants a part that listings do not carry, and what of it."""
        return [
            WantedDetail(key=ResourceKey(self._source.name, spec.type, row.resource.id), part=part, paths=paths)
            for spec in self._specs()
            for part in spec.details
            for row, paths in self._selected_for(selection, spec, part)
        ]

    def _specs(self) -> Iterator[TypeSpec]:
        return (spec for spec in self._settings.kind.types if spec.type in self._settings.resources)

    def _selected_for(self, selection: Selection, spec: TypeSpec, part: Part) -> Iterator[tuple[Row, tuple[Path, ...]]]:
        """Yield the rows of which a declaration wants a part, with the paths that are wanted of it."""
        wanted: list[tuple[Bitmap, list[Path]]] = []
        for declaration in in_force(self._declarations, self._source.name, spec.type):
            writables = ((path, spec.writable_at(path)) for path in declaration.leaves)
            paths = [path for path, writable in writables if writable is not None and writable.part == part]
            if paths:
                wanted.append((self._select(selection, declaration).matched, paths))
        numbers = Bitmap()
        for matched, _ in wanted:
            numbers.add(matched)
        # Rows that the same declarations select share one tuple.
        known: dict[tuple[int, ...], tuple[Path, ...]] = {}
        for row in selection.rows(numbers):
            mine = tuple(index for index, (matched, _) in enumerate(wanted) if row.no in matched)
            if mine not in known:
                known[mine] = tuple(sorted({path for index in mine for path in wanted[index][1]}))
            yield row, known[mine]

    def _select(self, selection: Selection, declaration: Declaration) -> Selected:
        if held := selection.stale(declaration, self._ages_s, self._longest_s):
            return Selected(declaration=declaration.name, error=held)
        return selection.select(self._source.name, declaration)

    def _claim(self, selection: Selection, declaration: Declaration) -> "_Claim":
        selected = self._select(selection, declaration)
        if selected.error is None:
            return _Claim(declaration=declaration, selected=selected, numbers=selected.matched)
        # What it selects now is not known; what it had selected stays its own.
        numbers = selection.selected_last(self._source.name, declaration)
        return _Claim(declaration=declaration, selected=selected, numbers=numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """A declaration and the rows that are its own: what it selects, or, while it is held, what it had selected."""

    declaration: Declaration
    selected: Selected
    numbers: Bitmap


def _claimed(
    selection: Selection, claims: Sequence[_Claim]
) -> Iterator[tuple[Row, tuple[Declaration, ...], tuple[_Claim, ...]]]:
    """Yield each row that a working declaration selects, with those, and with the held ones that had selected it."""
    numbers = Bitmap()
    for claim in claims:
        numbers.add(claim.selected.matched)
    for row in selection.rows(numbers):
        mine = tuple(claim.declaration for claim in claims if row.no in claim.selected.matched)
        held = tuple(claim for claim in claims if claim.selected.error is not None and row.no in claim.numbers)
        yield row, mine, held


def _with_drift(selected: Iterable[Selected], plan: Plan) -> Iterator[Selected]:
    """Count for every declaration how many resources drift from it."""
    drifting: dict[str, set[ResourceKey]] = {}
    for one in plan.drift:
        for name in one.leaf.declarations:
            drifting.setdefault(name, set()).add(one.key)
    for match in selected:
        match.drifting = len(drifting.get(match.declaration, ()))
        yield match


@dataclass(slots=True)
class _Draft:
    """A plan in the making: row by row, in any order."""

    source: Source
    settings: SourceSettings
    changes: list[Change] = field(default_factory=list)
    drift: list[Drift] = field(default_factory=list)
    contradictions: list[tuple[ResourceKey, str]] = field(default_factory=list)
    unread: int = 0
    wishes: dict[tuple[str, ...], Wish] = field(default_factory=dict)
    target: Target | None = field(init=False)

    def __post_init__(self) -> None:
        self.target = self.source if isinstance(self.source, Target) else None

    def consider(
        self, spec: TypeSpec, row: Row, declarations: tuple[Declaration, ...], held: tuple[_Claim, ...]
    ) -> None:
        """Take one row, and the declarations that select it, into the plan.

        A held declaration keeps what it would overrule from being written: its word is not known, and not nothing.
        """
        names = tuple(declaration.name for declaration in declarations)
        wish = self.wishes.get(names) or self.wishes.setdefault(names, merge(declarations))
        key = ResourceKey(self.source.name, spec.type, row.resource.id)
        document = declarable(self.source, spec, row)
        unmet = compare(wish, document, spec, known_parts(row))
        if wish.contradictions:
            self._hold(key, wish, unmet, document)
            return
        priorities = {declaration.name: declaration.priority for declaration in declarations}
        for part, leaves in unmet.items():
            by_claim = [(leaf, _claim_on(leaf, priorities, held)) for leaf in leaves]
            for leaf, claim in by_claim:
                if claim is not None:
                    by = f"declaration {claim.declaration.name} is held: {claim.selected.error}"
                    self.drift.append(Drift(key=key, leaf=leaf, state=DriftState.HELD, by=by))
            self._want(key, part, tuple(leaf for leaf, claim in by_claim if claim is None), row)
        self.unread += any(leaf.actual is UNKNOWN for leaves in unmet.values() for leaf in leaves)

    def _hold(
        self, key: ResourceKey, wish: Wish, unmet: Mapping[Part, tuple[Leaf, ...]], document: Mapping[str, object]
    ) -> None:
        """Hold a resource about which declarations disagree: nothing of it is written."""
        self.contradictions += [(key, str(one)) for one in wish.contradictions]
        for one in wish.contradictions:
            leaf = Leaf(
                path=one.path, actual=actual_at(document, one.path), declared=UNKNOWN, declarations=one.declarations
            )
            self.drift.append(Drift(key=key, leaf=leaf, state=DriftState.CONFLICT, by=" and ".join(one.files)))
        disputed = {one.path for one in wish.contradictions}
        rest = (leaf for leaves in unmet.values() for leaf in leaves if leaf.path not in disputed)
        by = " and ".join(wish.contradictions[0].files)
        self.drift += [Drift(key=key, leaf=leaf, state=DriftState.HELD, by=f"{by} disagree") for leaf in rest]

    def _want(self, key: ResourceKey, part: Part, leaves: tuple[Leaf, ...], row: Row) -> None:
        known = tuple(leaf for leaf in leaves if leaf.actual is not UNKNOWN)
        unknown = (leaf for leaf in leaves if leaf.actual is UNKNOWN)
        self.drift += [Drift(key=key, leaf=leaf, state=DriftState.UNKNOWN) for leaf in unknown]
        if not known:
            return
        guard = self.target.guard(part, row.resource) if self.target is not None else None
        if held := held_by(guard, self.settings):
            self.drift += [Drift(key=key, leaf=leaf, state=DriftState.HELD, by=held) for leaf in known]
        elif guard is not None:
            self._change(Change(key=key, part=part, guard=guard, leaves=known), row)

    def _change(self, change: Change, row: Row) -> None:
        """Take a change into the plan, but for the leaves that the service is known not to take."""
        objections = self.target.objections(change, row.resource) if self.target is not None else ()
        refused = {one.path: one for one in objections}
        for leaf in change.leaves:
            one = refused.get(leaf.path)
            state, by = (DriftState.PENDING, None) if one is None else (one.state, one.by)
            self.drift.append(Drift(key=change.key, leaf=leaf, state=state, by=by))
        leaves = tuple(leaf for leaf in change.leaves if leaf.path not in refused)
        if leaves:
            self.changes.append(replace(change, leaves=leaves))

    def plan(self, basis: str, known: int) -> Plan:
        """Return the plan, sorted."""
        return Plan(
            source=self.source.name,
            basis=basis,
            changes=tuple(sorted(self.changes, key=lambda change: (change.key, change.part))),
            drift=tuple(sorted(self.drift, key=lambda one: (one.key, one.leaf.path))),
            contradictions=tuple(sorted(self.contradictions)),
            known=known,
            unread=self.unread,
        )


def _claim_on(leaf: Leaf, priorities: Mapping[str, int], held: Iterable[_Claim]) -> _Claim | None:
    """Return the held declaration that would have a say in a leaf, were it not held."""
    priority = max(priorities[name] for name in leaf.declarations)
    for claim in held:
        declaration = claim.declaration
        if declaration.priority >= priority and any(overlap(leaf.path, path) for path in declaration.leaves):
            return claim
    return None


def declarable(source: Source, spec: TypeSpec, row: Row) -> Mapping[str, object]:
    """Return a stored row as declarations are compared with it."""
    return source.declarable(spec.type, msgspec.json.decode(row.resource.document), row.details)


def known_parts(row: Row) -> frozenset[Part]:
    """Return the parts that were read of a stored row besides its listing."""
    return frozenset(Part(part) for part in row.details)


def held_by(guard: Guard | None, settings: SourceSettings) -> str | None:
    """Return why the operator does not allow a write under this guard; None where it is allowed."""
    if guard is None:
        return f"{settings.kind.name} cannot be written to here"
    if guard.kind is GuardKind.REREAD and settings.weakest_guard is not WeakestGuard.REREAD:
        return 'the service has no ETag for it: allow weakest_guard = "reread"'
    return None
