"""Identities of devices and modules: how they are read, written and deleted."""

from dataclasses import replace
from itertools import islice
from random import Random
from typing import Final, get_args

from fleetsync.simulator.counters import Guard
from fleetsync.simulator.desk import Carried
from fleetsync.simulator.fleet import symmetric_key
from fleetsync.simulator.iot_hub.guards import enforce, enforce_put
from fleetsync.simulator.iot_hub.records import Authentication, AuthenticationType, Record, identity_document
from fleetsync.simulator.iot_hub.routes import Route
from fleetsync.simulator.iot_hub.rules import body_of, check_id, check_named, invalid, top_of
from fleetsync.simulator.iot_hub.state import HubState
from fleetsync.simulator.resources import is_same
from fleetsync.simulator.wire import Object, RefusedError, SimRequest, SimResponse, json_answer

_MOST_LISTED: Final = 1000
_MOST_MODULES: Final = 50
_REASON_LENGTH: Final = 128
_TYPES: Final = get_args(AuthenticationType)
_WHICH: Final = ("primary", "secondary")


class Identities:
    """Serves `/devices` and `/statistics`; an identity is shown with its secrets."""

    def __init__(self, state: HubState, *, seed: int) -> None:
        self._state = state
        self._random = Random(f"{seed}:hub-identities")

    def listed(self, query: str) -> SimResponse:
        """Return the first devices, at most a thousand, with no way to see the others."""
        # Any number outside of the range is taken for its end, says the description of the API.
        asked = top_of(query) or _MOST_LISTED
        most = asked if 1 <= asked <= _MOST_LISTED else _MOST_LISTED
        records = islice(self._state.registry, most)
        return json_answer([identity_document(record) for record in records])

    def modules(self, route: Route) -> SimResponse:
        """Return all modules of a device."""
        device_id = self.found(route.key[0]).key[0]
        return json_answer([identity_document(module) for module in self._state.registry.modules(device_id)])

    def read(self, route: Route) -> SimResponse:
        """Return an identity."""
        return self._shown(self.found(*route.key))

    def write(self, request: SimRequest, route: Route, guard: Guard, *, at: float) -> Carried:
        """Create an identity, or put another in its place."""
        body, registry = body_of(request), self._state.registry
        before = registry.get(route.key)
        if before is not None and (request.header("If-None-Match") or "").strip('" ') == "*":
            raise RefusedError(412, "PreconditionFailed", _mismatch(before))
        taken = "ModuleAlreadyExistsOnDevice" if route.key[1] else "DeviceAlreadyExists"
        enforce_put(guard, exists=before is not None, taken=taken, message=_mismatch(before))
        _check(body, route)
        authentication = self._authentication(body.get("authentication"))
        created = self._created(route, at) if before is None else before
        record = replace(_written(created, body, at=at), authentication=authentication)
        if before is None:
            record = registry.put(record, at=at)
            return Carried(answer=self._shown(record, is_new=True), changed=True)
        record = registry.put_identity(record, at=at)
        return Carried(answer=self._shown(record), changed=not _is_same(before, record))

    def delete(self, route: Route, guard: Guard, *, at: float) -> Carried:
        """Delete an identity with its twin; what is not there needs no deleting."""
        enforce(guard, _mismatch(self._state.registry.get(route.key)))
        removed = self._state.registry.remove(route.key, at=at, by="client")
        return Carried(answer=SimResponse(status=204), changed=removed)

    def statistics(self, *, of_service: bool) -> SimResponse:
        """Return how many devices are connected, or how many there are and may connect, as the index knows."""
        found = self._state.registry.statistics()
        enabled, total = found["enabled"], found["all"]
        if of_service:
            return json_answer({"connectedDeviceCount": found["connected"]})
        return json_answer(
            {"totalDeviceCount": total, "enabledDeviceCount": enabled, "disabledDeviceCount": total - enabled}
        )

    def found(self, device_id: str, module_id: str = "") -> Record:
        """Return a device or module.

        Raises:
            RefusedError: 404, by the name of what is missing.
        """
        registry = self._state.registry
        if device_id not in registry:
            raise RefusedError(404, "DeviceNotFound", f"The device '{device_id}' does not exist in the IoT Hub.")
        record = registry.get((device_id, module_id))
        if record is None:
            raise RefusedError(404, "ModuleNotFound", f"The module '{device_id}/{module_id}' does not exist.")
        return record

    def _created(self, route: Route, at: float) -> Record:
        device_id, module_id = route.key
        check_id(module_id or device_id)
        if not module_id:
            return self._state.create(device_id, at=at, by="client")
        device = self.found(device_id)
        if len(self._state.registry.modules(device_id)) >= _MOST_MODULES:
            raise RefusedError(413, "TooManyModulesOnDevice", f"a device has at most {_MOST_MODULES} modules")
        return self._state.registry.create_module(device, module_id, at=at)

    def _authentication(self, body: object) -> Authentication:
        """Return what a body says; keys that it does not send are made anew, which is the stricter side."""
        found = body if isinstance(body, dict) else {}
        kind = found.get("type", "sas")
        if kind not in _TYPES:
            raise invalid("authentication has no such type")
        keys, thumbprints = found.get("symmetricKey") or {}, found.get("x509Thumbprint") or {}
        if not isinstance(keys, dict) or not isinstance(thumbprints, dict):
            raise invalid("authentication is not well formed")
        primary, secondary = (keys.get(f"{which}Key") or symmetric_key(self._random) for which in _WHICH)
        return Authentication(
            type=kind,
            keys=(str(primary), str(secondary)) if kind == "sas" else None,
            thumbprints=(thumbprints.get("primaryThumbprint"), thumbprints.get("secondaryThumbprint")),
        )

    def _shown(self, record: Record, *, is_new: bool = False) -> SimResponse:
        headers = {} if record.is_module else {"ETag": f'"{record.etag}"'}
        return json_answer(identity_document(record, is_new=is_new), headers=headers)


