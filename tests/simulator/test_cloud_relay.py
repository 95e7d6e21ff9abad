from collections.abc import Callable
from dataclasses import replace

import pytest

from fleetsync.simulator import Cloud, Options, SimRequest, SimulatorError, parse_faults
from fleetsync.simulator.cloud_relay.rosters import Standing
from fleetsync.simulator.cloud_relay.service import Shares
from tests.simulator.client import HandClock
from tests.simulator.relay_client import WELL, RelayClient, relay_error

VALUE = "protocols/bacnet/local/objects/analog-value/1/properties/present-value"
INPUT = "protocols/bacnet/local/objects/analog-input/1/properties/present-value"
MULTIPLE = "protocols/bacnet/local/objects/write-property-multiple"


@pytest.fixture
def make_relay(clock: HandClock) -> Callable[..., RelayClient]:
    """Return a maker of clients of a Cloud Relay with twenty devices that are all well."""
    options = Options(kinds=("cloud-relay",), seed=7, rate="none", latency_s=0.0, relay_devices=20, relay_shares=WELL)

    def made(**changes: object) -> RelayClient:
        return RelayClient(cloud=Cloud(replace(options, **changes), now=clock), clock=clock)  # type: ignore[arg-type]

    return made


@pytest.fixture
def relay(make_relay: Callable[..., RelayClient]) -> RelayClient:
    return make_relay()


@pytest.fixture
def device(relay: RelayClient) -> str:
    return relay.cloud.relay.roster.ids()[0]


class TestTheRoute:
    def test_a_read_shows_what_the_controller_has(self, relay, device) -> None:
        for path, document in relay.cloud.relay.truth()[0]["resources"].items():
            answer = relay.call(device, path)
            assert (answer.status, answer.json()) == (200, document)
            assert answer.headers["Content-Type"] == "application/json"

    def test_slashes_are_escaped(self, relay, device) -> None:
        assert b'"href":"\\/api\\/rest\\/v1\\/info\\/device"' in relay.call(device, "info").body

    def test_the_status_is_the_controllers_in_both_forms(self, make_relay) -> None:
        for share in (0.0, 1.0):
            relay = make_relay(relay_shares=replace(WELL, old_form=share))
            answer = relay.call(relay.cloud.relay.roster.ids()[0], "nothing/there")
            assert relay_error(answer) == (404, None)

    def test_what_is_not_the_route_is_nothing(self, relay, device) -> None:
        assert relay.send("GET", "/api/v1/devices").status == 404
        assert relay.send("GET", f"/API/v1/Devices/{device}/Request", Remote_Query="/api/rest/v1/info").status == 200
        refused = relay.call(device, "info", "PATCH", {})
        assert (refused.status, refused.body) == (405, b"")

    def test_a_request_without_remote_query_is_refused_by_the_framework(self, relay, device) -> None:
        answer = relay.send("GET", f"/api/v1/devices/{device}/request")
        assert relay_error(answer) == (400, None)
        assert "Remote-Query" in answer.json()["errors"]

    @pytest.mark.parametrize(
        ("query", "error"),
        [
            ("?responseTimeout=x", (400, 100)),
            ("?responseTimeout=", (400, 100)),
            ("?RESPONSETIMEOUT=99999", (200, None)),
            ("?responseTimeout=-1", (200, None)),
            ("?environmentId=other", (404, 3000)),
        ],
    )
    def test_the_query_is_checked(self, relay, device, query: str, error: tuple) -> None:
        assert relay_error(relay.call(device, "info", query=query)) == error

    def test_what_is_not_forwarded_does_not_arrive(self, relay, device) -> None:
        assert relay.call(device, VALUE, "POST", {"value": "1"}, Content_Type="text/plain").status == 415
        assert relay.call(device, VALUE, "GET", b"rubbish").status == 200

    def test_no_answer_has_an_etag(self, relay, device) -> None:
        assert "ETag" not in relay.call(device, "info", If_Match='"x"').headers


