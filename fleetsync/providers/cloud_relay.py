"""Distech ECLYPSE Cloud Relay (DistechControls/CloudRelay at commit 0fbcb1d of 2023-06-07). Checked 2026-11-21.

https://github.com/DistechControls/CloudRelay and https://wiki.distech-controls.com/RestAPI.

- One route, /api/v1/devices/{id}/request: the relay calls the device through IoT Hub, and answers what it answered.
  `Remote-Query` is the path on the controller. There is no list: whom to ask says the configuration, or the mirror of
  an IoT Hub. Here a page is a slice of that roster.
- What the relay itself says is problem+json with a number `errorCode`; anything else the controller said. 1000, 1001,
  1002, 1003 and 5001 are about one device (`DeviceFaultError`), 5000 and 5002 about all. 1000 says that a device does
  not exist, and means that it is not connected.
- A status without errorCode may be anybody's. It is taken for the controller's, and not repeated, as long as the relay
  lets others of the same page through. A 401 of the relay names its scheme; no header of a controller gets here.
- No ETag, and no header of ours reaches the controller: read, compare, write, read back.
- Values are texts, and written with POST; write-property-multiple answers 200 with a `message` on what failed.
- Throttling by the hub shows as 504/1001 and nothing names a rate: few calls at a time, one for each device.
"""

import asyncio
import re
from bisect import bisect_right
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import msgspec

from fleetsync.core.bucket import Rate
from fleetsync.core.declaration import ABSENT
from fleetsync.core.document import fault_in
from fleetsync.core.kind import ANY, Cost, Kind, Quota, TypeSpec, Writable
from fleetsync.core.model import DEVICE, Cursor, Detail, Facts, Page, Part, Resource, ResourceKey, ResourceType
from fleetsync.core.path import Path
from fleetsync.core.plan import Change, DriftState, Guard, GuardKind, Objection
from fleetsync.errors import (
    AuthError,
    ConflictError,
    DeviceFaultError,
    InvalidResponseError,
    NotFoundError,
    RejectedError,
    ResourceError,
    ServerFaultError,
    SourceError,
    TransientError,
)
from fleetsync.providers._rest import segment
from fleetsync.providers.base import Endpoint, Provider, Target, Written
from fleetsync.tasks import together
from fleetsync.transport.http import Request, Response

VALUES = Part("values")

DEVICES_AT_ONCE = 4
"""So many devices are asked at the same time, one call each: the hub's throttle for methods shows as a timeout."""

_PAGE_SIZE = 25
_RESPONSE_TIMEOUT_S = 15
"""What a device may take. The relay takes 5 to 300; the client waits longer than this."""
_LATE_S = 60.0
"""So long a device that did not answer in time may still carry out what it was asked."""
_PREFIX = "/api/rest/v1/"
_OBJECTS = "protocols/bacnet/local/objects"
_WRITE_MULTIPLE = f"{_OBJECTS}/write-property-multiple"
_PROPERTY = re.compile(rf"{_OBJECTS}/(?P<type>[^/?#]+)/(?P<instance>\d+)/properties/(?P<property>[^/?#]+)")
_PATH = re.compile(r"[!-~]+")
_OWN = ("deviceId", "connectionState", "readAt", "faults")
_HUB_UNREACHABLE = "5000"
_FORBIDDEN = 403
_NOT_THERE = 404
_REFUSALS = frozenset({_FORBIDDEN, _NOT_THERE, 409, 410, 412})
"""What a controller may say to a write. It knows of no guard: none of them means that somebody else was faster."""


class FromSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A roster that is the devices of another source."""

    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The keys that only this kind has. `paths` are below /api/rest/v1/ of the controllers."""

    roster: tuple[str, ...] | FromSource
    paths: tuple[str, ...] = ("info", "info/device", "info/network", "info/bacnet")
    write_multiple: bool = False

    def __post_init__(self) -> None:
        listed = self.roster if isinstance(self.roster, tuple) else ()
        if not self.paths or (isinstance(self.roster, tuple) and not listed):
            raise ValueError("`roster` and `paths` must not be empty")
        for name, entries in (("roster", listed), ("paths", self.paths)):
            if twice := {one for one in entries if entries.count(one) > 1} if len(entries) > len(set(entries)) else ():
                raise ValueError(f"`{name}` holds {min(twice)!r} twice")
        for path in self.paths:
            if fault := _path_fault(path):
                raise ValueError(f"`paths` holds {path!r}: {fault}")
        if "" in listed:
            raise ValueError("`roster` holds an empty id")

    @property
    def reads(self) -> tuple[str, ...]:
        """Return the names of other sources whose devices this one goes by."""
        return (self.roster.source,) if isinstance(self.roster, FromSource) else ()


def _path_fault(path: str) -> str | None:
    if not _PATH.fullmatch(path) or path.startswith("/") or "#" in path:
        return "a path is what follows /api/rest/v1/, in ASCII and percent-encoded"
    if path in _OWN:
        return "fleetsync keeps something of its own under that name"
    return None


KIND = Kind(
    name="cloud-relay",
    settings=Settings,
    interval_s=300.0,
    methods=("client-secret", "client-certificate", "managed-identity", "workload-identity", "none"),
    operations=("call",),
    quota=lambda _: Quota(classes={"call": Rate(per_s=5.0)}),
    has_documented_quota=False,
    costs={VALUES: Cost(write={"call": 1}, read={"call": 1})},
    types=(
        TypeSpec(
            type=DEVICE,
            listed_as="call",
            view="devices",
            page_size=1,  # a page costs a call for each path of each device
            volatile=(("connectionState",), ("readAt",), ("faults",)),
            writable=(Writable(path=(ANY, "value"), part=VALUES, value=str),),
            details=(VALUES,),
            piecemeal=frozenset({VALUES}),
            operations={VALUES: _LATE_S},
        ),
    ),
)


class _Heard(msgspec.Struct):
    """What a round of calls heard of the relay: whether it let any through, and else what was wrong first."""

    passed: bool = False
    trouble: SourceError | None = None

    def note(self, error: SourceError) -> None:
        """Take note of an error that may be the relay's or a controller's."""
        if isinstance(error, DeviceFaultError) and error.code is not None:
            self.passed = True
        self.trouble = self.trouble or error

    def check(self) -> None:
        """Make sure that the relay let something through, if there was trouble.

        Raises:
            SourceError: everybody met with trouble: it is not the devices'.
        """
        if self.trouble is None or self.passed:
            return
        if isinstance(self.trouble, DeviceFaultError):
            raise ServerFaultError(str(self.trouble), status=self.trouble.status) from self.trouble
        raise self.trouble


def _may_be_about_one(error: SourceError) -> bool:
    """Say whether it may be a device or its controller that is at fault."""
    if isinstance(error, AuthError):
        return error.status == _FORBIDDEN
    if isinstance(error, ServerFaultError):
        return error.code != _HUB_UNREACHABLE
    return isinstance(error, ResourceError | InvalidResponseError)


class _Answers(msgspec.Struct):
    """What a device answered: documents by path, None where it has no such, and what went wrong, by path."""

    documents: dict[str, bytes | None] = msgspec.field(default_factory=dict)
    faults: dict[str, str] = msgspec.field(default_factory=dict)
    is_offline: bool = False

    @property
    def connection_state(self) -> str:
        """Return `online` for a device that answered, `offline` for one that the hub has no connection to."""
        return "offline" if self.is_offline else "online" if self.documents else "silent"


