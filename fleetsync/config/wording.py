"""The words in which a problem is put: quoted names, kinds of values, and what was probably meant."""

import datetime
import difflib
from collections.abc import Iterable

_LONGEST = 200
_KINDS = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    dict: "a table",
    datetime.datetime: "a date with a time",
    datetime.date: "a date",
    datetime.time: "a time",
}


def quote(text: str) -> str:
    """Return `text` in backquotes: on one line, cut, and without anything that a terminal would obey."""
    cut = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    return "`" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut) + "`"


def quote_all(texts: Iterable[str]) -> str:
    """Return all of them quoted, with commas."""
    return ", ".join(map(quote, texts))


def kind_of(value: object) -> str:
    """Return what TOML calls a value like this, with its article; never the value."""
    return _KINDS.get(type(value), "something else")


def suggestion(word: str, choices: Iterable[str]) -> str:
    """Return "; did you mean `x`?" with the choice most like `word`, or nothing where none is."""
    near = difflib.get_close_matches(word[:_LONGEST], list(choices), n=1)
    return f"; did you mean {quote(near[0])}?" if near else ""
