"""IoT Hubs as resources of Azure Resource Manager, API 2023-06-30. Checked 2026-11-21.

https://learn.microsoft.com/rest/api/iothub/iot-hub-resource and recordings of azure-mgmt-iothub and azure-cli. What
holds for all of Azure Resource Manager is in `_arm`.

- The ETag is in the body alone. PATCH takes the tags alone, knows no If-Match, and puts those that are sent in the
  place of all (Microsoft's own client merges them before): they are read, merged and sent whole.
- How many devices a hub has, and how much of its quota is used, are two more requests per hub; both become members of
  its document.
- Connection strings come back masked; they are left out all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from fleetsync.core.document import fault_in, without_members
from fleetsync.core.kind import ANY, Column, ColumnType, Cost, Kind, TypeSpec, Writable
from fleetsync.core.merge_patch import apply_patch
from fleetsync.core.model import (
    Cursor,
    ETag,
    Facts,
    Page,
    Part,
    Resource,
    ResourceKey,
    ResourceType,
    Unreadable,
)
from fleetsync.core.operation import LASTS_S, Followed, Operation
from fleetsync.core.plan import Change, Guard, GuardKind
from fleetsync.errors import ConflictError, ResourceError
from fleetsync.providers._arm import (
    METHODS,
    OPERATIONS,
    SCOPE,
    URL,
    Arm,
    Listed,
    author_of,
    key_of,
    quota,
    scope,
    tags_in,
)
from fleetsync.providers._rest import asked_for, before_a_write, identified, of_what_is_there, page_of, storable, text
from fleetsync.providers.base import Endpoint, Provider, Target, Written

HUB = ResourceType("hub")
TAGS = Part("tags")

_PROVIDER = "Microsoft.Devices"
_WORDS = ("IotHubs",)
_SECRETS = frozenset({"connectionString", "primaryKey", "secondaryKey"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The keys that only this kind has."""

    subscription: Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z-]+$")]
    resource_group: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    api_version: Literal["2023-06-30"] = "2023-06-30"


KIND = Kind(
    name="iot-hub-arm",
    settings=Settings,
    interval_s=300.0,
    url=URL,
    scope=SCOPE,
    methods=METHODS,
    operations=OPERATIONS,
    quota=quota,
    costs={TAGS: Cost(write={"read": 1, "write": 1}, read={"read": 3})},
    types=(
        TypeSpec(
            type=HUB,
            view="hubs",
            listed_as="read",
            operations={TAGS: LASTS_S},
            volatile=(("statistics",), ("quotaMetrics",), ("systemData",)),
            columns={
                "location": Column(path=("location",)),
                "sku": Column(path=("sku", "name")),
                "units": Column(path=("sku", "capacity"), type=ColumnType.INTEGER),
                "state": Column(path=("properties", "state")),
                "host_name": Column(path=("properties", "hostName")),
                "tags": Column(path=("tags",), type=ColumnType.JSON),
                "devices": Column(path=("statistics", "totalDeviceCount"), type=ColumnType.INTEGER),
                "enabled_devices": Column(path=("statistics", "enabledDeviceCount"), type=ColumnType.INTEGER),
                "disabled_devices": Column(path=("statistics", "disabledDeviceCount"), type=ColumnType.INTEGER),
                "messages_today": Column(
                    path=("quotaMetrics", "TotalMessages", "currentValue"), type=ColumnType.INTEGER
                ),
                "most_messages": Column(path=("quotaMetrics", "TotalMessages", "maxValue"), type=ColumnType.INTEGER),
                "most_devices": Column(path=("quotaMetrics", "TotalDeviceCount", "maxValue"), type=ColumnType.INTEGER),
            },
            writable=(Writable(path=("tags", ANY), part=TAGS, value=str),),
        ),
    ),
)


class _Identified(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(min_length=1)]


