"""The query language of IoT Hub, as much of it as a mirror needs; whatever else there is, is invalid here.

    SELECT * | COUNT() AS name | path [AS name], ...
    FROM devices | devices.modules
    [WHERE condition AND condition ...]

A condition compares a path with a literal (`=`, `!=`, `<>`, `<`, `<=`, `>`, `>=`), or is `STARTSWITH(path, 'text')`
or `IS_DEFINED(path)`. `[[name]]` quotes a name. A value that is missing, or of another type, fulfils no comparison.
Facts: iot-hub-devguide-query-language at learn.microsoft.com, and MicrosoftDocs/azure-docs issues 110329 (no
underscore in STARTSWITH) and 17106 (quoted names), read 2026-11.
"""

import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from fleetsync.simulator.iot_hub_index import Source
from fleetsync.simulator.iot_hub_query_tokens import QueryError, tokens, unescaped
from fleetsync.simulator.iot_hub_records import ABSENT, Record, value_of
from fleetsync.simulator.iot_hub_twins import Path
from fleetsync.simulator.wire import Object

Condition: TypeAlias = Callable[[Record], bool]

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq, "!=": operator.ne, "<>": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_CONSTANTS: Final[Mapping[str, object]] = {"true": True, "false": False, "null": None}
_KEYWORDS: Final = frozenset(
    [
        "select",
        "from",
        "where",
        "and",
        "or",
        "not",
        "as",
        "group",
        "by",
        "top",
        "in",
        "nin",
        "order",
        "true",
        "false",
        "null",
        "is_defined",
        "startswith",
        "count",
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query taken apart; without columns it selects whole rows."""

    source: Source
    columns: Mapping[str, Path]
    counted_as: str | None
    condition: Condition | None

    @property
    def is_whole(self) -> bool:
        """True when its rows are whole twins."""
        return not self.columns and self.counted_as is None

    def selects(self, record: Record) -> bool:
        """True for a row of the answer."""
        return self.condition is None or self.condition(record)

    def projected(self, record: Record) -> Object:
        """Return the columns of a row; a value that is missing is left out."""
        found = {name: value_of(record, path) for name, path in self.columns.items()}
        return {name: value for name, value in found.items() if value is not ABSENT}


def parse_query(text: str) -> Query:
    """Take a query apart.

    Raises:
        QueryError: it is not of the form above.
    """
    parser = _Parser(text)
    found = parser.query()
    parser.end()
    return found


def parse_condition(text: str) -> Condition:
    """Take the part behind WHERE apart.

    Raises:
        QueryError: it is not of the form above.
    """
    parser = _Parser(text)
    found = parser.condition()
    parser.end()
    return found


class _Parser:
    """Reads tokens from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self._at = 0

    def query(self) -> Query:
        self._word("select")
        columns, counted_as = self._columns()
        self._word("from")
        source = self._source()
        condition = self.condition() if self._has("where") else None
        return Query(source=source, columns=columns, counted_as=counted_as, condition=condition)

    def condition(self) -> Condition:
        parts = [self._comparison()]
        while self._has("and"):
            parts.append(self._comparison())
        return lambda record: all(part(record) for part in parts)

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise QueryError(f'nothing goes on with "{self._tokens[self._at][1]}"')

    def _columns(self) -> tuple[dict[str, Path], str | None]:
        if self._has("*"):
            return {}, None
        if self._has("count"):
            self._signs("()")
            self._word("as")
            return {}, self._name()
        columns: dict[str, Path] = {}
        while True:
            path = self._path()
            columns[self._name() if self._has("as") else path[-1]] = path
            if not self._has(","):
                return columns, None

    def _source(self) -> Source:
        self._word("devices")
        if not self._has("."):
            return "devices"
        self._word("modules")
        return "devices.modules"

    def _comparison(self) -> Condition:
        if self._has("is_defined"):
            return self._is_defined()
        if self._has("startswith"):
            return self._starts_with()
        path = self._path()
        compare, literal = _COMPARISONS.get(self._next()[1]), self._literal()
        if compare is None:
            raise QueryError("not a comparison")

        def holds(record: Record) -> bool:
            value = value_of(record, path)
            if _type(value) is not _type(literal):
                return False
            try:
                return compare(value, literal)
            except TypeError:
                return False

        return holds

    def _is_defined(self) -> Condition:
        self._signs("(")
        path = self._path()
        self._signs(")")
        return lambda record: value_of(record, path) is not ABSENT

    def _starts_with(self) -> Condition:
        self._signs("(")
        path = self._path()
        self._signs(",")
        start = self._literal()
        self._signs(")")
        if not isinstance(start, str):
            raise QueryError("STARTSWITH needs a text")

        def holds(record: Record) -> bool:
            value = value_of(record, path)
            return isinstance(value, str) and value.startswith(start)

        return holds

    def _path(self) -> Path:
        names = [self._name()]
        while self._has("."):
            names.append(self._name())
        if names[0].lower() == "devices" and len(names) > 1:
            names = names[1:]
        # Answers are in camel case, however the query was written.
        return (names[0][0].lower() + names[0][1:], *names[1:])

    def _name(self) -> str:
        kind, text = self._next()
        if kind == "quoted":
            return text[2:-2]
        if kind != "name" or text.lower() in _KEYWORDS:
            raise QueryError(f'"{text}" is no name')
        return text

    def _literal(self) -> object:
        kind, text = self._next()
        if kind == "number":
            return json.loads(text)
        if kind == "text":
            return unescaped(text[1:-1])
        if kind == "name" and text.lower() in _CONSTANTS:
            return _CONSTANTS[text.lower()]
        raise QueryError(f'"{text}" is no literal')

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise QueryError("it ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _has(self, word: str) -> bool:
        """Go past a keyword or sign if it is the next one, and return whether it was."""
        if self._at < len(self._tokens):
            kind, text = self._tokens[self._at]
            if kind in ("name", "sign") and text.lower() == word:
                self._at += 1
                return True
        return False

    def _word(self, word: str) -> None:
        if not self._has(word):
            raise QueryError(f"{word.upper()} is missing")

    def _signs(self, signs: str) -> None:
        for sign in signs:
            self._word(sign)


def _type(value: object) -> type:
    """Return the type of a JSON value; all numbers are of one."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
