"""What a document must be to be stored the same way by every engine."""

import re

import msgspec

_LONE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u....)\\u[dD][c-fC-F]")


def fault_in(document: bytes) -> str | None:
    """Return why a document (JSON as its service sent it) cannot be stored; None where it can.

    SQLite takes what PostgreSQL refuses: U+0000 and halves of surrogate pairs in texts. We refuse both.
    """
    if b"\\u0000" in document:
        return "a text in it holds U+0000"
    if b"\\ud" in document.lower() and _LONE.search(document):
        return "a text in it holds half a surrogate pair"
    try:
        document.decode()
    except UnicodeDecodeError:
        return "it is not UTF-8"
    return None


def without_secrets(document: bytes, paths: tuple[tuple[str, ...], ...]) -> bytes:
    """Return a document without the members at `paths`; one that has none of them is returned byte for byte."""
    decoded = msgspec.json.decode(document)
    found = [path for path in paths if _remove(decoded, path)]
    return msgspec.json.encode(decoded) if found else document


def _remove(node: object, path: tuple[str, ...]) -> bool:
    *above, last = path
    for key in above:
        node = node.get(key) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node:
        return False
    del node[last]
    return True