class CloudRelay(Target):
    """One relay, and the devices of one roster."""

    kind: ClassVar[Kind] = KIND

    def __init__(self, endpoint: Endpoint) -> None:
        settings = endpoint.own(Settings)
        self.name = endpoint.name
        self._http = endpoint.http
        self._known = endpoint.known
        self._base = endpoint.url.rstrip("/")
        self._settings = settings
        self._listed = sorted(settings.roster) if isinstance(settings.roster, tuple) else []
        self._places = asyncio.Semaphore(DEVICES_AT_ONCE)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def page(self, type: ResourceType, cursor: Cursor | None) -> Page:  # noqa: ARG002 - there is one type
        """Return the devices of the next slice of the roster; the cursor is the last id of the one before.

        A device that cannot be asked stays with what it said last. Ids of a roster that changes between pages are
        neither shown twice nor passed over.

        Raises:
            NotYetError: the source that the roster comes from has not been listed completely yet.
        """
        ids = await self._ids_after(cursor or "", _PAGE_SIZE + 1)
        heard = _Heard()
        here = ids[:_PAGE_SIZE]
        async with together() as group:
            tasks = [group.create_task(self._describe(id, heard)) for id in here]
        heard.check()
        following = Cursor(here[-1]) if len(ids) > len(here) else None
        return Page(resources=tuple(task.result() for task in tasks), next=following)

    async def read(self, key: ResourceKey) -> Resource:
        """Return a device as it is now; one that cannot be asked, as it was.

        Raises:
            NotFoundError: the roster does not name it.
        """
        await self._find(key)
        heard = _Heard()
        device = await self._describe(key.id, heard)
        heard.check()
        return device

    async def detail_at(self, key: ResourceKey, part: Part, paths: Collection[Path]) -> Detail:
        """Return the declared paths of a device as they are now; null where the controller has no such.

        Raises:
            NotFoundError: the roster does not name it: the relay would only say that it is not connected.
        """
        if part != VALUES:
            return await super().detail_at(key, part, paths)
        await self._find(key)
        heard = _Heard()
        found: dict[str, object] = {}
        async with self._turn(key.id):
            for path in sorted({path[0] for path in paths}):
                try:
                    document = await self._ask(key.id, path, heard)
                except (AuthError, InvalidResponseError) as error:
                    if not _may_be_about_one(error):
                        raise
                    # The relay let us list: it is the controller that refuses, or answers rubbish.
                    raise RejectedError(f"{path}: {error}", status=error.status, code=error.code) from error
                found[path] = None if document is None else _value_of(document)
        return Detail(id=key.id, part=VALUES, document=msgspec.json.encode(found))

    def declarable(self, type: ResourceType, document: object, details: Mapping[Part, object]) -> Mapping[str, object]:  # noqa: ARG002 - the contract's
        """Return the values that were read, by path."""
        values = details.get(VALUES)
        return values if isinstance(values, Mapping) else {}

    def guard(self, part: Part, resource: Resource) -> Guard | None:  # noqa: ARG002 - the contract's
        """Return reading again: no controller has ETags, and no header would reach it."""
        return Guard(kind=GuardKind.REREAD)

    def objections(self, change: Change, resource: Resource) -> Sequence[Objection]:  # noqa: ARG002 - the contract's
        """Return the leaves that no controller can be asked for, and those that should not be there."""
        held: list[Objection] = []
        for leaf in change.leaves:
            fault = "a value cannot be taken away" if leaf.declared is ABSENT else _path_fault(leaf.path[0])
            if fault is not None:
                held.append(Objection(path=leaf.path, state=DriftState.HELD, by=fault))
        return held

    async def patch(self, change: Change) -> Written:
        """Write values, one request each, or those of BACnet objects together if the source says so.

        What a controller refuses does not keep the others from being written. After a device fault nothing more is
        sent: whether it was carried out, a read has to tell.

        Raises:
            RejectedError: the controller refused at least one; the message has its words.
            DeviceFaultError: the device did not answer, or not in time.
        """
        values = {leaf.path[0]: str(leaf.declared) for leaf in change.leaves}
        matches = ((path, _PROPERTY.fullmatch(path)) for path in values if self._settings.write_multiple)
        together = {path: match for path, match in matches if match is not None}
        refused: list[str] = []
        answer: Response | None = None
        async with self._turn(change.key.id):
            if together:
                answer = await self._write_multiple(change.key, values, together, refused)
            for path in sorted(values.keys() - together.keys()):
                try:
                    answer = await self._write(change.key.id, path, {"value": values[path]})
                except RejectedError as error:
                    refused.append(str(error))
                except (TransientError, DeviceFaultError) as error:
                    error.sent = error.sent or answer is not None  # something of the change was
                    raise
                except AuthError as error:
                    if answer is None:
                        raise
                    # Others were answered: what became of them a read has to tell, a write that is refused did nothing.
                    raise TransientError(f"{path}: {error}", status=error.status) from error
        if refused or answer is None:
            raise RejectedError("; ".join(refused) or f"{change.key}: nothing to write")
        return Written(shown=None, status=answer.status, request_id=answer.request_id)

    async def _write_multiple(
        self, key: ResourceKey, values: Mapping[str, str], matches: Mapping[str, re.Match[str]], refused: list[str]
    ) -> Response:
        """Write several properties with one request; what failed of them is added to `refused`."""
        references = [
            {
                "type": match["type"],
                "instance": int(match["instance"]),
                "property": match["property"],
                "value": values[path],
            }
            for path, match in sorted(matches.items())
        ]
        body = {"encode": "text", "propertyReferences": references}
        response = await self._write(key.id, _WRITE_MULTIPLE, body)
        answered = response.decode(_Multiple).propertyReferences
        if len(answered) != len(references):
            raise InvalidResponseError(
                f"{key}: {len(references)} properties were written, the answer is about {len(answered)}",
                status=response.status,
            )
        for path, one in zip(sorted(matches), answered, strict=True):
            if one.message:
                refused.append(f"{path}: {one.message[:256]}")
        return response

    async def _write(self, id: str, path: str, body: object) -> Response:
        try:
            return await self._call("POST", id, path, msgspec.json.encode(body))
        except (AuthError, ConflictError, NotFoundError, InvalidResponseError) as error:
            # The part was read just now, so the relay lets us through: it is the controller that refuses.
            if error.status in _REFUSALS:
                raise RejectedError(f"{path}: {error}", status=error.status, code=error.code) from error
            raise

    async def _ids_after(self, after: str, most: int) -> Sequence[str]:
        roster = self._settings.roster
        if isinstance(roster, FromSource):
            return await self._known.ids(roster.source, DEVICE, after=after, most=most)
        start = bisect_right(self._listed, after)
        return self._listed[start : start + most]

    async def _find(self, key: ResourceKey) -> None:
        roster = self._settings.roster
        if isinstance(roster, FromSource):
            is_named = await self._known.document(ResourceKey(roster.source, DEVICE, key.id)) is not None
        else:
            is_named = key.id in roster
        if not is_named:
            raise NotFoundError(f"{key}: the roster does not name it")

    async def _describe(self, id: str, heard: _Heard) -> Resource:
        """Return a device as one document, with what the mirror has where it does not answer now."""
        async with self._turn(id):
            answers = await self._answers(id, heard)
        before = await self._before(id)
        document: dict[str, object] = {"deviceId": id}
        for path in self._settings.paths:
            if path in answers.documents:
                document[path] = msgspec.Raw(answers.documents[path] or b"null")
            else:
                document[path] = before.get(path)
        document |= {
            "connectionState": answers.connection_state,
            "readAt": await self._read_at(id, before, answers),
            "faults": answers.faults,
        }
        facts = Facts(connection_state=answers.connection_state)
        return Resource(id=id, document=msgspec.json.encode(document), facts=facts)

    async def _read_at(self, id: str, before: Mapping[str, msgspec.Raw], answers: _Answers) -> Mapping[str, str | None]:
        """Return of what could not be read now when it was read last, by path; None: never.

        What was read now was read when it was observed: a device of which nothing changes has a document that does not
        change either.
        """
        missing = [path for path in self._settings.paths if path not in answers.documents]
        found: dict[str, str | None] = msgspec.json.decode(before.get("readAt", b"{}")) if missing else {}
        if any(path in before and path not in found for path in missing):
            observed_at = await self._known.observed_at(ResourceKey(self.name, DEVICE, id))
            at = None if observed_at is None else observed_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            found = {path: found.get(path, at) for path in before}
        return {path: found.get(path) for path in missing}

    async def _before(self, id: str) -> dict[str, msgspec.Raw]:
        document = await self._known.document(ResourceKey(self.name, DEVICE, id))
        return {} if document is None else msgspec.json.decode(document, type=dict[str, msgspec.Raw])

    async def _answers(self, id: str, heard: _Heard) -> _Answers:
        answers = _Answers()
        for path in self._settings.paths:
            try:
                answers.documents[path] = await self._ask(id, path, heard)
            except SourceError as error:
                if not _may_be_about_one(error):
                    raise
                answers.faults[path] = str(error)
                if isinstance(error, DeviceFaultError) and error.code in _ALL_PATHS:
                    answers.is_offline = error.code == _OFFLINE
                    break
        return answers

    async def _ask(self, id: str, path: str, heard: _Heard) -> bytes | None:
        """Return what the controller has at a path, None where it has no such thing.

        Raises:
            SourceError: it could not be asked, or its answer cannot be stored.
        """
        try:
            response = await self._call("GET", id, path)
        except SourceError as error:
            heard.note(error)
            if error.status == _NOT_THERE and not isinstance(error, DeviceFaultError):
                return None
            raise
        heard.passed = True
        if fault := fault_in(response.body):
            raise ResourceError(f"{path}: cannot be stored: {fault}")
        try:
            response.decode(_SHAPE)
        except InvalidResponseError as error:
            raise ResourceError(f"{path}: {error}", status=response.status) from error
        return response.body

    async def _call(self, method: str, id: str, path: str, body: bytes | None = None) -> Response:
        device = segment(id, ResourceKey(self.name, DEVICE, id))
        headers = {"Remote-Query": f"{_PREFIX}{path}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return await self._http.send(
            Request(
                method=method,
                url=f"{self._base}/api/v1/devices/{device}/request?responseTimeout={_RESPONSE_TIMEOUT_S}",
                operation="call",
                is_relayed=True,
                headers=headers,
                body=body,
            )
        )

    @asynccontextmanager
    async def _turn(self, id: str) -> AsyncIterator[None]:
        """Wait until nobody else calls this device, and few call others."""
        turn = self._turns.setdefault(id, asyncio.Lock())
        async with turn, self._places:
            yield


_SHAPE: Any = dict[str, Any] | list[Any]
"""What a controller answers. That it has no such value it says with 404; null, say, is no answer of its own."""
_OFFLINE = "1000"
_ALL_PATHS = frozenset({_OFFLINE, "1001", "5001"})
"""What is wrong with a device whatever it is asked for."""


class _Reference(msgspec.Struct):
    """A property in the answer to a write of several."""

    message: str | None = None


class _Multiple(msgspec.Struct):
    """The answer to a write of several properties."""

    propertyReferences: list[_Reference]  # noqa: N815 - the service's name


def _value_of(document: bytes) -> object:
    """Return a property as declarations are compared with it: its value alone."""
    decoded: Any = msgspec.json.decode(document)
    return {"value": decoded["value"]} if isinstance(decoded, dict) and "value" in decoded else {}


def _scope(url: str, _settings: object) -> str:
    return f"relay {urlsplit(url).netloc.lower()}"


PROVIDER = Provider(kind=KIND, connect=CloudRelay, scope=_scope)
