"""When a source is left alone, and when it is asked again."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fleetsync.core.breaker import (
    CLOSED,
    MOST_FAILING,
    Breaker,
    FaultClass,
    Moment,
    answered,
    failed,
    fault_of,
    probe_pause_s,
    resumed,
    stored,
    tripped,
)
from fleetsync.errors import (
    AuthError,
    CircuitOpenError,
    ConflictError,
    DeviceFaultError,
    FleetsyncError,
    InvalidResponseError,
    MirrorError,
    NotFoundError,
    QuotaSpentError,
    RejectedError,
    ServerFaultError,
    SourceError,
    ThrottledError,
    UnreachableError,
    UnsafePlanError,
)

NOW = datetime.datetime(2026, 11, 21, 18, 0, tzinfo=datetime.UTC)
WRONG_SECRET = AuthError("wrong secret")
FORBIDDEN = AuthError("no role", status=403)
NO_ROUTE = UnreachableError("no route")
BROKEN = ServerFaultError("503", status=503)
BUSY = ThrottledError("429", status=429, sent=False)


def at(seconds: float, chance: float = 0.5) -> Moment:
    return Moment(at=NOW + datetime.timedelta(seconds=seconds), at_s=1000.0 + seconds, chance=chance)


def after(*errors: SourceError | None, breaker: Breaker = CLOSED) -> Breaker:
    """Return the breaker after requests for different things ended so, one a second; None is an answer."""
    for number, error in enumerate(errors):
        if error is None:
            breaker = answered(breaker)
        else:
            breaker = failed(breaker, error, f"/{number}", at(number), is_probe=False)
    return breaker


def probed(breaker: Breaker, error: SourceError) -> Breaker:
    """Return the breaker after its probe failed as soon as that was due."""
    assert breaker.open_until_s is not None
    return failed(breaker, error, "/", at(breaker.open_until_s - 1000.0), is_probe=True)


def pause_of(breaker: Breaker) -> float:
    assert breaker.open_until_s is not None
    return breaker.open_until_s - 1000.0


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (WRONG_SECRET, FaultClass.SIGN_IN),
        (FORBIDDEN, FaultClass.SIGN_IN),
        (BUSY, FaultClass.THROTTLE),
        (QuotaSpentError("spent", status=403), FaultClass.THROTTLE),
        (BROKEN, FaultClass.SERVICE),
        (InvalidResponseError("HTML"), FaultClass.SERVICE),
        (NO_ROUTE, FaultClass.NETWORK),
        (NotFoundError("404", status=404), FaultClass.DEVICE),
        (ConflictError("412", status=412), FaultClass.DEVICE),
        (RejectedError("400", status=400), FaultClass.DEVICE),
        (DeviceFaultError("offline", status=504), FaultClass.DEVICE),
        (CircuitOpenError("down", fault="network"), FaultClass.NETWORK),
        (MirrorError("disk full"), None),
        (UnsafePlanError("too much"), None),
    ],
)
def test_every_error_has_a_class_or_is_no_matter_of_the_source(error: FleetsyncError, fault: FaultClass | None) -> None:
    assert fault_of(error) is fault


@pytest.mark.parametrize("error", [BROKEN, NO_ROUTE])
def test_so_many_different_things_in_a_row_open_it(error: SourceError) -> None:
    before, opened = after(*[error] * (MOST_FAILING - 1)), after(*[error] * MOST_FAILING)
    assert (before.is_open, opened.is_open) == (False, True)
    assert (opened.fault, opened.since, opened.error) == (fault_of(error), NOW, str(error))
    assert pause_of(opened) == MOST_FAILING - 1 + 15.0


def test_one_thing_that_fails_again_and_again_is_its_own_trouble() -> None:
    breaker = CLOSED
    for number in range(100):
        breaker = failed(breaker, BROKEN, "/devices/sick", at(number), is_probe=False)
    assert not breaker.is_open


def test_an_answer_between_them_says_that_the_source_is_there() -> None:
    for answer in (None, BUSY, FORBIDDEN, NotFoundError("404"), DeviceFaultError("offline"), RejectedError("400")):
        assert not after(*[BROKEN] * 4, answer, *[BROKEN] * 4).is_open


def test_a_hold_of_the_rate_limiter_is_no_news() -> None:
    held = ThrottledError("no requests for 5 m", sent=False, retry_after_s=300.0)
    assert after(*[BROKEN] * 4, held, BROKEN).is_open
    opened = after(WRONG_SECRET)
    assert probed(opened, held) == opened


def test_a_refused_sign_in_opens_it_at_once_and_a_missing_role_never() -> None:
    opened = after(WRONG_SECRET)
    assert (opened.fault, pause_of(opened)) == (FaultClass.SIGN_IN, 60.0)
    assert not after(*[FORBIDDEN] * 100).is_open


def test_probes_come_ever_later_up_to_minutes() -> None:
    assert [probe_pause_s(FaultClass.NETWORK, n, 0.5) for n in range(1, 9)] == [15, 30, 60, 120, 240, 480, 600, 600]
    assert [probe_pause_s(FaultClass.SIGN_IN, n, 0.5) for n in range(1, 8)] == [60, 120, 240, 480, 960, 1800, 1800]
    assert probe_pause_s(FaultClass.SERVICE, 1, 0.0) == 13.5


def test_a_probe_that_fails_opens_it_again_for_longer_and_the_fault_is_as_old_as_it_was() -> None:
    opened = after(*[NO_ROUTE] * MOST_FAILING)
    again = probed(opened, BROKEN)
    assert (again.openings, again.fault, again.since) == (2, FaultClass.SERVICE, NOW)
    assert pause_of(again) == pause_of(opened) + 30.0


def test_what_left_before_it_opened_makes_nothing_longer() -> None:
    opened = after(*[NO_ROUTE] * MOST_FAILING)
    late = opened
    for number in range(3 * MOST_FAILING):
        late = failed(late, NO_ROUTE, f"/late/{number}", at(14.0), is_probe=False)
    assert (late.openings, late.open_until_s) == (opened.openings, opened.open_until_s)


def test_an_answer_closes_it_and_pauses_grow_on_until_it_is_well() -> None:
    closed = answered(probed(after(*[NO_ROUTE] * MOST_FAILING), NO_ROUTE))
    assert not closed.is_open
    assert (closed.fault, closed.since) == (FaultClass.NETWORK, NOW)
    assert tripped(closed, NO_ROUTE, at(100.0)).openings == 3
    assert answered(after(BROKEN)) == CLOSED


def test_the_service_s_own_time_counts_where_it_is_longer() -> None:
    opened = tripped(CLOSED, ServerFaultError("503", retry_after_s=120.0), at(0.0))
    assert pause_of(opened) == 120.0


def test_a_cycle_that_it_ended_opens_it_and_what_is_no_fault_of_the_source_does_not() -> None:
    assert tripped(CLOSED, BROKEN, at(0.0)).is_open
    assert tripped(CLOSED, FORBIDDEN, at(0.0)).is_open
    for error in (BUSY, MirrorError("disk full"), UnsafePlanError("too much"), RejectedError("400")):
        assert tripped(CLOSED, error, at(0.0)) == CLOSED
    opened = after(WRONG_SECRET)
    assert tripped(opened, BROKEN, at(1.0)) == opened


def test_since_is_no_later_than_now_after_the_clock_stepped_back() -> None:
    opened = after(*[NO_ROUTE] * MOST_FAILING)
    stepped = Moment(at=NOW - datetime.timedelta(days=1), at_s=2000.0, chance=0.5)
    assert failed(opened, NO_ROUTE, "/", stepped, is_probe=True).since == stepped.at


def test_another_process_goes_on_where_this_one_ended_but_asks_soon() -> None:
    opened = after(*[NO_ROUTE] * MOST_FAILING)
    for _ in range(5):
        opened = probed(opened, NO_ROUTE)
    assert opened.open_until_s is not None
    record = stored(opened, at(0.0))
    assert record is not None
    assert record.probe_at == NOW + datetime.timedelta(seconds=pause_of(opened))
    later = resumed(record, at(0.0))
    assert later.open_until_s == 1015.0
    assert (later.fault, later.since, later.openings) == (opened.fault, opened.since, opened.openings)
    assert probed(later, NO_ROUTE).openings == opened.openings + 1
    assert pause_of(probed(later, NO_ROUTE)) == 15.0 + 600.0


def test_a_probe_that_is_due_when_the_process_starts_is_sent_at_once() -> None:
    record = stored(after(WRONG_SECRET), at(0.0))
    assert record is not None
    assert resumed(record, at(3600.0)).open_until_s == 1000.0 + 3600.0


def test_what_is_closed_is_not_stored() -> None:
    assert stored(CLOSED, at(0.0)) is None
    assert stored(answered(after(WRONG_SECRET)), at(0.0)) is None
    overdue = stored(after(WRONG_SECRET), at(900.0))
    assert overdue is not None
    assert overdue.probe_at == at(900.0).at


NEWS = st.sampled_from([None, BROKEN, NO_ROUTE, WRONG_SECRET, FORBIDDEN, BUSY, NotFoundError("404")])


@given(st.lists(st.tuples(NEWS, st.booleans(), st.floats(0.0, 1.0, exclude_max=True)), max_size=60))
def test_whatever_comes_no_pause_is_shorter_than_the_first_or_longer_than_the_longest(
    news: list[tuple[SourceError | None, bool, float]],
) -> None:
    breaker = CLOSED
    for number, (error, is_probe, chance) in enumerate(news):
        before, when = breaker, at(number * 10.0, chance)
        breaker = (
            answered(breaker)
            if error is None
            else failed(breaker, error, f"/{number}", when, is_probe=is_probe and breaker.is_open)
        )
        assert len(breaker.failing) < MOST_FAILING or before.is_open
        if breaker.is_open:
            assert breaker.fault is not None
            assert breaker.since is not None
        if breaker.openings > before.openings:
            assert breaker.open_until_s is not None
            assert 0.9 * 15.0 <= breaker.open_until_s - when.at_s <= 1.1 * 1800.0
            assert replace(breaker, open_until_s=None) != CLOSED
