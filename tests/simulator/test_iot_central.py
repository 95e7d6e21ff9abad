import base64
import json

import pytest

from fleetsync.simulator import Options
from fleetsync.simulator.fleet import ODD_IDS
from tests.simulator.client import STABLE, Client, next_target, quoted


class TestReading:
    def test_a_device_has_the_documented_members(self, client: Client) -> None:
        device = client.device(client.some_id()).json()
        assert {"id", "etag", "displayName", "provisioned", "enabled", "simulated"} <= device.keys()
        assert "header" in json.loads(base64.b64decode(device["etag"] + "=="))

    @pytest.mark.parametrize("device_id", ODD_IDS)
    def test_any_id_is_found_when_it_is_percent_encoded(self, client: Client, device_id: str) -> None:
        assert client.device(device_id).json()["id"] == device_id

    def test_an_id_is_decoded_only_once(self, client: Client) -> None:
        assert client.call("GET", "devices/50%25-sensor").status == 404
        assert client.call("GET", "devices/50%2525-sensor").json()["id"] == "50%25-sensor"

    def test_an_id_with_a_slash_is_one_segment(self, client: Client) -> None:
        client.cloud.add_device("a/b")
        assert client.call("GET", "devices/a%2Fb").json()["id"] == "a/b"
        assert client.call("GET", "devices/a/b").status == 404

    def test_an_error_names_its_code_twice_and_the_request(self, client: Client) -> None:
        answer = client.device("nobody")
        error = answer.json()["error"]
        assert answer.status == 404
        assert error["code"] == answer.headers["x-ms-error-code"] == "NotFound"
        assert error["requestId"]
        assert error["time"].endswith("GMT")

    @pytest.mark.parametrize("query", ["", "?api-version=2021-01-01", "?api-version=2022-07-31&api-version=2022-07-31"])
    def test_a_missing_or_unknown_api_version_is_refused(self, client: Client, query: str) -> None:
        assert client.send("GET", f"/api/devices{query}").status == 400

    @pytest.mark.parametrize("path", ["jobs", "devices/x/nothing", "devices//", "", "deviceGroups/x/y/z"])
    def test_an_unknown_path_is_not_found(self, client: Client, path: str) -> None:
        assert client.call("GET", path).status == 404

    def test_a_method_that_does_not_exist_is_refused(self, client: Client) -> None:
        assert client.call("POST", "devices", {}).status == 405

    def test_templates_hold_quotes_in_their_etag_and_organizations_have_none(self, client: Client) -> None:
        [templates], [organizations] = client.pages("deviceTemplates"), client.pages("organizations")
        assert all(item["etag"].startswith('"~') and item["@id"].startswith("dtmi:") for item in templates["value"])
        assert all("etag" not in item for item in organizations["value"])

    def test_enrollment_groups_answer_with_their_keys(self, client: Client) -> None:
        [page] = client.pages("enrollmentGroups")
        assert all(item["attestation"]["symmetricKey"]["primaryKey"] for item in page["value"])

    def test_credentials_are_given_out(self, client: Client) -> None:
        assert client.call("GET", f"devices/{client.some_id()}/credentials").json()["symmetricKey"]["primaryKey"]

    def test_the_members_of_a_group_match_its_filter_and_have_no_etag(self, client: Client) -> None:
        members = [item for page in client.pages("deviceGroups/oslo-thermostats/devices", 2) for item in page["value"]]
        assert members
        assert all(item["template"] == "dtmi:contoso:thermostat;2" and item["provisioned"] for item in members)
        assert not any("etag" in item for item in members)


