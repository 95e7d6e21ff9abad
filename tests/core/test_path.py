"""Paths as TOML's dotted keys."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.core.path import leaves, overlap, parse, render

KEYS = st.text(st.characters(exclude_categories=["Cs"]))
PATHS = st.lists(KEYS, min_size=1, max_size=4).map(tuple)


@given(PATHS)
def test_what_was_rendered_parses_to_the_same_path(path: tuple[str, ...]) -> None:
    assert parse(render(path)) == path


@given(PATHS)
def test_what_is_rendered_is_a_key_to_toml(path: tuple[str, ...]) -> None:
    assert list(leaves(tomllib.loads(f"{render(path)} = 1"))) == [(path, 1)]


@given(st.text(st.sampled_from("ab.-_'\"\\ \tu0#=[]\n") | st.characters(exclude_categories=["Cs"]), max_size=12))
def test_what_parses_is_what_toml_reads(text: str) -> None:
    try:
        path = parse(text)
    except ValueError:
        return
    assert list(leaves(tomllib.loads(f"{text} = 1"))) == [(path, 1)]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("tags", ("tags",)),
        ("tags.ring", ("tags", "ring")),
        (' tags . "a.b" ', ("tags", "a.b")),
        ("'C:\\x'.\"\\u00e9\"", ("C:\\x", "é")),
        ('"".a', ("", "a")),
    ],
)
def test_a_dotted_key_is_a_path(text: str, path: tuple[str, ...]) -> None:
    assert parse(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        "a.",
        ".a",
        "a..b",
        "a b",
        "é",
        '"a',
        '"""a"""',
        '"a\nb"',
        "a = 1",
        "a #",
        "a]",
        'a"b"',
        '"\\x"',
        "a\n",
    ],
)
def test_what_toml_does_not_take_for_a_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(text)


def test_arrays_and_empty_objects_are_leaves() -> None:
    assert dict(leaves({"a": {"b": [1, {"c": 2}], "d": {}}, "e": None})) == {
        ("a", "b"): [1, {"c": 2}],
        ("a", "d"): {},
        ("e",): None,
    }


def test_paths_overlap_when_one_is_on_the_way_to_the_other() -> None:
    assert overlap(("a",), ("a", "b"))
    assert overlap(("a", "b"), ("a",))
    assert not overlap(("a", "b"), ("a", "c"))
