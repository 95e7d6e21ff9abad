"""Azure Resource Manager as places: the Azure Sphere catalogs of a subscription, and its IoT Hubs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from random import Random
from typing import Any, ClassVar
from urllib.parse import unquote

import msgspec

from fleetsync.simulator import Cloud, Options, SimRequest, SimResponse
from fleetsync.simulator.arm.routes import CATALOG, DEVICE, GROUP, TYPES
from fleetsync.simulator.arm.shapes import Shown as Occasion
from fleetsync.simulator.arm.shapes import document, resource_id
from fleetsync.simulator.desk import Desk
from tests.simulation.network import Exchange
from tests.simulation.place import Asked, Documents, Key, Place, Shown, Wish, decoded, without

_LISTS = {
    "listdevices": "device",
    "listdevicegroups": "device-group",
    "listdeployments": "deployment",
    "products": "product",
    "images": "image",
    "certificates": "certificate",
}
_BY_WORDS = {tuple(word.lower() for word in words): type for words, type in TYPES.items()}
_PER_CALL = ("systemData", "hasDeployment", "lastUpdateRequestUtc", "image", "uri")
_GOAL = "ColdChain/Production"
_PRODUCTION = "id LIKE '%/production'"


class Arm(Place):
    """A subscription: what its two kinds of source have in common."""

    operations: ClassVar[Mapping[str, float]] = {"read": 25.0, "write": 10.0}
    has_operations = True
    has_hints = True
    has_links = True

    def make_cloud(self, now: Callable[[], float]) -> Cloud:
        random = self.random
        options = Options(
            listen="127.0.0.1:1",
            arm_listen=f"127.0.0.1:{self.port}",
            kinds=(self.kind,),
            sphere_devices=self.fleet_size(),
            arm_page_size=5 if self.is_small else random.choice((2, 3, 5, 100)),
            arm_link_size=random.choice((0, 3050)),
            arm_rate=random.choice(("none", "documented", "2/s burst 12")),
            arm_retry_after=random.choice(("1", "17")),
            sphere_operation_s=random.choice((1.0, 6.0, 90.0)),
            seed=random.randrange(1 << 30),
            latency_s=0.0,
        )
        cloud = Cloud(options, now=now)
        self.subscription = cloud.arm.subscription
        habits = cloud.arm.operations.habits
        habits.style = random.choice((None, None, "both", "azure-async", "location", "asyncinfo"))
        habits.retry_after = random.choice((None, "2", "soon"))
        habits.poll_retry_after = random.choice((None, "3", "15"))
        habits.failing, habits.canceling = (0.0, 0.0) if self.is_small else (0.1, 0.05)
        return cloud

    def answer(self, request: SimRequest) -> SimResponse:
        return self.cloud.handle_arm(request)

    def go_on_for(self, seconds: float, *, kept_s: float = 86_400.0) -> None:
        habits = self.cloud.arm.operations.habits
        habits.duration_s, habits.kept_s = seconds, kept_s

    def end_operations(self, *, failed: float = 0.0, errors: float = 0.0) -> None:
        habits = self.cloud.arm.operations.habits
        habits.failing, habits.canceling = failed, errors

    def desks(self) -> Iterable[Desk]:
        return self.cloud.arm._frontage.desks.values()

    def recover(self) -> None:
        operations, now_s = self.cloud.arm.operations, self.now()
        habits = operations.habits
        habits.failing = habits.canceling = 0.0
        habits.duration_s, habits.kept_s = self.cloud.options.sphere_operation_s, 86_400.0
        operations._due = sorted((min(ends_at, now_s + 1.0), name) for ends_at, name in operations._due)
        self.cloud.arm.shown_left.clear()

    def hint(self, left: int) -> None:
        self.cloud.arm.shown_left.update({"read": left, "write": left})

    def words(self, target: str) -> list[str]:
        """Return the words of a path behind its provider."""
        words = [unquote(word) for word in target.partition("?")[0].strip("/").split("/")]
        return words[words.index("providers") + 2 :] if "providers" in words else []

    def not_found(self, answer: SimResponse) -> bool:
        # Where a device was proves nothing: it may have been moved.
        return (
            answer.status == 404 and b"ResourceNotFound" in answer.body and b"requested device was" not in answer.body
        )

    def key_in(self, id: str) -> str:
        """Return what the product calls a resource."""
        words = id.lower().split("/")
        return "/".join((words[4], *words[8::2]))


class Catalogs(Arm):
    """Azure Sphere: catalogs with products, groups, and devices that are moved from group to group."""

    kind = "sphere-arm"
    unknown_word = (b'"osFeedType":"Retail"', b'"osFeedType":"Preview"')
    new_type = (b'"chipSku":"MT3620AN"', b'"chipSku":3620')
    harmless = 'group = "Prototypes/P1"'
    contradicting = 'group = "Line Gateway/Production"'
    begins_only: ClassVar[frozenset[str]] = frozenset({"device", "device-group"})
    searched: ClassVar[frozenset[str]] = frozenset({"device", "catalog"})

    def make_cloud(self, now: Callable[[], float]) -> Cloud:
        random = self.random
        self.scope = "catalog" if self.is_small else random.choice(("subscription", "group", "catalog"))
        more = sorted(set(TYPES.values()) - {"device", "device-group", "hub"})
        self.listed = ("device", "device-group", *random.sample(more, 1 if self.is_small else random.randrange(3)))
        self.removed: list[tuple[str, str, Any]] = []
        self._catalog_ids: list[str] = []
        self._expected: dict[str, str | None] = {}
        self._followed: dict[str, str] = {}
        """What the product goes on from, by the link in it: which catalogs come then, no link says."""
        cloud = super().make_cloud(now)
        if random.random() < 0.3:
            cloud.arm.writes.slow.add(GROUP)
        return cloud

    def own_lines(self) -> Iterable[str]:
        lines = [f'subscription = "{self.subscription}"', f"resources = {msgspec.json.encode(self.listed).decode()}"]
        if self.scope != "subscription":
            lines.append('resource_group = "Sphere-Prod"')
        return [*lines, 'catalog = "MainCatalog"'] if self.scope == "catalog" else lines

    def _mine(self) -> Iterable[Any]:
        catalogs = self.cloud.arm.tree.catalogs
        return catalogs if self.scope == "subscription" else [one for one in catalogs if one.name == "MainCatalog"]

    def truth(self) -> Documents:
        arm = self.cloud.arm
        at = arm._settle()
        found: Documents = {}
        for catalog in self._mine():
            shown = Occasion(subscription=self.subscription, group=catalog.group, occasion="list", at=at)
            found["catalog", catalog.key] = document(CATALOG, arm.tree.entries.get(catalog.key), shown)
            for words, collection in catalog.below.items():
                for entry in collection:
                    one = document(words, entry, shown)
                    found[TYPES[words], entry.id if words == DEVICE else self.key_in(one["id"])] = one
        return found

    def plain(self, key: Key, document: Any) -> Any:
        return _folded(without(document, _PER_CALL))

    def asked(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Asked:
        words = self.words(target)
        operation = "read" if method == "GET" else "write"
        lowered = [word.lower() for word in words]
        match lowered:
            case ["locations", *_]:
                return Asked(kind="read", type="operation", operation=operation)
            case ["catalogs"]:
                cursor = f"{self.url}{target}" if "skiptoken" in target.lower() else None
                if "catalog" in self.listed:
                    return Asked(kind="list", type="catalog", operation=operation, cursor=cursor)
                return Asked(kind="list", type="catalogs", operation=operation, cursor=cursor)
            case ["catalogs", name, action] if action in _LISTS:
                cursor = self._cursor(target, name, _LISTS[action])
                return Asked(kind="list", type=_LISTS[action], operation=operation, cursor=cursor)
        type = _BY_WORDS.get(tuple(lowered[::2]), "unknown")
        id = lowered[-1] if type == "device" else self.key_in(unquote(target.partition("?")[0]))
        kind = "read" if method == "GET" else "write"
        return Asked(kind=kind, type=type, id=id, operation=operation, guardable=type == "catalog")

    def _cursor(self, target: str, name: str, type: str) -> str | None:
        """Return what the product goes on from: a link and the catalogs to come, or only these."""
        ids = self._catalog_ids
        here = next((number for number, id in enumerate(ids) if id.endswith(f"/{name}")), 0)
        if "skiptoken" in target.lower():
            link = f"{self.url}{target}"
            return self._followed.get(link) or _at(link, ids[here + 1 :])
        expected = self._expected.get(type)
        if expected is not None and expected.startswith("[null,") and f'/{name}"' in expected.partition(",[")[2]:
            first = msgspec.json.decode(expected)[1][:1]
            if first and first[0].endswith(f"/{name}"):
                return expected
        return _at(None, ids[here:]) if here else None

    def link_in(self, cursor: str) -> str:
        link = msgspec.json.decode(cursor)[0] if cursor.startswith("[") else cursor
        return f"{self.url}/" if link is None else link  # the first page of a catalog

    def shown(self, asked: Asked, answer: SimResponse) -> Shown | None:
        page = decoded(answer.body)
        link = page.get("nextLink") or None
        if asked.type in ("catalog", "catalogs"):
            ids = [one["id"].lower() for one in page["value"]]
            if asked.cursor is None:
                self._catalog_ids = []
            mine = [id for id in ids if self.scope != "catalog" or id.endswith("/maincatalog")]
            self._catalog_ids = list(dict.fromkeys((*self._catalog_ids, *mine)))
            return Shown(ids=tuple(self.key_in(id) for id in mine), cursor=link) if asked.type == "catalog" else None
        if asked.cursor is None:
            rest = self._catalog_ids[1:]
        else:
            before = msgspec.json.decode(asked.cursor)
            rest = before[1] if before[0] is not None else before[1][1:]
        self._expected[asked.type] = cursor = _at(link, rest) if link is not None or rest else None
        if link is not None and cursor is not None:
            self._followed[link] = cursor
        if asked.type == "device":
            return Shown(ids=tuple(one["name"].lower() for one in page["value"]), cursor=cursor)
        return Shown(ids=tuple(self.key_in(one["id"]) for one in page["value"]), cursor=cursor)

    def change_etags(self, exchange: Exchange, text: bytes) -> bool:
        answer = exchange.answer
        if answer is None or "ETag" not in answer.headers or exchange.notes["asked"].type != "catalog":
            return False
        # A header has no null and no number: what is no text is absent, or in digits.
        shown = (text or b"null").decode().removeprefix('"').removesuffix('"').replace('\\"', '"')
        headers = {name: value for name, value in answer.headers.items() if name != "ETag"}
        exchange.answer = replace(answer, headers=headers if text in (b"", b"null") else {**headers, "ETag": shown})
        self.has_spoilt_etags = True
        return True

    def all_wishes(self) -> Iterable[Wish]:
        place = "/products/coldchain/devicegroups/production/"
        yield Wish(
            name="moved",
            toml=self.declare("moved", f'group = "{_GOAL}"', "id LIKE '%0' OR id LIKE '%5' OR id LIKE '%a'"),
            selects=lambda key, _: key[0] == "device" and key[1][-1] in "05a",
            holds=lambda document: place in document["id"].lower(),
        )
        yield Wish(
            name="dumped",
            toml=self.declare("dumped", 'allowCrashDumpsCollection = "Enabled"', _PRODUCTION, resource="device-group"),
            selects=lambda key, _: key[0] == "device-group" and key[1].endswith("/production"),
            holds=lambda document: document["properties"]["allowCrashDumpsCollection"] == "Enabled",
        )
        yield Wish(
            name="tagged",
            toml=self.declare("tagged", 'tags.ours = "as declared"', "", resource="catalog"),
            selects=lambda key, _: key[0] == "catalog" and "catalog" in self.listed,
            holds=lambda document: document["tags"].get("ours") == "as declared",
        )

    def _path_of(self, words: tuple[str, ...], catalog: Any, names: tuple[str, ...]) -> str:
        shown = Occasion(subscription=self.subscription, group=catalog.group, occasion="list", at=self.now())
        return resource_id(words, names, shown)

    def disturb(self, random: Random, type: str, id: str) -> None:
        arm = self.cloud.arm
        catalog = random.choice(list(self._mine()))
        groups = list(catalog.below[GROUP])
        if type == "device" and catalog.below[DEVICE].get(id) is not None:
            arm.operator_move(id, *random.choice(groups).document["names"][1:])
        elif type == "device-group" and random.random() < 0.5:
            entry = next((one for one in groups if id.endswith(f"/{one.id}")), groups[0])
            path = self._path_of(GROUP, catalog, entry.document["names"])
            arm.operator_edit(path, {"properties": {"allowCrashDumpsCollection": "Disabled"}})
        elif type == "catalog" or random.random() < 0.3:
            entry = arm.tree.entries.get(catalog.key)
            name = random.choice(("ours", "note"))
            tags = {**entry.document["tags"], name: f"{random.random()}"}
            arm.operator_edit(self._path_of(CATALOG, catalog, (catalog.name,)), {"tags": tags})
            if name == "note":
                self.edits[("catalog", catalog.key), "tags.note"] = tags["note"]

    def edit_oddly(self, random: Random, members: Mapping[str, object]) -> Callable[[], None]:
        catalog = random.choice(list(self._mine()))
        groups = catalog.below[GROUP]
        id = random.choice(groups.ids)

        def put(properties: Mapping[str, object]) -> None:
            entry = groups.get(id)
            groups.put(id, {**entry.document, "properties": properties}, at=self.now())

        put({**groups.get(id).document["properties"], **members})
        return lambda: put(without(groups.get(id).document["properties"], members))

    def operate(self, random: Random) -> None:
        arm = self.cloud.arm
        arm._settle()
        catalog = random.choice(list(self._mine()))
        devices, groups = catalog.below[DEVICE], catalog.below[GROUP]
        match random.randrange(7):
            case 0 if len(devices) > 4:
                entry = devices.get(random.choice(devices.ids))
                self.removed.append((catalog.key, entry.id, entry.document))
                arm.delete_device(entry.id)
                self.deleted.add(("device", entry.id))
            case 1 if self.removed:
                key, id, found = self.removed.pop()
                arm.tree.catalog(key).below[DEVICE].put(id, found, at=self.now())
                self.happened["a device made anew under its id"] += 1
            case 2 if len(devices):
                entry = devices.get(random.choice(devices.ids))
                properties = {**entry.document["properties"], "lastUpdateRequestUtc": "2026-11-21T20:00:00.0000000Z"}
                devices.put(entry.id, {**entry.document, "properties": properties}, at=self.now())
            case 3:
                text = f"{random.random()}"
                entry = groups.get(random.choice(groups.ids))
                path = self._path_of(GROUP, catalog, entry.document["names"])
                arm.operator_edit(path, {"properties": {"description": text}})
                self.edits[("device-group", f"{catalog.key}/{entry.id}"), "properties.description"] = text
            case 4:
                self.disturb(random, "catalog", catalog.key)
            case 5:
                self.disturb(random, "device-group", f"{catalog.key}/{random.choice(groups.ids)}")
            case _ if len(devices):
                self.disturb(random, "device", random.choice(devices.ids))


class Hubs(Arm):
    """IoT Hubs as resources: tags, and figures that are asked for one by one."""

    kind = "iot-hub-arm"
    unknown_word = (b'"state":"Active"', b'"state":"Dreaming"')
    new_type = (b'"location":"westeurope"', b'"location":["westeurope"]')
    harmless = 'tags.all = "1"'
    contradicting = 'tags.all = "2"'
    listed = ("hub",)
    begins_only: ClassVar[frozenset[str]] = frozenset({"hub"})

    def make_cloud(self, now: Callable[[], float]) -> Cloud:
        random = self.random
        cloud = super().make_cloud(now)
        arm = cloud.arm
        self.scope = random.choice((None, "IoT-Hubs"))
        first = next(iter(arm.hubs.entries))
        for number in range(0 if self.is_small else random.randint(1, 4)):
            self._put(cloud, first.document, f"hub-{number}")
        if random.random() < 0.5:
            arm.writes.slow.add(("IotHubs",))
        self.counts = {"all": 10, "enabled": 8}
        arm.hubs._counts = lambda: self.counts
        return cloud

    def _put(self, cloud: Cloud, document: Mapping[str, Any], name: str) -> None:
        made = {**document, "names": (name,), "tags": {"stage": "new"}}
        cloud.arm.hubs.entries.put(f"{made['group']}/{name}".lower(), made, at=self.now())

    def own_lines(self) -> Iterable[str]:
        lines = [f'subscription = "{self.subscription}"']
        return lines if self.scope is None else [*lines, f'resource_group = "{self.scope}"']

    def truth(self) -> Documents:
        arm = self.cloud.arm
        arm._settle()
        return {("hub", entry.id): arm.hubs.document(entry, self.subscription) for entry in arm.hubs.entries}

    def plain(self, key: Key, document: Any) -> Any:
        return _folded(without(document, ("systemData", "statistics", "quotaMetrics", "connectionString")))

    def asked(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Asked:
        words = self.words(target)
        operation = "read" if method == "GET" else "write"
        match words:
            case [_]:
                cursor = f"{self.url}{target}" if "skiptoken" in target.lower() else None
                return Asked(kind="list", type="hub", operation=operation, cursor=cursor)
            case [_, _]:
                id = self.key_in(unquote(target.partition("?")[0]))
                kind = "read" if method == "GET" else "write"
                return Asked(kind=kind, type="hub", id=id, operation=operation, guardable=False)
            case [_, _, _]:
                return Asked(kind="read", type="figures", operation=operation)
            case _:
                return Asked(kind="read", type="operation", operation=operation)

    def shown(self, asked: Asked, answer: SimResponse) -> Shown | None:
        page = decoded(answer.body)
        return Shown(ids=tuple(self.key_in(one["id"]) for one in page["value"]), cursor=page.get("nextLink") or None)

    def all_wishes(self) -> Iterable[Wish]:
        yield Wish(
            name="tagged",
            toml=self.declare("tagged", 'tags.ours = "as declared"', "id NOT LIKE '%spare%'", resource="hub"),
            selects=lambda key, _: "spare" not in key[1],
            holds=lambda document: document["tags"].get("ours") == "as declared",
        )

    def declare(self, name: str, desired: str, where: str, **more: Any) -> str:
        return super().declare(name, desired, where, **{"resource": "hub", **more})

    def disturb(self, random: Random, type: str, id: str) -> None:
        hubs = self.cloud.arm.hubs.entries
        entry = hubs.get(id)
        if entry is None:
            return
        # PATCH knows no If-Match: what others write to the tags at that very moment is lost, and nobody promised else.
        if random.random() < 0.5:
            text = f"{random.random()}"
            self._edit(entry, {"properties": {"comments": text}})
            self.edits[("hub", id), "properties.comments"] = text
        else:
            self._edit(entry, {"tags": {**entry.document["tags"], "ours": f"{random.random()}"}})

    def _edit(self, entry: Any, patch: Mapping[str, object]) -> None:
        group, name = entry.document["group"], entry.document["names"][0]
        path = f"/subscriptions/{self.subscription}/resourceGroups/{group}/providers/Microsoft.Devices/IotHubs/{name}"
        self.cloud.arm.operator_edit(path, patch)

    def edit_oddly(self, random: Random, members: Mapping[str, object]) -> Callable[[], None]:
        hubs = self.cloud.arm.hubs.entries
        id = random.choice(hubs.ids)
        self._edit(hubs.get(id), {"properties": members})

        def undo() -> None:
            # Another one may have been made after it meanwhile.
            for entry in [hubs.get(id) for id in hubs.ids]:
                if members.keys() & entry.document["properties"].keys():
                    properties = without(entry.document["properties"], members)
                    hubs.put(entry.id, {**entry.document, "properties": properties}, at=self.now())

        return undo

    def operate(self, random: Random) -> None:
        self.cloud.arm._settle()
        hubs = self.cloud.arm.hubs.entries
        id = random.choice(hubs.ids)
        match random.randrange(6):
            case 0 if len(hubs) > 2:
                hubs.remove(id)
                self._forget(id)
            case 1:
                if hubs.get("iot-hubs/hub-0") is not None:
                    self.happened["a device made anew under its id"] += 1
                self._put(self.cloud, hubs.get(id).document, "hub-0")
                self._forget("iot-hubs/hub-0")
            case 2:
                self.counts = {"all": random.randrange(10, 99), "enabled": random.randrange(10)}
            case _:
                self.disturb(random, "hub", id)

    def _forget(self, id: str) -> None:
        self.deleted.add(("hub", id))
        self.edits = {edit: value for edit, value in self.edits.items() if edit[0][1] != id}


def _at(link: str | None, rest: list[str]) -> str:
    return msgspec.json.encode([link, rest]).decode()


def _folded(document: Any) -> Any:
    """Return a document with ids and types in lower case: they come in any."""
    if isinstance(document, dict):
        return {
            name: value.lower() if name in ("id", "type") and isinstance(value, str) else _folded(value)
            for name, value in document.items()
        }
    return [_folded(value) for value in document] if isinstance(document, list) else document
