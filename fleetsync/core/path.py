"""Where a value stands in a document, written in TOML's dotted-key syntax: `tags."a.b".ring`."""

import re
from collections.abc import Iterator, Mapping

Path = tuple[str, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def render(path: Path) -> str:
    """Return `path` as a TOML dotted key; keys that are not bare are quoted."""
    return ".".join(key if _BARE.match(key) else _quoted(key) for key in path)


def _quoted(key: str) -> str:
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else f"\\U{ord(c):08X}") for c in key) + '"'


def leaves(document: Mapping[str, object], prefix: Path = ()) -> Iterator[tuple[Path, object]]:
    """Yield every value that is not a non-empty object, with its path. Arrays are values."""
    for key, value in document.items():
        path = (*prefix, key)
        if isinstance(value, Mapping) and value:
            yield from leaves(value, path)
        else:
            yield path, value


def overlap(one: Path, other: Path) -> bool:
    """Say whether one of the two paths lies on the way to the other, or is it."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]
