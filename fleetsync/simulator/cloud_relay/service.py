"""The Distech ECLYPSE Cloud Relay: HTTP that becomes a direct method of a device, and its answer HTTP again.

Facts (DistechControls/CloudRelay at commit 0fbcb1d, read 2026-11): one route; `Remote-Query` says what is asked of the
device; `responseTimeout` is clamped to 5 to 300 s; `environmentId` picks another hub; four headers reach the device and
two come back; a device that is not connected is said not to exist; every other failure of the hub, throttling too,
is 504. A device that is slow does what was asked of it, although nobody waits any more.

Not simulated: blobs for long bodies, Distech's own cloud, XML.
"""

import re
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qsl, unquote

from fleetsync.simulator.cloud_relay.answers import failed, plain, refused, relayed, unknown, without_remote_query
from fleetsync.simulator.cloud_relay.controllers import OBJECTS, PREFIX, Controller, text_of
from fleetsync.simulator.cloud_relay.rosters import Roster
from fleetsync.simulator.counters import KEPT, Call
from fleetsync.simulator.desk import Carried, Desk
from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.faults import Drawn
from fleetsync.simulator.life import Rhythm
from fleetsync.simulator.wire import Object, RefusedError, SimRequest, SimResponse

RESOURCE: Final = "api://fleetsync-simulated-relay"
"""What a bearer token has to be for: a relay is registered by whoever runs it."""

_ROUTE: Final = re.compile(r"/api/v1/devices/(?P<device>[^/]+)/request/?", re.IGNORECASE)
_METHODS: Final = frozenset({"GET", "PUT", "POST", "DELETE"})
_FORWARDED: Final = ("Accept", "Content-Type", "Content-Disposition", "Content-Length")
_WHOLE: Final = re.compile(r"[+-]?\d{1,9}")
_DEFAULT_TIMEOUT_S: Final = 30
_MOST_BYTES: Final = 131_072
_DAY_S: Final = 86_400

Mood: TypeAlias = Literal["well", "offline", "slow", "rubbish", "hollow", "large"]
"""How a device answers: rubbish is no JSON object, hollow is nothing at all, large is too much of `info/network`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How many devices have which mood, and how many answer in the old form, with the status inside `headers`.

    What a roster says is not connected is offline besides. A slow device takes `slow_s`.
    """

    offline: float = 0.05
    slow: float = 0.01
    rubbish: float = 0.02
    hollow: float = 0.01
    large: float = 0.02
    old_form: float = 0.5
    slow_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCall:
    """One request for one device; `at_once` counts the calls of that device that were under way, with this one."""

    at: float
    ends_at: float
    device_id: str
    method: str
    remote: str
    status: int
    at_once: int


@dataclass(slots=True, kw_only=True)
class RelayDoorman:
    """Admits holders of a bearer token for the relay, on plain HTTP anybody without."""

    bearer: Callable[[str, str], bool]
    anonymous: bool

    def admits(self, authorization: str | None) -> bool:
        """Say whether a request may pass."""
        if authorization is None:
            return self.anonymous
        scheme, _, token = authorization.partition(" ")
        return scheme == "Bearer" and self.bearer(token, RESOURCE)


@dataclass(slots=True)
class _Books:
    """Who is called, by device and altogether."""

    calls: deque[DeviceCall] = field(default_factory=lambda: deque(maxlen=KEPT))
    _ends: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    most: int = 0

    def under_way(self, at: float) -> int:
        return sum(len(self.of(device_id, at)) for device_id in tuple(self._ends))

    def of(self, device_id: str, at: float) -> list[float]:
        ends = [end for end in self._ends.get(device_id, ()) if end > at]
        if ends:
            self._ends[device_id] = ends
        else:
            self._ends.pop(device_id, None)
        return ends

    def note(self, call: DeviceCall) -> None:
        self._ends[call.device_id].append(call.ends_at)
        self.calls.append(call)
        self.most = max(self.most, call.at_once)


