"""Azure Sphere's legacy service: the contract, documents as they are on the wire, and what is peculiar to it."""

import json
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from fleetsync.core.declaration import ABSENT
from fleetsync.core.model import DEVICE, Cursor, Page, Part, Resource, ResourceKey, ResourceType
from fleetsync.core.operation import LASTS_S, Operation, Standing
from fleetsync.core.path import Path
from fleetsync.core.plan import Change, DriftState, Guard, GuardKind, Leaf
from fleetsync.errors import (
    AuthError,
    ConflictError,
    InvalidResponseError,
    NotFoundError,
    RejectedError,
    ResourceError,
    ThrottledError,
)
from fleetsync.providers.base import Endpoint, load
from fleetsync.providers.sphere_legacy import (
    DEPLOYMENT,
    DEVICE_GROUP,
    DEVICE_INSIGHT,
    DOCUMENT,
    GROUP,
    KIND,
    PRODUCT,
    PROVIDER,
    Settings,
    SphereLegacy,
    resource_from,
)
from fleetsync.simulator import Cloud, Options, parse_faults
from fleetsync.transport.client import error_of
from fleetsync.transport.http import Request, Response
from tests.fakes.clock import START, FakeClock
from tests.fakes.http import CloudHttp, is_write
from tests.fakes.known import KnownDocuments
from tests.providers.contract import ProviderContract

TENANT = "768c2cd6-1bf0-4521-9f53-084a331d81cb"
SAMPLE: dict[str, Any] = {
    "Id": "c4b1067f-10be-479a-85e9-d062dae189e1",
    "TenantId": TENANT,
    "OsFeedType": 0,
    "ProductId": "b0ba65bc-648f-4213-a910-cbeb6024c744",
    "Name": "US region",
    "Description": "United States marketing region",
    "CurrentDeployment": None,
    "UpdatePolicy": 0,
    "AllowCrashDumpsCollection": False,
}
"""A device group as the reference shows one."""


