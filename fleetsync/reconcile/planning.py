"""Planning: the mirror against the declarations. No request is sent, nothing is written; it blocks, so use a thread."""

import datetime
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import groupby

import msgspec
from msgspec.structs import replace

from fleetsync.config.declarations import basis
from fleetsync.config.settings import SourceSettings, WeakestGuard
from fleetsync.core.bitmap import Bitmap
from fleetsync.core.declaration import UNKNOWN, Declaration, Wish, in_force, merge
from fleetsync.core.kind import TypeSpec
from fleetsync.core.model import Part, Resource, ResourceKey, ResourceType
from fleetsync.core.path import Path, overlap
from fleetsync.core.plan import Change, Drift, DriftState, Guard, GuardKind, Leaf, Plan, actual_at, compare, dropped
from fleetsync.mirror.scan import Renewed, Scanned
from fleetsync.mirror.selection import Row, Selection
from fleetsync.mirror.wishes import Matched, Selected
from fleetsync.providers.base import Source, Target
from fleetsync.reconcile.contests import Contests, Told
from fleetsync.reconcile.details import WantedDetail
from fleetsync.reconcile.spooled import Changes, Contradictions, Drifts, Keys, WantedDetails

_BATCH = 200


class Evaluated(msgspec.Struct, frozen=True, kw_only=True):
    """What each declaration selects in a source, and what is not as declared there, sorted by key."""

    selected: tuple[Selected, ...]
    drift: Sequence[Drift]


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, and what each declaration selects on the way to it; `claims`, by type, are for who looks again."""

    plan: Plan
    selected: tuple[Selected, ...]
    claims: Mapping[ResourceType, "_Claims"]

    @property
    def evaluated(self) -> Evaluated:
        """Return what is to be stored of it."""
        return Evaluated(selected=self.selected, drift=self.plan.drift)


class Planner:
    """Plans one source."""

    def __init__(
        self,
        source: Source,
        settings: SourceSettings,
        declarations: Sequence[Declaration],
        *,
        at: datetime.datetime,
        ages_s: Mapping[str, float | None],
        longest_s: Mapping[str, float],
    ) -> None:
        """Take what a plan depends on besides the mirror.

        `at` is now, `ages_s` says how long ago each source was last listed completely, `longest_s` what is too long for
        a selector that looks at other rows (three intervals).
        """
        self._source = source
        self._settings = settings
        self._declarations = declarations
        self._at = at
        self._ages_s = ages_s
        self._longest_s = longest_s
        # What the selectors selected for the plan, for who asks for details afterwards: they are not run twice.
        self._planned: dict[ResourceType, _Claims] = {}

    def plan(self, selection: Selection, listed: Set[ResourceType] | None = None, *, asked: bool) -> Planned:
        """Return the plan; at the same time the same mirror and declarations give the same plan.

        It changes resources of `listed` types, None for all; what drifts of the others it says as well. Where a person
        `asked` for it, what the service rejected a short while ago is in it, too.
        """
        target = self._source if isinstance(self._source, Target) else None
        contests = None if target is None else Contests(target, self._settings, selection, self._at)
        draft = _Draft(self._source, self._settings, listed, target, contests, asked)
        selected: list[Selected] = []
        for spec in self._specs():
            declarations = in_force(self._declarations, self._source.name, spec.type)
            claims = self._planned[spec.type] = self._claims(selection, spec, declarations)
            for row, mine, held in claims.rows(selection):
                draft.consider(spec, row, mine, held)
            draft.decide()
            selected += claims.selected(draft.drifting)
        plan = draft.plan(basis(self._declarations), selection.known(self._source.name))
        return Planned(plan=plan, selected=tuple(selected), claims=self._planned)

    def again(self, selection: Selection, planned: Planned, written: Iterable[ResourceKey]) -> Evaluated | None:
        """Return what a plan would find now that resources were `written`, which are sorted; None: only a plan tells.

        These alone are looked at again, and those that a selector that looks at other rows selects now and did not, or
        did and does not. All others are as they were planned.
        """
        target = self._source if isinstance(self._source, Target) else None
        contests = None if target is None else Contests(target, self._settings, selection, self._at)
        draft = _Draft(self._source, self._settings, frozenset(), target, contests, asked=False)
        looked, keys = _numbers(selection, self._source.name, written), Keys()
        matched: dict[str, Matched] = {}
        for spec in self._specs():
            claims, among = planned.claims[spec.type], looked.get(spec.type, Bitmap())
            sound = claims.sound
            scanned = selection.scan_again(self._source.name, spec.type, sound, claims.scanned, among)
            if scanned.faults:
                return None
            for row, mine, held in replace(claims, scanned=scanned).rows(selection):
                draft.consider(spec, row, mine, held)
            draft.decide()
            for name, again in scanned.matches.items():
                matched[name] = Renewed(first=claims.scanned.matches[name], again=again, looked=among)
            for id in selection.ids(among):
                keys.put(ResourceKey(self._source.name, spec.type, id))
        drifting = draft.take_over(planned, keys)
        return Evaluated(
            selected=tuple(
                replace(one, matched=matched[one.declaration], drifting=drifting[one.declaration])
                if one.declaration in matched
                else one
                for one in planned.selected
            ),
            drift=draft.drift,
        )

    def meets(self, selection: Selection, change: Change) -> bool:
        """Say whether a resource is there and has every value that a change wants."""
        row = selection.find(change.key.source, change.key.type, change.key.id)
        if row is None:
            return False
        return not dropped(change, declarable(self._source, self._settings.kind.specs[change.key.type], row))

    def wanting_details(self, selection: Selection) -> WantedDetails:
        """Return the resources of which a declaration wants a part that listings do not carry, and what of it."""
        wanted = WantedDetails()
        for spec in self._specs():
            for part in spec.details:
                for row, paths in self._selected_for(selection, spec, part):
                    key = ResourceKey(self._source.name, spec.type, row.resource.id)
                    wanted.put(WantedDetail(key=key, part=part, paths=paths))
        return wanted

    def _specs(self) -> Iterator[TypeSpec]:
        return (spec for spec in self._settings.kind.types if spec.type in self._settings.resources)

    def _selected_for(self, selection: Selection, spec: TypeSpec, part: Part) -> Iterator[tuple[Row, tuple[Path, ...]]]:
        """Yield the rows of which a declaration wants a part, with the paths that are wanted of it."""
        wanted: dict[str, list[Path]] = {}
        declarations: list[Declaration] = []
        for declaration in in_force(self._declarations, self._source.name, spec.type):
            writables = ((path, spec.writable_at(path)) for path in declaration.leaves)
            paths = [path for path, writable in writables if writable is not None and writable.part == part]
            if paths:
                wanted[declaration.name] = paths
                declarations.append(declaration)
        claims = self._planned.get(spec.type) or self._claims(selection, spec, declarations)
        # Rows that the same declarations select share one tuple.
        known: dict[tuple[str, ...], tuple[Path, ...]] = {}

        def numbers() -> Iterator[tuple[int, tuple[Path, ...]]]:
            for no, names in claims.scanned.rows():
                if names not in known:
                    known[names] = tuple(sorted({path for name in names for path in wanted.get(name, ())}))
                if known[names]:
                    yield no, known[names]

        yield from selection.rows(numbers())

    def _claims(self, selection: Selection, spec: TypeSpec, declarations: Sequence[Declaration]) -> "_Claims":
        """Run the selectors of declarations; one that cannot be run keeps what it had selected."""
        stale = {one.name: selection.stale(one, self._ages_s, self._longest_s) for one in declarations}
        fresh = [one for one in declarations if stale[one.name] is None]
        scanned = selection.scan(self._source.name, spec.type, fresh) if declarations else Scanned(matches={})
        held: list[_Held] = []
        for one in declarations:
            # What it selects now is not known; what it had selected stays its own.
            if (error := stale[one.name] or scanned.faults.get(one.name)) is not None:
                numbers = selection.selected_last(self._source.name, one)
                held.append(_Held(declaration=one, error=error, numbers=numbers))
        return _Claims(declarations={one.name: one for one in declarations}, scanned=scanned, held=tuple(held))


class _Held(msgspec.Struct, frozen=True, kw_only=True):
    """A declaration that is held, and the rows that it had selected before."""

    declaration: Declaration
    error: str
    numbers: Bitmap


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    """Declarations about one type, and the rows that are their own."""

    declarations: Mapping[str, Declaration]
    scanned: Scanned
    held: tuple[_Held, ...]

    def rows(self, selection: Selection) -> Iterator[tuple[Row, "_Owners", tuple[_Held, ...]]]:
        """Yield each row that working declarations select, with those, and with the held ones that had selected it."""
        # Rows that the same declarations select share their wish.
        known: dict[tuple[str, ...], _Owners] = {}
        for row, names in selection.rows(self.scanned.rows()):
            owners = known.get(names) or known.setdefault(names, _owners(self.declarations[name] for name in names))
            yield row, owners, tuple(one for one in self.held if row.no in one.numbers)

    @property
    def sound(self) -> list[Declaration]:
        """Return those whose selectors could be run."""
        held = {one.declaration.name for one in self.held}
        return [one for name, one in self.declarations.items() if name not in held]

    def selected(self, drifting: Mapping[str, int]) -> Iterator[Selected]:
        """Yield what each declaration selects, and how many of those resources drift from it."""
        errors = {one.declaration.name: one.error for one in self.held}
        for name in self.declarations:
            if name in errors:
                yield Selected(declaration=name, error=errors[name])
            else:
                matched = self.scanned.matches[name]
                yield Selected(declaration=name, matched=matched, drifting=drifting.get(name, 0))


def _numbers(selection: Selection, source: str, keys: Iterable[ResourceKey]) -> dict[ResourceType, Bitmap]:
    """Return the numbers of the rows of resources, by type."""
    found: dict[ResourceType, Bitmap] = {}
    for type, some in groupby(keys, key=lambda key: key.type):
        found.setdefault(type, Bitmap()).add(selection.numbers(source, type, (key.id for key in some)))
    return found


class _Owners(msgspec.Struct, frozen=True, kw_only=True):
    """The declarations that select a row, by priority, and what they want together."""

    wish: Wish
    priorities: Mapping[str, int]


def _owners(declarations: Iterable[Declaration]) -> _Owners:
    declarations = tuple(declarations)
    return _Owners(wish=merge(declarations), priorities={one.name: one.priority for one in declarations})


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What drifts of a resource and will not be written, and what may be."""

    resource: Resource
    drift: list[Drift]
    changes: list[Change]


