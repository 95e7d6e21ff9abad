"""Resources behind Azure Resource Manager: how they are listed, shown, changed and refused."""

from urllib.parse import quote

import pytest

from fleetsync.simulator import Cloud, Options, SimRequest, SimulatorError, parse_faults
from tests.simulator.client import ArmClient, HandClock, error_code, next_target

CATALOGS = "providers/Microsoft.AzureSphere/catalogs"


class TestLists:
    def test_a_list_by_get_ends_without_a_link_and_one_by_post_with_null(self, arm) -> None:
        for id, method, body in (
            (f"{arm.subscription}/{CATALOGS}", "GET", None),
            (f"{arm.catalog}/products", "GET", None),
            (f"{arm.group()}/devices", "GET", None),
            (f"{arm.catalog}/listDevices", "POST", None),
            (f"{arm.catalog}/listDeviceGroups", "POST", {}),
            (f"{arm.catalog}/listDeployments", "POST", None),
            (f"{arm.catalog}/listDeviceInsights", "POST", None),
        ):
            *before, last = arm.pages(id, method, body)
            assert all(page["nextLink"] for page in before)
            assert last.get("nextLink", "absent") == (None if method == "POST" else "absent")

    def test_the_pages_hold_every_device_once(self, arm) -> None:
        devices = arm.devices()
        assert len(arm.pages(f"{arm.catalog}/listDevices", "POST")) == 4
        expected = [device["id"] for device in arm.cloud.arm.truth() if device["catalog"] == "MainCatalog"]
        assert [device["name"] for device in devices] == expected
        assert len(expected) == 40 - 40 // 8
        assert arm.call("POST", f"{arm.catalog}/countDevices").json() == {"value": 35}
        assert arm.call("POST", f"{arm.group('ColdChain/Production')}/countDevices").json()["value"] == len(
            arm.listed(f"{arm.group('ColdChain/Production')}/devices")
        )

    def test_a_link_has_to_come_back_byte_for_byte(self, arm) -> None:
        link = next_target(arm.call("POST", f"{arm.catalog}/listDevices").json())
        assert link is not None
        assert arm.send("GET", link).status == 200
        for old, new in (
            ("%2F", "/"),
            ("%3A", ":"),
            ("%27", "'"),
            ("*", "%2A"),
            ("%24", "$"),
            ("&fresh&", "&fresh=&"),
            ("&fresh&", "&"),
        ):
            assert old in link
            assert error_code(arm.send("GET", link.replace(old, new))) == (400, "InvalidSkipToken")

    def test_a_link_can_be_long(self, arm) -> None:
        arm.cloud.arm.links.page_size = 3900
        link = next_target(arm.call("POST", f"{arm.catalog}/listDevices").json())
        assert link is not None
        assert len(link) == 3900
        assert arm.send("GET", link).status == 200

    def test_a_resource_group_holds_its_own_catalogs(self, arm) -> None:
        everywhere = arm.listed(f"{arm.subscription}/{CATALOGS}")
        assert [catalog["name"] for catalog in everywhere] == ["Pilot_01", "MainCatalog"]
        of_group = arm.listed(f"{arm.subscription}/resourcegroups/SPHERE-prod/{CATALOGS}")
        assert [catalog["name"] for catalog in of_group] == ["MainCatalog"]

    def test_groups_can_be_asked_for_by_name_and_the_body_is_required(self, arm) -> None:
        found = arm.listed(f"{arm.catalog}/listDeviceGroups", "POST", {"deviceGroupName": "production"})
        assert [group["name"] for group in found] == ["Production", "Production"]
        assert error_code(arm.call("POST", f"{arm.catalog}/listDeviceGroups"))[0] == 400

    @pytest.mark.parametrize(
        ("fault", "seen"), [("empty-list", 0), ("no-value", None), ("short-list=0.5", 10), ("twice@2", 36)]
    )
    def test_lists_lie_when_told_to(self, arm, fault: str, seen: int | None) -> None:
        arm.cloud.faults = parse_faults(fault)
        if seen is None:
            assert "value" not in arm.call("POST", f"{arm.catalog}/listDevices").json()
        else:
            assert len(arm.devices()) == pytest.approx(seen, abs=7)


