"""What stands before everything that could do harm on a large scale."""

import pytest

from fleetsync.core.safety import Showing, check_listing, check_plan
from fleetsync.errors import UnsafePlanError


def listing(listed: int, known: int, unseen: int, *, max_gone: float = 0.2) -> None:
    check_listing(Showing(listed=listed, shown=listed, known=known, unseen=unseen), max_gone=max_gone, min_known=10)


@pytest.mark.parametrize(
    ("listed", "known", "unseen"),
    [(100, 100, 0), (0, 0, 0), (80, 100, 20), (1, 9, 8), (8, 10, 2), (500, 100, 0)],
)
def test_a_listing_with_few_missing_is_believed(listed: int, known: int, unseen: int) -> None:
    listing(listed, known, unseen)


@pytest.mark.parametrize(("listed", "known", "unseen"), [(79, 100, 21), (7, 10, 3), (1, 100, 99)])
def test_a_short_listing_is_refused_and_says_by_how_much(listed: int, known: int, unseen: int) -> None:
    with pytest.raises(UnsafePlanError, match=f"{unseen} of {known} known"):
        listing(listed, known, unseen)


@pytest.mark.parametrize("known", [1, 9, 10, 1000])
def test_an_empty_listing_of_something_is_refused_whatever_the_limits(known: int) -> None:
    with pytest.raises(UnsafePlanError, match="empty listing"):
        listing(0, known, known, max_gone=1.0)


def plan(known: int, changes: int) -> None:
    check_plan(known=known, changes=changes, max_writes=0.3, min_known=10)


@pytest.mark.parametrize(("known", "changes"), [(100, 0), (100, 30), (10, 3), (9, 9), (0, 0)])
def test_a_plan_within_its_share_may_go_out(known: int, changes: int) -> None:
    plan(known, changes)


@pytest.mark.parametrize(("known", "changes"), [(100, 31), (10, 4), (10, 20)])
def test_a_plan_beyond_its_share_is_refused_and_says_by_how_much(known: int, changes: int) -> None:
    with pytest.raises(UnsafePlanError, match=f"{changes} writes on {known} known"):
        plan(known, changes)


def test_all_of_it_is_no_limit_though_a_resource_takes_several_writes() -> None:
    check_plan(known=100, changes=103, max_writes=1.0, min_known=10)


@pytest.mark.parametrize(
    ("known", "changes", "most", "words"),
    [
        (100, 31, 0.3, "31 writes on 100 known resources (31%, more than max_writes = 30%)"),
        (1000, 51, 0.05, "(5.1%, more than max_writes = 5%)"),
        (10_000, 501, 0.05, "(5.01%, more than max_writes = 5%)"),
        (1000, 126, 0.125, "(13%, more than max_writes = 12.5%)"),
        (1000, 1, 0.00001, "1 write on 1000 known resources (0.1%, more than max_writes = 0.001%)"),
        (1, 1, 0.3, "1 write on 1 known resource (100%, more than max_writes = 30%)"),
    ],
)
def test_two_shares_that_differ_look_different(known: int, changes: int, most: float, words: str) -> None:
    with pytest.raises(UnsafePlanError) as refused:
        check_plan(known=known, changes=changes, max_writes=most, min_known=1)
    assert words in str(refused.value)


def test_a_listing_that_is_a_little_too_short_says_so_with_decimals() -> None:
    with pytest.raises(UnsafePlanError, match=r"201 of 1000 known are not in it \(20\.1%, more than max_gone = 20%\)"):
        listing(799, 1000, 201)


def counted(shown: int, counted: int | None, *, added: int = 0, usual: int = 0) -> Showing:
    return Showing(listed=shown, shown=shown, known=9, unseen=1, counted=counted, added=added, usual=usual)


@pytest.mark.parametrize(
    ("showing", "nominates", "confirms", "agrees"),
    [
        (counted(8, None), True, True, True),
        (counted(8, 8), True, True, True),
        (counted(8, 9), False, False, False),
        (counted(8, 9, added=1), True, False, True),
        (counted(8, 10, added=1), False, False, False),
        (counted(8, 9, usual=1), True, True, True),
        (counted(8, 10, usual=1), False, False, False),
        (counted(8, 7), True, True, False),
        (counted(8, 7, added=1), True, True, True),
        (counted(8, 7, usual=-1), True, True, True),
        (counted(8, 9, usual=-1), False, False, False),
    ],
)
def test_a_list_that_shows_fewer_than_the_service_counts_says_of_nothing_that_it_is_gone(
    showing: Showing, nominates: bool, confirms: bool, agrees: bool
) -> None:
    assert (showing.nominates, showing.confirms, showing.disagreement is None) == (nominates, confirms, agrees)


def test_what_is_listed_twice_does_not_make_up_for_what_is_not_listed() -> None:
    with pytest.raises(UnsafePlanError, match="70 are in it, and the service itself counts 100"):
        check_listing(Showing(listed=100, shown=70, known=70, unseen=0, counted=100), max_gone=0.2, min_known=10)
