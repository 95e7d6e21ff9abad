"""The indexes of ids, which a first load builds when it has ended, in one go.

Ids come in any order: kept up row by row, an index of ids is written many times over while it grows. While these are
missing every question is answered as ever, only slowly, by reading everything. They are built by the first listing that
ends, however it ends, and whatever a kill left unbuilt by the next process before it does anything else.

One of them is the key of `resource`. While it is missing, a listing that shows something knows by `Met` that it has no
row yet. The first time that this is not certain they are built, and from then on asked as ever.
"""

from collections.abc import Collection

from sqlalchemy import Connection, Index, select
from sqlalchemy.schema import CreateIndex, DropIndex

from fleetsync.mirror.engine import Statements
from fleetsync.mirror.met import Met
from fleetsync.mirror.resources import Scope
from fleetsync.mirror.tables import resource, resource_name

_KEY: Index = next(index for index in resource.indexes if index.name == "resource_by_key")
_OF_NAMES: Index = next(index for index in resource_name.indexes if index.name == "resource_name_by_id")
_ANY_ROW = select(resource.c.no).limit(1)
_ANY_NAME = select(resource_name.c.no).limit(1)


class Late:
    """Which of the indexes are missing, as far as this process has left them out. All of it runs in its one thread.

    After a rollback it may take an index for built that is not: that costs time, and nothing else.
    """

    def __init__(self) -> None:
        # Every row that there is, while the key is missing; None: ask the key.
        self._met: Met | None = None
        self.is_blank = False
        """There was no name before this first load, not even of something that was forgotten."""

    def postpone(self, on: Statements) -> None:
        """Do without them for the time being, if there is no row yet; names that are there keep theirs."""
        if on.rows(_ANY_ROW):
            return
        self.is_blank = not on.rows(_ANY_NAME)
        if self.is_blank:
            on.run(DropIndex(_OF_NAMES, if_exists=True))
        on.run(DropIndex(_KEY, if_exists=True))
        self._met = Met()

    @property
    def is_loading(self) -> bool:
        """Say whether a first load goes on without the key."""
        return self._met is not None

    def are_new(self, on: Statements, scope: Scope, ids: Collection[str]) -> bool:
        """Say whether it is certain without the key that none of these ids has a row; else all is built now."""
        if self._met is None:
            return False
        if not self._met.may_know((scope.source, scope.type), ids):
            return True
        self.build_early(on)
        return False

    def takes(self, on: Statements, scope: Scope, ids: Collection[str]) -> bool:
        """Say the same of ids that are all different and get a row now if it is so."""
        if self._met is None:
            return False
        if self._met.takes((scope.source, scope.type), ids):
            return True
        self.build_early(on)
        return False

    def build_early(self, on: Statements) -> None:
        """Build what this process has left out: rows are about to be added that no first load has met."""
        if self._met is not None:
            self.build(on)

    def build(self, on: Statements) -> None:
        """Build what is missing."""
        on.run(CreateIndex(_OF_NAMES, if_not_exists=True))
        on.run(CreateIndex(_KEY, if_not_exists=True))
        self._met = None
        self.is_blank = False


def build_left(connection: Connection) -> None:
    """Build what a process that was killed left unbuilt."""
    with connection.begin():
        Late().build(Statements(connection))