class TestPaging:
    @pytest.mark.parametrize("version", ["2022-10-31-preview", "2022-07-31"])
    def test_all_devices_come_once_in_pages_of_25(self, client: Client, version: str) -> None:
        client.version = version
        pages = client.pages()
        assert [len(page["value"]) for page in pages] == [25, 25, 10]
        assert client.ids() == list(client.cloud.application.devices.ids)
        assert "nextLink" not in pages[-1]

    def test_only_the_preview_knows_the_page_size(self, client: Client) -> None:
        assert len(client.pages(size=60)) == 1
        client.version = STABLE
        assert len(client.pages(size=60)) == 3

    def test_a_fleet_that_fills_its_last_page_has_no_empty_one(self, client: Client) -> None:
        assert [len(page["value"]) for page in client.pages(size=30)] == [30, 30]

    @pytest.mark.parametrize("size", ["0", "101", "-1", "many", ""])
    def test_a_page_size_out_of_range_is_refused(self, client: Client, size: str) -> None:
        assert client.send("GET", f"{client.first_target()}&maxpagesize={size}").status == 400

    def test_what_is_not_simulated_is_refused_and_not_ignored(self, client: Client) -> None:
        assert client.send("GET", f"{client.first_target()}&filter=enabled").status == 400
        assert client.send("GET", f"{client.first_target()}&expand=deploymentManifest").status == 200

    def test_the_link_is_absolute_and_doubly_encoded_in_the_preview(self, client: Client) -> None:
        link = client.send("GET", client.first_target(), Host="localhost:8080").json()["nextLink"]
        assert link.startswith("http://localhost:8080/api/devices?api-version=2022-10-31-preview&maxpagesize=25&")
        assert "&%24skiptoken=%257B%2522token" in link

    def test_the_link_is_raw_in_the_stable_version(self, client: Client) -> None:
        client.version = STABLE
        link = client.send("GET", client.first_target()).json()["nextLink"]
        assert "&$skiptoken=1%3A" in link

    @pytest.mark.parametrize(
        ("version", "old", "new"),
        [
            ("2022-10-31-preview", "%24", "$"),
            ("2022-10-31-preview", "%257B", "%7B"),
            ("2022-10-31-preview", "%257B", "%257b"),
            ("2022-10-31-preview", "&maxpagesize=25", ""),
            ("2022-10-31-preview", "maxpagesize=25", "maxpagesize=26"),
            ("2022-07-31", "$", "%24"),
            ("2022-07-31", "%3A", ":"),
            ("2022-07-31", "$skiptoken=", "$skiptoken=x"),
        ],
    )
    def test_a_link_with_changed_bytes_is_refused(self, client: Client, version: str, old: str, new: str) -> None:
        client.version = version
        target = next_target(client.send("GET", client.first_target()).json())
        assert target is not None
        assert client.send("GET", target).status == 200
        assert client.send("GET", target.replace(old, new)).status == 400

    def test_a_link_of_one_list_does_not_serve_another(self, client: Client) -> None:
        target = next_target(client.send("GET", client.first_target()).json())
        assert target is not None
        assert client.send("GET", target.replace("/devices", "/deviceGroups")).status == 400

    def test_a_deletion_between_pages_moves_no_other_device(self, client: Client) -> None:
        first = client.send("GET", client.first_target()).json()
        for item in first["value"][10:]:
            client.device(item["id"], "DELETE")
        target = next_target(first)
        assert target is not None
        second = client.send("GET", target).json()
        left = client.cloud.application.devices.ids
        assert [item["id"] for item in second["value"]] == list(left[10:35])


