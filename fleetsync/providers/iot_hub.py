"""Azure IoT Hub, service side, API 2021-04-12 (default) and 2020-09-30. Checked 2026-11-21.

https://learn.microsoft.com/rest/api/iothub/service and the traffic that public repositories recorded.

- Paging: POST /devices/query answers an array; the next page is asked for with the same query, the same
  `x-ms-max-item-count` and the `x-ms-continuation` of the answer, which is absent (or empty) on the last page. The
  service grants fewer rows than asked for when it likes; a page may be empty.
- The query reads an index that lags behind the registry, usually by seconds, documented up to 30 minutes. GET
  /twins/{id} never lags.
- Two ETags: that of the twin covers tags and desired properties, `deviceEtag` that of the identity. Both stand in the
  body without quotes. An If-Match without quotes is ignored, and the write goes through (azure-iot-sdk-node 606).
- A PATCH of equal values raises `$version` and wakes the device: nothing is sent that changes nothing.
- PUT /devices/{id} replaces the whole identity, keys included: they are read for it, sent back, and kept nowhere.
- Keys that an automatic configuration writes carry `$lastUpdatedBy` in their metadata.
- 404 proves an absence only by the names DeviceNotFound, ModuleNotFound and ConfigurationNotFound.
- Throttling is per class of operations (`_iot_hub_rates`), late answers first; 403 IotHubQuotaExceeded ends the day.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from fleetsync.core.declaration import ABSENT
from fleetsync.core.document import parsable, without_members
from fleetsync.core.kind import ANY, Column, ColumnType, Cost, Kind, Quota, Succession, TypeSpec, Writable
from fleetsync.core.merge_patch import apply_patch
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
from fleetsync.core.plan import Change, DriftState, Guard, GuardKind, Leaf, Objection
from fleetsync.errors import ConflictError, InvalidResponseError, NotFoundError
from fleetsync.providers._iot_hub_limits import fault_at, size_fault
from fleetsync.providers._iot_hub_rates import DAILY, OPERATIONS, quota
from fleetsync.providers._rest import (
    asked_for,
    before_a_write,
    closed_page,
    decoded,
    fits_if_match,
    identified,
    if_match,
    instant,
    page_of,
    segment,
    storable,
    text,
    whole,
)
from fleetsync.providers.base import Endpoint, Provider, Target, Written
from fleetsync.transport.http import Request, Response

MODULE = ResourceType("module")
CONFIGURATION = ResourceType("configuration")

TWIN = Part("twin")
IDENTITY = Part("identity")
DOCUMENT = Part("document")

_PAGE_SIZE = 1000
"""What is asked for; what is granted, a listing's pages show."""
_MOST_CONFIGURATIONS = 100
_REASON_LENGTH = 128
_QUERIES = {DEVICE: "SELECT * FROM devices", MODULE: "SELECT * FROM devices.modules"}
_NOT_FOUND = frozenset({"DeviceNotFound", "ModuleNotFound", "ConfigurationNotFound"})
_SECRETS = ("registryCredentials", "createOptions")
"""Members of Edge manifests; long options go on in `createOptions01` and so forth."""
_DESIRED: Path = ("properties", "desired")
_COUNTERS: tuple[Path, ...] = (
    ("version",),
    ("properties", "desired", "$version"),
    ("properties", "reported", "$version"),
)
_TWIN_WRITABLE = (Writable(path=("tags", ANY), part=TWIN), Writable(path=(*_DESIRED, ANY), part=TWIN))
_ALIVE: tuple[Path, ...] = (
    ("connectionState",),
    ("lastActivityTime",),
    ("cloudToDeviceMessageCount",),
    # Queries show it and reads do not.
    ("configurations",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The keys that only this kind has."""

    tier: Literal["F1", "S1", "S2", "S3"] = "S1"
    units: Annotated[int, msgspec.Meta(ge=1, le=200)] = 1
    api_version: Literal["2021-04-12", "2020-09-30"] = "2021-04-12"


def succession(stored: Mapping[str, Any], shown: Mapping[str, Any]) -> Succession:
    """Say what a twin is to the stored one of the same id.

    A version counts all writes to desired and reported properties, `$version` those of each; tags raise neither, so an
    ETag alone tells nothing of before and after. A device that was deleted and made again counts from the beginning and
    has another `deviceEtag`, as has one whose identity was written; a module has no such mark.
    """
    is_other = stored.get("deviceEtag") != shown.get("deviceEtag")
    if (is_other or "moduleId" in shown) and _began_again(stored, shown):
        return Succession.REPLACES
    counts = [(_count(stored, *path), _count(shown, *path)) for path in _COUNTERS]
    if is_other:
        return Succession.UNCLEAR
    if any(new < old for old, new in counts):
        return Succession.DOUBTFUL
    moved = any(new > old for old, new in counts)
    return Succession.FOLLOWS if moved or stored.get("etag") == shown.get("etag") else Succession.DOUBTFUL


def _began_again(stored: Mapping[str, Any], shown: Mapping[str, Any]) -> bool:
    """Say whether a section counts lower than it did, or just as far by other writes."""
    for section in ("desired", "reported"):
        before = _count(stored, "properties", section, "$version")
        now = _count(shown, "properties", section, "$version")
        written = ("properties", section, "$metadata", "$lastUpdated")
        if now < before or (now == before and _at(stored, *written) != _at(shown, *written)):
            return True
    return False


def _at(document: object, *path: str) -> object:
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def _count(document: Mapping[str, Any], *path: str) -> int:
    found = _at(document, *path)
    return found if isinstance(found, int) else 0


def _object_at(document: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    found = _at(document, *path)
    return found if isinstance(found, Mapping) else {}


def _quota(settings: Settings) -> Quota:
    return quota(settings.tier, settings.units)


def _is_secret(name: str) -> bool:
    """Say whether a member of an Edge manifest holds what nobody should see; layers name it by a dotted path."""
    return any(key.startswith(_SECRETS) for key in name.split("."))


KIND = Kind(
    name="iot-hub",
    settings=Settings,
    interval_s=6 * 3600.0,
    scope="https://iothubs.azure.net/.default",
    methods=(
        "shared-access-key",
        "client-secret",
        "client-certificate",
        "managed-identity",
        "workload-identity",
        "device-code",
        "none",
    ),
    operations=OPERATIONS,
    quota=_quota,
    daily=DAILY,
    costs={
        TWIN: Cost(write={"twin_write": 1}, read={"twin_read": 1}),
        # Read for its keys, put whole, and its twin read after: the answer shows the identity only.
        IDENTITY: Cost(write={"registry": 2, "twin_read": 1}, read={"twin_read": 1}),
        DOCUMENT: Cost(write={"configuration": 2}, read={"configuration": 1}),
    },
    types=(
        TypeSpec(
            type=DEVICE,
            listed_as="query",
            view="devices",
            volatile=_ALIVE,
            lags=True,
            succession=succession,
            incarnation=IDENTITY,
            writable=(
                *_TWIN_WRITABLE,
                Writable(path=("status",), part=IDENTITY, value=Literal["enabled", "disabled"]),
                Writable(path=("statusReason",), part=IDENTITY, value=str),
            ),
        ),
        TypeSpec(
            type=MODULE,
            listed_as="query",
            view="modules",
            volatile=_ALIVE,
            is_secret=_is_secret,
            lags=True,
            succession=succession,
            columns={
                "device_id": Column(path=("deviceId",)),
                "module_id": Column(path=("moduleId",)),
                "connection_state": Column(path=("connectionState",)),
                "version": Column(path=("version",), type=ColumnType.INTEGER),
                "tags": Column(path=("tags",), type=ColumnType.JSON),
                "desired_properties": Column(path=_DESIRED, type=ColumnType.JSON),
                "reported_properties": Column(path=("properties", "reported"), type=ColumnType.JSON),
            },
            writable=_TWIN_WRITABLE,
        ),
        TypeSpec(
            type=CONFIGURATION,
            listed_as="configuration",
            view="configurations",
            volatile=(("systemMetrics", "results"), ("metrics", "results")),
            is_secret=_is_secret,
            columns={
                "target_condition": Column(path=("targetCondition",)),
                "priority": Column(path=("priority",), type=ColumnType.INTEGER),
                "labels": Column(path=("labels",), type=ColumnType.JSON),
                "content": Column(path=("content",), type=ColumnType.JSON),
                "metrics": Column(path=("metrics",), type=ColumnType.JSON),
                "system_metrics": Column(path=("systemMetrics",), type=ColumnType.JSON),
                "created_at": Column(path=("createdTimeUtc",)),
                "updated_at": Column(path=("lastUpdatedTimeUtc",)),
            },
            writable=(
                Writable(path=("targetCondition",), part=DOCUMENT, value=str),
                Writable(path=("priority",), part=DOCUMENT, value=Annotated[int, msgspec.Meta(ge=0)]),
                Writable(path=("labels", ANY), part=DOCUMENT, value=str),
                Writable(path=("metrics", "queries", ANY), part=DOCUMENT, value=str),
            ),
        ),
    ),
)


class _Named(msgspec.Struct, rename="camel"):
    """What every twin has."""

    device_id: Annotated[str, msgspec.Meta(min_length=1)]
    module_id: str = ""


class _Configured(msgspec.Struct):
    """What every configuration has."""

    id: Annotated[str, msgspec.Meta(min_length=1)]


class _Incarnation(msgspec.Struct, rename="camel"):
    """What changes when a device is deleted and made again."""

    generation_id: str


class _Statistics(msgspec.Struct, rename="camel"):
    """How many devices the registry counts."""

    total_device_count: int


class IotHub(Target):
    """One IoT Hub."""

    kind: ClassVar[Kind] = KIND

    def __init__(self, endpoint: Endpoint) -> None:
        settings = endpoint.own(Settings)
        self.name = endpoint.name
        self._http = endpoint.http
        self._base = endpoint.url.rstrip("/")
        self._version = settings.api_version

    async def page(self, type: ResourceType, cursor: Cursor | None) -> Page:
        """Return the first page of a query, or the one at a continuation; configurations are one page."""
        if type == CONFIGURATION:
            url = self._url("/configurations", top=_MOST_CONFIGURATIONS)
            response = await self._http.send(Request(method="GET", url=url, operation="configuration"))
            return _page(response, _read_configuration)
        headers = {"Content-Type": "application/json; charset=utf-8", "x-ms-max-item-count": str(_PAGE_SIZE)}
        if cursor is not None:
            headers["x-ms-continuation"] = cursor
        response = await self._http.send(
            Request(
                method="POST",
                url=self._url("/devices/query"),
                operation="query",
                headers=headers,
                body=msgspec.json.encode({"query": _QUERIES[type]}),
                safe=True,
            )
        )
        following = response.headers.get("x-ms-continuation")
        return _page(response, _read_twin, following) if type == MODULE else _page_of_devices(response, following)

    async def read(self, key: ResourceKey) -> Resource:
        """Return a twin, or a configuration, as it is now."""
        if key.type == CONFIGURATION:
            request, read = self._get(self._configuration_path(key), "configuration"), _read_configuration
        else:
            request, read = self._get(self._twin_path(key), "twin_read"), _read_twin
        response = await self._found(request)
        return asked_for(key, read(parsable(response.body)), response)

    async def count(self, type: ResourceType) -> int | None:
        """Return how many devices the registry counts; for what else there is it has no count."""
        if type != DEVICE:
            return None
        # Without the right to it the hub answers 401, whatever else one may ask for.
        response = await self._http.send(
            msgspec.structs.replace(self._get("/statistics/devices", "registry"), is_extra=True)
        )
        return response.decode(_Statistics).total_device_count

    async def detail(self, key: ResourceKey, part: Part) -> Detail:
        """Return of a device's identity what tells it from another that had the same id; listings carry the rest."""
        if part != IDENTITY:
            return await super().detail(key, part)
        return _incarnation(key, await self._found(self._get(_identity_path(key), "registry")))

    def declarable(self, type: ResourceType, document: object, details: Mapping[Part, object]) -> Mapping[str, object]:  # noqa: ARG002 - the contract's
        """Return tags, desired properties without the service's own members, and the status; of configurations all."""
        if not isinstance(document, Mapping):
            return {}
        if type == CONFIGURATION:
            return document
        shown: dict[str, object] = {
            "tags": _object_at(document, "tags"),
            "properties": {"desired": _own(_object_at(document, *_DESIRED))},
        }
        # A status reason that is null is none.
        return shown | {name: document[name] for name in ("status", "statusReason") if document.get(name) is not None}

    def guard(self, part: Part, resource: Resource) -> Guard | None:
        """Return If-Match, with the ETag of the twin, of the identity or of the configuration."""
        etag = resource.etag
        if part == IDENTITY:
            etag = ETag(text(msgspec.json.decode(resource.document), "deviceEtag") or "")
        return Guard(kind=GuardKind.IF_MATCH, etag=etag) if fits_if_match(etag) else None

    def objections(self, change: Change, resource: Resource) -> Sequence[Objection]:
        """Return what IoT Hub would refuse, and what an automatic configuration of the hub would write back."""
        document = msgspec.json.decode(resource.document)
        found = [*_broken_rules(change), *_contested(change, document)]
        kept_back = {one.path for one in found}
        rest = msgspec.structs.replace(
            change, leaves=tuple(leaf for leaf in change.leaves if leaf.path not in kept_back)
        )
        return [*found, *_oversized(rest, document)]

    async def patch(self, change: Change) -> Written:
        """Send a merge patch of a twin, or put an identity or configuration with the change in its place."""
        match change.part:
            case "twin":
                return await self._patch_twin(change)
            case "identity":
                return await self._put_identity(change)
            case _:
                return await self._put_configuration(change)

    async def _patch_twin(self, change: Change) -> Written:
        request = self._write("PATCH", self._twin_path(change.key), change, change.patch, "twin_write")
        response = await self._found(request)
        return _written(response, _read_twin(parsable(response.body)), change.key)

    async def _put_identity(self, change: Change) -> Written:
        """Put the whole identity, read just now, with the change in it. Nothing of it stays here: it holds keys."""
        path = _identity_path(change.key)
        identity = await self._current(path, change, operation="registry")
        response = await self._found(self._write("PUT", path, change, identity, "registry"))
        also = _incarnation(change.key, response)
        return Written(shown=None, also=(also,), status=response.status, request_id=response.request_id)

    async def _put_configuration(self, change: Change) -> Written:
        path = self._configuration_path(change.key)
        configuration = await self._current(path, change, operation="configuration")
        response = await self._found(self._write("PUT", path, change, configuration, "configuration"))
        return _written(response, _read_configuration(parsable(response.body)), change.key)

    async def _current(self, path: str, change: Change, *, operation: str) -> object:
        """Return what is to be put: the whole document as it is now, with the change in it.

        Raises:
            ConflictError: it is not any more what the change was planned on.
        """
        with before_a_write():
            document = (await self._found(self._get(path, operation))).decode(dict[str, Any])
        if document.get("etag") != change.guard.etag:
            raise ConflictError(f"{change.key}: the {change.part} was written since it was planned")
        return apply_patch(document, change.patch)

    async def _found(self, request: Request) -> Response:
        """Send a request about one resource; a 404 is an absence only by the names that say so.

        Raises:
            NotFoundError: the service says that there is no such device, module or configuration.
        """
        try:
            return await self._http.send(request)
        except NotFoundError as error:
            if error.code in _NOT_FOUND:
                raise
            raise InvalidResponseError(
                f"{error}: this proves no absence", status=error.status, code=error.code, request_id=error.request_id
            ) from error

    def _get(self, path: str, operation: str) -> Request:
        return Request(method="GET", url=self._url(path), operation=operation)

    def _write(self, method: str, path: str, change: Change, body: object, operation: str) -> Request:
        if change.guard.kind is not GuardKind.IF_MATCH or change.guard.etag is None:
            raise TypeError(f"{change.key}: IoT Hub is written to under If-Match only")
        return Request(
            method=method,
            url=self._url(path),
            operation=operation,
            headers={
                "Content-Type": "application/json; charset=utf-8",
                "If-Match": if_match(change.guard.etag),
            },
            body=msgspec.json.encode(body),
        )

    def _url(self, path: str, **query: object) -> str:
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"{self._base}{path}?api-version={self._version}{more}"

    def _twin_path(self, key: ResourceKey) -> str:
        device, _, module = key.id.partition("/")
        below = f"/modules/{segment(module, key)}" if key.type == MODULE else ""
        return f"/twins/{segment(device if below else key.id, key)}{below}"

    def _configuration_path(self, key: ResourceKey) -> str:
        return f"/configurations/{segment(key.id, key)}"


def _identity_path(key: ResourceKey) -> str:
    return f"/devices/{segment(key.id, key)}"


def _incarnation(key: ResourceKey, response: Response) -> Detail:
    """Return what may be kept of an answer that holds keys."""
    document = msgspec.json.encode(response.decode(_Incarnation))
    return Detail(id=key.id, part=IDENTITY, document=document)


def _page(response: Response, read: Callable[[bytes], Resource | Unreadable], following: str | None = None) -> Page:
    documents = decoded(response, list[msgspec.Raw])
    return page_of([read(bytes(raw)) for raw in documents], following)


def _page_of_devices(response: Response, following: str | None) -> Page:
    return closed_page(response, decoded(response, msgspec.Raw), _names, _read_twins, following)


def _names(response: Response, array: bytes | msgspec.Raw) -> Sequence[str]:
    return [one.device_id for one in response.decode(list[_Named], array)]


def _read_twins(documents: Sequence[bytes]) -> Sequence[Resource | Unreadable]:
    return list(map(_read_twin, documents))


def _read_twin(document: bytes) -> Resource | Unreadable:
    named = identified(document, _Named, "twins")
    id = f"{named.device_id}/{named.module_id}" if named.module_id else named.device_id

    def made(content: Mapping[str, Any], document: bytes) -> Resource:
        kept = without_members(document, _is_secret) if named.module_id == "$edgeAgent" else document
        status = text(content, "status")
        facts = Facts(
            enabled=None if status is None else status == "enabled",
            template=text(content, "modelId") or None,
            status=status,
            connection_state=text(content, "connectionState"),
            last_activity_at=instant(content, "lastActivityTime"),
            version=whole(content, "version"),
        )
        return Resource(id=id, document=kept, etag=_etag(content), facts=facts)

    return storable(id, document, made)


def _read_configuration(document: bytes) -> Resource | Unreadable:
    id = identified(document, _Configured, "configurations").id

    def made(content: Mapping[str, Any], document: bytes) -> Resource:
        return Resource(id=id, document=without_members(document, _is_secret), etag=_etag(content))

    return storable(id, document, made)


def _etag(document: Mapping[str, Any]) -> ETag | None:
    etag = text(document, "etag")
    return None if etag is None else ETag(etag)


def _written(response: Response, read: Resource | Unreadable, key: ResourceKey) -> Written:
    shown = read if isinstance(read, Resource) and read.id == key.id else None
    return Written(shown=shown, status=response.status, request_id=response.request_id)


def _own(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section of properties without what the service adds."""
    return {name: value for name, value in section.items() if not name.startswith("$")}


def _section_of(leaf: Leaf) -> tuple[str, Path]:
    """Return the section that a leaf of a twin is in, and its path there."""
    return ("tags", leaf.path[1:]) if leaf.path[0] == "tags" else ("desired", leaf.path[2:])


def _held(leaf: Leaf, rule: str) -> Objection:
    return Objection(path=leaf.path, state=DriftState.HELD, by=rule)


def _broken_rules(change: Change) -> Iterator[Objection]:
    for leaf in change.leaves:
        value = None if leaf.declared is ABSENT else leaf.declared
        if change.part == TWIN and (fault := fault_at(_section_of(leaf)[1], value)):
            yield _held(leaf, fault)
        elif leaf.path == ("statusReason",) and isinstance(value, str) and len(value) > _REASON_LENGTH:
            yield _held(leaf, f"a text of {len(value)} characters, and IoT Hub takes {_REASON_LENGTH}")


def _oversized(change: Change, document: Mapping[str, Any]) -> Iterator[Objection]:
    """Yield every leaf of a section that would be too large with them."""
    if change.part != TWIN:
        return
    current = {"tags": _object_at(document, "tags"), "properties": {"desired": _own(_object_at(document, *_DESIRED))}}
    merged = apply_patch(current, change.patch)
    for section, path in (("tags", ("tags",)), ("desired", _DESIRED)):
        if fault := size_fault(section, _at(current, *path), _at(merged, *path)):
            yield from (_held(leaf, fault) for leaf in change.leaves if _section_of(leaf)[0] == section)


def _contested(change: Change, document: Mapping[str, Any]) -> Iterator[Objection]:
    """Yield the leaves that an automatic configuration wrote last: it would write them back."""
    metadata = _at(document, *_DESIRED, "$metadata")
    values = _at(document, *_DESIRED)
    for leaf in change.leaves:
        if change.part == TWIN and leaf.path[:2] == _DESIRED:
            author = _author(metadata, values, leaf.path[2:])
            if author is not None:
                by = f"the hub's automatic configuration {author!r}"
                yield Objection(path=leaf.path, state=DriftState.CONTESTED, by=by)


def _author(metadata: object, values: object, path: Path) -> str | None:
    """Return the configuration that wrote what a write at `path` replaces, or any of it; None for nobody.

    That is the value there with all below it, or the one value on the way to it.
    """
    for key in path:
        if not isinstance(values, Mapping) or key not in values:
            return None
        metadata, values = _at(metadata, key), values[key]
        if not isinstance(values, Mapping):
            break
    return next(_authors(metadata, values), None)


def _authors(metadata: object, values: object) -> Iterator[str]:
    author = _at(metadata, "$lastUpdatedBy")
    if isinstance(author, str):
        yield author
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _authors(_at(metadata, key), value)


def _scope(url: str, _settings: object) -> str:
    return f"hub {urlsplit(url).netloc.lower()}"


PROVIDER = Provider(kind=KIND, connect=IotHub, scope=_scope)
