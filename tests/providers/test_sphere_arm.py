"""Azure Sphere behind Azure Resource Manager: the contract, and what is peculiar to this service."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fleetsync.core.declaration import ABSENT
from fleetsync.core.merge_patch import without
from fleetsync.core.model import DEVICE, Cursor, ETag, Part, Resource, ResourceKey, ResourceType
from fleetsync.core.operation import Operation, Standing
from fleetsync.core.path import Path
from fleetsync.core.plan import Change, DriftState, Guard, GuardKind, Leaf
from fleetsync.errors import ConflictError, InvalidResponseError, NotFoundError, RejectedError, UnreachableError
from fleetsync.providers.base import Endpoint, Target
from fleetsync.providers.sphere_arm import (
    CATALOG,
    CERTIFICATE,
    DEPLOYMENT,
    DEVICE_GROUP,
    GROUP,
    IMAGE,
    KIND,
    PRODUCT,
    PROVIDER,
    SETTINGS,
    TAGS,
    Settings,
    SphereArm,
)
from fleetsync.simulator import Cloud, Options, SimRequest, SimResponse, parse_faults
from fleetsync.simulator.arm.routes import GROUP as GROUP_WORDS
from fleetsync.transport.http import Request, Response
from tests.fakes.clock import FakeClock
from tests.fakes.http import CloudHttp, is_write, lost, refused
from tests.fakes.known import KnownDocuments
from tests.providers.contract import ProviderContract

MAIN = "sphere-prod/maincatalog"


class Sphere:
    """The simulated subscription without limits, and the provider on it."""

    def __init__(self, *, options: Mapping[str, Any] | None = None, **settings: Any) -> None:
        self.clock = FakeClock()
        chosen: dict[str, Any] = {
            "listen": "127.0.0.1:8080",
            "kinds": ("sphere-arm",),
            "sphere_devices": 60,
            "arm_rate": "none",
            "arm_page_size": 25,
            "latency_s": 0.0,
        }
        self.cloud = Cloud(Options(**chosen | dict(options or {})), now=lambda: self.clock.now().timestamp())
        self.http = CloudHttp(self.cloud, self.clock)
        self.known = KnownDocuments()
        self.source = self.connected(**settings)

    def connected(self, **settings: Any) -> SphereArm:
        """Return a provider as a new process has it: it remembers nothing."""
        own = Settings(subscription=self.cloud.arm.subscription, **settings)
        return SphereArm(
            Endpoint(
                name="catalog", url=self.cloud.arm_url, http=self.http, known=self.known, clock=self.clock, settings=own
            )
        )

    def ids(self, catalog: str = "MainCatalog") -> list[str]:
        return [one["id"] for one in self.cloud.arm.truth() if one["catalog"] == catalog]

    def place(self, id: str) -> str:
        one = next(one for one in self.cloud.arm.truth() if one["id"] == id)
        return f"{one['product']}/{one['group']}"

    async def all(self, type: ResourceType) -> dict[str, Resource]:
        """List everything, and let the mirror know it."""
        found: dict[str, Resource] = {}
        cursor = None
        while True:
            page = await self.source.page(type, cursor)
            assert not page.unreadable
            found |= {one.id: one for one in page.resources}
            self.known |= {ResourceKey("catalog", type, one.id): one.document for one in page.resources}
            if page.next is None:
                return found
            cursor = page.next

    async def change(self, key: ResourceKey, part: Part, **values: object) -> Change:
        shown = await self.source.read(key)
        guard = self.source.guard(part, shown)
        assert guard is not None
        leaves = tuple(
            Leaf(path=tuple(name.split("__")), actual=ABSENT, declared=value, declarations=("d",))
            for name, value in values.items()
        )
        return Change(key=key, part=part, guard=guard, leaves=leaves)


def device(id: str) -> ResourceKey:
    return ResourceKey("catalog", DEVICE, id)


def group(place: str = "coldchain/field test") -> ResourceKey:
    return ResourceKey("catalog", DEVICE_GROUP, f"{MAIN}/{place}")


def catalog() -> ResourceKey:
    return ResourceKey("catalog", CATALOG, MAIN)


class TestSphereArmContract(ProviderContract):
    kind = "sphere-arm"

    @pytest.fixture
    def target(self) -> SphereArm:
        self.sphere = Sphere(catalog="MainCatalog")
        return self.sphere.source

    def ids(self) -> list[str]:
        return self.sphere.ids()

    def edit(self, id: str) -> None:
        self.sphere.cloud.arm.operator_move(id, "Line Gateway", "Development")

    def make_empty(self) -> None:
        for id in self.ids():
            self.sphere.cloud.arm.delete_device(id)

    def lose_the_array(self) -> None:
        # The list of catalogs comes before.
        self.sphere.cloud.faults = parse_faults("no-value@2")

    def desired(self) -> tuple[Part, Path, object]:
        return GROUP, ("group",), "prototypes/p1"

    def let_it_end(self) -> None:
        self.sphere.clock.step(6)

    async def test_a_stale_write_is_a_conflict_and_changes_nothing(self, target: Target) -> None:
        # The path is the guard: it is the one of the last read, which comes right before the write.
        id = self.ids()[0]
        change = await self.change(target, id)
        self.edit(id)
        with pytest.raises(ConflictError):
            await target.patch(change)
        assert self.sphere.place(id) == "Line Gateway/Development"


@pytest.fixture
def sphere() -> Sphere:
    return Sphere()


class TestListing:
    async def test_all_catalogs_of_a_subscription_are_listed_one_after_the_other(self, sphere: Sphere) -> None:
        found = await sphere.all(DEVICE)
        assert sorted(found) == sorted(sphere.ids() + sphere.ids("Pilot_01"))
        assert {one.facts.group_id for one in found.values() if one.id in sphere.ids("Pilot_01")} == {
            "sphere-pilot/pilot_01/prototypes/p1"
        }

    @pytest.mark.parametrize(
        ("settings", "catalogs"),
        [
            ({}, {MAIN, "sphere-pilot/pilot_01"}),
            ({"resource_group": "SPHERE-PROD"}, {MAIN}),
            ({"catalog": "pilot_01"}, {"sphere-pilot/pilot_01"}),
            ({"resource_group": "sphere-prod", "catalog": "pilot_01"}, set()),
        ],
    )
    async def test_only_what_is_meant_is_listed(self, settings: dict[str, str], catalogs: set[str]) -> None:
        sphere = Sphere(**settings)
        assert set(await sphere.all(CATALOG)) == catalogs
        places = {"/".join((one.facts.group_id or "").split("/")[:2]) for one in (await sphere.all(DEVICE)).values()}
        assert places == catalogs

    async def test_every_type_is_listed_and_read_alike(self, sphere: Sphere) -> None:
        for spec in KIND.types:
            found = await sphere.all(spec.type)
            assert found
            for one in found.values():
                read = await sphere.source.read(ResourceKey("catalog", spec.type, one.id))
                shown = [without(msgspec.json.decode(each.document), spec.volatile) for each in (one, read)]
                assert shown[0] == shown[1]

    async def test_the_cost_is_one_write_for_a_catalog_and_reads_for_the_rest(self) -> None:
        sphere = Sphere(catalog="MainCatalog", options={"arm_page_size": 10})
        await sphere.all(DEVICE)
        assert [request.operation for request in sphere.http.sent] == ["read", "write", *["read"] * 5]
        assert all(request.is_safe for request in sphere.http.sent)

    async def test_ids_are_readable_and_belong_together(self, sphere: Sphere) -> None:
        groups = await sphere.all(DEVICE_GROUP)
        assert f"{MAIN}/coldchain/field test" in groups
        assert groups[f"{MAIN}/coldchain/field test"].facts.display_name == "Field Test"
        assert {id.rpartition("/")[0] for id in await sphere.all(DEPLOYMENT)} <= set(groups)
        assert {id.rpartition("/")[0] for id in groups} <= set(await sphere.all(PRODUCT))

    async def test_what_is_in_images_is_kept_nowhere(self, sphere: Sphere) -> None:
        for type in (IMAGE, DEPLOYMENT):
            for one in (await sphere.all(type)).values():
                assert b"blob.core" not in one.document
                assert b"imageName" in one.document

    async def test_certificates_keep_what_they_are(self, sphere: Sphere) -> None:
        documents = [json.loads(one.document) for one in (await sphere.all(CERTIFICATE)).values()]
        assert {one["properties"]["status"] for one in documents} == {"Active", "Expired"}

    async def test_a_list_of_catalogs_that_leads_in_a_circle_is_refused(self, sphere: Sphere) -> None:
        sphere.cloud.faults = parse_faults("loop-link")
        with pytest.raises(InvalidResponseError, match="circle"):
            await sphere.source.page(DEVICE, None)

    async def test_a_catalog_that_is_listed_twice_is_gone_through_once(self) -> None:
        catalog = "/subscriptions/s/resourceGroups/G/providers/P/catalogs/C"
        http = Answers({"value": [{"id": catalog, "name": "C"}, {"id": catalog.upper(), "name": "C"}]})
        assert (await Answers.source(http).page(CERTIFICATE, None)).next is None

    async def test_a_link_that_leads_elsewhere_is_not_followed(self) -> None:
        sphere = Sphere(catalog="MainCatalog")
        sphere.cloud.faults = parse_faults("foreign-link=https://elsewhere.example@2")
        page = await sphere.source.page(DEVICE, None)
        with pytest.raises(InvalidResponseError, match="elsewhere"):
            await sphere.source.page(DEVICE, page.next)

    async def test_a_cursor_that_is_none_is_refused(self, sphere: Sphere) -> None:
        with pytest.raises(InvalidResponseError):
            await sphere.source.page(DEVICE, Cursor("somebody else's"))

    @pytest.mark.parametrize("link", ["", None])
    async def test_an_empty_link_is_the_end(self, link: str | None) -> None:
        http = Answers({"value": [{"id": "/subscriptions/s/resourceGroups/G/providers/P/catalogs/C", "name": "C"}]})
        source = Answers.source(http)
        assert (await source.page(CATALOG, None)).next is None
        http.body["nextLink"] = link
        assert (await source.page(CATALOG, None)).next is None

    async def test_a_device_without_an_id_is_mirrored_without_a_place(self) -> None:
        http = Answers({"value": [{"name": "AB12", "properties": {}}]})
        at = Cursor(json.dumps([None, ["/subscriptions/s/resourcegroups/g/providers/p/catalogs/c"]]))
        [one] = (await Answers.source(http).page(DEVICE, at)).resources
        assert (one.id, one.facts.group_id) == ("ab12", None)
        source = Answers.source(http)
        assert source.declarable(DEVICE, json.loads(one.document), {}) == {}
        leaf = Leaf(path=("group",), actual=ABSENT, declared="a/b", declarations=("d",))
        change = Change(key=device("ab12"), part=GROUP, guard=Guard(kind=GuardKind.REREAD), leaves=(leaf,))
        assert [one.state for one in source.objections(change, one)] == [DriftState.HELD]


class Answers:
    """An `Http` that gives one answer, or raises it."""

    def __init__(self, body: Any, status: int = 200, **headers: str) -> None:
        self.body, self.status, self.headers = body, status, headers
        self.requests: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        if isinstance(self.body, Exception):
            raise self.body
        raw = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return Response(status=self.status, headers=self.headers, body=raw)

    @staticmethod
    def source(http: Any) -> SphereArm:
        return SphereArm(
            Endpoint(
                name="catalog",
                url="https://management.azure.com",
                http=http,
                known=KnownDocuments(),
                clock=FakeClock(),
                settings=Settings(subscription="s"),
            )
        )


class TestPlaces:
    async def test_a_device_that_the_mirror_knows_is_read_with_one_request(self, sphere: Sphere) -> None:
        await sphere.all(DEVICE)
        sphere.http.sent.clear()
        await sphere.source.read(device(sphere.ids()[0]))
        assert [request.method for request in sphere.http.sent] == ["GET"]

    async def test_a_device_that_somebody_moved_is_found_and_remembered(self, sphere: Sphere) -> None:
        await sphere.all(DEVICE)
        id = sphere.ids()[0]
        sphere.cloud.arm.operator_move(id, "Prototypes", "P1")
        assert (await sphere.source.read(device(id))).facts.group_id == f"{MAIN}/prototypes/p1"
        sphere.http.sent.clear()
        await sphere.source.read(device(id))
        assert [request.method for request in sphere.http.sent] == ["GET"]
        await sphere.all(DEVICE)
        await sphere.source.read(device(id))
        assert sphere.source._moved == {}

    async def test_a_device_that_is_gone_is_looked_for_before_it_is_called_so(self, sphere: Sphere) -> None:
        await sphere.all(DEVICE)
        id = sphere.ids()[0]
        sphere.cloud.arm.delete_device(id)
        with pytest.raises(NotFoundError):
            await sphere.source.read(device(id))
        assert "listDevices" in sphere.http.sent[-1].url

    async def test_those_who_look_at_the_same_time_share_a_search(self, sphere: Sphere) -> None:
        await sphere.all(DEVICE)
        ids = sphere.ids()
        for id in ids[:12]:
            sphere.cloud.arm.operator_move(id, "Prototypes", "P1")
        sphere.http.sent.clear()
        sphere.http.latency_s = 0.01

        async def read_all() -> list[Resource]:
            return await asyncio.gather(*(sphere.source.read(device(id)) for id in ids[:12]))

        found = await sphere.clock.run(read_all())
        assert {one.facts.group_id for one in found} == {f"{MAIN}/prototypes/p1"}
        searches = sum(request.method == "POST" for request in sphere.http.sent) // 2
        assert 1 <= searches <= 2

    @pytest.mark.parametrize("code", ["SubscriptionNotFound", "InvalidResourceType"])
    async def test_another_404_proves_nothing(self, sphere: Sphere, code: str) -> None:
        await sphere.all(DEVICE)
        body = json.dumps({"error": {"code": code, "message": "m"}}).encode()
        sphere.http.when(lambda _: True, before=refused(404, body))
        with pytest.raises(InvalidResponseError, match="no absence"):
            await sphere.source.read(device(sphere.ids()[0]))


class TestMoving:
    async def moved(self, sphere: Sphere, id: str, place: str = "Prototypes/P1") -> Operation:
        written = await sphere.source.patch(await sphere.change(device(id), GROUP, group=place))
        assert (written.status, written.shown) == (202, None)
        assert written.operation is not None
        return written.operation

    @pytest.mark.parametrize("style", [None, "azure-async", "location", "asyncinfo"])
    async def test_a_move_is_followed_to_its_end(self, sphere: Sphere, style: Any) -> None:
        sphere.cloud.arm.operations.habits.style = style
        sphere.cloud.arm.operations.habits.retry_after = "0"
        await sphere.all(DEVICE)
        id = sphere.ids()[0]
        operation = await self.moved(sphere, id)
        assert operation.wait_s == 1
        assert (await sphere.source.follow(device(id), GROUP, operation)).standing is Standing.RUNNING
        await sphere.clock.advance(6)
        followed = await sphere.source.follow(device(id), GROUP, operation)
        assert (followed.standing, followed.error) == (Standing.DONE, None)
        assert sphere.place(id) == "Prototypes/P1"

    async def test_where_it_went_is_known_without_a_search_also_to_a_new_process(self, sphere: Sphere) -> None:
        await sphere.all(DEVICE)
        id = sphere.ids()[0]
        operation = await self.moved(sphere, id)
        await sphere.clock.advance(6)
        sphere.source = sphere.connected()
        await sphere.source.follow(device(id), GROUP, operation)
        sphere.http.sent.clear()
        assert (await sphere.source.read(device(id))).facts.group_id == f"{MAIN}/prototypes/p1"
        assert len(sphere.http.sent) == 1

    async def test_a_place_that_somebody_else_took_it_from_is_forgotten(self, sphere: Sphere) -> None:
        await sphere.all(DEVICE)
        id = sphere.ids()[0]
        sphere.cloud.arm.operator_move(id, "Prototypes", "P1")
        await sphere.source.read(device(id))
        sphere.cloud.arm.operator_move(id, "ColdChain", "Field Test")
        await sphere.all(DEVICE)
        await self.moved(sphere, id)
        await sphere.clock.advance(6)
        assert sphere.place(id) == "Prototypes/P1"

    @pytest.mark.parametrize("style", [None, "location"])
    @pytest.mark.parametrize("end", ["failing", "canceling"])
    async def test_a_failure_is_told_in_the_words_of_the_service(self, sphere: Sphere, end: str, style: Any) -> None:
        sphere.cloud.arm.operations.habits.style = style
        setattr(sphere.cloud.arm.operations.habits, end, 1.0)
        await sphere.all(DEVICE)
        id = sphere.ids()[0]
        before = sphere.place(id)
        operation = await self.moved(sphere, id)
        await sphere.clock.advance(6)
        followed = await sphere.source.follow(device(id), GROUP, operation)
        assert followed.standing is Standing.FAILED
        words = {"failing": "did not answer the request", "canceling": "canceled by another"}[end]
        assert words in (followed.error or "")
        read = await sphere.source.read(device(id))
        assert sphere.place(id) == before
        assert read.facts.group_id == f"{MAIN}/{before.lower()}"

    async def test_an_operation_that_is_forgotten_is_lost(self, sphere: Sphere) -> None:
        sphere.cloud.arm.operations.habits.kept_s = 1
        await sphere.all(DEVICE)
        operation = await self.moved(sphere, sphere.ids()[0])
        await sphere.clock.advance(60)
        followed = await sphere.source.follow(device(sphere.ids()[0]), GROUP, operation)
        assert followed.standing is Standing.LOST

    async def test_a_signature_that_ended_is_lost_and_no_matter_of_signing_in(self, sphere: Sphere) -> None:
        await sphere.all(DEVICE)
        operation = await self.moved(sphere, sphere.ids()[0])
        sphere.http.when(lambda _: True, before=refused(403))
        followed = await sphere.source.follow(device(sphere.ids()[0]), GROUP, operation)
        assert followed.standing is Standing.LOST

    @pytest.mark.parametrize(
        ("body", "standing"),
        [
            ({"status": "SUCCEEDED", "error": {"code": "X", "message": "y"}}, Standing.DONE),
            ({"status": "failed"}, Standing.FAILED),
            ({"status": "Canceled", "error": {"code": "X", "message": "y"}}, Standing.FAILED),
            ({"status": "Pending", "error": {"code": "X", "message": "y"}}, Standing.RUNNING),
            ({"status": "Anything"}, Standing.RUNNING),
        ],
    )
    async def test_only_the_status_counts(self, body: object, standing: Standing) -> None:
        http = Answers(body, **{"retry-after": "7"})
        operation = Operation(handle=json.dumps(["status", "https://management.azure.com/x?a", None]))
        followed = await Answers.source(http).follow(device("a"), GROUP, operation)
        assert (followed.standing, followed.wait_s) == (standing, 7)
        assert (followed.error is not None) == (standing is Standing.FAILED)
        assert http.requests[0].url == "https://management.azure.com/x?a"

    @pytest.mark.parametrize(
        ("status", "body", "way"),
        [
            (202, b"null", "resource"),
            (202, b"", "resource"),
            (200, b'{"properties":{"provisioningState":"Updating"}}', "resource"),
            (200, b'{"properties":{"provisioningState":"Succeeded"}}', None),
            (200, b'{"properties":{"provisioningState":null}}', None),
            (201, b'{"properties":{}}', None),
            (200, b"null", None),
        ],
    )
    async def test_a_status_alone_proves_nothing(self, status: int, body: bytes, way: str | None) -> None:
        arm = Answers.source(Answers(None))._arm
        operation = arm.operation(Response(status=status, headers={}, body=body), "/subscriptions/s/x")
        assert (operation and json.loads(operation.handle)[0]) == way

    async def test_the_state_of_the_resource_tells_where_nothing_else_does(self) -> None:
        operation = Operation(handle=json.dumps(["resource", "https://management.azure.com/x", None]))
        for state, standing in (
            ("Updating", Standing.RUNNING),
            ("Succeeded", Standing.DONE),
            ("Failed", Standing.FAILED),
        ):
            http = Answers({"properties": {"provisioningState": state}})
            assert (await Answers.source(http).follow(device("a"), GROUP, operation)).standing is standing

    async def test_a_lost_answer_and_a_broken_connection_are_no_end(self, sphere: Sphere) -> None:
        await sphere.all(DEVICE)
        operation = await self.moved(sphere, sphere.ids()[0])
        sphere.http.when(lambda _: True, after=lost)
        with pytest.raises(UnreachableError):
            await sphere.source.follow(device(sphere.ids()[0]), GROUP, operation)

    async def test_a_group_that_there_is_not_is_refused(self, sphere: Sphere) -> None:
        await sphere.all(DEVICE)
        with pytest.raises(RejectedError, match="device group"):
            await sphere.source.patch(await sphere.change(device(sphere.ids()[0]), GROUP, group="Prototypes/P9"))

    async def test_a_device_is_taken_out_of_its_group(self, sphere: Sphere) -> None:
        await sphere.all(DEVICE)
        id = next(id for id in sphere.ids() if not sphere.place(id).startswith("."))
        await self.moved(sphere, id, ".default/.default")
        await sphere.clock.advance(6)
        found = await sphere.all(DEVICE)
        assert found[id].facts.group_id == f"{MAIN}/.default/.default"
        assert (await sphere.source.read(device(id))).facts.group_id == found[id].facts.group_id


class TestSettings:
    async def test_a_group_is_changed_field_by_field(self, sphere: Sphere) -> None:
        change = await sphere.change(group(), SETTINGS, updatePolicy="No3rdPartyAppUpdates", description="x")
        assert change.guard == Guard(kind=GuardKind.REREAD)
        written = await sphere.source.patch(change)
        assert written.operation is None
        shown = json.loads((await sphere.source.read(group())).document)["properties"]
        assert (shown["updatePolicy"], shown["description"]) == ("No3rdPartyAppUpdates", "x")
        [write] = sphere.cloud.counters.writes
        assert write.members == ("properties.updatePolicy", "properties.description")

    async def test_a_group_whose_write_goes_on_is_followed(self, sphere: Sphere) -> None:
        sphere.cloud.arm.writes.slow.add(GROUP_WORDS)
        written = await sphere.source.patch(await sphere.change(group(), SETTINGS, description="later"))
        assert written.operation is not None
        await sphere.clock.advance(6)
        assert (await sphere.source.follow(group(), SETTINGS, written.operation)).standing is Standing.DONE

    async def test_a_setting_cannot_be_unset(self, sphere: Sphere) -> None:
        change = await sphere.change(group(), SETTINGS, description=ABSENT)
        [objection] = sphere.source.objections(change, await sphere.source.read(group()))
        assert objection.state is DriftState.HELD

    async def test_tags_go_out_whole_under_the_etag(self, sphere: Sphere) -> None:
        change = await sphere.change(catalog(), TAGS, tags__stage="test", tags__owner=ABSENT)
        assert change.guard.kind is GuardKind.IF_MATCH
        assert change.guard.needs_reread
        written = await sphere.source.patch(change)
        assert written.shown is not None
        assert sphere.cloud.counters.if_match_current == 1
        tags = json.loads((await sphere.source.read(catalog())).document)["tags"]
        assert tags == {"stage": "test"}

    async def test_an_etag_that_comes_without_quotes_goes_out_in_quotes(self, sphere: Sphere) -> None:
        handle = sphere.cloud.handle_arm

        def bare(request: SimRequest) -> SimResponse:
            answer = handle(request)
            headers = {name: text.strip('"') if name == "ETag" else text for name, text in answer.headers.items()}
            return replace(answer, headers=headers)

        sphere.cloud.handle_arm = bare  # type: ignore[method-assign]  # a service with another habit
        await sphere.source.patch(await sphere.change(catalog(), TAGS, tags__stage="test"))
        [request] = [one for one in sphere.http.sent if one.method == "PATCH"]
        assert request.headers["If-Match"].startswith('"')
        assert sphere.cloud.counters.if_match_current == 1

    async def test_tags_that_somebody_wrote_meanwhile_are_a_conflict(self, sphere: Sphere) -> None:
        change = await sphere.change(catalog(), TAGS, tags__stage="test")
        path = (
            f"/subscriptions/{sphere.cloud.arm.subscription}/resourceGroups/Sphere-Prod/providers/Microsoft.AzureSphere"
        )
        edit = {"tags": {"theirs": "1"}}
        sphere.http.when(
            is_write, before=lambda _: _ignore(sphere.cloud.arm.operator_edit(f"{path}/catalogs/MainCatalog", edit))
        )
        with pytest.raises(ConflictError):
            await sphere.source.patch(change)
        sphere.http.heal()
        with pytest.raises(ConflictError, match="since it was planned"):
            await sphere.source.patch(change)
        assert json.loads((await sphere.source.read(catalog())).document)["tags"] == {"theirs": "1"}

    async def test_a_listed_catalog_has_no_etag_and_gets_one_by_the_read_before_the_write(self, sphere: Sphere) -> None:
        listed = (await sphere.all(CATALOG))[MAIN]
        assert listed.etag is None
        assert sphere.source.guard(TAGS, listed) == Guard(kind=GuardKind.IF_MATCH, reread=True)
        assert (await sphere.source.read(catalog())).etag is not None

    async def test_nothing_is_sent_when_the_read_before_a_write_fails(self, sphere: Sphere) -> None:
        change = await sphere.change(catalog(), TAGS, tags__stage="test")
        sphere.http.when(lambda _: True, after=lost)
        with pytest.raises(UnreachableError) as caught:
            await sphere.source.patch(change)
        assert not caught.value.sent
        assert not sphere.cloud.counters.writes

    def test_an_etag_that_no_header_holds_guards_nothing(self) -> None:
        source = Answers.source(Answers(None))
        resource = Resource(id=MAIN, document=b"{}", etag=ETag("a\nb"))
        assert source.guard(TAGS, resource) == Guard(kind=GuardKind.REREAD)


def _ignore(_: object) -> None:
    """Drop what a hook returns."""


def test_sources_of_a_subscription_share_its_quota() -> None:
    one = PROVIDER.scope("https://management.azure.com", Settings(subscription="AB"))
    other = PROVIDER.scope("https://MANAGEMENT.azure.com/", Settings(subscription="ab", catalog="c"))
    assert one == other
    with pytest.raises(TypeError):
        PROVIDER.scope("https://management.azure.com", object())


async def test_settings_of_another_kind_and_details_are_refused() -> None:
    source = Answers.source(Answers(None))
    with pytest.raises(LookupError):
        await source.detail(catalog(), TAGS)
    with pytest.raises(TypeError):
        SphereArm(
            Endpoint(
                name="x",
                url="https://x",
                http=Answers(None),
                known=KnownDocuments(),
                clock=FakeClock(),
                settings=object(),
            )
        )
