"""Automatic device configurations: what they are, and what they insist on.

A configuration writes its values into the desired properties of the devices that fulfil its condition, and signs
them in the metadata. Somebody else's value lasts until the service comes round again. The one with the highest priority
wins; what a configuration that is gone has written stays. Contents for modules are stored, and do nothing.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from fleetsync.simulator.iot_hub.conditions import Condition, parse_condition
from fleetsync.simulator.iot_hub.fleet import BASELINE, BASELINE_AUTHOR, BASELINE_PATH, BASELINE_VALUE
from fleetsync.simulator.iot_hub.query_tokens import QueryError
from fleetsync.simulator.iot_hub.records import Key, Record, serial_etag
from fleetsync.simulator.iot_hub.rules import invalid
from fleetsync.simulator.iot_hub.twins import Author, Path, instant, value_in
from fleetsync.simulator.resources import is_same
from fleetsync.simulator.wire import Object, RefusedError, encoded

DELAY_S: Final = 5.0
"""How long after a write the service comes round."""

_DESIRED: Final = "properties.desired"
_TYPES: Final[Mapping[str, type]] = {"labels": dict, "content": dict, "targetCondition": str, "metrics": dict}
_WRITABLE: Final = ("schemaVersion", "labels", "content", "targetCondition", "priority", "metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One configuration as it was after its last write."""

    id: str
    members: Object
    author: Author
    created_at: float
    updated_at: float
    serial: int
    values: Mapping[Path, object] = field(default_factory=dict)
    applies: Condition | None = None

    @property
    def etag(self) -> str:
        """Return the etag."""
        return serial_etag(self.serial)

    @property
    def priority(self) -> int:
        """Return the priority; the highest wins."""
        return int(self.members["priority"])

    def document(self) -> Object:
        """Return the configuration as it is shown; its metrics are never evaluated."""
        return {
            "id": self.id,
            **self.members,
            "contentType": None,
            "createdTimeUtc": instant(self.created_at),
            "lastUpdatedTimeUtc": instant(self.updated_at),
            "systemMetrics": {"results": {}, "queries": {}},
            "etag": self.etag,
        }


class Configurations:
    """All configurations by id, and the devices that they have yet to look at."""

    def __init__(self, *, most: int, at: float) -> None:
        self._most = most
        self._stored: dict[str, Configuration] = {}
        self._serial = 0
        self._due: list[tuple[float, Key]] = []
        self.put(BASELINE, _baseline(), at=at, author=BASELINE_AUTHOR)

    def __iter__(self) -> Iterator[Configuration]:
        return iter(self._stored.values())

    def get(self, id_: str) -> Configuration | None:
        """Return a configuration, or None when there is none."""
        return self._stored.get(id_)

    def put(self, id_: str, body: Object, *, at: float, author: Author | None = None) -> Configuration:
        """Store a configuration.

        Raises:
            RefusedError: 400 for what it cannot be, or another content than before; 413 for one too many.
        """
        before = self._stored.get(id_)
        if before is None and len(self._stored) >= self._most:
            raise RefusedError(413, "ConfigurationCountLimitExceeded", f"there are {self._most} configurations already")
        members = _members(body)
        if before is not None and not is_same(before.members["content"], members["content"]):
            raise invalid("the content of a configuration cannot be changed")
        self._serial += 1
        digest = hashlib.sha256(encoded(members["content"])).hexdigest()
        self._stored[id_] = Configuration(
            id=id_,
            members=members,
            author=author or Author(configuration=id_, digest=digest),
            created_at=before.created_at if before else at,
            updated_at=at,
            serial=self._serial,
            values=_values(members["content"]),
            applies=_condition(members["targetCondition"]),
        )
        return self._stored[id_]

    def remove(self, id_: str) -> None:
        """Remove a configuration that there is."""
        del self._stored[id_]

    def watch(self, key: Key, *, at: float) -> None:
        """Come round to a device some time after it was written."""
        heapq.heappush(self._due, (at + DELAY_S, key))

    def settle(self, at: float, apply: Callable[[Key, float], None]) -> None:
        """Come round to every device that is due by now, each at its own instant."""
        while self._due and self._due[0][0] <= at:
            due_at, key = heapq.heappop(self._due)
            apply(key, due_at)

    def owed(self, record: Record) -> list[tuple[Author, Object]]:
        """Return the merge patches of the desired properties that give every configuration what it wants."""
        wanted: dict[Path, tuple[Author, object]] = {}
        for found in sorted(self, key=lambda found: (found.priority, found.created_at, found.id)):
            if found.applies is not None and found.applies(record):
                wanted.update({path: (found.author, value) for path, value in found.values.items()})
        patches: dict[Author, Object] = {}
        for path, (author, value) in wanted.items():
            if not _is_given(record, path, value, author):
                _plant(patches.setdefault(author, {}), path, _exactly(_current(record, path), value))
        return list(patches.items())


def _members(body: Object) -> Object:
    defaults: Object = {
        "schemaVersion": None, "labels": {}, "content": {}, "targetCondition": "", "priority": 0,
        "metrics": {"results": {}, "queries": {}},
    }  # fmt: skip
    members: Object = defaults | {name: body[name] for name in _WRITABLE if name in body}
    for name, wanted in _TYPES.items():
        if not isinstance(members[name], wanted):
            raise invalid(f"{name} is not of type {wanted.__name__}")
    if not isinstance(members["priority"], int) or isinstance(members["priority"], bool) or members["priority"] < 0:
        raise invalid("priority is no number")
    return members


def _condition(text: str) -> Condition | None:
    """Return the condition; an empty one is fulfilled by nobody, a star by everybody."""
    if not text.strip():
        return None
    if text.strip() == "*":
        return lambda _record: True
    try:
        return parse_condition(text)
    except QueryError as error:
        raise invalid("the target condition is invalid") from error


def _values(content: Object) -> dict[Path, object]:
    device_content = content.get("deviceContent", {})
    if not isinstance(device_content, dict):
        raise invalid("deviceContent is no object")
    found: dict[Path, object] = {}
    for name, value in device_content.items():
        if name == _DESIRED and isinstance(value, dict):
            found.update({(key,): inner for key, inner in value.items()})
        elif name.startswith(f"{_DESIRED}."):
            found[tuple(name.removeprefix(f"{_DESIRED}.").split("."))] = value
        else:
            raise invalid("deviceContent has a key that is no desired property")
    return found


def _is_given(record: Record, path: Path, value: object, author: Author) -> bool:
    current = _current(record, path)
    return is_same(current, value) and record.twin.desired.author(path) == author


def _current(record: Record, path: Path) -> object:
    try:
        return value_in(record.twin.desired.values, path)
    except KeyError:
        return None


def _exactly(current: object, value: object) -> object:
    """Return the merge patch that makes the one of the other."""
    if not isinstance(current, Mapping) or not isinstance(value, Mapping):
        return value
    surplus = {name: None for name in current if name not in value}
    return {**surplus, **{name: _exactly(current.get(name), inner) for name, inner in value.items()}}


def _plant(patch: Object, path: Path, value: object) -> None:
    for name in path[:-1]:
        patch = patch.setdefault(name, {})
    patch[path[-1]] = value


def _baseline() -> Object:
    return {
        "schemaVersion": "1.0",
        "labels": {"owner": "device-team"},
        "content": {"deviceContent": {f"{_DESIRED}.{'.'.join(BASELINE_PATH)}": BASELINE_VALUE}},
        "targetCondition": "tags.ring = 'canary'",
        "priority": 10,
    }
