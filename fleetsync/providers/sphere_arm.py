"""Azure Sphere, the integrated service behind Azure Resource Manager, API 2024-04-01. Checked 2026-11-21.

https://learn.microsoft.com/rest/api/azuresphere, Microsoft's specification, and the traffic of its own test suite. What
holds for all of Azure Resource Manager is in `_arm`.

- Devices, groups and deployments of a whole catalog are listed by POST, which costs a write and one request per page;
  products, images and certificates by GET.
- A device's ARM id holds product and group and changes when it moves: a device is its device id, in lower case. Its old
  path is 404 then, which proves nothing: it is looked for elsewhere before it is called not found. That is no proof
  that it is gone either, since it stands on a list that may miss it: only two listings are.
- The same resource looks different by every call: `systemData` and a group's `hasDeployment` say nothing of change.
- Only a single catalog has an ETag, in a header; whether If-Match is heeded is unproven, so it is reread as well. All
  else is read, compared, written and read back.
- Moving a device takes 6 to 8 s; it is answered with an operation to follow.
- Images come with an address that is signed for the moment: what they are is kept, what is in them is not.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from fleetsync.core.declaration import ABSENT
from fleetsync.core.document import without_members
from fleetsync.core.kind import ANY, Column, ColumnType, Cost, Kind, TypeSpec, Writable
from fleetsync.core.merge_patch import apply_patch
from fleetsync.core.model import (
    DEVICE,
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
from fleetsync.core.operation import LASTS_S, Followed, Operation, Standing
from fleetsync.core.path import Path
from fleetsync.core.plan import Change, DriftState, Guard, GuardKind, Objection
from fleetsync.errors import ConflictError, InvalidResponseError, NotFoundError
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
from fleetsync.providers._rest import (
    asked_for,
    before_a_write,
    fits_if_match,
    identified,
    if_match,
    instant,
    page_of,
    storable,
    text,
)
from fleetsync.providers.base import Endpoint, Provider, Target, Written
from fleetsync.transport.http import Response

CATALOG = ResourceType("catalog")
PRODUCT = ResourceType("product")
DEVICE_GROUP = ResourceType("device-group")
DEPLOYMENT = ResourceType("deployment")
IMAGE = ResourceType("image")
CERTIFICATE = ResourceType("certificate")

GROUP = Part("group")
SETTINGS = Part("settings")
TAGS = Part("tags")

_PROVIDER = "Microsoft.AzureSphere"
_GROUP_WORDS = ("catalogs", "products", "deviceGroups")
_WORDS: Mapping[ResourceType, tuple[str, ...]] = {
    CATALOG: ("catalogs",),
    PRODUCT: ("catalogs", "products"),
    DEVICE_GROUP: _GROUP_WORDS,
    DEVICE: (*_GROUP_WORDS, "devices"),
    DEPLOYMENT: (*_GROUP_WORDS, "deployments"),
    IMAGE: ("catalogs", "images"),
    CERTIFICATE: ("catalogs", "certificates"),
}
_POST_LISTS: Mapping[ResourceType, tuple[str, object]] = {
    DEVICE: ("listDevices", None),
    DEVICE_GROUP: ("listDeviceGroups", {}),
    DEPLOYMENT: ("listDeployments", None),
}
_GET_LISTS: Mapping[ResourceType, str] = {PRODUCT: "products", IMAGE: "images", CERTIFICATE: "certificates"}
_CONTENT = frozenset({"image", "uri"})
"""Members of images, wherever they stand: what is in them, and a signed address of it."""
_PER_CALL: tuple[Path, ...] = (("systemData",),)
_TAGS = (Writable(path=("tags", ANY), part=TAGS, value=str),)
_SET = (
    Writable(path=("description",), part=SETTINGS, value=str),
    Writable(path=("osFeedType",), part=SETTINGS, value=str),
    Writable(path=("updatePolicy",), part=SETTINGS, value=str),
    Writable(path=("allowCrashDumpsCollection",), part=SETTINGS, value=Literal["Enabled", "Disabled"]),
    Writable(path=("regionalDataBoundary",), part=SETTINGS, value=str),
)
_Place = Annotated[str, msgspec.Meta(pattern="^[^/]+/[^/]+$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The keys that only this kind has; without `catalog` all catalogs of the group or subscription are meant."""

    subscription: Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z-]+$")]
    resource_group: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    catalog: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    api_version: Literal["2024-04-01"] = "2024-04-01"


