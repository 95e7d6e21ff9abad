"""Some histories in every test run; `make simulate` runs as many as one likes."""

import pytest

from tests.simulation.run import Stage
from tests.simulation.table import Table

SEEDS = 24
AT_ONCE = 6
"""Seeds of a test: it lasts some seconds."""

FAILED_ONCE = {
    78: "a hold that was stored before the clock stepped back lasted a day",
    102: "a read that was answered with an error and status 200 was taken for a sight",
}


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_whatever_happens_the_promises_are_kept(staged: Stage, first: int) -> None:
    table = Table()
    for seed in range(first, first + AT_ONCE):
        table.add(told := staged.history(seed))
        assert told.violations == [], f"make simulate START={seed} SEEDS=1 MORE=--log"
    assert table.tested["P4"]
    assert table.tested["P7"]


@pytest.mark.parametrize("seed", FAILED_ONCE)
def test_what_failed_once_does_not_fail_again(staged: Stage, seed: int) -> None:
    assert staged.history(seed).violations == []


def test_a_seed_is_the_same_history_every_time(staged: Stage) -> None:
    one, other, third = staged.history(5), staged.history(5), staged.history(6)
    assert (one.trace, one.requests, one.commits, one.days) == (other.trace, other.requests, other.commits, other.days)
    assert one.trace != third.trace