class TestDevices:
    def test_one_that_is_not_registered_or_not_connected_does_not_exist(self, relay, device) -> None:
        answer = relay.call("nobody", "info")
        assert relay_error(answer) == (404, 1000)
        assert answer.json()["detail"] == "Reference 'nobody' does not exist"
        relay.cloud.relay.moods[device] = "offline"
        assert relay_error(relay.call(device, "info")) == (404, 1000)

    def test_one_that_is_disabled_is_a_gateway_error(self, relay, device) -> None:
        relay.cloud.relay.roster.devices[device] = Standing(is_enabled=False)
        assert relay_error(relay.call(device, "info")) == (503, 5001)

    @pytest.mark.parametrize(
        ("mood", "error"), [("rubbish", (502, 1002)), ("hollow", (500, None)), ("large", (502, 1003))]
    )
    def test_moods_have_their_errors(self, relay, device, mood, error) -> None:
        relay.cloud.relay.moods[device] = mood
        assert relay_error(relay.call(device, "info/network")) == error
        assert relay.call(device, "info").status == (200 if mood == "large" else error[0])

    def test_a_slow_one_takes_its_time_or_is_given_up_and_does_it_all_the_same(self, relay, device) -> None:
        relay.cloud.relay.moods[device] = "slow"
        fine = relay.call(device, "info", query="?responseTimeout=60")
        assert (fine.status, fine.delay_s) == (200, 20.0)
        relay.clock.advance(60)
        late = relay.call(device, VALUE, "POST", {"value": "7"}, query="?responseTimeout=1")
        assert (*relay_error(late), late.delay_s) == (504, 1001, 5.0)
        assert relay.cloud.relay.value(device, VALUE) == "7"

    def test_shares_are_shares(self, make_relay) -> None:
        relay = make_relay(relay_devices=2000, relay_shares=Shares(offline=0.1, slow=0.2, rubbish=0.3))
        moods = [relay.cloud.relay.mood(id_) for id_ in relay.cloud.relay.roster.ids()]
        counts = {mood: moods.count(mood) / 2000 for mood in ("offline", "slow", "rubbish")}
        assert counts == pytest.approx({"offline": 0.1, "slow": 0.2, "rubbish": 0.3}, abs=0.03)

    def test_calls_at_the_same_time_are_counted_by_device(self, make_relay) -> None:
        relay = make_relay(latency_s=0.5)
        one, other, *_ = relay.cloud.relay.roster.ids()
        for device, wait_s in ((one, 0), (other, 0.6), (one, 0.1), (one, 0.0)):
            relay.call(device, "info")
            relay.clock.advance(wait_s)
        assert [call.at_once for call in relay.cloud.relay.calls(one)] == [1, 1, 2]
        assert relay.cloud.relay.most_per_device == 2
        relay.cloud.reset_counters()
        assert relay.cloud.relay.calls() == ()

    def test_the_throttle_of_the_hub_shows_as_a_timeout(self, make_relay) -> None:
        relay = make_relay(latency_s=0.5)
        relay.cloud.relay.most_at_once = 2
        answers = [relay.call(device, "info") for device in relay.cloud.relay.roster.ids()[:3]]
        assert [relay_error(answer) for answer in answers] == [(200, None), (200, None), (504, 1001)]


class TestTheHub:
    def test_the_devices_of_the_hub_are_behind_the_relay(self, make_relay) -> None:
        relay = make_relay(kinds=("iot-hub", "cloud-relay"), hub_devices=60, hub_tier="none")
        hub, found = relay.cloud.hub, relay.cloud.relay
        assert found.roster.ids() == hub.state.registry.ids
        for record in list(hub.state.registry)[:20]:
            expected = 404 if not record.is_connected else 503 if record.status == "disabled" else 200
            assert relay.call(record.key[0], "info").status == expected
        hub.add_device("late")
        assert relay_error(relay.call("late", "info")) == (404, 1000)

    def test_the_daily_quota_ends_with_the_day(self, make_relay) -> None:
        relay = make_relay(relay_daily_quota=2)
        device = relay.cloud.relay.roster.ids()[0]
        answers = [relay_error(relay.call(device, "info")) for _ in range(3)]
        assert answers == [(200, None), (200, None), (503, 5002)]
        relay.clock.advance(86_400)
        assert relay.call(device, "info").status == 200


