"""What Azure IoT Hub takes as tags and desired properties, so that a plan need not find out.

https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-device-twins, checked 2026-11-21: tags up to 8 KB, desired
properties up to 32 KB, each counted as keys plus values without `$metadata` and `$version` (a number is 8 bytes, a
boolean 4); keys up to 1 KB, without control characters, `.`, `$` and space; texts up to 4 KB; integers from
-4503599627370496 to 4503599627370495; ten levels of objects below the section itself. What would make a section larger
than it may be is refused; one that is too large already may shrink.
"""

import re
from collections.abc import Mapping

from fleetsync.core.path import Path

_KEY = re.compile(r"[^\x00-\x1f\x7f-\x9f.$ ]+\Z")
_KEY_BYTES = 1024
_TEXT_BYTES = 4096
_LEAST, _MOST = -4503599627370496, 4503599627370495
_LEVELS = 10
_TOO_DEEP = f"IoT Hub takes {_LEVELS} levels of objects and arrays, and this is deeper"
_SECTION_BYTES = {"tags": 8 * 1024, "desired": 32 * 1024}


def fault_at(path: Path, value: object) -> str | None:
    """Return which rule a value breaks that is to stand at `path` in its section; None where it breaks none."""
    for key in path:
        if fault := _key_fault(key):
            return fault
    return _TOO_DEEP if len(path) - 1 > _LEVELS else _fault(value, level=len(path))


def size_fault(section: str, before: object, after: object) -> str | None:
    """Return what is wrong with the size that a section, `tags` or `desired`, would get; None where nothing is."""
    size, most = size_of(after), _SECTION_BYTES[section]
    if size <= max(most, size_of(before)):
        return None
    return f"{section} would be {size} bytes, and IoT Hub takes {most}"


def size_of(value: object) -> int:
    """Return the bytes that IoT Hub counts for a value."""
    match value:
        case Mapping():
            return sum(_length(key) + size_of(inner) for key, inner in value.items())
        case list():
            return sum(map(size_of, value))
        case str():
            return _length(value)
        case bool():
            return 4
        case _:
            return 8


def _fault(value: object, *, level: int) -> str | None:
    """Return what is wrong with a value whose key is on this level, from 1."""
    match value:
        case Mapping() | list() if level > _LEVELS:
            return _TOO_DEEP
        case Mapping():
            faults = (_key_fault(key) or _fault(inner, level=level + 1) for key, inner in value.items())
            return next(filter(None, faults), None)
        case list():
            return next(filter(None, (_fault(item, level=level + 1) for item in value)), None)
        case str() if _length(value) > _TEXT_BYTES:
            return f"a text of {_length(value)} bytes, and IoT Hub takes {_TEXT_BYTES}"
        case int() if not _LEAST <= value <= _MOST:
            return f"{value} is beyond the integers of IoT Hub, {_LEAST} to {_MOST}"
        case _:
            return None


def _key_fault(key: str) -> str | None:
    if _length(key) > _KEY_BYTES:
        return f"a key of {_length(key)} bytes, and IoT Hub takes {_KEY_BYTES}"
    if not _KEY.match(key):
        return f"IoT Hub takes no key with a control character, `.`, `$` or space: {key!r}"
    return None


def _length(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
