"""Plans in files: what `plan --out` writes, a person reviews, and `apply --plan` carries out exactly."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import asdict

from fleetsync.core.declaration import ABSENT, UNKNOWN, agree
from fleetsync.core.merge_patch import Json
from fleetsync.core.model import ETag, Part, ResourceKey, ResourceType
from fleetsync.core.path import parse, render
from fleetsync.core.plan import Change, Guard, GuardKind, Leaf, Plan
from fleetsync.errors import UnsafePlanError, UsageError
from fleetsync.reconcile.spooled import Changes

FORMAT = 1


class Reviewed(msgspec.Struct, frozen=True, kw_only=True):
    """One source's part of a reviewed plan; `name` is how `writes.plan` names it."""

    name: str
    source: str
    basis: str
    changes: Changes


class HeldDeclaration(msgspec.Struct, frozen=True, kw_only=True):
    """A declaration whose selector could not be run: nothing is planned for it."""

    name: str
    file: str
    error: str


def as_json(plans: Iterable[tuple[Plan, Sequence[HeldDeclaration]]]) -> dict[str, Any]:
    """Return plans as JSON, each with the declarations that are held in its source.

    The same plan gives the same text. A value that is not there is left out. Arrays as long as the plan are iterators:
    a plan may be larger than memory.
    """
    return {"format": FORMAT, "sources": [_source_json(plan, held) for plan, held in plans]}


def _source_json(plan: Plan, held: Sequence[HeldDeclaration]) -> dict[str, Any]:
    return {
        "source": plan.source,
        "basis": plan.basis,
        "known": plan.known,
        "unread": plan.unread,
        "changes": (_change_json(change) for change in plan.changes),
        "held": (
            {**_key_json(one.key), **_leaf_json(one.leaf), "state": one.state.value, "by": one.by}
            for one in plan.drift
            if one.state.value != "pending"
        ),
        "contradictions": ({**_key_json(key), "reason": reason} for key, reason in plan.contradictions),
        "held_declarations": [asdict(one) for one in held],
    }


def _key_json(key: ResourceKey) -> dict[str, Any]:
    return {"type": key.type, "id": key.id}


def _change_json(change: Change) -> dict[str, Any]:
    return {
        **_key_json(change.key),
        "part": change.part,
        "guard": change.guard.kind.value,
        "etag": change.guard.etag,
        "reread": change.guard.needs_reread,
        "patch": change.patch,
        "leaves": [_leaf_json(leaf) for leaf in change.leaves],
    }


def _leaf_json(leaf: Leaf) -> dict[str, Any]:
    shown: dict[str, Any] = {"path": render(leaf.path), "declarations": list(leaf.declarations)}
    if leaf.actual is UNKNOWN:
        shown["unknown"] = True
    elif leaf.actual is not ABSENT:
        shown["actual"] = leaf.actual
    if leaf.declared is ABSENT:
        shown["unset"] = True
    elif leaf.declared is not UNKNOWN:
        shown["declared"] = leaf.declared
    if leaf.folds:
        shown["folds"] = True
    return shown


class _LeafFile(msgspec.Struct):
    path: str
    declarations: tuple[str, ...]
    actual: Json = ABSENT
    declared: Json = ABSENT
    folds: bool = False


class _ChangeFile(msgspec.Struct):
    type: str
    id: str
    part: str
    guard: GuardKind
    leaves: tuple[_LeafFile, ...]
    etag: str | None = None
    reread: bool = False


class _SourceFile(msgspec.Struct):
    source: str
    basis: str
    changes: tuple[msgspec.Raw, ...]


class _PlanFile(msgspec.Struct):
    format: int
    sources: tuple[_SourceFile, ...]


_CHANGE = msgspec.json.Decoder(_ChangeFile)


def read_plan(file: Path) -> tuple[Reviewed, ...]:
    """Return the plans in a file that `plan --out` wrote.

    Raises:
        UsageError: it cannot be read, or is no such file.
    """
    try:
        return plans_in(file.read_bytes(), name=str(file))
    except OSError as error:
        raise UsageError(f"plan {file}: {error.strerror}") from error


