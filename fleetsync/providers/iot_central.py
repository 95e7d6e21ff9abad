"""Azure IoT Central, data plane, API 2022-10-31-preview (default) and 2022-07-31. Checked 2026-11-21.

https://learn.microsoft.com/rest/api/iotcentral/

- Paging: `{"value": […], "nextLink": "…"}`; the link is absolute, goes out byte for byte, and is absent (or null, or
  empty) on the last page. The preview takes `maxpagesize` up to 100 for devices, groups and templates; the stable
  version has no page size.
- ETags stand in the body, that of a template with literal quotes in it. The preview honours `If-Match` on PATCH of
  every type here; the stable version knows an etag in the body only, and whether it refuses a stale one is unverified,
  so that one is read again as well. Organizations show no etag, and device properties have none in any version: those
  are guarded by reading again.
- An etag may change its form while the resource stays the same; it is no news by itself.
- Properties: the plain value is what the device reported, `$metadata.NAME.desiredValue` what was asked of it. PATCH
  answers 202: accepted, not yet applied.
- Throttling: 20 requests/s per application, over all tokens; 429 without a documented Retry-After.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from fleetsync.core.bucket import Rate
from fleetsync.core.document import content_of, fault_in, may_hide, parsable, without_secrets
from fleetsync.core.kind import ANY, Column, ColumnType, Cost, Kind, Quota, TypeSpec, Writable
from fleetsync.core.model import (
    DEVICE,
    Cursor,
    Detail,
    ETag,
    Facts,
    Page,
    Part,
    Resource,
    ResourceKey,
    ResourceType,
    Unreadable,
)
from fleetsync.core.path import Path
from fleetsync.core.plan import Change, Guard, GuardKind
from fleetsync.errors import ResourceError
from fleetsync.providers._rest import (
    asked_for,
    closed_page,
    decoded,
    fits_if_match,
    flag,
    identified,
    if_match,
    page_of,
    segment,
    text,
)
from fleetsync.providers.base import Endpoint, Provider, Target, Written
from fleetsync.transport.http import Request, Response

PREVIEW: Literal["2022-10-31-preview"] = "2022-10-31-preview"
STABLE: Literal["2022-07-31"] = "2022-07-31"

DOCUMENT = Part("document")
PROPERTIES = Part("properties")

_PAGE_SIZE = 100
_ORGANIZATIONS = Writable(path=("organizations",), part=DOCUMENT, value=list[str])
_DISPLAY_NAME = Writable(path=("displayName",), part=DOCUMENT, value=str)
_ENABLED = Writable(path=("enabled",), part=DOCUMENT, value=bool)
_DESCRIPTION = Writable(path=("description",), part=DOCUMENT, value=str)
_ETAG: Path = ("etag",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The keys that only this kind has."""

    api_version: Literal["2022-10-31-preview", "2022-07-31"] = PREVIEW


_OPERATIONS = ("list", "read", "write")
_COST = Cost(write={"write": 1}, read={"read": 1})


def _quota(_settings: object) -> Quota:
    return Quota(total=Rate(per_s=20.0, burst=2.0), classes=dict.fromkeys(_OPERATIONS))


