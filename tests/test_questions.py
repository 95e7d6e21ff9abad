"""Every question of the README, asked of a mirror that real cycles filled from all services, against what they hold."""

import asyncio
import datetime
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog

from fleetsync.log import only_known_keys
from fleetsync.mirror.known import Known
from fleetsync.mirror.mirror import Mirror, open_mirror
from fleetsync.mirror.reader import reading
from fleetsync.providers.base import Endpoint, all_kinds, load
from fleetsync.reconcile.cycle import Cycle, Done, Job
from fleetsync.simulator import KINDS, Cloud, Options
from fleetsync.simulator.arm.fleet import CATALOG_NAME, PILOT, RETUNED
from fleetsync.simulator.arm.routes import DEVICE
from fleetsync.transport.breaking import Circuit
from fleetsync.transport.http import Request
from fleetsync.wiring.configuration import longest_ages_s, read_configuration
from fleetsync.wiring.sources import source_rows
from tests.fakes.clock import FakeClock
from tests.fakes.http import CloudHttp, is_write

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SECTION = README.split("## What you can ask")[1].split("\n## ")[0]
QUESTIONS = dict(re.findall(r"^ {4}-- (.+)\n((?: {4}.*\n)+?)(?=\n|\Z)", SECTION, re.MULTILINE))

DAY_S = 86_400
OPTIONS = Options(
    listen="127.0.0.1:8080",
    kinds=KINDS,
    devices=90,
    hub_devices=120,
    hub_tier="none",
    index_lag_s=0.0,
    rate="none",
    sphere_devices=40,
    sphere_rate="none",
    arm_rate="none",
    latency_s=0.0,
)
CONFIG = """
[sources.plant]
kind = "iot-central"
url = "http://127.0.0.1:8080"
mode = "manual"
auth = {{ method = "none" }}
limits = {{ max_writes = "100%" }}

[sources.hub]
kind = "iot-hub"
url = "http://127.0.0.1:8081"
mode = "manual"
auth = {{ method = "none" }}
limits = {{ max_writes = "100%" }}

[sources.tenant]
kind = "sphere-legacy"
url = "http://127.0.0.1:8082"
tenant = "{tenant}"
auth = {{ method = "none" }}

[sources.catalog]
kind = "sphere-arm"
url = "http://127.0.0.1:8083"
subscription = "{subscription}"
auth = {{ method = "none" }}

[sources.hubs]
kind = "iot-hub-arm"
url = "http://127.0.0.1:8083"
subscription = "{subscription}"
auth = {{ method = "none" }}

[sources.buildings]
kind = "cloud-relay"
url = "http://127.0.0.1:8084"
roster = {{ source = "hub" }}
paths = ["info/device"]
auth = {{ method = "none" }}
"""
DECLARATIONS = """
[[declaration]]
name = "tromso-moves"
sources = ["plant"]
where = "id LIKE '%-tromso-%'"
[declaration.desired]
organizations = ["atlantis"]

[[declaration]]
name = "oslo-has-an-owner"
sources = ["hub"]
where = "tags ->> 'site' = 'oslo'"
[declaration.desired]
tags.owner = "north"

[[declaration]]
name = "quiet-canaries"
sources = ["hub"]
where = "tags ->> 'ring' = 'canary'"
[declaration.desired]
properties.desired.diagnostics.level = "quiet"
"""
KIND_OF = {
    "plant": "iot-central",
    "hub": "iot-hub",
    "tenant": "sphere-legacy",
    "catalog": "sphere-arm",
    "hubs": "iot-hub-arm",
    "buildings": "cloud-relay",
}
BASELINE = "the hub's automatic configuration 'canary-baseline'"
ALIVE = ("etag", "connectionState", "lastActivityTime", "cloudToDeviceMessageCount")

Truth = dict[tuple[str, str, str], dict[str, Any]]
"""By source, type and id: what the services hold."""
Row = tuple[Any, ...]


