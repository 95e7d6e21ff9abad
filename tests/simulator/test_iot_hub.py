import pytest

from fleetsync.simulator import SimRequest, SimulatorError
from fleetsync.simulator.iot_hub.fleet import ODD_IDS
from tests.simulator.client import HubClient, error_name

SEEDED = "thermostat-osaka-00016"


def etag(answer) -> str:
    return f'"{answer.json()["etag"]}"'


def writes(hub: HubClient) -> dict[str, int]:
    counters = hub.cloud.counters
    return {name: count for name in dir(counters) if name.startswith("if_match") and (count := getattr(counters, name))}


@pytest.fixture
def new(hub: HubClient) -> HubClient:
    """Return a hub with the device `a`, made by a client."""
    assert hub.device("a", "PUT", {"deviceId": "a"}).status == 200
    return hub


class TestIdentities:
    @pytest.mark.parametrize(
        ("headers", "missing", "existing"),
        [
            ({}, (200, None), (409, "DeviceAlreadyExists")),
            ({"If_Match": '""'}, (200, None), (409, "DeviceAlreadyExists")),
            ({"If_Match": "*"}, (412, "PreconditionFailed"), (200, None)),
            ({"If_Match": '"*"'}, (412, "PreconditionFailed"), (200, None)),
            ({"If_Match": '"xyz"'}, (412, "PreconditionFailed"), (412, "PreconditionFailed")),
            ({"If_Match": "xyz"}, (200, None), (200, None)),
            ({"If_None_Match": "*"}, (200, None), (412, "PreconditionFailed")),
        ],
    )
    def test_a_put_creates_or_updates_as_its_guard_says(self, new, headers, missing, existing) -> None:
        assert error_name(new.device("b", "PUT", {"deviceId": "b"}, **headers)) == missing
        assert error_name(new.device("a", "PUT", {"deviceId": "a"}, **headers)) == existing

    @pytest.mark.parametrize(
        ("headers", "missing", "existing"),
        [
            ({}, 204, 204),
            ({"If_Match": "*"}, 204, 204),
            ({"If_Match": '"*"'}, 204, 204),
            ({"If_Match": '"xyz"'}, 412, 412),
            ({"If_Match": "xyz"}, 204, 204),
        ],
    )
    def test_a_delete_needs_nothing_to_delete(self, new, headers, missing, existing) -> None:
        assert new.device("b", "DELETE", **headers).status == missing
        assert new.device("a", "DELETE", **headers).status == existing
        assert error_name(new.device("a")) == ((404, "DeviceNotFound") if existing == 204 else (200, None))

    def test_the_etag_of_the_identity_guards_it_and_that_of_the_twin_does_not(self, new) -> None:
        device, twin = new.device("a"), new.twin("a")
        assert device.headers["ETag"] == etag(device) != etag(twin)
        assert twin.json()["deviceEtag"] == device.json()["etag"]
        assert "ETag" not in twin.headers
        body = {"deviceId": "a", "status": "disabled", "statusReason": "lost"}
        assert new.device("a", "PUT", body, If_Match=etag(twin)).status == 412
        updated = new.device("a", "PUT", body, If_Match=etag(device))
        assert updated.status == 200
        assert updated.json()["status"] == new.twin("a").json()["status"] == "disabled"
        assert new.device("a", "DELETE", If_Match=etag(device)).status == 412
        assert new.device("a", "DELETE", If_Match=etag(updated)).status == 204

    def test_keys_are_shown_and_made_anew_when_they_are_not_sent_back(self, new) -> None:
        shown = new.device("a").json()
        assert all(shown["authentication"]["symmetricKey"].values())
        same = new.device("a", "PUT", shown, If_Match="*").json()
        assert same["authentication"] == shown["authentication"]
        other = new.device("a", "PUT", {"deviceId": "a"}, If_Match="*").json()
        assert other["authentication"] != shown["authentication"]
        assert "symmetricKey" not in new.twin("a").body.decode()

    def test_a_new_device_has_never_done_anything(self, hub) -> None:
        created = hub.device("a", "PUT", {"deviceId": "a"}).json()
        assert created["lastActivityTime"] == "0001-01-01T00:00:00"
        assert hub.device("a").json()["lastActivityTime"] == "0001-01-01T00:00:00Z"
        twin = hub.twin("a").json()
        assert (twin["etag"], twin["version"]) == ("AAAAAAAAAAE=", 2)
        assert "tags" not in twin
        assert (twin["properties"]["desired"]["$version"], twin["properties"]["reported"]["$version"]) == (1, 1)

    @pytest.mark.parametrize("device_id", ODD_IDS)
    def test_an_odd_id_is_a_segment_of_the_path(self, hub, device_id: str) -> None:
        assert hub.device(device_id).json()["deviceId"] == device_id
        assert hub.twin(device_id).json()["deviceId"] == device_id

    def test_the_odd_ids_hold_every_legal_character(self) -> None:
        assert set("-:.+%_#*?!(),=@;$'") <= set("".join(ODD_IDS))

    @pytest.mark.parametrize(
        "body",
        [
            b"x",
            {},
            {"deviceId": "b"},
            {"deviceId": "c", "status": "asleep"},
            {"deviceId": "c", "statusReason": "x" * 129},
            {"deviceId": "c", "authentication": {"type": "magic"}},
            {"deviceId": "c", "authentication": {"type": "sas", "symmetricKey": 1}},
            {"deviceId": "c", "capabilities": True},
            {"deviceId": "c", "deviceScope": 1},
            {"deviceId": "c", "parentScopes": "edge"},
            {"deviceId": "c", "parentScopes": [1]},
        ],
    )
    def test_what_an_identity_cannot_be_is_refused(self, hub, body) -> None:
        assert hub.device("c", "PUT", body).status == 400
        assert hub.device("c").status == 404

    def test_an_id_that_cannot_be_is_refused(self, hub) -> None:
        assert hub.device("a b", "PUT", {"deviceId": "a b"}).status == 400

    def test_a_list_stops_at_what_was_asked_for(self, hub) -> None:
        assert len(hub.call("GET", "devices?top=7").json()) == 7
        assert len(hub.call("GET", "devices").json()) == 60
        assert hub.call("GET", "devices?top=x").status == 400

    @pytest.mark.parametrize("top", ["0", "-1", "1001"])
    def test_a_list_of_an_impossible_length_is_one_of_a_thousand(self, make_hub, top: str) -> None:
        hub = make_hub(hub_devices=1001)
        assert len(hub.call("GET", f"devices?top={top}").json()) == 1000

    def test_the_scope_of_a_leaf_is_that_of_its_parent_and_an_edge_device_keeps_its_own(self, hub) -> None:
        edge = {"capabilities": {"iotEdge": True}}
        parent = hub.device("top", "PUT", {"deviceId": "top", **edge}).json()
        assert parent["deviceScope"].startswith("ms-azure-iot-edge://top-")
        below = {"deviceId": "edge", **edge, "parentScopes": [parent["deviceScope"]]}
        child = hub.device("edge", "PUT", below).json()
        assert child["deviceScope"] != parent["deviceScope"]
        assert child["parentScopes"] == hub.twin("edge").json()["parentScopes"] == [parent["deviceScope"]]
        assert hub.device("edge", "PUT", child, If_Match="*").json()["parentScopes"] == child["parentScopes"]
        moved = {**child, "deviceScope": parent["deviceScope"]}
        assert error_name(hub.device("edge", "PUT", moved, If_Match="*")) == (400, "ArgumentInvalid")
        leaf = hub.device("leaf", "PUT", {"deviceId": "leaf", "deviceScope": child["deviceScope"]}).json()
        assert (leaf["deviceScope"], leaf["parentScopes"]) == (child["deviceScope"], [child["deviceScope"]])
        promoted = hub.device("leaf", "PUT", {**leaf, **edge}, If_Match="*").json()
        assert promoted["deviceScope"].startswith("ms-azure-iot-edge://leaf-")
        assert promoted["parentScopes"] == [child["deviceScope"]]

    def test_bulk_operations_are_not_there(self, hub) -> None:
        assert error_name(hub.call("POST", "devices", [{"id": "a"}])) == (404, "GenericNotFound")
        assert error_name(hub.call("GET", "nothing")) == (404, "GenericNotFound")
        assert hub.twin("a", "DELETE").status == 405

    def test_statistics_lag_as_queries_do(self, new) -> None:
        assert new.call("GET", "statistics/devices").json() == {
            "totalDeviceCount": 60,
            "enabledDeviceCount": 58,
            "disabledDeviceCount": 2,
        }
        new.clock.advance(2)
        assert new.call("GET", "statistics/devices").json()["totalDeviceCount"] == 61
        assert new.call("GET", "statistics/service").json() == {"connectedDeviceCount": 45}

    @pytest.mark.parametrize("query", ["", "?api-version=1999-01-01"])
    def test_a_version_has_to_be_named(self, new, query: str) -> None:
        answer = new.cloud.handle_hub(SimRequest(method="GET", target=f"/devices/a{query}"))
        assert error_name(answer) == (400, "InvalidProtocolVersion")


