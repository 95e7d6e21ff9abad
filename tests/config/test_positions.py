"""Where keys stand: known by hand for every form that TOML has, and by Hypothesis for documents of all of them."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.config.positions import Place, positions
from fleetsync.core.path import render

ONE_OF_EACH = '''\
# a = 1, which is a comment
title = "a # b"
"quoted.key" . 'and \\this' = 1
a.b.c = [          # an array
  1, [2.5e3, """
  x = 1
  """],
  { k = 1979-05-27 07:32:00, l.m = [
    true,
  ] },
]
multi = """
[not.a.table]
quote = ""\\""" \\
"""""
literal = \'\'\'
'x' = 1\'\'\'
date = 1979-05-27T07:32:00.5-07:00

[table.below]
x = 1
[table]
"\\u0061" = inf
[[declaration]]
name = 'one'
  [declaration.desired]
  tags.ring = "stable"
  [[declaration.hook]]
  y = 1
[[declaration]]
name = "two"
  [[declaration.hook]]
  [[declaration.hook]]
  y = 2
  [declaration.hook.deep]
  z = {}
'''

LINES: dict[Place, int] = {
    ("title",): 2,
    ("quoted.key",): 3,
    ("quoted.key", "and \\this"): 3,
    ("a",): 4,
    ("a", "b", "c"): 4,
    ("a", "b", "c", 0): 5,
    ("a", "b", "c", 1): 5,
    ("a", "b", "c", 1, 1): 5,
    ("a", "b", "c", 2): 8,
    ("a", "b", "c", 2, "l", "m"): 8,
    ("a", "b", "c", 2, "l", "m", 0): 9,
    ("multi",): 12,
    ("literal",): 16,
    ("date",): 18,
    ("table",): 22,
    ("table", "below"): 20,
    ("table", "below", "x"): 21,
    ("table", "a"): 23,
    ("declaration",): 24,
    ("declaration", 0): 24,
    ("declaration", 0, "name"): 25,
    ("declaration", 0, "desired"): 26,
    ("declaration", 0, "desired", "tags"): 27,
    ("declaration", 0, "desired", "tags", "ring"): 27,
    ("declaration", 0, "hook", 0, "y"): 29,
    ("declaration", 1): 30,
    ("declaration", 1, "name"): 31,
    ("declaration", 1, "hook"): 32,
    ("declaration", 1, "hook", 1): 33,
    ("declaration", 1, "hook", 1, "y"): 34,
    ("declaration", 1, "hook", 1, "deep", "z"): 36,
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_form_of_key_has_its_line(line_end: str) -> None:
    text = ONE_OF_EACH.replace("\n", line_end)
    tomllib.loads(text)
    found = positions(text)
    assert {place: found.line_of(place) for place in LINES} == LINES


def test_quotes_at_the_end_of_a_long_string_belong_to_it() -> None:
    text = 'a = ["""x"""", """y""""", "z] # "]\nb = 1\n'
    tomllib.loads(text)
    assert positions(text).line_of(("a", 2)) == 1
    assert positions(text).line_of(("b",)) == 2


def test_what_is_missing_has_the_line_of_the_nearest_thing_on_the_way() -> None:
    found = positions("[a]\nb = [1]\n")
    assert found.line_of(("a", "missing", "too")) == 1
    assert found.line_of(("a", "b", 7)) == 2
    assert found.line_of(("missing",)) is None
    assert found.line_of(()) is None


def test_a_text_that_is_not_toml_is_not_walked_to_its_end() -> None:
    for text in ("a", "a = [1", "a = {b = 1", "[a", "[[a]\nb = 1", "= 1"):
        with pytest.raises(ValueError, match=r"not"):
            positions(text)


@dataclass
class Text:
    """A TOML text in the making, and the value and the line of everything in it."""

    lines: list[str] = field(default_factory=list)
    places: dict[Place, int] = field(default_factory=dict)
    names: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))

    def add(self, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)


NAMES = st.one_of(st.just("k"), st.text("a.\"'\\ #[]={}é\n", max_size=5))
MULTI_LINE = ['"""a""""', '"""\nx = 1\n[y]\n"""', "'''\n'x' = ''\n'''", '"""\\\n  b"" """""']
NUMBERS = ["1", "-2.5e+3", "true", "nan", "1979-05-27 07:32:00", "07:32:00.5"]
SCALARS = st.sampled_from([*NUMBERS, *MULTI_LINE, '"a # \\" b"', "'c = [1]'", '""', "''", '""""""', "''''''"])


def new_key(draw: st.DrawFn, text: Text) -> str:
    return f"{draw(NAMES)}{next(text.names)}"


def write_value(draw: st.DrawFn, text: Text, place: Place, depth: int) -> None:
    """Write a value behind what the last line holds already."""
    form = draw(st.sampled_from(["scalar", "array", "inline"] if depth else ["scalar"]))
    if form == "scalar":
        append(text, draw(SCALARS))
    elif form == "array":
        append(text, "[")
        for index in range(draw(st.integers(0, 3))):
            append(text, draw(st.sampled_from(["", "\n  "])))
            text.places[(*place, index)] = len(text.lines)
            write_value(draw, text, (*place, index), depth - 1)
            append(text, draw(st.sampled_from([", ", ", # ]\n", "\n ,"])))
        append(text, "]")
    else:
        append(text, "{ ")
        for index in range(draw(st.integers(0, 3))):
            append(text, ", " if index else "")
            write_pair(draw, text, place, depth - 1)
        append(text, " }")


def append(text: Text, piece: str) -> None:
    first, *others = piece.split("\n")
    text.lines[-1] += first
    text.lines.extend(others)


def write_pair(draw: st.DrawFn, text: Text, table: Place, depth: int) -> None:
    keys = tuple(new_key(draw, text) for _ in range(draw(st.integers(1, 3))))
    for end in range(1, len(keys) + 1):
        text.places[(*table, *keys[:end])] = len(text.lines)
    append(text, f"{draw(st.sampled_from(['.', ' . '])).join(render((key,)) for key in keys)} = ")
    write_value(draw, text, (*table, *keys), depth)


def write_table(draw: st.DrawFn, text: Text, place: Place, header: tuple[str, ...], depth: int) -> None:
    for _ in range(draw(st.integers(0, 3))):
        text.add("")
        append(text, draw(st.sampled_from(["", "  ", "# [c]\n"])))
        write_pair(draw, text, place, depth=2)
    for _ in range(draw(st.integers(0, 2)) if depth else 0):
        key = new_key(draw, text)
        below = (*header, key)
        is_array = draw(st.booleans())
        for index in range(draw(st.integers(1, 2)) if is_array else 1):
            line = text.add(f"[[{render(below)}]]" if is_array else f"[{render(below)}]  # x = 1")
            text.places.setdefault((*place, key), line)
            there = (*place, key, index) if is_array else (*place, key)
            text.places[there] = line
            write_table(draw, text, there, below, depth - 1)


@st.composite
def texts(draw: st.DrawFn) -> Text:
    text = Text()
    write_table(draw, text, (), (), depth=3)
    return text


def places(tree: object, place: Place = ()) -> Iterator[Place]:
    """Yield every place in what tomllib made of a text."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in children:
        yield (*place, key)
        yield from places(child, (*place, key))


@given(texts(), st.sampled_from(["\n", "\r\n"]))
def test_every_place_that_tomllib_finds_has_the_line_on_which_it_was_written(text: Text, line_end: str) -> None:
    source = line_end.join(text.lines)
    found = positions(source)
    known = set(places(tomllib.loads(source)))
    assert known == text.places.keys()
    assert {place: found.line_of(place) for place in known} == text.places
    for place in known:
        if isinstance(place[-1], str):
            assert render((place[-1],)) in text.lines[(found.line_of(place) or 0) - 1]
