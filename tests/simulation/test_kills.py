"""A process is killed at every place of a first and a second cycle where a kill leaves something of its own behind."""

import pytest

from tests.simulation.place import Place
from tests.simulation.places import KINDS
from tests.simulation.run import Stage

SEED = 1
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_kill_anywhere_loses_nothing_and_doubles_nothing(staged: Stage, kind: type[Place], part: int) -> None:
    points = staged.history(SEED, kinds=(kind,), kill_at_point=0).points
    assert points > 40
    for point in range(1 + part, points + 1, PARTS):
        told = staged.history(SEED, kinds=(kind,), kill_at_point=point)
        assert told.violations == [], f"killed at {point} of {points}"
