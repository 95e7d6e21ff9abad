"""Azure IoT Hub, service side, API version 2021-04-12 and its neighbours.

Facts (the Swagger of Azure/azure-iot-hub-python, learn.microsoft.com, and traffic recorded in public repositories, read
2026-11): identities, twins and configurations have etags of their own; If-Match has to be quoted, or it is ignored;
queries read an index that lags and go on in headers; each class of operations has a limit, above which answers are
late before they are refused; an error is named in a header.

Where the documents are silent the service here takes the stricter way: an identity that is put without its keys
gets new ones, tags alone do not raise `version`, a signature ends when it says so. Not simulated: jobs, methods,
bulk operations, import and export, digital twins, `applyConfigurationContent`, `testQueries`, configurations' metrics.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Final
from urllib.parse import parse_qsl
from uuid import UUID

from fleetsync.simulator.counters import Call, Counters, Guard
from fleetsync.simulator.desk import Carried, Desk
from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.faults import Drawn
from fleetsync.simulator.iot_hub.auth import Doorman
from fleetsync.simulator.iot_hub.configuring import Configuring
from fleetsync.simulator.iot_hub.errors import error_answer, named
from fleetsync.simulator.iot_hub.guards import guard_of
from fleetsync.simulator.iot_hub.identities import Identities
from fleetsync.simulator.iot_hub.life import HubLife
from fleetsync.simulator.iot_hub.queries import Queries
from fleetsync.simulator.iot_hub.records import Record, identity_document, twin_document
from fleetsync.simulator.iot_hub.registry import Happening
from fleetsync.simulator.iot_hub.routes import Route, kind_of, operation_of, right_for, route_of
from fleetsync.simulator.iot_hub.rules import VERSIONS
from fleetsync.simulator.iot_hub.state import HubState
from fleetsync.simulator.iot_hub.throttles import Operation, Quota, has_twins
from fleetsync.simulator.iot_hub.twinning import Twinning
from fleetsync.simulator.resources import leaves
from fleetsync.simulator.wire import Object, RefusedError, SimRequest, SimResponse

_EVERYWHERE: Final = {"Server": "Microsoft-HTTPAPI/2.0", "Vary": "Origin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontage:
    """What stands before a hub: a desk for every class of operations, the doorman, and what the tier allows."""

    desks: Mapping[Operation, Desk]
    doorman: Doorman
    tier: str
    quota: Quota


class IotHub:
    """One IoT Hub; `queries.page_size`, `quota.limit` and `state.registry.index.lag_s` may be set while it runs."""

    def __init__(
        self, state: HubState, frontage: Frontage, life: HubLife, queries: Queries, *, seed: int, counters: Counters
    ) -> None:
        self.state = state
        self.queries = queries
        self.quota = frontage.quota
        self.doorman = frontage.doorman
        self._frontage = frontage
        self._now = frontage.desks["registry"].now
        self._life = life
        self._counters = counters
        self._random = Random(f"{seed}:hub-answers")
        self._identities = Identities(state, seed=seed)
        self._twinning = Twinning(state, self._identities)
        self._configuring = Configuring(state)

    def handle(self, request: SimRequest) -> SimResponse:
        """Answer a request as the service would, now."""
        self._settle()
        route = _recognised(request)
        operation: Operation = operation_of(request.method, route) if route else "registry"
        return self._frontage.desks[operation].serve(request, self)

    def renew(self) -> None:
        """Begin the meters anew."""
        for desk in self._frontage.desks.values():
            desk.renew()

    def recognise(self, request: SimRequest) -> Call:
        """Say what a request is about, without doing or refusing anything."""
        route = _recognised(request)
        if route is None:
            return Call(kind="read", type="unknown")
        kind = kind_of(request.method, route)
        if kind != "write":
            return Call(kind=kind, type=route.aspect, id=route.name)
        guard = None
        if route.aspect != "identities":
            guard = guard_of(request.header("If-Match"), self._etag(route))
        members = tuple(leaves(request.object() or {}))
        return Call(kind=kind, type=route.aspect, id=route.name, guard=guard, members=members)

    def admit(self, request: SimRequest) -> None:
        """Let the request pass, or raise RefusedError for want of a good token or of a right."""
        route = route_of(request.method, request.path)
        needed = right_for(request.method, route)
        self.doorman.admit(request.header("Authorization"), path=request.path, needed=needed, at=self._now())

    def carry_out(self, request: SimRequest, call: Call, faults: Drawn) -> Carried:
        """Do it and answer, or raise RefusedError."""
        route, at = route_of(request.method, request.path), self._now()
        self._check(request, route, faults, at=at)
        if call.kind == "write":
            carried = self._write(request, route, call, at=at)
        else:
            carried = Carried(answer=self._read(request, route, faults))
        answer = carried.answer
        self.quota.charge(operation_of(request.method, route), len(answer.body), at)
        return replace(carried, answer=replace(answer, headers={**self._headers(), **answer.headers}))

    def refuse(self, status: int, code: str, message: str) -> SimResponse:
        """Return the service's error body; its header repeats the code."""
        code, message = named(status, code, message)
        answer = error_answer(status, code, message, tracking=self._random.getrandbits(128), at=self._now())
        return replace(answer, headers={**self._headers(), **answer.headers})

    def truth(self) -> list[Object]:
        """Return every device as it really is now: `identity`, `twin`, and the twins of its `modules`."""
        self._settle()
        return [
            {
                "identity": identity_document(device),
                "twin": twin_document(device),
                "modules": [twin_document(module) for module in self.state.registry.modules(device.key[0])],
            }
            for device in self.state.registry
        ]

    def device(self, device_id: str) -> Record | None:
        """Return what is registered of a device now; None where there is none."""
        self._settle()
        return self.state.registry.get((device_id, ""))

    def happenings(self) -> tuple[Happening, ...]:
        """Return which devices came and went, oldest first."""
        self._settle()
        return self.state.registry.happenings

    def operator_edit(self, device_id: str, patch: Mapping[str, object], *, module_id: str = "") -> bool:
        """Merge a patch with `tags`, `properties.desired` and `status` as somebody else would.

        Returns whether it changed anything.

        Raises:
            SimulatorError: there is no such device, or that cannot be edited.
        """
        at = self._settle()
        record = self.state.found(device_id, module_id)
        changed = self.state.edit(record, patch, at=at)
        name = "/".join(filter(None, record.key))
        self._counters.note_operator(at=at, type="twin", id_=name, patch=patch, changed=changed)
        return changed

    def add_device(self, device_id: str, patch: Mapping[str, object] | None = None) -> None:
        """Register a device, and edit it at once.

        Raises:
            SimulatorError: there is one already, or it cannot be edited so.
        """
        at = self._settle()
        if device_id in self.state.registry:
            raise SimulatorError(f'the simulated hub has a device "{device_id}" already')
        self.state.edit(self.state.create(device_id, at=at, by="operator"), patch or {}, at=at)

    def delete_device(self, device_id: str) -> None:
        """Delete a device.

        Raises:
            SimulatorError: there is no such device.
        """
        at = self._settle()
        self.state.registry.remove(self.state.found(device_id).key, at=at, by="operator")

    def recreate_device(self, device_id: str, patch: Mapping[str, object] | None = None) -> None:
        """Delete a device and register another by its id: a new generation whose versions start again.

        Raises:
            SimulatorError: there is no such device, or the new one cannot be edited so.
        """
        self.delete_device(device_id)
        self.add_device(device_id, patch)

    def report(self, device_id: str, patch: Mapping[str, object], *, module_id: str = "") -> None:
        """Let a device or module report properties.

        Raises:
            SimulatorError: there is no such device.
        """
        at = self._settle()
        self.state.report(self.state.found(device_id, module_id), patch, at=at)

    def _settle(self) -> float:
        at = self._now()
        self._life.advance(at)
        return at

    def _etag(self, route: Route) -> str | None:
        if route.aspect == "configuration":
            configuration = self.state.configurations.get(route.id)
            return configuration.etag if configuration else None
        record = self.state.registry.get(route.key)
        if record is None:
            return None
        return record.twin.etag if route.is_twin else record.etag

    def _check(self, request: SimRequest, route: Route, faults: Drawn, *, at: float) -> None:
        operation = operation_of(request.method, route)
        if dict(parse_qsl(request.query)).get("api-version") not in VERSIONS:
            raise RefusedError(400, "InvalidProtocolVersion", "the api-version is missing or unknown")
        if "failing-over" in faults:
            raise RefusedError(404, "IotHubFailingOver", "The IoT Hub is failing over.")
        if operation != "registry" and not has_twins(self._frontage.tier):
            raise RefusedError(403, "OperationNotAvailableInCurrentTier", "the tier of the IoT Hub has no such thing")
        if self.quota.is_spent(operation, at):
            raise RefusedError(403, "IotHubQuotaExceeded", "The daily message quota of the IoT Hub is exceeded.")

    def _read(self, request: SimRequest, route: Route, faults: Drawn) -> SimResponse:  # noqa: PLR0911  # a table
        match route.aspect:
            case "query":
                return self.queries.answer(request, faults)
            case "identities":
                return self._identities.listed(request.query)
            case "identity" | "module-identity":
                return self._identities.read(route)
            case "module-identities":
                return self._identities.modules(route)
            case "twin" | "module-twin":
                return self._twinning.read(route)
            case "configurations":
                return self._configuring.listed(request.query)
            case "configuration":
                return self._configuring.read(route.id)
            case "device-statistics" | "service-statistics":
                return self._identities.statistics(of_service=route.aspect == "service-statistics")

    def _write(self, request: SimRequest, route: Route, call: Call, *, at: float) -> Carried:
        guard = call.guard or Guard(form="if-match")
        match request.method, route.aspect:
            case "PUT" | "PATCH", "twin" | "module-twin":
                return self._twinning.write(request, route, guard, at=at)
            case "DELETE", "configuration":
                return self._configuring.delete(route.id, guard)
            case "DELETE", _:
                return self._identities.delete(route, guard, at=at)
            case _, "configuration":
                return self._configuring.write(request, route.id, guard, at=at)
            case _:
                return self._identities.write(request, route, guard, at=at)

    def _headers(self) -> dict[str, str]:
        request_id = str(UUID(int=self._random.getrandbits(128), version=4))
        return {**_EVERYWHERE, "x-ms-request-id": request_id}


def _recognised(request: SimRequest) -> Route | None:
    try:
        return route_of(request.method, request.path)
    except RefusedError:
        return None