class IotHubArm(Target):
    """The IoT Hubs of a subscription, or of one resource group in it."""

    kind: ClassVar[Kind] = KIND

    def __init__(self, endpoint: Endpoint) -> None:
        settings = endpoint.own(Settings)
        self.name = endpoint.name
        self._arm = Arm(endpoint, settings.subscription, settings.api_version)
        group = "" if settings.resource_group is None else f"/resourceGroups/{settings.resource_group}"
        self._list = f"{self._arm.subscription}{group}/providers/{_PROVIDER}/{_WORDS[0]}"

    async def page(self, type: ResourceType, cursor: Cursor | None) -> Page:  # noqa: ARG002 - there is one
        """Return the first page, or the one at `cursor`; each hub costs two more requests."""
        listed: Listed = await (self._arm.list(self._list) if cursor is None else self._arm.next_page(cursor))
        found = [await self._complete(item) for item in listed.items]
        return page_of(found, listed.next)

    async def read(self, key: ResourceKey) -> Resource:
        """Return a hub as it is now."""
        response = await self._arm.get(self._id(key))
        with of_what_is_there():
            hub = await self._complete(response.body)
        return asked_for(key, hub, response)

    def declarable(self, type: ResourceType, document: object, details: Mapping[Part, object]) -> Mapping[str, object]:  # noqa: ARG002 - the contract's
        """Return the tags."""
        return {"tags": tags_in(document)} if isinstance(document, Mapping) else {}

    def guard(self, part: Part, resource: Resource) -> Guard | None:  # noqa: ARG002 - there is one part
        """Return the reread guard: PATCH compares no ETag. Ours is compared right before, in `patch`."""
        return Guard(kind=GuardKind.REREAD, etag=resource.etag)

    def author(self, resource: Resource) -> str | None:
        """Return whom `systemData` names."""
        return author_of(resource)

    async def patch(self, change: Change) -> Written:
        """Send the tags whole, as they were read just now, with the change in them."""
        id = self._id(change.key)
        with before_a_write():
            document = (await self._arm.get(id)).decode(dict[str, Any])
        if change.guard.etag is not None and text(document, "etag") != change.guard.etag:
            raise ConflictError(f"{change.key}: it was written since it was planned")
        patched = apply_patch({"tags": tags_in(document)}, change.patch)
        response = await self._arm.found(self._arm.request("PATCH", id, patched))
        return Written(
            shown=None,
            status=response.status,
            request_id=response.request_id,
            operation=self._arm.operation(response, id),
        )

    async def follow(self, key: ResourceKey, part: Part, operation: Operation) -> Followed:  # noqa: ARG002 - the handle says it all
        """Return where an operation stands."""
        return (await self._arm.follow(operation.handle)).followed

    async def _complete(self, item: bytes) -> Resource | Unreadable:
        """Return a hub with its statistics and quota; null where the service has none for it now, or none to store."""
        id = identified(item, _Identified, "hubs").id
        key = key_of(id)
        statistics = await self._asked(f"{id}/IotHubStats")
        metrics = await self._asked(f"{id}/quotaMetrics")
        return _hub(key, item, statistics, _by_name(metrics))

    async def _asked(self, path: str) -> dict[str, Any] | None:
        try:
            response = await self._arm.get(path)
        except ResourceError:
            return None
        return None if fault_in(response.body) else response.decode(dict[str, Any])

    def _id(self, key: ResourceKey) -> str:
        return self._arm.id_of(key.id, _PROVIDER, _WORDS)


def _hub(key: str, item: bytes, statistics: object, metrics: object) -> Resource | Unreadable:
    def made(decoded: Mapping[str, Any], _document: bytes) -> Resource:
        properties = without_members(msgspec.json.encode(decoded.get("properties")), _SECRETS.__contains__)
        document = {
            **decoded,
            "id": str(decoded["id"]).lower(),
            "properties": msgspec.Raw(properties),
            "statistics": statistics,
            "quotaMetrics": metrics,
        }
        etag = text(decoded, "etag")
        return Resource(
            id=key,
            document=msgspec.json.encode(document),
            etag=None if etag is None else ETag(etag),
            facts=Facts(display_name=text(decoded, "name")),
        )

    return storable(key, item, made)


def _by_name(metrics: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the metrics of a quota by their names, so that each is a member; None where there are none."""
    found = metrics.get("value") if metrics is not None else None
    if not isinstance(found, list):
        return None
    return {str(metric["name"]): metric for metric in found if isinstance(metric, dict) and "name" in metric}


PROVIDER = Provider(kind=KIND, connect=IotHubArm, scope=scope)