def _property(name: str, type: ColumnType = ColumnType.TEXT) -> Column:
    return Column(path=("properties", name), type=type)


_IMAGE_COLUMNS = {
    "component_id": _property("componentId"),
    "image_type": _property("imageType"),
    "regional_data_boundary": _property("regionalDataBoundary"),
    "description": _property("description"),
}

KIND = Kind(
    name="sphere-arm",
    settings=Settings,
    interval_s=6 * 3600.0,
    url=URL,
    scope=SCOPE,
    methods=METHODS,
    operations=OPERATIONS,
    quota=quota,
    costs={
        # A move takes some seconds: it is asked for three times or so.
        GROUP: Cost(write={"write": 1, "read": 3}, read={"read": 1}),
        SETTINGS: Cost(write={"write": 1}, read={"read": 1}),
        TAGS: Cost(write={"read": 1, "write": 1}, read={"read": 1}),
    },
    types=(
        TypeSpec(
            type=DEVICE,
            view="devices",
            listed_as="read",
            operations={GROUP: LASTS_S},
            moves=True,
            volatile=(*_PER_CALL, ("properties", "lastUpdateRequestUtc")),
            writable=(Writable(path=("group",), part=GROUP, value=_Place, folds=True),),
        ),
        TypeSpec(
            type=DEVICE_GROUP,
            view="device_groups",
            listed_as="read",
            operations={SETTINGS: LASTS_S},
            volatile=(*_PER_CALL, ("properties", "hasDeployment")),
            columns={
                "description": _property("description"),
                "os_feed_type": _property("osFeedType"),
                "update_policy": _property("updatePolicy"),
                "allow_crash_dumps_collection": _property("allowCrashDumpsCollection"),
                "regional_data_boundary": _property("regionalDataBoundary"),
            },
            writable=_SET,
        ),
        TypeSpec(
            type=PRODUCT,
            view="products",
            listed_as="read",
            volatile=_PER_CALL,
            columns={"description": _property("description")},
        ),
        TypeSpec(
            type=CATALOG,
            view="catalogs",
            listed_as="read",
            operations={TAGS: LASTS_S},
            volatile=_PER_CALL,
            columns={
                "location": Column(path=("location",)),
                "tenant_id": _property("tenantId"),
                "tags": Column(path=("tags",), type=ColumnType.JSON),
            },
            writable=_TAGS,
        ),
        TypeSpec(
            type=DEPLOYMENT,
            view="deployments",
            listed_as="read",
            volatile=_PER_CALL,
            columns={
                "deployed_at": _property("deploymentDateUtc"),
                "images": _property("deployedImages", ColumnType.JSON),
            },
        ),
        TypeSpec(type=IMAGE, view="images", listed_as="read", volatile=_PER_CALL, columns=_IMAGE_COLUMNS),
        TypeSpec(
            type=CERTIFICATE,
            view="certificates",
            listed_as="read",
            volatile=_PER_CALL,
            columns={
                "status": _property("status"),
                "subject": _property("subject"),
                "thumbprint": _property("thumbprint"),
                "valid_from": _property("notBeforeUtc"),
                "valid_until": _property("expiryUtc"),
            },
        ),
    ),
)