def plans_in(text: bytes, *, name: str) -> tuple[Reviewed, ...]:
    """Return the plans in what `plan --out` wrote; `name` is for messages and for `writes.plan`.

    Raises:
        UsageError: it is something else.
    """
    try:
        plan = msgspec.json.decode(text, type=_PlanFile)
        if plan.format != FORMAT:
            raise UsageError(f"plan {name}: format {plan.format}, this version reads {FORMAT}")
        return tuple(_reviewed(Path(name).name, part) for part in plan.sources)
    except (msgspec.MsgspecError, ValueError) as error:
        raise UsageError(f"plan {name}: not a plan that `fleetsync plan --out` wrote: {error}") from error


def _reviewed(name: str, part: _SourceFile) -> Reviewed:
    """Return a part of a plan; its changes are decoded one by one and kept out of memory."""
    changes = Changes()
    for text in part.changes:
        changes.put(_change(part.source, _CHANGE.decode(text)))
    return Reviewed(name=name, source=part.source, basis=part.basis, changes=changes)


def _change(source: str, read: _ChangeFile) -> Change:
    leaves = tuple(
        Leaf(
            path=parse(leaf.path),
            actual=leaf.actual,
            declared=leaf.declared,
            declarations=leaf.declarations,
            folds=leaf.folds,
        )
        for leaf in read.leaves
    )
    etag = ETag(read.etag) if read.etag is not None else None
    return Change(
        key=ResourceKey(source, ResourceType(read.type), read.id),
        part=Part(read.part),
        guard=Guard(kind=read.guard, etag=etag, reread=read.reread),
        leaves=leaves,
    )


class StillValid(msgspec.Struct, frozen=True, kw_only=True):
    """What of a reviewed plan may still be sent, and what was skipped because it moved."""

    changes: Changes
    skipped: tuple[ResourceKey, ...]


def still_valid(reviewed: Reviewed, fresh: Plan, is_met: Callable[[Change], bool]) -> StillValid:
    """Hold a reviewed plan against what would be planned now; nothing is ever added to it.

    What is as declared by now (`is_met`, by the mirror) needs nothing. A resource of which a declared leaf has another
    value than when it was reviewed is skipped, and so is one that is gone, held, or not selected any more. A new ETag
    alone is no obstacle: the change goes out under it.

    Raises:
        UnsafePlanError: the declarations changed since: nobody reviewed this.
    """
    if reviewed.basis != fresh.basis:
        raise UnsafePlanError(f"the declarations changed since plan {reviewed.name} was made: plan again")
    changes = Changes()
    skipped: list[ResourceKey] = []
    for old, new in _paired(_in_order(reviewed.changes), fresh.changes):
        both = _both(old.leaves, new.leaves) if new is not None else []
        if any(not _same(one, other) for one, other in both):
            skipped.append(old.key)
        elif new is None or not both:
            skipped += [] if is_met(old) else [old.key]
        else:
            leaves = tuple(leaf for _, leaf in both)
            changes.put(Change(key=new.key, part=new.part, guard=new.guard, leaves=leaves))
    return StillValid(changes=changes, skipped=tuple(skipped))


def _in_order(changes: Iterable[Change]) -> Iterator[Change]:
    """Yield changes that are sorted by key also by part: a file may have been edited."""
    for _, parts in groupby(changes, key=lambda change: change.key):
        yield from sorted(parts, key=_place)


def _paired(reviewed: Iterable[Change], fresh: Iterable[Change]) -> Iterator[tuple[Change, Change | None]]:
    """Yield each reviewed change with the one of the same part that would be planned now. Both are sorted."""
    waiting = iter(fresh)
    new = next(waiting, None)
    for old in reviewed:
        while new is not None and _place(new) < _place(old):
            new = next(waiting, None)
        yield old, new if new is not None and _place(new) == _place(old) else None


def _place(change: Change) -> tuple[ResourceKey, Part]:
    return (change.key, change.part)


def _both(old: Sequence[Leaf], new: Sequence[Leaf]) -> list[tuple[Leaf, Leaf]]:
    by_path = {leaf.path: leaf for leaf in new}
    return [(leaf, by_path[leaf.path]) for leaf in old if leaf.path in by_path]


def _same(one: Leaf, other: Leaf) -> bool:
    """Say whether a leaf is as it was when it was reviewed, and is to become the same."""
    return agree(one.actual, other.actual, folds=other.folds) and agree(one.declared, other.declared, folds=other.folds)