class TestTwins:
    def test_a_patch_merges_and_null_deletes(self, new) -> None:
        new.twin("a", "PATCH", {"tags": {"site": "a", "x": {"y": 1}}, "properties": {"desired": {"k": [1], "old": 2}}})
        answer = new.twin(
            "a", "PATCH", {"tags": {"x": {"z": 2}}, "properties": {"desired": {"k": {"n": 1}, "old": None}}}
        )
        twin = answer.json()
        assert twin["tags"] == {"site": "a", "x": {"y": 1, "z": 2}}
        desired = twin["properties"]["desired"]
        assert {name: value for name, value in desired.items() if not name.startswith("$")} == {"k": {"n": 1}}
        assert desired["$metadata"]["k"]["n"]["$lastUpdatedVersion"] == desired["$version"] == 3
        assert "old" not in desired["$metadata"]
        assert new.twin("a").json() == twin

    def test_a_patch_that_changes_nothing_is_not_free(self, new) -> None:
        patch = {"properties": {"desired": {"interval": 60}}}
        first = new.twin("a", "PATCH", patch).json()
        second = new.twin("a", "PATCH", patch).json()
        assert second["properties"]["desired"]["$version"] == first["properties"]["desired"]["$version"] + 1
        assert (second["version"], second["etag"]) == (first["version"] + 1, "AAAAAAAAAAM=")
        assert new.cloud.counters.writes_noop == 1

    def test_tags_alone_change_the_etag_and_no_version(self, new) -> None:
        before, after = new.twin("a").json(), new.twin("a", "PATCH", {"tags": {"site": "a"}}).json()
        assert after["etag"] != before["etag"]
        assert (after["version"], after["properties"]) == (before["version"], before["properties"])
        assert "tags" not in new.twin("a", "PATCH", {"tags": {"site": None}}).json()

    def test_a_report_changes_the_version_and_no_etag(self, new) -> None:
        before = new.twin("a").json()
        new.cloud.hub.report("a", {"temperature": 20.5})
        after = new.twin("a").json()
        assert (after["etag"], after["deviceEtag"]) == (before["etag"], before["deviceEtag"])
        assert after["version"] == before["version"] + 1
        assert after["properties"]["reported"]["temperature"] == 20.5

    def test_a_put_replaces_both_sections_and_no_reported_property(self, hub) -> None:
        before = hub.twin(SEEDED).json()
        body = {**before, "version": 1, "status": "disabled", "tags": {"only": 1}}
        body["properties"] = {"desired": {"k": 1, "$version": 7, "$metadata": {}}, "reported": {"fake": 1}}
        after = hub.twin(SEEDED, "PUT", body).json()
        assert after["tags"] == {"only": 1}
        assert set(after["properties"]["desired"]) == {"k", "$version", "$metadata"}
        assert after["properties"]["reported"] == before["properties"]["reported"]
        assert after["status"] == before["status"]
        assert after["properties"]["desired"]["$version"] == before["properties"]["desired"]["$version"] + 1
        assert "tags" not in hub.twin(SEEDED, "PUT", {}).json()

    @pytest.mark.parametrize(
        ("if_match", "status", "counted"),
        [
            (None, 200, "if_match_missing"),
            ("*", 200, "if_match_star"),
            ('"*"', 200, "if_match_star"),
            ('"AAAAAAAAAAE="', 200, "if_match_current"),
            ('"AAAAAAAAAAI="', 412, "if_match_stale"),
            ("AAAAAAAAAAI=", 200, "if_match_unquoted"),
            ("AAAAAAAAAAE=", 200, "if_match_unquoted"),
        ],
    )
    def test_only_a_quoted_etag_guards_and_every_guard_is_counted(self, hub, if_match, status, counted) -> None:
        hub.cloud.hub.add_device("a")
        headers = {} if if_match is None else {"If_Match": if_match}
        answer = hub.twin("a", "PATCH", {"tags": {"site": "a"}}, **headers)
        assert answer.status == status
        assert writes(hub) == {counted: 1}
        assert hub.cloud.counters.writes[-1].members == ("tags.site",)

    def test_a_twin_that_is_missing_is_not_made(self, hub) -> None:
        assert error_name(hub.twin("nope", "PATCH", {"tags": {}})) == (404, "DeviceNotFound")
        assert error_name(hub.twin("nope", "PUT", {}, If_Match='"x"')) == (404, "DeviceNotFound")

    @pytest.mark.parametrize(
        "patch",
        [
            b"[]",
            {"tags": 1},
            {"properties": []},
            {"properties": {"desired": None}},
            {"tags": {"a.b": 1}},
            {"tags": {"a b": 1}},
            {"tags": {"$a": 1}},
            {"tags": {"a\u0001": 1}},
            {"tags": {"k" * 1025: 1}},
            {"tags": {"k": "x" * 4097}},
            {"tags": {"k": 4503599627370496}},
            {"tags": {"k": [{"n": -4503599627370497}]}},
            {"tags": {f"k{n}": "x" * 4096 for n in range(2)}},
            {"properties": {"desired": {f"k{n}": "x" * 4096 for n in range(8)}}},
            {"tags": {"1": {"2": {"3": {"4": {"5": {"6": {"7": {"8": {"9": {"10": {"11": {"12": 1}}}}}}}}}}}}},
        ],
    )
    def test_what_is_beyond_a_limit_is_refused(self, new, patch) -> None:
        before = new.twin("a").json()
        answer = new.twin("a", "PATCH", patch)
        assert answer.status == 400
        assert new.twin("a").json() == before

    def test_what_is_just_within_the_limits_is_taken(self, new) -> None:
        deepest = {"1": {"2": {"3": {"4": {"5": {"6": {"7": {"8": {"9": {"10": {"x": 1}}}}}}}}}}}
        patch = {
            "tags": {"k": "x" * 4096, "n": 4503599627370495, "b": [True, 1.5, None]},
            "properties": {"desired": deepest},
        }
        assert new.twin("a", "PATCH", patch).status == 200


