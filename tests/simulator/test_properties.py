import pytest

from fleetsync.simulator.iot_central.properties import Habit
from tests.simulator.client import PREVIEW, Client


def id_with(client: Client, *, answers: bool = True, acknowledges: bool = True) -> str:
    """Return a device of that habit, adding one when the fleet has none."""
    for number in range(1000):
        device_id = f"subject-{number}"
        habit = Habit.of(device_id)
        if (habit.answers, habit.acknowledges) == (answers, acknowledges):
            client.cloud.add_device(device_id, {"template": "dtmi:contoso:pump;1", "provisioned": True})
            return device_id
    raise AssertionError("no such device")


def properties(client: Client, device_id: str) -> dict:
    return client.call("GET", f"devices/{device_id}/properties").json()


def test_a_desired_value_is_accepted_first_and_acknowledged_later(client: Client) -> None:
    device_id = id_with(client)
    reported = properties(client, device_id)["targetTemperature"]
    answer = client.call("PATCH", f"devices/{device_id}/properties", {"targetTemperature": 99.5})
    waiting = properties(client, device_id)
    client.clock.advance(10)
    settled = properties(client, device_id)
    assert answer.status == 202
    assert answer.json() == {"$metadata": {"targetTemperature": {"desiredValue": 99.5}}}
    assert waiting["targetTemperature"] == reported
    assert waiting["$metadata"]["targetTemperature"]["desiredValue"] == 99.5
    assert "ackVersion" not in waiting["$metadata"]["targetTemperature"]
    assert settled["targetTemperature"] == 99.5
    meta = settled["$metadata"]["targetTemperature"]
    assert (meta["ackVersion"], meta["ackCode"]) == (meta["desiredVersion"], 200)


def test_some_devices_never_answer(client: Client) -> None:
    device_id = id_with(client, answers=False)
    client.call("PATCH", f"devices/{device_id}/properties", {"targetTemperature": 99.5})
    client.clock.advance(86_400)
    assert properties(client, device_id)["targetTemperature"] != 99.5


def test_some_devices_report_without_acknowledging(client: Client) -> None:
    device_id = id_with(client, acknowledges=False)
    client.call("PATCH", f"devices/{device_id}/properties", {"targetTemperature": 99.5})
    client.clock.advance(10)
    settled = properties(client, device_id)
    assert settled["targetTemperature"] == 99.5
    assert "ackVersion" not in settled["$metadata"]["targetTemperature"]


def test_a_device_answers_the_last_wish_only(client: Client) -> None:
    device_id = id_with(client)
    client.call("PATCH", f"devices/{device_id}/properties", {"targetTemperature": 1.5})
    client.clock.advance(Habit.of(device_id).delay_s - 0.1)
    client.call("PATCH", f"devices/{device_id}/properties", {"targetTemperature": 2.5})
    client.clock.advance(0.2)
    assert properties(client, device_id)["targetTemperature"] not in (1.5, 2.5)
    client.clock.advance(10)
    assert properties(client, device_id)["targetTemperature"] == 2.5


def test_a_component_has_its_own_level_and_its_own_path(client: Client) -> None:
    device_id = id_with(client)
    whole = client.call("PATCH", f"devices/{device_id}/properties", {"settings": {"fanSpeed": 3}})
    part = client.call("PATCH", f"devices/{device_id}/components/settings/properties", {"irSwitch": True})
    assert whole.json() == {"settings": {"$metadata": {"fanSpeed": {"desiredValue": 3}}}}
    assert part.json() == {"$metadata": {"irSwitch": {"desiredValue": True}}}
    shown = client.call("GET", f"devices/{device_id}/components/settings/properties").json()
    assert shown == properties(client, device_id)["settings"]
    assert shown["$metadata"]["irSwitch"]["desiredValue"] is True


def test_null_and_put_take_desired_values_back(client: Client) -> None:
    device_id = id_with(client)
    path = f"devices/{device_id}/properties"
    client.call("PATCH", path, {"targetTemperature": 1.5, "telemetryInterval": 5, "serviceContact": "Kari"})
    assert properties(client, device_id)["serviceContact"] == "Kari"
    client.call("PATCH", path, {"targetTemperature": None, "serviceContact": None})
    assert "desiredValue" not in properties(client, device_id)["$metadata"]["targetTemperature"]
    assert "serviceContact" not in properties(client, device_id)
    client.call("PUT", path, {"settings": {"fanSpeed": 3}})
    assert "desiredValue" not in properties(client, device_id)["$metadata"]["telemetryInterval"]


@pytest.mark.parametrize(
    "body", [{"swVersion": "9"}, {"unheardOf": 1}, {"$metadata": {}}, {"settings": {"model": "x"}}]
)
def test_what_is_not_writable_is_refused(client: Client, body: object) -> None:
    assert client.call("PATCH", f"devices/{id_with(client)}/properties", body).status == 422


def test_the_preview_takes_unmodeled_properties_when_asked(client: Client) -> None:
    device_id = id_with(client)
    target = f"/api/devices/{device_id}/properties?api-version={PREVIEW}&unmodeled=true"
    assert client.send("PATCH", target, {"unheardOf": 1}).status == 202


def test_property_writes_are_booked_as_impossible_to_guard(client: Client) -> None:
    device_id = id_with(client)
    for value in (5, 5, 6):
        client.call("PATCH", f"devices/{device_id}/properties", {"telemetryInterval": value})
    counters = client.cloud.counters
    assert (counters.unguardable, counters.writes_applied, counters.writes_noop) == (3, 2, 1)
    assert counters.by_type["device-properties"] == 3


def test_a_write_does_not_touch_the_etag_of_the_device(client: Client) -> None:
    device_id = id_with(client)
    before = client.device(device_id).json()
    client.call("PATCH", f"devices/{device_id}/properties", {"telemetryInterval": 5})
    assert client.device(device_id).json() == before
