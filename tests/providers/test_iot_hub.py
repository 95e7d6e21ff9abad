"""Azure IoT Hub: the contract, documents as they are on the wire, and what is peculiar to this service."""

import base64
import json
import re
from typing import Any

import msgspec
import pytest

from fleetsync.core.declaration import ABSENT
from fleetsync.core.kind import Succession
from fleetsync.core.model import DEVICE, Cursor, ETag, Part, Resource, ResourceKey
from fleetsync.core.path import Path, parse
from fleetsync.core.plan import Change, DriftState, Guard, GuardKind, Leaf, Objection
from fleetsync.errors import (
    ConflictError,
    InvalidResponseError,
    NotFoundError,
    RejectedError,
    ServerFaultError,
    TransientError,
)
from fleetsync.providers.base import Endpoint, load
from fleetsync.providers.iot_hub import (
    CONFIGURATION,
    DOCUMENT,
    IDENTITY,
    KIND,
    MODULE,
    PROVIDER,
    TWIN,
    IotHub,
    Settings,
    succession,
)
from fleetsync.simulator import Cloud, Options, parse_faults
from fleetsync.simulator.iot_hub.fleet import ODD_IDS
from fleetsync.transport.http import Request, Response
from tests.fakes.clock import FakeClock
from tests.fakes.http import CloudHttp, Hook, is_write, lost, refused
from tests.fakes.known import KnownDocuments
from tests.providers.contract import ProviderContract

EVERY_CHARACTER = "aZ09-:.+%_#*?!(),=@;$'"


