import pytest

from fleetsync.simulator import Cloud, Options, SimulatorError
from tests.simulator.client import Client, HandClock


def lived(*, seed: int, looks: int) -> list[dict]:
    """Return the truth after ten minutes in which somebody looked so often."""
    clock = HandClock()
    cloud = Cloud(Options(devices=30, seed=seed, life="busy"), now=clock)
    for _ in range(looks):
        clock.advance(600 / looks)
        cloud.truth()
    return cloud.truth()


@pytest.mark.parametrize("seed", range(5))
def test_life_does_not_depend_on_who_looks(seed: int) -> None:
    assert lived(seed=seed, looks=1) == lived(seed=seed, looks=200)


def test_devices_come_and_go_and_are_edited(make) -> None:
    client = make(life="busy", devices=100)
    before = set(client.ids())
    client.clock.advance(600)
    after = set(client.ids())
    assert after - before
    assert before - after
    assert client.cloud.counters.operator_edits > 100
    assert {record.by for record in client.cloud.counters.writes} == {"operator"}


def test_nothing_happens_when_life_is_off(client: Client) -> None:
    before = client.cloud.truth()
    client.clock.advance(86_400)
    assert client.cloud.truth() == before


def test_an_empty_fleet_comes_to_life(make) -> None:
    client = make(life="busy", devices=0)
    client.clock.advance(10)
    assert client.ids()


def test_a_long_sleep_is_not_lived_through(make) -> None:
    client = make(life="busy", devices=10)
    client.clock.advance(3650 * 86_400)
    assert client.call("GET", "devices").status == 200


@pytest.mark.parametrize("devices", [0, 10, 5000])
def test_the_fleet_has_the_size_that_was_asked_for_and_follows_from_the_seed(devices: int) -> None:
    one, same, other = (Cloud(Options(devices=devices, seed=seed), now=HandClock()) for seed in (1, 1, 2))
    assert len(one.application.devices) == devices
    assert one.application.devices.ids == same.application.devices.ids
    assert devices == 0 or one.application.devices.ids != other.application.devices.ids


class TestOperator:
    def test_an_edit_is_seen_and_changes_the_etag(self, client: Client) -> None:
        before = client.device(client.some_id()).json()
        assert client.cloud.operator_edit(client.some_id(), {"displayName": "theirs"})
        assert not client.cloud.operator_edit(client.some_id(), {"displayName": "theirs"})
        after = client.device(client.some_id()).json()
        assert after["displayName"] == "theirs"
        assert after["etag"] != before["etag"]

    def test_an_edit_over_http_can_set_properties(self, client: Client) -> None:
        patch = {"properties": {"telemetryInterval": 77, "settings": {"fanSpeed": 1}}}
        answer = client.send("POST", "/_simulator/operator", {"id": client.some_id(), "patch": patch})
        shown = client.call("GET", f"devices/{client.some_id()}/properties").json()
        assert answer.json() == {"changed": True}
        assert shown["$metadata"]["telemetryInterval"]["desiredValue"] == 77
        assert shown["settings"]["$metadata"]["fanSpeed"]["desiredValue"] == 1

    @pytest.mark.parametrize("body", [{}, {"id": "nobody", "patch": {}}, {"id": 1, "patch": {}}, b"x"])
    def test_a_bad_edit_is_refused(self, client: Client, body: object) -> None:
        assert client.send("POST", "/_simulator/operator", body).status == 400

    def test_a_device_made_again_is_another_one(self, client: Client) -> None:
        before = client.device(client.some_id()).json()
        id_ = client.some_id()
        client.cloud.delete_device(id_)
        client.cloud.add_device(id_, {k: v for k, v in before.items() if k not in ("id", "etag")})
        after = client.device(id_).json()
        assert {**after, "etag": ""} == {**before, "etag": ""}
        assert after["etag"] != before["etag"]

    def test_a_device_that_is_not_there_cannot_be_deleted(self, client: Client) -> None:
        with pytest.raises(SimulatorError, match="nobody"):
            client.cloud.delete_device("nobody")


class TestPages:
    def test_the_truth_is_what_a_listing_says_and_the_properties(self, client: Client) -> None:
        truth = client.send("GET", "/_simulator/devices").json()["devices"]
        listed = [item for page in client.pages() for item in page["value"]]
        assert [{k: v for k, v in device.items() if k != "properties"} for device in truth] == listed

    def test_a_reset_forgets_what_was_counted(self, client: Client) -> None:
        client.pages()
        assert client.send("GET", "/_simulator").json()["requests"] == 3
        client.send("POST", "/_simulator/reset")
        page = client.send("GET", "/_simulator").json()
        assert (page["requests"], page["limits"]["iot-central"]["requests"]) == (0, 0)

    def test_the_log_holds_the_raw_targets(self, client: Client) -> None:
        client.device("50%25-sensor")
        [line] = client.send("GET", "/_simulator/log").json()["log"]
        assert line["target"].startswith("/api/devices/50%2525-sensor?")
        assert (line["kind"], line["type"], line["id"]) == ("read", "device", "50%25-sensor")

    def test_there_are_no_other_pages(self, client: Client) -> None:
        assert client.send("GET", "/_simulator/nothing").status == 404


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kinds": ("iot-moon",)}, "iot-moon"),
        ({"life": "wild"}, "wild"),
        ({"devices": -1}, "negative"),
        ({"listen": "0.0.0.0:80"}, "loopback"),
        ({"listen": "example.com:80"}, "loopback"),
        ({"rate": "fast"}, "fast"),
        ({"faults": "boom"}, "boom"),
    ],
)
def test_bad_options_are_named(changes: dict, said: str) -> None:
    with pytest.raises(SimulatorError, match=said):
        Cloud(Options(**changes))
