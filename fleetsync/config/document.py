"""A TOML file that was read: what it says, and on which line."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from fleetsync.config.positions import Place, Positions, positions
from fleetsync.errors import ConfigError, Problem

_DEEPEST = 64
"""Nothing that belongs here is nested deeper, and what walks over the values may recurse."""

_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)\Z")


class Document(Struct, frozen=True, kw_only=True):
    """A TOML file: its tree, and where its keys stand. `file` is as the user would name it."""

    file: str
    tree: Mapping[str, object]
    positions: Positions

    def problem(self, place: Place, message: str) -> Problem:
        """Return a problem with what stands at `place`, or should."""
        return Problem(message=message, file=self.file, line=self.positions.line_of(place))


def read_document(path: Path, *, file: str) -> Document:
    """Read a TOML file.

    Raises:
        ConfigError: it cannot be read, or is not TOML in UTF-8.
    """
    try:
        content = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise ConfigError(Problem(message=f"cannot be read: {error.strerror}", file=file)) from error
    if content is None:
        raise ConfigError(Problem(message="is not a file" if path.exists() else "does not exist", file=file))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(Problem(message="is not UTF-8", file=file, line=line)) from error
    return parse_document(text, file=file)


def parse_document(text: str, *, file: str) -> Document:
    """Parse the text of a TOML file.

    Raises:
        ConfigError: it is not TOML, or nested too deeply.
    """
    try:
        tree = tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(_too_deep(file)) from error
    except ValueError as error:  # also an integer of more digits than Python cares to read
        raise ConfigError(_syntax_problem(str(error), file)) from error
    if _is_deeper(tree, _DEEPEST):
        raise ConfigError(_too_deep(file))
    return Document(file=file, tree=tree, positions=positions(text))


def _syntax_problem(message: str, file: str) -> Problem:
    place = _PLACE.search(message)
    line = int(place[1]) if place and place[1] else None
    reason = message[: place.start()] if place else message
    where = " at the end of the file" if place and line is None else ""
    return Problem(message=f"not TOML: {reason[:1].lower()}{reason[1:256]}{where}", file=file, line=line)


def _too_deep(file: str) -> Problem:
    return Problem(message=f"nested more than {_DEEPEST} levels deep", file=file)


def _is_deeper(tree: object, deepest: int) -> bool:
    level = [tree]
    for _ in range(deepest):
        level = [child for node in level for child in _children(node)]
    return bool(level)


def _children(node: object) -> Iterable[object]:
    if isinstance(node, Mapping):
        return node.values()
    return node if isinstance(node, list) else ()
