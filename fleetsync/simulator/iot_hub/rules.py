"""What an IoT Hub accepts: ids, the members of an identity, and the limits of a twin."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from fleetsync.simulator.wire import Object, RefusedError, SimRequest

VERSIONS: Final = frozenset({"2018-06-30", "2020-03-13", "2020-09-30", "2021-04-12", "2024-03-31"})

_ID: Final = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}")
_CONFIGURATION_ID: Final = re.compile(r"[a-z0-9\-:.+%_#*?!(),=@;$']{1,128}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,10}")
_BAD_KEY: Final = re.compile(r"[\x00-\x1f\x7f-\x9f.$ ]")

_TAGS_BYTES: Final = 8 * 1024
_PROPERTIES_BYTES: Final = 32 * 1024
_KEY_BYTES: Final = 1024
_TEXT_BYTES: Final = 4096
_DEEPEST: Final = 10
_INTEGERS: Final = range(-4503599627370496, 4503599627370496)


def invalid(message: str) -> RefusedError:
    """Return the refusal of an argument."""
    return RefusedError(400, "ArgumentInvalid", message)


def body_of(request: SimRequest) -> Object:
    """Return the body of a write.

    Raises:
        RefusedError: 400, it is no JSON object.
    """
    body = request.object()
    if body is None:
        raise RefusedError(400, "IotHubFormatError", "the body is no JSON object")
    return body


def top_of(query: str) -> int | None:
    """Return how many resources a query string asks for; None when it does not say.

    Raises:
        RefusedError: 400, it is no number.
    """
    top = dict(parse_qsl(query)).get("top")
    if top is not None and not _NUMBER.fullmatch(top):
        raise invalid("top is no number")
    return None if top is None else int(top)


def check_id(id_: str) -> None:
    """Raise RefusedError for an id that no device or module can have."""
    if not _ID.fullmatch(id_):
        raise invalid("the id is not allowed")


def check_configuration_id(id_: str) -> None:
    """Raise RefusedError for an id that no configuration can have."""
    if not _CONFIGURATION_ID.fullmatch(id_):
        raise invalid("the id of the configuration is not allowed")


def check_named(body: Object, member: str, id_: str) -> None:
    """Raise RefusedError when the body speaks of another resource than the path."""
    if body.get(member) != id_:
        raise invalid(f"{member} in the body is not the one in the path")


def written_section(body: Object, member: str) -> Object | None:
    """Return what a body wants written to `tags` or `desired`; None leaves it alone.

    Raises:
        RefusedError: 400, it is no object, or beyond a limit.
    """
    holder = body if member == "tags" else body.get("properties", {})
    if not isinstance(holder, dict):
        raise invalid("properties is no object")
    if member not in holder:
        return None
    found = holder[member]
    if not isinstance(found, dict):
        raise invalid(f"{member} is no object")
    # A whole twin may be sent back; what only the service writes is ignored.
    plain = {name: value for name, value in found.items() if name not in ("$metadata", "$version")}
    _check_values(plain, member, depth=0)
    return plain


def check_size(values: Object, member: str) -> None:
    """Raise RefusedError for tags or properties that are too large once written."""
    limit = _TAGS_BYTES if member == "tags" else _PROPERTIES_BYTES
    if _size(values) > limit:
        raise invalid(f"{member} would be larger than {limit} bytes")


def _check_values(values: Mapping[str, object], member: str, *, depth: int) -> None:
    if depth > _DEEPEST:
        raise invalid(f"{member} is deeper than {_DEEPEST}")
    for key, value in values.items():
        if len(key.encode(errors="replace")) > _KEY_BYTES or _BAD_KEY.search(key):
            raise invalid(f"{member} has a key that is not allowed")
        _check_value(value, member, depth=depth)


def _check_value(value: object, member: str, *, depth: int) -> None:
    if isinstance(value, dict):
        _check_values(value, member, depth=depth + 1)
    elif isinstance(value, list):
        if depth >= _DEEPEST:
            raise invalid(f"{member} is deeper than {_DEEPEST}")
        for item in value:
            _check_value(item, member, depth=depth + 1)
    elif isinstance(value, str) and len(value.encode(errors="replace")) > _TEXT_BYTES:
        raise invalid(f"{member} has a string longer than {_TEXT_BYTES} bytes")
    elif isinstance(value, int) and value not in _INTEGERS:
        raise invalid(f"{member} has an integer out of range")


def _size(value: object) -> int:
    match value:
        case dict():
            return sum(len(key.encode(errors="replace")) + _size(inner) for key, inner in value.items())
        case list():
            return sum(map(_size, value))
        case str():
            return len(value.encode(errors="replace"))
        case bool():
            return 4
        case _:
            return 8
