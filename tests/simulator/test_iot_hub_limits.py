import pytest

from fleetsync.simulator import Cloud, Options, SimulatorError
from fleetsync.simulator.bucket import Bucket, Limit
from fleetsync.simulator.iot_hub.throttles import limits
from tests.simulator.client import HandClock, HubClient, error_name

ALL = "SELECT * FROM devices"


def meter(hub: HubClient, operation: str):
    return hub.cloud.counters.limits[f"iot-hub.{operation}"]


@pytest.mark.parametrize(
    ("tier", "units", "expected"),
    [
        ("F1", 1, (20, 100 * 60, 50 * 60, 100, 20)),
        ("S1", 2, (40, 100 * 60, 50 * 60, 200, 40)),
        ("S2", 1, (20, 100 * 60, 50 * 60, 100, 20)),
        ("S2", 20, (400, 200 * 60, 100 * 60, 2000, 400)),
        ("S3", 2, (2000, 1000 * 60, 500 * 60, 10_000, 40)),
    ],
)
def test_every_row_of_the_table_has_its_limit_a_minute(tier: str, units: int, expected: tuple[int, ...]) -> None:
    found = [limit.per_s * 60 for limit in limits(tier, units).values() if limit]
    assert found == pytest.approx(expected)


def test_answers_are_late_before_they_are_refused(make_hub) -> None:
    hub = make_hub(hub_tier="S1")
    answers = [hub.query(ALL) for _ in range(7)]
    assert [answer.status for answer in answers] == [200] * 4 + [429] * 3
    assert [answer.delay_s for answer in answers] == pytest.approx([0, 3, 6, 9, 0, 0, 0])
    assert error_name(answers[-1]) == (429, "ThrottlingBacklogTimeout")
    assert "Retry-After" not in answers[-1].headers
    assert "Wait 10 seconds" in answers[-1].json()["Message"]
    reading = meter(hub, "query")
    assert (reading.requests, reading.refused, reading.delayed, reading.over_rate) == (7, 3, 3, 6)
    hub.clock.advance(3)
    assert hub.query(ALL).delay_s == pytest.approx(9)


def test_every_class_of_operations_has_a_limit_of_its_own(make_hub) -> None:
    hub = make_hub(hub_tier="S1")
    for _ in range(10):
        hub.query(ALL)
    hub.twin("a")
    hub.twin("a", "PATCH", {})
    hub.device("a")
    hub.call("GET", "configurations")
    counted = {name: (found.requests, found.refused) for name, found in hub.cloud.counters.limits.items()}
    assert counted == {
        "entra": (0, 0),
        "iot-central": (0, 0),
        "iot-hub.query": (10, 6),
        "iot-hub.twin_read": (1, 0),
        "iot-hub.twin_write": (1, 0),
        "iot-hub.registry": (1, 0),
        "iot-hub.configuration": (1, 0),
    }
    assert hub.cloud.counters.throttled == 6


def test_a_client_that_keeps_the_rate_is_never_late(make_hub) -> None:
    hub = make_hub(hub_tier="S1")
    for _ in range(40):
        assert hub.query(ALL, size=1).delay_s == 0
        hub.clock.advance(3)
    assert meter(hub, "query").utilisation == pytest.approx(1.0, abs=0.05)
    assert meter(hub, "query").over_rate == 0


def test_a_reset_begins_the_meters_anew(make_hub) -> None:
    hub = make_hub(hub_tier="S1")
    hub.query(ALL)
    hub.cloud.reset_counters()
    assert meter(hub, "query").requests == 0


def test_a_bucket_with_patience_lends_and_is_paid_back() -> None:
    bucket = Bucket(Limit(per_s=1, burst=1))
    waits = [bucket.wait_s(at, patience_s=2) for at in (0.0, 0.0, 0.0, 0.0, 1.0, 10.0)]
    assert waits == [0, 1, 2, None, 2, 0]


def test_the_basic_tier_has_no_twins(make_hub) -> None:
    hub = make_hub(hub_tier="B1")
    hub.cloud.hub.add_device("a")
    assert error_name(hub.twin("a")) == (403, "OperationNotAvailableInCurrentTier")
    assert hub.query(ALL).status == hub.call("GET", "configurations").status == 403
    assert hub.device("a").status == 200


def test_the_free_tier_has_twenty_configurations(make_hub) -> None:
    hub = make_hub(hub_tier="F1")
    put = hub.cloud.hub.state.configurations.put
    for number in range(19):
        put(f"c{number}", {}, at=hub.clock.seconds)
    answer = hub.call("PUT", "configurations/one-more", {"id": "one-more"})
    assert error_name(answer) == (413, "ConfigurationCountLimitExceeded")


def test_the_quota_of_a_day_ends_with_the_day(make_hub) -> None:
    hub = make_hub(hub_daily_quota=3)
    hub.cloud.hub.add_device("a")
    assert [hub.twin("a").status for _ in range(4)] == [200, 200, 200, 403]
    assert error_name(hub.query(ALL)) == (403, "IotHubQuotaExceeded")
    assert hub.device("a").status == 200
    hub.clock.advance(86_400 - hub.clock.seconds % 86_400)
    assert hub.twin("a").status == 200
    assert hub.cloud.hub.quota.used(hub.clock.seconds) == 1


def test_a_page_is_charged_by_its_size(make_hub) -> None:
    hub = make_hub()
    size = len(hub.query(ALL).body)
    assert hub.cloud.hub.quota.used(hub.clock.seconds) == -(-size // 4096) > 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hub_tier": "S9"}, "S9"),
        ({"hub_units": 0}, "unit"),
        ({"hub_devices": -1}, "negative"),
        ({"hub_page_size": 0}, "pages"),
        ({"index_lag_s": -1.0}, "negative"),
        ({"hub_listen": "0.0.0.0:80"}, "loopback"),
    ],
)
def test_bad_options_are_named(changes: dict, said: str) -> None:
    with pytest.raises(SimulatorError, match=said):
        Cloud(Options(kinds=("iot-hub",), **changes), now=HandClock())
