"""Azure Sphere, the legacy public API, version 2. It ends on 27 September 2027. Checked 2026-11-22.

https://learn.microsoft.com/rest/api/azure-sphere/

- Names are PascalCase, enums integers; unknown integers are kept as they are.
- Paging: `{"Items": […], "ContinuationToken": "…"}`; the token goes back in the header `Sphere-Continuation`. On the
  last page it is absent or null. A page may be short, or empty while there is a token. No list has a filter.
- Nothing has an ETag, a version or a time of change, and no If-Match is documented: every write is guarded by reading
  again, and a small window stays open.
- Device ids are 128 hex digits and compared without letter case: here they are lower case. `LastUpdateRequestUTC` of a
  device changes whenever it asks for updates.
- Device groups are patched at once; the member is `OSFeedType` in the body and `OsFeedType` in the answer.
- Putting a device into a group answers 202 with an Operation, to be asked for until its state is 2 (complete), 3
  (failed) or 4 (complete with errors). How long one is remembered is not documented; a move of the successor took 6 to
  8 s.
- Deployments and insights cannot be read alone. A deployment does not say whose it is, and is listed by group; an
  insight has no id.
- Throttling: 429 per device, user or tenant, without figures and without a documented Retry-After.
- Errors are arrays of problem details.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from fleetsync.core.bucket import Rate
from fleetsync.core.declaration import ABSENT
from fleetsync.core.document import parsable
from fleetsync.core.kind import Column, ColumnType, Cost, Ending, Kind, Quota, TypeSpec, Writable
from fleetsync.core.model import (
    DEVICE,
    Cursor,
    Facts,
    Page,
    Part,
    Resource,
    ResourceKey,
    ResourceType,
    Unreadable,
)
from fleetsync.core.operation import LASTS_S, Followed, Operation, Standing
from fleetsync.core.plan import Change, DriftState, Guard, GuardKind, Objection
from fleetsync.errors import AuthError, InvalidResponseError, NotFoundError, ResourceError
from fleetsync.providers._rest import asked_for, identified, instant, page_of, segment, storable, text
from fleetsync.providers.base import Endpoint, Provider, Target, Written
from fleetsync.transport.fault import shown
from fleetsync.transport.http import Request, Response

PRODUCT = ResourceType("product")
DEVICE_GROUP = ResourceType("device-group")
DEPLOYMENT = ResourceType("deployment")
DEVICE_INSIGHT = ResourceType("device-insight")

GROUP = Part("group")
DOCUMENT = Part("document")

OS_FEED_TYPES: Final = {0: "Retail", 1: "RetailEval"}
UPDATE_POLICIES: Final = {0: "UpdateAll", 1: "No3rdPartyAppUpdates"}
_NUMBERS: Final[Mapping[str, Mapping[str, int]]] = {
    "OSFeedType": {name: number for number, name in OS_FEED_TYPES.items()},
    "UpdatePolicy": {name: number for number, name in UPDATE_POLICIES.items()},
}
_ERROR_CODES: Final = (
    "OperationFailed",
    "TenantInMigration",
    "TenantMigrationRequired",
    "ClientUpdateRequired",
    "InternalServerError",
    "BadRequest",
    "Forbidden",
    "Conflict",
    "NotFound",
)
"""Of an operation, by number."""

_HEX: Final = "[0-9a-f]"
_GUID: Final = f"^{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}$"
_FIRST_WAIT_S: Final = 2.0
_PAGE_SIZE: Final = 100
_TOKEN: Final = re.compile(r"[!-~]([ -~]*[!-~])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The keys that only this kind has: the tenant's id, a GUID in lower case."""

    tenant: Annotated[str, msgspec.Meta(pattern=_GUID)]


_OPERATIONS = ("read", "write")
_CAUTION = Rate(per_s=1.0, burst=5.0)


def _quota(_settings: object) -> Quota:
    return Quota(classes=dict.fromkeys(_OPERATIONS, _CAUTION))


