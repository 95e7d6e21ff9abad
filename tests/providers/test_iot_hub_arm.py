"""IoT Hubs behind Azure Resource Manager: the contract, and what is peculiar to this service."""

import json
from typing import Any

import pytest

from fleetsync.core.declaration import ABSENT
from fleetsync.core.model import Part, Resource, ResourceKey
from fleetsync.core.operation import Standing
from fleetsync.core.path import Path
from fleetsync.core.plan import Change, Guard, GuardKind, Leaf
from fleetsync.errors import ConflictError, InvalidResponseError, RejectedError, ServerFaultError, UnreachableError
from fleetsync.providers.base import Endpoint
from fleetsync.providers.iot_hub_arm import HUB, PROVIDER, TAGS, IotHubArm, Settings
from fleetsync.simulator import Cloud, Options, parse_faults
from fleetsync.simulator.arm.routes import HUB as HUB_WORDS
from fleetsync.transport.http import Request
from tests.fakes.clock import FakeClock
from tests.fakes.http import CloudHttp, lost, refused
from tests.fakes.known import KnownDocuments
from tests.providers.contract import ProviderContract

FLEET = ResourceKey("hubs", HUB, "iot-hubs/fleet-hub")


class Hubs:
    """The simulated subscription without limits, with a hub of twenty devices, and the provider on it."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.cloud = Cloud(
            Options(
                listen="127.0.0.1:8080",
                kinds=("iot-hub", "iot-hub-arm"),
                hub_devices=20,
                hub_tier="S1",
                arm_rate="none",
                arm_page_size=1,
                latency_s=0.0,
            ),
            now=lambda: self.clock.now().timestamp(),
        )
        self.http = CloudHttp(self.cloud, self.clock)
        self.source = IotHubArm(
            Endpoint(
                name="hubs",
                url=self.cloud.arm_url,
                http=self.http,
                known=KnownDocuments(),
                clock=self.clock,
                settings=Settings(subscription=self.cloud.arm.subscription.upper(), **settings),
            )
        )

    def edit(self, tags: dict[str, str]) -> None:
        path = (
            f"/subscriptions/{self.cloud.arm.subscription}/resourceGroups/IoT-Hubs/providers/Microsoft.Devices/IotHubs"
        )
        self.cloud.arm.operator_edit(f"{path}/fleet-hub", {"tags": tags})

    async def change(self, **tags: object) -> Change:
        guard = self.source.guard(TAGS, await self.source.read(FLEET))
        assert guard is not None
        leaves = tuple(
            Leaf(path=("tags", name), actual=ABSENT, declared=value, declarations=("d",))
            for name, value in tags.items()
        )
        return Change(key=FLEET, part=TAGS, guard=guard, leaves=leaves)


class TestIotHubArmContract(ProviderContract):
    kind = "iot-hub-arm"
    type = HUB
    missing_id = "iot-hubs/no-such-hub"

    @pytest.fixture
    def target(self) -> IotHubArm:
        self.hubs = Hubs()
        return self.hubs.source

    def ids(self) -> list[str]:
        return [entry.id for entry in self.hubs.cloud.arm.hubs.entries]

    def edit(self, id: str) -> None:
        self.hubs.edit({"note": "somebody else's"})

    def make_empty(self) -> None:
        for id in self.ids():
            self.hubs.cloud.arm.hubs.entries.remove(id)

    def lose_the_array(self) -> None:
        self.hubs.cloud.faults = parse_faults("no-value")

    def desired(self) -> tuple[Part, Path, object]:
        return TAGS, ("tags", "note"), "as declared"

    async def test_a_document_names_its_device_and_is_json(self, target: Any) -> None:
        [page, *_] = await self.pages(target)
        [one] = page.resources
        group, _, name = one.id.partition("/")
        assert json.loads(one.document)["id"].endswith(
            f"/resourcegroups/{group}/providers/microsoft.devices/iothubs/{name}"
        )


@pytest.fixture
def hubs() -> Hubs:
    return Hubs()


async def test_a_hub_is_described_with_its_statistics_and_its_quota(hubs: Hubs) -> None:
    hub = await hubs.source.read(FLEET)
    document = json.loads(hub.document)
    assert document["statistics"]["totalDeviceCount"] == 20
    assert document["quotaMetrics"]["TotalMessages"]["maxValue"] == 400_000
    assert document["sku"] == {"name": "S1", "tier": "Standard", "capacity": 1}
    assert hub.facts.display_name == "fleet-hub"
    assert hub.etag == document["etag"]
    assert b"AccountKey" not in hub.document
    assert document["properties"]["storageEndpoints"]["$default"]["containerName"] == "uploads"


async def test_a_hub_without_numbers_is_a_hub(hubs: Hubs) -> None:
    def is_about_numbers(request: Request) -> bool:
        return "IotHubStats" in request.url or "quotaMetrics" in request.url

    body = b'{"code":400016,"httpStatusCode":400,"message":"not now"}'
    hubs.http.when(is_about_numbers, before=refused(400, body))
    document = json.loads((await hubs.source.read(FLEET)).document)
    assert document["statistics"] is document["quotaMetrics"] is None


async def test_a_hub_whose_numbers_cannot_be_had_is_there(hubs: Hubs) -> None:
    hubs.http.when(lambda request: "IotHubStats" in request.url, before=refused(503))
    with pytest.raises(ServerFaultError) as failed:
        await hubs.source.read(FLEET)
    assert failed.value.is_there
    hubs.http.heal()
    hubs.http.when(lambda _: True, before=refused(503))
    with pytest.raises(ServerFaultError) as failed:
        await hubs.source.read(FLEET)
    assert not failed.value.is_there


async def test_only_the_resource_group_that_is_meant_is_listed() -> None:
    assert (await Hubs(resource_group="iot-HUBS").source.page(HUB, None)).resources
    assert not (await Hubs(resource_group="other").source.page(HUB, None)).resources


async def test_tags_go_out_whole_and_under_no_if_match(hubs: Hubs) -> None:
    written = await hubs.source.patch(await hubs.change(ring="a", stage=ABSENT, none=ABSENT))
    assert written.operation is None
    assert hubs.source.declarable(HUB, json.loads((await hubs.source.read(FLEET)).document), {}) == {
        "tags": {"ring": "a"}
    }
    [write] = hubs.cloud.counters.writes
    assert (write.if_match, write.members) == (None, ("tags.ring",))


async def test_a_write_that_goes_on_is_followed(hubs: Hubs) -> None:
    hubs.cloud.arm.writes.slow.add(HUB_WORDS)
    written = await hubs.source.patch(await hubs.change(ring="a"))
    assert written.operation is not None
    assert (await hubs.source.follow(FLEET, TAGS, written.operation)).standing is Standing.RUNNING
    await hubs.clock.advance(6)
    assert (await hubs.source.follow(FLEET, TAGS, written.operation)).standing is Standing.DONE


async def test_a_flat_error_is_told_in_its_own_words(hubs: Hubs) -> None:
    with pytest.raises(RejectedError, match="400016: The tags are not valid"):
        await hubs.source.patch(await hubs.change(ring=1))


async def test_nothing_is_sent_when_the_read_before_a_write_fails(hubs: Hubs) -> None:
    change = await hubs.change(ring="a")
    hubs.http.when(lambda _: True, after=lost)
    with pytest.raises(UnreachableError) as caught:
        await hubs.source.patch(change)
    assert not caught.value.sent


async def test_what_was_written_meanwhile_is_a_conflict(hubs: Hubs) -> None:
    change = await hubs.change(ring="a")
    assert change.guard.kind is GuardKind.REREAD
    hubs.edit({"theirs": "1"})
    with pytest.raises(ConflictError):
        await hubs.source.patch(change)


async def test_an_answer_about_another_hub_is_refused(hubs: Hubs) -> None:
    with pytest.raises(InvalidResponseError, match="asked for"):
        await hubs.source.read(ResourceKey("hubs", HUB, "IoT-Hubs/fleet-hub"))


async def test_settings_of_another_kind_and_details_are_refused(hubs: Hubs) -> None:
    with pytest.raises(LookupError):
        await hubs.source.detail(FLEET, TAGS)
    with pytest.raises(TypeError):
        IotHubArm(
            Endpoint(
                name="x", url="https://x", http=hubs.http, known=KnownDocuments(), clock=hubs.clock, settings=object()
            )
        )
    assert hubs.source.guard(TAGS, Resource(id="a", document=b"{}")) == Guard(kind=GuardKind.REREAD)
    assert PROVIDER.scope("https://management.azure.com", Settings(subscription="S")).startswith("subscription s ")
