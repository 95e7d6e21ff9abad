"""Devices and modules as values, and the documents that show them."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal, TypeAlias

from fleetsync.simulator.fleet import symmetric_key
from fleetsync.simulator.iot_hub.twins import NEVER, Path, Twin, instant, value_in
from fleetsync.simulator.wire import Object

Key: TypeAlias = tuple[str, str]
"""The id of a device and that of its module; the second is empty for the device itself."""

AuthenticationType: TypeAlias = Literal["sas", "selfSigned", "certificateAuthority", "none"]

ABSENT: Final = object()
"""What `value_of` returns where there is no value; JSON knows null."""

_NO_THUMBPRINTS: Final = (None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """How a device proves who it is; keys that nobody chose follow from its id and generation."""

    type: AuthenticationType = "sas"
    keys: tuple[str, str] | None = None
    thumbprints: tuple[str | None, str | None] = _NO_THUMBPRINTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One incarnation of a device or module, as it was after its last write.

    `serial` is behind the etag of the identity; `device_serial` is that of the device, and the same for a
    device itself. `scope` and `parents` are those of IoT Edge. Times are None for never.
    """

    key: Key
    generation: int
    serial: int
    device_serial: int
    twin: Twin
    status: str = "enabled"
    status_reason: str | None = None
    status_at: float | None = None
    is_connected: bool = False
    connected_at: float | None = None
    active_at: float | None = None
    authentication: Authentication = field(default_factory=Authentication)
    is_edge: bool = False
    scope: str | None = None
    parents: tuple[str, ...] = ()
    managed_by: str | None = None

    @property
    def is_module(self) -> bool:
        """True for a module."""
        return bool(self.key[1])

    @property
    def etag(self) -> str:
        """Return the etag of the identity, which is not that of the twin."""
        return serial_etag(self.serial)

    @property
    def connection_state(self) -> str:
        """Return Connected or Disconnected."""
        return "Connected" if self.is_connected else "Disconnected"


def serial_etag(serial: int) -> str:
    """Return base64 of a number in decimal."""
    return base64.b64encode(str(serial).encode()).decode()


def identity_document(record: Record, *, is_new: bool = False) -> Object:
    """Return the identity with its secrets; right after it was made its times lack their Z."""
    never = NEVER.rstrip("Z") if is_new else NEVER
    device_id, module_id = record.key

    def time_of(at: float | None) -> str:
        return never if at is None else instant(at)

    document: Object = {"moduleId": module_id, "managedBy": record.managed_by} if record.is_module else {}
    document |= {
        "deviceId": device_id,
        "generationId": str(record.generation),
        "etag": record.etag,
        "connectionState": record.connection_state,
    }
    if not record.is_module:
        document |= {"status": record.status, "statusReason": record.status_reason}
    document["connectionStateUpdatedTime"] = time_of(record.connected_at)
    if not record.is_module:
        document["statusUpdatedTime"] = time_of(record.status_at)
    document |= {
        "lastActivityTime": time_of(record.active_at),
        "cloudToDeviceMessageCount": 0,
        "authentication": _authentication_document(record),
    }
    if not record.is_module:
        document["capabilities"] = {"iotEdge": record.is_edge}
    return document | _scope(record)


def twin_document(record: Record) -> Object:
    """Return the whole twin; without tags it has no such member."""
    twin = record.twin
    document = _header(record)
    if twin.tags:
        document["tags"] = twin.tags
    document["properties"] = {"desired": twin.desired.document(), "reported": twin.reported.document()}
    if not record.is_module:
        document["capabilities"] = {"iotEdge": record.is_edge}
    return document | _scope(record)


def row_document(record: Record) -> Object:
    """Return the twin as a query shows it: with the configurations that were applied to it."""
    found = configurations(record)
    return {**twin_document(record), "configurations": found} if found else twin_document(record)


def configurations(record: Record) -> Object:
    """Return the automatic configurations that wrote any of the desired properties."""
    desired = record.twin.desired
    stamps = (desired.born, *desired.stamps.values())
    return {stamp.author.configuration: {"status": "Applied"} for stamp in stamps if stamp.author is not None}


def value_of(record: Record, path: Path) -> object:
    """Return the value at a path of the row, or ABSENT; the whole row is not made for it."""
    try:
        return value_in(*_holder(record, path))
    except KeyError:
        return ABSENT


def _holder(record: Record, path: Path) -> tuple[Mapping[str, object], Path]:
    twin = record.twin
    match path:
        case ("tags", *_):
            return {"tags": twin.tags} if twin.tags else {}, path
        case ("properties", "desired" | "reported" as name, first, *_):
            section = twin.desired if name == "desired" else twin.reported
            return section.document() if first.startswith("$") else section.values, path[2:]
        case ("properties" | "capabilities" | "configurations", *_):
            return row_document(record), path
        case _:
            return {**_header(record), **_scope(record)}, path


def _header(record: Record) -> Object:
    device_id, module_id = record.key
    primary, secondary = record.authentication.thumbprints
    document: Object = {"deviceId": device_id}
    if module_id:
        document["moduleId"] = module_id
    document |= {
        "etag": record.twin.etag,
        "deviceEtag": serial_etag(record.device_serial),
        "status": record.status,
    }
    if record.status_reason is not None:
        document["statusReason"] = record.status_reason
    return document | {
        "statusUpdateTime": instant(record.status_at),
        "connectionState": record.connection_state,
        "lastActivityTime": instant(record.active_at),
        "cloudToDeviceMessageCount": 0,
        "authenticationType": record.authentication.type,
        "x509Thumbprint": {"primaryThumbprint": primary, "secondaryThumbprint": secondary},
        "modelId": "",
        "version": record.twin.version,
    }


def _scope(record: Record) -> Object:
    found: Object = {} if record.scope is None else {"deviceScope": record.scope}
    return {**found, "parentScopes": list(record.parents)} if found or record.parents else found


def _authentication_document(record: Record) -> Object:
    authentication = record.authentication
    keys: tuple[str | None, str | None] = (None, None)
    if authentication.type == "sas":
        keys = authentication.keys or _invented_keys(record)
    primary, secondary = authentication.thumbprints
    return {
        "symmetricKey": {"primaryKey": keys[0], "secondaryKey": keys[1]},
        "x509Thumbprint": {"primaryThumbprint": primary, "secondaryThumbprint": secondary},
        "type": authentication.type,
    }


def _invented_keys(record: Record) -> tuple[str, str]:
    random = Random(f"keys:{record.key}:{record.generation}")
    return symmetric_key(random), symmetric_key(random)