class TestShapes:
    def test_the_same_group_looks_different_by_every_call(self, arm) -> None:
        listed = next(
            group
            for group in arm.listed(f"{arm.catalog}/listDeviceGroups", "POST", {})
            if group["name"] == "Field Test" and "ColdChain" in group["id"]
        )
        read = arm.call("GET", arm.group()).json()
        written = arm.call("PATCH", arm.group(), {"properties": {"description": "x"}}).json()
        assert listed["id"].lower() == read["id"].lower() == written["id"].lower()
        assert len({listed["id"], read["id"]}) == 2
        assert (listed["systemData"], "systemData" in read) == (None, False)
        assert written["systemData"]["createdAt"]
        flags = [shown["properties"]["hasDeployment"] for shown in (listed, read, written)]
        assert flags == [True, None, True]
        assert read["type"] == "Microsoft.AzureSphere/catalogs/products/deviceGroups"
        assert written["type"] == read["type"].lower()

    def test_an_id_is_found_in_any_case_and_repeated_as_it_was_asked_for(self, arm) -> None:
        device = arm.devices()[0]
        head, _, name = device["id"].rpartition("/")
        read = arm.call("GET", f"{head.upper()}/{name.upper()}")
        assert read.status == 200
        assert read.json()["id"].endswith(name.upper())
        assert read.json()["name"] == read.json()["properties"]["deviceId"] == name

    def test_only_a_single_catalog_has_an_etag_and_only_in_a_header(self, arm) -> None:
        first = arm.call("GET", arm.catalog)
        assert first.headers["ETag"].startswith('"')
        assert "etag" not in first.json()
        patched = arm.call("PATCH", arm.catalog, {"tags": {"a": "b"}}, If_Match=first.headers["ETag"])
        assert patched.headers["ETag"] != first.headers["ETag"]
        assert "tenantId" not in patched.json()["properties"]
        for id in (f"{arm.subscription}/{CATALOGS}", arm.group(), arm.devices()[0]["id"], f"{arm.catalog}/images"):
            assert "ETag" not in arm.call("GET", id).headers

    def test_a_device_that_never_checked_in_has_empty_versions_and_no_times(self, arm) -> None:
        unseen = [one["properties"] for one in arm.devices() if one["properties"]["lastUpdateRequestUtc"] is None]
        assert unseen
        assert all(one["lastInstalledOsVersion"] == "" for one in unseen)

    def test_an_address_of_an_image_is_another_one_at_every_call(self, arm) -> None:
        images = arm.listed(f"{arm.catalog}/images")
        arm.clock.advance(1)
        assert [one["properties"]["uri"] for one in images] != [
            one["properties"]["uri"] for one in arm.listed(f"{arm.catalog}/images")
        ]
        deployed = arm.listed(f"{arm.catalog}/listDeployments", "POST")[0]["properties"]["deployedImages"]
        assert deployed[0]["id"].lower() in {image["id"].lower() for image in images}

    def test_hubs_are_described_with_the_etag_in_the_body(self, arm) -> None:
        listed = arm.listed(f"{arm.subscription}/providers/Microsoft.Devices/IotHubs")
        assert [hub["name"] for hub in listed] == ["fleet-hub", "spare-hub"]
        answer = arm.call("GET", arm.hub)
        assert answer.json()["etag"] == listed[0]["etag"]
        assert "ETag" not in answer.headers
        assert arm.call("GET", f"{arm.hub}/quotaMetrics").json()["value"][1]["name"] == "TotalDeviceCount"

    def test_the_statistics_are_those_of_the_simulated_hub(self, make_arm) -> None:
        arm = make_arm(kinds=("iot-hub", "iot-hub-arm"), hub_devices=20)
        assert arm.call("GET", f"{arm.hub}/IotHubStats").json()["totalDeviceCount"] == 20
        assert arm.listed(f"{arm.subscription}/{CATALOGS}") == []