class TestModules:
    def test_an_edge_device_has_modules_with_twins(self, hub) -> None:
        [edge] = [row for row in hub.rows() if row["capabilities"]["iotEdge"]][:1]
        path = f"{edge['deviceId']}/modules"
        modules = hub.call("GET", f"devices/{path}").json()
        assert [module["moduleId"] for module in modules] == ["$edgeAgent", "$edgeHub", "collector"]
        twin = hub.call("GET", f"twins/{path}/collector").json()
        assert (twin["moduleId"], twin["deviceEtag"]) == ("collector", edge["deviceEtag"])
        assert hub.call("PATCH", f"twins/{path}/collector", {"tags": {"x": 1}}).json()["tags"] == {"x": 1}
        assert error_name(hub.call("GET", f"twins/{path}/nope")) == (404, "ModuleNotFound")
        assert {row["moduleId"] for row in hub.rows("SELECT * FROM devices.modules")} >= {"$edgeAgent", "collector"}

    def test_a_module_shows_the_status_and_the_etag_of_its_device(self, new) -> None:
        new.call("PUT", "devices/a/modules/m", {"deviceId": "a", "moduleId": "m"})
        device = new.device("a", "PUT", {"deviceId": "a", "status": "disabled"}, If_Match="*").json()
        twin = new.call("GET", "twins/a/modules/m").json()
        assert (twin["status"], twin["deviceEtag"]) == ("disabled", device["etag"])
        assert new.cloud.hub.operator_edit("a", {"tags": {"x": 1}}, module_id="m")
        assert new.cloud.counters.writes[-1].id == "a/m"

    def test_a_module_comes_and_goes_with_its_device(self, new) -> None:
        body = {"deviceId": "a", "moduleId": "m"}
        created = new.call("PUT", "devices/a/modules/m", body)
        assert (created.status, "ETag" in created.headers) == (200, False)
        assert "ETag" not in new.call("GET", "devices/a/modules/m").headers
        assert error_name(new.call("PUT", "devices/a/modules/m", body)) == (409, "ModuleAlreadyExistsOnDevice")
        assert error_name(new.call("PUT", "devices/z/modules/m", {**body, "deviceId": "z"})) == (404, "DeviceNotFound")
        assert new.call("DELETE", "devices/a/modules/m", If_Match='"x"').status == 412
        assert new.call("DELETE", "devices/a/modules/m").status == 204
        new.call("PUT", "devices/a/modules/m", body)
        new.device("a", "DELETE")
        new.device("a", "PUT", {"deviceId": "a"})
        assert new.call("GET", "devices/a/modules").json() == []


