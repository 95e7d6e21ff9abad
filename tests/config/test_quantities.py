"""Durations, percentages and rates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.config.quantities import as_duration, as_percentage, as_rate, as_rewrites
from fleetsync.config.values import UnfitError
from fleetsync.core.bucket import Rate
from fleetsync.core.contest import Rewrites


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("6h", 21_600), ("90d", 7_776_000), ("1y", 31_536_000), ("1 h", 3_600), (" 1s ", 1)],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert as_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "m", "5 min", "-5m", "1.5h", "1h30m", "0s", "5M", "101y", "९d", "9" * 400 + "s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UnfitError, match="must be a duration"):
        as_duration(text)


@pytest.mark.parametrize(("text", "share"), [("0%", 0), ("20%", 0.2), ("12.5 %", 0.125), ("100%", 1)])
def test_a_percentage_is_a_share(text: str, share: float) -> None:
    assert as_percentage(text) == share


@pytest.mark.parametrize("text", ["", "%", "20", "-1%", "100.1%", "1e1%", "nan%"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(UnfitError, match="must be a percentage"):
        as_percentage(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10/s", Rate(per_s=10, burst=1)),
        ("5/s burst 5", Rate(per_s=5, burst=5)),
        ("60 / min", Rate(per_s=1, burst=1)),
        ("1000/h", Rate(per_s=1000 / 3600, burst=1)),
        ("200/s", Rate(per_s=200, burst=20)),
        ("0.5/s", Rate(per_s=0.5, burst=1)),
    ],
)
def test_a_rate_has_a_burst_of_a_tenth_of_a_second_unless_it_says_otherwise(text: str, rate: Rate) -> None:
    assert as_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "10", "10/d", "0/s", "-1/s", "10/s burst", "10/s burst 0.5", "10/sburst 5", "inf/s", "1e3/s"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(UnfitError, match="must be a rate"):
        as_rate(text)


@given(st.integers(1, 10**6), st.sampled_from(["s", "min", "h"]), st.integers(1, 10**6))
def test_every_rate_that_can_be_written_is_read(number: int, period: str, burst: int) -> None:
    rate = as_rate(f"{number}/{period} burst {burst}")
    assert rate.per_s * {"s": 1, "min": 60, "h": 3600}[period] == pytest.approx(number)
    assert rate.burst == burst


@pytest.mark.parametrize(
    ("text", "rewrites"),
    [
        ("3 in 24h", Rewrites(most=3, window_s=86_400)),
        ("1 in 30 s", Rewrites(most=1, window_s=30)),
        (" 99 in 1y ", None),
    ],
)
def test_how_often_something_is_written_again_is_a_number_and_a_duration(text: str, rewrites: Rewrites | None) -> None:
    assert as_rewrites(text) == (rewrites or Rewrites(most=99, window_s=365 * 86_400))


@pytest.mark.parametrize(
    "text", ["", "3", "24h", "0 in 24h", "-1 in 24h", "1.5 in 24h", "3 in 24", "3 per 24h", "3in24h"]
)
def test_what_is_no_number_and_duration_is_refused(text: str) -> None:
    with pytest.raises(UnfitError, match="must be a"):
        as_rewrites(text)
