"""Is a value fought over? What somebody else keeps changing back is left alone."""

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from fleetsync.core.declaration import ABSENT, agree
from fleetsync.core.duration import lasting
from fleetsync.core.plan import Leaf, Result, actual_at
from fleetsync.core.words import counted

CARRIED_OUT = (Result.APPLIED, Result.IGNORED, Result.UNKNOWN)
"""The outcomes of writes that the service took, or may have taken."""


class Rewrites(Struct, frozen=True, kw_only=True):
    """How often a value is written before it is left alone: `most` times within `window_s` seconds."""

    most: int = 3
    window_s: float = 86_400.0


class Written(Struct, frozen=True, kw_only=True):
    """A write of ours that was carried out, or may have been: when it left, and the merge patch that it carried."""

    at: datetime.datetime
    patch: Mapping[str, object]
    result: Result


class Standing(Struct, frozen=True, kw_only=True):
    """How long a leaf is not as declared: found so at `since`, and at `moved_at` with the value that it has."""

    since: datetime.datetime
    moved_at: datetime.datetime


def contest(
    leaf: Leaf, writes: Iterable[Written], standing: Standing, *, now: datetime.datetime, limit: Rewrites
) -> Written | None:
    """Return the last of our writes of a leaf that is fought over; None where it may be written.

    `writes` are those of its resource, newest first. It is fought over once it was written `most` times within a
    window to what is declared, and is not so; until nothing happened to it for a whole window, by us or by others: it
    stayed as we wrote it, or as they did. A write of another value in between was another declaration: what came before
    is forgotten. A clock that steps makes it no longer than a window.
    """
    mine = _of(leaf, writes, limit.most)
    if len(mine) < limit.most:
        return None
    last = mine[0]
    is_burst = _apart_s(last.at, mine[-1].at) < limit.window_s
    has_held = (standing.since - last.at).total_seconds() >= limit.window_s
    is_fresh = _apart_s(now, max(last.at, standing.moved_at)) < limit.window_s
    return last if is_burst and is_fresh and not has_held else None


def _of(leaf: Leaf, writes: Iterable[Written], most: int) -> Sequence[Written]:
    """Return the newest writes of a leaf to what is declared now, back to the first of something else."""
    found: list[Written] = []
    for one, value in _touching(leaf, writes):
        if len(found) == most or not agree(value, None if leaf.declared is ABSENT else leaf.declared, folds=leaf.folds):
            break
        found.append(one)
    return found


def _touching(leaf: Leaf, writes: Iterable[Written]) -> Iterator[tuple[Written, object]]:
    for one in writes:
        value = actual_at(one.patch, leaf.path)
        if value is not ABSENT:
            yield one, value


def _apart_s(one: datetime.datetime, other: datetime.datetime) -> float:
    return abs((one - other).total_seconds())


def fought_by(last: Written, who: str | None, limit: Rewrites) -> str:
    """Say who fights over a leaf, and how often it was written; the same words for as long as it lasts."""
    times = f"{counted(limit.most, 'write')} in {lasting(limit.window_s)}"
    if last.result is Result.IGNORED:
        return f"accepted and not taken over, after {times}"
    return f"{who or 'somebody else'}, after {times}"
