"""An IoT Central application as a place."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from random import Random
from typing import Any, ClassVar
from urllib.parse import unquote

import msgspec

from fleetsync.simulator import Cloud, Options, SimRequest, SimResponse
from fleetsync.simulator.desk import Desk
from tests.simulation.place import Asked, Documents, Ids, Key, Place, Shown, Wish, decoded, without

_PATH = re.compile(r"/api/([a-zA-Z]+)(?:/([^/]+))?(/properties)?")
_TYPES = {
    "devices": "device",
    "deviceGroups": "device-group",
    "deviceTemplates": "device-template",
    "enrollmentGroups": "enrollment-group",
    "organizations": "organization",
}
_ODD = ("00:1B:44:11:3A:B7", "50%25-sensor", "boiler.cellar.2", "it's-(the)=one@home", "probe#7+a", "which?one!")


class Central(Place):
    """An application: devices with properties, groups, templates, enrollment groups, organizations."""

    kind = "iot-central"
    harmless = 'displayName = "renamed with all"'
    contradicting = 'displayName = "renamed by others"'
    operations: ClassVar[Mapping[str, float]] = {"*": 20.0}
    has_links = True
    pages_are_answers = True
    unknown_word = (b'"provisioned":false', b'"provisioned":"pending"')
    new_type = (b'"simulated":false', b'"simulated":{"is":false}')

    def make_cloud(self, now: Callable[[], float]) -> Cloud:
        random = self.random
        self.page_size = 3 if self.is_small else random.choice((2, 3, 5, 100))
        self.has_token = random.random() < 0.7
        self._ids = Ids(odd=_ODD)
        options = Options(
            listen=f"127.0.0.1:{self.port}",
            devices=self.fleet_size(),
            seed=random.randrange(1 << 30),
            rate=random.choice(("none", "20/s burst 20", "4/s burst 4 retry-after 3", "20/s burst 5 retry-after 2")),
            latency_s=0.0,
        )
        cloud = Cloud(options, now=now)
        self.token = cloud.credentials.api_token
        self.secrets = [self.token]
        for id in random.sample(_ODD, 1 if self.is_small else 2):
            cloud.add_device(id)
        return cloud

    def answer(self, request: SimRequest) -> SimResponse:
        target = request.target.replace("&maxpagesize=100", f"&maxpagesize={self.page_size}")
        return self.cloud.handle(
            SimRequest(method=request.method, target=target, headers=request.headers, body=request.body)
        )

    def desks(self) -> Iterable[Desk]:
        return (self.cloud.central._desk,)

    def grow(self, count: int) -> bool:
        # More pages than may be held at once: who keeps them all until the end is noticed.
        self.page_size = 9
        for number in range(count):
            # No declaration selects them: what is to be seen is that all are listed.
            self.cloud.add_device(f"many-{number:04}x")
        return True

    def truth(self) -> Documents:
        application = self.cloud.application
        self.cloud._life.advance(self.now())
        found: Documents = {}
        for type in _TYPES.values():
            collection = getattr(application, f"{type.replace('-', '_')}s")
            found |= {(type, entry.id): collection.document(entry) for entry in collection}
        for entry in application.devices:
            found["properties", entry.id] = application.twin(entry).document()
        return found

    def plain(self, key: Key, document: Any) -> Any:
        return without(document, ("etag", "primaryKey", "secondaryKey"))

    def asked(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Asked:
        match = _PATH.fullmatch(target.partition("?")[0])
        assert match is not None, target
        type, id = _TYPES[match[1]], unquote(match[2] or "")
        if not id:
            # The first page is asked for without a continuation.
            first = "continuation" not in target.lower() and "skiptoken" not in target.lower()
            return Asked(kind="list", type=type, operation="list", cursor=None if first else f"{self.url}{target}")
        is_write = method not in ("GET", "HEAD")
        guardable = not match[3] and type != "organization"
        operation = "write" if is_write else "read"
        return Asked(kind=operation, type=type, id=id, operation=operation, guardable=guardable)

    def shown(self, asked: Asked, answer: SimResponse) -> Shown | None:
        page = decoded(answer.body)
        name = "@id" if asked.type == "device-template" else "id"
        return Shown(ids=tuple(one[name] for one in page["value"]), cursor=page.get("nextLink") or None)

    def not_found(self, answer: SimResponse) -> bool:
        return answer.status == 404 and b'"NotFound"' in answer.body

    def own_lines(self) -> Iterable[str]:
        types = self.random.sample(sorted(set(_TYPES.values()) - {"device"}), self.random.randrange(3))
        self.listed = ("device", *types)
        return [f"resources = {msgspec.json.encode(list(self.listed)).decode()}"]

    def auth_lines(self) -> Iterable[str]:
        return (
            ('method = "api-token"', f'token = {{ file = "{self.name}.token" }}')
            if self.has_token
            else ('method = "none"',)
        )

    def owns(self, authorization: str | None) -> bool:
        # A request that waits while a token is replaced leaves with the one before.
        known = [*self.secrets, *(token.strip() for token in self.spoilt_tokens)]
        return authorization in known if self.has_token else authorization is None

    def rotate(self) -> Callable[[], None]:
        central = self.cloud.central
        new = f"SharedAccessSignature sr=0&sig={self.random.getrandbits(128):x}&skn=new&se=9999999999999"
        self.secrets.append(new)
        central._doorman = replace(central._doorman, api_token=new)

        def known() -> None:
            self.token = central._doorman.api_token  # another may be known by now, and later

        return known

    def disturb(self, random: Random, type: str, id: str) -> None:
        if type == "device" and id in self.cloud.application.devices.ids:
            what: Mapping[str, object] = random.choice(
                [{"displayName": f"{random.random()}"}, {"enabled": False}, {"note": f"{random.random()}"}]
            )
            self.cloud.operator_edit(id, what)
            if "note" in what:
                self.edits[("device", id), "note"] = what["note"]

    def edit_oddly(self, random: Random, members: Mapping[str, object]) -> Callable[[], None]:
        id = random.choice(self.cloud.application.devices.ids)
        self.cloud.operator_edit(id, members)

        def undo() -> None:
            if id in self.cloud.application.devices.ids:
                self.cloud.operator_edit(id, dict.fromkeys(members))

        return undo

    def files(self) -> Mapping[str, str]:
        return {f"{self.name}.token": self.token}

    def all_wishes(self) -> Iterable[Wish]:
        def is_device(key: Key, _document: Any, ends: str = "") -> bool:
            return key[0] == "device" and key[1].endswith(ends)

        yield Wish(
            name="named",
            toml=self.declare("named", 'displayName = "as declared"', "id LIKE '%1' OR id LIKE 'new%'"),
            selects=lambda key, _: key[0] == "device" and (key[1].endswith("1") or key[1].startswith("new")),
            holds=lambda document: document["displayName"] == "as declared",
        )
        yield Wish(
            name="on",
            toml=self.declare("on", "enabled = true", "NOT enabled"),
            selects=is_device,
            holds=lambda document: document["enabled"],
        )
        yield Wish(
            name="warm",
            toml=self.declare("warm", "properties.targetTemperature = 21.5", "id LIKE '%0000_'"),
            selects=lambda key, _: key[0] == "properties" and key[1][-5:-1] == "0000",
            holds=lambda twin: _wanted(twin, "targetTemperature") == 21.5,
        )

    def operate(self, random: Random) -> None:
        cloud = self.cloud
        ids = cloud.application.devices.ids
        id = random.choice(ids)
        match random.randrange(6):
            case 0 if len(ids) > 4:
                cloud.delete_device(id)
                self.deleted.add(("device", id))
                self._forget(id)
            case 1:
                id = random.choice([id, self._ids.next(random, self.deleted)])
                if id in ids:
                    self.deleted.add(("device", id))  # the one before it is gone
                    self.happened["a device made anew under its id"] += 1
                cloud.add_device(id)
                self._forget(id)
            case 2:
                cloud.operator_edit(id, {"properties": {"targetTemperature": random.randrange(9)}})
            case 3:
                cloud.operator_edit(id, {"enabled": random.random() < 0.5})
            case _:
                name, value = random.choice(["displayName", "note"]), f"{random.random()}"
                cloud.operator_edit(id, {name: value})
                if name == "note":
                    self.edits[("device", id), name] = value

    def _forget(self, id: str) -> None:
        self.edits = {edit: value for edit, value in self.edits.items() if edit[0][1] != id}


def _wanted(properties: Mapping[str, Any], name: str) -> object:
    """Return what was asked of a property, else what it is."""
    return properties.get("$metadata", {}).get(name, {}).get("desiredValue", properties.get(name))