KIND = Kind(
    name="iot-central",
    settings=Settings,
    interval_s=300.0,
    scope="https://apps.azureiotcentral.com/.default",
    methods=(
        "client-secret",
        "client-certificate",
        "managed-identity",
        "workload-identity",
        "device-code",
        "api-token",
        "none",
    ),
    operations=_OPERATIONS,
    quota=_quota,
    costs={DOCUMENT: _COST, PROPERTIES: _COST},
    types=(
        TypeSpec(
            type=DEVICE,
            view="devices",
            details=(PROPERTIES,),
            volatile=(_ETAG,),
            writable=(
                _DISPLAY_NAME,
                _ENABLED,
                Writable(path=("template",), part=DOCUMENT, value=str),
                _ORGANIZATIONS,
                Writable(path=("properties", ANY), part=PROPERTIES),
            ),
        ),
        TypeSpec(
            type=ResourceType("device-group"),
            view="device_groups",
            volatile=(_ETAG,),
            columns={
                "description": Column(path=("description",)),
                "filter": Column(path=("filter",)),
                "organizations": Column(path=("organizations",), type=ColumnType.JSON),
            },
            writable=(
                _DISPLAY_NAME,
                _DESCRIPTION,
                Writable(path=("filter",), part=DOCUMENT, value=str),
                _ORGANIZATIONS,
            ),
        ),
        TypeSpec(
            type=ResourceType("device-template"),
            view="device_templates",
            volatile=(_ETAG,),
            columns={
                "description": Column(path=("description",)),
                "capability_model": Column(path=("capabilityModel",), type=ColumnType.JSON),
            },
            writable=(_DISPLAY_NAME, _DESCRIPTION),
        ),
        TypeSpec(
            type=ResourceType("enrollment-group"),
            view="enrollment_groups",
            volatile=(_ETAG,),
            columns={
                "enabled": Column(path=("enabled",), type=ColumnType.BOOLEAN),
                "device_type": Column(path=("type",)),
                "attestation_type": Column(path=("attestation", "type")),
                "id_scope": Column(path=("idScope",)),
            },
            writable=(_DISPLAY_NAME, _ENABLED),
        ),
        TypeSpec(
            type=ResourceType("organization"),
            view="organizations",
            volatile=(_ETAG,),
            columns={"parent": Column(path=("parent",))},
            writable=(_DISPLAY_NAME, Writable(path=("parent",), part=DOCUMENT, value=str)),
        ),
    ),
)


class _Named(msgspec.Struct):
    """What every document has, whatever else is in it."""

    id: Annotated[str, msgspec.Meta(min_length=1)]


class _NamedAt(msgspec.Struct, rename={"id": "@id"}):
    """The same of a template."""

    id: Annotated[str, msgspec.Meta(min_length=1)]


class _Device(msgspec.Struct, forbid_unknown_fields=True):
    """A device with what is documented and nothing else: no number is too large in it, no text but UTF-8."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    etag: ETag | None = None
    displayName: str | None = None  # noqa: N815 - the service's spelling
    enabled: bool | None = None
    provisioned: bool | None = None
    simulated: bool | None = None
    template: str | None = None
    organizations: list[str] = []
    type: list[str] = []


_devices = msgspec.json.Decoder(list[_Device])


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a type is in the API, and what of it is secret."""

    path: str
    sized: bool = False
    id: str = "id"
    named: type[_Named | _NamedAt] = _Named
    secrets: tuple[Path, ...] = ()


_SYMMETRIC = ("attestation", "symmetricKey")
_PLACES = {
    "device": _Place(path="/api/devices", sized=True),
    "device-group": _Place(path="/api/deviceGroups", sized=True),
    "device-template": _Place(path="/api/deviceTemplates", sized=True, id="@id", named=_NamedAt),
    "enrollment-group": _Place(
        path="/api/enrollmentGroups",
        secrets=((*_SYMMETRIC, "primaryKey"), (*_SYMMETRIC, "secondaryKey")),
    ),
    "organization": _Place(path="/api/organizations"),
}


class _List(msgspec.Struct):
    """A page on the wire. `value` is promised: a page without it is no empty page."""

    value: msgspec.Raw
    nextLink: str | None = None  # noqa: N815 - the service's spelling


