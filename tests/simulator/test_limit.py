import pytest

from fleetsync.simulator import SimulatorError
from fleetsync.simulator.bucket import Bucket, Limit, Meter


def test_after_the_burst_the_service_refuses_without_saying_when(make) -> None:
    client = make(rate="20/s burst 20")
    statuses = [client.call("GET", "organizations").status for _ in range(22)]
    refused = client.call("GET", "organizations")
    assert statuses == [200] * 20 + [429] * 2
    assert "Retry-After" not in refused.headers
    assert client.cloud.counters.throttled == 3
    client.clock.advance(0.05)
    assert client.call("GET", "organizations").status == 200


def test_retry_after_can_be_had(make) -> None:
    client = make(rate="1/s burst 1 retry-after 7")
    client.call("GET", "organizations")
    assert client.call("GET", "organizations").headers["Retry-After"] == "7"


def test_a_client_that_keeps_the_rate_is_never_refused(make) -> None:
    client = make(rate="20/s burst 1")
    for _ in range(200):
        assert client.call("GET", "organizations").status == 200
        client.clock.advance(0.05)
    reading = client.cloud.counters.limits["iot-central"]
    assert reading.over_rate == 0
    assert reading.utilisation == pytest.approx(1.0)


def test_the_meter_finds_the_worst_window(make) -> None:
    meter = Meter(Limit(per_s=10, burst=2))
    for at in (0.0, 1.0, 1.0, 1.0, 1.1, 1.1, 9.0):
        meter.note(at, refused=False)
    assert meter.reading().over_rate == pytest.approx(2.0)


def test_a_refused_request_costs_nothing_and_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = Bucket(Limit(per_s=1, burst=1))
    assert [bucket.take(at) for at in (0.0, 0.5, -100.0, -99.5, -99.0, -98.9)] == [
        True,
        False,
        False,
        True,
        False,
        False,
    ]


def test_the_pages_of_the_simulator_are_neither_limited_nor_counted(make) -> None:
    client = make(rate="1/s burst 1")
    for _ in range(5):
        assert client.send("GET", "/_simulator").status == 200
    assert client.cloud.counters.requests == 0


@pytest.mark.parametrize("text", ["", "20", "20/m", "0/s", "20/s burst 0", "20/s burst", "many/s"])
def test_a_bad_rate_is_named(text: str) -> None:
    with pytest.raises(SimulatorError, match="rate"):
        Limit.parse(text)


def test_no_limit_has_no_utilisation(client) -> None:
    client.call("GET", "organizations")
    assert client.cloud.counters.limits["iot-central"].utilisation is None