class TestValues:
    def test_a_property_takes_a_text(self, relay, device) -> None:
        assert relay.call(device, VALUE, "POST", {"value": "21.50"}).status == 200
        shown = relay.call(device, VALUE).json()
        assert (shown["value"], shown["name"], shown["isArray"]) == ("21.5", "presentValue", False)
        assert relay.call(device, VALUE, "POST", {"value": 21.5}).status == 400
        assert relay.call(device, VALUE, "POST", {"value": "warm"}).status == 400
        assert relay.call(device, INPUT, "POST", {"value": "1"}).status == 403
        assert relay.call(device, VALUE, "PUT", {"value": "1"}).status == 405

    def test_write_property_multiple_answers_200_whatever_fails(self, relay, device) -> None:
        def reference(kind: str, value: str) -> dict:
            return {"type": kind, "instance": 2, "property": "present-value", "priority": 8, "value": value}

        body = {
            "encode": "text",
            "propertyReferences": [reference("analog-value", "19"), reference("analog-input", "1")],
        }
        answer = relay.call(device, MULTIPLE, "POST", body)
        assert answer.status == 200
        assert [one.get("message") for one in answer.json()["propertyReferences"]] == [None, "write access denied"]
        assert relay.cloud.relay.value(device, VALUE.replace("/1/", "/2/")) == "19"
        assert relay.call(device, MULTIPLE, "POST", {"propertyReferences": []}).status == 400

    def test_objects_lead_to_each_other(self, relay, device) -> None:
        types = relay.call(device, "protocols/bacnet/local/objects").json()
        objects = relay.call(device, types["analog-value"]["href"].removeprefix("/api/rest/v1/")).json()
        one = relay.call(device, objects["1"]["href"].removeprefix("/api/rest/v1/")).json()
        assert (one["objectInstance"], one["objectType"]) == (1, "analogValue")

    def test_an_operator_changes_values_at_the_controller(self, relay, device) -> None:
        assert relay.cloud.relay.operator_edit(device, VALUE, "99")
        assert not relay.cloud.relay.operator_edit(device, VALUE, "99")
        assert relay.call(device, VALUE).json()["value"] == "99"
        with pytest.raises(SimulatorError, match="unknown"):
            relay.cloud.relay.operator_edit(device, "protocols/none", "1")
        with pytest.raises(SimulatorError, match="no device"):
            relay.cloud.relay.operator_edit("nobody", VALUE, "1")

    def test_life_changes_values(self, make_relay) -> None:
        relay = make_relay(life="busy")
        relay.clock.advance(10)
        assert any(device["written"] for device in relay.cloud.relay.truth())

    def test_the_same_seed_makes_the_same_controllers(self, make_relay) -> None:
        one, same, other = (make_relay(**seed).cloud.relay.truth() for seed in ({}, {}, {"seed": 8}))
        assert one == same != other

    def test_puppets_have_pages(self, relay, device) -> None:
        edited = relay.send("POST", "/_simulator/relay/operator", {"id": device, "patch": {VALUE: "5"}})
        assert edited.json() == {"changed": True}
        assert relay.send("GET", "/_simulator/relay").json()["devices"][0]["written"] == {VALUE: "5"}
        assert relay.send("GET", "/_simulator/relay/x").status == 404


class TestTheDoor:
    def test_a_status_that_is_injected_is_worded_as_the_relay_would(self, relay, device) -> None:
        for faults, error in (("status=503", (503, 5000)), ("status=504", (504, 1001)), ("status=500", (500, None))):
            relay.cloud.faults = parse_faults(faults)
            assert relay_error(relay.call(device, "info")) == error

    def test_with_tls_it_wants_a_token_for_itself(self, tmp_path) -> None:
        cloud = Cloud(Options(kinds=("cloud-relay",), devices=20, tls=tmp_path), now=HandClock())
        request = SimRequest(method="GET", target="/api/v1/devices/x/request", headers={"Remote-Query": "/"})
        for headers in ({}, {"Authorization": "Bearer x"}):
            answer = cloud.handle_relay(replace(request, headers={**request.headers, **headers}))
            assert (answer.status, answer.body) == (401, b"")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    def test_there_is_none_where_none_is_wanted(self) -> None:
        with pytest.raises(SimulatorError, match="cloud-relay"):
            _ = Cloud(Options()).relay
        with pytest.raises(SimulatorError, match="negative"):
            Cloud(Options(kinds=("cloud-relay",), relay_devices=-1))
