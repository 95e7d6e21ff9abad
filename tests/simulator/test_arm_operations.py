"""Calls to Azure Resource Manager that go on after their answer."""

import json
from collections.abc import Callable

import aiohttp
import pytest
from yarl import URL

from fleetsync.simulator import Cloud, Options
from fleetsync.simulator.arm.routes import GROUP, HUB
from tests.simulator.client import ArmClient, error_code


def started(arm: ArmClient, place: str = "Prototypes/P1") -> dict[str, str]:
    """Begin to move the first device, and return the headers of the answer."""
    answer = arm.move(arm.devices()[0]["id"], place)
    assert (answer.status, answer.body) == (202, b"null")
    return dict(answer.headers)


def place_of(arm: ArmClient, device: str) -> str:
    found = next(one for one in arm.cloud.arm.truth() if one["id"] == device)
    return f"{found['product']}/{found['group']}"


def test_a_move_takes_a_while_and_changes_the_id_of_the_device(arm) -> None:
    device = arm.devices()[0]
    headers = started(arm)
    assert headers["Location"] == headers["Azure-AsyncOperation"]
    assert "Retry-After" not in headers
    before = arm.poll(headers["Location"])
    assert before.status == 200
    assert before.json()["status"] not in ("Succeeded", "Failed", "Canceled")
    assert arm.call("GET", device["id"]).status == 200
    arm.clock.advance(6)
    after = arm.poll(headers["Location"]).json()
    assert after["status"] == "Succeeded"
    assert after["error"] == {"target": "DeviceUpdateDeviceGroup", "details": []}
    assert after["properties"]["targetResourceId"].lower().endswith(f"/p1/devices/{device['name']}")
    assert error_code(arm.call("GET", device["id"])) == (404, "ResourceNotFound")
    assert arm.call("GET", after["properties"]["targetResourceId"]).status == 200
    assert place_of(arm, device["name"]) == "Prototypes/P1"
    assert [(move.device_id, move.after, move.by) for move in arm.cloud.arm.moves()] == [
        (device["name"], ("Prototypes", "P1"), "client")
    ]


@pytest.mark.parametrize("end", ["failing", "canceling"])
def test_a_move_that_fails_says_why_and_moves_nothing(arm, end: str) -> None:
    device = arm.devices()[0]["name"]
    before = place_of(arm, device)
    setattr(arm.cloud.arm.operations.habits, end, 1.0)
    headers = started(arm)
    arm.clock.advance(6)
    answer = arm.poll(headers["Location"])
    assert answer.status == 200
    assert answer.json()["status"] == {"failing": "Failed", "canceling": "Canceled"}[end]
    assert answer.json()["error"]["message"]
    assert place_of(arm, device) == before


def test_the_shares_are_kept(make_arm) -> None:
    arm = make_arm(sphere_devices=400)
    habits = arm.cloud.arm.operations.habits
    habits.failing, habits.canceling = 0.1, 0.05
    for device in arm.devices():
        assert arm.move(device["id"], "Prototypes/P1").status == 202
    ends = [operation.end for operation in arm.cloud.arm.operations.all]
    assert len(ends) == 350
    assert 20 < ends.count("Failed") < 50
    assert 8 < ends.count("Canceled") < 30


@pytest.mark.parametrize(
    ("style", "names"),
    [
        ("both", {"Location", "Azure-AsyncOperation"}),
        ("azure-async", {"Azure-AsyncOperation"}),
        ("location", {"Location"}),
        ("asyncinfo", {"Location", "Azure-AsyncOperation"}),
    ],
)
def test_the_urls_are_in_the_headers_that_are_wanted(arm, style, names: set[str]) -> None:
    arm.cloud.arm.operations.habits.style = style
    arm.cloud.arm.operations.habits.retry_after = "15"
    headers = started(arm)
    assert headers.keys() & {"Location", "Azure-AsyncOperation"} == names
    assert headers["Retry-After"] == "15"
    if style == "asyncinfo":
        assert "&asyncinfo&" in headers["Azure-AsyncOperation"]
        assert "asyncinfo" not in headers["Location"]
    elif names == {"Location"}:
        assert arm.poll(headers["Location"]).status == 202
        arm.clock.advance(6)
        assert (arm.poll(headers["Location"]).status, arm.poll(headers["Location"]).body) == (200, b"")


def test_a_result_that_failed_is_an_error(arm) -> None:
    habits = arm.cloud.arm.operations.habits
    habits.style, habits.failing, habits.poll_retry_after = "location", 1.0, "3"
    headers = started(arm)
    assert arm.poll(headers["Location"]).headers["Retry-After"] == "3"
    arm.clock.advance(6)
    assert error_code(arm.poll(headers["Location"])) == (409, "DeviceUpdateFailed")


