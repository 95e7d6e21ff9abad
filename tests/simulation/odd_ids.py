"""Ids that are more than letters, digits and dashes, by what is odd about them."""

from collections.abc import Iterator, Mapping

ODD_IDS: Mapping[str, str] = {
    "an id with a slash": "hall/2/boiler",
    "an id with a percent sign": "50%25-sensor",
    "an id with a number sign": "probe#7a",
    "an id with a question mark": "which?one!",
    "an id with a plus sign": "one+one",
    "an id with a colon": "00:1B:44",
    "an id with an at sign": "it@home",
    "an id with an apostrophe": "it's-(the)=one",
    "an id with brackets": "(the)-(one)",
    "an id with a space": "the one",
    "an id that is a dot": ".",
    "an id that is two dots": "..",
    "an id of 255 bytes": "é" * 100 + "x" * 55,
    "an id with control characters": "bell\x07 and tab\t",
    "an id with a priority for the journal": "one\n<2>all is lost",
    "an id with escapes for terminals": "\x1b[2Jcleared",
    "an id that is SQL": "'; DROP TABLE resource; --",
}

UNASKABLE = frozenset({".", ".."})
"""What no path can hold: it is refused."""

_MARKS: Mapping[str, str] = {
    "/": "an id with a slash",
    "%": "an id with a percent sign",
    "#": "an id with a number sign",
    "?": "an id with a question mark",
    "+": "an id with a plus sign",
    ":": "an id with a colon",
    "@": "an id with an at sign",
    "'": "an id with an apostrophe",
    "(": "an id with brackets",
    " ": "an id with a space",
    "\x07": "an id with control characters",
    "\n<": "an id with a priority for the journal",
    "\x1b": "an id with escapes for terminals",
    "DROP TABLE": "an id that is SQL",
    "é": "an id of 255 bytes",
}


def oddities(id: str) -> Iterator[str]:
    """Yield what is odd about an id."""
    return (label for mark, label in _MARKS.items() if mark in id)
