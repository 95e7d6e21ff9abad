"""ECLYPSE controllers: what their REST API v1 shows, and what can be written to it.

Facts (wiki.distech-controls.com/RestAPI, read 2026-11): JSON with escaped slashes; values are texts; type names are
`analog-value` in URLs and `analogValue` in bodies; writes are POST and need a Content-Type; an answer 200 of
write-property-multiple repeats the request, with a `message` on what failed. What `info/device` and `info/network`
hold and how a controller words its errors is not in public text: both are invented here. A controller writes
numbers in its own way, whatever way they were sent.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeAlias

from fleetsync.simulator.wire import Object, SimRequest

PREFIX: Final = "/api/rest/v1"
OBJECTS: Final = "protocols/bacnet/local/objects"
WRITE_MULTIPLE: Final = f"{OBJECTS}/write-property-multiple"

_TYPES: Final[Mapping[str, int]] = {"analog-input": 3, "analog-value": 4, "binary-value": 2, "multi-state-value": 1}
"""How many objects of each type a controller has."""

_PROPERTIES: Final = ("description", "object-name", "out-of-service", "present-value", "units")
_SITES: Final = ("oslo", "lyon", "osaka", "austin")
_PROPERTY: Final = re.compile(rf"{OBJECTS}/(?P<type>[a-z-]+)/(?P<instance>\d+)/properties/(?P<name>[a-z-]+)")
_OBJECT: Final = re.compile(rf"{OBJECTS}/(?P<type>[a-z-]+)/(?P<instance>\d+)")
_NUMBER: Final = re.compile(r"-?\d{1,12}(\.\d{1,9})?")

Answer: TypeAlias = tuple[int, Object]
"""A status and a document."""


class _DeniedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(slots=True)
class Controller:
    """One controller; the same seed and id give the same one. `written` holds the values that are not its first."""

    seed: int
    id: str
    written: dict[str, str] = field(default_factory=dict)

    def answer(self, method: str, remote: str, request: SimRequest) -> Answer:
        """Return what the controller answers to a request for `remote`, path and query; POST may change it."""
        root, prefix, path = remote.partition("#")[0].partition("?")[0].rstrip("/").partition(f"{PREFIX}/")
        try:
            return 200, self._answer(method, path if prefix and not root else "", request)
        except _DeniedError as error:
            return error.status, {"error": error.message}

    def document(self, path: str) -> Object | None:
        """Return what a path below the prefix shows; None where there is nothing."""
        if path in (found := self._information()):
            return found[path]
        if path == OBJECTS:
            return {kind: _link(f"{OBJECTS}/{kind}", kind) for kind in _TYPES}
        if path.removeprefix(f"{OBJECTS}/") in _TYPES:
            count = _TYPES[path.removeprefix(f"{OBJECTS}/")]
            return {str(number): _link(f"{path}/{number}", str(number)) for number in range(1, count + 1)}
        if match := _OBJECT.fullmatch(path):
            return self._object(path, match)
        return self._property(path)

    def value(self, path: str) -> str | None:
        """Return the value of a property as it really is; None where there is no such."""
        match = _PROPERTY.fullmatch(path)
        if match is None or not _exists(match):
            return None
        return self.written.get(path, self._first(match["type"], int(match["instance"]), match["name"]))

    def put(self, path: str, value: str) -> bool:
        """Set a value as somebody at the controller would; return whether it is another one now.

        Raises:
            ValueError: there is no such property, or it does not take the value.
        """
        try:
            return self._write(path, value)
        except _DeniedError as error:
            raise ValueError(error.message) from error

    def _answer(self, method: str, path: str, request: SimRequest) -> Object:
        if path == WRITE_MULTIPLE:
            return self._write_multiple(_posted(method, request))
        if self.document(path) is None:
            raise _DeniedError(404, "no such resource")
        if method == "GET":
            return self.document(path) or {}
        body = _posted(method, request)
        if not isinstance(body.get("value"), str):
            raise _DeniedError(400, 'a body is like {"value": "..."}')
        self._write(path, body["value"])
        return {}

    def _write_multiple(self, body: Object) -> Object:
        references = body.get("propertyReferences")
        if body.get("encode") != "text" or not isinstance(references, list):
            raise _DeniedError(400, "a body has encode and propertyReferences")
        return {**body, "propertyReferences": [self._write_one(one) for one in references]}

    def _write_one(self, reference: object) -> Object:
        if not isinstance(reference, dict) or not isinstance(reference.get("value"), str):
            raise _DeniedError(400, "a reference has type, instance, property and value, which is a text")
        path = f"{OBJECTS}/{reference.get('type')}/{reference.get('instance')}/properties/{reference.get('property')}"
        try:
            self._write(path, reference["value"])
        except _DeniedError as error:
            return {**reference, "message": error.message}
        return dict(reference)

    def _write(self, path: str, value: str) -> bool:
        match = _PROPERTY.fullmatch(path)
        if match is None or not _exists(match):
            raise _DeniedError(404, "unknown object or property")
        before, after = self.value(path), _taken(match, value)
        self.written[path] = after
        return after != before

    def _information(self) -> Mapping[str, Object]:
        random = Random(f"{self.seed}:controller:{self.id}")
        number, site = random.randrange(100_000, 999_999), random.choice(_SITES)
        host = f"ECY-{number:06}"
        return {
            "info": {
                "device": _link("info/device", "device"),
                "apiRevision": "8.0",
                "bacnet": _link("info/bacnet", "bacnet"),
                "extensionManagement": _link("info/extension-management", "extensionManagement"),
                "supportedServices": _link("info/supported-services", "supportedServices"),
                "network": _link("info/network", "network"),
            },
            "info/device": {
                "hostName": host,
                "modelName": random.choice(("ECY-S1000", "ECY-PTU-208", "ECY-TU203")),
                "serialNumber": f"{number:06}-{random.randrange(1000):03}",
                "softwareVersion": f"1.{random.randrange(14, 19)}.{random.randrange(20000, 23000)}.0",
            },
            "info/network": {
                "hostName": host,
                "ethernet": {
                    "ipAddress": f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(1, 255)}",
                    "macAddress": ":".join(f"{random.randrange(256):02X}" for _ in range(6)),
                },
            },
            "info/bacnet": {
                "location": f"{site}/floor-{random.randrange(1, 9)}",
                "deviceInstance": number,
                "description": f"Controller of {site}",
            },
            "info/extension-management": {"extensions": []},
            "info/supported-services": {"services": ["bacnet", "info"]},
        }

    def _object(self, path: str, match: re.Match[str]) -> Object | None:
        if not _exists(match):
            return None
        return {
            "objectInstance": int(match["instance"]),
            "objectType": _camel(match["type"]),
            "bacnetProperties": _link(f"{path}/properties", "properties"),
        }

    def _property(self, path: str) -> Object | None:
        value = self.value(path)
        if value is None:
            return None
        coded = base64.b64encode(b"\x75" + bytes([len(value) % 256]) + value.encode()).decode()
        name = _camel(path.rpartition("/")[2])
        return {"value": value, "asnValue": coded, "isArray": False, "implementation": "", "name": name}

    def _first(self, kind: str, instance: int, name: str) -> str:
        random = Random(f"{self.seed}:{self.id}:{kind}:{instance}:{name}")
        is_analog = kind.startswith("analog")
        values = f"{random.randrange(30, 60) / 2:g}", random.choice(("Active", "Inactive")), str(random.randrange(1, 4))
        return {
            "description": "",
            "object-name": f"{kind.upper()}-{instance}",
            "out-of-service": "False",
            "present-value": values[0 if is_analog else 1 if kind == "binary-value" else 2],
            "units": "degreesCelsius" if is_analog else "noUnits",
        }[name]


def _exists(match: re.Match[str]) -> bool:
    names = match.groupdict()
    known = 0 < int(names["instance"]) <= _TYPES.get(names["type"], 0)
    return known and names.get("name", "units") in _PROPERTIES


def _taken(match: re.Match[str], value: str) -> str:
    """Return a value as the controller keeps it."""
    kind, name = match["type"], match["name"]
    if kind == "analog-input" or name not in ("present-value", "description"):
        raise _DeniedError(403, "write access denied")
    if name == "present-value" and kind.startswith("analog"):
        if not _NUMBER.fullmatch(value):
            raise _DeniedError(400, "invalid data type")
        return f"{float(value):g}"
    if name == "present-value" and kind == "binary-value" and value not in ("Active", "Inactive"):
        raise _DeniedError(400, "value out of range")
    return value


def _posted(method: str, request: SimRequest) -> Object:
    if method != "POST":
        raise _DeniedError(405, "method not allowed")
    if not (request.header("Content-Type") or "").startswith("application/json"):
        raise _DeniedError(415, "unsupported media type")
    body = request.object()
    if body is None:
        raise _DeniedError(400, "the body is no JSON object")
    return body


def text_of(document: Object) -> str:
    """Return a document as a controller writes it: slashes are escaped."""
    return json.dumps(document, separators=(",", ":")).replace("/", "\\/")


def _link(path: str, name: str) -> Object:
    return {"href": f"{PREFIX}/{path}", "name": name}


def _camel(name: str) -> str:
    first, *rest = name.split("-")
    return first + "".join(word.capitalize() for word in rest)
