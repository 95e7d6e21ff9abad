"""What a plan would write and should not: what somebody else keeps changing back, and what the service rejected."""

import datetime
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from fleetsync.config.settings import SourceSettings
from fleetsync.core.contest import contest, fought_by
from fleetsync.core.model import Resource
from fleetsync.core.path import Path
from fleetsync.core.plan import Change, Leaf
from fleetsync.core.rejection import Rejected, resting
from fleetsync.mirror.resources import json_text
from fleetsync.mirror.selection import Past, Selection
from fleetsync.providers.base import Target


class Told(Struct, frozen=True, kw_only=True):
    """What earlier writes tell of a change.

    `contested` are the leaves that are fought over, and by whom; `rejected` what the service did not take of its part.
    """

    contested: Mapping[Path, str] = {}
    rejected: Sequence[Rejected] = ()


class Contests:
    """What the mirror says of the writes to one source, and of what became of them; `at` is now."""

    def __init__(self, target: Target, settings: SourceSettings, selection: Selection, at: datetime.datetime) -> None:
        self._target = target
        self._own = settings.auth.options.get("client_id")
        self._limit = settings.limits.max_rewrites
        self._selection = selection
        self._at = at

    def told(self, changes: Sequence[tuple[Change, Resource]]) -> list[Told]:
        """Return for each change of one type what became of earlier ones; 500 changes at most."""
        if not changes:
            return []
        ids = sorted({change.key.id for change, _ in changes})
        pasts = self._selection.pasts(self._target.name, changes[0][0].key.type, ids)
        return [
            Told()
            if (past := pasts.get(change.key.id)) is None
            else Told(
                contested=self._contested(change.leaves, resource, past), rejected=past.rejected.get(change.part, ())
            )
            for change, resource in changes
        ]

    def resting(self, change: Change, told: Told) -> str | None:
        """Say why a change is not sent again by itself for now; None where it may be."""
        last = resting(json_text(change.patch), told.rejected, now=self._at) if told.rejected else None
        return None if last is None else str(last)

    def _contested(self, leaves: Iterable[Leaf], resource: Resource, past: Past) -> Mapping[Path, str]:
        found: dict[Path, str] = {}
        for leaf in leaves:
            standing = past.standing(leaf, self._at)
            last = contest(leaf, past.writes, standing, now=self._at, limit=self._limit)
            if last is not None:
                found[leaf.path] = fought_by(last, self._who(resource), self._limit)
        return found

    def _who(self, resource: Resource) -> str | None:
        """Return who changed a resource last, if the service says; that we did says nothing of who is against it."""
        who = self._target.author(resource)
        return None if who == self._own else who