class CloudRelay:
    """One relay; `shares`, `moods`, `most_at_once` and `daily_quota` may be set while it runs.

    `moods` overrules the shares, by device. More than `most_at_once` calls under way is the throttle of the hub.
    """

    def __init__(self, roster: Roster, desk: Desk, doorman: RelayDoorman, rhythm: Rhythm, *, seed: int) -> None:
        self.roster = roster
        self.shares = Shares()
        self.moods: dict[str, Mood] = {}
        self.most_at_once: int | None = None
        self.daily_quota: int | None = None
        self.environments: frozenset[str] = frozenset()
        self._desk = desk
        self._doorman = doorman
        self._rhythm = rhythm
        self._seed = seed
        self._random = Random(f"{seed}:relay-life")
        self._controllers: dict[str, Controller] = {}
        self._used: tuple[int, int] = (0, 0)
        self._books = _Books()

    def handle(self, request: SimRequest) -> SimResponse:
        """Answer a request as the relay would, now."""
        self._live()
        return self._desk.serve(request, self)

    def renew(self) -> None:
        """Begin the meter and the log anew."""
        self._desk.renew()
        self._books = _Books()

    # What a desk asks

    def recognise(self, request: SimRequest) -> Call:
        """Say what a request is about, without doing or refusing anything."""
        match = _ROUTE.fullmatch(request.path)
        if match is None:
            return Call(kind="read", type="unknown")
        is_read = request.method not in ("POST", "PUT", "DELETE")
        remote = (request.header("Remote-Query") or "").removeprefix(f"{PREFIX}/")
        members = () if is_read else (remote,)
        return Call(kind="read" if is_read else "write", type="relayed", id=unquote(match["device"]), members=members)

    def admit(self, request: SimRequest) -> None:
        """Let the request pass, or raise RefusedError for want of a route, of a method or of a good token."""
        if _ROUTE.fullmatch(request.path) is None:
            raise RefusedError(404, "", "no such route")
        if request.method not in _METHODS:
            raise RefusedError(405, "", "no such method")
        if not self._doorman.admits(request.header("Authorization")):
            raise RefusedError(401, "", "no good token")

    def carry_out(self, request: SimRequest, call: Call, faults: Drawn) -> Carried:  # noqa: ARG002  # the desk's
        """Call the device, and enter that in the books; the relay's own refusals never get so far."""
        remote = request.header("Remote-Query")
        if not remote:
            return Carried(answer=without_remote_query())
        wanted = {name.lower(): value for name, value in parse_qsl(request.query, keep_blank_values=True)}
        timeout = wanted.get("responsetimeout", str(_DEFAULT_TIMEOUT_S))
        if not _WHOLE.fullmatch(timeout):
            return Carried(answer=refused(400, 100))
        environment = wanted.get("environmentid")
        if environment is not None and environment not in self.environments:
            return Carried(answer=unknown(environment, 3000))
        at = self._desk.now()
        at_once = len(self._books.of(call.id, at)) + 1
        carried = self._called(request, call.id, remote, timeout_s=min(max(int(timeout), 5), 300))
        took_s = carried.answer.delay_s + self._desk.latency_s
        self._books.note(
            DeviceCall(
                at=at,
                ends_at=at + took_s,
                device_id=call.id,
                method=request.method,
                remote=remote,
                status=carried.answer.status,
                at_once=at_once,
            )
        )
        return carried

    def refuse(self, status: int, code: str, message: str) -> SimResponse:  # noqa: ARG002  # the desk's
        """Return what is answered before a device is called."""
        return plain(status, code)

    # What tests and puppets ask

    def truth(self) -> list[Object]:
        """Return every device as it really is now: whether it can be reached, and what its controller shows."""
        self._live()
        found = []
        for device_id in self.roster.ids():
            controller = self._controller(device_id)
            paths = ("info", "info/device", "info/network", "info/bacnet")
            found.append(
                {
                    "deviceId": device_id,
                    "mood": self.mood(device_id),
                    "resources": {path: controller.document(path) for path in paths},
                    "written": dict(controller.written),
                }
            )
        return found

    def mood(self, device_id: str) -> Mood | None:
        """Return how a device answers now; None where it is not registered."""
        standing = self.roster.standing(device_id)
        if standing is None:
            return None
        return self._mood(device_id) if standing.is_connected else "offline"

    def value(self, device_id: str, path: str) -> str | None:
        """Return the value of a property as it really is."""
        return self._controller(device_id).value(path)

    def operator_edit(self, device_id: str, path: str, value: str) -> bool:
        """Set a property as somebody at the controller would; return whether it is another value now.

        Raises:
            SimulatorError: there is no such device or property, or it does not take the value.
        """
        if self.roster.standing(device_id) is None:
            raise SimulatorError(f'no device "{device_id}" behind the simulated relay')
        try:
            changed = self._controller(device_id).put(path, value)
        except ValueError as error:
            raise SimulatorError(f"{path}: {error}") from error
        at, patch = self._desk.now(), {path: value}
        self._desk.counters.note_operator(at=at, type="relayed", id_=device_id, patch=patch, changed=changed)
        return changed

    def operator_patch(self, device_id: str, patch: Mapping[str, object]) -> bool:
        """Set several properties, by path; see `operator_edit`."""
        return sum(self.operator_edit(device_id, path, str(value)) for path, value in patch.items()) > 0

    def calls(self, device_id: str | None = None) -> tuple[DeviceCall, ...]:
        """Return the last calls, of one device or of all, oldest first."""
        return tuple(call for call in self._books.calls if device_id in (None, call.device_id))

    @property
    def most_per_device(self) -> int:
        """Return the most calls that one device ever had at once."""
        return self._books.most

    # The call

    def _called(self, request: SimRequest, device_id: str, remote: str, *, timeout_s: float) -> Carried:
        refusal = self._refusal(device_id)
        if refusal is not None:
            return Carried(answer=refusal)
        controller, mood = self._controller(device_id), self._mood(device_id)
        before = dict(controller.written)
        status, document = controller.answer(request.method, remote, _forwarded(request))
        changed = controller.written != before
        took_s = self.shares.slow_s if mood == "slow" else 0.0
        if took_s > timeout_s:
            return Carried(answer=replace(refused(504, 1001), delay_s=timeout_s), changed=changed)
        if mood == "large" and "info/network" in remote:
            document = {**document, "log": "x" * _MOST_BYTES}
        answer = replace(self._answer(device_id, mood, status, document), delay_s=took_s)
        return Carried(answer=answer, changed=changed)

    def _refusal(self, device_id: str) -> SimResponse | None:
        """Return why the hub does not call a device; None where it does."""
        day = int(self._desk.now() // _DAY_S)
        used = self._used[1] if self._used[0] == day else 0
        if self.daily_quota is not None and used >= self.daily_quota:
            return refused(503, 5002)
        self._used = (day, used + 1)
        standing = self.roster.standing(device_id)
        if standing is None or self.mood(device_id) == "offline":
            return unknown(device_id, 1000)
        if not standing.is_enabled:
            return refused(503, 5001)
        if self.most_at_once is not None and self._books.under_way(self._desk.now()) >= self.most_at_once:
            return refused(504, 1001)
        return None

    def _answer(self, device_id: str, mood: Mood, status: int, document: Object) -> SimResponse:
        if mood == "hollow":
            return failed()
        if mood == "rubbish":
            return refused(502, 1002)
        body = text_of(document)
        if len(body) > _MOST_BYTES:
            return refused(502, 1003)
        headers: Object = {"Content-Type": "application/json"}
        if self._draw(device_id, "form") < self.shares.old_form:
            return relayed({"headers": {"status": status, **headers}, "body": body})
        return relayed({"status": status, "headers": headers, "body": body})

    def _mood(self, device_id: str) -> Mood:
        if device_id in self.moods:
            return self.moods[device_id]
        luck, shares = self._draw(device_id, "mood"), self.shares
        bounds: Mapping[Mood, float] = {
            "offline": shares.offline,
            "slow": shares.slow,
            "rubbish": shares.rubbish,
            "hollow": shares.hollow,
            "large": shares.large,
        }
        for mood, share in bounds.items():
            if luck < share:
                return mood
            luck -= share
        return "well"

    def _draw(self, device_id: str, what: str) -> float:
        return Random(f"{self._seed}:relay:{what}:{device_id}").random()

    def _controller(self, device_id: str) -> Controller:
        return self._controllers.setdefault(device_id, Controller(self._seed, device_id))

    def _live(self) -> None:
        """Live through what somebody at the controllers does."""
        for _ in self._rhythm.until(self._desk.now()):
            ids = self.roster.ids()
            if ids:
                path = f"{OBJECTS}/analog-value/{self._random.randrange(1, 5)}/properties/present-value"
                self.operator_edit(self._random.choice(ids), path, f"{self._random.randrange(30, 60) / 2:g}")


def _forwarded(request: SimRequest) -> SimRequest:
    """Return what reaches the device: four headers, and no body of a GET or DELETE."""
    bodiless = request.method in ("GET", "DELETE")
    names = ("Accept",) if bodiless else _FORWARDED
    headers = {name: value for name in names if (value := request.header(name)) is not None}
    return replace(request, headers=headers, body=b"" if bodiless else request.body)
