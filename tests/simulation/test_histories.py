"""Some histories in every test run; `make simulate` runs as many as one likes."""

import pytest

from tests.simulation.episodes import FAULT_OF
from tests.simulation.run import Stage
from tests.simulation.table import Table

SEEDS = 400
"""As many as have everything in them that can happen: a minute of one processor."""

FAILED_ONCE = {
    63: "a clock that steps between two processes is no reason to go on with a listing",
    233: "an ETag that came without quotes went out without them",
    384: "a write that began while the clock was a day ahead stayed open for a day",
    1042: "a quota of a day that is spent is no reason to blame the daemon for not asking",
    1059: "a hub that was made after an odd one stayed odd",
    1112: "a machine that sleeps answers no SIGHUP",
    1472: "a device whose read showed it, but nothing that can be stored, was gone after two listings",
    5007: "what was contested and rested is written again, however quiet it is",
    5621: "a database that a command found failed ended the daemon minutes later",
    8042: "pages that could not be stored are asked for again, and wait no longer",
    13441: "a write to a device that was made anew meanwhile was called failed by an ETag that both had",
    14952: "of pages whose links repeat those are lost that a killed process had not stored",
    15058: "a device that was read before a write that was refused was gone after one more list",
    16146: "a database that was found failed when a hold was to be stored ended nothing",
    16073: "null from a controller was taken for a value that is not there",
    17174: "a page that was not stored, and asked for again, says what there was before",
    42360: "a hub whose statistics could not be read was gone after one more list",
    51086: "a listing whose last page was delivered and not stored is gone on with",
    100266: "a stored link that leads elsewhere is refused before it is asked, and the listing begins anew",
    100964: "a catalog that its list showed twice was gone through twice",
    202678: "a list of catalogs that was empty proved that a device was gone",
    206011: "a 404 with a body without end was taken for a value that is not there",
    204507: "a write that was never sent, since the read before it was answered with nonsense, was called applied",
    400158: "a source that a reload took away while a command let another go first was a mistake in the program",
    700207: "a reload that found the disk full was never asked for again by whom it was told",
    601388: "a request that waited while a wrong token was replaced was blamed for the one that it had",
}
"""What a seed found, in the simulation as it was then; what was wrong in the product has a test of its own."""


@pytest.fixture(scope="module")
def table(staged: Stage) -> Table:
    """Return what came of many histories."""
    made = Table()
    for seed in range(SEEDS):
        made.add(staged.history(seed))
    return made


def test_whatever_happens_the_promises_are_kept(table: Table) -> None:
    failed = {f"make simulate START={told.seed} SEEDS=1 MORE=--log": told.violations for told in table.failed}
    assert failed == {}


def test_everything_happens_and_every_promise_is_put_to_the_test(table: Table) -> None:
    assert table.missing() == []


def test_every_entry_of_the_list_of_faults_is_there() -> None:
    assert set(FAULT_OF.values()) == set(range(1, 25))


@pytest.mark.parametrize("seed", FAILED_ONCE)
def test_what_failed_once_does_not_fail_again(staged: Stage, seed: int) -> None:
    assert staged.history(seed).violations == []


def test_a_seed_is_the_same_history_every_time(staged: Stage) -> None:
    one, other, third = staged.history(5), staged.history(5), staged.history(6)
    assert (one.trace, one.requests, one.commits, one.days) == (other.trace, other.requests, other.commits, other.days)
    assert one.trace != third.trace