_NAMES = Column(path=("Description",))
_APPLICATIONS = "https://firstparty.sphere.azure.net/api/.default"
_PEOPLE = "https://sphere.azure.net/api/user_impersonation"

KIND = Kind(
    name="sphere-legacy",
    settings=Settings,
    url="https://prod.core.sphere.azure.net",
    interval_s=6 * 3600.0,
    scope=_APPLICATIONS,
    scopes={"device-code": _PEOPLE},
    sign_in={
        "device-code": {
            "tenant_id": "7d71c83c-ccdf-45b7-b3c9-9c41b94406d9",
            "client_id": "0B1C8F7E-28D2-4378-97E2-7D7D63F7C87F",
        }
    },
    methods=("client-secret", "client-certificate", "managed-identity", "workload-identity", "device-code", "none"),
    operations=_OPERATIONS,
    quota=_quota,
    has_documented_quota=False,
    costs={
        # The move, two questions for its end; the reads around it are counted as those of every write.
        GROUP: Cost(write={"write": 1, "read": 2}, read={"read": 1}),
        DOCUMENT: Cost(write={"write": 1}, read={"read": 1}),
    },
    ends=Ending(
        on=date(2027, 9, 27),
        advice="integrate the tenant into an Azure Sphere catalog (learn.microsoft.com/azure-sphere), add a source of "
        'kind "sphere-arm" for the catalog, compare the two, and take this source away',
    ),
    types=(
        TypeSpec(
            type=PRODUCT,
            view="products",
            listed_as="read",
            columns={"description": _NAMES},
        ),
        TypeSpec(
            type=DEVICE_GROUP,
            view="device_groups",
            listed_as="read",
            columns={
                "description": _NAMES,
                "product_id": Column(path=("ProductId",)),
                "os_feed_type": Column(path=("OsFeedType",), names=OS_FEED_TYPES),
                "update_policy": Column(path=("UpdatePolicy",), names=UPDATE_POLICIES),
                "allow_crash_dumps_collection": Column(path=("AllowCrashDumpsCollection",), type=ColumnType.BOOLEAN),
                "current_deployment": Column(path=("CurrentDeployment",), type=ColumnType.JSON),
            },
            writable=(
                Writable(
                    path=("Name",),
                    part=DOCUMENT,
                    value=Annotated[str, msgspec.Meta(min_length=1, max_length=50, pattern="^[A-Za-z0-9 ]+$")],
                ),
                Writable(path=("Description",), part=DOCUMENT, value=str),
                Writable(path=("OSFeedType",), part=DOCUMENT, value=Literal["Retail", "RetailEval"]),
                Writable(path=("UpdatePolicy",), part=DOCUMENT, value=Literal["UpdateAll", "No3rdPartyAppUpdates"]),
                Writable(path=("AllowCrashDumpsCollection",), part=DOCUMENT, value=bool),
            ),
        ),
        TypeSpec(
            type=DEVICE,
            view="devices",
            listed_as="read",
            volatile=(("LastUpdateRequestUTC",),),
            operations={GROUP: LASTS_S},
            writable=(Writable(path=("group",), part=GROUP, value=Annotated[str, msgspec.Meta(pattern=_GUID)]),),
        ),
        TypeSpec(
            type=DEPLOYMENT,
            view="deployments",
            listed_as="read",
            # A request for every group, and there are five groups to a product.
            cheap=False,
            columns={
                "deployed_at": Column(path=("DeploymentDateUtc",)),
                "images": Column(path=("DeployedImages",), type=ColumnType.JSON),
            },
        ),
        TypeSpec(
            type=DEVICE_INSIGHT,
            view="device_insights",
            listed_as="read",
            # Not a state but a log of the last days: it comes and goes with every listing.
            cheap=False,
            columns={
                "device_id": Column(path=("DeviceId",)),
                "description": _NAMES,
                "event_type": Column(path=("EventType",)),
                "event_class": Column(path=("EventClass",)),
                "event_category": Column(path=("EventCategory",)),
                "event_count": Column(path=("EventCount",), type=ColumnType.INTEGER),
                "started_unix_s": Column(path=("StartTimestampInUnix",), type=ColumnType.INTEGER),
                "ended_unix_s": Column(path=("EndTimestampInUnix",), type=ColumnType.INTEGER),
            },
        ),
    ),
)