CONFIGURATION = {
    "id": "base",
    "labels": {"owner": "us"},
    "content": {"deviceContent": {"properties.desired.settings": {"key": "value"}}},
    "targetCondition": "tags.site = 'a'",
    "priority": 5,
}


class TestConfigurations:
    def put(self, hub: HubClient, body: dict | None = None, **headers: str):
        return hub.call("PUT", "configurations/base", {**CONFIGURATION, **(body or {})}, **headers)

    def test_a_configuration_is_created_updated_and_deleted_under_its_etag(self, hub) -> None:
        created = self.put(hub)
        assert created.headers["ETag"] == etag(created)
        assert error_name(self.put(hub)) == (409, "ConfigurationAlreadyExists")
        assert self.put(hub, {"priority": 6}, If_Match='"x"').status == 412
        updated = self.put(hub, {"priority": 6, "labels": {"a": "b"}}, If_Match=etag(created))
        assert (updated.json()["priority"], updated.json()["labels"]) == (6, {"a": "b"})
        assert len(hub.call("GET", "configurations").json()) == 2
        assert len(hub.call("GET", "configurations?top=1").json()) == 1
        assert len(hub.call("GET", "configurations?top=9999").json()) == 2
        assert hub.call("DELETE", "configurations/base", If_Match=etag(created)).status == 412
        assert hub.call("DELETE", "configurations/base", If_Match=etag(updated)).status == 204
        assert error_name(hub.call("GET", "configurations/base")) == (404, "ConfigurationNotFound")

    @pytest.mark.parametrize(
        "change",
        [
            {"id": "other"},
            {"labels": []},
            {"priority": "high"},
            {"targetCondition": "tags.site LIKE 'a'"},
            {"content": {"deviceContent": {"tags.site": 1}}},
            {"content": {"deviceContent": 1}},
        ],
    )
    def test_what_a_configuration_cannot_be_is_refused(self, hub, change) -> None:
        assert self.put(hub, change).status == 400

    def test_there_are_a_hundred_at_most_and_a_missing_one_needs_no_deleting(self, hub) -> None:
        bodies = [{**CONFIGURATION, "id": f"c{number}"} for number in range(100)]
        statuses = [hub.call("PUT", f"configurations/{body['id']}", body).status for body in bodies]
        assert statuses == [200] * 99 + [413]
        assert [hub.call("GET", f"configurations?top={top}").status for top in ("0", "x")] == [400] * 2
        assert hub.call("DELETE", "configurations/nope").status == 204
        assert hub.call("DELETE", "configurations/nope", If_Match='"x"').status == 412
        assert hub.call("PUT", "configurations/Upper", {**CONFIGURATION, "id": "Upper"}).status == 400

    def test_the_content_stays(self, hub) -> None:
        self.put(hub)
        assert self.put(hub, {"content": {}}, If_Match="*").status == 400

    def test_a_configuration_signs_what_it_writes_and_does_not_yield(self, new) -> None:
        new.twin(
            "a", "PATCH", {"tags": {"site": "a"}, "properties": {"desired": {"settings": {"key": "ours", "more": 1}}}}
        )
        self.put(new)
        new.clock.advance(10)
        desired = new.twin("a").json()["properties"]["desired"]
        assert desired["settings"] == {"key": "value"}
        assert desired["$metadata"]["settings"]["$lastUpdatedBy"] == "base"
        ours = new.twin("a", "PATCH", {"properties": {"desired": {"settings": {"key": "ours"}}}}).json()
        assert "$lastUpdatedBy" not in ours["properties"]["desired"]["$metadata"]["settings"]["key"]
        new.clock.advance(4)
        assert new.twin("a").json() == ours
        new.clock.advance(2)
        after = new.twin("a").json()
        assert after["properties"]["desired"]["settings"] == {"key": "value"}
        assert after["version"] == ours["version"] + 1
        new.clock.advance(60)
        assert new.twin("a").json() == after

    def test_a_configuration_signs_again_what_somebody_else_wrote_alike(self, new) -> None:
        new.twin("a", "PATCH", {"tags": {"site": "a"}})
        self.put(new)
        new.clock.advance(10)
        new.twin("a", "PATCH", {"properties": {"desired": {"settings": {"key": "value"}}}})
        new.clock.advance(10)
        metadata = new.twin("a").json()["properties"]["desired"]["$metadata"]
        assert metadata["settings"]["key"]["$lastUpdatedBy"] == "base"

    def test_the_highest_priority_wins(self, new) -> None:
        new.twin("a", "PATCH", {"tags": {"site": "a"}})
        self.put(new)
        stronger = {"content": {"deviceContent": {"properties.desired.settings": {"key": "stronger"}}}, "priority": 9}
        new.call("PUT", "configurations/strong", {**CONFIGURATION, **stronger, "id": "strong"})
        new.clock.advance(10)
        assert new.twin("a").json()["properties"]["desired"]["settings"] == {"key": "stronger"}

    def test_the_fleet_comes_with_one_that_owns_a_key(self, hub) -> None:
        rows = [row for row in hub.rows() if "configurations" in row]
        assert rows
        for row in rows:
            assert row["configurations"] == {"canary-baseline": {"status": "Applied"}}
            assert row["tags"]["ring"] == "canary"
        before = hub.twin(rows[0]["deviceId"]).json()
        hub.twin(rows[0]["deviceId"], "PATCH", {"properties": {"desired": {"diagnostics": None}}})
        hub.clock.advance(10)
        after = hub.twin(rows[0]["deviceId"]).json()
        assert after["properties"]["desired"]["diagnostics"] == before["properties"]["desired"]["diagnostics"]