class TestWriting:
    def test_a_patch_merges_and_changes_the_etag(self, client: Client) -> None:
        before = client.device(client.some_id()).json()
        answer = client.device(client.some_id(), "PATCH", {"displayName": "new"}, If_Match=quoted(before["etag"]))
        after = client.device(client.some_id()).json()
        assert answer.status == 200
        assert answer.json() == after
        assert after == {**before, "displayName": "new", "etag": after["etag"]}
        assert after["etag"] != before["etag"]

    def test_every_write_changes_the_etag_even_one_that_changes_nothing_else(self, client: Client) -> None:
        answers = [client.device(client.some_id(), "PATCH", {"enabled": True}) for _ in range(3)]
        assert len({answer.json()["etag"] for answer in answers}) == 3

    def test_put_replaces_all_but_what_the_service_knows(self, client: Client) -> None:
        id_ = next(entry.id for entry in client.cloud.application.devices if entry.document["provisioned"])
        client.device(id_, "PATCH", {"colour": "red"})
        answer = client.device(id_, "PUT", {"displayName": "bare", "enabled": False})
        assert {**answer.json(), "etag": ""} == {
            "id": id_, "etag": "", "displayName": "bare", "simulated": False, "provisioned": True, "enabled": False,
        }  # fmt: skip

    def test_null_takes_a_member_away_and_unknown_ones_are_kept(self, client: Client) -> None:
        client.device(client.some_id(), "PATCH", {"organizations": ["oslo"], "colour": {"red": 1}})
        client.device(client.some_id(), "PATCH", {"organizations": None, "colour": {"green": 2}})
        after = client.device(client.some_id()).json()
        assert "organizations" not in after
        assert after["colour"] == {"red": 1, "green": 2}

    def test_read_only_members_are_ignored(self, client: Client) -> None:
        before = client.device(client.some_id()).json()
        answer = client.device(client.some_id(), "PATCH", {"id": "x", "provisioned": "y", "etag": "z"})
        assert answer.status == 200
        assert {**answer.json(), "etag": ""} == {**before, "etag": ""}
        assert client.cloud.counters.writes_noop == 1

    def test_put_makes_a_device_and_answers_with_a_longer_etag_for_the_same_state(self, client: Client) -> None:
        made = client.device("new one", "PUT", {"displayName": "New"})
        listed = client.device("new one").json()
        assert made.status == 200
        assert made.json()["provisioned"] is False
        assert made.json()["etag"] != listed["etag"]
        assert client.device("new one", "PATCH", {"enabled": False}, If_Match=quoted(made.json()["etag"])).status == 200

    def test_delete_answers_204_and_then_404(self, client: Client) -> None:
        id_ = client.some_id()
        assert client.device(id_, "DELETE").status == 204
        assert client.device(id_, "DELETE").status == 404
        assert client.device(id_, "PATCH", {}).status == 404

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"{", 400),
            (b"", 400),
            (b"[]", 422),
            (b'{"colour": NaN}', 400),
            (b'{"a":' * 100_000, 400),
            ({"enabled": "yes"}, 422),
            ({"enabled": None}, 422),
            ({"displayName": 1}, 422),
            ({"template": "dtmi:nobody:knows;1"}, 400),
            ({"organizations": ["atlantis"]}, 422),
            ({"organizations": ["oslo", "lyon"]}, 422),
        ],
    )
    def test_a_bad_body_is_refused(self, client: Client, body: object, status: int) -> None:
        assert client.device(client.some_id(), "PATCH", body).status == status

    @pytest.mark.parametrize(("method", "status"), [("PATCH", 200), ("PUT", 400)])
    def test_the_merge_patch_type_is_for_patch_only(self, client: Client, method: str, status: int) -> None:
        headers = {"Content-Type": "application/merge-patch+json; charset=utf-8"}
        assert client.device(client.some_id(), method, {"enabled": True}, **headers).status == status

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("deviceGroups/new-group", {"displayName": "g", "filter": "SELECT * FROM devices"}),
            ("deviceTemplates/dtmi:contoso:new%3B1", {"@type": ["DeviceModel"], "capabilityModel": {}}),
            ("enrollmentGroups/new", {"displayName": "e", "type": "iot", "attestation": {"type": "symmetricKey"}}),
            ("organizations/new-org", {"displayName": "o", "parent": "contoso"}),
        ],
    )
    def test_the_other_types_are_made_changed_and_deleted(self, client: Client, path: str, body: object) -> None:
        made = client.call("PUT", path, body)
        changed = client.call("PATCH", path, {"displayName": "changed"})
        assert (made.status, changed.status) == (200, 200)
        assert client.call("GET", path).json() == changed.json()
        assert changed.json()["displayName"] == "changed"
        assert changed.json().get("attestation") == made.json().get("attestation")
        assert client.call("DELETE", path).status == 204

    def test_a_bad_id_or_a_missing_member_is_refused(self, client: Client) -> None:
        assert client.call("PUT", "organizations/NoCapitals", {"displayName": "x"}).status == 400
        assert client.call("PUT", "deviceGroups/g", {"displayName": "x"}).status == 422

    def test_half_a_surrogate_pair_is_a_text_like_any_other(self, client: Client) -> None:
        assert client.device(client.some_id(), "PATCH", b'{"displayName": "\\ud800"}').status == 200
        assert client.device(client.some_id()).json()["displayName"] == "\ud800"
        assert client.pages()

    def test_a_device_without_a_name_is_named_after_its_id(self, client: Client) -> None:
        answer = client.device(client.some_id(), "PATCH", {"displayName": None})
        assert answer.json()["displayName"] == client.some_id()