class _Device(msgspec.Struct):
    """What every device has, whatever else is in its document."""

    DeviceId: str


class _Named(msgspec.Struct):
    """The same of groups, products and deployments."""

    Id: str


class _Insight(msgspec.Struct):
    """What tells an insight from the others."""

    DeviceId: str
    StartTimestampInUnix: int
    EventType: str | None = None
    EventClass: str | None = None
    EventCategory: str | None = None


class _List(msgspec.Struct):
    """A page on the wire. `Items` is promised: a page without it is no empty page."""

    Items: list[msgspec.Raw]
    ContinuationToken: str | None = None


class _Tenant(msgspec.Struct):
    """A tenant of the caller."""

    Id: str
    Name: str | None = None


class _OperationError(msgspec.Struct):
    Code: int | str | None = None
    Message: str | None = None


class _Operation(msgspec.Struct):
    """An operation on the wire."""

    OperationId: str
    State: int
    Error: _OperationError | None = None


class _Walk(msgspec.Struct):
    """Where a listing of deployments is: the groups still to be asked, in the first one where, and where others are."""

    groups: list[str]
    token: str | None = None
    more: str | None = None


_LISTS: Final[Mapping[ResourceType, str]] = {
    PRODUCT: "products",
    DEVICE_GROUP: "devicegroups",
    DEVICE: "devices",
    DEVICE_INSIGHT: "getDeviceInsights",
}