@dataclass
class World:
    """All services, the mirror of them, and what they held before the last day and now."""

    folder: Path
    clock: FakeClock
    cloud: Cloud
    http: CloudHttp
    before: Truth = field(default_factory=dict)
    now: Truth = field(default_factory=dict)
    recreated: set[str] = field(default_factory=set)

    @property
    def database(self) -> Path:
        return self.folder / "fleetsync.db"

    def truth(self) -> Truth:
        found: Truth = {}
        for device in self.cloud.truth():
            found["plant", "device", device["id"]] = {key: device[key] for key in device if key != "properties"}
        for one in self.cloud.hub.truth():
            found["hub", "device", one["twin"]["deviceId"]] = one["twin"]
            for module in one["modules"]:
                found["hub", "module", f"{module['deviceId']}/{module['moduleId']}"] = module
        for one in self.cloud.sphere.truth():
            found["tenant", "device", one["DeviceId"].lower()] = one
        for one in self.cloud.arm.truth():
            found["catalog", "device", one["id"]] = one
        for one in self.cloud.relay.truth():
            found["buildings", "device", one["deviceId"]] = one["resources"]["info/device"]
        return found

    def devices(self, source: str) -> Mapping[str, dict[str, Any]]:
        return {id: document for (name, type, id), document in self.now.items() if (name, type) == (source, "device")}

    def ask(self, question: str) -> list[dict[str, Any]]:
        with reading(self.database, self.clock) as reader:
            columns, rows = reader.question(QUESTIONS[question])
            return [dict(zip(columns, row, strict=True)) for row in rows]


async def live(world: World) -> None:
    """Mirror all services; forty days later let much happen to them, write, and mirror them again."""
    config = CONFIG.format(tenant=world.cloud.sphere.tenant.id, subscription=world.cloud.arm.subscription)
    (world.folder / "declarations").mkdir()
    (world.folder / "declarations" / "all.toml").write_text(DECLARATIONS, encoding="utf-8")
    (world.folder / "config.toml").write_text(config, encoding="utf-8")
    configuration = read_configuration(world.folder / "config.toml", world.clock)
    settings = configuration.settings

    async def cycle(mirror: Mirror, name: str, *, write: bool) -> Done:
        one = settings.sources[name]
        known = Known(mirror.readers)
        endpoint = Endpoint(name=name, url=one.url, http=world.http, known=known, clock=world.clock, settings=one.own)
        job = Job(
            source=load(one.kind.name).connect(endpoint),
            settings=one,
            meter=world.http,
            circuit=Circuit(world.clock),
            mirror=mirror,
            clock=world.clock,
            declarations=configuration.declared.declarations,
            longest_s=longest_ages_s(settings),
        )
        await world.clock.advance(60)
        done = await world.clock.run(Cycle(job, write=write).run())
        assert done.complete
        return done

    async with open_mirror(world.database, all_kinds().values(), world.clock) as mirror:
        await mirror.cycles.register(source_rows(settings.sources.values()), file="config.toml")
        for name in settings.sources:
            await cycle(mirror, name, write=False)
        world.before = world.truth()
        await world.clock.advance(40 * DAY_S)
        happen(world)
        for write in (True, False):
            for name in settings.sources:
                await cycle(mirror, name, write=write)
    world.now = world.truth()


def happen(world: World) -> None:
    hub, cloud = world.cloud.hub, world.cloud
    twins = [one["twin"] for one in hub.truth() if not one["modules"]]
    plain = [
        twin["deviceId"]
        for twin in twins
        if twin.get("tags") and twin["tags"]["ring"] != "canary" and twin["tags"]["site"] != "oslo"
    ]
    large, deleted, recreated = plain.pop(), plain.pop(), plain.pop()
    hub.operator_edit(large, {"tags": {"notes": {"one": "1" * 3000, "two": "2" * 3000}}})
    hub.delete_device(deleted)
    hub.recreate_device(recreated, {"tags": {"site": "lyon"}})
    world.recreated = {recreated}
    hub.add_device("newcomer", {"tags": {"site": "zurich"}})
    for id in plain[:3]:
        hub.operator_edit(id, {"properties": {"desired": {"telemetry": {"intervalS": 7}}}})
    for id in plain[3:5]:
        hub.operator_edit(id, {"tags": {"site": None}})
    for id in plain[5:9]:
        hub.report(id, {"temperature": -40})
    hub.operator_edit(plain[9], {"status": "disabled"})
    ids = [str(device["id"]) for device in cloud.truth() if "-lyon-" in str(device["id"]) and device["enabled"]]
    cloud.delete_device(ids[0])
    cloud.operator_edit(ids[1], {"displayName": "Renamed", "enabled": False})
    contended = next(twin["deviceId"] for twin in twins if "-oslo-" in twin["deviceId"])

    def edit(_: Request) -> None:
        hub.operator_edit(contended, {"tags": {"edited": len(world.http.sent)}})

    world.http.when(lambda request: is_write(request) and contended in request.url, before=edit)