class TestOutside:
    def test_an_incarnation_has_a_generation_of_its_own_and_versions_start_again(self, new) -> None:
        hub = new.cloud.hub
        new.twin("a", "PATCH", {"properties": {"desired": {"k": 1}}})
        before, twin = new.device("a").json(), new.twin("a").json()
        hub.recreate_device("a", {"tags": {"site": "b"}})
        after = new.device("a").json()
        assert int(after["generationId"]) > int(before["generationId"])
        assert new.twin("a").json()["version"] < twin["version"]
        assert [(h.what, h.device_id, h.by) for h in hub.happenings()] == [
            ("created", "a", "client"),
            ("deleted", "a", "operator"),
            ("recreated", "a", "operator"),
        ]
        assert hub.happenings()[-1].generation_id == after["generationId"]

    def test_an_operator_edits_tags_desired_properties_and_the_status(self, new) -> None:
        patch = {"tags": {"site": "x"}, "properties": {"desired": {"k": 1}}, "status": "disabled"}
        assert new.call("POST", "_simulator/hub/operator", {"id": "a", "patch": patch}).json() == {"changed": True}
        assert not new.cloud.hub.operator_edit("a", patch)
        twin = new.twin("a").json()
        assert (twin["tags"], twin["properties"]["desired"]["k"], twin["status"]) == ({"site": "x"}, 1, "disabled")
        assert new.cloud.counters.operator_edits == 2
        assert (new.cloud.counters.writes[-1].type, new.cloud.counters.writes[-1].id) == ("twin", "a")

    @pytest.mark.parametrize(
        ("device_id", "patch"),
        [("nope", {}), ("a", {"reported": {}}), ("a", {"status": "x"}), ("a", {"tags": {"k": "x" * 9000}})],
    )
    def test_a_bad_edit_is_named(self, new, device_id, patch) -> None:
        with pytest.raises(SimulatorError):
            new.cloud.hub.operator_edit(device_id, patch)

    def test_a_device_that_is_there_cannot_be_added(self, new) -> None:
        with pytest.raises(SimulatorError, match='"a"'):
            new.cloud.hub.add_device("a")
        with pytest.raises(SimulatorError, match='"b"'):
            new.cloud.hub.delete_device("b")

    def test_the_pages_tell_the_truth(self, new) -> None:
        devices = new.call("GET", "_simulator/hub").json()["devices"]
        assert len(devices) == 61
        assert devices[-1]["twin"] == new.twin("a").json()
        [happening] = new.call("GET", "_simulator/hub/happenings").json()["happenings"]
        assert (happening["what"], happening["device_id"]) == ("created", "a")
