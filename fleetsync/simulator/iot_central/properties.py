"""The properties of a device: what it says, what it should be, and how it comes round to that."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Literal, Self, TypeAlias
from zlib import crc32

from fleetsync.simulator.wire import Object, RefusedError

Path: TypeAlias = tuple[str, ...]
"""A property's name, with its component's name before it when it is in one."""

Access: TypeAlias = Literal["device", "writable", "cloud"]
"""Who sets it: the device alone, anybody through the device, or anybody without asking the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A property as its template declares it."""

    access: Access
    schema: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilityModel:
    """What a template says of its devices' properties; without one nothing is known and all is refused."""

    properties: Mapping[Path, Declared]
    components: frozenset[str]

    @classmethod
    def of(cls, template: Mapping[str, object]) -> Self:
        """Read the model of a template's document."""
        model = template.get("capabilityModel")
        contents = dict(_declared(model, ()))
        return cls(properties=contents, components=frozenset(path[0] for path in contents if len(path) > 1))


def _declared(interface: object, prefix: Path) -> Iterator[tuple[Path, Declared]]:
    contents = interface.get("contents") if isinstance(interface, Mapping) else None
    for item in contents if isinstance(contents, list) else []:
        kinds = item.get("@type", [])
        path = (*prefix, str(item.get("name")))
        if "Component" in kinds and not prefix:
            yield from _declared(item.get("schema"), path)
        elif "Property" in kinds:
            access: Access = "cloud" if "Cloud" in kinds else "writable" if item.get("writable") else "device"
            yield path, Declared(access=access, schema=str(item.get("schema")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How a device answers to a desired value; it depends on its id alone.

    One in sixteen never does, one reports the value without acknowledging it, the others do both.
    """

    answers: bool
    acknowledges: bool
    delay_s: float

    @classmethod
    def of(cls, device_id: str) -> Self:
        """Return the habit of a device."""
        number = crc32(device_id.encode())
        return cls(answers=number % 16 != 0, acknowledges=number % 16 != 1, delay_s=1.0 + (number >> 8) % 7000 / 1000)


@dataclass(slots=True, kw_only=True)
class Property:
    """The state of one property; members that were never set are None."""

    reported: object = None
    desired: object = None
    desired_version: int | None = None
    ack_version: int | None = None
    updated_at: float = 0.0

    def metadata(self) -> Object:
        """Return its entry under `$metadata`."""
        shown: Object = {"lastUpdateTime": _timestamp(self.updated_at)}
        if self.desired_version is not None:
            shown |= {"desiredValue": self.desired, "desiredVersion": self.desired_version}
        if self.ack_version is not None:
            shown |= {"ackVersion": self.ack_version, "ackCode": 200, "ackDescription": "completed"}
        return shown


class Twin:
    """All properties of one device; versions count its desired writes."""

    def __init__(self, model: CapabilityModel, *, random: Random, at: float) -> None:
        self.model = model
        self.version = 1
        self.properties: dict[Path, Property] = {
            path: Property(reported=_invented(declared.schema, random), updated_at=at)
            for path, declared in model.properties.items()
            if declared.access != "cloud"
        }

    def desire(self, values: Mapping[Path, object], *, at: float) -> dict[Path, int]:
        """Take in desired values, None taking one back; return the paths the device has to answer, by version."""
        self.version += 1
        asked: dict[Path, int] = {}
        for path, value in values.items():
            if value is None:
                self._take_back(path)
                continue
            known = self.properties.setdefault(path, Property())
            known.updated_at = at
            if self._is_cloud(path):
                known.reported = value
                continue
            known.desired, known.desired_version = value, self.version
            asked[path] = self.version
        return asked

    def answer(self, path: Path, version: int, *, acknowledged: bool, at: float) -> None:
        """Let the device report what it was asked for, unless it was asked for something else since."""
        known = self.properties.get(path)
        if known is None or known.desired_version != version:
            return
        known.reported, known.updated_at = known.desired, at
        if acknowledged:
            known.ack_version = version

    def report(self, path: Path, value: object, *, at: float) -> None:
        """Let the device report a value of its own."""
        known = self.properties.setdefault(path, Property())
        known.reported, known.updated_at = value, at

    def document(self, component: str | None = None) -> Object:
        """Return the properties as the service shows them: the root, or one component."""
        root: Object = {}
        for path, known in self.properties.items():
            level = root if len(path) == 1 else root.setdefault(path[0], {})
            level.setdefault("$metadata", {})[path[-1]] = known.metadata()
            if known.reported is not None:
                level[path[-1]] = known.reported
        found: Object = root if component is None else root.get(component, {})
        return found

    def desired_paths(self, component: str | None) -> set[Path]:
        """Return the paths that somebody set, within a component or everywhere."""
        return {
            path
            for path, known in self.properties.items()
            if known.desired_version is not None and (component is None or path[0] == component)
        }

    def wanted(self) -> Object:
        """Return what somebody set, by dotted path: desired values, and those that need no device."""
        return {
            ".".join(path): known.desired if known.desired_version is not None else known.reported
            for path, known in self.properties.items()
            if known.desired_version is not None or self._is_cloud(path)
        }

    def _is_cloud(self, path: Path) -> bool:
        declared = self.model.properties.get(path)
        return declared is not None and declared.access == "cloud"

    def _take_back(self, path: Path) -> None:
        known = self.properties.get(path)
        if self._is_cloud(path):
            self.properties.pop(path, None)
        elif known is not None:
            known.desired = known.desired_version = known.ack_version = None


def values_of(
    body: Mapping[str, object], model: CapabilityModel, *, component: str | None, unmodeled: bool
) -> dict[Path, object]:
    """Return the desired values that a body names, by path.

    Raises:
        RefusedError: 422, for metadata, a property that only the device sets, or one that the template lacks.
    """
    values: dict[Path, object] = {}
    for name, value in body.items():
        if component is None and name in model.components and isinstance(value, Mapping):
            values.update({(name, inner): content for inner, content in value.items()})
        else:
            values[(name,) if component is None else (component, name)] = value
    for path in values:
        declared = model.properties.get(path)
        if path[-1].startswith("$") or (declared is None and not unmodeled):
            raise RefusedError(422, "UnprocessableEntity", f"property {'.'.join(path)} is not in the template")
        if declared is not None and declared.access == "device":
            raise RefusedError(422, "UnprocessableEntity", f"property {'.'.join(path)} is read-only")
    return values


def accepted(values: Mapping[Path, object], component: str | None) -> Object:
    """Return the answer to a write: what was taken in, which the device has yet to do."""
    root: Object = {}
    for path, value in values.items():
        level = root if len(path) == 1 or component is not None else root.setdefault(path[0], {})
        level.setdefault("$metadata", {})[path[-1]] = {"desiredValue": value}
    return root


def _invented(schema: str, random: Random) -> object:
    match schema:
        case "double":
            return round(random.uniform(5, 35), 1)
        case "integer":
            return random.choice((10, 30, 60, 300))
        case "boolean":
            return random.random() < 0.5
        case _:
            return f"1.{random.randrange(5)}.{random.randrange(20)}"


def _timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
