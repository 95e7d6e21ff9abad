"""The words of the query language of IoT Hub: texts, numbers, names and signs, and paths made of names."""

import json
import re
from collections.abc import Mapping
from typing import Final

from fleetsync.simulator.iot_hub.twins import Path

_LONGEST: Final = 8192
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|(?P<quoted>\[\[[^\]]+\]\])|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<name>[A-Za-z_$][\w$]*)|(?P<sign><=|>=|!=|<>|[=<>(),.*\[\]]))"
)
_CONSTANTS: Final[Mapping[str, object]] = {"true": True, "false": False, "null": None}
_KEYWORDS: Final = frozenset(
    (
        *("select", "top", "from", "where", "group", "by", "order", "as", "count"),
        *("and", "or", "not", "in", "nin", "is_defined", "startswith", "endswith"),
    )
)


class QueryError(Exception):
    """A query is none, or one that is not served here."""


class Words:
    """Reads the tokens of a query from left to right; keywords and constants are no names unless they are quoted.

    Raises:
        QueryError: from every method, what was to come does not; and at once for what is too long or no token.
    """

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0

    def has(self, word: str) -> bool:
        """Go past a keyword or sign if it is the next one, and return whether it was."""
        if self._at < len(self._tokens):
            kind, text = self._tokens[self._at]
            if kind in ("name", "sign") and text.lower() == word:
                self._at += 1
                return True
        return False

    def expect(self, *words: str) -> None:
        """Go past keywords and signs that have to come."""
        for word in words:
            if not self.has(word):
                raise QueryError(f"{word.upper()} is missing")

    def end(self) -> None:
        """Have nothing left."""
        if self._at < len(self._tokens):
            raise QueryError(f'nothing goes on with "{self._tokens[self._at][1]}"')

    def next(self) -> str:
        """Return the next token as it is written."""
        return self._next()[1]

    def name(self) -> str:
        """Return the next name, quoted or not."""
        kind, text = self._next()
        if kind == "quoted":
            return text[2:-2]
        if kind != "name" or text.lower() in _KEYWORDS or text.lower() in _CONSTANTS:
            raise QueryError(f'"{text}" is no name')
        return text

    def path(self) -> Path:
        """Return the next path, in camel case however it was written, as answers are."""
        names = [self.name()]
        while self.has("."):
            names.append(self.name())
        if names[0].lower() == "devices" and len(names) > 1:
            names = names[1:]
        return (names[0][0].lower() + names[0][1:], *names[1:])

    def literal(self) -> object:
        """Return the next text, number or constant."""
        kind, text = self._next()
        if kind == "number":
            return json.loads(text)
        if kind == "text":
            return _unescaped(text[1:-1])
        if kind == "name" and text.lower() in _CONSTANTS:
            return _CONSTANTS[text.lower()]
        raise QueryError(f'"{text}" is no literal')

    def is_path_next(self) -> bool:
        """True when a path comes next, or at least what begins like one."""
        if self._at >= len(self._tokens):
            return False
        kind, text = self._tokens[self._at]
        return kind == "quoted" or (kind == "name" and text.lower() not in _CONSTANTS)

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise QueryError("it ends too early")
        self._at += 1
        return self._tokens[self._at - 1]


def _tokens(text: str) -> list[tuple[str, str]]:
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


def _unescaped(text: str) -> str:
    return re.sub(r"\\(u[0-9A-Fa-f]{4}|.)", _character, text)


def _character(match: re.Match[str]) -> str:
    escaped = match[1]
    return chr(int(escaped[1:], 16)) if len(escaped) > 1 else escaped