class IotCentral(Target):
    """One IoT Central application."""

    kind: ClassVar[Kind] = KIND

    def __init__(self, endpoint: Endpoint) -> None:
        settings = endpoint.own(Settings)
        self.name = endpoint.name
        self._http = endpoint.http
        self._base = endpoint.url.rstrip("/")
        self._version = settings.api_version

    async def page(self, type: ResourceType, cursor: Cursor | None) -> Page:
        """Return the first page, or the one behind a nextLink."""
        place = _PLACES[type]
        sized = f"&maxpagesize={_PAGE_SIZE}" if place.sized and self._version == PREVIEW else ""
        url = cursor if cursor is not None else f"{self._base}{place.path}?api-version={self._version}{sized}"
        response = await self._http.send(Request(method="GET", url=url, operation="list"))
        answer = decoded(response, _List)
        read = _read_devices if type == DEVICE else partial(_read_each, place)
        page = closed_page(response, answer.value, partial(_names, place), read, answer.nextLink)
        if place.secrets:
            return page_of(page.read(range(len(page.ids))), answer.nextLink)
        return page

    async def read(self, key: ResourceKey) -> Resource:
        """Return a resource as it is now."""
        response = await self._http.send(Request(method="GET", url=self._url(key), operation="read"))
        return asked_for(key, _read(_PLACES[key.type], parsable(response.body)), response)

    async def detail(self, key: ResourceKey, part: Part) -> Detail:
        """Return a device's properties as they are now."""
        if part != PROPERTIES:
            return await super().detail(key, part)
        response = await self._http.send(Request(method="GET", url=self._properties_url(key), operation="read"))
        if fault := fault_in(response.body):
            raise ResourceError(f"the properties of {key} cannot be stored: {fault}", request_id=response.request_id)
        properties = response.decode(dict[str, Any])
        return Detail(
            id=key.id,
            part=PROPERTIES,
            document=response.body,
            desired=msgspec.json.encode(desired_properties(properties)),
            reported=msgspec.json.encode(reported_properties(properties)),
        )

    def declarable(self, type: ResourceType, document: object, details: Mapping[Part, object]) -> Mapping[str, object]:
        """Return the document with, under `properties`, what was asked of each property, else what it is."""
        if not isinstance(document, Mapping):
            return {}
        properties = details.get(PROPERTIES) if type == DEVICE else None
        if not isinstance(properties, Mapping):
            return document
        return {**document, "properties": _overlaid(properties)}

    def guard(self, part: Part, resource: Resource) -> Guard | None:
        """Return If-Match in the preview, the body's etag in the stable version, else reading again."""
        if part == PROPERTIES or not fits_if_match(resource.etag):
            return Guard(kind=GuardKind.REREAD)
        if self._version == STABLE:
            return Guard(kind=GuardKind.BODY_ETAG, etag=resource.etag, reread=True)
        return Guard(kind=GuardKind.IF_MATCH, etag=resource.etag)

    async def patch(self, change: Change) -> Written:
        """Send a merge patch. The answer to a property write says only that it was accepted."""
        body: object = change.patch
        url = self._url(change.key)
        headers = {"Content-Type": "application/merge-patch+json"}
        if change.part == PROPERTIES:
            url, body = self._properties_url(change.key), change.patch["properties"]
        elif change.guard.kind is GuardKind.IF_MATCH and change.guard.etag is not None:
            headers["If-Match"] = if_match(change.guard.etag)
        elif change.guard.kind is GuardKind.BODY_ETAG:
            body = {**change.patch, "etag": change.guard.etag}
        request = Request(method="PATCH", url=url, operation="write", headers=headers, body=msgspec.json.encode(body))
        response = await self._http.send(request)
        read = None if change.part == PROPERTIES else _read(_PLACES[change.key.type], parsable(response.body))
        shown = read if isinstance(read, Resource) else None
        return Written(shown=shown, status=response.status, request_id=response.request_id)

    def _url(self, key: ResourceKey) -> str:
        return f"{self._base}{_PLACES[key.type].path}/{segment(key.id, key)}?api-version={self._version}"

    def _properties_url(self, key: ResourceKey) -> str:
        # Without it the preview hides, and refuses, properties that the device's template lacks.
        unmodeled = "&unmodeled=true" if self._version == PREVIEW else ""
        return f"{self._base}/api/devices/{segment(key.id, key)}/properties?api-version={self._version}{unmodeled}"