def _check(body: Object, route: Route) -> None:
    check_named(body, "deviceId", route.key[0])
    if route.key[1]:
        check_named(body, "moduleId", route.key[1])
    if body.get("status", "enabled") not in ("enabled", "disabled"):
        raise invalid("status is neither enabled nor disabled")
    reason = body.get("statusReason")
    if reason is not None and (not isinstance(reason, str) or len(reason) > _REASON_LENGTH):
        raise invalid(f"statusReason is no text of at most {_REASON_LENGTH} characters")
    if not isinstance(body.get("capabilities", {}), dict) or not _are_scopes(body):
        raise invalid("the identity is not well formed")


def _are_scopes(body: Object) -> bool:
    parents = body.get("parentScopes") or []
    is_list = isinstance(parents, list) and all(isinstance(parent, str) for parent in parents)
    return is_list and isinstance(body.get("deviceScope"), str | None)


def _written(record: Record, body: Object, *, at: float) -> Record:
    if record.is_module:
        managed_by = body.get("managedBy")
        return replace(record, managed_by=managed_by if isinstance(managed_by, str) else None)
    status, is_edge = str(body.get("status", "enabled")), body.get("capabilities", {}).get("iotEdge") is True
    scope = _edge_scope(record, body) if is_edge else body.get("deviceScope")
    # That of a leaf is the scope of its parent, and is copied.
    copied = [scope] if scope and not is_edge else []
    return replace(
        record,
        status=status,
        status_reason=body.get("statusReason"),
        status_at=record.status_at if status == record.status else at,
        is_edge=is_edge,
        scope=scope,
        parents=tuple(body.get("parentScopes") or copied),
    )


def _edge_scope(record: Record, body: Object) -> str:
    """Return the scope of an edge device, which is made once and stays."""
    if not record.is_edge or record.scope is None:
        return f"ms-azure-iot-edge://{record.key[0]}-{record.generation}"
    if body.get("deviceScope") not in (None, record.scope):
        raise invalid("the deviceScope of an edge device cannot be changed")
    return record.scope


def _mismatch(record: Record | None) -> str:
    version = record.serial if record else 0
    return f"Precondition failed: Device version did not match, existingVersion:{version} newVersion:0"


def _is_same(before: Record, after: Record) -> bool:
    left, right = (identity_document(record) for record in (before, after))
    return is_same({**left, "etag": ""}, {**right, "etag": ""})
