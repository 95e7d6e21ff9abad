"""Our process crashes at every point of every scenario."""

import pytest

from tests.simulation.places import KINDS
from tests.simulation.run import Stage
from tests.simulation.scenarios import SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_at_any_point_breaks_no_promise(staged: Stage, name: str) -> None:
    scenario = SCENARIOS[name]
    played = staged.play(scenario)
    assert set(scenario.shows) <= played.undisturbed.shown, "the scenario is not about this any more"
    assert len(played.crashed) > 0
    assert played.violations(scenario.same) == []


def test_there_are_scenarios_of_every_kind_of_service() -> None:
    assert len(SCENARIOS) >= 20
    assert {kind for scenario in SCENARIOS.values() for kind in scenario.kinds} == set(KINDS)
