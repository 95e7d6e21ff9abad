"""What a document must be to be stored the same way by every engine."""

import hashlib
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

_NO_JSON = "it is no JSON"
_ESCAPE_SIGN = b"\\"
_ESCAPED = b"\\u"
_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
# One escape after the other: a whole surrogate pair; what cannot be stored (the group); anything else.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u0000|\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)


_DIGEST_BYTES = 16
# To copy one takes a third less than to make one of this size.
_DIGEST = hashlib.blake2b(digest_size=_DIGEST_BYTES)


def digest_of(document: bytes | msgspec.Raw) -> bytes:
    """Return 16 bytes that tell two documents apart."""
    return digests_of((document,))[0]


def digests_of(documents: Iterable[bytes | msgspec.Raw]) -> list[bytes]:
    """Return the digest of each document; a call for each would cost a tenth more."""
    digests: list[bytes] = []
    for document in documents:
        digest = _DIGEST.copy()
        digest.update(document)
        digests.append(digest.digest())
    return digests


def digests_in(joined: bytes) -> Sequence[bytes]:
    """Return digests that were joined, one by one."""
    return struct.unpack(f"{_DIGEST_BYTES}s" * (len(joined) // _DIGEST_BYTES), joined)


def fault_in(document: bytes) -> str | None:
    """Return why a document (JSON as its service sent it) cannot be stored; None where it can.

    SQLite takes what PostgreSQL refuses: U+0000 and halves of surrogate pairs in texts. We refuse both, and numbers
    that no double holds. What is no JSON at all is not its business: whoever decodes it says so.
    """
    fault = content_of(document)[0]
    return None if fault == _NO_JSON else fault


def content_of(document: bytes) -> tuple[str | None, Any]:
    """Return why a document cannot be stored, or None and its content, decoded."""
    if may_hide(document) and any(escape[1] for escape in _ESCAPE.finditer(document)):
        return "a text in it holds U+0000 or half a surrogate pair", None
    try:
        return None, msgspec.json.decode(document)
    except UnicodeDecodeError:
        return "it is not UTF-8", None
    except msgspec.ValidationError:
        return "a number in it is too large", None
    except (msgspec.DecodeError, RecursionError):
        return _NO_JSON, None


def may_hide(document: bytes) -> bool:
    """Say whether a text in a document may be one that cannot be stored: only an escape can write it."""
    return _ESCAPED in document


def parsable(body: bytes) -> bytes:
    """Return a body with halves of surrogate pairs, which no parser takes, as U+0000, which `fault_in` refuses.

    So a page can be read although one document in it cannot be stored; all other bytes stay as they are.
    """
    # One byte is found several times as fast as two, and most pages have none.
    if _ESCAPE_SIGN not in body or not may_hide(body) or not _SUSPECT.search(body):
        return body
    return _ESCAPE.sub(lambda escape: b"\\u0000" if escape[1] else escape[0], body)


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


def without_members(document: bytes, is_secret: Callable[[str], bool]) -> bytes:
    """Return a document without the members, at any depth, whose name is a secret's; byte for byte where none is."""
    decoded = msgspec.json.decode(document)
    kept = _kept(decoded, is_secret)
    return document if kept == decoded else msgspec.json.encode(kept)


def _kept(node: object, is_secret: Callable[[str], bool]) -> object:
    match node:
        case dict():
            return {name: _kept(value, is_secret) for name, value in node.items() if not is_secret(name)}
        case list():
            return [_kept(item, is_secret) for item in node]
        case _:
            return node
