"""What is wanted: declarations, and how several that select one resource become one wish."""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from msgspec import Struct

from fleetsync.core.merge_patch import Json, same
from fleetsync.core.model import DEVICE, ResourceType
from fleetsync.core.path import Path, overlap


class Missing(Enum):
    """What stands where no value does."""

    ABSENT = "absent"
    """Declared: the key must not be there. Actual: it is not."""
    UNKNOWN = "unknown"
    """Actual: not read yet."""


ABSENT = Missing.ABSENT
UNKNOWN = Missing.UNKNOWN


def agree(one: Json | Missing, other: Json | Missing, *, folds: bool = False) -> bool:
    """Say whether two values, or what stands where no value does, are the same.

    `folds`: texts that differ in letter case only are one value.
    """
    if isinstance(one, Missing) or isinstance(other, Missing):
        return one is other
    if folds and isinstance(one, str) and isinstance(other, str):
        return one.casefold() == other.casefold()
    return same(one, other)


class Declaration(Struct, frozen=True, kw_only=True):
    """A selector and what its resources should look like.

    `where` is SQL over the view of `type`, None for all. `leaves` maps a path to its value or to ABSENT.
    `sources` is None for every source whose kind has the type. `file` is as the user would name it.
    """

    name: str
    file: str
    line: int
    leaves: Mapping[Path, Json | Missing]
    type: ResourceType = DEVICE
    where: str | None = None
    sources: tuple[str, ...] | None = None
    priority: int = 0

    def applies_to(self, source: str, type: ResourceType) -> bool:
        """Say whether it may select resources of this type in this source."""
        return type == self.type and (self.sources is None or source in self.sources)


class Wanted(Struct, frozen=True, kw_only=True):
    """A declared leaf, and who declares it."""

    path: Path
    value: Json | Missing
    declarations: tuple[str, ...]


class Contradiction(Struct, frozen=True, kw_only=True):
    """Two declarations of one priority that want different things at one place."""

    path: Path
    declarations: tuple[str, str]
    files: tuple[str, str]

    def __str__(self) -> str:
        (one, other), (file, other_file) = self.declarations, self.files
        return f"{one} ({file}) and {other} ({other_file}) have the same priority and disagree"


class Wish(Struct, frozen=True, kw_only=True):
    """What all declarations together want of one resource, leaf by leaf."""

    leaves: tuple[Wanted, ...]
    contradictions: tuple[Contradiction, ...] = ()


def merge(declarations: Iterable[Declaration]) -> Wish:
    """Return the wish of several declarations: higher priority wins, leaf by leaf; equals must agree.

    Never "newest wins": equal priority and different values make a contradiction. A leaf that lies on the way to
    another (`tags` and `tags.ring`) disagrees with it.
    """
    kept: list[tuple[Path, Json | Missing, list[Declaration]]] = []
    contradictions: list[Contradiction] = []
    for declaration in sorted(declarations, key=lambda d: (-d.priority, d.name)):
        for path, value in sorted(declaration.leaves.items()):
            rivals = [entry for entry in kept if overlap(entry[0], path)]
            if not rivals:
                kept.append((path, value, [declaration]))
            for rival_path, rival_value, owners in rivals:
                if rival_path == path and agree(rival_value, value):
                    owners.append(declaration)
                elif owners[0].priority == declaration.priority:
                    contradictions.append(_contradiction(path, owners[0], declaration))
    leaves = (Wanted(path=p, value=v, declarations=tuple(d.name for d in o)) for p, v, o in kept)
    return Wish(leaves=tuple(sorted(leaves, key=lambda leaf: leaf.path)), contradictions=tuple(contradictions))


def _contradiction(path: Path, one: Declaration, other: Declaration) -> Contradiction:
    return Contradiction(path=path, declarations=(one.name, other.name), files=(one.file, other.file))


def in_force(declarations: Sequence[Declaration], source: str, type: ResourceType) -> tuple[Declaration, ...]:
    """Return the declarations that may select resources of this type in this source."""
    return tuple(declaration for declaration in declarations if declaration.applies_to(source, type))
