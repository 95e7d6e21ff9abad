"""The old service of Azure Sphere, as far as it is simulated."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import pytest

from fleetsync.simulator import Cloud, SimRequest, SimResponse, SimulatorError, parse_faults
from tests.simulator.client import HandClock
from tests.simulator.conftest import OPTIONS


@dataclass
class SphereClient:
    """A careful client."""

    cloud: Cloud
    clock: HandClock

    def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> SimResponse:
        found = {name.replace("_", "-"): value for name, value in headers.items()}
        target = f"/v2/tenants/{self.cloud.sphere.tenant.id}{path}"
        return self.cloud.handle_sphere(SimRequest(method=method, target=target, headers=found, body=body))

    def pages(self, path: str, most: int = 50) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        headers: dict[str, str] = {}
        while len(found) < most:
            answer = self.call("GET", path, **headers)
            assert answer.status == 200, answer.body
            found.append(answer.json())
            token = found[-1].get("ContinuationToken")
            if token is None:
                break
            headers = {"Sphere_Continuation": token}
        return found

    def move(self, id: str, group: str) -> SimResponse:
        return self.call("PUT", f"/devices/{id}/devicegroup", f'"{group}"'.encode())

    def operation(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/operations/{id}").json()
        return found

    @property
    def groups(self) -> list[str]:
        return list(self.cloud.sphere.tenant.groups)

    def group_of(self, id: str) -> str:
        found: str = self.call("GET", f"/devices/{id}").json()["DeviceGroupId"]
        return found

    def settled(self) -> str:
        """Return a device that is in the first group, by an operator's hand."""
        id = str(self.cloud.sphere.truth()[0]["DeviceId"])
        self.cloud.sphere.operator_edit(id, {"DeviceGroupId": self.groups[0]})
        return id


@pytest.fixture
def make(clock: HandClock) -> Callable[..., SphereClient]:
    options = replace(OPTIONS, kinds=("sphere-legacy",), sphere_devices=60, sphere_rate="none", sphere_page_size=25)

    def made(**changes: Any) -> SphereClient:
        return SphereClient(cloud=Cloud(replace(options, **changes), now=clock), clock=clock)

    return made


@pytest.fixture
def sphere(make: Callable[..., SphereClient]) -> SphereClient:
    return make()


def test_names_are_pascal_case_and_enums_are_integers(sphere: SphereClient) -> None:
    [device, *_] = sphere.pages("/devices")[0]["Items"]
    assert list(device) == [
        "DeviceId", "TenantId", "ProductId", "DeviceGroupId", "ChipSku", "LastAvailableOSVersion",
        "LastInstalledOSVersion", "LastOSUpdateUTC", "LastUpdateRequestUTC",
    ]  # fmt: skip
    [group, *_] = sphere.pages("/devicegroups")[0]["Items"]
    assert list(group) == [
        "Id", "TenantId", "OsFeedType", "ProductId", "Name", "Description", "CurrentDeployment", "UpdatePolicy",
        "AllowCrashDumpsCollection",
    ]  # fmt: skip
    assert type(group["OsFeedType"]) is type(group["UpdatePolicy"]) is int
    assert {len(str(one["DeviceId"])) for one in sphere.cloud.sphere.truth()} == {128}


def test_a_list_goes_on_in_a_header_to_its_end(sphere: SphereClient) -> None:
    pages = sphere.pages("/devices")
    assert [len(page["Items"]) for page in pages] == [25, 25, 10]
    shown = [item["DeviceId"].lower() for page in pages for item in page["Items"]]
    assert shown == sorted(set(shown))
    assert len(shown) == 60
    assert pages[-1].get("ContinuationToken") is None
    token = pages[0]["ContinuationToken"]
    assert sphere.call("GET", "/products", Sphere_Continuation=token).status == 400
    assert sphere.call("GET", "/devices", Sphere_Continuation=token + "x").status == 400
    assert sphere.call("GET", f"/devices?continuationToken={token}").status == 400


def test_the_last_page_has_null_or_no_token(sphere: SphereClient) -> None:
    tokens = {"ContinuationToken" in sphere.pages(path)[-1] for path in ("/devices", "/devicegroups", "/products")}
    assert tokens == {True, False}


