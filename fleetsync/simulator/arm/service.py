"""Azure Resource Manager with Microsoft.AzureSphere 2024-04-01 and Microsoft.Devices/IotHubs 2023-06-30.

Facts (Microsoft's specifications, traffic recorded by Azure/azure-powershell and azure-cli, read 2026-11): names hold
spaces, and ids come in varying case; GET lists end without a nextLink and POST lists with null; the same resource looks
different by every call; moving a device changes its id and takes a while; signed URLs have to come back byte for byte.

Where the documents are silent the service here takes the stricter way: If-Match on a catalog is enforced, tags that are
sent replace all, and a second move of a device is refused while one goes on. Not simulated: creation, deletion,
claims, uploads, counts by filter, certificate chains, and PUT of hubs.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Final
from urllib.parse import parse_qsl
from uuid import UUID

from fleetsync.simulator.arm.errors import error_answer, throttled
from fleetsync.simulator.arm.hubs import Hubs
from fleetsync.simulator.arm.lists import Lists
from fleetsync.simulator.arm.operations import Operations
from fleetsync.simulator.arm.routes import CATALOG, DEVICE, DEVICES, HUB, SPHERE, Route, kind_of, route_of
from fleetsync.simulator.arm.shapes import Shown, document, etag
from fleetsync.simulator.arm.throttles import MethodClass, class_of, hints
from fleetsync.simulator.arm.tree import Catalog, Move, Tree
from fleetsync.simulator.arm.writes import Writes
from fleetsync.simulator.counters import KEPT, Call, Counters, Guard
from fleetsync.simulator.desk import Carried, Desk
from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.faults import Drawn
from fleetsync.simulator.resources import Entry, leaves
from fleetsync.simulator.wire import Object, RefusedError, SimRequest, SimResponse, json_answer

RESOURCE: Final = "https://management.azure.com"
"""What a bearer token has to be for."""

VERSIONS: Final[Mapping[str, str]] = {SPHERE: "2024-04-01", DEVICES: "2023-06-30"}
"""The one version that each provider understands here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontage:
    """What stands before the resources: a desk for every class of methods, and who is let in to which subscription.

    Whoever has a bearer token of the resource may do everything: roles are not simulated.
    """

    desks: Mapping[MethodClass, Desk]
    bearer: Callable[[str, str], bool]
    anonymous: bool
    subscription: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmLine:
    """One request to this service, and its answer."""

    at: float
    method: str
    target: str
    status: int