class Sphere:
    """The simulated tenant, without limits, and the provider on it."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        chosen: dict[str, Any] = {
            "listen": "127.0.0.1:8080",
            "kinds": ("sphere-legacy",),
            "sphere_devices": 70,
            "sphere_rate": "none",
            "sphere_page_size": 30,
            "latency_s": 0.0,
        }
        self.cloud = Cloud(Options(**chosen | options), now=lambda: self.clock.now().timestamp())
        self.http = CloudHttp(self.cloud, self.clock)
        self.source = provided(self.http, tenant=self.service.tenant.id)

    @property
    def service(self) -> Any:
        return self.cloud.sphere

    def ids(self) -> list[str]:
        return [str(one["DeviceId"]).lower() for one in self.service.truth()]

    def group(self, number: int = 0) -> str:
        found: str = list(self.service.tenant.groups)[number]
        return found

    def placed(self, number: int = 0) -> str:
        """Return a device, which an operator put into the first group."""
        id = self.ids()[number]
        self.service.operator_edit(id, {"DeviceGroupId": self.group()})
        return id

    async def all(self, type: ResourceType) -> list[Resource]:
        return [one for page in await self.pages(type) for one in page.resources]

    async def pages(self, type: ResourceType) -> list[Page]:
        pages, cursor = [], None
        while not pages or cursor is not None:
            pages.append(await self.source.page(type, cursor))
            cursor = pages[-1].next
        return pages


def provided(http: Any, tenant: str = TENANT) -> SphereLegacy:
    url = "http://127.0.0.1:8082/"
    settings = Settings(tenant=tenant)
    return SphereLegacy(
        Endpoint(name="tenant", url=url, http=http, known=KnownDocuments(), clock=FakeClock(), settings=settings)
    )


def device(id: str) -> ResourceKey:
    return ResourceKey("tenant", DEVICE, id)


def change(key: ResourceKey, part: Part, **values: object) -> Change:
    leaves = tuple(
        Leaf(path=(name,), actual=ABSENT, declared=value, declarations=("d",)) for name, value in values.items()
    )
    return Change(key=key, part=part, guard=Guard(kind=GuardKind.REREAD), leaves=leaves)


class TestSphereLegacyContract(ProviderContract):
    kind = "sphere-legacy"
    missing_id = "0" * 128

    @pytest.fixture
    def target(self) -> SphereLegacy:
        self.sphere = Sphere()
        for id in self.sphere.ids()[:1]:
            self.sphere.service.operator_edit(id, {"DeviceGroupId": self.sphere.group()})
        return self.sphere.source

    def ids(self) -> list[str]:
        return self.sphere.ids()

    def edit(self, id: str) -> None:
        self.sphere.service.operator_edit(id, {"DeviceGroupId": self.sphere.group(1)})

    def make_empty(self) -> None:
        for id in self.ids():
            self.sphere.service.tenant.remove(id)

    def lose_the_array(self) -> None:
        self.sphere.cloud.faults = parse_faults("no-value")

    def desired(self) -> tuple[Part, Path, object]:
        return GROUP, ("group",), self.sphere.group(2)

    def let_it_end(self) -> None:
        self.sphere.clock.step(6)


@pytest.fixture
def sphere() -> Sphere:
    return Sphere()


class Answers:
    """An `Http` that gives one answer, as the transport would, and keeps the requests."""

    def __init__(self, body: object, status: int = 200) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.response = Response(status=status, headers={}, body=raw)
        self.requests: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        if self.response.status >= 300:
            raise error_of(request, self.response, START)
        return self.response


class TestListing:
    async def test_a_token_goes_back_in_the_header_as_it_came(self, sphere: Sphere) -> None:
        pages = await sphere.pages(DEVICE)
        assert len(pages) == 3
        first, second, third = sphere.http.sent
        assert "Sphere-Continuation" not in first.headers
        assert second.headers["Sphere-Continuation"] == pages[0].next
        assert third.headers["Sphere-Continuation"] == pages[1].next
        assert {request.url for request in sphere.http.sent} == {first.url}
        assert {request.operation for request in sphere.http.sent} == {"read"}

    @pytest.mark.parametrize("end", [{}, {"ContinuationToken": None}, {"ContinuationToken": ""}])
    async def test_the_end_is_no_token(self, end: dict[str, Any]) -> None:
        assert (await provided(Answers({"Items": [SAMPLE], **end})).page(DEVICE_GROUP, None)).next is None

    @pytest.mark.parametrize("faults", ["empty-page@2", "short-page=0.3"])
    async def test_short_and_empty_pages_are_not_the_end(self, sphere: Sphere, faults: str) -> None:
        sphere.cloud.faults = parse_faults(faults)
        assert [one.id for one in await sphere.all(DEVICE)] == sphere.ids()

    @pytest.mark.parametrize("token", ["a\nb", "ä", " a", "a "])
    async def test_a_token_that_no_header_can_carry_is_refused(self, token: str) -> None:
        with pytest.raises(InvalidResponseError):
            await provided(Answers({"Items": [], "ContinuationToken": token})).page(DEVICE, None)

    async def test_ids_of_devices_are_lower_case_and_documents_as_they_came(self, sphere: Sphere) -> None:
        shown = await sphere.all(DEVICE)
        assert all(one.id == one.id.lower() for one in shown)
        documents = [json.loads(one.document) for one in shown]
        assert documents == sphere.service.truth()
        assert any(one["DeviceId"] != one["DeviceId"].lower() for one in documents)
        assert {one.etag for one in shown} == {None}

    async def test_the_facts_of_a_device(self, sphere: Sphere) -> None:
        id = sphere.placed()
        sphere.service.check_in(id)
        shown = await sphere.source.read(device(id))
        assert shown.facts.group_id == sphere.group()
        assert shown.facts.last_activity_at == sphere.clock.now()
        assert shown.facts.display_name is None

    async def test_groups_and_products_are_listed_and_read(self, sphere: Sphere) -> None:
        for type, documents in ((DEVICE_GROUP, sphere.service.groups()), (PRODUCT, None)):
            shown = await sphere.all(type)
            assert documents is None or sorted(one["Id"] for one in documents) == [one.id for one in shown]
            for one in shown:
                assert await sphere.source.read(ResourceKey("tenant", type, one.id)) == one
                assert one.facts.display_name == json.loads(one.document)["Name"]

    async def test_deployments_are_listed_group_by_group(self, sphere: Sphere) -> None:
        sphere.service.pages.size = 3
        shown = await sphere.all(DEPLOYMENT)
        expected = {
            f"{group.id}/{one.id}" for group in sphere.service.tenant.groups.values() for one in group.deployments
        }
        assert {one.id for one in shown} == expected
        assert len(shown) == len(expected) == 8
        # The eleven groups of four pages, and a page of each: nothing is asked for twice.
        assert len(sphere.http.sent) == 4 + 11

    async def test_deployments_of_one_group_on_several_pages(self, sphere: Sphere) -> None:
        group = next(one for one in sphere.service.tenant.groups.values() if one.deployments)
        for _ in range(7):
            sphere.service.tenant.deploy(group, ("image",), at=0.0)
        sphere.service.pages.size = 2
        shown = await sphere.all(DEPLOYMENT)
        assert len({one.id for one in shown}) == len(shown) == 8 + 7

    async def test_a_group_that_is_deleted_meanwhile_has_no_deployments(self, sphere: Sphere) -> None:
        first = await sphere.source.page(DEPLOYMENT, None)
        assert first.resources == ()
        gone = next(one for one in sphere.service.tenant.groups.values() if one.deployments)
        del sphere.service.tenant.groups[gone.id]
        shown, cursor = [], first.next
        while cursor is not None:
            page = await sphere.source.page(DEPLOYMENT, cursor)
            shown += page.resources
            cursor = page.next
        assert len(shown) == 6
        assert not any(one.id.startswith(gone.id) for one in shown)

    async def test_a_tenant_without_groups_has_no_deployments(self, sphere: Sphere) -> None:
        sphere.service.tenant.groups.clear()
        assert await sphere.pages(DEPLOYMENT) == [Page(resources=(), next=None)]

    async def test_insights_are_told_apart_by_device_time_and_kind(self, sphere: Sphere) -> None:
        shown = await sphere.all(DEVICE_INSIGHT)
        assert shown
        one = json.loads(shown[0].document)
        assert shown[0].id == f"{one['DeviceId'].lower()}/{one['StartTimestampInUnix']}/Application/AppCrash/App"

    @pytest.mark.parametrize("type", [DEPLOYMENT, DEVICE_INSIGHT])
    async def test_what_cannot_be_read_alone_is_not_said_to_be_gone(self, sphere: Sphere, type: ResourceType) -> None:
        with pytest.raises(ResourceError) as caught:
            await sphere.source.read(ResourceKey("tenant", type, "a/b"))
        assert not isinstance(caught.value, NotFoundError)
        assert sphere.http.sent == []

    async def test_a_list_without_ids_is_refused(self) -> None:
        for body in ({"Items": [{"Name": "x"}]}, {"Items": [{"Id": ""}]}, {"Items": [3]}):
            with pytest.raises(InvalidResponseError):
                await provided(Answers(body)).page(DEVICE_GROUP, None)

    async def test_what_cannot_be_stored_keeps_its_id(self) -> None:
        page = await provided(Answers({"Items": [SAMPLE | {"Name": "a\0b"}]})).page(DEVICE_GROUP, None)
        assert [one.id for one in page.unreadable] == [SAMPLE["Id"]]

    async def test_an_answer_about_another_device_is_refused(self) -> None:
        with pytest.raises(InvalidResponseError, match="asked for"):
            await provided(Answers({"DeviceId": "b" * 128})).read(device("a" * 128))

    async def test_there_are_no_details(self, sphere: Sphere) -> None:
        with pytest.raises(LookupError):
            await sphere.source.detail(device("a"), GROUP)

    async def test_429_without_a_time_is_throttling(self) -> None:
        sphere = Sphere(sphere_rate="1/s burst 1")
        await sphere.source.page(PRODUCT, None)
        with pytest.raises(ThrottledError) as caught:
            await sphere.source.page(PRODUCT, None)
        assert caught.value.retry_after_s is None

    async def test_errors_are_told_in_the_services_own_words(self, sphere: Sphere) -> None:
        with pytest.raises(NotFoundError, match="NotFound: the device does not exist"):
            await sphere.source.read(device("0" * 128))
        with pytest.raises(InvalidResponseError):
            await provided(Answers(b"<html>", status=404)).read(device("0" * 128))


class TestIntroduction:
    async def test_a_tenant_of_the_caller_is_fine(self, sphere: Sphere) -> None:
        await sphere.source.introduce()
        assert sphere.http.sent[0].url.endswith("/v2/tenants")

    async def test_another_tenant_is_named_with_those_that_there_are(self, sphere: Sphere) -> None:
        with pytest.raises(AuthError, match="Contoso"):
            await provided(sphere.http).introduce()
        with pytest.raises(AuthError, match="none"):
            await provided(Answers([])).introduce()


class TestDeclaring:
    def test_enums_are_declared_by_name_and_spelled_as_the_patch_is(self) -> None:
        assert provided(Answers({})).declarable(DEVICE_GROUP, SAMPLE, {}) == {
            "Name": "US region",
            "Description": "United States marketing region",
            "OSFeedType": "Retail",
            "UpdatePolicy": "UpdateAll",
            "AllowCrashDumpsCollection": False,
        }

    def test_a_number_that_nobody_knows_stays_one(self) -> None:
        shown = provided(Answers({})).declarable(DEVICE_GROUP, SAMPLE | {"UpdatePolicy": 2, "OsFeedType": True}, {})
        assert (shown["UpdatePolicy"], shown["OSFeedType"]) == (2, True)

    def test_what_is_missing_is_not_there(self) -> None:
        source = provided(Answers({}))
        assert source.declarable(DEVICE_GROUP, {"Id": "x"}, {}) == {"Description": ""}
        assert source.declarable(DEVICE, {"DeviceGroupId": None}, {}) == {}
        assert source.declarable(DEVICE, {"DeviceGroupId": "ABC"}, {}) == {"group": "abc"}
        assert source.declarable(DEVICE, 3, {}) == {}

    @pytest.mark.parametrize(
        ("type", "name", "good", "bad"),
        [
            (DEVICE_GROUP, "OSFeedType", "RetailEval", 1),
            (DEVICE_GROUP, "UpdatePolicy", "No3rdPartyAppUpdates", "NoUpdates"),
            (DEVICE_GROUP, "Name", "US region 2", "a_b"),
            (DEVICE_GROUP, "Name", "x" * 50, "x" * 51),
            (DEVICE_GROUP, "AllowCrashDumpsCollection", True, "yes"),
            (DEVICE, "group", SAMPLE["Id"], SAMPLE["Id"].upper()),
            (DEVICE, "group", SAMPLE["Id"], "Product/Group"),
        ],
    )
    def test_what_can_be_declared(self, type: ResourceType, name: str, good: object, bad: object) -> None:
        writable = KIND.specs[type].writable_at((name,))
        assert writable is not None
        msgspec.convert(good, writable.value)  # type: ignore[call-overload]  # a form is no type
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(bad, writable.value)  # type: ignore[call-overload]

    def test_everything_is_guarded_by_reading_again(self) -> None:
        source = provided(Answers({}))
        shown = Resource(id="a", document=b"{}")
        assert source.guard(GROUP, shown) == source.guard(DOCUMENT, shown) == Guard(kind=GuardKind.REREAD)
        assert source.guard(Part("tags"), shown) is None

    def test_nothing_can_be_taken_away(self) -> None:
        source, shown = provided(Answers({})), Resource(id="a", document=b"{}")
        wanted = change(ResourceKey("tenant", DEVICE_GROUP, "a"), DOCUMENT, Description=ABSENT, Name="x")
        [objection] = source.objections(wanted, shown)
        assert (objection.path, objection.state) == (("Description",), DriftState.HELD)

    def test_only_the_last_check_in_is_no_news(self) -> None:
        assert KIND.specs[DEVICE].volatile == (("LastUpdateRequestUTC",),)
        assert KIND.specs[DEVICE].lasts_s(GROUP) == LASTS_S
        assert KIND.specs[DEVICE_GROUP].lasts_s(DOCUMENT) == 0.0


class TestWriting:
    async def test_a_group_is_patched_with_what_differs_and_enums_as_numbers(self, sphere: Sphere) -> None:
        key = ResourceKey("tenant", DEVICE_GROUP, sphere.group())
        wanted = change(
            key, DOCUMENT, OSFeedType="RetailEval", UpdatePolicy="UpdateAll", AllowCrashDumpsCollection=True
        )
        written = await sphere.source.patch(wanted)
        [sent] = [request for request in sphere.http.sent if is_write(request)]
        assert (sent.method, sent.operation) == ("PATCH", "write")
        assert json.loads(sent.body or b"") == {"OSFeedType": 1, "UpdatePolicy": 0, "AllowCrashDumpsCollection": True}
        assert "If-Match" not in sent.headers
        assert written.operation is None
        assert written.shown == await sphere.source.read(key)

    async def test_a_move_sends_a_string_and_names_an_operation(self, sphere: Sphere) -> None:
        id, group = sphere.placed(), sphere.group(1)
        written = await sphere.source.patch(change(device(id), GROUP, group=group))
        [sent] = [request for request in sphere.http.sent if is_write(request)]
        assert sent.method == "PUT"
        assert sent.url.endswith(f"/devices/{id}/devicegroup")
        assert json.loads(sent.body or b"") == group
        assert sent.is_safe is False
        assert (written.status, written.shown) == (202, None)
        assert written.operation is not None
        assert written.operation.wait_s == 2.0
        assert (await sphere.source.follow(device(id), GROUP, written.operation)).standing is Standing.RUNNING
        sphere.clock.step(6)
        assert (await sphere.source.follow(device(id), GROUP, written.operation)).standing is Standing.DONE

    @pytest.mark.parametrize(
        ("state", "error", "standing", "words"),
        [
            (0, None, Standing.RUNNING, None),
            (1, None, Standing.RUNNING, None),
            (2, {"Code": 0, "Message": "x"}, Standing.DONE, None),
            (3, {"Code": 7, "Message": "busy"}, Standing.FAILED, "failed: Conflict: busy"),
            (3, None, Standing.FAILED, "failed"),
            (3, {"Code": 99, "Message": None}, Standing.FAILED, "failed: 99"),
            (4, {"Code": "Odd", "Message": "a\nb"}, Standing.FAILED, "completed with errors: Odd: a\\nb"),
            (4, {}, Standing.FAILED, "completed with errors"),
            (17, None, Standing.RUNNING, None),
        ],
    )
    async def test_states_2_3_and_4_end_an_operation(
        self, state: int, error: object, standing: Standing, words: str | None
    ) -> None:
        answers = Answers({"OperationId": "o", "State": state, "Error": error})
        followed = await provided(answers).follow(device("a"), GROUP, Operation(handle="o"))
        assert (followed.standing, followed.error) == (standing, words)
        assert answers.requests[0].url.endswith("/operations/o")

    async def test_an_operation_that_nobody_remembers_is_lost(self, sphere: Sphere) -> None:
        followed = await sphere.source.follow(device("a"), GROUP, Operation(handle="11111111"))
        assert followed.standing is Standing.LOST
        assert "the operation does not exist" in (followed.error or "")

    @pytest.mark.parametrize("body", [b"", b"null", b'{"State":0}', b'{"OperationId":"","State":0}'])
    async def test_an_answer_without_an_operation_is_none(self, body: bytes) -> None:
        with pytest.raises(InvalidResponseError):
            await provided(Answers(body)).patch(change(device("a"), GROUP, group="b"))

    async def test_a_device_that_is_being_moved_is_a_conflict(self, sphere: Sphere) -> None:
        id = sphere.placed()
        await sphere.source.patch(change(device(id), GROUP, group=sphere.group(1)))
        with pytest.raises(ConflictError):
            await sphere.source.patch(change(device(id), GROUP, group=sphere.group(2)))

    @pytest.mark.parametrize("id", ["", ".", ".."])
    async def test_an_id_that_a_path_cannot_hold_is_refused(self, sphere: Sphere, id: str) -> None:
        with pytest.raises(RejectedError):
            await sphere.source.read(device(id))


def test_the_kind_is_what_the_configuration_needs() -> None:
    assert load("sphere-legacy") is PROVIDER
    assert PROVIDER.scope("https://x", Settings(tenant=TENANT)) == f"tenant {TENANT}"
    assert KIND.scope_of("client-secret") == "https://firstparty.sphere.azure.net/api/.default"
    assert KIND.scope_of("device-code") == "https://sphere.azure.net/api/user_impersonation"
    assert [spec.type for spec in KIND.types if spec.cheap] == [PRODUCT, DEVICE_GROUP, DEVICE]
    assert KIND.ends is not None
    assert KIND.ends.on == date(2027, 9, 27)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"tenant": TENANT.upper()}, Settings)
    with pytest.raises(TypeError):
        SphereLegacy(
            Endpoint(name="x", url="", http=Answers({}), known=KnownDocuments(), clock=FakeClock(), settings=3)
        )


async def test_an_unreadable_answer_to_a_patch_shows_nothing() -> None:
    answers = Answers(json.dumps(SAMPLE | {"Name": "a\0b"}).encode())
    key = ResourceKey("tenant", DEVICE_GROUP, SAMPLE["Id"])
    assert (await provided(answers).patch(change(key, DOCUMENT, Name="x"))).shown is None


async def test_cursors_of_deployments_are_texts(sphere: Sphere) -> None:
    first = await sphere.source.page(DEPLOYMENT, None)
    assert isinstance(first.next, str)
    again = await sphere.source.page(DEPLOYMENT, Cursor(str(first.next)))
    assert again == await sphere.source.page(DEPLOYMENT, first.next)


def test_instants_with_seven_digits_are_read() -> None:
    shown = resource_from("a", {"LastUpdateRequestUTC": "2026-11-21T18:04:05.1234567Z"}, b"{}")
    assert shown.facts.last_activity_at == datetime(2026, 11, 21, 18, 4, 5, 123456, tzinfo=UTC)
