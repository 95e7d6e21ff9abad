"""Calls that go on after their answer: how long they take, how they end, and what a poll is told.

Facts (recordings of Azure/azure-powershell and azure-cli, read 2026-11): Azure Sphere names one URL in
Azure-AsyncOperation and in Location, without Retry-After, and its document has an `error` although the operation
succeeded; Microsoft.Devices answers the status with `&asyncinfo` and the bare result without it; the status of a poll
is 200 also after a failure.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final, Literal, TypeAlias
from uuid import UUID

from fleetsync.simulator.arm.links import SignedLinks
from fleetsync.simulator.wire import Object, RefusedError, SimRequest, SimResponse, json_answer

End: TypeAlias = Literal["Succeeded", "Failed", "Canceled"]
Style: TypeAlias = Literal["both", "azure-async", "location", "asyncinfo"]

_RUNNING: Final = ("InProgress", "Accepted", "Updating")
_WORDS: Final[dict[End, tuple[str, str]]] = {
    "Failed": ("DeviceUpdateFailed", "The device did not answer the request to change its device group."),
    "Canceled": ("OperationCanceled", "The operation was canceled by another request."),
}


@dataclass(slots=True, kw_only=True)
class Habits:
    """How operations are, from now on.

    `failing` and `canceling` are shares. `style` says in which headers the URL is; None is the provider's own way.
    `retry_after` comes with the first answer, `poll_retry_after` with those of polls that find it running.
    `kept_s` is how long after its end an operation can be asked for.
    """

    duration_s: float = 6.0
    failing: float = 0.0
    canceling: float = 0.0
    style: Style | None = None
    retry_after: str | None = None
    poll_retry_after: str | None = None
    kept_s: float = 86_400.0


@dataclass(slots=True, kw_only=True)
class Operation:
    """One call that goes on; `apply` makes it so, and returns the id that the resource has then."""

    name: str
    provider: str
    resource_id: str
    target: str
    started_at: float
    ends_at: float
    end: End
    style: Style
    apply: Callable[[float], str] = field(repr=False)
    version: str
    result_id: str | None = None
    is_ended: bool = False
    polls: int = 0


class Operations:
    """All operations by name; what ends does so when somebody looks."""

    def __init__(self, links: SignedLinks, *, subscription: str, seed: int) -> None:
        self.habits = Habits()
        self._links = links
        self._subscription = subscription
        self._random = Random(f"{seed}:arm-operations")
        self._all: dict[str, Operation] = {}
        self._due: list[tuple[float, str]] = []

    @property
    def all(self) -> tuple[Operation, ...]:
        """Return every operation, oldest first."""
        return tuple(self._all.values())

    def start(
        self, provider: str, resource_id: str, apply: Callable[[float], str], *, version: str, target: str, at: float
    ) -> Operation:
        """Begin an operation on a resource; `target` is what it is for, in the books of the provider."""
        habits, luck = self.habits, self._random.random()
        end: End = "Failed" if luck < habits.failing else "Succeeded"
        if habits.failing <= luck < habits.failing + habits.canceling:
            end = "Canceled"
        guid = UUID(int=self._random.getrandbits(128), version=4)
        operation = Operation(
            name=f"{guid}*{self._random.getrandbits(256):064X}",
            provider=provider,
            resource_id=resource_id,
            target=target,
            started_at=at,
            ends_at=at + habits.duration_s,
            end=end,
            style=habits.style or ("both" if provider.endswith("Sphere") else "asyncinfo"),
            apply=apply,
            version=version,
        )
        self._all[operation.name] = operation
        heapq.heappush(self._due, (operation.ends_at, operation.name))
        return operation

    def settle(self, at: float) -> None:
        """End what should have ended by now, in order."""
        while self._due and self._due[0][0] <= at:
            ends_at, name = heapq.heappop(self._due)
            operation = self._all[name]
            operation.is_ended = True
            if operation.end == "Succeeded":
                operation.result_id = operation.apply(ends_at)

    def is_busy(self, resource: str) -> bool:
        """True while an operation goes on that is for the same thing."""
        return any(self._all[name].target == resource for _, name in self._due)

    def headers(self, operation: Operation, origin: str) -> dict[str, str]:
        """Return what tells a client that the call goes on, and where to ask."""
        headers = {}
        match operation.style:
            case "both":
                url = origin + self._target(operation, "operationStatuses", "&asyncinfo", origin)
                headers = {"Location": url, "Azure-AsyncOperation": url}
            case "azure-async":
                url = origin + self._target(operation, "operationStatuses", "&asyncinfo", origin)
                headers = {"Azure-AsyncOperation": url}
            case "location":
                headers = {"Location": origin + self._target(operation, "operationResults", "", origin)}
            case "asyncinfo":
                headers = {
                    "Azure-AsyncOperation": origin + self._target(operation, "operationResults", "&asyncinfo", origin),
                    "Location": origin + self._target(operation, "operationResults", "", origin),
                }
        if self.habits.retry_after is not None:
            headers["Retry-After"] = self.habits.retry_after
        return headers

    def poll(self, request: SimRequest, name: str, *, origin: str, at: float) -> SimResponse:
        """Answer a poll.

        Raises:
            RefusedError: 403, the URL was changed on its way; 404, no operation is kept under that name.
        """
        operation = self._all.get(name)
        if operation is None or (operation.is_ended and at > operation.ends_at + self.habits.kept_s):
            raise RefusedError(404, "OperationNotFound", f"The operation '{name[:36]}' was not found.")
        asked = request.target
        kind = "operationResults" if "/operationResults/" in asked else "operationStatuses"
        for mark in ("&asyncinfo", ""):
            if asked == self._target(operation, kind, mark, origin):
                operation.polls += 1
                return self._status(operation) if mark else self._result(operation)
        raise RefusedError(403, "AuthorizationFailed", "The signature of the URL does not match its bytes.")

    def _target(self, operation: Operation, kind: str, mark: str, origin: str) -> str:
        path = (
            f"/subscriptions/{self._subscription}/providers/{operation.provider}/locations/WESTCENTRALUS"
            f"/{kind}/{operation.name}"
        )
        return self._links.operation(path, f"api-version={operation.version}{mark}", origin=origin)

    def _status(self, operation: Operation) -> SimResponse:
        headers = {} if operation.is_ended else self._waiting()
        if not operation.provider.endswith("Sphere"):
            document: Object = {"status": operation.end if operation.is_ended else "Running"}
        else:
            document = self._document(operation)
        if operation.is_ended and operation.end != "Succeeded":
            code, message = _WORDS[operation.end]
            document["error"] = {"code": code, "message": message}
        return json_answer(document, headers={"ETag": f'"{operation.polls:08x}-0000-4d00-0000-0"', **headers})

    def _document(self, operation: Operation) -> Object:
        document: Object = {
            "id": f"/subscriptions/{self._subscription}/providers/{operation.provider}/locations/WESTCENTRALUS"
            f"/operationStatuses/{operation.name}",
            "name": operation.name,
            "resourceId": operation.resource_id,
            "status": operation.end if operation.is_ended else _RUNNING[operation.polls % len(_RUNNING)],
            "startTime": _ticks(operation.started_at),
            # It is there also when all went well, and even while it runs.
            "error": {"target": "DeviceUpdateDeviceGroup", "details": []},
            "properties": {"targetResourceId": operation.result_id},
        }
        if operation.is_ended:
            document["endTime"] = _ticks(operation.ends_at)
        return document

    def _result(self, operation: Operation) -> SimResponse:
        if not operation.is_ended:
            return SimResponse(status=202, headers=self._waiting())
        if operation.end == "Succeeded":
            return SimResponse(status=200)
        code, message = _WORDS[operation.end]
        raise RefusedError(409, code, message)

    def _waiting(self) -> dict[str, str]:
        after = self.habits.poll_retry_after
        return {} if after is None else {"Retry-After": after}


def _ticks(at: float) -> str:
    """Return an instant with the seven fraction digits of .NET."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}8Z"
