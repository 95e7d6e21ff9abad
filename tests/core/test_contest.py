"""What somebody else keeps changing back, and when it may be written again."""

import datetime
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.core.contest import Rewrites, Standing, Written, contest, fought_by
from fleetsync.core.declaration import ABSENT
from fleetsync.core.plan import Leaf, Result

NOW = datetime.datetime(2026, 11, 21, 18, tzinfo=datetime.UTC)
LIMIT = Rewrites(most=3, window_s=3600.0)
RING = ("tags", "ring")


def ago(minutes: float) -> datetime.datetime:
    return NOW - datetime.timedelta(minutes=minutes)


def written(minutes: float, value: object = "stable", result: Result = Result.APPLIED) -> Written:
    return Written(at=ago(minutes), patch={"tags": {"ring": value}}, result=result)


def leaf(declared: object = "stable", **more: object) -> Leaf:
    return Leaf(path=RING, actual="canary", declared=declared, declarations=("wish",), **more)  # type: ignore[arg-type]


def is_contested(
    writes: Sequence[Written], *, since: float | None = None, moved: float = 0, of: Leaf | None = None
) -> bool:
    standing = Standing(since=ago(moved if since is None else since), moved_at=ago(moved))
    return contest(of or leaf(), writes, standing, now=NOW, limit=LIMIT) is not None


def test_it_is_written_so_often_and_no_more() -> None:
    assert not is_contested([])
    assert not is_contested([written(5), written(10)])
    assert is_contested([written(5), written(10), written(15)])
    assert is_contested([written(5), written(10), written(15), written(20)])


@pytest.mark.parametrize("result", [Result.IGNORED, Result.UNKNOWN])
def test_a_write_that_was_not_taken_over_counts_as_well(result: Result) -> None:
    assert is_contested([written(5, result=result), written(10, result=result), written(15, result=result)])


def test_writes_that_are_far_apart_are_no_contest() -> None:
    assert not is_contested([written(5), written(30), written(70)])
    assert is_contested([written(5), written(30), written(64)])


def test_it_is_left_alone_until_nothing_happened_to_it_for_a_whole_window() -> None:
    writes = [written(100), written(110), written(120)]
    assert is_contested(writes, since=99, moved=59)
    assert not is_contested(writes, since=99, moved=60)
    assert is_contested([written(59), *writes[:2]], since=300, moved=300), "our own last write is something, too"


def test_what_stayed_as_it_was_written_for_a_whole_window_is_written_again_when_it_is_changed() -> None:
    assert not is_contested([written(100), written(110), written(120)], since=40, moved=0)
    assert is_contested([written(100), written(110), written(120)], since=41, moved=0)


def test_another_declaration_is_written() -> None:
    writes = [written(5), written(10), written(15)]
    assert not is_contested(writes, of=leaf("preview"))
    assert not is_contested(writes, of=leaf(ABSENT))
    assert is_contested([written(5, None), written(10, None), written(15, None)], of=leaf(ABSENT))


def test_a_declaration_that_changes_by_the_hour_is_no_contest() -> None:
    assert not is_contested([written(5), written(10, "night"), written(15), written(20, "night"), written(25)])


def test_what_a_write_does_not_touch_is_not_its_business() -> None:
    other = Written(at=ago(7), patch={"tags": {"site": "oslo"}}, result=Result.APPLIED)
    assert is_contested([other, written(8), other, written(10), other, written(15)])
    assert not is_contested([other, other, other])


def test_letter_case_is_no_other_value_where_the_service_folds_it() -> None:
    writes = [written(5), written(10), written(15)]
    assert is_contested(writes, of=leaf("STABLE", folds=True))
    assert not is_contested(writes, of=leaf("STABLE"))


@pytest.mark.parametrize("years", [-1, 1])
def test_a_clock_that_steps_holds_nothing_for_longer_than_a_window(years: int) -> None:
    then = NOW + datetime.timedelta(days=365 * years)
    writes = [written(5), written(10), written(15)]
    for at in (NOW, then):
        standing = Standing(since=at, moved_at=at)
        later = at + datetime.timedelta(hours=1)
        assert contest(leaf(), writes, standing, now=max(then, later), limit=LIMIT) is None


@given(st.lists(st.sampled_from(["nothing", "back", "on"]), max_size=200), st.integers(1, 40), st.integers(1, 4))
def test_in_no_window_is_it_written_more_often(happenings: list[str], step_min: int, most: int) -> None:
    """Whenever somebody changes it back, or on, at any pace: a write goes out where there is no contest."""
    limit = Rewrites(most=most, window_s=3600.0)
    at, is_met = NOW, False
    standing = Standing(since=at, moved_at=at)
    writes: list[Written] = []
    for happening in happenings:
        at += datetime.timedelta(minutes=step_min)
        if happening != "nothing":
            standing = Standing(since=at if is_met else standing.since, moved_at=at)
            is_met = False
        if not is_met and contest(leaf(), writes, standing, now=at, limit=limit) is None:
            is_met = True
            writes.insert(0, Written(at=at, patch={"tags": {"ring": "stable"}}, result=Result.APPLIED))
            recent = [one for one in writes if (at - one.at).total_seconds() < limit.window_s]
            assert len(recent) <= most


def test_it_is_said_who_and_how_often() -> None:
    assert fought_by(written(5), None, Rewrites()) == "somebody else, after 3 writes in 24 h"
    assert fought_by(written(5), "ada@example.com", LIMIT) == "ada@example.com, after 3 writes in 60 min"
    ignored = fought_by(written(5, result=Result.IGNORED), "ada@example.com", Rewrites(most=1))
    assert ignored == "accepted and not taken over, after 1 write in 24 h"
