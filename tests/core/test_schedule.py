"""When next."""

from hypothesis import given
from hypothesis import strategies as st

from fleetsync.core.schedule import first_pause_s, pause_s, retry_pause_s

INTERVALS = st.floats(1.0, 1e6)
CHANCES = st.floats(0.0, 1.0, exclude_max=True)


@given(INTERVALS, CHANCES)
def test_a_pause_is_the_interval_a_tenth_either_way(interval_s: float, chance: float) -> None:
    assert 0.9 * interval_s <= pause_s(interval_s, chance) <= 1.1 * interval_s


@given(INTERVALS, CHANCES)
def test_the_first_pause_is_at_most_five_seconds_and_a_tenth_of_the_interval(interval_s: float, chance: float) -> None:
    assert 0 <= first_pause_s(interval_s, chance) <= min(5.0, interval_s / 10)


def test_retries_double_from_a_quarter_of_the_interval() -> None:
    assert [retry_pause_s(300.0, failures, 0.5) for failures in range(1, 5)] == [75, 150, 300, 300]
    assert [retry_pause_s(21_600.0, failures, 0.5) for failures in (1, 2, 10_000)] == [300, 600, 21_600]


@given(INTERVALS, st.integers(1, 10_000), CHANCES)
def test_no_retry_waits_longer_than_the_interval(interval_s: float, failures: int, chance: float) -> None:
    assert 0 < retry_pause_s(interval_s, failures, chance) <= 1.1 * interval_s + 1e-6


def test_chance_spreads_what_would_meet() -> None:
    assert pause_s(100.0, 0.0) == 90.0
    assert pause_s(100.0, 0.5) == 100.0
    assert retry_pause_s(100.0, 1, 0.0) == 22.5