def _names(place: _Place, response: Response, array: bytes | msgspec.Raw) -> Sequence[str]:
    return [one.id for one in response.decode(list[place.named], array)]  # type: ignore[name-defined]  # of two shapes


def _read_each(place: _Place, documents: Sequence[bytes]) -> Sequence[Resource | Unreadable]:
    return [_read(place, document) for document in documents]


def _read(place: _Place, document: bytes) -> Resource | Unreadable:
    """Return one document as a resource; what cannot be stored keeps its id.

    Raises:
        InvalidResponseError: it is no object, or has no id.
    """
    fault, content = content_of(document)
    if fault or not isinstance(content, dict) or not text(content, place.id):
        named = identified(document, place.named, place.path)
        return Unreadable(id=named.id, reason=fault or "its id is not plain")
    return resource_from(place.id, content, without_secrets(document, place.secrets) if place.secrets else document)


def resource_from(id: str, content: Mapping[str, Any], document: bytes) -> Resource:
    """Return a decoded document as a resource; `id` is the member that names it. A field of a wrong type is no fact."""
    etag = text(content, "etag")
    facts = Facts(
        display_name=text(content, "displayName"),
        enabled=flag(content, "enabled"),
        provisioned=flag(content, "provisioned"),
        simulated=flag(content, "simulated"),
        template=text(content, "template"),
    )
    return Resource(id=content[id], document=document, etag=None if etag is None else ETag(etag), facts=facts)


def _read_devices(documents: Sequence[bytes]) -> Sequence[Resource | Unreadable]:
    """Return devices; at half the cost where all are as documented, as they nearly always are."""
    array = b"[%b]" % b",".join(documents)
    try:
        devices = None if may_hide(array) else _devices.decode(array)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        devices = None
    if devices is None:
        return _read_each(_PLACES[DEVICE], documents)
    return list(map(_documented, devices, documents))


def _documented(device: _Device, document: bytes) -> Resource:
    facts = Facts(
        display_name=device.displayName,
        enabled=device.enabled,
        provisioned=device.provisioned,
        simulated=device.simulated,
        template=device.template,
    )
    return Resource(id=device.id, document=document, etag=device.etag, facts=facts)


def desired_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked of the device, by property, and by component and property."""
    asked = _asked(properties)
    for name, value in _components(properties):
        if below := desired_properties(value):
            asked[name] = below
    return asked


def reported_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the device reported, by property, and by component and property."""
    components = dict(_components(properties))
    return {
        name: reported_properties(value) if name in components else value
        for name, value in properties.items()
        if name != "$metadata"
    }


def _overlaid(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked of each property, else what the device reported."""
    components = dict(_components(properties))
    shown = {
        name: _overlaid(value) if name in components else value
        for name, value in properties.items()
        if name != "$metadata"
    }
    return shown | _asked(properties)


def _components(properties: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the members that are components: objects of which no metadata speaks as of a property."""
    metadata = _metadata(properties)
    return [
        (name, value)
        for name, value in properties.items()
        if name != "$metadata" and name not in metadata and isinstance(value, Mapping)
    ]


def _asked(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked of the device at this level."""
    metadata = _metadata(properties)
    return {name: said["desiredValue"] for name, said in metadata.items() if "desiredValue" in said}


def _metadata(properties: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what the service says of the properties at this level; what is not of its shape says nothing."""
    metadata = properties.get("$metadata")
    if not isinstance(metadata, Mapping):
        return {}
    return {name: said for name, said in metadata.items() if isinstance(said, Mapping)}


def _scope(url: str, _settings: object) -> str:
    return f"application {urlsplit(url).netloc.lower()}"


PROVIDER = Provider(kind=KIND, connect=IotCentral, scope=_scope)
