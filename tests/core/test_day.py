import datetime

from hypothesis import given
from hypothesis import strategies as st

from fleetsync.core.day import charged, day_of, left_s

DAY = datetime.date(2026, 11, 21)
NEXT = datetime.date(2026, 11, 22)


def at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def test_a_day_is_a_utc_day_wherever_the_instant_was_read() -> None:
    assert day_of(at("2026-11-22T00:30:00+01:00")) == DAY
    assert left_s(at("2026-11-22T00:30:00+01:00")) == 1_800.0


def test_the_last_instant_of_a_day_leaves_next_to_nothing_of_it() -> None:
    assert left_s(at("2026-11-21T23:59:59.999Z")) < 0.0011
    assert left_s(at("2026-11-21T00:00:00Z")) == 86_400.0


@given(st.integers(0, 4_102_444_800_000_000))
def test_the_end_of_a_day_is_in_the_next_one(since_us: int) -> None:
    now = datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(microseconds=since_us)
    assert 0 < left_s(now) <= 86_400
    assert day_of(now + datetime.timedelta(seconds=left_s(now))) == day_of(now) + datetime.timedelta(days=1)


def test_what_is_spent_adds_up_by_day() -> None:
    spent = charged(charged(charged({}, DAY, 5), NEXT, 1), DAY, 2)
    assert spent == {DAY: 7, NEXT: 1}


def test_a_clock_that_steps_to_another_day_and_back_forgets_nothing() -> None:
    spent = charged({DAY: 900}, datetime.date(1970, 1, 1), 3)
    assert charged(spent, DAY, 1)[DAY] == 901


def test_only_a_few_days_are_kept() -> None:
    spent: dict[datetime.date, int] = {}
    for number in range(10):
        spent = charged(spent, DAY + datetime.timedelta(days=number), 1)
    assert sorted(spent) == [DAY + datetime.timedelta(days=number) for number in (7, 8, 9)]
