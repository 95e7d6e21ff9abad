import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.core.bucket import Rate
from fleetsync.core.forecast import (
    DAY_S,
    Batch,
    Forecast,
    Rates,
    Stock,
    cycles_per_day,
    in_turn,
    least_interval_s,
    pages,
    readings,
    side_by_side,
    writes,
)
from fleetsync.core.kind import Daily
from fleetsync.core.model import DEVICE, ETag, ResourceKey
from fleetsync.core.plan import Change, Guard, GuardKind
from fleetsync.providers.iot_hub import DOCUMENT, IDENTITY, KIND, TWIN

OWN = Rates(classes={"read": Rate(per_s=10.0), "write": Rate(per_s=2.0)}, total=None)
SHARED = Rates(classes={"read": None, "write": None}, total=Rate(per_s=10.0))
DAILY = Daily(operations=frozenset({"read"}), message_bytes=4096)
BATCHES = (
    Batch(operation="read", requests=100, answer_bytes=5_000.0),
    Batch(operation="write", requests=60, answer_bytes=100.0),
)
FRAMED = Guard(kind=GuardKind.REREAD)
PLAIN = Guard(kind=GuardKind.IF_MATCH, etag=ETag("e"))


def change(number, part, guard=PLAIN):
    return Change(key=ResourceKey("hub", DEVICE, f"d{number}"), part=part, guard=guard, leaves=())


def test_side_by_side_the_slowest_bucket_decides_and_in_turn_they_add_up():
    assert side_by_side(BATCHES, OWN, None).seconds == 30.0
    assert in_turn(BATCHES, OWN, None).seconds == 40.0
    assert side_by_side(BATCHES, SHARED, None).seconds == in_turn(BATCHES, SHARED, None).seconds == 16.0
    assert side_by_side((), OWN, None) == Forecast(requests={}, seconds=0.0, cost=0)


def test_only_what_the_service_counts_costs_and_by_the_size_of_answers():
    forecast = in_turn(BATCHES, OWN, DAILY)
    assert forecast.cost == 200
    assert forecast.requests == {"read": 100, "write": 60}
    assert forecast.total == 160


def test_the_pages_of_a_listing_are_whole_and_at_least_one():
    spec = KIND.specs[DEVICE]
    assert pages(spec, Stock(count=1001, mean_bytes=1_500.0, page_size=100.0)) == Batch(
        operation="query", requests=11, answer_bytes=1001 * 1_500.0 / 11
    )
    assert pages(spec, Stock(count=0, mean_bytes=0.0, page_size=100.0)).requests == 1


def test_a_write_costs_what_the_kind_says_and_readings_around_it_where_the_guard_is_ours():
    stocks = {DEVICE: Stock(count=9, mean_bytes=1_500.0, page_size=100.0)}
    changes = [change(1, TWIN), change(2, TWIN), change(2, IDENTITY), change(3, DOCUMENT, FRAMED)]
    found = side_by_side(
        writes(KIND, changes, stocks), Rates(classes=KIND.quota(KIND.settings()).classes, total=None), None
    )
    assert found.requests == {"configuration": 4, "registry": 2, "twin_read": 1, "twin_write": 2}
    assert found.seconds == pytest.approx(4 / (20 / 60))
    assert readings(KIND, TWIN, 3, 7.0) == [Batch(operation="twin_read", requests=3, answer_bytes=7.0)]


def test_a_class_without_any_rate_is_a_mistake():
    with pytest.raises(LookupError):
        Rates(classes={"read": None}, total=None).seconds(BATCHES[:1])


def forecast(seconds, cost):
    return Forecast(requests={"read": 1}, seconds=seconds, cost=cost)


def test_an_interval_is_as_long_as_a_cycle_and_as_the_budget_of_a_day_wants():
    assert least_interval_s(forecast(600.0, 0), 0.0, None) == 600.0
    assert least_interval_s(forecast(600.0, 0), 0.0, 5) == 600.0
    assert least_interval_s(forecast(600.0, 100), 0.0, 2_400) == 3_000.0
    assert least_interval_s(forecast(600.0, 100), 1_200.0, 2_400) == 6_600.0
    assert least_interval_s(forecast(600.0, 100), 0.0, 1_000_000) == 600.0
    assert least_interval_s(forecast(600.0, 100), 0.0, 99) is None
    assert least_interval_s(forecast(600.0, 100), 2_400.0, 2_400) is None


@given(st.floats(0.0, 80_000.0), st.integers(1, 100_000), st.integers(1, 1_000_000))
def test_the_shortest_interval_keeps_within_the_budget(seconds, cost, daily):
    ahead = forecast(seconds, cost)
    least_s = least_interval_s(ahead, 0.0, daily)
    if least_s is None:
        assert cost > daily
    else:
        assert least_s >= seconds
        assert cycles_per_day(ahead, least_s) * cost <= daily * 1.000001 if least_s + seconds else True
        assert DAY_S / max(least_s + seconds, 1e-9) >= 0
