"""Twins as values: a write makes a new one, and never changes the old.

Facts (iot-hub-devguide-device-twins at learn.microsoft.com, and the live tests of Azure/azure-iot-cli-extension,
read 2026-11): a PATCH is a JSON merge patch; writing what is there already raises `$version` nevertheless; `etag`
covers tags and desired properties, `version` rises with desired and reported writes. Whether tags alone raise
`version` is documented nowhere: here they do not, so that a mirror which looks at `version` alone misses them.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TypeAlias

from fleetsync.simulator.resources import is_same, patched
from fleetsync.simulator.wire import Object

Path: TypeAlias = tuple[str, ...]

NEVER: Final = "0001-01-01T00:00:00Z"


@lru_cache(maxsize=4096)
def instant(at: float | None) -> str:
    """Return a time as the service writes it, with up to seven digits of a second; None is never."""
    if at is None:
        return NEVER
    ticks = round(at * 10_000_000)
    fraction = f".{ticks % 10_000_000:07}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(ticks // 10_000_000, UTC).isoformat()[:19]}{fraction}Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """The automatic configuration that wrote a value, and the digest of what it had to say."""

    configuration: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """When a value was last written, at which version, and by which configuration, if it was one."""

    at: float | None
    version: int | None = None
    author: Author | None = None

    def members(self) -> Object:
        """Return what the metadata says of one node."""
        found: Object = {"$lastUpdated": instant(self.at)}
        if self.version is not None:
            found["$lastUpdatedVersion"] = self.version
        if self.author is not None:
            found["$lastUpdatedBy"] = self.author.configuration
            found["$lastUpdatedByDigest"] = self.author.digest
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Desired or reported properties; `born` is the stamp of every value without one of its own."""

    born: Stamp
    values: Object = field(default_factory=dict)
    version: int = 1
    stamps: Mapping[Path, Stamp] = field(default_factory=dict)

    def merged(self, patch: Mapping[str, object], *, at: float, author: Author | None = None) -> "Section":
        """Return the section after a merge patch; what the patch names is stamped, changed or not."""
        version = self.version + 1
        stamp = Stamp(at=at, version=version, author=author)
        values = patched(self.values, patch)
        stamps = {**self.stamps, **dict.fromkeys(_nodes(patch), stamp)}
        kept = {path: found for path, found in stamps.items() if _exists(values, path)}
        return Section(born=self.born, values=values, version=version, stamps=kept)

    def replaced(self, values: Mapping[str, object], *, at: float) -> "Section":
        """Return the section with other values altogether."""
        version = self.version + 1
        return Section(born=Stamp(at=at, version=version), values=patched({}, values), version=version)

    def author(self, path: Path) -> Author | None:
        """Return the configuration that wrote a value last."""
        return self.stamps.get(path, self.born).author

    def document(self) -> Object:
        """Return the values, their metadata and the version."""
        metadata = self._metadata(self.values, ()) if self.stamps else _uniform(self.values, self.born.members())
        return {**self.values, "$metadata": metadata, "$version": self.version}

    def _metadata(self, values: Mapping[str, object], path: Path) -> Object:
        found = self.stamps.get(path, self.born).members()
        for name, value in values.items():
            inner = (*path, name)
            if isinstance(value, dict):
                found[name] = self._metadata(value, inner)
            else:
                found[name] = self.stamps.get(inner, self.born).members()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """Tags, desired and reported properties; `serial` counts the writes of the first two."""

    desired: Section
    reported: Section
    tags: Object = field(default_factory=dict)
    serial: int = 1
    version: int = 2

    @classmethod
    def newborn(cls) -> "Twin":
        """Return the twin of a device that was just created."""
        return cls(desired=Section(born=Stamp(at=None)), reported=Section(born=Stamp(at=None)))

    @property
    def etag(self) -> str:
        """Return the etag: the same for the first state of every twin there ever was."""
        return base64.b64encode(self.serial.to_bytes(8, "big")).decode()

    def tagged(self, tags: Mapping[str, object], *, replace_all: bool) -> "Twin":
        """Return the twin after a merge patch of its tags, or with other tags altogether."""
        return replace(self, tags=patched({} if replace_all else self.tags, tags))

    def desiring(self, desired: Section) -> "Twin":
        """Return the twin with a newer version of its desired properties."""
        return replace(self, desired=desired, version=self.version + 1)

    def touched(self) -> "Twin":
        """Return the twin with the next etag."""
        return replace(self, serial=self.serial + 1)

    def reporting(self, patch: Mapping[str, object], *, at: float) -> "Twin":
        """Return the twin after its device reported; the etag stays."""
        return replace(self, reported=self.reported.merged(patch, at=at), version=self.version + 1)

    def wants_the_same_as(self, other: "Twin") -> bool:
        """True when tags and desired values are the same, whatever the versions are."""
        return is_same([self.tags, self.desired.values], [other.tags, other.desired.values])


def value_in(values: Mapping[str, object], path: Path) -> object:
    """Return the value at a path.

    Raises:
        KeyError: there is none.
    """
    found: object = values
    for name in path:
        if not isinstance(found, Mapping):
            raise KeyError(name)
        found = found[name]
    return found


def _exists(values: Mapping[str, object], path: Path) -> bool:
    try:
        value_in(values, path)
    except KeyError:
        return False
    return True


def _uniform(values: Mapping[str, object], members: Object) -> Object:
    found = dict(members)
    for name, value in values.items():
        found[name] = _uniform(value, members) if isinstance(value, dict) else members
    return found


def _nodes(patch: Mapping[str, object], path: Path = ()) -> Iterator[Path]:
    yield path
    for name, value in patch.items():
        if isinstance(value, Mapping):
            yield from _nodes(value, (*path, name))
        else:
            yield (*path, name)
