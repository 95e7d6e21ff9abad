"""What is to be written, and what became of it."""

import pytest
from msgspec.structs import replace

from fleetsync.core.bucket import Rate
from fleetsync.core.declaration import ABSENT, UNKNOWN, Wanted, Wish
from fleetsync.core.kind import ANY, Kind, Quota, TypeSpec, Writable
from fleetsync.core.model import DEVICE, ETag, Part, ResourceKey
from fleetsync.core.plan import Change, Guard, GuardKind, Leaf, Plan, actual_at, compare, dropped

DOCUMENT, PROPERTIES = Part("document"), Part("properties")
SPEC = TypeSpec(
    type=DEVICE,
    view="devices",
    details=(PROPERTIES,),
    writable=(
        Writable(path=("name",), part=DOCUMENT, value=str),
        Writable(path=("tags", ANY), part=DOCUMENT),
        Writable(path=("properties", ANY), part=PROPERTIES),
    ),
)
KEY = ResourceKey("plant", DEVICE, "a\n1")


def wish(**leaves: object) -> Wish:
    paths = {tuple(name.split("__")): value for name, value in leaves.items()}
    return Wish(leaves=tuple(Wanted(path=path, value=value, declarations=("d",)) for path, value in paths.items()))


def change(*leaves: Leaf) -> Change:
    return Change(key=KEY, part=DOCUMENT, guard=Guard(kind=GuardKind.IF_MATCH, etag=ETag("e")), leaves=leaves)


def leaf(path: tuple[str, ...], actual: object, declared: object, *names: str) -> Leaf:
    return Leaf(path=path, actual=actual, declared=declared, declarations=names or ("d",))


def test_leaves_that_are_not_met_come_out_by_part() -> None:
    document = {"name": "x", "tags": {"ring": "a", "old": 1}, "properties": {"t": 1}}
    unmet = compare(
        wish(name="x", tags__ring="b", tags__old=ABSENT, tags__none=ABSENT, properties__t=2),
        document, SPEC, frozenset({PROPERTIES}),
    )  # fmt: skip
    assert {part: [one.path for one in leaves] for part, leaves in unmet.items()} == {
        DOCUMENT: [("tags", "ring"), ("tags", "old")],
        PROPERTIES: [("properties", "t")],
    }
    assert unmet[PROPERTIES][0].actual == 1


def test_a_part_that_was_not_read_has_unknown_leaves_which_are_never_met() -> None:
    unmet = compare(wish(properties__t=ABSENT, name="x"), {"name": "x"}, SPEC, frozenset())
    [only] = unmet[PROPERTIES]
    assert only.actual is UNKNOWN
    assert DOCUMENT not in unmet


def test_nothing_is_unmet_where_all_is_as_declared() -> None:
    assert compare(wish(name="x", tags__old=ABSENT), {"name": "x", "tags": {}}, SPEC, frozenset()) == {}


def test_a_path_that_nobody_can_write_is_a_mistake_of_ours() -> None:
    with pytest.raises(LookupError):
        compare(wish(other=1), {}, SPEC, frozenset())


@pytest.mark.parametrize(
    ("actual", "declared", "is_met"),
    [(1, 1.0, True), (True, 1, False), (ABSENT, ABSENT, True), (None, ABSENT, False), (ABSENT, None, False),
     (UNKNOWN, UNKNOWN, True), (UNKNOWN, ABSENT, False), (UNKNOWN, 1, False), (ABSENT, 1, False)],
)  # fmt: skip
def test_a_leaf_is_met_when_it_is_as_declared(actual: object, declared: object, is_met: bool) -> None:
    assert leaf(("a",), actual, declared).is_met is is_met


def test_a_change_is_the_smallest_patch_of_its_leaves() -> None:
    made = change(
        leaf(("tags", "ring"), "a", "b", "two", "one"), leaf(("tags", "old"), 1, ABSENT), leaf(("name",), ABSENT, "n")
    )
    assert made.patch == {"tags": {"ring": "b", "old": None}, "name": "n"}
    assert made.declarations == ("d", "one", "two")


def test_what_a_write_set_and_a_document_does_not_show_was_dropped() -> None:
    made = change(leaf(("tags", "ring"), "a", "b"), leaf(("tags", "old"), 1, ABSENT), leaf(("name",), "x", "n"))
    assert dropped(made, {"tags": {"ring": "b"}, "name": "n"}) == ()
    assert dropped(made, {"tags": {"ring": "a", "old": None}}) == (("tags", "ring"), ("tags", "old"), ("name",))


@pytest.mark.parametrize(
    ("path", "found"),
    [(("a",), {"b": None}), (("a", "b"), None), (("a", "c"), ABSENT), (("x",), ABSENT), (("l", "0"), ABSENT)],
)
def test_a_value_is_found_by_its_path(path: tuple[str, ...], found: object) -> None:
    assert actual_at({"a": {"b": None}, "l": [1]}, path) == found


def test_only_reading_again_needs_reading_again() -> None:
    assert not Guard(kind=GuardKind.IF_MATCH, etag=ETag("e")).needs_reread
    assert Guard(kind=GuardKind.BODY_ETAG, etag=ETag("e"), reread=True).needs_reread
    assert Guard(kind=GuardKind.REREAD).needs_reread


def test_a_plan_is_empty_when_there_is_nothing_to_write() -> None:
    assert Plan(source="plant", basis="b").is_empty
    assert not Plan(source="plant", basis="b", changes=(change(),)).is_empty


def test_a_key_names_its_resource_on_one_line() -> None:
    assert str(KEY) == "plant device 'a\\n1'"


@pytest.mark.parametrize(
    ("path", "part"),
    [(("name",), DOCUMENT), (("tags", "x"), DOCUMENT), (("tags", "x", "y"), DOCUMENT), (("properties", "a"), PROPERTIES),
     (("tags",), None), (("properties",), None), (("name", "x"), None), (("other",), None), ((), None)],
)  # fmt: skip
def test_a_path_is_writable_where_the_kind_says_so(path: tuple[str, ...], part: Part | None) -> None:
    writable = SPEC.writable_at(path)
    assert (writable.part if writable else None) == part


def test_a_kind_finds_its_types_by_name() -> None:
    kind = Kind(
        name="k", settings=object, types=(SPEC,), operations=("a",),
        quota=lambda _: Quota(classes={"a": Rate(per_s=1, burst=1)}), methods=(), interval_s=1.0,
    )  # fmt: skip
    assert kind.specs == {DEVICE: SPEC}


def test_a_path_that_folds_is_met_in_any_letter_case() -> None:
    leaf = Leaf(path=("group",), actual="plant/test", declared="Plant/Test", declarations=("d",))
    assert not leaf.is_met
    assert replace(leaf, folds=True).is_met
    assert not replace(leaf, folds=True, declared="Plant/Tests").is_met
    assert not replace(leaf, folds=True, actual=ABSENT).is_met
