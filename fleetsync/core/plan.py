"""What is to be written: changes, the plan that holds them, and what became of each.

A plan is a value: it can be printed, stored, compared and refused before one request is sent.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from fleetsync.core.declaration import ABSENT, UNKNOWN, Missing, Wish, agree
from fleetsync.core.kind import TypeSpec
from fleetsync.core.merge_patch import Json, patch_of
from fleetsync.core.model import ETag, Part, ResourceKey
from fleetsync.core.path import Path


class GuardKind(StrEnum):
    """What stops us overwriting somebody else's write, strongest first."""

    IF_MATCH = "if-match"
    BODY_ETAG = "body-etag"
    REREAD = "reread"


class Guard(Struct, frozen=True, kw_only=True):
    """A guard and what it compares.

    `reread`: also read, compare and read back, because the service's own guard is weak or unproven.
    """

    kind: GuardKind
    etag: ETag | None = None
    reread: bool = False

    @property
    def needs_reread(self) -> bool:
        """Say whether the write has to be framed by reads."""
        return self.reread or self.kind is GuardKind.REREAD


class Leaf(Struct, frozen=True, kw_only=True):
    """One declared value of one resource: how it is, how it should be, and who says so.

    `folds`: texts that differ in letter case only are one value.
    """

    path: Path
    actual: Json | Missing
    declared: Json | Missing
    declarations: tuple[str, ...]
    folds: bool = False

    @property
    def is_met(self) -> bool:
        """Say whether it is as declared."""
        return agree(self.actual, self.declared, folds=self.folds)


class Change(Struct, frozen=True, kw_only=True):
    """One guarded patch that we want: the leaves of one part of one resource that are not as declared."""

    key: ResourceKey
    part: Part
    guard: Guard
    leaves: tuple[Leaf, ...]

    @property
    def patch(self) -> dict[str, Json]:
        """Return the smallest merge patch that makes the leaves so."""
        return patch_of({leaf.path: None if leaf.declared is ABSENT else leaf.declared for leaf in self.leaves})

    @property
    def declarations(self) -> tuple[str, ...]:
        """Return the names of the declarations that want it, sorted."""
        return tuple(sorted({name for leaf in self.leaves for name in leaf.declarations}))


class DriftState(StrEnum):
    """Why a declared leaf is not as declared."""

    PENDING = "pending"
    """The next apply writes it."""
    HELD = "held"
    """It will not be written until a person acts; `by` says what holds it."""
    CONTESTED = "contested"
    """Somebody else keeps changing it back."""
    CONFLICT = "conflict"
    """Two declarations disagree about it."""
    UNKNOWN = "unknown"
    """What it is has not been read yet."""


class Drift(Struct, frozen=True, kw_only=True):
    """One leaf that is not as declared. `by` names what holds it, or who changed it."""

    key: ResourceKey
    leaf: Leaf
    state: DriftState
    by: str | None = None


class Objection(Struct, frozen=True, kw_only=True):
    """Why a leaf must not be written, although it is not as declared; `by` names the rule, or who holds it."""

    path: Path
    state: DriftState
    by: str


class Plan(Struct, frozen=True, kw_only=True):
    """All changes of a source, sorted by key and part, and all drift, also what no change will mend.

    They need not be in memory, and are better gone through once than often.

    `basis` is a fingerprint of the declarations; a reviewed plan is refused when they changed. `unread` counts
    resources whose details a plan needs and nobody has read yet.
    """

    source: str
    basis: str
    changes: Sequence[Change] = ()
    drift: Sequence[Drift] = ()
    contradictions: Sequence[tuple[ResourceKey, str]] = ()
    """Resources that are held because declarations disagree, and who disagrees."""
    known: int = 0
    unread: int = 0

    @property
    def is_empty(self) -> bool:
        """Say whether there is nothing to write."""
        return not self.changes


class Result(StrEnum):
    """What became of a write; the values of `writes.outcome`."""

    OPEN = "open"
    APPLIED = "applied"
    ALREADY = "already"
    CONFLICT = "conflict"
    REJECTED = "rejected"
    FAILED = "failed"
    UNKNOWN = "unknown"
    IGNORED = "ignored"


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one write; `status` and `request_id` are the service's, None where it never answered."""

    key: ResourceKey
    part: Part
    result: Result
    status: int | None = None
    request_id: str | None = None
    error: str | None = None


def actual_at(document: Mapping[str, object], path: Path) -> Json | Missing:
    """Return the value at `path`, ABSENT where there is none."""
    node: object = document
    for key in path:
        if not isinstance(node, Mapping) or key not in node:
            return ABSENT
        node = node[key]
    return node


def compare(
    wish: Wish, document: Mapping[str, object], spec: TypeSpec, known_parts: frozenset[Part]
) -> dict[Part, tuple[Leaf, ...]]:
    """Return the declared leaves that are not met, by the part that they are in.

    A leaf of a part that is not known yet has the actual value UNKNOWN. A declaration's value of a path that cannot
    be written never gets here: it is refused when the declarations are read.
    """
    found: dict[Part, list[Leaf]] = {}
    for wanted in wish.leaves:
        writable = spec.writable_at(wanted.path)
        if writable is None:
            raise LookupError(f"nothing writable at {wanted.path}")
        is_known = spec.is_known(writable.part, wanted.path, document, known_parts)
        actual = actual_at(document, wanted.path) if is_known else UNKNOWN
        if agree(actual, wanted.value, folds=writable.folds):
            continue
        leaf = Leaf(
            path=wanted.path,
            actual=actual,
            declared=wanted.value,
            declarations=wanted.declarations,
            folds=writable.folds,
        )
        found.setdefault(writable.part, []).append(leaf)
    return {part: tuple(unmet) for part, unmet in found.items()}


def dropped(change: Change, document: Mapping[str, object]) -> tuple[Path, ...]:
    """Return the paths that a write set and the resource afterwards does not show: accepted, and ignored."""
    fresh = (replace(leaf, actual=actual_at(document, leaf.path)) for leaf in change.leaves)
    return tuple(leaf.path for leaf in fresh if not leaf.is_met)
