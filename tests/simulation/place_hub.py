"""An IoT Hub as a place."""

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from random import Random
from typing import Any, ClassVar
from urllib.parse import unquote

import msgspec

from fleetsync.simulator import Cloud, Options, SimRequest, SimResponse
from fleetsync.simulator.desk import Desk
from fleetsync.simulator.wire import RefusedError
from tests.simulation.place import Asked, Documents, Ids, Key, Place, Shown, Wish, decoded, without

_ODD = ("50%25-sensor", "boiler.cellar.2", "it's-(the)=one@home", "probe#7+a", "which?one!", "00:1B:44")
_NOT_FOUND = (b"DeviceNotFound", b"ModuleNotFound", b"ConfigurationNotFound")
_ALIVE = ("connectionState", "lastActivityTime", "cloudToDeviceMessageCount", "configurations")
_SECRET = ("registryCredentials", "createOptions", "results")


class Hub(Place):
    """A hub: devices and modules in a query index that lags, configurations."""

    kind = "iot-hub"
    harmless = "tags.all = 1"
    contradicting = "tags.all = 2"
    has_daily_quota = True
    unknown_word = (b'"status":"enabled"', b'"status":"hibernating"')
    new_type = (b'"modelId":""', b'"modelId":{"id":1}')
    operations: ClassVar[Mapping[str, float]] = {
        "query": 5.0,
        "twin_read": 20.0,
        "twin_write": 10.0,
        "registry": 5.0,
        "configuration": 2.0,
    }
    faults = ("failing-over:0.2", "short-page=0.5:0.5")

    def make_cloud(self, now: Callable[[], float]) -> Cloud:
        random = self.random
        self.has_token = random.random() < 0.5
        self._ids = Ids(odd=_ODD)
        self.longest_lag_s = random.choice((0.0, 5.0, 90.0))
        options = Options(
            listen="127.0.0.1:1",
            hub_listen=f"127.0.0.1:{self.port}",
            kinds=("iot-hub",),
            hub_devices=self.fleet_size(),
            hub_page_size=3 if self.is_small else random.choice((2, 3, 5, 100)),
            hub_tier=random.choice(("none", "none", "S1")),
            index_lag_s=self.longest_lag_s,
            seed=random.randrange(1 << 30),
            rate="none",
            latency_s=0.0,
        )
        cloud = Cloud(options, now=now)
        self.secrets = [policy.key for policy in cloud.hub.doorman.policies.values()]
        self.token = cloud.hub.doorman.connection_string()
        for id in random.sample(_ODD, 1 if self.is_small else 2):
            if id not in cloud.hub.state.registry.ids:
                cloud.hub.add_device(id)
        self._expired: set[str] = set()
        cloud.hub.doorman = _Forgetful(cloud.hub.doorman, self._expired)
        return cloud

    def answer(self, request: SimRequest) -> SimResponse:
        return self.cloud.handle_hub(request)

    def desks(self) -> Iterable[Desk]:
        return self.cloud.hub._frontage.desks.values()

    def expire_token(self, authorization: str) -> None:
        """Refuse a token from now on, as after its end."""
        self._expired.add(authorization)

    def fight(self) -> Callable[[], None]:
        """Let a configuration of the service want another value than we do; return what ends it."""
        state = self.cloud.hub.state
        content = {"deviceContent": {"properties.desired.target": 33}}
        body = {"schemaVersion": "1.0", "labels": {}, "content": content, "targetCondition": "*", "priority": 20}
        state.configurations.put("fights", body, at=self.now())
        state.watch_all(at=self.now())

        def end() -> None:
            if state.configurations.get("fights") is not None:  # of two fights the first one's end is that of both
                state.configurations.remove("fights")

        return end

    def truth(self) -> Documents:
        hub = self.cloud.hub
        found: Documents = {}
        for one in hub.truth():
            found["device", one["twin"]["deviceId"]] = one["twin"]
            for module in one["modules"]:
                found["module", f"{module['deviceId']}/{module['moduleId']}"] = module
        return found | {("configuration", one.id): one.document() for one in hub.state.configurations}

    def plain(self, key: Key, document: Any) -> Any:
        return without(document, (*_ALIVE, *_SECRET))

    def asked(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Asked:
        path = target.partition("?")[0]
        words = [unquote(word) for word in path.removeprefix("/").split("/")]
        is_write = method not in ("GET", "HEAD")
        match words:
            case ["devices", "query"]:
                type = "module" if b"devices.modules" in body else "device"
                return Asked(kind="list", type=type, operation="query", cursor=headers.get("x-ms-continuation"))
            case ["twins", device, *below]:
                id, type = (f"{device}/{below[1]}", "module") if below else (device, "device")
                operation = "twin_write" if is_write else "twin_read"
                return Asked(kind="write" if is_write else "read", type=type, id=id, operation=operation)
            case ["devices", device]:
                kind = "write" if is_write else "read"
                return Asked(kind=kind, type="device", id=device, operation="registry", is_probe=not is_write)
            case ["configurations"]:
                return Asked(kind="list", type="configuration", operation="configuration")
            case ["configurations", id]:
                kind = "write" if is_write else "read"
                return Asked(kind=kind, type="configuration", id=id, operation="configuration")
            case _:
                return Asked(kind="read", type="statistics", operation="registry")

    def shown(self, asked: Asked, answer: SimResponse) -> Shown | None:
        page = decoded(answer.body)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        ids = tuple(_id(asked.type, one) for one in page)
        return Shown(ids=ids, cursor=headers.get("x-ms-continuation") or None)

    def not_found(self, answer: SimResponse) -> bool:
        return answer.status == 404 and any(name in answer.body for name in _NOT_FOUND)

    def own_lines(self) -> Iterable[str]:
        self.listed = self.random.choice((("device",), ("device", "module"), ("device", "module", "configuration")))
        tier = self.cloud.options.hub_tier
        return [
            f"resources = {msgspec.json.encode(list(self.listed)).decode()}",
            f'tier = "{tier if tier != "none" else "S3"}"',
        ]

    def auth_lines(self) -> Iterable[str]:
        if not self.has_token:
            return ('method = "none"',)
        return ('method = "shared-access-key"', f'connection_string = {{ file = "{self.name}.token" }}')

    def owns(self, authorization: str | None) -> bool:
        if not self.has_token:
            return authorization is None
        return authorization is not None and f"sr=127.0.0.1%3A{self.port}" in authorization

    def rotate(self) -> Callable[[], None]:
        policies = self.cloud.hub.doorman.policies
        key = base64.b64encode(self.random.randbytes(32)).decode()
        self.secrets.append(key)
        policies["iothubowner"] = replace(policies["iothubowner"], key=key)

        def known() -> None:
            self.token = self.cloud.hub.doorman.connection_string()

        return known

    def spend_quota(self) -> None:
        quota = self.cloud.hub.quota
        quota.limit = quota.used(self.now())

    def recover(self) -> None:
        self.cloud.hub.quota.limit = None

    def disturb(self, random: Random, type: str, id: str) -> None:
        if type == "device" and id in self.cloud.hub.state.registry.ids:
            note = f"{random.random()}"
            what: Mapping[str, object] = random.choice(
                [{"tags": {"note": note}}, {"status": "disabled"}, {"tags": {"ours": note}}]
            )
            self.cloud.hub.operator_edit(id, what)
            if what.get("tags") == {"note": note}:
                self.edits[("device", id), "tags.note"] = note

    def edit_oddly(self, random: Random, members: Mapping[str, object]) -> Callable[[], None]:
        hub = self.cloud.hub
        id = random.choice(sorted(hub.state.registry.ids))
        hub.operator_edit(id, {"tags": members})

        def undo() -> None:
            if id in hub.state.registry.ids:
                hub.operator_edit(id, {"tags": dict.fromkeys(members)})

        return undo

    def files(self) -> Mapping[str, str]:
        return {f"{self.name}.token": self.token}

    def all_wishes(self) -> Iterable[Wish]:
        yield Wish(
            name="noted",
            toml=self.declare("noted", 'tags.ours = "as declared"', "id LIKE '%1' OR id LIKE 'new%'"),
            selects=lambda key, _: key[0] == "device" and (key[1].endswith("1") or key[1].startswith("new")),
            holds=lambda twin: twin.get("tags", {}).get("ours") == "as declared",
        )
        yield Wish(
            name="on",
            toml=self.declare("on", 'status = "enabled"', "NOT enabled"),
            selects=lambda key, _: key[0] == "device",
            holds=lambda twin: twin["status"] == "enabled",
        )
        yield Wish(
            name="warm",
            toml=self.declare("warm", "properties.desired.target = 21.5", "id LIKE '%0000_'"),
            selects=lambda key, _: key[0] == "device" and key[1][-5:-1] == "0000",
            holds=lambda twin: twin["properties"]["desired"].get("target") == 21.5,
            is_theirs=lambda twin: "$lastUpdatedBy" in twin["properties"]["desired"]["$metadata"].get("target", {}),
        )

    def operate(self, random: Random) -> None:
        hub = self.cloud.hub
        ids = sorted(hub.state.registry.ids)
        id = random.choice(ids)
        self.happened["an index that lags"] += self.longest_lag_s > 0
        match random.randrange(8):
            case 0 if len(ids) > 4:
                hub.delete_device(id)
                self._forget(id)
            case 1:
                new = self._ids.next(random, self.deleted)
                if new not in ids:
                    hub.add_device(new)
            case 2:
                hub.recreate_device(id)
                self.happened["a device made anew under its id"] += 1
                self._forget(id)
            case 3:
                hub.report(id, {"temperature": random.random()})
            case 4:
                hub.operator_edit(id, {"status": random.choice(["enabled", "disabled"])})
            case 5:
                hub.operator_edit(id, {"properties": {"desired": {"target": random.random()}}})
            case _:
                name, value = random.choice(["note", "ours"]), f"{random.random()}"
                hub.operator_edit(id, {"tags": {name: value}})
                if name == "note":
                    self.edits[("device", id), "tags.note"] = value

    def _forget(self, id: str) -> None:
        self.deleted.add(("device", id))
        self.edits = {edit: value for edit, value in self.edits.items() if edit[0][1] != id}


class _Forgetful:
    """A doorman who may call a token over before its time."""

    def __init__(self, doorman: Any, expired: set[str]) -> None:
        self._doorman = doorman
        self._expired = expired

    def __getattr__(self, name: str) -> Any:
        return getattr(self._doorman, name)

    def admit(self, authorization: str | None, **asked: Any) -> None:
        if authorization in self._expired:
            raise RefusedError(401, "IotHubUnauthorizedAccess", "Unauthorized")
        self._doorman.admit(authorization, **asked)


def _id(type: str, entry: Any) -> str:
    if type == "configuration":
        return str(entry["id"])
    module = entry.get("moduleId")
    return f"{entry['deviceId']}/{module}" if module else str(entry["deviceId"])
