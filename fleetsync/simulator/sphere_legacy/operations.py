"""Moves of devices: asked for, carried out some seconds later, and remembered for a while."""

from dataclasses import dataclass
from random import Random
from typing import Final
from uuid import UUID

from fleetsync.simulator.sphere_legacy.shapes import instant
from fleetsync.simulator.sphere_legacy.state import Device, Tenant
from fleetsync.simulator.wire import Object, RefusedError

NOT_STARTED: Final = 0
IN_PROGRESS: Final = 1
COMPLETE: Final = 2
FAILED: Final = 3
COMPLETE_WITH_ERRORS: Final = 4

_MOVE_TYPE: Final = 2
_FAILURES: Final = {
    FAILED: {"Code": 7, "Message": "The device is being updated by another operation."},
    COMPLETE_WITH_ERRORS: {"Code": 0, "Message": "The device group was set; its deployment could not be looked up."},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move that ended: of which device, from where to where, and in which state; `changed` when it is there now."""

    device_id: str
    before: str | None
    after: str
    at: float
    state: int
    changed: bool


@dataclass(slots=True, kw_only=True)
class _Operation:
    id: str
    device_id: str
    group_id: str
    created_at: float
    ends_at: float
    ending: int
    is_over: bool = False


class Operations:
    """Carries moves out when their time has come.

    Settable: `lasts_s` is how long one takes, `fail_share` and `errors_share` how many of them fail or end complete
    with errors, `kept_s` how long one is answered for after it began. Half of those that end with errors did it.
    """

    def __init__(self, tenant: Tenant, *, seed: int) -> None:
        self.lasts_s = 6.0
        self.fail_share = 0.0
        self.errors_share = 0.0
        self.kept_s = 86_400.0
        self.moves: list[Move] = []
        self._tenant = tenant
        self._random = Random(f"{seed}:sphere-operations")
        self._by_id: dict[str, _Operation] = {}
        self._running: dict[str, _Operation] = {}

    def begin(self, device: Device, group_id: str, *, at: float) -> Object:
        """Begin to move a device, and return the operation.

        Raises:
            RefusedError: 409, it is being moved already.
        """
        if device.id in self._running:
            raise RefusedError(409, "Conflict", "another operation of the device is in progress")
        operation = _Operation(
            id=str(UUID(int=self._random.getrandbits(128), version=4)),
            device_id=device.id,
            group_id=group_id,
            created_at=at,
            ends_at=at + self.lasts_s,
            ending=self._ending(),
        )
        self._by_id[operation.id] = self._running[device.id] = operation
        return self._document(operation, at)

    def document(self, id: str, *, at: float) -> Object:
        """Return an operation as it stands.

        Raises:
            RefusedError: 404, there is none, or none any more.
        """
        operation = self._by_id.get(id)
        if operation is None or at > operation.created_at + self.kept_s:
            raise RefusedError(404, "NotFound", "the operation does not exist")
        return self._document(operation, at)

    def settle(self, at: float) -> None:
        """Carry out what is due."""
        due = sorted((one for one in self._running.values() if one.ends_at <= at), key=lambda one: one.ends_at)
        for operation in due:
            del self._running[operation.device_id]
            operation.is_over = True
            self._carry_out(operation)

    def _carry_out(self, operation: _Operation) -> None:
        device = self._tenant.device(operation.device_id)
        before = None if device is None else device.group_id
        does_it = operation.ending == COMPLETE or (
            operation.ending == COMPLETE_WITH_ERRORS and int(operation.id[0], 16) % 2 == 0
        )
        if device is None:
            operation.ending, does_it = FAILED, False
        elif does_it:
            device.group_id = operation.group_id
        self.moves.append(
            Move(
                device_id=operation.device_id,
                before=before,
                after=operation.group_id,
                at=operation.ends_at,
                state=operation.ending,
                changed=does_it and before != operation.group_id,
            )
        )

    def _ending(self) -> int:
        luck = self._random.random()
        if luck < self.fail_share:
            return FAILED
        return COMPLETE_WITH_ERRORS if luck < self.fail_share + self.errors_share else COMPLETE

    def _document(self, operation: _Operation, at: float) -> Object:
        begun_at = operation.created_at + min(0.5, self.lasts_s / 4)
        state = operation.ending if operation.is_over else IN_PROGRESS if at >= begun_at else NOT_STARTED
        error: Object | None = _FAILURES.get(state)
        if state == COMPLETE and int(operation.id[1], 16) % 4 == 0:
            error = {"Code": 0, "Message": ""}  # says nothing: the state alone decides
        return {
            "OperationId": operation.id,
            "TenantId": self._tenant.id,
            "OperationType": _MOVE_TYPE,
            "State": state,
            "CreatedDateUTC": instant(operation.created_at),
            "StartedDateUTC": None if state == NOT_STARTED else instant(begun_at),
            "CompletedDateUTC": instant(operation.ends_at) if operation.is_over else None,
            "ResourceLocation": f"/v2/tenants/{self._tenant.id}/devices/{operation.device_id}",
            "DetailsLocation": None,
            "Error": error,
        }
