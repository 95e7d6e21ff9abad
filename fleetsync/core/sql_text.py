"""What can be said of a `where` by looking at its text: enough to keep it inside its brackets on every engine."""

import re
from collections.abc import Iterator

from msgspec import Struct

_TOKEN = re.compile(
    r"""
      (?P<string>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<bracketed>\[[^\]]*\]|`(?:[^`]|``)*`)
    | (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>\d[\w.]*)
    | (?P<space>\s+)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)

_OWN = re.compile(r"\(|AS (\(|NOT\b|MATERIALIZED\b)")


class Token(Struct, frozen=True):
    """A word of SQL; `kind` is string, quoted, bracketed, comment, name, number or mark."""

    kind: str
    text: str


def tokens(sql: str) -> Iterator[Token]:
    """Yield the words of SQL without the space between them."""
    for match in _TOKEN.finditer(sql):
        if match.lastgroup not in {None, "space"}:
            yield Token(str(match.lastgroup), match.group())


def fault_in(where: str) -> str | None:
    """Return what makes a selector unfit before any engine reads it; None where nothing does.

    A comment could swallow the bracket that follows, and parameters, variables, several statements and the quirks
    of one engine are not what a selector is made of.
    """
    if not where.strip():
        return "an empty selector: leave it out to select everything"
    faults = (_fault_of(token) for token in tokens(where))
    return next((fault for fault in faults if fault), None) or _unbalanced(where)


def _fault_of(token: Token) -> str | None:
    match token:
        case Token("comment"):
            return "comments do not belong in a selector: write them in the file, after #"
        case Token("mark", ";"):
            return "one expression, without a semicolon"
        case Token("bracketed") | Token("mark", "?" | "@" | "$" | "`" | "#" | "\\" | ":"):
            return f"{token.text!r} does not belong in a selector"
        case Token("mark", "'" | '"'):
            return "a quote is not closed"
        case _:
            return None


def _unbalanced(where: str) -> str | None:
    depth = 0
    for token in tokens(where):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth < 0:
            return "a bracket is closed that was not opened"
    return "a bracket is not closed" if depth else None


def quoted_names(where: str) -> tuple[str, ...]:
    """Return the names in double quotes: SQLite takes one that it does not know for a text."""
    found = (token.text[1:-1].replace('""', '"') for token in tokens(where) if token.kind == "quoted")
    return tuple(found)


def own_names(sql: str) -> frozenset[str]:
    """Return, in lower case, what a statement calls queries of its own (`WITH name AS (…)`), functions included.

    SQLite's authorizer cannot tell such a query from a view of that name.
    """
    words = [token for token in tokens(sql) if token.kind != "comment"]
    names = (word.text if word.kind == "name" else word.text[1:-1] for word in words)
    following = (" ".join(word.text.upper() for word in words[place + 1 : place + 3]) for place in range(len(words)))
    return frozenset(name.lower() for name, after in zip(names, following, strict=True) if _OWN.match(after))


def reads_elsewhere(where: str) -> bool:
    """Say whether it has a sub-query, and so depends on more than the row that it looks at."""
    return any(token.kind == "name" and token.text.upper() in {"SELECT", "VALUES", "TABLE"} for token in tokens(where))
