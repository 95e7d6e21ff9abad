"""The index of the history by resource, which a first load builds when it has ended, in one go.

Ids come in any order: kept up row by row, the index of a history that is still empty is written many times over. While
it is missing nothing is wrong, only slow. It is built by the first listing that ends, however it ends, and whatever a
kill left unbuilt by the next process before it does anything else.
"""

from sqlalchemy import Connection, Index, select
from sqlalchemy.schema import CreateIndex, DropIndex

from fleetsync.mirror.engine import Statements
from fleetsync.mirror.tables import event

_INDEX: Index = next(index for index in event.indexes if index.name == "event_by_resource")
_ANY = select(event.c.id).limit(1)


def postpone(on: Statements) -> None:
    """Do without the index for the time being, if there is no history yet."""
    if not on.rows(_ANY):
        on.run(DropIndex(_INDEX, if_exists=True))


def build(on: Statements) -> None:
    """Build the index if it is missing."""
    on.run(CreateIndex(_INDEX, if_not_exists=True))


def build_left(connection: Connection) -> None:
    """Build what a process that was killed left unbuilt."""
    with connection.begin():
        build(Statements(connection))