class _Named(msgspec.Struct):
    """What every device has: its name is its device id."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    id: str | None = None


class _Identified(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(min_length=1)]


class _At(msgspec.Struct, array_like=True):
    """A place in the lists of several catalogs: a link to the next page of one, and the ids of those to come."""

    link: str | None
    rest: list[str]


class SphereArm(Target):
    """The Azure Sphere catalogs of a subscription, of a resource group, or one of them."""

    kind: ClassVar[Kind] = KIND

    def __init__(self, endpoint: Endpoint) -> None:
        settings = endpoint.own(Settings)
        self.name = endpoint.name
        self._known = endpoint.known
        self._arm = Arm(endpoint, settings.subscription, settings.api_version)
        group = "" if settings.resource_group is None else f"/resourceGroups/{settings.resource_group}"
        self._catalog_list = f"{self._arm.subscription}{group}/providers/{_PROVIDER}/catalogs"
        self._catalog = settings.catalog
        self._moved: dict[str, str] = {}
        """ARM ids of devices that are newer than the mirror's, by device id; forgotten when the mirror has them."""
        self._next_search = _Search()
        self._searching = asyncio.Lock()

    async def page(self, type: ResourceType, cursor: Cursor | None) -> Page:
        """Return the first page of the first catalog, or the one at `cursor`: catalog after catalog."""
        if type == CATALOG:
            listed = await (self._arm.list(self._catalog_list) if cursor is None else self._arm.next_page(cursor))
            found = [_read(type, item) for item in listed.items]
            mine = [one for one in found if self._is_mine(one.id)]
            return page_of(mine, None if listed.next is None else Cursor(listed.next))
        at = _At(None, await self._catalogs()) if cursor is None else _decoded(cursor)
        if at.link is not None:
            listed, rest = await self._arm.next_page(at.link), at.rest
        elif at.rest:
            listed, rest = await self._first_page(type, at.rest[0]), at.rest[1:]
        else:
            return Page(resources=(), next=None)
        following = _At(listed.next, rest)
        is_last = listed.next is None and not rest
        onward = None if is_last else Cursor(msgspec.json.encode(following).decode())
        return page_of([_read(type, item) for item in listed.items], onward)

    async def read(self, key: ResourceKey) -> Resource:
        """Return a resource as it is now; a device also where it was moved to."""
        if key.type == DEVICE:
            return await self._read_device(key)
        response = await self._arm.get(self._id(key))
        return _stored(key, response)

    def declarable(self, type: ResourceType, document: object, details: Mapping[Part, object]) -> Mapping[str, object]:  # noqa: ARG002 - the contract's
        """Return the group of a device as "product/group", the settings of a group, the tags of a catalog."""
        if not isinstance(document, Mapping):
            return {}
        if type == CATALOG:
            return {"tags": tags_in(document)}
        if type == DEVICE:
            place = _place_in(document)
            return {} if place is None else {"group": "/".join(place.split("/")[2:4])}
        properties = document.get("properties")
        return properties if type == DEVICE_GROUP and isinstance(properties, Mapping) else {}

    def guard(self, part: Part, resource: Resource) -> Guard | None:
        """Return If-Match, reread as well, for the tags of a catalog; else only reading guards."""
        if part == TAGS and (resource.etag is None or fits_if_match(resource.etag)):
            # Lists show no ETag; the read before the write does.
            return Guard(kind=GuardKind.IF_MATCH, etag=resource.etag, reread=True)
        return Guard(kind=GuardKind.REREAD)

    def objections(self, change: Change, resource: Resource) -> Sequence[Objection]:
        """Return what cannot be done: to take a setting or a group away, to move a device whose place is not known."""
        unset = [leaf for leaf in change.leaves if leaf.declared is ABSENT and change.part != TAGS]
        found = [Objection(path=leaf.path, state=DriftState.HELD, by="it can be changed, not unset") for leaf in unset]
        if change.part == GROUP and not found and _place_in(msgspec.json.decode(resource.document)) is None:
            by = "the service does not say which catalog and group it is in"
            found = [Objection(path=leaf.path, state=DriftState.HELD, by=by) for leaf in change.leaves]
        return found

    def author(self, resource: Resource) -> str | None:
        """Return whom `systemData` names."""
        return author_of(resource)

    async def patch(self, change: Change) -> Written:
        """Move a device, change settings of a group, or send the tags of a catalog whole."""
        match change.part:
            case "group":
                return await self._move(change)
            case "tags":
                return await self._tag(change)
            case _:
                return await self._patched(change.key, self._id(change.key), {"properties": change.patch})

    async def follow(self, key: ResourceKey, part: Part, operation: Operation) -> Followed:
        """Return where an operation stands, and remember where it leads a device to."""
        told = await self._arm.follow(operation.handle)
        if part == GROUP and told.leads_to is not None and told.followed.standing is not Standing.RUNNING:
            self._moved[key.id] = told.leads_to
        return told.followed

    async def _move(self, change: Change) -> Written:
        """Ask for a device to be moved, at the place where it was last seen."""
        places = await self._places(change.key)
        if not places:
            raise ConflictError(f"{change.key}: where it is, nobody knows any more")
        place = key_of(places[0])
        catalog = "/".join(place.split("/")[:2])
        group = self._arm.id_of(f"{catalog}/{change.patch['group']}", _PROVIDER, _GROUP_WORDS)
        request = self._arm.request("PATCH", places[0], {"properties": {"deviceGroupId": group}})
        try:
            response = await self._arm.found(request)
        except NotFoundError as error:
            # Its path is no more: it was moved, or it is gone.
            raise ConflictError(
                f"{change.key}: it is not any more where it was", status=error.status, request_id=error.request_id
            ) from error
        leads_to = f"{group}/devices/{change.key.id}"
        operation = self._arm.operation(response, places[0], leads_to=leads_to)
        if operation is None:
            self._moved[change.key.id] = leads_to
        return Written(shown=None, status=response.status, request_id=response.request_id, operation=operation)

    async def _tag(self, change: Change) -> Written:
        """Send the tags whole: what is sent takes the place of all. The ETag is compared here and by the service."""
        id = self._id(change.key)
        with before_a_write():
            current = await self._arm.get(id)
            document = current.decode(dict[str, Any])
        etag = current.headers.get("etag")
        if etag is None or etag != change.guard.etag:
            raise ConflictError(f"{change.key}: it was written since it was planned, or shows no ETag")
        tags = apply_patch({"tags": tags_in(document)}, change.patch)
        return await self._patched(change.key, id, tags, {"If-Match": if_match(ETag(etag))})

    async def _patched(
        self, key: ResourceKey, id: str, body: object, headers: Mapping[str, str] | None = None
    ) -> Written:
        request = self._arm.request("PATCH", id, body, headers=headers)
        response = await self._arm.found(request)
        operation = self._arm.operation(response, id)
        shown = None if operation is not None else _read(key.type, response.body, etag=_etag(response))
        return Written(
            shown=shown if isinstance(shown, Resource) else None,
            status=response.status,
            request_id=response.request_id,
            operation=operation,
        )

    async def _read_device(self, key: ResourceKey) -> Resource:
        for place in await self._places(key):
            try:
                response = await self._arm.get(place)
            except NotFoundError:
                if self._moved.get(key.id, "").lower() == place:
                    del self._moved[key.id]  # it was taken from there since
                continue
            return _stored(key, response)
        found = await self._searched(key.id)
        if found is None:
            raise NotFoundError(f"{key}: it is in no catalog here", status=404)
        resource = _stored(key, await self._arm.get(found))
        self._moved[key.id] = found
        return resource

    async def _places(self, key: ResourceKey) -> list[str]:
        """Return the ARM ids that a device may have now, the newest first."""
        document = await self._known.document(key)
        stored_id = None if document is None else msgspec.json.decode(document, type=_Named).id
        moved = self._moved.get(key.id)
        if moved is not None and stored_id is not None and moved.lower() == stored_id:
            del self._moved[key.id]
        return [id for id in dict.fromkeys((moved and moved.lower(), stored_id)) if id]

    async def _searched(self, device_id: str) -> str | None:
        """Look for a device in all catalogs and return its ARM id; those who ask at the same time share one search."""
        search = self._next_search
        search.wanted.add(device_id)
        async with self._searching:
            if not search.is_done:
                # Whoever asks from now on is told by the next one: this one may be past his device.
                self._next_search = _Search() if search is self._next_search else self._next_search
                async for item in self._all_devices():
                    named = identified(item, _Named, "devices")
                    if named.name.lower() in search.wanted and named.id:
                        search.found[named.name.lower()] = named.id.lower()
                search.is_done = True
        return search.found.get(device_id)

    async def _all_devices(self) -> AsyncIterator[bytes]:
        for catalog in await self._catalogs():
            async for item in self._arm.to_the_end(await self._first_page(DEVICE, catalog)):
                yield item

    async def _first_page(self, type: ResourceType, catalog: str) -> Listed:
        if type in _GET_LISTS:
            return await self._arm.list(f"{catalog}/{_GET_LISTS[type]}")
        action, body = _POST_LISTS[type]
        return await self._arm.list_by_post(f"{catalog}/{action}", body)

    async def _catalogs(self) -> list[str]:
        """Return the ids of the catalogs that are meant, in lower case; each once, however often it is listed."""
        items = self._arm.to_the_end(await self._arm.list(self._catalog_list))
        ids = dict.fromkeys([identified(item, _Identified, "catalogs").id.lower() async for item in items])
        return [id for id in ids if self._is_mine(key_of(id))]

    def _is_mine(self, key: str) -> bool:
        return self._catalog is None or key.rpartition("/")[2] == self._catalog.lower()

    def _id(self, key: ResourceKey) -> str:
        return self._arm.id_of(key.id, _PROVIDER, _WORDS[key.type])