@pytest.mark.parametrize("size", [3050, 3900])
def test_the_url_has_to_come_back_byte_for_byte(make_arm, size: int) -> None:
    arm = make_arm(arm_link_size=size)
    url = started(arm)["Location"]
    assert len(url) == size
    assert arm.poll(url).status == 200
    for old, new in (
        ("%2F", "/"),
        ("%3A", ":"),
        ("%27", "'"),
        ("*", "%2A"),
        ("%2B", "+"),
        ("&asyncinfo&", "&asyncinfo=&"),
        ("%3D", "="),
    ):
        assert old in url
        assert error_code(arm.poll(url.replace(old, new)))[0] in (403, 404)
    assert error_code(arm.poll(url.replace("operationStatuses/", "operationStatuses/0")))[0] == 404


def test_other_writes_can_be_slow_as_well(arm) -> None:
    arm.cloud.arm.writes.slow |= {GROUP, HUB}
    answer = arm.call("PATCH", arm.group(), {"properties": {"description": "later"}})
    assert answer.status == 202
    assert arm.call("GET", arm.group()).json()["properties"]["description"] == "Field Test devices"
    arm.clock.advance(6)
    assert arm.call("GET", arm.group()).json()["properties"]["description"] == "later"
    hub = arm.call("PATCH", arm.hub, {"tags": {}})
    assert "&asyncinfo&" in hub.headers["Azure-AsyncOperation"]
    assert arm.poll(hub.headers["Azure-AsyncOperation"]).json() == {"status": "Running"}
    assert arm.poll(hub.headers["Location"]).status == 202
    arm.clock.advance(6)
    assert arm.poll(hub.headers["Azure-AsyncOperation"]).json() == {"status": "Succeeded"}


def test_operations_are_forgotten(arm) -> None:
    arm.cloud.arm.operations.habits.kept_s = 60
    url = started(arm)["Location"]
    arm.clock.advance(66)
    assert arm.poll(url).status == 200
    arm.clock.advance(1)
    assert error_code(arm.poll(url)) == (404, "OperationNotFound")


def test_a_second_move_is_refused_while_one_goes_on(arm) -> None:
    device = arm.devices()[0]["id"]
    started(arm)
    assert error_code(arm.move(device)) == (409, "Conflict")
    arm.clock.advance(6)
    assert error_code(arm.move(device)) == (404, "ResourceNotFound")


@pytest.mark.parametrize(
    "group",
    [None, "", "P1", "/subscriptions/x/providers/y", "{catalog}", "{catalog}/products/ColdChain/deviceGroups/No"],
)
def test_a_group_that_is_none_is_refused(arm, group: str | None) -> None:
    device = arm.devices()[0]["id"]
    wanted = None if group is None else group.replace("{catalog}", arm.catalog)
    answer = arm.call("PATCH", device, {"properties": {"deviceGroupId": wanted}})
    assert error_code(answer) == (400, "InvalidParameters")


def test_a_device_is_taken_out_of_its_group(arm) -> None:
    device = next(one for one in arm.devices() if "/.default/" not in one["id"])
    arm.move(device["id"], ".default/.default")
    arm.clock.advance(6)
    assert place_of(arm, device["name"]) == ".default/.default"
    ids = [one["id"] for one in arm.devices() if one["name"] == device["name"]]
    assert "/products/.default/devicegroups/.default/devices/" in ids[0]
    assert arm.call("GET", ids[0]).status == 200


async def test_a_url_survives_the_network_as_it_is_and_not_as_a_library_would_have_it(
    make_arm: Callable[..., ArmClient],
) -> None:
    cloud = Cloud(Options(kinds=("sphere-arm",), sphere_devices=20, arm_rate="none", latency_s=0.0, arm_link_size=3900))
    async with cloud.serving(), aiohttp.ClientSession() as session:
        base = f"{cloud.arm_url}/subscriptions/{cloud.arm.subscription}/resourceGroups/Sphere-Prod/providers"
        catalog = f"{base}/Microsoft.AzureSphere/catalogs/MainCatalog"
        async with session.post(f"{catalog}/listDevices?api-version=2024-04-01") as answer:
            device = (await answer.json())["value"][0]
        group = f"{catalog.removeprefix(cloud.arm_url)}/products/Prototypes/deviceGroups/P1"
        body = json.dumps({"properties": {"deviceGroupId": group}})
        async with session.patch(f"{cloud.arm_url}{device['id']}?api-version=2024-04-01", data=body) as answer:
            url = answer.headers["Azure-AsyncOperation"]
        async with session.get(URL(url, encoded=True)) as answer:
            assert answer.status == 200
        async with session.get(url) as answer:
            assert answer.status == 403
