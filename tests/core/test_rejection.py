"""How long a write that the service rejected is not sent again by itself."""

import datetime

import pytest

from fleetsync.core.plan import Result
from fleetsync.core.rejection import FIRST_S, LONGEST_S, Rejected, is_rejection, resting

NOW = datetime.datetime(2026, 11, 21, 18, tzinfo=datetime.UTC)
PATCH = '{"tags":{"ring":"x"}}'


def rejected(ago_s: float, patch: str = PATCH, *, result: Result = Result.REJECTED, status: int = 400) -> Rejected:
    return Rejected(at=NOW - datetime.timedelta(seconds=ago_s), patch=patch, status=status, result=result)


@pytest.mark.parametrize(
    ("result", "status", "expected"),
    [
        (Result.REJECTED, 400, True),
        (Result.REJECTED, 422, True),
        (Result.REJECTED, None, True),
        (Result.REJECTED, 403, False),
        (Result.FAILED, 202, True),
        (Result.FAILED, 503, False),
        (Result.FAILED, None, False),
        (Result.CONFLICT, 412, False),
        (Result.APPLIED, 200, False),
    ],
)
def test_what_is_likely_to_end_the_same_way_is_a_rejection(result: Result, status: int | None, expected: bool) -> None:
    assert is_rejection(result, status) is expected


def test_pauses_grow_from_minutes_to_a_day() -> None:
    pauses_s = []
    for times in range(1, 12):
        earlier = [rejected(1e6)] * (times - 1)
        pause_s = next(s for s in range(0, 100_000, 100) if resting(PATCH, [rejected(s), *earlier], now=NOW) is None)
        pauses_s.append(float(pause_s))
    assert pauses_s == [*(FIRST_S * 2**times for times in range(9)), LONGEST_S, LONGEST_S]


def test_another_write_may_be_sent_and_makes_what_was_before_it_forgotten() -> None:
    other = '{"tags":{"ring":"y"}}'
    assert resting(other, [rejected(0)], now=NOW) is None
    assert resting(PATCH, [], now=NOW) is None
    fought = [rejected(FIRST_S + 1), rejected(FIRST_S + 2, other), *[rejected(1e5)] * 9]
    assert resting(PATCH, fought, now=NOW) is None


def test_a_clock_that_steps_back_makes_no_pause_longer() -> None:
    assert resting(PATCH, [rejected(-100.0)], now=NOW) is not None
    assert resting(PATCH, [rejected(-1e6)], now=NOW) is None


def test_the_last_one_is_named_in_words_that_do_not_change() -> None:
    last = resting(PATCH, [rejected(60, status=422), rejected(9000)], now=NOW)
    assert str(last) == "the service refused it (422): `apply` sends it again, the daemon at growing pauses"
    assert str(rejected(0, result=Result.FAILED, status=202)).startswith("the service did not carry it out (202): ")
