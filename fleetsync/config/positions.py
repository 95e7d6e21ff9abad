"""On which line of a TOML text each key stands. tomllib parses and judges; this only locates.

A key that is written several times on its way to others (`[a.b]`, then `[a]`) stands where it is
written for its own sake; failing that, where it is first written at all.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping

from fleetsync.core import path as dotted

Place = tuple[str | int, ...]
"""The way to a value: keys of tables, indices of arrays."""

_STRINGS = (
    r'"""(?:[^"\\]|\\[\s\S]|"(?!""))*"{3,5}',
    r"'''(?:[^']|'(?!''))*'{3,5}",
    r'"(?:[^"\\\n]|\\.)*"',
    r"'[^'\n]*'",
)
_TOKEN = re.compile(rf"(?P<skip>[ \t\r]+|#[^\n]*)|\n|{'|'.join(_STRINGS)}|[\[\]{{}}=,.]|[^\s\[\]{{}}=,.#\"']+")
_AFTER_A_SCALAR = frozenset({"\n", ",", "]", "}", ""})


class Positions:
    """The lines of a text's keys and array elements, counted from 1."""

    def __init__(self, lines: Mapping[Place, int]) -> None:
        self._lines = lines

    def line_of(self, place: Place) -> int | None:
        """Return the line of `place`, or of the nearest place on the way to it; None where nothing is."""
        for end in range(len(place), 0, -1):
            if place[:end] in self._lines:
                return self._lines[place[:end]]
        return None


def positions(text: str) -> Positions:
    """Return where the keys of `text` stand. It must be TOML that tomllib reads.

    Raises:
        ValueError: it is not TOML. Not every text that is not TOML is noticed.
    """
    scan = _Scan(text)
    scan.statements()
    return Positions(scan.lines)


class _Scan:
    """One walk over the tokens of a text; an empty token is its end."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._tokens = [(m[0], m.start()) for m in _TOKEN.finditer(text) if m["skip"] is None]
        self._tokens.append(("", len(text)))
        self._at = 0
        self._last_index: dict[Place, int] = {}

    def statements(self) -> None:
        """Walk over the whole text and fill `lines`."""
        table: Place = ()
        while self._skip_newlines():
            if self._here == "[":
                table = self._header()
            else:
                self._pair(table)

    @property
    def _here(self) -> str:
        return self._tokens[self._at][0]

    @property
    def _line(self) -> int:
        return bisect_left(self._newlines, self._tokens[self._at][1]) + 1

    def _take(self, expected: str | None = None) -> str:
        here = self._here
        if not here or expected not in (None, here):
            raise ValueError(f"not TOML at line {self._line}")
        self._at += 1
        return here

    def _accept(self, token: str) -> bool:
        if self._here != token:
            return False
        self._at += 1
        return True

    def _skip_newlines(self) -> str:
        while self._accept("\n"):
            pass
        return self._here

    def _key(self, end: str) -> dotted.Path:
        parts: list[str] = []
        while self._here != end:
            parts.append(self._take())
        self._take(end)
        return dotted.parse("".join(parts))

    def _header(self) -> Place:
        line = self._line
        self._take("[")
        is_array = self._accept("[")
        *way, last = self._key("]")
        place: Place = ()
        for key in way:
            place = self._newest((*place, key))
            self.lines.setdefault(place, line)
        place = (*place, last)
        if is_array:
            self._take("]")
            self.lines.setdefault(place, line)
            self._last_index[place] = self._last_index.get(place, -1) + 1
            place = self._newest(place)
        self.lines[place] = line
        return place

    def _newest(self, place: Place) -> Place:
        """Return the element that a header means by an array of tables: its last one so far."""
        index = self._last_index.get(place)
        return place if index is None else (*place, index)

    def _pair(self, table: Place) -> None:
        line = self._line
        key = self._key("=")
        for end in range(1, len(key)):
            self.lines.setdefault((*table, *key[:end]), line)
        self.lines[(*table, *key)] = line
        self._value((*table, *key))

    def _value(self, place: Place) -> None:
        if self._accept("["):
            self._array(place)
        elif self._accept("{"):
            self._inline_table(place)
        else:
            while self._here not in _AFTER_A_SCALAR:
                self._at += 1

    def _array(self, place: Place) -> None:
        index = 0
        while self._skip_newlines() != "]":
            self.lines[(*place, index)] = self._line
            self._value((*place, index))
            self._separator("]")
            index += 1
        self._take("]")

    def _inline_table(self, place: Place) -> None:
        while self._skip_newlines() != "}":
            self._pair(place)
            self._separator("}")
        self._take("}")

    def _separator(self, end: str) -> None:
        if self._skip_newlines() != end:
            self._take(",")