class Hub:
    """The simulated hub, without limits and without a lag, and the provider on it."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        chosen: dict[str, Any] = {
            "listen": "127.0.0.1:8080",
            "kinds": ("iot-hub",),
            "hub_devices": 130,
            "hub_tier": "none",
            "hub_page_size": 50,
            "index_lag_s": 0.0,
            "latency_s": 0.0,
        }
        self.cloud = Cloud(Options(**chosen | options), now=lambda: self.clock.now().timestamp())
        self.http = CloudHttp(self.cloud, self.clock)
        self.source = provided(self.http)

    def ids(self) -> list[str]:
        return [str(device["twin"]["deviceId"]) for device in self.cloud.hub.truth()]

    def twin(self, id: str) -> dict[str, Any]:
        return next(device["twin"] for device in self.cloud.hub.truth() if device["twin"]["deviceId"] == id)

    def identity(self, id: str) -> dict[str, Any]:
        return next(device["identity"] for device in self.cloud.hub.truth() if device["identity"]["deviceId"] == id)

    async def change(self, key: ResourceKey, part: Part, **values: object) -> Change:
        """Return the change that sets leaves, written as `tags__ring`, on what is there now."""
        shown = await self.source.read(key)
        guard = self.source.guard(part, shown)
        assert guard is not None
        return change(key, part, values, guard)


def change(key: ResourceKey, part: Part, values: dict[str, object], guard: Guard) -> Change:
    leaves = tuple(
        Leaf(path=tuple(name.split("__")), actual=ABSENT, declared=value, declarations=("d",))
        for name, value in values.items()
    )
    return Change(key=key, part=part, guard=guard, leaves=leaves)


def provided(http: Any) -> IotHub:
    return IotHub(
        Endpoint(
            name="hub",
            url="http://127.0.0.1:8081/",
            http=http,
            known=KnownDocuments(),
            clock=FakeClock(),
            settings=Settings(),
        )
    )


def device(id: str) -> ResourceKey:
    return ResourceKey("hub", DEVICE, id)


class TestIotHubContract(ProviderContract):
    kind = "iot-hub"

    @pytest.fixture
    def target(self) -> IotHub:
        self.hub = Hub()
        return self.hub.source

    def ids(self) -> list[str]:
        return self.hub.ids()

    def edit(self, id: str) -> None:
        self.hub.cloud.hub.operator_edit(id, {"tags": {"note": "somebody else's"}})

    def make_empty(self) -> None:
        for id in self.ids():
            self.hub.cloud.hub.delete_device(id)

    def lose_the_array(self) -> None:
        self.hub.cloud.faults = parse_faults("no-value")

    def desired(self) -> tuple[Part, Path, object]:
        return TWIN, ("tags", "note"), "as declared"


@pytest.fixture
def hub() -> Hub:
    return Hub()


class Answers:
    """An `Http` that gives one answer and keeps the requests."""

    def __init__(self, body: object, status: int = 200, **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.response = Response(status=status, headers=headers, body=raw)
        self.requests: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        return self.response


class TestListing:
    async def test_every_page_is_asked_for_with_the_same_query_and_size_and_the_continuation_as_it_came(self) -> None:
        http = Answers([], **{"x-ms-continuation": "to/ken+=="})
        page = await provided(http).page(DEVICE, None)
        assert page.next == "to/ken+=="
        await provided(http).page(DEVICE, page.next)
        first, second = http.requests
        assert (first.method, first.url) == ("POST", "http://127.0.0.1:8081/devices/query?api-version=2021-04-12")
        assert json.loads(first.body or b"") == {"query": "SELECT * FROM devices"}
        assert "x-ms-continuation" not in first.headers
        assert second.headers["x-ms-continuation"] == "to/ken+=="
        assert (second.url, second.body) == (first.url, first.body)
        assert second.headers["x-ms-max-item-count"] == first.headers["x-ms-max-item-count"] == "1000"
        assert first.operation == "query"
        assert first.is_safe

    async def test_an_empty_continuation_is_the_end(self) -> None:
        assert (await provided(Answers([], **{"x-ms-continuation": ""})).page(DEVICE, None)).next is None

    async def test_modules_are_named_by_their_device_as_well(self, hub: Hub) -> None:
        page = await hub.source.page(MODULE, None)
        modules = [module for device in hub.cloud.hub.truth() for module in device["modules"]]
        expected = {f"{one['deviceId']}/{one['moduleId']}" for one in modules}
        assert {one.id for one in page.resources} == expected
        assert expected
        for one in page.resources:
            assert await hub.source.read(ResourceKey("hub", MODULE, one.id)) == one

    async def test_configurations_are_one_page(self, hub: Hub) -> None:
        page = await hub.source.page(CONFIGURATION, None)
        assert page.next is None
        assert page.resources
        for one in page.resources:
            assert one.etag is not None
            assert await hub.source.read(ResourceKey("hub", CONFIGURATION, one.id)) == one

    async def test_the_registry_counts_devices_and_nothing_else(self, hub: Hub) -> None:
        assert await hub.source.count(DEVICE) == 130
        assert await hub.source.count(MODULE) is None
        assert await hub.source.count(CONFIGURATION) is None

    @pytest.mark.parametrize(
        "body", [b"{}", b"null", b'{"value":[]}', b"<html>", b"[3]", b"[{}]", b'[{"deviceId":""}]']
    )
    async def test_what_is_no_page_is_refused(self, body: bytes) -> None:
        with pytest.raises(InvalidResponseError):
            _ = (await provided(Answers(body)).page(DEVICE, None)).ids

    async def test_what_cannot_be_stored_keeps_its_id(self) -> None:
        page = await provided(Answers(b'[{"deviceId":"a","x":"\\u0000"},{"deviceId":"b"}]')).page(DEVICE, None)
        assert [one.id for one in page.unreadable] == ["a"]
        assert [one.id for one in page.resources] == ["b"]


TWIN_DOCUMENT: dict[str, Any] = {
    "deviceId": "pump-1",
    "etag": "AAAAAAAAAAI=",
    "deviceEtag": "MTIz",
    "status": "disabled",
    "statusReason": None,
    "statusUpdateTime": "0001-01-01T00:00:00",
    "connectionState": "Disconnected",
    "lastActivityTime": "2026-11-20T09:00:05.1234567Z",
    "modelId": "",
    "version": 5,
    "unknown": {"kept": 1.50},
    "properties": {
        "desired": {
            "interval": 60,
            "$metadata": {"$lastUpdated": "2026-01-10T09:00:00Z", "interval": {"$lastUpdated": "2026-01-10T09:00:00Z"}},
            "$version": 2,
        },
        "reported": {"$metadata": {"$lastUpdated": "2026-01-10T09:00:00Z"}, "$version": 3},
    },
}


class TestDocuments:
    async def test_a_twin_is_kept_as_it_came_with_the_facts_in_it(self) -> None:
        body = json.dumps(TWIN_DOCUMENT).encode()
        read = await provided(Answers(body)).read(device("pump-1"))
        assert read.document == body
        assert read.etag == "AAAAAAAAAAI="
        facts = read.facts
        assert (facts.enabled, facts.status, facts.connection_state) == (False, "disabled", "Disconnected")
        assert (facts.template, facts.version) == (None, 5)
        assert facts.last_activity_at is not None
        assert facts.last_activity_at.isoformat() == "2026-11-20T09:00:05.123456+00:00"

    @pytest.mark.parametrize(
        "never",
        ["0001-01-01T00:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00", "nonsense", None, 3],
    )
    async def test_never_is_no_time(self, never: object) -> None:
        document = TWIN_DOCUMENT | {"lastActivityTime": never}
        assert (await provided(Answers(document)).read(device("pump-1"))).facts.last_activity_at is None

    async def test_an_answer_about_another_device_is_refused(self) -> None:
        with pytest.raises(InvalidResponseError, match="asked for"):
            await provided(Answers(TWIN_DOCUMENT)).read(device("pump-2"))

    def test_declarations_see_tags_desired_properties_and_the_status(self) -> None:
        shown = provided(Answers({})).declarable(DEVICE, TWIN_DOCUMENT, {})
        assert shown == {"tags": {}, "properties": {"desired": {"interval": 60}}, "status": "disabled"}

    async def test_the_secrets_of_edge_manifests_are_not_kept(self) -> None:
        settings = {"image": "i", "createOptions": "{secret}", "createOptions01": "secret}"}
        desired = {
            "runtime": {"settings": {"registryCredentials": {"r": {"password": "secret"}}, "minDockerVersion": "v1"}},
            "modules": {"m": {"settings": settings}},
            "systemModules": {"edgeHub": {"settings": settings}},
            "$version": 2,
        }
        twin = TWIN_DOCUMENT | {"moduleId": "$edgeAgent", "properties": {"desired": desired}}
        read = await provided(Answers(twin)).read(ResourceKey("hub", MODULE, "pump-1/$edgeAgent"))
        assert b"secret" not in read.document
        assert json.loads(read.document)["properties"]["desired"]["modules"] == {"m": {"settings": {"image": "i"}}}

        content = {"modulesContent": {"$edgeAgent": {"properties.desired": desired}}}
        layered = {"$edgeAgent": {"properties.desired.runtime.settings.registryCredentials.r": {"password": "secret"}}}
        layered["$edgeAgent"]["properties.desired.modules.m"] = {"settings": settings}
        for found in (content, {"modulesContent": layered}):
            configuration = {"id": "c", "etag": "MQ==", "content": found}
            page = await provided(Answers([configuration])).page(CONFIGURATION, None)
            assert b"secret" not in page.resources[0].document
            assert page.resources[0].etag == "MQ=="


class TestAbsence:
    async def test_only_the_names_of_an_absence_prove_one(self, hub: Hub) -> None:
        with pytest.raises(NotFoundError):
            await hub.source.read(device("nobody"))
        with pytest.raises(NotFoundError):
            await hub.source.read(ResourceKey("hub", MODULE, f"{hub.ids()[0]}/nobody"))
        with pytest.raises(NotFoundError):
            await hub.source.read(ResourceKey("hub", CONFIGURATION, "nobody"))
        other = b'{"Message":"ErrorCode:IotHubNotFound;no such hub","ExceptionMessage":""}'
        hub.http.when(lambda _: True, before=refused(404, other))
        with pytest.raises(InvalidResponseError, match="proves no absence"):
            await hub.source.read(device(hub.ids()[0]))

    async def test_a_hub_that_fails_over_says_nothing_about_its_devices(self, hub: Hub) -> None:
        hub.cloud.faults = parse_faults("failing-over")
        with pytest.raises(ServerFaultError):
            await hub.source.read(device(hub.ids()[0]))


def grown(**more: Any) -> dict[str, Any]:
    """Return the twin with other counts: `version`, `desired`, `reported`, `etag`, `deviceEtag`, `at`."""
    document = json.loads(json.dumps(TWIN_DOCUMENT))
    for section in ("desired", "reported"):
        document["properties"][section]["$version"] = more.pop(section, document["properties"][section]["$version"])
        if "at" in more:
            document["properties"][section]["$metadata"]["$lastUpdated"] = more["at"]
    more.pop("at", None)
    return document | more


class TestSuccession:
    @pytest.mark.parametrize(
        ("shown", "expected"),
        [
            (grown(), Succession.FOLLOWS),
            (grown(connectionState="Connected"), Succession.FOLLOWS),
            (grown(version=6, reported=4), Succession.FOLLOWS),
            (grown(version=6, desired=3, etag="AAAAAAAAAAM="), Succession.FOLLOWS),
            (grown(etag="AAAAAAAAAAM="), Succession.DOUBTFUL),
            (grown(version=4, reported=2), Succession.DOUBTFUL),
            (grown(version=6, desired=1), Succession.DOUBTFUL),
            (grown(deviceEtag="NDU2"), Succession.UNCLEAR),
            (grown(deviceEtag="NDU2", version=9, desired=4), Succession.UNCLEAR),
            (grown(deviceEtag="NDU2", version=2, desired=1, reported=1), Succession.REPLACES),
            (grown(deviceEtag="NDU2", version=7, desired=1, reported=6), Succession.REPLACES),
            (grown(deviceEtag="NDU2", at="2026-02-01T00:00:00Z"), Succession.REPLACES),
            (grown(moduleId="m", version=2, desired=1, reported=1), Succession.REPLACES),
        ],
    )
    def test_what_a_twin_is_to_the_one_before(self, shown: dict[str, Any], expected: Succession) -> None:
        assert succession(TWIN_DOCUMENT, shown) is expected

    def test_what_is_not_of_its_shape_counts_nothing(self) -> None:
        assert succession({"properties": 3}, {"version": "x"}) is Succession.FOLLOWS


class TestWriting:
    async def test_a_twin_is_patched_under_its_quoted_etag_with_the_leaves_alone(self, hub: Hub) -> None:
        key = device(hub.ids()[0])
        wanted = await hub.change(key, TWIN, tags__ring="gold", properties__desired__telemetry__intervalS=7)
        before = hub.twin(key.id)

        written = await hub.source.patch(wanted)

        [sent] = [request for request in hub.http.sent if is_write(request)]
        assert sent.method == "PATCH"
        assert sent.headers["If-Match"] == f'"{before["etag"]}"'
        assert sent.operation == "twin_write"
        assert json.loads(sent.body or b"") == {
            "tags": {"ring": "gold"},
            "properties": {"desired": {"telemetry": {"intervalS": 7}}},
        }
        assert isinstance(written.shown, Resource)
        assert json.loads(written.shown.document) == hub.twin(key.id)

    async def test_a_key_that_is_to_be_absent_is_sent_as_null(self, hub: Hub) -> None:
        key = device(hub.ids()[0])
        hub.cloud.hub.operator_edit(key.id, {"tags": {"old": "x"}})
        await hub.source.patch(await hub.change(key, TWIN, tags__old=ABSENT))
        assert "old" not in hub.twin(key.id).get("tags", {})

    async def test_a_module_is_patched_at_its_own_address(self, hub: Hub) -> None:
        one = (await hub.source.page(MODULE, None)).resources[0]
        key = ResourceKey("hub", MODULE, one.id)
        written = await hub.source.patch(await hub.change(key, TWIN, properties__desired__intervalS=3))
        assert isinstance(written.shown, Resource)
        assert written.shown.id == one.id
        assert json.loads(written.shown.document)["properties"]["desired"]["intervalS"] == 3

    async def test_an_identity_is_put_whole_with_its_keys_under_its_own_etag(self, hub: Hub) -> None:
        key = device(hub.ids()[0])
        before = hub.identity(key.id)

        written = await hub.source.patch(await hub.change(key, IDENTITY, status="disabled", statusReason="stolen"))

        after = hub.identity(key.id)
        assert (after["status"], after["statusReason"]) == ("disabled", "stolen")
        assert after["authentication"] == before["authentication"]
        assert after["capabilities"] == before["capabilities"]
        assert after["generationId"] == before["generationId"]
        [sent] = [request for request in hub.http.sent if is_write(request)]
        assert (sent.method, sent.operation) == ("PUT", "registry")
        assert sent.headers["If-Match"] == f'"{before["etag"]}"'
        # The answer holds the keys: what the device is now, a read of the twin tells.
        assert written.shown is None
        assert (await hub.source.read(key)).facts.enabled is False

    async def test_a_reason_can_be_taken_away(self, hub: Hub) -> None:
        key = device(hub.ids()[0])
        hub.cloud.hub.operator_edit(key.id, {"status": "disabled"})
        await hub.source.patch(await hub.change(key, IDENTITY, statusReason="stolen"))
        await hub.source.patch(await hub.change(key, IDENTITY, statusReason=ABSENT))
        assert hub.identity(key.id)["statusReason"] is None

    async def test_an_identity_that_somebody_wrote_since_is_not_put(self, hub: Hub) -> None:
        key = device(hub.ids()[0])
        wanted = await hub.change(key, IDENTITY, status="disabled")
        hub.cloud.hub.operator_edit(key.id, {"status": "disabled"})
        hub.cloud.hub.operator_edit(key.id, {"status": "enabled"})
        with pytest.raises(ConflictError):
            await hub.source.patch(wanted)
        assert not hub.http.count(is_write)

    async def test_an_identity_written_between_the_read_and_the_put_is_a_conflict(self, hub: Hub) -> None:
        key = device(hub.ids()[0])
        wanted = await hub.change(key, IDENTITY, status="disabled")
        hub.http.when(
            is_write, before=lambda _: hub.cloud.hub.operator_edit(key.id, {"status": "disabled"}) and None, times=1
        )
        with pytest.raises(ConflictError):
            await hub.source.patch(wanted)

    @pytest.mark.parametrize("fault", [lost, refused(303), refused(500)])
    async def test_when_the_identity_cannot_be_read_nothing_was_sent(self, hub: Hub, fault: Hook) -> None:
        wanted = await hub.change(device(hub.ids()[0]), IDENTITY, status="disabled")
        hub.http.when(lambda request: "/devices/" in request.url, before=fault)
        with pytest.raises((TransientError, InvalidResponseError)) as caught:
            await hub.source.patch(wanted)
        assert caught.value.sent is False

    async def test_a_configuration_is_put_whole_with_the_change_in_it(self, hub: Hub) -> None:
        one = (await hub.source.page(CONFIGURATION, None)).resources[0]
        key = ResourceKey("hub", CONFIGURATION, one.id)
        before = json.loads(one.document)
        written = await hub.source.patch(await hub.change(key, DOCUMENT, priority=77, labels__team="blue"))
        assert isinstance(written.shown, Resource)
        after = json.loads(written.shown.document)
        assert (after["priority"], after["labels"]["team"]) == (77, "blue")
        assert after["content"] == before["content"]
        [sent] = [request for request in hub.http.sent if is_write(request)]
        assert sent.headers["If-Match"] == f'"{before["etag"]}"'

    @pytest.mark.parametrize("etag", [None, "", "*", "\x7f", 'a"b', "ä"])
    def test_what_if_match_cannot_hold_is_no_guard(self, etag: Any) -> None:
        document = json.dumps(TWIN_DOCUMENT | {"deviceEtag": etag}).encode()
        resource = Resource(id="pump-1", document=document, etag=etag)
        assert provided(Answers({})).guard(TWIN, resource) is None
        assert provided(Answers({})).guard(IDENTITY, resource) is None

    async def test_without_a_guard_nothing_is_sent(self) -> None:
        http = Answers(TWIN_DOCUMENT)
        with pytest.raises(TypeError, match="If-Match"):
            await provided(http).patch(
                change(device("a"), TWIN, {"tags__a": 1}, Guard(kind=GuardKind.REREAD, etag=ETag("x")))
            )
        assert http.requests == []

    async def test_no_write_of_this_file_was_unquoted_or_a_star(self, hub: Hub) -> None:
        key = device(hub.ids()[0])
        await hub.source.patch(await hub.change(key, TWIN, tags__a="1"))
        await hub.source.patch(await hub.change(key, IDENTITY, status="disabled"))
        books = hub.cloud.counters
        assert books.if_match_current == 2
        assert books.if_match_missing == books.if_match_unquoted == books.if_match_star == 0

    @pytest.mark.parametrize("id", [EVERY_CHARACTER, *ODD_IDS])
    async def test_ids_reach_the_right_twin_byte_for_byte(self, hub: Hub, id: str) -> None:
        if id not in hub.ids():
            hub.cloud.hub.add_device(id)
        assert (await hub.source.read(device(id))).id == id
        await hub.source.patch(await hub.change(device(id), TWIN, tags__mine=id))
        await hub.source.patch(await hub.change(device(id), IDENTITY, status="disabled"))
        marked = [one["deviceId"] for one in map(hub.twin, hub.ids()) if one.get("tags", {}).get("mine") == id]
        assert marked == [id]
        assert hub.identity(id)["status"] == "disabled"

    @pytest.mark.parametrize("id", [".", ".."])
    async def test_an_id_that_a_path_cannot_hold_is_refused(self, hub: Hub, id: str) -> None:
        with pytest.raises(RejectedError):
            await hub.source.read(device(id))


def objections(values: dict[str, object], document: dict[str, Any] | None = None) -> list[Objection]:
    leaves = tuple(
        Leaf(path=parse(name), actual=ABSENT, declared=value, declarations=("d",)) for name, value in values.items()
    )
    part = IDENTITY if "status" in "".join(values) else TWIN
    wanted = Change(
        key=device("pump-1"), part=part, guard=Guard(kind=GuardKind.IF_MATCH, etag=ETag("e")), leaves=leaves
    )
    shown = Resource(id="pump-1", document=json.dumps(document or TWIN_DOCUMENT).encode())
    return list(provided(Answers({})).objections(wanted, shown))


def nested(depth: int) -> object:
    return {"a": nested(depth - 1)} if depth else 1


class TestRules:
    @pytest.mark.parametrize(
        ("path", "value", "rule"),
        [
            ('tags."a.b"', 1, r"no key with .*'a\.b'"),
            ('tags."a b"', 1, "no key with"),
            ('tags."$a"', 1, "no key with"),
            ("tags.a", [{"b\u0085": 1}], "no key with"),
            (f"tags.{'k' * 1025}", 1, "1025 bytes"),
            ("tags.a", "x" * 4097, "4097 bytes"),
            ("tags.a", "ä" * 2049, "4098 bytes"),
            ("properties.desired.a", 4503599627370496, "beyond the integers"),
            ("properties.desired.a", [-4503599627370497], "beyond the integers"),
            ("properties.desired.a.b.c.d.e.f.g.h.i.j.k.l", 1, "10 levels"),
            ("properties.desired.a", nested(11), "10 levels"),
            ("statusReason", "x" * 129, "129 characters"),
        ],
    )
    def test_what_iot_hub_would_refuse_is_held_and_the_rule_named(self, path: str, value: object, rule: str) -> None:
        [objection] = objections({path: value})
        assert (objection.path, objection.state) == (parse(path), DriftState.HELD)
        assert re.search(rule, objection.by)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (f"tags.{'k' * 1024}", "x" * 4096),
            ('tags."ünïcode"', "🌧"),
            ("properties.desired.a", 4503599627370495),
            ("properties.desired.a", -4503599627370496),
            ("properties.desired.a.b.c.d.e.f.g.h.i.j.k", 1),
            ("properties.desired.a", nested(10)),
            ("properties.desired.a", True),
            ("properties.desired.a", ABSENT),
            ("status", "disabled"),
            ("statusReason", "x" * 128),
        ],
    )
    async def test_what_iot_hub_takes_is_not_held(self, hub: Hub, path: str, value: object) -> None:
        assert objections({path: value}) == []
        key = device(hub.ids()[0])
        part = IDENTITY if path.startswith("status") else TWIN
        shown = await hub.source.read(key)
        guard = hub.source.guard(part, shown)
        assert guard is not None
        leaf = Leaf(path=parse(path), actual=ABSENT, declared=value, declarations=("d",))
        await hub.source.patch(Change(key=key, part=part, guard=guard, leaves=(leaf,)))

    def test_a_section_that_would_be_too_large_holds_all_its_leaves_and_no_others(self) -> None:
        full = TWIN_DOCUMENT | {"tags": {"a": "x" * 4000, "b": "x" * 4000}}
        values: dict[str, object] = {"tags.c": "x" * 300, "tags.d": 1, "properties.desired.e": 1}
        found = objections(values, full)
        assert [objection.path for objection in found] == [("tags", "c"), ("tags", "d")]
        assert "tags would be 8312 bytes, and IoT Hub takes 8192" in found[0].by
        # Making room at the same time is fine.
        assert objections({"tags.c": "x" * 300, "tags.b": ABSENT}, full) == []

    def test_what_is_held_or_contested_takes_no_room(self) -> None:
        found = objections({"tags.c": "x" * 9000, "tags.d": 1})
        assert [objection.path for objection in found] == [("tags", "c")]
        document = json.loads(json.dumps(TWIN_DOCUMENT))
        document["properties"]["desired"] |= {"theirs": 1}
        document["properties"]["desired"]["$metadata"]["theirs"] = {"$lastUpdatedBy": "baseline"}
        values = {"properties.desired.theirs": ["x" * 4000] * 9, "properties.desired.mine": 1}
        found = objections(values, document)
        assert [objection.path[-1] for objection in found] == ["theirs"]

    def test_a_section_that_is_too_large_already_may_shrink(self) -> None:
        full = TWIN_DOCUMENT | {"tags": {"a": "x" * 4000, "b": "x" * 4000, "c": "x" * 4000}}
        assert objections({"tags.a": "x" * 3000}, full) == []
        assert len(objections({"tags.a": "x" * 4001}, full)) == 1

    def test_what_an_automatic_configuration_wrote_is_contested(self) -> None:
        by = {"$lastUpdatedBy": "baseline", "$lastUpdatedByDigest": "d"}
        document = json.loads(json.dumps(TWIN_DOCUMENT))
        document["properties"]["desired"] |= {"policy": {"a": 1, "b": 2}, "plain": 1}
        document["properties"]["desired"]["$metadata"] |= by | {"policy": by | {"a": by, "b": {}}, "plain": {}}
        found = objections({"properties.desired.policy.a": 5}, document)
        assert [(one.path[-1], one.state) for one in found] == [("a", DriftState.CONTESTED)]
        assert "baseline" in found[0].by
        [below] = objections({"properties.desired.policy.a.deeper": 5}, document)
        assert below.state is DriftState.CONTESTED
        [above] = objections({"properties.desired.policy": 5}, document)
        assert above.state is DriftState.CONTESTED
        # Somebody else wrote beside it last, and so to what holds both.
        del document["properties"]["desired"]["$metadata"]["policy"]["$lastUpdatedBy"]
        for whole in (5, ABSENT):
            [around] = objections({"properties.desired.policy": whole}, document)
            assert around.state is DriftState.CONTESTED
        for free in ("policy.b", "policy.new", "plain", "new"):
            assert objections({f"properties.desired.{free}": 5}, document) == []
        assert objections({"tags.a": 5}, document) == []

    def test_the_seeded_configuration_contests_its_keys(self, hub: Hub) -> None:
        canaries = [id for id in hub.ids() if "$lastUpdatedBy" in json.dumps(hub.twin(id))]
        assert canaries


def test_a_basic_tier_is_no_choice_since_it_has_no_twins() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"tier": "B1"}, Settings)


def test_the_scope_is_the_hub() -> None:
    assert PROVIDER.scope("https://Contoso.azure-devices.net", Settings()) == "hub contoso.azure-devices.net"
    assert load("iot-hub") is PROVIDER
    assert KIND.scope == "https://iothubs.azure.net/.default"


async def test_a_cursor_is_sent_as_it_is() -> None:
    http = Answers([])
    odd = Cursor(base64.b64encode(bytes(range(200))).decode())
    await provided(http).page(MODULE, odd)
    assert http.requests[0].headers["x-ms-continuation"] == odd
    assert json.loads(http.requests[0].body or b"") == {"query": "SELECT * FROM devices.modules"}


async def test_an_unreadable_answer_to_a_write_shows_nothing(hub: Hub) -> None:
    wanted = await hub.change(device(hub.ids()[0]), TWIN, tags__a=1)
    http = Answers(b'{"deviceId":"a","x":"\\u0000"}')
    assert (await provided(http).patch(wanted)).shown is None


async def test_an_answer_about_another_device_shows_nothing_of_this_one(hub: Hub) -> None:
    wanted = await hub.change(device(hub.ids()[0]), TWIN, tags__a=1)
    assert (await provided(Answers(TWIN_DOCUMENT)).patch(wanted)).shown is None


def test_secrets_of_edge_manifests_cannot_be_declared() -> None:
    for type in (MODULE, CONFIGURATION):
        for name in ("registryCredentials", "createOptions01", "properties.desired.runtime.registryCredentials.r"):
            assert KIND.specs[type].is_secret(name)
        assert not KIND.specs[type].is_secret("settings")