def test_the_page_size_is_a_wish(sphere: SphereClient) -> None:
    assert len(sphere.call("GET", "/devices?maxPageSize=1000").json()["Items"]) == 25
    assert len(sphere.call("GET", "/devices?maxPageSize=7").json()["Items"]) == 7
    assert sphere.call("GET", "/devices?maxPageSize=0").status == 400


@pytest.mark.parametrize("faults", ["empty-page@2", "short-page=0.2", "short-page=0@1", "null-link"])
def test_short_and_empty_pages_lose_nothing(sphere: SphereClient, faults: str) -> None:
    sphere.cloud.faults = parse_faults(faults)
    assert sum(len(page["Items"]) for page in sphere.pages("/devices")) == 60


def test_lists_can_go_wrong_as_those_of_the_other_services(sphere: SphereClient) -> None:
    sphere.cloud.faults = parse_faults("no-value")
    assert "Items" not in sphere.call("GET", "/devices").json()
    sphere.cloud.faults = parse_faults("short-list=0.5")
    assert sum(len(page["Items"]) for page in sphere.pages("/devices")) == 30
    sphere.cloud.faults = parse_faults("empty-list")
    assert [page["Items"] for page in sphere.pages("/devices")] == [[]]
    for fault in ("loop-link", "loop-link=first", "empty-page"):
        sphere.cloud.faults = parse_faults(fault)
        assert len(sphere.pages("/devices", most=12)) == 12
    sphere.cloud.faults = parse_faults("twice@2")
    pages = sphere.pages("/devices")
    assert pages[1]["Items"][0] == pages[0]["Items"][-1]
    sphere.cloud.faults = parse_faults("dead-cursor@2")
    token = sphere.call("GET", "/devices").json()["ContinuationToken"]
    assert sphere.call("GET", "/devices", Sphere_Continuation=token).status == 400


def test_errors_are_arrays(sphere: SphereClient) -> None:
    [error] = sphere.call("GET", "/devices/" + "0" * 128).json()
    assert (error["ErrorCode"], error["Status"]) == ("NotFound", 404)
    assert error["Title"]
    assert error["Detail"]
    other = SimRequest(method="GET", target="/v2/tenants/11111111-2222-4333-8444-555555555555/devices")
    assert sphere.cloud.handle_sphere(other).status == 403
    for method, path, status in (("GET", "/nothing", 404), ("POST", "/devices", 405), ("PUT", "/products", 405)):
        assert sphere.call(method, path).status == status
    assert sphere.cloud.handle_sphere(SimRequest(method="GET", target="/v3/tenants")).status == 404


def test_the_tenants_of_the_caller_are_a_bare_array(sphere: SphereClient) -> None:
    answer = sphere.cloud.handle_sphere(SimRequest(method="GET", target="/v2/tenants")).json()
    assert [one["Id"] for one in answer] == [sphere.cloud.sphere.tenant.id]


def test_ids_are_compared_without_letter_case(sphere: SphereClient) -> None:
    id = str(sphere.cloud.sphere.truth()[0]["DeviceId"])
    assert sphere.call("GET", f"/devices/{id.upper()}").json() == sphere.call("GET", f"/Devices/{id.lower()}").json()
    shown = [str(one["DeviceId"]) for one in sphere.cloud.sphere.truth()]
    assert any(one != one.lower() for one in shown)


def test_a_move_is_an_operation_and_takes_its_time(sphere: SphereClient) -> None:
    id, group = sphere.settled(), sphere.groups[1]
    answer = sphere.move(id, group.upper())
    assert answer.status == 202
    operation = answer.json()
    assert (operation["State"], operation["OperationType"]) == (0, 2)
    assert sphere.group_of(id) == sphere.groups[0]
    sphere.clock.advance(1)
    assert sphere.operation(operation["OperationId"])["State"] == 1
    assert sphere.move(id, group).status == 409
    sphere.clock.advance(5)
    ended = sphere.operation(operation["OperationId"])
    assert ended["State"] == 2
    assert ended["CompletedDateUTC"] > ended["StartedDateUTC"] > ended["CreatedDateUTC"]
    assert sphere.group_of(id) == group
    [move] = sphere.cloud.sphere.moves()
    assert (move.device_id, move.before, move.after, move.changed) == (id.lower(), sphere.groups[0], group, True)
    sphere.cloud.sphere.operations.kept_s = 60
    sphere.clock.advance(60)
    assert sphere.call("GET", f"/operations/{operation['OperationId']}").status == 404


