"""A small service whose writes take their time, and a target that speaks to it without a wire.

service = Slow(clock, devices=3)
service.lasts_s = 6.0                  # a move is carried out so long after its answer
service.ending = lambda id: "failed"   # done, failed, half (it reports errors, and moved it), never, lost, deaf
service.on_step = tripwire             # called at every point where a process may be killed
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from fleetsync.core.kind import Kind, Quota, TypeSpec, Writable
from fleetsync.core.model import DEVICE, Cursor, ETag, Facts, Page, Part, Resource, ResourceKey, ResourceType
from fleetsync.core.operation import Followed, Operation, Standing
from fleetsync.core.plan import Change, Guard, GuardKind
from fleetsync.errors import NotFoundError
from fleetsync.providers.base import Target, Written
from tests.fakes.clock import FakeClock

GROUP = Part("group")
NAME = Part("name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """No keys."""


KIND = Kind(
    name="slow",
    settings=Settings,
    interval_s=300.0,
    methods=("none",),
    operations=("read", "write"),
    quota=lambda _: Quota(classes={"read": None, "write": None}),
    types=(
        TypeSpec(
            type=DEVICE,
            view="devices",
            writable=(
                Writable(path=("group",), part=GROUP, value=str),
                Writable(path=("name",), part=NAME, value=str),
            ),
            operations={GROUP: 900.0},
        ),
    ),
)


@dataclass
class _Running:
    id: str
    group: str
    ends_s: float
    ending: str
    is_over: bool = False


@dataclass
class Slow:
    """The service: it outlives every process of ours."""

    clock: FakeClock
    devices: int = 3
    lasts_s: float = 6.0
    asks_s: float | None = None
    has_etags: bool = False
    ending: Callable[[str], str] = lambda _: "done"
    on_step: Callable[[str], None] = lambda _: None
    moves: list[str] = field(default_factory=list)
    """Every move that was begun, by device id."""
    polls: list[tuple[float, str]] = field(default_factory=list)
    _groups: dict[str, str] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _running: dict[str, _Running] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._groups = {f"d{number}": "a" for number in range(self.devices)}

    def groups(self) -> dict[str, str]:
        for one in self._running.values():
            if one.ending in ("done", "half", "lost") and not one.is_over and self.clock.monotonic_s() >= one.ends_s:
                self._groups[one.id] = one.group
                one.is_over = True
        return self._groups

    def document(self, id: str) -> dict[str, str]:
        return {"id": id, "group": self.groups()[id], "name": self._names.get(id, "")}

    def edit(self, id: str, group: str) -> None:
        self.groups()[id] = group

    def move(self, id: str, group: str) -> str:
        self.moves.append(id)
        handle = f"op-{len(self.moves)}"
        self._running[handle] = _Running(id, group, self.clock.monotonic_s() + self.lasts_s, self.ending(id))
        return handle

    def rename(self, id: str, name: str) -> None:
        self._names[id] = name

    def standing(self, handle: str) -> Followed:
        self.polls.append((self.clock.monotonic_s(), handle))
        one = self._running[handle]
        self.groups()
        if one.ending == "lost":
            raise NotFoundError("no such operation", status=404)
        if self.clock.monotonic_s() < one.ends_s or one.ending == "never":
            return Followed(standing=Standing.RUNNING, wait_s=self.asks_s)
        if one.ending in ("failed", "half"):
            return Followed(standing=Standing.FAILED, error="Conflict: the device is busy")
        return Followed(standing=Standing.DONE)


class SlowTarget(Target):
    """A target of that service."""

    kind: ClassVar[Kind] = KIND

    def __init__(self, name: str, service: Slow) -> None:
        self.name = name
        self._service = service

    async def page(self, type: ResourceType, cursor: Cursor | None) -> Page:
        self._service.on_step("list")
        return Page(resources=tuple(map(self._shown, self._service.groups())), next=None)

    async def read(self, key: ResourceKey) -> Resource:
        self._service.on_step("read")
        return self._shown(key.id)

    def declarable(self, type: ResourceType, document: object, details: Mapping[Part, object]) -> Mapping[str, object]:
        return document if isinstance(document, Mapping) else {}

    def guard(self, part: Part, resource: Resource) -> Guard | None:
        return Guard(kind=GuardKind.REREAD, etag=resource.etag)

    async def patch(self, change: Change) -> Written:
        self._service.on_step("write")
        operation = None
        if change.part == GROUP:
            handle = self._service.move(change.key.id, str(change.patch["group"]))
            operation = Operation(handle=handle, wait_s=self._service.asks_s)
        else:
            self._service.rename(change.key.id, str(change.patch["name"]))
        self._service.on_step("written")
        return Written(shown=None, status=202, request_id=f"request {change.key.id}", operation=operation)

    async def follow(self, key: ResourceKey, part: Part, operation: Operation) -> Followed:
        self._service.on_step("poll")
        followed = self._service.standing(operation.handle)
        self._service.on_step("polled")
        return followed

    def _shown(self, id: str) -> Resource:
        document = self._service.document(id)
        etag = ETag("/".join(document.values())) if self._service.has_etags else None
        return Resource(id=id, document=json.dumps(document).encode(), etag=etag, facts=Facts())