@pytest.fixture(name="world", scope="module")
def world_after_forty_days(tmp_path_factory: pytest.TempPathFactory) -> World:
    clock = FakeClock()
    cloud = Cloud(OPTIONS, now=lambda: clock.now().timestamp())
    world = World(folder=tmp_path_factory.mktemp("world"), clock=clock, cloud=cloud, http=CloudHttp(cloud, clock))
    with structlog.testing.capture_logs(processors=[only_known_keys]):
        asyncio.run(live(world))
    return world


def blocked(world: World) -> Iterator[Row]:
    for id, device in world.devices("plant").items():
        if not device["enabled"]:
            yield "plant", id, device["displayName"]
    for id, twin in world.devices("hub").items():
        if twin["status"] == "disabled":
            yield "hub", id, None


def silent(world: World) -> Iterator[Row]:
    since = world.clock.now() - datetime.timedelta(days=30)
    heard = [("hub", id, twin["lastActivityTime"]) for id, twin in world.devices("hub").items()]
    heard += [("tenant", id, one["LastUpdateRequestUTC"]) for id, one in world.devices("tenant").items()]
    heard += [
        ("catalog", id, one["properties"]["lastUpdateRequestUtc"]) for id, one in world.devices("catalog").items()
    ]
    for source, id, text in heard:
        # Some services write seven digits, and a Z or none.
        at = datetime.datetime.fromisoformat((text or "0001-01-01T00:00:00")[:26].rstrip("Z")).replace(
            tzinfo=datetime.UTC
        )
        if at.year > 1 and at < since:
            yield source, id, at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def large(world: World) -> Iterator[Row]:
    for (source, type, id), document in world.now.items():
        size = len(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode())
        if type == "device" and size > 6144:
            yield source, id, size


def twice(world: World) -> Iterator[Row]:
    sources: dict[str, list[str]] = {}
    for source, type, id in sorted(world.now):
        if type == "device":
            sources.setdefault(id, []).append(source)
    return ((id, len(names), names[0], names[-1]) for id, names in sources.items() if len(names) > 1)


def untagged(world: World) -> Iterator[Row]:
    return (("hub", id) for id, twin in world.devices("hub").items() if "site" not in twin.get("tags", {}))


def disobedient(world: World) -> Iterator[Row]:
    for id, twin in world.devices("hub").items():
        told, reported = (twin["properties"][section].get("telemetry") for section in ("desired", "reported"))
        if told != reported:
            yield "hub", id, told, reported


def drifting(world: World) -> Iterator[Row]:
    tags = [twin.get("tags", {}) for twin in world.devices("hub").values()]
    homeless = sum("-tromso-" in id for id in world.devices("plant"))
    unowned = sum(one.get("site") == "oslo" and one.get("owner") != "north" for one in tags)
    yield "oslo-has-an-owner", "hub", "pending", None, unowned
    yield "quiet-canaries", "hub", "contested", BASELINE, sum(one.get("ring") == "canary" for one in tags)
    yield "tromso-moves", "plant", "pending", None, homeless


def changed(world: World) -> Iterator[Row]:
    for key in world.before.keys() | world.now.keys():
        source, type, id = key
        before, now = (truth.get(key) for truth in (world.before, world.now))
        if before is None or now is None:
            yield source, "added" if before is None else "gone", type, id
        elif (source, type) == ("hub", "device") and id in world.recreated:
            yield source, "replaced", type, id
        elif {name: before[name] for name in before if name not in ALIVE} != {
            name: now[name] for name in now if name not in ALIVE
        }:
            yield source, "updated", type, id


def vanished(world: World) -> Iterator[Row]:
    return ((source, id) for source, type, id in world.before.keys() - world.now.keys() if type == "device")


def counted(world: World) -> Iterator[Row]:
    there = len(world.devices("hub"))
    yield "hub", "device", "complete", there, there, 1


def refused(world: World) -> Iterator[Row]:
    attempts: Counter[str] = Counter()
    outcomes = {412: "conflict", 422: "rejected"}
    for write in world.cloud.counters.writes:
        if write.by == "client" and write.status >= 400:
            attempts[write.id] += 1
            source = "hub" if write.type == "twin" else "plant"
            yield source, write.id, attempts[write.id], write.status, outcomes[write.status]


