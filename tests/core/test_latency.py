from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleetsync.core.bucket import Rate
from fleetsync.core.latency import FOLLOWS_S, LEAST_ANSWERS, PAUSE_S, WINDOW, Latency, heeded, is_rising, observed
from fleetsync.core.pace import LOWEST_BY_GUESS, delayed, learned, unrefused

RATE = Rate(per_s=50.0, burst=5.0)


def after(*took_s: float, latency: Latency | None = None, every_s: float = 0.1) -> Latency:
    """Return the latency after answers that took so long, one after the other."""
    now = latency or Latency()
    for each in took_s:
        now = observed(now, each, now_s=now.at_s + every_s)
    return now


def usual(took_s: float = 0.1) -> Latency:
    return after(*[took_s] * 200)


def test_answers_that_take_seconds_longer_than_before_are_noticed() -> None:
    assert not is_rising(usual())
    assert is_rising(after(*[3.0] * WINDOW, latency=usual()))


def test_three_of_seven_slow_answers_are_not_noticed() -> None:
    assert not is_rising(after(9.0, 0.1, 9.0, 0.1, 9.0, 0.1, 0.1, latency=usual()))


def test_twice_as_long_is_not_much_longer_and_under_a_second_more_is_none() -> None:
    assert not is_rising(after(*[4.0] * 20, latency=usual(2.0)))
    assert not is_rising(after(*[1.05] * 20, latency=usual(0.1)))
    assert is_rising(after(*[1.2] * 20, latency=usual(0.1)))


def test_after_something_was_done_it_takes_new_answers_to_tell() -> None:
    rising = after(*[3.0] * WINDOW, latency=usual())
    assert not is_rising(heeded(rising))
    assert not is_rising(after(*[3.0] * (WINDOW - 1), latency=heeded(rising)))
    assert is_rising(after(*[3.0] * WINDOW, latency=heeded(rising)))
    assert not is_rising(after(*[0.1] * WINDOW, latency=heeded(rising)))


def test_after_hours_of_silence_one_answer_is_not_the_new_baseline() -> None:
    later = observed(usual(), 30.0, now_s=86_400.0)
    assert later.baseline_s < 0.2


@given(st.lists(st.floats(0.01, 300.0), max_size=LEAST_ANSWERS + 40), st.floats(0.001, 60.0))
@example([1.0] * 17, 4.0)
def test_a_single_slow_answer_is_never_noticed(before_s: list[float], usual_s: float) -> None:
    latency = after(*before_s, *[usual_s] * 100)
    for rest_s in ([], [usual_s] * WINDOW):
        without = is_rising(after(usual_s, *rest_s, latency=latency))
        assert is_rising(after(300.0, *rest_s, latency=latency)) == without


@given(st.lists(st.floats(1.0, 3.0), min_size=100, max_size=200), st.floats(0.001, 100.0))
def test_a_service_that_is_always_slow_is_never_suspected(wobble: list[float], least_s: float) -> None:
    """Within a factor of three of its best, however slow that is."""
    latency = Latency()
    for factor in wobble:
        latency = after(least_s * factor, latency=latency)
        assert not is_rising(latency)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 2.0), st.floats(1.5, 300.0), st.floats(0.5, 3.0))
def test_a_service_that_became_slow_for_good_is_slowed_down_for_minutes_and_not_for_ever(
    before_s: float, more_s: float, every_s: float
) -> None:
    slow_s = before_s * 4 + more_s
    latency, pace = after(*[before_s] * 100, every_s=every_s), unrefused(RATE, 0.0)
    now_s, heeded_s, lowered_at_s = latency.at_s, -PAUSE_S, []
    end_s = now_s + 6 * FOLLOWS_S
    while now_s < end_s:
        now_s += every_s
        latency = observed(latency, slow_s, now_s=now_s)
        if is_rising(latency) and now_s >= heeded_s + PAUSE_S:
            pace, latency, heeded_s = delayed(pace, RATE, now_s), heeded(latency), now_s
            lowered_at_s.append(now_s)
        assert learned(pace, RATE, now_s).per_s >= RATE.per_s * LOWEST_BY_GUESS
    assert lowered_at_s
    assert not is_rising(latency)
    assert learned(pace, RATE, now_s) == RATE


@given(st.lists(st.floats(0.0, 1e6), max_size=60))
def test_the_baseline_stays_within_what_was_seen(took_s: list[float]) -> None:
    latency = after(*took_s)
    assert 0.0 <= latency.baseline_s <= max(took_s, default=0.0)
    assert latency.answers == len(took_s)