class Arm:
    """One subscription.

    `lists.page_size`, `operations.habits`, `links.size`, `writes.slow` and `shown_left` may be set while it runs;
    `shown_left` is what the headers of a class of methods say is left, whatever is.
    """

    def __init__(
        self, tree: Tree, hubs: Hubs, frontage: Frontage, operations: Operations, lists: Lists, *, counters: Counters
    ) -> None:
        self.tree = tree
        self.hubs = hubs
        self.subscription = frontage.subscription
        self.operations = operations
        self.lists = lists
        self.links = lists.links
        self.shown_left: dict[MethodClass, int] = {}
        self.origin = ""
        self.writes = Writes(tree, hubs, operations, subscription=frontage.subscription)
        self._frontage = frontage
        self._now = frontage.desks["read"].now
        self._counters = counters
        self._random = Random("arm-answers")
        self._log: deque[ArmLine] = deque(maxlen=KEPT)

    def handle(self, request: SimRequest) -> SimResponse:
        """Answer a request as the service would, now."""
        at = self._settle()
        desk = self._frontage.desks[class_of(request.method)]
        answer = desk.serve(request, self)
        left: float | None = self.shown_left.get(class_of(request.method), desk.bucket.left)
        headers = {**self._headers(), **hints(request.method, self._recognised(request), left), **answer.headers}
        self._log.append(ArmLine(at=at, method=request.method, target=request.target, status=answer.status))
        return replace(answer, headers=headers)

    def renew(self) -> None:
        """Begin the meters and the log anew."""
        self._log.clear()
        for desk in self._frontage.desks.values():
            desk.renew()

    def log(self) -> tuple[ArmLine, ...]:
        """Return the last requests, oldest first."""
        return tuple(self._log)

    def recognise(self, request: SimRequest) -> Call:
        """Say what a request is about, without doing or refusing anything."""
        route = self._recognised(request)
        if route is None:
            return Call(kind="read", type="unknown")
        kind = kind_of(request.method, route)
        id_ = route.operation or "/".join(route.names)
        if kind != "write":
            return Call(kind=kind, type=route.type, id=id_)
        members = tuple(leaves(request.object() or {}))
        return Call(kind=kind, type=route.type, id=id_, guard=self._guard(request, route), members=members)

    def admit(self, request: SimRequest) -> None:
        """Let the request pass, or raise RefusedError for want of a good token."""
        authorization = request.header("Authorization")
        if authorization is None and self._frontage.anonymous:
            return
        scheme, _, token = (authorization or "").partition(" ")
        if scheme != "Bearer" or not self._frontage.bearer(token, RESOURCE):
            raise RefusedError(401, "InvalidAuthenticationToken", "The access token is invalid.")

    def carry_out(self, request: SimRequest, call: Call, faults: Drawn) -> Carried:
        """Do it and answer, or raise RefusedError."""
        at = self._now()
        route = route_of(request.method, request.path, self.subscription)
        if route.operation:
            return Carried(answer=self.operations.poll(request, route.operation, origin=self._origin(request), at=at))
        self._check_version(request, route)
        if call.kind == "write":
            return self.writes.write(request, route, call, origin=self._origin(request), at=at)
        if route.listed is not None:
            return Carried(answer=self._listed(request, route, faults, at=at))
        return Carried(answer=self._read(route, at=at))

    def refuse(self, status: int, code: str, message: str) -> SimResponse:
        """Return an error in the shape of whoever makes it."""
        if code == "TooManyRequests":
            limit = self._frontage.desks["read"].limit
            wait_s = (limit.retry_after if limit else None) or "1"
            return error_answer(status, "SubscriptionRequestsThrottled", throttled(self.subscription, wait_s))
        return error_answer(status, code, message)

    def truth(self) -> list[Object]:
        """Return every device as it really is now, by its id, with its catalog, product and group."""
        self._settle()
        return [
            {
                "id": id_,
                "catalog": catalog.name,
                "product": found["names"][1],
                "group": found["names"][2],
                "properties": found["properties"],
            }
            for catalog, id_, found in self.tree.devices()
        ]

    def moves(self) -> tuple[Move, ...]:
        """Return which devices were moved, oldest first."""
        self._settle()
        return self.tree.moves

    def operator_move(self, device_id: str, product: str, group: str) -> bool:
        """Move a device as somebody else would, at once; return whether it was elsewhere.

        Raises:
            SimulatorError: there is no such device, or its catalog has no such group.
        """
        at = self._settle()
        catalog = self.tree.holding(device_id)
        after = self.tree.place(catalog, product, group)
        if after is None:
            raise SimulatorError(f'no group "{group}" of a product "{product}" in the simulated catalog')
        names = self._device(catalog, device_id).document["names"]
        changed = (names[1], names[2]) != after
        self.tree.move(catalog, device_id.lower(), after, at=at, by="operator")
        self._counters.note_operator(
            at=at, type="device", id_=device_id, patch={"group": "/".join(after)}, changed=changed
        )
        return changed

    def operator_edit(self, path: str, patch: Mapping[str, object]) -> bool:
        """Merge a patch into a catalog, group or hub by its ARM id; return whether it changed anything.

        Raises:
            SimulatorError: there is no such resource.
        """
        at = self._settle()
        try:
            route = route_of("PATCH", path.replace(" ", "%20"), self.subscription)
            changed = self.writes.edit(route, patch, at=at)
        except RefusedError as error:
            raise SimulatorError(error.message) from error
        self._counters.note_operator(at=at, type=route.type, id_="/".join(route.names), patch=patch, changed=changed)
        return changed

    def delete_device(self, device_id: str) -> None:
        """Take a device out of its catalog.

        Raises:
            SimulatorError: there is no such device.
        """
        self._settle()
        self.tree.holding(device_id).below[DEVICE].remove(device_id.lower())

    def _settle(self) -> float:
        at = self._now()
        self.operations.settle(at)
        return at

    def _recognised(self, request: SimRequest) -> Route | None:
        try:
            return route_of(request.method, request.path, self.subscription)
        except RefusedError:
            return None

    def _guard(self, request: SimRequest, route: Route) -> Guard | None:
        """Return how a write is guarded; only catalogs have an etag in a header."""
        if route.words != CATALOG:
            return None
        sent = request.header("If-Match")
        entry = self.tree.entries.get(route.catalog)
        quoted = None if sent is None else sent.startswith('"') and sent.endswith('"')
        return Guard(form="if-match", sent=sent, quoted=quoted, current=entry is not None and sent == etag(entry))

    def _check_version(self, request: SimRequest, route: Route) -> None:
        version = dict(parse_qsl(request.query)).get("api-version")
        if version is None:
            message = "The api-version query parameter (?api-version=) is required for all requests."
            raise RefusedError(400, "MissingApiVersionParameter", message)
        provider = DEVICES if route.words == HUB else SPHERE
        if version != VERSIONS[provider]:
            message = f"No registered resource provider found for API version '{version}'."
            raise RefusedError(400, "NoRegisteredProviderFound", message)

    def _listed(self, request: SimRequest, route: Route, faults: Drawn, *, at: float) -> SimResponse:
        if route.words == HUB:
            return self.lists.hubs(request, route, self.hubs, faults, origin=self._origin(request))
        catalog = None if route.words == CATALOG and route.is_list else self._catalog(route)
        return self.lists.answer(request, route, catalog, faults, origin=self._origin(request), at=at)

    def _read(self, route: Route, *, at: float) -> SimResponse:
        entry = self.writes.found(route)
        if route.words == HUB:
            match route.action:
                case "IotHubStats":
                    return json_answer(self.hubs.statistics(entry))
                case "quotaMetrics":
                    return json_answer(self.hubs.quota(entry))
                case _:
                    return json_answer(self.hubs.document(entry, self.subscription, addressed=route.path))
        if route.action:
            return json_answer({"value": self._count(route)})
        catalog = self._catalog(route)
        shown = Shown(subscription=self.subscription, group=catalog.group, occasion="get", at=at, addressed=route.path)
        headers = {"ETag": etag(entry)} if route.words == CATALOG else {}
        return json_answer(document(route.words, entry, shown), headers=headers)

    def _count(self, route: Route) -> int:
        wanted = [name.lower() for name in route.names]
        devices = self._catalog(route).below[DEVICE]
        return sum(
            [name.lower() for name in entry.document["names"]][1 : len(wanted)] == wanted[1:] for entry in devices
        )

    def _catalog(self, route: Route) -> Catalog:
        catalog = self.tree.catalog(route.catalog)
        if catalog is None:
            raise self.writes.missing(route)
        return catalog

    def _device(self, catalog: Catalog, device_id: str) -> Entry:
        entry = catalog.below[DEVICE].get(device_id.lower())
        if entry is None:
            raise SimulatorError(f'no device "{device_id}" in the simulated catalog')
        return entry

    def _origin(self, request: SimRequest) -> str:
        host = request.header("Host")
        return f"{self.origin.partition('://')[0]}://{host}" if host else self.origin

    def _headers(self) -> dict[str, str]:
        return {
            "x-ms-request-id": str(UUID(int=self._random.getrandbits(128), version=4)),
            "x-ms-correlation-request-id": str(UUID(int=self._random.getrandbits(128), version=4)),
        }