def everywhere(world: World) -> Iterator[Row]:
    cloud, application = world.cloud, world.cloud.application
    others = {
        "plant": sum(
            len(one)
            for one in (
                application.device_groups,
                application.device_templates,
                application.enrollment_groups,
                application.organizations,
            )
        ),
        "hub": len(list(cloud.hub.state.configurations)),
        "tenant": len(cloud.sphere.tenant.products) + len(cloud.sphere.tenant.groups),
        "catalog": len(cloud.arm.tree.entries)
        + sum(len(below) for one in cloud.arm.tree.catalogs for words, below in one.below.items() if words != DEVICE),
        "hubs": len(cloud.arm.hubs.entries),
    }
    there = Counter(source for source, _, _ in world.now) + Counter(others)
    came = Counter(source for source, _, _ in world.now.keys() - world.before.keys())
    went = Counter(source for source, _, _ in world.before.keys() - world.now.keys())
    tags = [twin.get("tags", {}) for twin in world.devices("hub").values()]
    drift = Counter({"plant": sum("-tromso-" in id for id in world.devices("plant"))})
    drift["hub"] = sum(
        (one.get("site") == "oslo" and one.get("owner") != "north") or one.get("ring") == "canary" for one in tags
    )
    for source, kind in KIND_OF.items():
        yield kind, source, there[source], came[source], went[source], drift[source]


def not_yet(world: World) -> Iterator[Row]:
    groups, products = world.cloud.sphere.tenant.groups, world.cloud.sphere.tenant.products
    for id in world.devices("tenant").keys() - world.devices("catalog").keys():
        group = groups.get(world.devices("tenant")[id]["DeviceGroupId"])
        yield id, None if group is None else products[group.product_id].name, group and group.members["Name"]


def otherwise(world: World) -> Iterator[Row]:
    for catalog in (CATALOG_NAME, PILOT[1]):
        for product, group in RETUNED:
            yield catalog, product, group, "UpdateAll", "No3rdPartyAppUpdates"


ANSWERS: Mapping[str, tuple[Callable[[World], Iterator[Row]], str]] = {
    "What is there in every service, what came and what went in a week, and what is not as declared?": (
        everywhere,
        "kind source there came went drifting",
    ),
    "Which devices are blocked?": (blocked, "source id display_name"),
    "Which devices were not heard of for 30 days? (IoT Central does not say.)": (silent, "source id last_activity_at"),
    "Which twins are larger than 6 KB?": (large, "source id size_bytes"),
    "Which ids are there in more than one source?": (twice, "id sources one other"),
    "Which devices lack a tag?": (untagged, "source id"),
    "Which devices do not report what they were told?": (disobedient, "source id told reported"),
    "What is not as declared, by declaration, and why is it not being mended?": (
        drifting,
        "declaration source state by devices",
    ),
    "What changed in the last day, newest first?": (changed, "source event type resource_id"),
    "Which devices vanished, and what says so?": (vanished, "source id"),
    "Did the last listings show as many as the service itself counts?": (
        counted,
        "source type state shown counted agrees",
    ),
    "Which writes were refused, or got lost?": (refused, "source resource_id attempt status outcome"),
    "Which devices of an Azure Sphere tenant are in no catalog yet? (Sources are called tenant and catalog here.)": (
        not_yet,
        "id product device_group",
    ),
    "Which of its device groups are set otherwise in a catalog?": (
        otherwise,
        "catalog product device_group old_policy new_policy",
    ),
}


def test_every_question_of_the_readme_has_an_answer_here() -> None:
    assert list(QUESTIONS) == list(ANSWERS)


def shown(value: object) -> object:
    """Return what a value says: JSON columns are texts."""
    return json.loads(value) if isinstance(value, str) and value.startswith("{") else value


@pytest.mark.parametrize("question", ANSWERS)
def test_a_question_of_the_readme_is_answered_with_the_truth(world: World, question: str) -> None:
    truth, columns = ANSWERS[question]
    rows = {repr([shown(row[name]) for name in columns.split()]) for row in world.ask(question)}
    assert rows == {repr(list(row)) for row in truth(world)}
    assert rows, "a question that nothing answers shows nothing"


def test_what_vanished_was_looked_for(world: World) -> None:
    reasons = [row["gone_reason"] for row in world.ask("Which devices vanished, and what says so?")]
    assert len(reasons) == 3
    assert all("and not found by a read" in reason for reason in reasons)


def test_a_change_says_what_it_was(world: World) -> None:
    patches = [
        json.loads(row["patch"]) for row in world.ask("What changed in the last day, newest first?") if row["patch"]
    ]
    assert {"displayName": "Renamed", "enabled": False} in patches


def test_a_refused_write_says_why(world: World) -> None:
    errors = {row["error"].partition(": ")[2] for row in world.ask("Which writes were refused, or got lost?")}
    assert any("the organization does not exist" in error for error in errors)
