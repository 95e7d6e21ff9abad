"""What one declaration wants, leaf by leaf, checked against what the kinds of its sources let anybody write."""

import datetime
import math
from collections.abc import Collection, Iterator, Mapping

from fleetsync.config.table import Table
from fleetsync.config.values import Reader, UnfitError, as_table, as_text, as_type
from fleetsync.config.wording import kind_of, quote, suggestion
from fleetsync.core import path as dotted
from fleetsync.core.declaration import ABSENT, Missing
from fleetsync.core.kind import ANY, Kind, Writable
from fleetsync.core.merge_patch import Json
from fleetsync.core.model import ResourceType
from fleetsync.core.path import Path

_UNFIT = "is a secret, and secrets are neither mirrored nor declared"


def read_leaves(table: Table, type: ResourceType, kinds: Collection[Kind]) -> Mapping[Path, Json | Missing]:
    """Return the leaves of the declaration in `table`: those of `desired`, and those of `unset` as ABSENT.

    All of `kinds` have resources of this type, and each leaf must be writable in all of them.
    """
    desired = _read_desired(table, type, kinds)
    unset = table.each("unset", _as_unset(type, kinds, desired)) or ()
    if "desired" not in table and "unset" not in table:
        table.refuse("declares nothing: it needs `desired` or `unset`")
    return {**desired, **dict.fromkeys(unset, ABSENT)}


def _read_desired(table: Table, type: ResourceType, kinds: Collection[Kind]) -> Mapping[Path, Json]:
    tree = table.take("desired", as_table, None)
    if tree is not None and not tree:
        table.refuse("`desired` is an empty table and declares nothing", "desired")
    leaves = dict(dotted.leaves(tree or {}))
    for path, value in leaves.items():
        try:
            _check(path, value, type, kinds)
        except UnfitError as error:
            table.refuse(f"{_shown(path)} {error}", "desired", *path)
    return leaves


def _check(path: Path, value: Json, type: ResourceType, kinds: Collection[Kind]) -> None:
    if value == {}:
        raise UnfitError("is an empty table and declares nothing")
    _check_json([*path, value])
    for kind in kinds:
        as_type(_writable(path, type, kind).value)(value)
        if any(map(kind.specs[type].is_secret, _names_in(value))):
            raise UnfitError(f"holds a member that {_UNFIT}")


def _writable(path: Path, type: ResourceType, kind: Kind) -> Writable:
    spec = kind.specs[type]
    writable = spec.writable_at(path)
    if writable is None:
        names = [_pattern(possible.path) for possible in spec.writable]
        meant = suggestion(dotted.render(path), names)
        possible = ", ".join(names) or "nothing"
        raise UnfitError(f"cannot be declared for the resource `{type}` of {kind.name}{meant} (possible: {possible})")
    if any(map(spec.is_secret, path)):
        raise UnfitError(_UNFIT)
    return writable


def _names_in(value: Json) -> Iterator[str]:
    """Yield the names of all members within a value."""
    match value:
        case dict():
            for name, inner in value.items():
                yield name
                yield from _names_in(inner)
        case list():
            for item in value:
                yield from _names_in(item)
        case _:
            pass


def _check_json(value: object) -> None:
    """Refuse what TOML can say and JSON cannot, or not everywhere."""
    match value:
        case dict():
            for key, member in value.items():
                _check_json(key)
                _check_json(member)
        case list():
            for element in value:
                _check_json(element)
        case float() if not math.isfinite(value):
            raise UnfitError("holds inf or nan, which JSON does not have")
        case datetime.date() | datetime.time():
            raise UnfitError(f"holds {kind_of(value)}, which JSON does not have: write it as a string")
        case int() if not -(2**63) <= value < 2**63:
            raise UnfitError("holds an integer of more than 64 bits")
        case str() if "\0" in value:
            raise UnfitError("holds a NUL character")
        case _:
            pass


def _as_unset(type: ResourceType, kinds: Collection[Kind], desired: Collection[Path]) -> Reader[Path]:
    """Return a reader of one element of `unset`; each may overlap neither `desired` nor those that came before."""
    unset: list[Path] = []

    def read(value: object) -> Path:
        path = _as_dotted(value)
        if any(dotted.overlap(path, other) for other in desired):
            raise UnfitError(f"holds {_shown(path)}, and `desired` sets it, or something above or below it")
        if any(dotted.overlap(path, other) for other in unset if other != path):
            raise UnfitError(f"holds {_shown(path)}, and something above or below it")
        unset.append(path)
        for kind in kinds:
            _check_unset(path, type, kind)
        return path

    return read


def _check_unset(path: Path, type: ResourceType, kind: Kind) -> None:
    try:
        _writable(path, type, kind)
    except UnfitError as error:
        raise UnfitError(f"holds {_shown(path)}, which {error}") from error


def _as_dotted(value: object) -> Path:
    text = as_text(value)
    try:
        return dotted.parse(text)
    except ValueError as error:
        raise UnfitError(
            f"holds {quote(text)}, which is no dotted key: quote what is not a letter, digit, `_` or `-`"
        ) from error


def _shown(path: Path) -> str:
    return quote(dotted.render(path))


def _pattern(path: Path) -> str:
    return ".".join("<name>" if key == ANY else dotted.render((key,)) for key in path)