class _Search(msgspec.Struct):
    """One walk through all devices, for everybody who waits for it."""

    wanted: set[str] = msgspec.field(default_factory=set)
    found: dict[str, str] = msgspec.field(default_factory=dict)
    is_done: bool = False


def _decoded(cursor: Cursor) -> _At:
    try:
        return msgspec.json.decode(cursor, type=_At)
    except msgspec.DecodeError as error:
        raise InvalidResponseError("a cursor that is none of ours") from error


def _stored(key: ResourceKey, response: Response) -> Resource:
    return asked_for(key, _read(key.type, response.body, etag=_etag(response)), response)


def _etag(response: Response) -> ETag | None:
    etag = response.headers.get("etag")
    return None if etag is None else ETag(etag)


def _read(type: ResourceType, item: bytes, etag: ETag | None = None) -> Resource | Unreadable:
    """Return what an item of a list, or an answer, is about; only catalogs have an ETag that means anything."""
    id = identified(item, _Named, "devices").name.lower() if type == DEVICE else _key_in(item)

    def made(decoded: Mapping[str, Any], _document: bytes) -> Resource:
        document = _folded(decoded)
        encoded = msgspec.json.encode(document)
        if type in (IMAGE, DEPLOYMENT):
            encoded = without_members(encoded, _CONTENT.__contains__)
        return Resource(id=id, document=encoded, etag=etag if type == CATALOG else None, facts=_facts(type, document))

    return storable(id, item, made)


