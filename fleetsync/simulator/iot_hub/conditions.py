"""Conditions of IoT Hub: what stands behind WHERE, and in the target of a configuration.

    condition AND condition | condition OR condition | NOT condition | (condition)
    path comparison literal | path comparison path      the comparisons are =, !=, <>, <, <=, > and >=
    path IN [literal, ...]  | path NIN [literal, ...]
    IS_DEFINED(path)        | STARTSWITH(path, 'text')  | ENDSWITH(path, 'text')

NOT binds stronger than AND, and AND than OR. A value that is missing, or of another type, fulfils no comparison.
Facts: iot-hub-devguide-query-language at learn.microsoft.com, the metrics that Azure/azure-iot-cli-extension recorded
(paths are compared with paths), and MicrosoftDocs/azure-docs issue 110329 (no underscore in STARTSWITH), read 2026-11.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from fleetsync.simulator.iot_hub.query_tokens import QueryError, Words
from fleetsync.simulator.iot_hub.records import ABSENT, Record, value_of

Condition: TypeAlias = Callable[[Record], bool]
_Value: TypeAlias = Callable[[Record], object]

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq, "!=": operator.ne, "<>": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_DEEPEST: Final = 50


def parse_condition(text: str) -> Condition:
    """Return the condition that a text is.

    Raises:
        QueryError: it is none of the above.
    """
    words = Words(text)
    found = condition(words)
    words.end()
    return found


def condition(words: Words, depth: int = 0) -> Condition:
    """Read a condition.

    Raises:
        QueryError: none comes.
    """
    parts = [_conjunction(words, depth)]
    while words.has("or"):
        parts.append(_conjunction(words, depth))
    return lambda record: any(part(record) for part in parts)


def _conjunction(words: Words, depth: int) -> Condition:
    parts = [_single(words, depth)]
    while words.has("and"):
        parts.append(_single(words, depth))
    return lambda record: all(part(record) for part in parts)


def _single(words: Words, depth: int) -> Condition:
    if depth > _DEEPEST:
        raise QueryError("too deep")
    if words.has("not"):
        inner = _single(words, depth + 1)
        return lambda record: not inner(record)
    if words.has("("):
        inner = condition(words, depth + 1)
        words.expect(")")
        return inner
    if words.has("is_defined"):
        return _is_defined(words)
    for name, holds in (("startswith", str.startswith), ("endswith", str.endswith)):
        if words.has(name):
            return _has_affix(words, holds)
    return _comparison(words)


def _is_defined(words: Words) -> Condition:
    words.expect("(")
    path = words.path()
    words.expect(")")
    return lambda record: value_of(record, path) is not ABSENT


def _has_affix(words: Words, holds: Callable[[str, str], bool]) -> Condition:
    words.expect("(")
    path = words.path()
    words.expect(",")
    affix = words.literal()
    words.expect(")")
    if not isinstance(affix, str):
        raise QueryError("that function needs a text")

    def found(record: Record) -> bool:
        value = value_of(record, path)
        return isinstance(value, str) and holds(value, affix)

    return found


def _comparison(words: Words) -> Condition:
    path = words.path()
    if words.has("in"):
        return _membership(words, lambda record: value_of(record, path), is_member=True)
    if words.has("nin"):
        return _membership(words, lambda record: value_of(record, path), is_member=False)
    compare = _COMPARISONS.get(words.next())
    if compare is None:
        raise QueryError("not a comparison")
    right = _operand(words)
    return lambda record: _compared(compare, value_of(record, path), right(record))


def _membership(words: Words, value: _Value, *, is_member: bool) -> Condition:
    words.expect("[")
    members = [words.literal()]
    while words.has(","):
        members.append(words.literal())
    words.expect("]")

    def holds(record: Record) -> bool:
        found = value(record)
        return found is not ABSENT and is_member == any(_compared(operator.eq, found, one) for one in members)

    return holds


def _operand(words: Words) -> _Value:
    if words.is_path_next():
        path = words.path()
        return lambda record: value_of(record, path)
    literal = words.literal()
    return lambda _record: literal


def _compared(compare: Callable[[Any, Any], bool], left: object, right: object) -> bool:
    if ABSENT in (left, right) or _type(left) is not _type(right):
        return False
    try:
        return compare(left, right)
    except TypeError:
        return False


def _type(value: object) -> type:
    """Return the type of a JSON value; all numbers are of one."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
