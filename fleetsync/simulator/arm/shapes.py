"""How resources of Azure Sphere are shown: the same one differently by every call.

Facts (recordings of Azure/azure-powershell, read 2026-11): `systemData` is in the answers of writes, absent in GET and
null in POST lists; `hasDeployment` is null in a single GET only; a single GET repeats the id as it was addressed, with
the name in lower case; the types are lower case after writes; a catalog's `tenantId` is absent after PATCH, and only
single catalogs have an ETag, in a header.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from uuid import UUID

from fleetsync.simulator.arm.routes import CATALOG, DEPLOYMENT, DEVICE, GROUP, IMAGE, SPHERE, Words
from fleetsync.simulator.arm.tree import utc
from fleetsync.simulator.resources import Entry
from fleetsync.simulator.wire import Object

Occasion: TypeAlias = Literal["get", "list", "post-list", "write"]

_SIGNED_URI: Final = "https://sphereimages.blob.core.windows.net/{id}?sv=2021-08-06&se={se}&sig={sig}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """For whom a resource is shown: the call, when, and how its id was addressed by a GET or write of one."""

    subscription: str
    group: str
    occasion: Occasion
    at: float
    addressed: str | None = None


def resource_id(words: Words, names: Sequence[str], shown: Shown) -> str:
    """Return the id of a resource, in the case that goes with the call."""
    if shown.addressed is not None:
        return shown.addressed
    resource_groups, spelled = "resourceGroups", words
    if shown.occasion == "post-list":
        resource_groups, spelled = "resourcegroups", tuple(word.lower() for word in words)
    path = "".join(f"/{word}/{name}" for word, name in zip(spelled, names, strict=True))
    group = shown.group.lower() if shown.occasion == "post-list" else shown.group
    return f"/subscriptions/{shown.subscription}/{resource_groups}/{group}/providers/{SPHERE}{path}"


def document(words: Words, entry: Entry, shown: Shown) -> Object:
    """Return a resource as the call shows it."""
    names = entry.document["names"]
    type_ = f"{SPHERE}/{'/'.join(words)}"
    found: Object = {
        "id": resource_id(words, names, shown),
        "name": names[-1],
        "type": type_.lower() if shown.occasion == "write" else type_,
        **{name: value for name, value in entry.document.items() if name not in ("names", "properties")},
        "properties": _properties(words, entry, shown),
    }
    if shown.occasion == "write":
        found["systemData"] = _system_data(entry)
    elif shown.occasion == "post-list":
        found["systemData"] = None
    return found


def etag(entry: Entry) -> str:
    """Return what the header of a single catalog says."""
    return f'"{entry.serial & 0xFFFFFFFF:08x}-0000-0400-0000-{int(entry.written_at) & 0xFFFFFFFF:08x}0000"'


def insight(entry: Entry, number: int) -> Object:
    """Return an event of a device; it is no resource and has no envelope."""
    return {
        "deviceId": entry.id,
        "description": "AppCrash",
        "startTimestampUtc": utc(entry.written_at - 3600 * (number + 1)),
        "endTimestampUtc": utc(entry.written_at - 1800),
        "eventCategory": "AppCrash",
        "eventClass": "0",
        "eventType": "exit",
        "eventCount": number + 1,
    }


def _properties(words: Words, entry: Entry, shown: Shown) -> Object:
    properties: Object = dict(entry.document["properties"])
    if words == GROUP and shown.occasion == "get":
        properties["hasDeployment"] = None
    elif words == CATALOG and shown.occasion == "write":
        properties.pop("tenantId", None)
    elif words == IMAGE:
        properties["uri"] = _uri(properties, shown)
    elif words == DEPLOYMENT:
        properties["deployedImages"] = [_deployed(image, shown) for image in properties["deployedImages"]]
    elif words == DEVICE:
        properties["deviceId"] = entry.id
    return properties


def _deployed(image: Mapping[str, Object], shown: Shown) -> Object:
    inner = Shown(subscription=shown.subscription, group=shown.group, occasion=shown.occasion, at=shown.at)
    properties = {**image["properties"], "uri": _uri(image["properties"], shown)}
    return {"id": resource_id(IMAGE, tuple(image["names"]), inner), "name": None, "properties": properties}


def _uri(properties: Mapping[str, object], shown: Shown) -> str:
    # A signed address is another one at every call, and whoever has it has the image.
    return _SIGNED_URI.format(id=properties["imageId"], se=utc(shown.at + 3600), sig=f"{int(shown.at * 1000):x}%3D")


def _system_data(entry: Entry) -> Object:
    who = str(UUID(int=entry.serial, version=4))
    return {
        "createdBy": who,
        "createdByType": "Application",
        "createdAt": utc(entry.written_at),
        "lastModifiedBy": who,
        "lastModifiedByType": "Application",
        "lastModifiedAt": utc(entry.written_at),
    }
