import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fleetsync.core.bucket import Rate
from fleetsync.core.pace import (
    LONGEST_HOLD_S,
    LOWEST_BY_GUESS,
    RECOVERY_S,
    SCARCE,
    answered,
    backoff_s,
    delayed,
    held,
    learned,
    refused,
    resumed,
    stored,
    unrefused,
    warned,
)

RATE = Rate(per_s=20.0, burst=4.0)
NOW = datetime.datetime(2026, 11, 21, 18, 0, tzinfo=datetime.UTC)


def after(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


def refuse(pace, *, now_s=100.0, sent_at_s=None, retry_after_s=None, chance=0.5):
    sent_at_s = now_s if sent_at_s is None else sent_at_s
    return refused(pace, RATE, now_s=now_s, sent_at_s=sent_at_s, retry_after_s=retry_after_s, chance=chance)


def test_without_a_refusal_the_configured_rate_is_kept():
    assert learned(unrefused(RATE, 0.0), RATE, 50.0) == RATE


def test_a_refusal_takes_thirty_percent_off_rate_and_burst():
    slower = learned(refuse(unrefused(RATE, 0.0)), RATE, 100.0)
    assert (slower.per_s, slower.burst) == pytest.approx((14.0, 2.8))


def test_the_rate_climbs_back_and_stops_at_the_configured_one():
    pace = refuse(unrefused(RATE, 0.0))
    assert learned(pace, RATE, 101.0).per_s == pytest.approx(14.0 + 20.0 / RECOVERY_S)
    assert learned(pace, RATE, 100.0 + RECOVERY_S).per_s == 20.0


def test_a_hold_lasts_as_long_as_the_service_asked():
    assert refuse(unrefused(RATE, 0.0), retry_after_s=17.0).held_until_s == 117.0


def test_a_hold_lasts_at_least_a_second():
    assert refuse(unrefused(RATE, 0.0), retry_after_s=0.0).held_until_s == 101.0
    assert refuse(unrefused(RATE, 0.0), chance=0.0).held_until_s == 101.0


def test_without_a_word_from_the_service_holds_double():
    pace, held = unrefused(RATE, 0.0), []
    for now_s in (100.0, 200.0, 300.0):
        pace = refuse(pace, now_s=now_s, chance=0.75)
        held.append(pace.held_until_s - now_s)
    assert held == [1.5, 3.0, 6.0]


def test_requests_that_left_before_the_refusal_was_noticed_are_the_same_refusal():
    once = refuse(unrefused(RATE, 0.0), now_s=100.0)
    again = refuse(once, now_s=100.2, sent_at_s=99.9)
    assert again == replace(once, held_until_s=101.2)


def test_a_later_refusal_never_shortens_a_hold():
    pace = refuse(unrefused(RATE, 0.0), retry_after_s=60.0)
    assert refuse(pace, now_s=101.0, sent_at_s=100.5, retry_after_s=2.0).held_until_s == 160.0


def test_success_ends_a_row_of_refusals_but_old_news_does_not():
    pace = refuse(unrefused(RATE, 0.0))
    assert answered(pace, 99.0).strikes == 1
    assert answered(pace, 102.0).strikes == 0


def test_back_off_doubles_up_to_its_cap_and_never_overflows():
    assert [backoff_s(attempt, 0.5) for attempt in (1, 2, 3, 7, 10_000)] == [0.5, 1.0, 2.0, 30.0, 30.0]


@given(
    st.lists(st.tuples(st.floats(0.0, 100.0), st.none() | st.floats(0.0, 4000.0), st.floats(0.0, 0.999)), max_size=30)
)
def test_the_pace_is_never_above_the_configured_rate_nor_below_the_slowest(refusals):
    pace, now_s = unrefused(RATE, 0.0), 0.0
    for pause_s, retry_after_s, chance in refusals:
        now_s += pause_s
        pace = refuse(pace, now_s=now_s, retry_after_s=retry_after_s, chance=chance)
        assert RATE.per_s / 100 <= learned(pace, RATE, now_s).per_s <= RATE.per_s
        assert pace.held_until_s >= now_s + 1.0


def test_why_nothing_may_be_sent_is_told_of_the_longest_hold():
    pace = refuse(unrefused(RATE, 0.0), retry_after_s=17.0)
    assert pace.why == "the service refused a request and asked for 17 s"
    assert held(pace, 110.0, "shorter") == pace
    assert held(pace, 200.0, "longer").why == "longer"
    assert refuse(unrefused(RATE, 0.0)).why == "the service refused a request and named no time"


def test_late_answers_take_ten_percent_off_and_hold_nobody():
    pace = delayed(unrefused(RATE, 0.0), RATE, 100.0)
    assert learned(pace, RATE, 100.0).per_s == pytest.approx(18.0)
    assert pace.held_until_s <= 100.0
    assert learned(pace, RATE, 100.0 + RECOVERY_S).per_s == 20.0


def test_late_answers_alone_never_take_more_than_three_quarters():
    pace = unrefused(RATE, 0.0)
    for _ in range(100):
        pace = delayed(pace, RATE, 100.0)
    assert learned(pace, RATE, 100.0).per_s == pytest.approx(RATE.per_s * LOWEST_BY_GUESS)
    slower = refuse(pace)
    assert delayed(slower, RATE, 100.0) == slower


def test_another_process_goes_on_with_the_rate_and_the_hold():
    pace = refuse(unrefused(RATE, 0.0), now_s=100.0, retry_after_s=60.0)
    record = stored(pace, "write", now_s=110.0, now=NOW)
    assert (record.operation, record.held_until, record.why) == ("write", after(50.0), pace.why)

    later = resumed(record, RATE, now_s=7.0, now=after(20.0))

    assert later.held_until_s == pytest.approx(37.0)
    assert later.why == pace.why
    assert learned(later, RATE, 7.0).per_s == pytest.approx(learned(pace, RATE, 130.0).per_s)


def test_a_hold_that_ended_is_not_resumed_and_a_rate_has_recovered_meanwhile():
    record = stored(refuse(unrefused(RATE, 0.0), retry_after_s=5.0), "write", now_s=101.0, now=NOW)
    later = resumed(record, RATE, now_s=0.0, now=after(3_600.0))
    assert later.held_until_s == 0.0
    assert learned(later, RATE, 0.0) == RATE


def test_a_hold_that_is_stored_in_milliseconds_ends_no_earlier():
    record = stored(refuse(unrefused(RATE, 0.0), retry_after_s=5.0004), "write", now_s=100.0, now=NOW)
    assert record.held_until is not None
    assert record.held_until.microsecond % 1000 == 0
    assert 0 <= (record.held_until - after(5.0004)).total_seconds() < 0.001


def test_without_a_hold_none_is_stored():
    record = stored(unrefused(RATE, 0.0), "write", now_s=10.0, now=NOW)
    assert (record.held_until, record.why, record.per_s) == (None, "", 20.0)


@pytest.mark.parametrize("back_s", [60.0, 86_400.0, 1e9])
def test_a_clock_that_stepped_back_holds_no_longer_than_the_service_asked_for(back_s):
    record = stored(refuse(unrefused(RATE, 0.0), retry_after_s=60.0), "write", now_s=100.0, now=NOW)
    later = resumed(record, RATE, now_s=0.0, now=after(-back_s))
    assert later.held_until_s == 60.0
    assert learned(later, RATE, 0.0).per_s == pytest.approx(14.0)


@given(
    per_s=st.floats(0.001, 1e4),
    ago_s=st.floats(-1e8, 1e8),
    held_s=st.none() | st.floats(-1e8, 1e8),
    configured=st.floats(0.01, 1e3),
)
def test_whatever_was_stored_is_resumed_within_bounds(per_s, ago_s, held_s, configured):
    rate = Rate(per_s=configured)
    record = replace(
        stored(unrefused(rate, 0.0), "x", now_s=0.0, now=NOW),
        per_s=per_s,
        at=after(-ago_s),
        held_until=None if held_s is None else after(held_s),
    )
    pace = resumed(record, rate, now_s=50.0, now=NOW)
    assert configured / 100 * 0.999 <= learned(pace, rate, 50.0).per_s <= configured
    assert 50.0 <= pace.held_until_s <= 50.0 + LONGEST_HOLD_S
    assert pace.at_s <= 50.0


def test_what_a_service_says_is_left_only_ever_lowers_the_pace() -> None:
    fresh = unrefused(RATE, 0.0)
    assert warned(fresh, RATE, 1_000_000, 100.0) is fresh
    assert warned(fresh, RATE, SCARCE, 100.0) is fresh
    half = warned(fresh, RATE, SCARCE // 2, 100.0)
    assert learned(half, RATE, 100.0).per_s == pytest.approx(RATE.per_s / 2)
    assert warned(half, RATE, SCARCE - 1, 100.0) is half
    least = warned(half, RATE, 0, 100.0)
    assert learned(least, RATE, 100.0).per_s == pytest.approx(RATE.per_s * LOWEST_BY_GUESS)
    assert least.held_until_s <= 100.0
    assert learned(least, RATE, 100.0 + RECOVERY_S).per_s == RATE.per_s