class TestGuards:
    def test_a_stale_etag_is_refused_with_412_and_changes_nothing(self, client: Client) -> None:
        before = client.device(client.some_id()).json()
        client.cloud.operator_edit(client.some_id(), {"displayName": "theirs"})
        answer = client.device(client.some_id(), "PATCH", {"displayName": "ours"}, If_Match=quoted(before["etag"]))
        assert answer.status == 412
        assert client.device(client.some_id()).json()["displayName"] == "theirs"
        assert client.cloud.counters.if_match_stale == 1

    def test_an_unquoted_etag_is_refused_and_counted(self, client: Client) -> None:
        etag = client.device(client.some_id()).json()["etag"]
        assert client.device(client.some_id(), "PATCH", {"enabled": False}, If_Match=etag).status == 400
        assert client.cloud.counters.if_match_unquoted == 1
        assert client.cloud.counters.writes_refused == 1

    def test_a_star_and_no_guard_are_accepted_and_counted(self, client: Client) -> None:
        assert client.device(client.some_id(), "PATCH", {"enabled": False}, If_Match="*").status == 200
        assert client.device(client.some_id(), "PATCH", {"enabled": True}).status == 200
        assert (client.cloud.counters.if_match_star, client.cloud.counters.if_match_missing) == (1, 1)

    def test_one_of_several_etags_is_enough(self, client: Client) -> None:
        etag = client.device(client.some_id()).json()["etag"]
        header = f'"other", {quoted(etag)}'
        assert client.device(client.some_id(), "PATCH", {"enabled": True}, If_Match=header).status == 200

    def test_an_etag_that_holds_quotes_goes_out_as_it_is(self, client: Client) -> None:
        path = "deviceTemplates/dtmi%3Acontoso%3Apump%3B1"
        etag = client.call("GET", path).json()["etag"]
        assert client.call("PATCH", path, {"displayName": "P"}, If_Match=f'"{etag}"').status == 400
        assert client.call("PATCH", path, {"displayName": "P"}, If_Match=etag).status == 200

    def test_if_match_is_ignored_where_the_service_does_not_know_it(self, client: Client) -> None:
        document = {"displayName": "x"}
        assert client.device(client.some_id(), "PUT", document, If_Match='"stale"').status == 200
        assert client.device(client.some_id(), "DELETE", If_Match='"stale"').status == 204
        client.version = STABLE
        assert client.device(client.some_id(), "PATCH", document, If_Match='"stale"').status == 200
        assert client.cloud.counters.unguardable == 2
        assert client.cloud.counters.if_match_stale == 0

    @pytest.mark.parametrize("method", ["PATCH", "PUT"])
    def test_the_stable_version_takes_the_etag_in_the_body(self, client: Client, method: str) -> None:
        client.version = STABLE
        etag = client.device(client.some_id()).json()["etag"]
        assert client.device(client.some_id(), method, {"enabled": False, "etag": etag}).status == 200
        assert client.device(client.some_id(), method, {"enabled": True, "etag": etag}).status == 412
        counters = client.cloud.counters
        assert (counters.body_etag_current, counters.body_etag_stale) == (1, 1)

    def test_the_books_tell_how_each_write_was_guarded(self, client: Client) -> None:
        etag = quoted(client.device(client.some_id()).json()["etag"])
        client.device(client.some_id(), "PATCH", {"displayName": "x", "a": {"b": 1}}, If_Match=etag)
        client.cloud.operator_edit(client.some_id(), {"enabled": False})
        client.device(client.some_id(), "PATCH", {"displayName": "y"}, If_Match=etag)
        first, theirs, refused = client.cloud.counters.writes
        assert (first.status, first.quoted, first.current, first.changed) == (200, True, True, True)
        assert first.members == ("displayName", "a.b")
        assert first.if_match == etag
        assert (theirs.by, theirs.members) == ("operator", ("enabled",))
        assert (refused.status, refused.current, refused.changed) == (412, False, False)
        assert first.sequence < theirs.sequence < refused.sequence


class TestSignIn:
    def test_without_tls_no_token_is_needed_but_a_wrong_one_is_refused(self, client: Client) -> None:
        assert client.call("GET", "devices").status == 200
        assert client.call("GET", "devices", Authorization="Bearer nonsense").status == 401
        assert client.call("GET", "devices", Authorization=client.cloud.credentials.api_token).status == 200

    def test_with_tls_a_token_is_needed(self, make, tmp_path) -> None:
        client = make(tls=tmp_path)
        assert client.call("GET", "devices").status == 401
        assert client.call("GET", "devices", Authorization=client.cloud.credentials.api_token).status == 200
        assert not list(tmp_path.iterdir())


def test_the_options_have_the_documented_defaults() -> None:
    assert (Options().devices, Options().rate, Options().latency_s) == (2000, "20/s burst 20", 0.005)