def _key_in(item: bytes) -> str:
    return key_of(identified(item, _Identified, "a list").id)


def _folded(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with its id and type in lower case, and so those of the images in it: they come in any."""
    folded = {
        name: value.lower() if name in ("id", "type") and isinstance(value, str) else value
        for name, value in document.items()
    }
    properties = folded.get("properties")
    images = properties.get("deployedImages") if isinstance(properties, dict) else None
    if isinstance(properties, dict) and isinstance(images, list):
        shown = [_folded(image) if isinstance(image, dict) else image for image in images]
        folded["properties"] = {**properties, "deployedImages": shown}
    return folded


def _facts(type: ResourceType, document: Mapping[str, Any]) -> Facts:
    if type != DEVICE:
        return Facts(display_name=text(document, "name"))
    properties = document.get("properties")
    place = _place_in(document)
    return Facts(
        group_id=None if place is None else "/".join(place.split("/")[:4]),
        last_activity_at=instant(properties, "lastUpdateRequestUtc") if isinstance(properties, Mapping) else None,
    )


def _place_in(document: object) -> str | None:
    """Return resource group, catalog, product, group and id of a device; None where its document does not say."""
    id = document.get("id") if isinstance(document, Mapping) else None
    if not isinstance(id, str) or id.lower().count("/") != 2 * len(_WORDS[DEVICE]) + 6:
        return None
    return key_of(id)


PROVIDER = Provider(kind=KIND, connect=SphereArm, scope=scope)
