"""The words of the query language of IoT Hub: texts, numbers, names and signs."""

import re
from typing import Final

_LONGEST: Final = 8192
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|(?P<quoted>\[\[[^\]]+\]\])|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<name>[A-Za-z_$][\w$]*)|(?P<sign><=|>=|!=|<>|[=<>(),.*]))"
)


class QueryError(Exception):
    """A query is none, or one that is not served here."""


def tokens(text: str) -> list[tuple[str, str]]:
    """Return the tokens of a query in order, each with its kind: text, quoted, number, name or sign.

    Raises:
        QueryError: it is too long, or there is something that is no token.
    """
    if len(text) > _LONGEST:
        raise QueryError("too long")
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise QueryError(f"not a token at {at}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def unescaped(text: str) -> str:
    """Return the inside of a literal without its escapes."""
    return re.sub(r"\\(u[0-9A-Fa-f]{4}|.)", _unescaped, text)


def _unescaped(match: re.Match[str]) -> str:
    escaped = match[1]
    return chr(int(escaped[1:], 16)) if len(escaped) > 1 else escaped
