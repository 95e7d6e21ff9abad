"""Every sort of mischief, by name, and which entry of the list of faults it is.

The entries are those of the design: 1 to 11 the service, 12 to 19 network and machine, 20 to 24 people. Each has its
file: `episodes_services`, `episodes_contents`, `episodes_network`, `episodes_processes`, `episodes_machine`, `episodes_people`.
"""

from collections.abc import Mapping
from random import Random

from tests.simulation import (  # noqa: F401 - to import one is to have its sorts
    episodes_contents,
    episodes_machine,
    episodes_network,
    episodes_people,
    episodes_processes,
    episodes_services,
)
from tests.simulation.episode import ALL, Episode
from tests.simulation.odd_ids import ODD_IDS

__all__ = ["ALL", "FAULT_OF", "Episode", "drawn"]

BY_THEMSELVES: Mapping[str, int] = {
    "a fleet that changes while it is listed": 6,
    "a device made anew under its id": 6,
    "an index that lags": 6,
    "pages shorter than asked for": 4,
    "an odd id": 22,
    **dict.fromkeys(ODD_IDS, 22),
    "a roster that is another source": 8,
    "a value that a controller changes by itself": 8,
    "a controller that is not connected": 3,
    "a controller that is slow": 2,
    "a controller that answers rubbish": 3,
    "a controller that answers nothing": 3,
    "a controller that answers too much": 3,
    "secret looked for": 23,
    "secret looked for in a log of everything": 23,
}
"""What nobody plans: it is counted where it happens."""

FAULT_OF: Mapping[str, int] = {name: episode.fault for name, episode in ALL.items()} | dict(BY_THEMSELVES)


def drawn(seed: int, count: int) -> list[str]:
    """Return sorts for a seed: a row of seeds has them all, and the next row has them in another company."""
    sorts = sorted(ALL)
    found = []
    for number in range(seed * count, (seed + 1) * count):
        turn, place = divmod(number, len(sorts))
        found.append(Random(turn).sample(sorts, len(sorts))[place])
    return found
