from pathlib import Path
from typing import Annotated, Any

import pytest

from fleetsync.cli.arguments import Argument, Option, given
from fleetsync.errors import UsageError


def sample(
    invocation: object,
    first: Annotated[str, Argument("FIRST", "100 % of it.")],
    others: Annotated[list[str] | None, Argument("OTHER")] = None,
    number: Annotated[int, Option("How many, in %.", least=1, most=9, metavar="N")] = 3,
    file: Annotated[Path | None, Option("Where to.", name="--out", metavar="FILE")] = None,
    is_dry: Annotated[bool, Option("Do nothing.", name="--dry")] = False,
) -> None:
    """Take something.

    All of it, and then some more, so that this paragraph is longer than any terminal and has to be broken somewhere.
    """


def read(*words: str) -> dict[str, Any]:
    return given("fleetsync sample", sample, words)


def test_what_is_not_given_is_left_to_the_function() -> None:
    assert read("a") == {"first": "a"}


def test_options_may_stand_anywhere() -> None:
    expected = {"first": "a", "others": ["b", "c"], "number": 5, "file": Path("f"), "is_dry": True}

    assert read("a", "--number", "5", "b", "--dry", "c", "--out=f") == expected


@pytest.mark.parametrize("word", ["-", "-- SELECT 1", "", "ä\u202e"])
def test_a_word_that_is_no_option_is_an_argument(word: str) -> None:
    assert read(word) == {"first": word}


@pytest.mark.parametrize("word", ["-x", "--number", "--", "-1", "-a b"])
def test_behind_two_dashes_everything_is_an_argument(word: str) -> None:
    assert read("--dry", "--", word) == {"first": word, "is_dry": True}


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((), "FIRST"),
        (("-1",), "-1"),
        (("a", "--numb", "5"), "--numb"),
        (("a", "--number", "0"), "0 is less than 1"),
        (("a", "--number", "10"), "10 is more than 9"),
        (("a", "--number", "x"), "'x' is no whole number"),
        (("a", "--number"), "--number"),
        (("a", "--dry=1"), "--dry"),
        (("-x", "a"), "-x"),
    ],
)
def test_what_is_wrong_is_named(words: tuple[str, ...], what: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)

    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_help_says_what_the_function_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    with pytest.raises(SystemExit) as ended:
        read("--help")

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert shown.startswith(
        "usage: fleetsync sample [OPTIONS] FIRST [OTHER …]\n\nTake something.\n\nAll of it, and then"
    )
    assert "FIRST: 100 % of it." in shown
    assert "How many, in %. [default: 3]" in shown
    assert max(map(len, shown.splitlines())) <= 80


def only_one(invocation: object, first: Annotated[Path, Argument("FIRST")]) -> None:
    """Take one."""


def test_an_argument_has_the_type_of_its_parameter_and_no_other_follows() -> None:
    assert given("x", only_one, ["a"]) == {"first": Path("a")}
    with pytest.raises(UsageError, match="too many: 'b'"):
        given("x", only_one, ["a", "b"])
