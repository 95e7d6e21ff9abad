"""What a key takes. A reader is given what TOML holds and returns what we use, or says what it must be."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar, get_args, get_origin

import msgspec

from fleetsync.config.wording import kind_of, quote, quote_all, suggestion

T = TypeVar("T")
N = TypeVar("N", bound=str)
Reader = Callable[[object], T]


class UnfitError(ValueError):
    """A value that its key does not take. The text goes on after the key: "must be …"."""


def as_text(value: object) -> str:
    """Return a string that is not empty."""
    if not isinstance(value, str):
        raise UnfitError(f"must be a string, not {kind_of(value)}")
    if not value.strip() or "\0" in value:
        raise UnfitError("must not be empty" if not value.strip() else "must not hold a NUL character")
    return value


def as_matching(pattern: str, wanted: str) -> Reader[str]:
    """Return a reader of strings that match `pattern` from end to end. It never repeats the value."""

    def read(value: object) -> str:
        text = as_text(value)
        if not re.fullmatch(pattern, text):
            raise UnfitError(f"must be {wanted}")
        return text

    return read


as_name = as_matching(r"[A-Za-z0-9_.-]+", "a name of letters, digits, `_`, `.` and `-`")


def as_whole(least: int, most: int = 2**63 - 1) -> Reader[int]:
    """Return a reader of integers in a range, both ends included."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise UnfitError(f"must be an integer, not {kind_of(value)}")
        if value < least:
            raise UnfitError(f"must be at least {least}")
        if value > most:
            raise UnfitError(f"must be at most {most}")
        return value

    return read


def as_share(value: object) -> float:
    """Return a number that is more than 0 and at most 1."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UnfitError(f"must be a number from 0 to 1, not {kind_of(value)}")
    if not 0 < value <= 1:
        raise UnfitError("must be a number from 0 to 1, and more than 0")
    return float(value)


def as_choice(choices: Mapping[str, T]) -> Reader[T]:
    """Return a reader of one of the names in `choices`; it returns what the name stands for."""

    def read(value: object) -> T:
        expected = f"must be one of {quote_all(choices)}"
        if not isinstance(value, str):
            raise UnfitError(f"{expected}, not {kind_of(value)}")
        if value not in choices:
            raise UnfitError(f"{expected}, not {quote(value)}{suggestion(value, choices)}")
        return choices[value]

    return read


def as_one_of(*names: N) -> Reader[N]:
    """Return a reader of one of `names`."""
    return as_choice({str(name): name for name in names})


def as_type(type: object) -> Reader[object]:
    """Return a reader of what msgspec takes for `type`; a Literal of strings names its alternatives."""
    alternatives = get_args(type) if get_origin(type) is Literal else ()
    if alternatives and all(isinstance(alternative, str) for alternative in alternatives):
        return as_one_of(*alternatives)

    def read(value: object) -> object:
        try:
            return msgspec.convert(value, type)
        except msgspec.ValidationError as error:
            raise UnfitError(f"does not fit: {str(error)[:1].lower()}{str(error)[1:]}") from error

    return read


def as_table(value: object) -> Mapping[str, object]:
    """Return a table as it is."""
    if not isinstance(value, dict):
        raise UnfitError(f"must be a table, not {kind_of(value)}")
    return value


def as_path(folder: Path) -> Reader[Path]:
    """Return a reader of paths, relative ones from `folder`."""
    return lambda value: folder / as_text(value)


def as_folder(folder: Path) -> Reader[Path]:
    """Return a reader of paths of folders that exist."""

    def read(value: object) -> Path:
        path = folder / as_text(value)
        if not path.is_dir():
            raise UnfitError(f"must be a folder that exists; {quote(str(path))} does not")
        return path

    return read


def as_certificates(folder: Path) -> Reader[Path]:
    """Return a reader of paths of PEM files that hold at least one certificate."""

    def read(value: object) -> Path:
        import ssl  # late: few configurations name one, and every command reads its own

        path = folder / as_text(value)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
        except ssl.SSLError as error:
            raise UnfitError(
                f"must be a file of PEM certificates; {quote(str(path))} holds none that can be read"
            ) from error
        except OSError as error:
            raise UnfitError(f"must be a file that can be read: {quote(str(path))}: {error.strerror}") from error
        return path

    return read
