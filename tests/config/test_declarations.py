"""What declarations say, and what is said of wrong ones."""

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetsync.config.declarations import DeclarationSet, basis, read_declarations
from fleetsync.config.load import load, read_draft
from fleetsync.config.settings import Settings
from fleetsync.core.declaration import ABSENT, Declaration
from fleetsync.core.model import DEVICE
from fleetsync.errors import Problem
from tests.config.kinds import KINDS

CONFIG = """\
[sources.plant]
kind = "iot-central"
url = "https://contoso.azureiotcentral.com"
auth.method = "managed-identity"
[sources.office]
kind = "iot-central"
url = "https://office.azureiotcentral.com"
auth.method = "managed-identity"
[sources.relay]
kind = "cloud-relay"
roster = ["a"]
url = "http://localhost:8080"
auth.method = "none"
"""

OSLO = """\
# Oslo
[[declaration]]
name = "oslo"
sources = ["plant", "office"]
where = "tags ->> 'site' = 'oslo'"
priority = 10
unset = ["properties.old", 'properties."a.b"']

[declaration.desired]
enabled = true
organizations = ["north"]
properties.thermostat.target = 21.5

[[declaration]]
name = "groups"
resource = "device-group"
desired.displayName = "x"
"""


@pytest.fixture(name="folder")
def folder_of_declarations(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(CONFIG)
    (tmp_path / "declarations").mkdir()
    return tmp_path / "declarations"


def config(folder: Path) -> Settings:
    return load(folder.parent / "config.toml", KINDS)


def read(folder: Path, **files: str) -> DeclarationSet:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return read_declarations(folder, config(folder))


def problems(folder: Path, **files: str) -> tuple[Problem, ...]:
    return read(folder, **files).problems


def test_a_declaration_says_what_and_for_which_resources(folder: Path) -> None:
    oslo, groups = read(folder, oslo=OSLO).declarations
    assert oslo == Declaration(
        name="oslo",
        file="declarations/oslo.toml",
        line=2,
        type=DEVICE,
        sources=("plant", "office"),
        where="tags ->> 'site' = 'oslo'",
        priority=10,
        leaves={
            ("enabled",): True,
            ("organizations",): ["north"],
            ("properties", "thermostat", "target"): 21.5,
            ("properties", "old"): ABSENT,
            ("properties", "a.b"): ABSENT,
        },
    )
    assert (groups.line, groups.type, groups.sources, groups.where, groups.priority) == (
        14,
        "device-group",
        None,
        None,
        0,
    )


def test_a_problem_with_a_where_has_its_line(folder: Path) -> None:
    found = read(folder, oslo=OSLO)
    oslo, groups = found.declarations
    assert str(found.where_problem(oslo, "has no column `x`")) == (
        "declarations/oslo.toml:5: `where` of `oslo` has no column `x`"
    )
    assert found.where_problem(groups, "is odd").line == 14


def test_files_are_read_by_name_and_hidden_ones_and_others_are_not(folder: Path) -> None:
    (folder / ".#b.toml").symlink_to("nowhere")
    (folder / "b.toml~").write_text("no toml")
    (folder / "below").mkdir()
    (folder / "below" / "c.toml").write_text("no toml")
    found = read(folder, b=declaration("b"), a=declaration("a"), B=declaration("B"))
    assert [declaration.name for declaration in found.declarations] == ["B", "a", "b"]


def test_a_folder_that_is_not_there_declares_nothing(folder: Path) -> None:
    assert read_declarations(folder / "none", config(folder)) == DeclarationSet(declarations=(), where_lines={})


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(folder: Path) -> None:
    [problem] = read_declarations(folder.parent / "config.toml", config(folder)).problems
    assert str(problem).endswith("config.toml: cannot be read: Not a directory")


def test_a_folder_elsewhere_is_named_in_full(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "a.toml").write_text(declaration("a"))
    [found] = read_declarations(elsewhere, config(folder)).declarations
    assert found.file == str(elsewhere / "a.toml")


def test_a_file_that_is_not_toml_does_not_hide_the_others(folder: Path) -> None:
    found = problems(folder, a="a = \n", b="[[declaration]]\n", c=declaration("c"))
    assert [(problem.file, problem.line) for problem in found] == [
        ("declarations/a.toml", 1),
        ("declarations/b.toml", 1),
        ("declarations/b.toml", 1),
    ]


def test_a_folder_that_looks_like_a_file_is_a_problem(folder: Path) -> None:
    (folder / "x.toml").mkdir()
    assert [str(problem) for problem in problems(folder)] == ["declarations/x.toml: is not a file"]


def test_a_name_that_is_taken_names_both_places(folder: Path) -> None:
    [problem] = problems(folder, a="\n" + declaration("same"), b=declaration("same"))
    assert str(problem) == (
        "declarations/b.toml:2: `name` must be the only one: `same` is in declarations/a.toml:3 too"
    )


def declaration(name: str = "x", *lines: str) -> str:
    """Return a declaration on lines 1 and 2, with further lines, or a good one where there are none."""
    return (
        "\n".join(
            ["[[declaration]]", f'name = "{name}"', *(lines or ['sources = ["plant"]', "desired.enabled = true"])]
        )
        + "\n"
    )


@dataclass(frozen=True)
class Wrong:
    """A wrong declaration, the line that is at fault, and words that must be said."""

    text: str
    line: int
    words: str


PLANT = 'sources = ["plant"]'

WRONG = {
    "a mistyped key": Wrong(
        declaration("x", PLANT, "desierd.enabled = true", "unset = ['template']"),
        4,
        "unknown key `desierd` in [[declaration]]; did you mean `desired`?",
    ),
    "a mistyped table": Wrong("[[declarations]]\n", 1, "unknown key `declarations`; did you mean `declaration`?"),
    "one table": Wrong(
        "[declaration]\nname = 'x'\n",
        1,
        "`declaration` must be an array of tables, each under its own [[…]], not a table",
    ),
    "no name": Wrong(
        "[[declaration]]\nunset = ['enabled']\nsources = ['plant']\n", 1, "missing key `name` in [[declaration]]"
    ),
    "a name with a space": Wrong(declaration("a b"), 2, "`name` must be a name of letters"),
    "nothing declared": Wrong(declaration("x", PLANT), 1, "declares nothing: it needs `desired` or `unset`"),
    "an empty wish": Wrong(
        declaration("x", PLANT, "[declaration.desired]"), 4, "`desired` is an empty table and declares nothing"
    ),
    "an empty table": Wrong(
        declaration("x", PLANT, "[declaration.desired]", "properties = { a = {} }"),
        5,
        "`properties.a` is an empty table and declares nothing",
    ),
    "a secret": Wrong(
        declaration("x", PLANT, "desired.properties.a.password1 = 'y'"),
        4,
        "`properties.a.password1` is a secret, and secrets are neither mirrored nor declared",
    ),
    "a secret deep within": Wrong(
        declaration("x", PLANT, "desired.properties.a = [[{ b = [{ password = 'y' }] }]]"),
        4,
        "`properties.a` holds a member that is a secret",
    ),
    "a secret to be taken away": Wrong(
        declaration("x", PLANT, "unset = ['properties.password']"), 4, "holds `properties.password`, which is a secret"
    ),
    "a wish that is no table": Wrong(
        declaration("x", PLANT, "desired = 1"), 4, "`desired` must be a table, not an integer"
    ),
    "what nobody can write": Wrong(
        declaration("x", PLANT, "[declaration.desired]", "displayname = 'y'"),
        5,
        "`displayname` cannot be declared for the resource `device` of iot-central; did you mean `displayName`? "
        "(possible: displayName, enabled, template, organizations, properties.<name>)",
    ),
    "what a type lets nobody write": Wrong(
        declaration("x", PLANT, "resource = 'organization'", "desired.id = 'y'"),
        5,
        "cannot be declared for the resource `organization` of iot-central (possible: nothing)",
    ),
    "a table where its members are meant": Wrong(
        declaration("x", PLANT, "desired.properties = 5"), 4, "`properties` cannot be declared"
    ),
    "below what can be written": Wrong(
        declaration("x", PLANT, "desired.enabled.x = true"), 4, "`enabled.x` cannot be declared"
    ),
    "another type": Wrong(
        declaration("x", PLANT, "desired.enabled = 'yes'"), 4, "`enabled` does not fit: expected `bool`, got `str`"
    ),
    "another type within": Wrong(
        declaration("x", PLANT, "desired.organizations = [1]"), 4, "expected `str`, got `int` - at `$[0]`"
    ),
    "a date": Wrong(
        declaration("x", PLANT, "desired.properties.a = 2026-11-21"),
        4,
        "`properties.a` holds a date, which JSON does not have: write it as a string",
    ),
    "a date deep within": Wrong(
        declaration("x", PLANT, "desired.properties.a = [1, { b = 07:00:00 }]"), 4, "holds a time"
    ),
    "no number": Wrong(declaration("x", PLANT, "desired.properties.a = [nan]"), 4, "holds inf or nan"),
    "no end": Wrong(declaration("x", PLANT, "desired.properties.a = -inf"), 4, "holds inf or nan"),
    "a number beyond 64 bits": Wrong(
        declaration("x", PLANT, "desired.properties.a = 9223372036854775808"), 4, "more than 64 bits"
    ),
    "a NUL": Wrong(declaration("x", PLANT, 'desired.properties.a = "\\u0000"'), 4, "holds a NUL character"),
    "a NUL in a key": Wrong(declaration("x", PLANT, 'desired.properties."\\u0000" = 1'), 4, "holds a NUL character"),
    "set and unset": Wrong(
        declaration("x", PLANT, "unset = [", "  'template',", "  'properties.a.b',", "]", "desired.properties.a = 1"),
        6,
        "`unset` holds `properties.a.b`, and `desired` sets it, or something above or below it",
    ),
    "unset twice": Wrong(
        declaration("x", PLANT, "unset = ['template', '\"template\"']"), 4, "`unset` holds the same element twice"
    ),
    "unset within unset": Wrong(
        declaration("x", PLANT, "unset = ['properties.a', 'properties.a.b']"),
        4,
        "`unset` holds `properties.a.b`, and something above or below it",
    ),
    "unset nowhere": Wrong(
        declaration("x", PLANT, "unset = ['tags.a']"),
        4,
        "`unset` holds `tags.a`, which cannot be declared for the resource `device` of iot-central",
    ),
    "unset no path": Wrong(
        declaration("x", PLANT, "unset = ['a b']"), 4, "`unset` holds `a b`, which is no dotted key"
    ),
    "unset nothing": Wrong(declaration("x", PLANT, "unset = []"), 4, "`unset` must not be empty"),
    "an unknown source": Wrong(
        declaration("x", "sources = ['plan']", "desired.enabled = true"), 3, "did you mean `plant`?"
    ),
    "no source": Wrong(declaration("x", "sources = []", "desired.enabled = true"), 3, "`sources` must not be empty"),
    "a source twice": Wrong(
        declaration("x", "sources = ['plant', 'plant']", "desired.enabled = true"), 3, "the same element twice"
    ),
    "an unknown resource": Wrong(
        declaration("x", PLANT, "resource = 'devize'", "desired.nothing = true"), 4, "did you mean `device`?"
    ),
    "a source without the resource": Wrong(
        declaration(
            "x", "sources = [", "'plant',", "'relay',", "]", "resource = 'device-group'", "desired.displayName = 'y'"
        ),
        5,
        "`sources` holds `relay`, but cloud-relay has no `device-group`",
    ),
    "a source that cannot be written so": Wrong(
        declaration("x", "desired.enabled = true"),
        3,
        "`enabled` cannot be declared for the resource `device` of cloud-relay",
    ),
    "an empty where": Wrong(
        declaration("x", PLANT, "desired.enabled = true", "where = ' '"), 5, "`where` must not be empty"
    ),
    "a where that is no text": Wrong(
        declaration("x", PLANT, "desired.enabled = true", "where = true"), 5, "`where` must be a string, not a boolean"
    ),
    "a priority between two": Wrong(
        declaration("x", PLANT, "desired.enabled = true", "priority = 1.5"),
        5,
        "`priority` must be an integer, not a float",
    ),
    "a priority beyond all": Wrong(
        declaration("x", PLANT, "desired.enabled = true", f"priority = {2**63}"), 5, "`priority` must be at most"
    ),
    "a tower": Wrong(declaration("x", PLANT, f"desired.{'.'.join('a' * 99)} = 1"), 0, "levels deep"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_declaration_is_refused_with_its_line_and_words_that_help(folder: Path, wrong: Wrong) -> None:
    [problem] = problems(folder, x=wrong.text)
    assert (problem.file, problem.line or 0) == ("declarations/x.toml", wrong.line)
    assert wrong.words in problem.message


def test_a_resource_that_no_source_has_is_a_problem(folder: Path) -> None:
    text = '[sources.plant]\nkind = "groups"\nurl = "https://a.example.com"\nauth.method = "managed-identity"\n'
    (folder.parent / "config.toml").write_text(text)
    central = KINDS["iot-central"]
    kinds = {"groups": replace(central, name="groups", types=central.types[1:])}
    (folder / "a.toml").write_text(declaration("a", "desired.enabled = true"))
    [problem] = read_declarations(folder, load(folder.parent / "config.toml", kinds)).problems
    assert str(problem) == "declarations/a.toml:1: no source has resources of the type `device`"


DRAFT = """\
[sources.plant]
kind = "iot-central"
intervall = "5m"
[sources.odd]
kind = "iot-centrel"
url = "https://odd.example.com"
auth.method = "managed-identity"
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param('sources = ["plant"]\ndesired.colour = 1', "`colour` cannot be declared", id="kind is known"),
        pytest.param('sources = ["odd"]\ndesired.colour = 1', None, id="kind is not"),
        pytest.param('sources = ["odd"]\nresource = "tree"\ndesired.x = 1', None, id="type may be that kind's"),
        pytest.param('sources = ["od"]\ndesired.enabled = true', "did you mean `odd`?", id="no such source"),
        pytest.param("desired.enabled = true\ncolour = 1", "unknown key `colour`", id="unknown key"),
        pytest.param("desired.enabled = true\nwhere = 1", "`where` must be a string", id="no text"),
    ],
)
def test_a_wrong_configuration_hides_no_mistake_of_a_declaration_and_adds_none(
    folder: Path, text: str, words: str | None
) -> None:
    (folder.parent / "config.toml").write_text(DRAFT)
    (folder / "x.toml").write_text(declaration("x", text))

    draft = read_draft(folder.parent / "config.toml", KINDS)
    found = read_declarations(folder, draft.settings)

    assert len(draft.problems) == 4
    assert [words in problem.message for problem in found.problems if words] == ([True] if words else [])
    assert bool(found.problems) is (words is not None)


def test_a_configuration_without_sources_is_not_held_against_declarations(folder: Path) -> None:
    (folder.parent / "config.toml").write_text("")
    (folder / "x.toml").write_text(declaration("x", 'sources = ["plant"]\nresource = "x"\ndesired.enabled = true'))

    assert read_declarations(folder, read_draft(folder.parent / "config.toml", KINDS).settings).problems == ()


def a(**changes: object) -> Declaration:
    base = Declaration(name="a", file="a.toml", line=1, leaves={("x",): 1, ("y",): {"b": [1]}}, sources=("p", "q"))
    return msgspec.structs.replace(base, **changes)


def test_the_fingerprint_says_whether_declarations_mean_the_same() -> None:
    b = msgspec.structs.replace(a(), name="b")
    same = [
        [b, a()],
        [a(file="z.toml", line=9), b],
        [a(leaves={("y",): {"b": [1]}, ("x",): 1}), b],
        [a(sources=("q", "p")), b],
    ]
    assert {basis(declarations) for declarations in same} == {basis([a(), b])}
    assert len(basis([])) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"name": "c"},
        {"type": "user"},
        {"where": "enabled"},
        {"sources": None},
        {"priority": 1},
        {"leaves": {("x",): 2, ("y",): {"b": [1]}}},
        {"leaves": {("x",): True, ("y",): {"b": [1]}}},
        {"leaves": {("x",): ABSENT, ("y",): {"b": [1]}}},
        {"leaves": {("x",): 1, ("y",): {"b": [1]}, ("z",): ABSENT}},
        {"leaves": {("x",): 1, ("y", "b"): [1]}},
        {"leaves": {("x",): 1, ("y",): {"b": [1, 1]}}},
    ],
)
def test_the_fingerprint_changes_with_what_is_declared(change: dict[str, object]) -> None:
    assert basis([a(**change)]) != basis([a()])


WORDS = st.sampled_from([*OSLO.split(), "nan", "{}", "[]", "1979-05-27", '"', "=", ".", *"\n" * 9])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS | st.text(max_size=3), max_size=30).map(" ".join))
def test_no_text_makes_reading_raise_anything(folder: Path, text: str) -> None:
    (folder / "x.toml").write_text(text, encoding="utf-8", errors="replace", newline="")
    found = read_declarations(folder, config(folder))
    assert found.problems or basis(found.declarations)