class TestWrites:
    def test_settings_of_a_group_are_changed_one_by_one(self, arm) -> None:
        before = arm.call("GET", arm.group()).json()["properties"]
        answer = arm.call("PATCH", arm.group(), {"properties": {"allowCrashDumpsCollection": "Enabled"}})
        after = arm.call("GET", arm.group()).json()["properties"]
        assert answer.status == 200
        assert after == {**before, "allowCrashDumpsCollection": "Enabled"}
        assert arm.cloud.counters.unguardable == 1

    @pytest.mark.parametrize("properties", [{"osFeedType": 0}, {"osFeedType": "Beta"}, {"hasDeployment": "x"}, None])
    def test_what_a_group_cannot_be_is_refused(self, arm, properties) -> None:
        answer = arm.call("PATCH", arm.group(), {"properties": properties})
        assert error_code(answer) == (400, "InvalidParameters")
        assert answer.headers["x-ms-failure-cause"] == "service"

    def test_tags_that_are_sent_take_the_place_of_all(self, arm) -> None:
        for id in (arm.catalog, arm.hub):
            assert arm.call("PATCH", id, {"tags": {"a": "b"}}).json()["tags"] == {"a": "b"}
            assert arm.call("GET", id).json()["tags"] == {"a": "b"}

    def test_a_stale_etag_of_a_catalog_is_refused(self, arm) -> None:
        etag = arm.call("GET", arm.catalog).headers["ETag"]
        arm.cloud.arm.operator_edit(arm.catalog, {"tags": {"theirs": "1"}})
        assert error_code(arm.call("PATCH", arm.catalog, {"tags": {}}, If_Match=etag)) == (412, "PreconditionFailed")
        assert arm.cloud.counters.if_match_stale == 1
        assert arm.cloud.counters.operator_edits == 1

    def test_the_two_shapes_of_errors(self, arm) -> None:
        flat = arm.call("PATCH", arm.hub, {"tags": {"a": 1}}).json()
        assert (flat["code"], flat["httpStatusCode"]) == (400016, "BadRequest")
        assert error_code(arm.call("GET", f"{arm.hub}x")) == (404, "ResourceNotFound")
        assert error_code(arm.call("GET", f"{arm.catalog}x")) == (404, "ResourceNotFound")
        assert error_code(arm.call("GET", arm.group("ColdChain/Nothing"))) == (404, "ResourceNotFound")

    @pytest.mark.parametrize(
        ("target", "expected"),
        [
            ("", (400, "MissingApiVersionParameter")),
            ("?api-version=2019-01-01", (400, "NoRegisteredProviderFound")),
        ],
    )
    def test_a_version_has_to_be_named(self, arm, target: str, expected) -> None:
        assert error_code(arm.send("GET", quote(arm.catalog) + target)) == expected

    def test_what_is_not_there_is_not_there(self, arm) -> None:
        assert (
            error_code(arm.call("GET", "/subscriptions/somebody-elses/providers/Microsoft.Devices/IotHubs"))[0] == 404
        )
        assert error_code(arm.call("GET", f"{arm.catalog}/things"))[0] == 404
        assert error_code(arm.call("DELETE", arm.group()))[0] == 405
        assert error_code(arm.call("GET", f"{arm.subscription}/providers/Microsoft.Devices/catalogs"))[0] == 404


