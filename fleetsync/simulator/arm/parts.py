"""Azure Resource Manager put together from its parts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from uuid import UUID

from fleetsync.simulator.arm.fleet import filled
from fleetsync.simulator.arm.hubs import Hubs
from fleetsync.simulator.arm.links import SignedLinks
from fleetsync.simulator.arm.lists import Lists
from fleetsync.simulator.arm.operations import Operations
from fleetsync.simulator.arm.service import Arm, Frontage
from fleetsync.simulator.arm.tree import Tree
from fleetsync.simulator.counters import Counters
from fleetsync.simulator.errors import SimulatorError

_LONGEST = 8_000
"""What fits into a line of a header for the strictest of the common client libraries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmOptions:
    """What the subscription is like. `devices` is None where there is no Azure Sphere, and `hubs` where there are none.

    `hubs` are tier, units, and a way to count the devices of the first.
    """

    devices: int | None
    hubs: tuple[str, int, Callable[[], Mapping[str, int]]] | None
    page_size: int
    link_size: int


def subscription_of(seed: int) -> str:
    """Return the subscription of a seed."""
    return str(UUID(int=Random(f"{seed}:subscription").getrandbits(128), version=4))


def assembled(options: ArmOptions, frontage: Frontage, counters: Counters, *, seed: int, at: float) -> Arm:
    """Return the service.

    Raises:
        SimulatorError: its pages would hold nothing, or its links cannot be that long.
    """
    if options.page_size < 1 or not 0 <= options.link_size <= _LONGEST:
        raise SimulatorError(f"pages of Azure Resource Manager hold something, and links at most {_LONGEST} bytes")
    tree = Tree() if options.devices is None else filled(seed, options.devices, at=at)
    tier, units, counts = options.hubs or ("S1", 1, dict)
    hubs = Hubs(tier=tier, units=units, counts=counts, at=at, are_there=options.hubs is not None)
    links = SignedLinks(Random(f"{seed}:arm-links").randbytes(32), size=options.link_size)
    operations = Operations(links, subscription=frontage.subscription, seed=seed)
    lists = Lists(tree, links, subscription=frontage.subscription, page_size=options.page_size)
    return Arm(tree, hubs, frontage, operations, lists, counters=counters)
