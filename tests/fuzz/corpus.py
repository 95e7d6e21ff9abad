"""What services really answer, asked of the built-in cloud: where bending begins."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from fleetsync.core.kind import Kind
from fleetsync.core.model import Cursor, Part, ResourceKey, ResourceType
from fleetsync.errors import FleetsyncError
from fleetsync.providers.base import Endpoint, Source, kinds, load
from fleetsync.simulator import KINDS, Cloud, Options, Shares
from fleetsync.transport.http import Http, Request, Response
from tests.fakes.clock import FakeClock
from tests.fakes.http import CloudHttp
from tests.fakes.known import KnownDocuments

_OPTIONS: dict[str, Any] = {
    "devices": 4,
    "rate": "none",
    "arm_rate": "none",
    "sphere_rate": "none",
    "latency_s": 0.0,
    "relay_devices": 9,
    "relay_shares": Shares(offline=0, slow=0, rubbish=0, hollow=0, large=0),
}
_PATHS = (("info", "value"),)
"""What is read of a part that is read piecemeal."""
_LOOP = asyncio.new_event_loop()
_CLOCK = FakeClock()


@dataclass
class _Recording:
    """Sends to the built-in cloud and keeps what came back."""

    http: Http
    bodies: list[bytes] = field(default_factory=list)

    async def send(self, request: Request) -> Response:
        response = await self.http.send(request)
        self.bodies.append(response.body)
        return response


@dataclass
class _Replay:
    """Gives one answer after the other, whatever the question; the last one to all that follow."""

    bodies: list[bytes]

    async def send(self, _request: Request) -> Response:
        body = self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]
        return Response(status=200, headers={}, body=body)


@dataclass(frozen=True, slots=True)
class Question:
    """Something that a source is asked, what its service answered, and the one of these answers that is bent."""

    kind: str
    name: str
    ask: Callable[[Source], Coroutine[Any, Any, Any]]
    answers: tuple[bytes, ...]
    at: int

    @property
    def answer(self) -> bytes:
        """Return the answer that is bent, as it was."""
        return self.answers[self.at]

    def asked(self, body: bytes) -> tuple[Source, Any]:
        """Return the source, and what it makes of another answer.

        Raises:
            FleetsyncError: as the source does.
        """
        bodies = list(self.answers)
        bodies[self.at] = body
        source = connect(self.kind, _Replay(bodies))
        return source, run(self.ask(source))


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Return what comes of something, on a clock that does not make us wait."""
    return _LOOP.run_until_complete(_CLOCK.run(work))


def connect(kind: str, http: Http) -> Source:
    """Return a source of this kind, of the built-in cloud, that sends with `http`."""
    cloud = _cloud()
    url, own = {
        "iot-central": (cloud.url, {}),
        "iot-hub": (cloud.hub_url, {}),
        "sphere-legacy": (cloud.sphere_url, {"tenant": cloud.sphere.tenant.id}),
        "sphere-arm": (cloud.arm_url, {"subscription": cloud.arm.subscription}),
        "iot-hub-arm": (cloud.arm_url, {"subscription": cloud.arm.subscription}),
        "cloud-relay": (cloud.relay_url, {"roster": cloud.relay.roster.ids(), "paths": ("info",)}),
    }[kind]
    provider = load(kind)
    settings = provider.kind.settings(**own)
    return provider.connect(
        Endpoint(name="s", url=url, http=http, known=KnownDocuments(), clock=_CLOCK, settings=settings)
    )


@cache
def _cloud() -> Cloud:
    return Cloud(Options(listen="127.0.0.1:8080", kinds=KINDS, **_OPTIONS), now=lambda: _CLOCK.now().timestamp())


@cache
def questions() -> tuple[Question, ...]:
    """Return every question that there is: each kind's lists, reads and details."""
    return tuple(question for kind in kinds() for question in _questions(load(kind).kind))


def _questions(kind: Kind) -> list[Question]:
    found: list[Question] = []

    def note(name: str, ask: Callable[[Source], Coroutine[Any, Any, Any]]) -> Any:
        recording = _Recording(CloudHttp(_cloud(), _CLOCK))
        try:
            answer = run(ask(connect(kind.name, recording)))
        except FleetsyncError:  # the sample fleet has none of these
            answer = None
        bodies = tuple(recording.bodies) or (b"{}",)
        found.extend(Question(kind.name, name, ask, bodies, at) for at in range(len(bodies)))
        return answer

    for type, spec in kind.specs.items():
        page = note(f"{type} page", partial(_page, type=type))
        id = page.resources[-1].id if page and page.resources else "a-device"
        key = ResourceKey("s", type, id)
        note(f"{type} read", partial(_read, key=key))
        for part in spec.details:
            note(f"{type} {part}", partial(_detail, key=key, part=part))
    return found


async def _page(source: Source, *, type: ResourceType, cursor: Cursor | None = None) -> Any:
    return await source.page(type, cursor)


async def _read(source: Source, *, key: ResourceKey) -> Any:
    return await source.read(key)


async def _detail(source: Source, *, key: ResourceKey, part: Part) -> Any:
    return await source.detail_at(key, part, _PATHS)
