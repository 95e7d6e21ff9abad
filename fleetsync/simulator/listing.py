"""One page of a listing, honest or not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from fleetsync.simulator.faults import Drawn
from fleetsync.simulator.paging import Position
from fleetsync.simulator.resources import Collection, Entry

Where: TypeAlias = Callable[[Entry], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The entries of a page, and where the next begins; None is the end."""

    entries: Sequence[Entry]
    next: Position | None


def cut(collection: Collection, position: Position, faults: Drawn, *, where: Where | None = None) -> Slice:
    """Return the page at a position, with what the faults make of it."""
    if "empty-list" in faults:
        return Slice(entries=(), next=None)
    if "empty-page" in faults:
        return Slice(entries=(), next=replace(position, empty=position.empty + 1))
    page = _honest(collection, position, where)
    if "short-list" in faults:
        page = _shortened(page, collection, position, float(faults["short-list"]))
    if "twice" in faults:
        page = _repeating(page, collection, position)
    match faults.get("loop-link"):
        case "same":
            return replace(page, next=position)
        case "first":
            return replace(page, next=replace(position, after="", empty=0))
        case _:
            return page


def _honest(collection: Collection, position: Position, where: Where | None) -> Slice:
    # One more than is shown tells whether there is a next page.
    found = collection.page(after=position.after, size=position.size + 1, where=where)
    entries = found[: position.size]
    more = len(found) > position.size
    return Slice(entries=entries, next=replace(position, after=entries[-1].id, empty=0) if more else None)


def _shortened(page: Slice, collection: Collection, position: Position, share: float) -> Slice:
    room = max(0, int(share * len(collection)) - collection.rank(position.after))
    return page if room > len(page.entries) else Slice(entries=page.entries[:room], next=None)


def _repeating(page: Slice, collection: Collection, position: Position) -> Slice:
    before = collection.get(position.after)
    return page if before is None else replace(page, entries=(before, *page.entries))
