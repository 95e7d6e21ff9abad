"""What several declarations together want of one resource."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.core.declaration import ABSENT, Contradiction, Declaration, Wanted, in_force, merge
from fleetsync.core.model import DEVICE, ResourceType
from fleetsync.core.path import Path, overlap


def declared(name: str, leaves: dict[Path, Any], **more: Any) -> Declaration:
    return Declaration(name=name, file=f"{name}.toml", line=1, leaves=leaves, **more)


def values(*declarations: Declaration) -> dict[Path, object]:
    return {leaf.path: leaf.value for leaf in merge(declarations).leaves}


def test_leaves_of_several_declarations_come_together_sorted() -> None:
    wish = merge([declared("b", {("z",): 1}), declared("a", {("y",): 2, ("x",): ABSENT})])
    assert [(leaf.path, leaf.value, leaf.declarations) for leaf in wish.leaves] == [
        (("x",), ABSENT, ("a",)),
        (("y",), 2, ("a",)),
        (("z",), 1, ("b",)),
    ]
    assert wish.contradictions == ()


def test_the_higher_priority_wins_leaf_by_leaf() -> None:
    low = declared("low", {("a",): 1, ("b",): 1}, priority=1)
    high = declared("high", {("a",): 2}, priority=2)
    assert values(low, high) == values(high, low) == {("a",): 2, ("b",): 1}
    assert merge([low, high]).contradictions == ()


@pytest.mark.parametrize(("one", "other"), [(1, 2), (1, True), (None, 0), (ABSENT, None), (ABSENT, 1), ([1], [1, 1])])
def test_equal_priorities_that_disagree_contradict(one: object, other: object) -> None:
    wish = merge([declared("x", {("a",): one}), declared("y", {("a",): other})])
    assert wish.contradictions == (Contradiction(path=("a",), declarations=("x", "y"), files=("x.toml", "y.toml")),)
    assert str(wish.contradictions[0]) == "x (x.toml) and y (y.toml) have the same priority and disagree"


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (ABSENT, ABSENT), ({"b": [1], "a": 2}, {"a": 2, "b": [1]})])
def test_equal_priorities_that_agree_both_own_the_leaf(one: object, other: object) -> None:
    wish = merge([declared("y", {("a",): other}), declared("x", {("a",): one})])
    assert wish.contradictions == ()
    [leaf] = wish.leaves
    assert leaf.declarations == ("x", "y")


def test_a_lower_priority_that_agrees_owns_the_leaf_as_well() -> None:
    [leaf] = merge([declared("x", {("a",): 1}), declared("y", {("a",): 1}, priority=5)]).leaves
    assert leaf.declarations == ("y", "x")


@pytest.mark.parametrize("paths", [(("tags",), ("tags", "ring")), (("tags", "ring"), ("tags",))])
def test_a_leaf_on_the_way_to_another_disagrees_with_it(paths: tuple[Path, Path]) -> None:
    one, other = declared("x", {paths[0]: "v"}), declared("y", {paths[1]: "v"})
    assert len(merge([one, other]).contradictions) == 1
    higher = declared("z", {paths[1]: "v"}, priority=1)
    assert merge([one, higher]).contradictions == ()
    assert values(one, higher) == {paths[1]: "v"}


def test_a_leaf_over_two_others_contradicts_both() -> None:
    wish = merge([declared("a", {("t", "x"): 1, ("t", "y"): 1}), declared("b", {("t",): 1})])
    assert len(wish.contradictions) == 2


def test_disagreement_below_a_higher_priority_does_not_matter() -> None:
    wish = merge([declared("a", {("t",): 1}), declared("b", {("t",): 2}), declared("c", {("t",): 3}, priority=1)])
    assert wish.contradictions == ()
    assert wish.leaves == (Wanted(path=("t",), value=3, declarations=("c",)),)


def test_one_that_agrees_with_the_winner_does_not_fight_its_equals() -> None:
    high, agrees = declared("a", {("t",): 1}, priority=1), declared("b", {("t",): 1})
    wish = merge([high, agrees, declared("c", {("t",): 2})])
    assert wish.contradictions == ()
    assert wish.leaves == (Wanted(path=("t",), value=1, declarations=("a", "b")),)


PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(tuple)
LEAVES = st.dictionaries(PATHS, st.integers(0, 1), max_size=3)


@given(st.lists(st.tuples(LEAVES, st.integers(0, 2)), max_size=4))
def test_the_order_of_the_declarations_does_not_matter_and_no_two_leaves_overlap(
    drawn: list[tuple[dict[Path, int], int]],
) -> None:
    made = [declared(str(number), leaves, priority=priority) for number, (leaves, priority) in enumerate(drawn)]
    wish = merge(made)
    assert all(merge(order) == wish for order in itertools.islice(itertools.permutations(made), 6))
    paths = [leaf.path for leaf in wish.leaves]
    assert not any(overlap(one, other) for one, other in itertools.combinations(paths, 2))


def test_a_declaration_is_for_its_type_and_its_sources() -> None:
    everywhere, here = declared("a", {}), declared("b", {}, sources=("here",))
    group = declared("c", {}, type=ResourceType("device-group"))
    assert in_force([everywhere, here, group], "here", DEVICE) == (everywhere, here)
    assert in_force([everywhere, here, group], "there", DEVICE) == (everywhere,)
    assert in_force([everywhere, here, group], "there", group.type) == (group,)
