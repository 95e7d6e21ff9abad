"""A Cloud Relay as a place: controllers that are asked one by one, by a roster of the configuration or of a hub."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, ClassVar, get_args
from urllib.parse import unquote

import msgspec

from fleetsync.simulator import Cloud, Options, SimRequest, SimResponse
from fleetsync.simulator.cloud_relay.controllers import OBJECTS, PREFIX, WRITE_MULTIPLE, Controller
from fleetsync.simulator.cloud_relay.rosters import Standing
from fleetsync.simulator.cloud_relay.service import Mood, Shares
from fleetsync.simulator.desk import Desk
from tests.simulation.odd_ids import ODD_IDS, UNASKABLE
from tests.simulation.place import Asked, Documents, Key, Place, Shown, Wish
from tests.simulation.place_hub import Hub
from tests.simulation.process import BEGINNING

ONE, TWO, THREE, FOUR = (f"{OBJECTS}/analog-value/{number}/properties/present-value" for number in range(1, 5))
_MOODS: tuple[Mood, ...] = tuple(mood for mood in get_args(Mood) if mood != "well")
_TOLD = {
    "offline": "is not connected",
    "slow": "is slow",
    "rubbish": "answers rubbish",
    "hollow": "answers nothing",
    "large": "answers too much",
}
_WELL = Shares(offline=0.0, slow=0.0, rubbish=0.0, hollow=0.0, large=0.0)


class Relay(Place):
    """A relay with some controllers, one of which may be unplugged for good."""

    kind = "cloud-relay"
    operations: ClassVar[Mapping[str, float]] = {"call": 5.0}
    harmless = f'"{FOUR}".value = "31"'
    contradicting = f'"{FOUR}".value = "32"'
    listed = ("device",)
    begins_only: ClassVar[frozenset[str]] = frozenset({"device"})
    takes_odd_texts = False
    has_lists = False
    has_etags = False
    new_type = (b'"isArray":false', b'"isArray":"no"')
    has_daily_quota = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._troubled_s = 0.0
        self._moods: dict[str, Mood] = {}
        self.hub: Hub | None = None
        super().__init__(*arguments, **options)
        # Every device costs a call for each path: few, and not too often.
        self.interval_s = 120 if self.is_small else max(300, self.interval_s)

    def make_cloud(self, now: Callable[[], float]) -> Cloud:
        random = self.random
        options = Options(
            listen="127.0.0.1:1",
            relay_listen=f"127.0.0.1:{self.port}",
            kinds=(self.kind,),
            relay_devices=2 if self.is_small else random.randint(1, 3),
            relay_shares=_WELL,
            seed=random.randrange(1 << 30),
            latency_s=0.0,
        )
        cloud = Cloud(options, now=now)
        cloud.relay.shares = replace(_WELL, slow_s=random.choice((8.0, 20.0, 70.0)))
        own = cloud.relay.roster
        odd = random.sample(sorted(ODD_IDS), 1 if self.is_small else 4)
        own.devices |= dict.fromkeys((ODD_IDS[name] for name in odd), Standing())  # type: ignore[attr-defined]  # its own
        self.roster = [*own.ids()]
        self.dropped: set[str] = set()
        self.mute = self.roster[0] if random.random() < 0.3 and not self.is_small else ""
        self.paths = random.choice((("info",), ("info/device", TWO), (TWO,)))
        self.at_once = random.random() < 0.5
        self._moods = cloud.relay.moods
        self._limits(cloud)
        return cloud

    def _limits(self, cloud: Cloud) -> None:
        if self.mute:
            cloud.relay.moods[self.mute] = "offline"

    # Whom it knows

    def meet(self, others: Sequence[Place]) -> None:
        hubs = [one for one in others if isinstance(one, Hub)]
        if hubs and (self.random.random() < 0.8 or self.is_small):
            self.hub, self.mute = hubs[0], ""
            self.paths = self.paths[-1:]
            self.recover()
            self.cloud.relay.roster = self
            self.happened["a roster that is another source"] += 1
        for name, id in ODD_IDS.items():
            if id in UNASKABLE and id in self.roster_now():
                self.happened[name] += 1  # no request will tell

    def ids(self) -> tuple[str, ...]:
        """Return who is registered, as the relay sees it."""
        return self.roster_now()

    def standing(self, device_id: str) -> Standing | None:
        """Return how a device stands; None where it is not registered."""
        return Standing() if device_id in self.roster_now() else None

    def roster_now(self) -> tuple[str, ...]:
        """Return the ids that the product should go by."""
        return tuple(self.roster) if self.hub is None else tuple(self.hub.cloud.hub.state.registry.ids)

    def knows(self, key: Key) -> bool:
        return super().knows(key) or (self.hub is not None and self.hub.knows(key))

    def explains_gone(self, key: Key) -> bool | None:
        return key[1] in self.dropped if self.hub is None else key in self.hub.gone_ever

    def can_tell(self, id: str) -> bool:
        return id != self.mute

    @property
    def troubled_s(self) -> float:  # type: ignore[override]  # it follows from others
        """Return when something last went wrong, with it, with one of its devices, or with whom it goes by."""
        if any(id != self.mute for id in self._moods):
            return self.now() - BEGINNING.timestamp()
        return max(self._troubled_s, self.hub.troubled_s if self.hub is not None else 0.0)

    @troubled_s.setter
    def troubled_s(self, at_s: float) -> None:
        self._troubled_s = at_s

    # The service

    def answer(self, request: SimRequest) -> SimResponse:
        return self.cloud.handle_relay(request)

    def desks(self) -> Iterable[Desk]:
        return (self.cloud.relay._desk,)

    def truth(self) -> Documents:
        relay = self.cloud.relay
        found: Documents = {}
        for id in self.roster_now():
            controller = relay._controller(id)
            found["device", id] = {"deviceId": id, **{path: controller.document(path) for path in self.paths}}
            if id != self.mute and id not in UNASKABLE:
                found["values", id] = {path: controller.value(path) for path in (ONE, THREE)}
        return found

    def plain(self, key: Key, document: Any) -> Any:
        names = ("deviceId",) if key[1] == self.mute or key[1] in UNASKABLE else ("deviceId", *self.paths)
        return {name: document.get(name) for name in names}

    def asked(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Asked:
        id = unquote(target.split("/")[4])
        piece = headers.get("Remote-Query", "").removeprefix(f"{PREFIX}/")
        if piece == WRITE_MULTIPLE:
            first = msgspec.json.decode(body)["propertyReferences"][0]
            piece = f"{OBJECTS}/{first['type']}/{first['instance']}/properties/{first['property']}"
        kind = "read" if method == "GET" else "write"
        return Asked(kind=kind, type="device", id=id, operation="call", guardable=False, piece=piece)

    def shown(self, asked: Asked, answer: SimResponse) -> Shown | None:
        return None

    def not_found(self, answer: SimResponse) -> bool:
        return False

    def own_lines(self) -> Iterable[str]:
        roster = msgspec.json.encode(self.roster).decode()
        return [
            f"roster = {roster}" if self.hub is None else f'roster = {{ source = "{self.hub.name}" }}',
            f"paths = {msgspec.json.encode(self.paths).decode()}",
            f"write_multiple = {str(self.at_once).lower()}",
        ]

    def all_wishes(self) -> Iterable[Wish]:
        yield Wish(
            name="warm",
            toml=self.declare("warm", f'"{ONE}".value = "21.5"', ""),
            selects=lambda key, _: key[0] == "values",
            holds=lambda values: values[ONE] == "21.5",
        )
        yield Wish(
            name="cold",
            toml=self.declare("cold", f'"{THREE}".value = "17"', "id LIKE '%1' OR id LIKE '%e'"),
            selects=lambda key, _: key[0] == "values" and key[1][-1] in "1eE",
            holds=lambda values: values[THREE] == "17",
        )

    # What others do

    def drop(self) -> Callable[[], None] | None:
        """Take a device out of the configured roster; return what puts it back, or None where there are too few."""
        if self.hub is not None or len(self.roster) < 4:
            return None
        id = self.random.choice([one for one in self.roster if one != self.mute])
        self.roster.remove(id)
        self.dropped.add(id)
        self.deleted.add(("device", id))
        return lambda: self.roster.append(id)

    def spend_quota(self) -> None:
        self.cloud.relay.daily_quota = 0

    def queue(self, seconds: float) -> None:
        """Let every call take so long, and let one pass at a time: the others wait until they time out."""
        self.cloud.relay.most_at_once = 1
        self.cloud.relay._desk.latency_s = seconds

    def recover(self) -> None:
        relay = self.cloud.relay
        relay.daily_quota = relay.most_at_once = None
        relay._desk.latency_s = 0.0
        relay.moods.clear()
        self._limits(self.cloud)

    def change_etags(self, exchange: Any, text: bytes) -> bool:
        return False

    def disturb(self, random: Random, type: str, id: str) -> None:
        if id in self.roster_now():
            self.cloud.relay.operator_edit(id, random.choice((ONE, TWO, THREE)), f"{random.randrange(30, 60) / 2:g}")
            self.happened["a value that a controller changes by itself"] += 1

    def operate(self, random: Random) -> None:
        relay = self.cloud.relay
        ids = self.roster_now()
        id = random.choice(ids)
        match random.randrange(5):
            case 0 if id != self.mute:
                relay.moods[id] = mood = random.choice(_MOODS)
                self.happened[f"a controller that {_TOLD[mood]}"] += 1
            case 1:
                relay.moods.pop(id, None)
                self._limits(self.cloud)
            case 2:
                # Another controller under the same id.
                written = relay._controller(id).written
                relay._controllers[id] = Controller(random.randrange(1 << 30), id, dict(written))
                self.happened["a device made anew under its id"] += 1
            case _:
                self.disturb(random, "device", id)

    def edit_oddly(self, random: Random, members: Mapping[str, object]) -> Callable[[], None]:
        return lambda: None
