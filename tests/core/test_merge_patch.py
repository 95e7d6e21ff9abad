"""RFC 7396, both ways."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.core.merge_patch import apply_patch, diff, patch_of, same, without
from fleetsync.core.path import leaves

KEYS = st.sampled_from(["a", "b", "c", "", "a.b"])
SCALARS = (
    st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["", "x"])
)


def documents(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
    )


FULL = documents(SCALARS)
WITH_NULLS = documents(SCALARS | st.none())
OBJECTS = st.dictionaries(KEYS, FULL, max_size=4)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_the_rfc(target: Any, patch: Any, result: Any) -> None:
    assert apply_patch(target, patch) == result


@given(WITH_NULLS, FULL)
def test_the_difference_leads_from_the_old_to_the_new(old: Any, new: Any) -> None:
    before = copy.deepcopy((old, new))
    assert same(apply_patch(old, diff(old, new)), new)
    assert (old, new) == before


@given(OBJECTS)
def test_nothing_is_the_difference_of_a_document_to_itself(document: Any) -> None:
    assert diff(document, copy.deepcopy(document)) == {}
    assert same(apply_patch(document, {}), document)


@given(OBJECTS, WITH_NULLS)
def test_a_patch_that_was_applied_changes_nothing_when_it_is_applied_again(document: Any, patch: Any) -> None:
    once = apply_patch(document, patch)
    assert same(apply_patch(once, patch), once)


@given(OBJECTS, OBJECTS)
def test_a_difference_names_nothing_that_stays(old: Any, new: Any) -> None:
    patch = diff(old, new)
    assert isinstance(patch, dict)
    assert not [key for key in patch if key in old and key in new and same(old[key], new[key])]


PATHS = st.lists(st.lists(KEYS, min_size=1, max_size=3).map(tuple), max_size=3).map(tuple)


@given(OBJECTS, OBJECTS, PATHS)
def test_a_difference_without_some_members_is_that_of_documents_without_them(old: Any, new: Any, but: Any) -> None:
    assert same(diff(old, new, but), diff(without(old, but), without(new, but)))


@given(OBJECTS)
def test_the_leaves_of_a_document_make_a_patch_that_makes_it(document: Any) -> None:
    assert same(apply_patch({}, patch_of(dict(leaves(document)))), document)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (1, 1.0, True), (1, True, False), (0, False, False), (True, True, True), (None, None, True), (None, 0, False),
        ([1, 2], [2, 1], False), ([1], [1, 1], False), ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": True}, False), ({"a": 1}, {"b": 1}, False), ({"a": [0]}, {"a": [False]}, False),
        ("1", 1, False), ({}, [], False), ([], {}, False),
    ],
)  # fmt: skip
def test_json_values_are_equal_as_json_has_it(one: Any, other: Any, is_same: bool) -> None:
    assert same(one, other) is is_same
    assert same(other, one) is is_same


def test_leaves_become_one_patch() -> None:
    assert patch_of({("a", "b"): 1, ("a", "c"): None, ("d",): []}) == {"a": {"b": 1, "c": None}, "d": []}


def test_a_leaf_on_the_way_to_another_makes_no_patch() -> None:
    with pytest.raises(TypeError, match="overlap"):
        patch_of({("a",): 1, ("a", "b"): 2})


def test_members_are_left_out_at_any_depth_and_nowhere_else() -> None:
    document = {"a": 1, "b": {"c": 1, "d": {"a": 1}}, "e": [{"a": 1}]}
    kept = copy.deepcopy(document)
    assert without(document, (("a",), ("b", "d", "a"), ("e", "a"), ("x", "y"))) == {
        "b": {"c": 1, "d": {}},
        "e": [{"a": 1}],
    }
    assert document == kept
    assert without(document, ()) is document
    assert without([1], (("a",),)) == [1]
