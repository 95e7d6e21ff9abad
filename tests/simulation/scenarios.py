"""The scenarios in which our process crashes at every point."""

from collections.abc import Mapping

from tests.simulation.crash_points import Play, Scenario, apply, crashing, sync
from tests.simulation.place_central import Central


def _vanish(play: Play) -> None:
    id = play.place.cloud.application.devices.ids[1]
    play.place.cloud.delete_device(id)
    play.place.deleted.add(("device", id))


SCENARIOS: Mapping[str, Scenario] = {
    "a first load": Scenario(kinds=(Central,), steps=(crashing(sync),), wishes=(), points=10),
    "a first cycle that writes": Scenario(kinds=(Central,), steps=(crashing(apply),), points=10),
    "a device that vanishes": Scenario(
        kinds=(Central,), steps=(sync, _vanish, crashing(sync), crashing(sync)), wishes=(), points=10
    ),
}