def test_some_operations_fail_or_end_with_errors(make: Callable[..., SphereClient]) -> None:
    sphere = make(sphere_devices=400, sphere_fail_share=0.25, sphere_errors_share=0.25, sphere_operation_s=2.0)
    target = sphere.groups[-1]
    operations = {
        str(one["DeviceId"]).lower(): sphere.move(str(one["DeviceId"]), target).json()["OperationId"]
        for one in sphere.cloud.sphere.truth()
    }
    sphere.clock.advance(2)
    moves = sphere.cloud.sphere.moves()
    by_state = {state: [one for one in moves if one.state == state] for state in (2, 3, 4)}
    assert sum(map(len, by_state.values())) == 400
    assert 70 < len(by_state[3]) < 130
    assert 70 < len(by_state[4]) < 130
    assert all(one.changed for one in by_state[2] if one.before != target)
    assert not any(one.changed for one in by_state[3])
    assert {one.changed for one in by_state[4]} == {True, False}
    for state in (3, 4):
        document = sphere.operation(operations[by_state[state][0].device_id])
        assert document["State"] == state
        assert document["Error"]["Message"]
    done = [sphere.operation(operations[one.device_id]) for one in by_state[2]]
    # Those that were carried out may carry one as well.
    assert {one["Error"] is None for one in done} == {True, False}


@pytest.mark.parametrize("body", [b"", b"no json", b'{"Id":"x"}', b"3"])
def test_the_body_of_a_move_is_a_string(sphere: SphereClient, body: bytes) -> None:
    assert sphere.call("PUT", f"/devices/{sphere.settled()}/devicegroup", body).status == 400


def test_a_group_is_patched_at_once(sphere: SphereClient) -> None:
    group = sphere.groups[0]
    body = b'{"OSFeedType":1,"AllowCrashDumpsCollection":true,"Name":"Field Lab"}'
    answer = sphere.call("PATCH", f"/devicegroups/{group}", body)
    assert answer.status == 200
    found = answer.json()
    assert (found["OsFeedType"], found["AllowCrashDumpsCollection"], found["Name"]) == (1, True, "Field Lab")
    assert sphere.call("GET", f"/devicegroups/{group}").json() == found
    assert sphere.cloud.counters.unguardable == 1
    refused = (
        b'{"ProductId":"x"}',
        b"[]",
        b"{}",
        b'{"Name":"a_b"}',
        b'{"OSFeedType":"Retail"}',
        b'{"Description":null}',
    )
    for wrong in refused:
        assert sphere.call("PATCH", f"/devicegroups/{group}", wrong).status == 400
    taken = b'{"Name":"production"}'
    assert sphere.call("PATCH", f"/devicegroups/{group}", taken).status == 400


def test_deployments_insights_and_members(sphere: SphereClient) -> None:
    group = next(one for one in sphere.cloud.sphere.groups() if one["CurrentDeployment"])
    deployments = [one for page in sphere.pages(f"/devicegroups/{group['Id']}/deployments") for one in page["Items"]]
    assert len(deployments) == 2
    assert group["CurrentDeployment"] in deployments
    assert sphere.pages("/getDeviceInsights")[0]["Items"]
    members = [one for page in sphere.pages(f"/devicegroups/{group['Id']}/devices") for one in page["Items"]]
    assert {one["DeviceGroupId"] for one in members} == {group["Id"]}
    product = group["ProductId"]
    assert {one["ProductId"] for one in sphere.pages(f"/products/{product}/devices")[0]["Items"]} == {product}
    assert {one["ProductId"] for one in sphere.pages(f"/products/{product}/devicegroups")[0]["Items"]} == {product}
    assert sphere.call("GET", f"/products/{product}").json()["Id"] == product
    assert sphere.call("GET", f"/products/{group['Id']}").status == 404


