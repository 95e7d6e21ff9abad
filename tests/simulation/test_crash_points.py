"""Our process crashes at every point of every scenario."""

import pytest

from tests.simulation.run import Stage
from tests.simulation.scenarios import SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_at_any_point_breaks_no_promise(staged: Stage, name: str) -> None:
    scenario = SCENARIOS[name]
    played = staged.play(scenario)
    assert played.violations(scenario.same) == []
    assert len(played.crashed) >= scenario.points
