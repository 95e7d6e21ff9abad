"""The legacy public API of Azure Sphere, version 2.

Facts (learn.microsoft.com/rest/api/azure-sphere and programs in Azure/azure-sphere-gallery, read 2026-11): names are
PascalCase and enums integers; a list goes on with a token in a header; nothing has an etag; a move of a device is an
operation to be polled, whose states 2, 3 and 4 end it; errors are arrays; 429 names no time; an application's tokens
are for another resource than a person's.

Where the documents are silent the service here takes the stricter side: a second move of a device that is being moved
is refused with 409, a body that is no JSON string with 400, unknown parameters of a query with 400, If-Match is not
looked at. Not simulated: claiming, products and groups that come and go, deployments by clients, images, users.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from fleetsync.simulator.counters import Call
from fleetsync.simulator.desk import Carried, Desk
from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.faults import Drawn
from fleetsync.simulator.sphere_legacy.life import SphereLife
from fleetsync.simulator.sphere_legacy.operations import Move, Operations
from fleetsync.simulator.sphere_legacy.pages import Item, Pages
from fleetsync.simulator.sphere_legacy.routes import Route, check_method, kind_of, route_of
from fleetsync.simulator.sphere_legacy.shapes import (
    deployment_document,
    device_document,
    group_document,
    insight_document,
    product_document,
)
from fleetsync.simulator.sphere_legacy.state import Device, Group, Tenant
from fleetsync.simulator.wire import Object, RefusedError, SimRequest, SimResponse, json_answer

RESOURCES: Final = ("https://firstparty.sphere.azure.net/api", "https://sphere.azure.net/api")
"""What a bearer token has to be for: that of an application, that of a person."""

_PATCHED: Final[Mapping[str, str]] = {
    "name": "Name",
    "description": "Description",
    "osfeedtype": "OsFeedType",
    "updatepolicy": "UpdatePolicy",
    "allowcrashdumpscollection": "AllowCrashDumpsCollection",
}
"""The members of a PATCH, whatever letter case they are in: documented is `OSFeedType`, shown is `OsFeedType`."""

_LONGEST_NAME: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Doorman:
    """Admits holders of a bearer token, on plain HTTP anybody without one; roles are not simulated."""

    bearer: Callable[[str, str], bool]
    anonymous: bool

    def admit(self, authorization: str | None) -> None:
        """Raise RefusedError for want of a good token."""
        if authorization is None and self.anonymous:
            return
        scheme, _, token = (authorization or "").partition(" ")
        if scheme != "Bearer" or not any(self.bearer(token, resource) for resource in RESOURCES):
            raise RefusedError(401, "Unauthorized", "the token is missing, unknown or expired")


class SphereLegacy:
    """One tenant behind its desk; `pages.size` and what `operations` has may be set while it runs."""

    def __init__(self, tenant: Tenant, desk: Desk, doorman: Doorman, *, seed: int, page_size: int, pace: str) -> None:
        self.tenant = tenant
        self.operations = Operations(tenant, seed=seed)
        self.pages = Pages(seed=seed, size=page_size)
        self._desk = desk
        self._doorman = doorman
        self._life = SphereLife(tenant, self.operations, desk.counters, pace=pace, seed=seed, at=desk.now())

    def handle(self, request: SimRequest) -> SimResponse:
        """Answer a request as the service would, now."""
        self._settle()
        return self._desk.serve(request, self)

    def renew(self) -> None:
        """Begin the meter anew."""
        self._desk.renew()

    def recognise(self, request: SimRequest) -> Call:
        """Say what a request is about, without doing or refusing anything."""
        try:
            route = route_of(request.path)
        except RefusedError:
            return Call(kind="read", type="unknown")
        kind = kind_of(request.method, route)
        members: tuple[str, ...] = ()
        if kind == "write":
            members = ("DeviceGroupId",) if route.aspect == "move" else tuple(request.object() or {})
        return Call(kind=kind, type=route.type, id=route.id.lower(), members=members)

    def admit(self, request: SimRequest) -> None:
        """Let the request pass, or raise RefusedError for want of a good token."""
        self._doorman.admit(request.header("Authorization"))

    def carry_out(self, request: SimRequest, call: Call, faults: Drawn) -> Carried:
        """Do it and answer, or raise RefusedError."""
        route = route_of(request.path)
        check_method(request.method, route)
        if route.tenant and route.tenant.lower() != self.tenant.id:
            raise RefusedError(403, "Forbidden", "the caller has no role in this tenant")
        match call.kind, route.aspect:
            case "write", "move":
                return self._move(request, route)
            case "write", _:
                return self._patch(request, route)
            case "list", _:
                return Carried(answer=self.pages.answer(request, self._items(route), faults))
            case _:
                return Carried(answer=json_answer(self._read(route)))

    def refuse(self, status: int, code: str, message: str) -> SimResponse:
        """Return the service's error body: an array of problem details."""
        return json_answer([{"ErrorCode": code, "Title": code, "Detail": message, "Status": status}], status=status)

    def truth(self) -> list[Object]:
        """Return every device as it really is now, sorted by id."""
        self._settle()
        return [device_document(self.tenant, device) for device in self.tenant]

    def groups(self) -> list[Object]:
        """Return every device group as it really is now."""
        self._settle()
        return [group_document(self.tenant, group) for group in self.tenant.groups.values()]

    def moves(self) -> tuple[Move, ...]:
        """Return which moves of clients ended, oldest first."""
        self._settle()
        return tuple(self.operations.moves)

    def operator_edit(self, id: str, patch: Mapping[str, object]) -> bool:
        """Edit a group, or put a device into one (`DeviceGroupId`), as somebody else would.

        Returns whether it changed anything.

        Raises:
            SimulatorError: there is no such thing, or it cannot be edited so.
        """
        at = self._settle()
        group = self.tenant.groups.get(id)
        if group is not None:
            changed, type = self.tenant.edit_group(group, patch), "device-group"
        else:
            changed, type = self._put_into(self.tenant.found(id), patch), "device"
        self._desk.counters.note_operator(at=at, type=type, id_=id.lower(), patch=patch, changed=changed)
        return changed

    def check_in(self, device_id: str) -> None:
        """Let a device ask for updates.

        Raises:
            SimulatorError: there is no such device.
        """
        at = self._settle()
        self.tenant.found(device_id).seen_at = at

    def _put_into(self, device: Device, patch: Mapping[str, object]) -> bool:
        group_id = patch.get("DeviceGroupId")
        if len(patch) != 1 or not isinstance(group_id, str) or group_id not in self.tenant.groups:
            raise SimulatorError("of a device only the DeviceGroupId can be edited, and it has to be one")
        before, device.group_id = device.group_id, group_id
        return before != group_id

    def _settle(self) -> float:
        at = self._desk.now()
        self._life.advance(at)
        return at

    def _items(self, route: Route) -> list[Item]:
        tenant = self.tenant
        match route.aspect:
            case "groups" | "product-groups":
                groups = [one for one in tenant.groups.values() if route.id.lower() in ("", one.product_id)]
                found = [(one.id, group_document(tenant, one)) for one in groups]
            case "products":
                found = [(one.id, product_document(tenant, one)) for one in tenant.products.values()]
            case "deployments":
                deployments = self._group(route.id).deployments
                found = [(one.id, deployment_document(tenant, one)) for one in deployments]
            case "insights":
                found = [(f"{one.device_id}:{one.start_at}", insight_document(one)) for one in tenant.insights]
            case _:
                found = [(one.id, device_document(tenant, one)) for one in self._devices(route)]
        return sorted(found, key=itemgetter(0))

    def _devices(self, route: Route) -> list[Device]:
        tenant = self.tenant
        if route.aspect == "group-devices":
            group = self._group(route.id)
            return [one for one in tenant if one.group_id == group.id]
        if route.aspect == "product-devices":
            groups = {one.id for one in tenant.groups.values() if one.product_id == route.id.lower()}
            return [one for one in tenant if one.group_id in groups]
        return list(tenant)

    def _read(self, route: Route) -> object:
        match route.aspect:
            case "tenants":
                return [{"Id": self.tenant.id, "Name": self.tenant.name, "Roles": ["Contributor"]}]
            case "operation":
                return self.operations.document(route.id.lower(), at=self._desk.now())
            case "group":
                return group_document(self.tenant, self._group(route.id))
            case "product":
                product = self.tenant.products.get(route.id.lower())
                if product is None:
                    raise RefusedError(404, "NotFound", "the product does not exist")
                return product_document(self.tenant, product)
            case _:
                return device_document(self.tenant, self._device(route.id))

    def _device(self, id: str) -> Device:
        device = self.tenant.device(id)
        if device is None:
            raise RefusedError(404, "NotFound", "the device does not exist")
        return device

    def _group(self, id: str) -> Group:
        group = self.tenant.groups.get(id.lower())
        if group is None:
            raise RefusedError(404, "NotFound", "the device group does not exist")
        return group

    def _move(self, request: SimRequest, route: Route) -> Carried:
        try:
            group_id = json.loads(request.body)
        except (ValueError, RecursionError):
            group_id = None
        if not isinstance(group_id, str):
            raise RefusedError(400, "BadRequest", "the body has to be a JSON string, the id of a device group")
        device, group = self._device(route.id), self._group(group_id)
        document = self.operations.begin(device, group.id, at=self._desk.now())
        return Carried(answer=json_answer(document, status=202), changed=True)

    def _patch(self, request: SimRequest, route: Route) -> Carried:
        group, body = self._group(route.id), request.object()
        if not body or any(name.lower() not in _PATCHED for name in body):
            raise RefusedError(400, "BadRequest", "the body has to be an object of what can be changed")
        patch = {_PATCHED[name.lower()]: value for name, value in body.items()}
        _check_name(patch.get("Name"))
        try:
            changed = self.tenant.edit_group(group, patch)
        except SimulatorError as error:
            raise RefusedError(400, "BadRequest", str(error)) from error
        return Carried(answer=json_answer(group_document(self.tenant, group)), changed=changed)


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        return
    if not name or len(name) > _LONGEST_NAME or not all(char.isalnum() or char == " " for char in name):
        raise RefusedError(400, "BadRequest", "a name is up to 50 letters, digits and spaces")