class _Draft(msgspec.Struct):
    """A plan in the making: row by row, in any order. `drifting` counts resources by declaration."""

    source: Source
    settings: SourceSettings
    listed: Set[ResourceType] | None
    target: Target | None
    contests: Contests | None
    """Both None where nothing can be written."""
    asked: bool
    waiting: list[_Wanted] = msgspec.field(default_factory=list)
    """Resources of one type: what was done to them before, the mirror is asked for many at once."""
    changes: Changes = msgspec.field(default_factory=Changes)
    drift: Drifts = msgspec.field(default_factory=Drifts)
    contradictions: Contradictions = msgspec.field(default_factory=Contradictions)
    unread: int = 0
    drifting: Counter[str] = msgspec.field(default_factory=Counter)
    wishes: dict[tuple[Declaration, ...], Wish] = msgspec.field(default_factory=dict)

    def consider(self, spec: TypeSpec, row: Row, owners: _Owners, held: tuple[_Held, ...]) -> None:
        """Take one row, and the declarations that select it, into the plan.

        A held declaration keeps what it would overrule from being written: its word is not known, and not nothing.
        """
        wish = owners.wish
        document = declarable(self.source, spec, row)
        unmet = compare(wish, document, spec, known_parts(row))
        if not unmet and not wish.contradictions:
            return
        key = ResourceKey(self.source.name, spec.type, row.resource.id)
        drift: list[Drift] = []
        changes: list[Change] = []
        if wish.contradictions:
            drift += self._held(key, wish, unmet, document)
        else:
            for part, leaves in sorted(unmet.items()):
                by_claim = [(leaf, _claim_on(leaf, owners.priorities, held)) for leaf in leaves]
                for leaf, claim in by_claim:
                    if claim is not None:
                        by = f"declaration {claim.declaration.name} is held: {claim.error}"
                        drift.append(Drift(key=key, leaf=leaf, state=DriftState.HELD, by=by))
                free = tuple(leaf for leaf, claim in by_claim if claim is None)
                if (change := self._wanted(key, part, free, row, drift)) is not None:
                    changes.append(change)
            self.unread += any(leaf.actual is UNKNOWN for leaves in unmet.values() for leaf in leaves)
        self.waiting.append(_Wanted(resource=row.resource, drift=drift, changes=changes))
        if len(self.waiting) == _BATCH:
            self.decide()

    def decide(self) -> None:
        """Take what waits into the plan, but for the leaves that somebody else keeps changing back."""
        changes = [(change, one.resource) for one in self.waiting for change in one.changes]
        told = iter(self.contests.told(changes) if self.contests is not None else ())
        for one in self.waiting:
            drift = one.drift
            for change in one.changes:
                drift += self._changed(change, one.resource, next(told))
            for leaf in sorted(drift, key=lambda one: one.leaf.path):
                self.drift.put(leaf)
            self.drifting.update({name for leaf in drift for name in leaf.leaf.declarations})
        self.waiting.clear()

    def take_over(self, planned: Planned, keys: Iterable[ResourceKey]) -> Mapping[str, int]:
        """Take the drift over that was planned of other resources than these; return what drifts by declaration.

        Both are sorted.
        """
        drifting = Counter({one.declaration: one.drifting for one in planned.selected})
        drifting.update(self.drifting)
        waiting = iter(keys)
        key = next(waiting, None)
        for of, drift in groupby(planned.plan.drift, key=lambda one: one.key):
            while key is not None and key < of:
                key = next(waiting, None)
            if key == of:
                drifting.subtract({name for one in drift for name in one.leaf.declarations})
            else:
                for one in drift:
                    self.drift.put(one)
        return drifting

    def _held(
        self, key: ResourceKey, wish: Wish, unmet: Mapping[Part, tuple[Leaf, ...]], document: Mapping[str, object]
    ) -> Iterator[Drift]:
        """Hold a resource about which declarations disagree: nothing of it is written."""
        for reason in sorted(map(str, wish.contradictions)):
            self.contradictions.put(key, reason)
        for one in wish.contradictions:
            leaf = Leaf(
                path=one.path, actual=actual_at(document, one.path), declared=UNKNOWN, declarations=one.declarations
            )
            yield Drift(key=key, leaf=leaf, state=DriftState.CONFLICT, by=" and ".join(one.files))
        disputed = {one.path for one in wish.contradictions}
        by = " and ".join(wish.contradictions[0].files)
        for leaves in unmet.values():
            for leaf in leaves:
                if leaf.path not in disputed:
                    yield Drift(key=key, leaf=leaf, state=DriftState.HELD, by=f"{by} disagree")

    def _wanted(
        self, key: ResourceKey, part: Part, leaves: tuple[Leaf, ...], row: Row, drift: list[Drift]
    ) -> Change | None:
        """Return the change that is wanted of a part, as far as the operator allows it; the rest goes into `drift`."""
        known = tuple(leaf for leaf in leaves if leaf.actual is not UNKNOWN)
        drift += (Drift(key=key, leaf=leaf, state=DriftState.UNKNOWN) for leaf in leaves if leaf.actual is UNKNOWN)
        if not known:
            return None
        guard = self.target.guard(part, row.resource) if self.target is not None else None
        held = held_by(guard, self.settings)
        if guard is not None and held is None:
            return Change(key=key, part=part, guard=guard, leaves=known)
        drift += (Drift(key=key, leaf=leaf, state=DriftState.HELD, by=held) for leaf in known)
        return None

    def _changed(self, change: Change, resource: Resource, told: Told) -> Iterator[Drift]:
        """Take a change into the plan, but for what is contested and what the service is known not to take."""
        contested = told.contested
        for leaf in change.leaves:
            if leaf.path in contested:
                yield Drift(key=change.key, leaf=leaf, state=DriftState.CONTESTED, by=contested[leaf.path])
        change = replace(change, leaves=tuple(leaf for leaf in change.leaves if leaf.path not in contested))
        objections = self.target.objections(change, resource) if self.target is not None else ()
        refused = {one.path: one for one in objections}
        wanted = replace(change, leaves=tuple(leaf for leaf in change.leaves if leaf.path not in refused))
        rests = self.contests.resting(wanted, told) if self.contests is not None else None
        for leaf in change.leaves:
            one = refused.get(leaf.path)
            state, by = (DriftState.PENDING, rests) if one is None else (one.state, one.by)
            yield Drift(key=change.key, leaf=leaf, state=state, by=by)
        is_listed = self.listed is None or change.key.type in self.listed
        if wanted.leaves and is_listed and (rests is None or self.asked):
            self.changes.put(wanted)

    def plan(self, basis: str, known: int) -> Plan:
        """Return the plan."""
        return Plan(
            source=self.source.name,
            basis=basis,
            changes=self.changes,
            drift=self.drift,
            contradictions=self.contradictions,
            known=known,
            unread=self.unread,
        )


def _claim_on(leaf: Leaf, priorities: Mapping[str, int], held: Iterable[_Held]) -> _Held | None:
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