class SphereLegacy(Target):
    """One Azure Sphere tenant at the legacy public API."""

    kind: ClassVar[Kind] = KIND

    def __init__(self, endpoint: Endpoint) -> None:
        settings = endpoint.own(Settings)
        self.name = endpoint.name
        self._http = endpoint.http
        self._tenant = settings.tenant
        self._tenants = f"{endpoint.url.rstrip('/')}/v2/tenants"
        self._base = f"{self._tenants}/{settings.tenant}"

    async def introduce(self) -> None:
        """Make sure that the configured tenant is one of the caller's.

        Raises:
            AuthError: it is not; the message names those that are.
        """
        response = await self._http.send(Request(method="GET", url=self._tenants, operation="read"))
        tenants = response.decode(list[_Tenant], parsable(response.body))
        if self._tenant not in {one.Id.lower() for one in tenants}:
            names = ", ".join(shown(f"{one.Id} {one.Name or ''}".strip()) for one in tenants) or "none"
            raise AuthError(f"tenant {self._tenant} is none of those that this identity has a role in: {names}")

    async def page(self, type: ResourceType, cursor: Cursor | None) -> Page:
        """Return the first page, or the one that a continuation token leads to."""
        if type == DEPLOYMENT:
            return await self._deployments(cursor)
        answer = await self._list(_LISTS[type], cursor)
        return page_of([_read(type, bytes(raw)) for raw in answer.Items], answer.ContinuationToken)

    async def read(self, key: ResourceKey) -> Resource:
        """Return a resource as it is now.

        Raises:
            ResourceError: of deployments and insights there are lists only.
        """
        if key.type in (DEPLOYMENT, DEVICE_INSIGHT):
            raise ResourceError(f"{key}: the service has no way to read one alone")
        response = await self._http.send(Request(method="GET", url=self._url(key), operation="read"))
        return _resource(key, response)

    def declarable(self, type: ResourceType, document: object, details: Mapping[Part, object]) -> Mapping[str, object]:  # noqa: ARG002 - there are none
        """Return a device's `group`, or what of a group can be set, spelled as its PATCH is, with enums by name."""
        if not isinstance(document, Mapping):
            return {}
        if type == DEVICE:
            group = text(document, "DeviceGroupId")
            return {} if group is None else {"group": group.lower()}
        shown: dict[str, object] = {
            "Name": document.get("Name"),
            # Whether a description that was never given is null or empty is the service's own affair.
            "Description": document.get("Description") or "",
            "OSFeedType": _named(OS_FEED_TYPES, document.get("OsFeedType")),
            "UpdatePolicy": _named(UPDATE_POLICIES, document.get("UpdatePolicy")),
            "AllowCrashDumpsCollection": document.get("AllowCrashDumpsCollection"),
        }
        return {name: value for name, value in shown.items() if value is not None}

    def guard(self, part: Part, resource: Resource) -> Guard | None:  # noqa: ARG002 - the same for all
        """Return the only guard that there is: reading again."""
        return Guard(kind=GuardKind.REREAD) if part in (GROUP, DOCUMENT) else None

    def objections(self, change: Change, resource: Resource) -> Sequence[Objection]:  # noqa: ARG002 - the rule is about the change
        """Hold what takes something away: a device's group and a group's settings can only be changed."""
        by = "Azure Sphere can change it, and not take it away: declare a value"
        return [
            Objection(path=leaf.path, state=DriftState.HELD, by=by) for leaf in change.leaves if leaf.declared is ABSENT
        ]

    async def patch(self, change: Change) -> Written:
        """Patch a group, or begin to move a device into one."""
        if change.key.type == DEVICE:
            return await self._move(change)
        body = {name: _NUMBERS.get(name, {}).get(str(value), value) for name, value in change.patch.items()}
        response = await self._write("PATCH", self._url(change.key), body)
        read = _read(change.key.type, parsable(response.body))
        shown = read if isinstance(read, Resource) else None
        return Written(shown=shown, status=response.status, request_id=response.request_id)

    async def follow(self, key: ResourceKey, part: Part, operation: Operation) -> Followed:  # noqa: ARG002 - one resource, one part
        """Return where a move stands."""
        url = f"{self._base}/operations/{segment(operation.handle, key)}"
        try:
            response = await self._http.send(Request(method="GET", url=url, operation="read"))
        except NotFoundError as error:
            return Followed(standing=Standing.LOST, error=str(error))
        return _followed(response.decode(_Operation))

    async def _move(self, change: Change) -> Written:
        response = await self._write("PUT", f"{self._url(change.key)}/devicegroup", change.patch["group"])
        begun = response.decode(_Operation)
        if not begun.OperationId:
            raise InvalidResponseError("the operation has no id", status=response.status)
        return Written(
            shown=None,
            status=response.status,
            request_id=response.request_id,
            operation=Operation(handle=begun.OperationId, wait_s=_FIRST_WAIT_S),
        )

    async def _write(self, method: str, url: str, body: object) -> Response:
        headers = {"Content-Type": "application/json"}
        request = Request(method=method, url=url, operation="write", headers=headers, body=msgspec.json.encode(body))
        return await self._http.send(request)

    async def _list(self, path: str, token: str | None) -> _List:
        headers = {} if token is None else {"Sphere-Continuation": token}
        url = f"{self._base}/{path}?maxPageSize={_PAGE_SIZE}"
        response = await self._http.send(Request(method="GET", url=url, operation="read", headers=headers))
        answer = response.decode(_List, parsable(response.body))
        following = answer.ContinuationToken
        if following and _TOKEN.fullmatch(following) is None:
            raise InvalidResponseError("a continuation token that no header can carry", status=response.status)
        return answer

    async def _deployments(self, cursor: Cursor | None) -> Page:
        """Return a page of one group's deployments, or an empty one where it took to learn of the groups."""
        walk = _Walk(groups=[]) if cursor is None else msgspec.json.decode(cursor, type=_Walk)
        if not walk.groups:
            answer = await self._list(_LISTS[DEVICE_GROUP], walk.more)
            groups = [identified(bytes(raw), _Named, "device groups").Id.lower() for raw in answer.Items]
            return page_of([], _following(_Walk(groups=groups, more=answer.ContinuationToken or None)))
        group, *others = walk.groups
        try:
            answer = await self._list(f"devicegroups/{segment(group, self._key_of(group))}/deployments", walk.token)
        except NotFoundError:
            # It was deleted since the groups were listed, and its deployments with it.
            return page_of([], _following(_Walk(groups=others, more=walk.more)))
        read = [_read(DEPLOYMENT, bytes(raw), group) for raw in answer.Items]
        if answer.ContinuationToken:
            return page_of(read, _following(_Walk(groups=walk.groups, token=answer.ContinuationToken, more=walk.more)))
        return page_of(read, _following(_Walk(groups=others, more=walk.more)))

    def _key_of(self, group: str) -> ResourceKey:
        return ResourceKey(self.name, DEVICE_GROUP, group)

    def _url(self, key: ResourceKey) -> str:
        return f"{self._base}/{_LISTS[key.type]}/{segment(key.id, key)}"