class TestLimits:
    def test_every_class_of_methods_has_a_bucket_and_a_post_is_a_write(self, make_arm) -> None:
        arm = make_arm(arm_rate="documented")
        for _ in range(3):
            arm.call("POST", f"{arm.catalog}/countDevices")
        read = arm.call("GET", arm.catalog)
        assert read.headers["x-ms-ratelimit-remaining-subscription-reads"] == "249"
        write = arm.call("PATCH", arm.catalog, {"tags": {}})
        assert write.headers["x-ms-ratelimit-remaining-subscription-writes"] == "196"
        hub = arm.call("PATCH", arm.hub, {"tags": {}})
        assert hub.headers["x-ms-ratelimit-remaining-subscription-resource-requests"] == "195"
        names = arm.call("GET", f"{arm.subscription}/{CATALOGS}").headers
        assert not any("ratelimit" in name for name in names)

    @pytest.mark.parametrize("after", ["6", "0"])
    def test_a_429_says_how_long_to_wait_in_a_header_and_in_words(self, make_arm, after: str) -> None:
        arm = make_arm(arm_rate="1/s burst 2", arm_retry_after=after)
        answers = [arm.call("GET", arm.catalog) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert error_code(answers[-1]) == (429, "SubscriptionRequestsThrottled")
        assert answers[-1].headers["Retry-After"] == after
        assert f"after '{after}' seconds" in answers[-1].json()["error"]["message"]
        assert arm.call("POST", f"{arm.catalog}/countDevices").status == 200
        assert arm.cloud.counters.limits["arm.read"].refused == 1

    def test_what_the_headers_say_can_be_set(self, make_arm) -> None:
        arm = make_arm(arm_rate="documented")
        arm.cloud.arm.shown_left["read"] = 3
        assert arm.call("GET", arm.catalog).headers["x-ms-ratelimit-remaining-subscription-reads"] == "3"


class TestAround:
    def test_a_token_has_to_be_for_azure_resource_manager(self, make_arm, tmp_path) -> None:
        arm = make_arm(tls=tmp_path)
        secrets = arm.cloud.credentials
        assert error_code(arm.call("GET", arm.catalog)) == (401, "InvalidAuthenticationToken")
        for resource, status in (("https://management.azure.com", 200), ("https://iothubs.azure.net", 401)):
            form = (
                f"grant_type=client_credentials&client_id={secrets.client_id}"
                f"&client_secret={quote(secrets.client_secret)}&scope={quote(resource)}/.default"
            )
            target = f"/{secrets.tenant_id}/oauth2/v2.0/token"
            granted = arm.cloud.handle(SimRequest(method="POST", target=target, body=form.encode())).json()
            header = f"Bearer {granted['access_token']}"
            assert arm.call("GET", arm.catalog, Authorization=header).status == status

    def test_the_operator_moves_and_deletes(self, arm) -> None:
        device = arm.devices()[0]
        assert arm.cloud.arm.operator_move(device["name"].upper(), "prototypes", "p1")
        assert not arm.cloud.arm.operator_move(device["name"], "Prototypes", "P1")
        assert error_code(arm.call("GET", device["id"])) == (404, "ResourceNotFound")
        assert arm.call("GET", f"{arm.group('Prototypes/P1')}/devices/{device['name']}").status == 200
        arm.cloud.arm.delete_device(device["name"])
        assert device["name"] not in {one["name"] for one in arm.devices()}
        with pytest.raises(SimulatorError, match="no device"):
            arm.cloud.arm.delete_device(device["name"])

    def test_it_keeps_a_log_of_its_own(self, arm) -> None:
        arm.call("GET", arm.catalog)
        assert [(line.method, line.status) for line in arm.cloud.arm.log()] == [("GET", 200)]
        arm.cloud.reset_counters()
        assert arm.cloud.arm.log() == ()

    def test_the_pages_of_the_simulator_show_it(self, arm) -> None:
        shown = arm.send("GET", "/_simulator/arm").json()["devices"]
        assert shown == arm.cloud.arm.truth()
        edit = {"id": arm.catalog, "patch": {"tags": {"x": "y"}}}
        assert arm.send("POST", "/_simulator/arm/operator", edit).json() == {"changed": True}
        assert arm.send("GET", "/_simulator/arm/moves").json() == {"moves": []}
        assert arm.send("GET", "/_simulator/arm/log").json() == {"log": []}

    def test_there_is_none_unless_it_was_asked_for(self, client) -> None:
        with pytest.raises(SimulatorError, match="sphere-arm"):
            _ = client.cloud.arm

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"sphere_devices": -1}, "negative"),
            ({"arm_page_size": 0}, "pages"),
            ({"arm_link_size": 9000}, "links"),
            ({"arm_rate": "1/s retry-after 2"}, "own"),
            ({"arm_listen": "0.0.0.0:80"}, "loopback"),
        ],
    )
    def test_bad_options_are_named(self, changes: dict, said: str) -> None:
        with pytest.raises(SimulatorError, match=said):
            Cloud(Options(kinds=("sphere-arm",), **changes), now=HandClock())

    def test_the_same_seed_is_the_same_subscription(self, make_arm) -> None:
        one, other = make_arm(), make_arm()
        assert isinstance(one, ArmClient)
        assert one.cloud.arm.truth() == other.cloud.arm.truth()
        assert one.subscription != make_arm(seed=8).subscription