def test_it_is_limited_without_saying_for_how_long(make: Callable[..., SphereClient]) -> None:
    sphere = make(sphere_rate="1/s burst 2")
    assert [sphere.call("GET", "/products").status for _ in range(3)] == [200, 200, 429]
    assert "Retry-After" not in sphere.call("GET", "/products").headers
    sphere.cloud.reset_counters()
    assert sphere.cloud.counters.limits["sphere-legacy"].requests == 0


def test_an_operator_edits_and_says_what_cannot_be(sphere: SphereClient) -> None:
    id, group = sphere.settled(), sphere.groups[0]
    assert not sphere.cloud.sphere.operator_edit(id, {"DeviceGroupId": group})
    assert sphere.cloud.sphere.operator_edit(group, {"UpdatePolicy": 2})
    for who, patch in ((id, {"ChipSku": 1}), (group, {"Name": 1}), ("nobody", {}), (group, {"Name": "production"})):
        with pytest.raises(SimulatorError):
            sphere.cloud.sphere.operator_edit(who, patch)
    before = sphere.call("GET", f"/devices/{id}").json()
    sphere.cloud.sphere.check_in(id)
    after = sphere.call("GET", f"/devices/{id}").json()
    assert {name for name in after if after[name] != before[name]} <= {"LastUpdateRequestUTC", "LastAvailableOSVersion"}


def test_life_goes_on(make: Callable[..., SphereClient]) -> None:
    sphere = make(life="busy")
    before = sphere.cloud.sphere.truth()
    sphere.clock.advance(60)
    after = sphere.cloud.sphere.truth()
    assert len(after) > len(before)
    assert sphere.cloud.counters.operator_edits
    assert any(one["LastUpdateRequestUTC"] not in {other["LastUpdateRequestUTC"] for other in before} for one in after)


def test_the_control_pages_show_it(sphere: SphereClient) -> None:
    def page(method: str, path: str, body: bytes = b"") -> SimResponse:
        return sphere.cloud.handle_sphere(SimRequest(method=method, target=f"/_simulator{path}", body=body))

    assert len(page("GET", "/sphere").json()["devices"]) == 60
    sphere.move(sphere.settled(), sphere.groups[1])
    sphere.clock.advance(10)
    assert len(page("GET", "/sphere/moves").json()["moves"]) == 1
    body = f'{{"id":"{sphere.groups[0]}","patch":{{"Name":"Lab"}}}}'.encode()
    assert page("POST", "/sphere/operator", body).json() == {"changed": True}


def token(sphere: SphereClient, **form: str) -> SimResponse:
    credentials = sphere.cloud.credentials
    form = {"client_id": credentials.client_id, **form}
    path = "devicecode" if "client_secret" not in form else "token"
    target = f"/{credentials.tenant_id}/oauth2/v2.0/{path}"
    return sphere.cloud.handle(SimRequest(method="POST", target=target, body=urlencode(form).encode()))


def test_applications_and_people_have_tokens_for_different_resources(sphere: SphereClient) -> None:
    application = {"client_secret": sphere.cloud.credentials.client_secret, "grant_type": "client_credentials"}
    granted = token(sphere, **application, scope="https://firstparty.sphere.azure.net/api/.default")
    bearer = f"Bearer {granted.json()['access_token']}"
    assert sphere.call("GET", "/products", Authorization=bearer).status == 200
    assert sphere.call("GET", "/products", Authorization=bearer + "x").status == 401
    other = token(sphere, **application, scope="https://management.azure.com/.default").json()["access_token"]
    assert sphere.call("GET", "/products", Authorization=f"Bearer {other}").status == 401
    assert token(sphere, **application, scope="https://sphere.azure.net/api/.default").status == 400
    assert token(sphere, scope="https://sphere.azure.net/api/user_impersonation").status == 200
    assert token(sphere, scope="https://firstparty.sphere.azure.net/api/user_impersonation").status == 400


def test_a_cloud_without_it_says_so(clock: HandClock) -> None:
    with pytest.raises(SimulatorError, match="sphere-legacy"):
        _ = Cloud(OPTIONS, now=clock).sphere


def test_the_configuration_names_the_tenant(sphere: SphereClient) -> None:
    text = sphere.cloud.configuration()
    assert 'kind = "sphere-legacy"' in text
    assert f'tenant = "{sphere.cloud.sphere.tenant.id}"' in text