def _following(walk: _Walk) -> str | None:
    """Return the cursor of what is left of a listing of deployments; None where nothing is."""
    return msgspec.json.encode(walk).decode() if walk.groups or walk.more else None


def _resource(key: ResourceKey, response: Response) -> Resource:
    return asked_for(key, _read(key.type, parsable(response.body)), response)


def _read(type: ResourceType, document: bytes, group: str = "") -> Resource | Unreadable:
    """Return one document as a resource; what cannot be stored keeps its id. `group` is whose deployment it is.

    Raises:
        InvalidResponseError: it has no id.
    """
    id = _IDS[type](document)
    if not id:
        raise InvalidResponseError(f"a {type} without its id")
    if type == DEPLOYMENT:
        id = f"{group}/{id}"
    return storable(id, document, lambda decoded, raw: resource_from(id, decoded, raw))


def _id_of_device(document: bytes) -> str:
    return identified(document, _Device, "devices").DeviceId.lower()


def _id_of_insight(document: bytes) -> str:
    one = identified(document, _Insight, "insights")
    kind = (one.EventCategory, one.EventClass, one.EventType)
    return "/".join((one.DeviceId.lower(), str(one.StartTimestampInUnix), *(word or "" for word in kind)))


def _id_by_name(document: bytes) -> str:
    return identified(document, _Named, "a list").Id.lower()


_IDS: Final[Mapping[ResourceType, Callable[[bytes], str]]] = {
    DEVICE: _id_of_device,
    DEVICE_INSIGHT: _id_of_insight,
    DEVICE_GROUP: _id_by_name,
    PRODUCT: _id_by_name,
    DEPLOYMENT: _id_by_name,
}


def resource_from(id: str, decoded: Mapping[str, Any], document: bytes) -> Resource:
    """Return a decoded document as a resource. A field of a wrong type is no fact."""
    group = text(decoded, "DeviceGroupId")
    facts = Facts(
        display_name=text(decoded, "Name"),
        group_id=None if group is None else group.lower(),
        last_activity_at=instant(decoded, "LastUpdateRequestUTC"),
    )
    return Resource(id=id, document=document, facts=facts)


def _named(names: Mapping[int, str], value: object) -> object:
    """Return the name of an enum's number; one that nobody knows stays a number."""
    return names.get(value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _followed(operation: _Operation) -> Followed:
    match operation.State:
        case 2:
            return Followed(standing=Standing.DONE)
        case 3 | 4:
            return Followed(standing=Standing.FAILED, error=_words(operation))
        case _:
            return Followed(standing=Standing.RUNNING)


def _words(operation: _Operation) -> str:
    """Return what the service says of a failure: `Conflict: the device is busy`."""
    state = "failed" if operation.State == 3 else "completed with errors"
    error = operation.Error
    if error is None:
        return state
    code = error.Code
    if isinstance(code, int) and 0 <= code < len(_ERROR_CODES):
        code = _ERROR_CODES[code]
    words = ": ".join(shown(str(word)) for word in (code, error.Message) if word not in (None, ""))
    return f"{state}: {words}" if words else state


def _scope(_url: str, settings: object) -> str:
    return f"tenant {settings.tenant}" if isinstance(settings, Settings) else "tenant"


PROVIDER = Provider(kind=KIND, connect=SphereLegacy, scope=_scope)
