"""What a command takes: the parameters of its function, read from the words after its name.

A parameter says in its annotation what it is on the command line: `Annotated[int, Option(…)]`, `Annotated[str,
Argument(…)]`. An option that is not given is left to the function's own default; an argument has to be given, and a
list of them, which comes last, may be empty. The help of a command is its docstring.
"""

import argparse
import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, get_args, get_origin

from msgspec import Struct

from fleetsync.errors import UsageError

Command = Callable[..., int | None]
"""A command takes the invocation and its own parameters, and returns its exit code; None is 0."""


class Argument(Struct, frozen=True):
    """A parameter that is known by its place."""

    metavar: str
    help: str = ""


class Option(Struct, frozen=True):
    """A parameter that is known by its name, by default that of the parameter; one that is true or false takes no word.

    `least` and `most` are what a number is at least and at most.
    """

    help: str
    name: str = ""
    metavar: str | None = None
    least: int | None = None
    most: int | None = None


class Parser(argparse.ArgumentParser):
    """Reads words; what is wrong with them is a `UsageError`, and only whole names are names."""

    def __init__(self, prog: str, usage: str, about: str) -> None:
        super().__init__(prog, f"{prog} {usage}", about, allow_abbrev=False, formatter_class=_Paragraphs)

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise UsageError(f"{message} (`fleetsync --help` tells more)")

    def add(self, parameter: inspect.Parameter) -> None:
        """Take a parameter of a command for an option."""
        kind, said = _described(parameter)
        more: dict[str, Any]
        if kind is bool:
            more = {"action": "store_true"}
        else:
            more = {"type": _number(said) if kind is int else kind, "metavar": said.metavar}
        default = parameter.default
        shown = f" [default: {default}]" if isinstance(default, str | int) and default else ""
        name = said.name or f"--{parameter.name.replace('_', '-')}"
        text = f"{said.help}{shown}".replace("%", "%%")
        self.add_argument(name, dest=parameter.name, default=argparse.SUPPRESS, help=text, **more)


def given(prog: str, command: Command, words: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of a command that `words` give, by name; `--help` ends the program.

    Options may stand between arguments; behind `--` there are none.

    Raises:
        UsageError: they are not what the command takes.
    """
    parameters = [one for one in inspect.signature(command).parameters.values() if get_args(one.annotation)]
    places = [one for one in parameters if isinstance(_described(one)[1], Argument)]
    parser = Parser(prog, " ".join(["[OPTIONS]", *map(_place, places)]), _about(command, places))
    for one in parameters:
        if one not in places:
            parser.add(one)
    end = words.index("--") if "--" in words else len(words)
    options, rest = parser.parse_known_args(words[:end])
    for word in rest:
        if word.startswith("-") and word != "-" and " " not in word:
            parser.error(f"no option {word}")
    return vars(options) | _placed(parser, places, [*rest, *words[end + 1 :]])


def _placed(parser: Parser, places: Sequence[inspect.Parameter], words: list[str]) -> dict[str, Any]:
    """Return the arguments, by name."""
    found: dict[str, Any] = {}
    for one in places:
        kind, said = _described(one)
        if get_origin(kind) is list:
            found |= {one.name: words} if words else {}
            return found
        if not words:
            parser.error(f"{said.metavar} is missing")
        found[one.name], *words = kind(words[0]), *words[1:]
    if words:
        parser.error(f"one word too many: {words[0]!r}")
    return found


def _described(parameter: inspect.Parameter) -> tuple[Any, Any]:
    """Return the type of a parameter, None aside, and what the command line calls it."""
    hint, said = get_args(parameter.annotation)
    if isinstance(hint, types.UnionType):
        (hint,) = (one for one in get_args(hint) if one is not types.NoneType)
    return hint, said


def _place(parameter: inspect.Parameter) -> str:
    kind, said = _described(parameter)
    return f"[{said.metavar} …]" if get_origin(kind) is list else said.metavar


def _about(command: Command, places: Sequence[inspect.Parameter]) -> str:
    said = [_described(one)[1] for one in places]
    return "\n\n".join([inspect.getdoc(command) or "", *(f"{one.metavar}: {one.help}" for one in said if one.help)])


def first_line(command: object) -> str:
    """Return what a command or a module says of itself in one line."""
    return (inspect.getdoc(command) or "").partition("\n")[0]


class _Paragraphs(argparse.HelpFormatter):
    """Fills one paragraph after the other."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(super(_Paragraphs, self)._fill_text(one, width, indent) for one in text.split("\n\n"))


def _number(said: Option) -> Callable[[str], int]:
    def number(word: str) -> int:
        try:
            value = int(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{word!r} is no whole number") from None
        if said.least is not None and value < said.least:
            raise argparse.ArgumentTypeError(f"{value} is less than {said.least}")
        if said.most is not None and value > said.most:
            raise argparse.ArgumentTypeError(f"{value} is more than {said.most}")
        return value

    return number
