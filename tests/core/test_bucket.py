import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.core.bucket import Bucket, Rate, drained, empty_bucket, evened, give_back, rate_of, refill, take

TWICE = Rate(per_s=2.0, burst=3.0)


def test_a_new_bucket_is_empty_so_a_restart_earns_no_burst():
    assert take(empty_bucket(10.0), TWICE, now_s=10.0) == (Bucket(tokens=-1.0, at_s=10.0), 0.5)


def test_tokens_come_with_time_up_to_the_burst():
    assert refill(empty_bucket(0.0), TWICE, 1.0).tokens == 2.0
    assert refill(empty_bucket(0.0), TWICE, 60.0).tokens == 3.0


def test_takers_from_an_empty_bucket_queue_up_in_debt():
    bucket, first = take(empty_bucket(0.0), TWICE, now_s=0.0)
    _, second = take(bucket, TWICE, now_s=0.0)
    assert (first, second) == (0.5, 1.0)


def test_a_clock_that_steps_back_counts_as_no_time_passed():
    assert refill(Bucket(tokens=1.0, at_s=100.0), TWICE, 40.0) == Bucket(tokens=1.0, at_s=100.0)


def test_tokens_given_back_are_as_if_never_taken():
    bucket, _ = take(empty_bucket(0.0), TWICE, now_s=0.0)
    assert give_back(bucket) == empty_bucket(0.0)


def test_tokens_given_back_do_not_outgrow_the_burst():
    full = Bucket(tokens=3.0, at_s=0.0)
    assert refill(give_back(full), TWICE, 0.0).tokens == 3.0


def test_a_drained_bucket_earns_nothing_before_its_time():
    bucket = drained(Bucket(tokens=3.0, at_s=0.0), 10.0)
    assert refill(bucket, TWICE, 10.0).tokens == 0.0
    assert refill(bucket, TWICE, 10.5).tokens == 1.0


def test_draining_forgives_no_debt():
    assert drained(Bucket(tokens=-2.0, at_s=0.0), 10.0).tokens == -2.0


def test_the_default_burst_is_a_tenth_of_a_second_and_at_least_one():
    assert (rate_of(60.0).burst, rate_of(2.0).burst) == (6.0, 1.0)
    assert str(rate_of(60.0)) == "60/s burst 6"


@pytest.mark.parametrize(
    ("per_s", "burst", "sent"),
    [(1000.0, 100.0, 51.0), (100.0, 10.0, 6.0), (10.0, 1.0, 1.0), (25.0, 250.0, 248.75), (1.0, 5.0, 4.95)],
)
def test_fifty_milliseconds_of_a_burst_are_left_for_the_way_and_as_many_for_sleeping_too_long(per_s, burst, sent):
    assert evened(Rate(per_s=per_s, burst=burst)) == Rate(per_s=per_s, burst=sent)


@pytest.mark.parametrize(("per_s", "burst"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.5), (float("nan"), 1.0)])
def test_a_rate_that_lets_nothing_through_is_refused(per_s, burst):
    with pytest.raises(ValueError, match="a rate needs"):
        Rate(per_s=per_s, burst=burst)


@given(st.lists(st.floats(0.0, 5.0), max_size=60), st.floats(0.1, 50.0), st.floats(1.0, 10.0))
def test_in_every_window_at_most_rate_times_window_plus_burst_leave(pauses, per_s, burst):
    rate, bucket, now_s, leaves = Rate(per_s=per_s, burst=burst), empty_bucket(0.0), 0.0, []
    for pause_s in pauses:
        now_s += pause_s
        bucket, wait_s = take(bucket, rate, now_s=now_s)
        leaves.append(now_s + wait_s)
    for first, start_s in enumerate(leaves):
        for last, end_s in enumerate(leaves[first:], first):
            assert last - first + 1 <= per_s * (end_s - start_s) + burst + 1e-6
