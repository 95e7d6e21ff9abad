"""Where a value stands in a document, written in TOML's dotted-key syntax: `tags."a.b".ring`."""

import re
import tomllib
from collections.abc import Iterator, Mapping

Path = tuple[str, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_KEY = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')[ \t]*(\.|\Z)""")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def render(path: Path) -> str:
    """Return `path` as a TOML dotted key; keys that are not bare are quoted."""
    return ".".join(key if _BARE.match(key) else _quoted(key) for key in path)


def _quoted(key: str) -> str:
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else f"\\U{ord(c):08X}") for c in key) + '"'


def parse(text: str) -> Path:
    """Return the path that `text` writes as a TOML dotted key; the inverse of `render`.

    Raises:
        ValueError: it is no dotted key.
    """
    keys: list[str] = []
    end, more = 0, True
    while more:
        match = _KEY.match(text, end)
        if match is None:
            raise ValueError("not a dotted key")
        keys.append(_unquoted(match[1]))
        end, more = match.end(), match[2] == "."
    return tuple(keys)


def _unquoted(key: str) -> str:
    if _BARE.match(key):
        return key
    return str(tomllib.loads(f"key = {key}")["key"])  # the escapes are TOML's, so TOML's own parser reads them


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
