"""What happens in a tenant while nobody asks: devices check in and are updated, and an operator edits and moves."""

from random import Random

from fleetsync.simulator import sphere_fleet
from fleetsync.simulator.counters import Counters
from fleetsync.simulator.life import Rhythm
from fleetsync.simulator.sphere_legacy.operations import Operations
from fleetsync.simulator.sphere_legacy.state import NEWEST_OS, Tenant

_FIRST_BORN = 900_000


class SphereLife:
    """Events at a fixed pace, lived through when somebody looks."""

    def __init__(self, tenant: Tenant, operations: Operations, counters: Counters, *, pace: str, seed: int, at: float):
        self._tenant = tenant
        self._operations = operations
        self._counters = counters
        self._rhythm = Rhythm(pace, at=at)
        self._random = Random(f"{seed}:sphere-life")
        self._seed = seed
        self._born = 0

    def advance(self, at: float) -> None:
        """Live through everything up to an instant, in order."""
        for event_at in self._rhythm.until(at):
            self._operations.settle(event_at)
            self._event(event_at)
        self._operations.settle(at)

    def _event(self, at: float) -> None:
        luck = self._random.random()
        if luck < 0.03 or not len(self._tenant):
            self._born += 1
            self._tenant.add(sphere_fleet.device_id(self._seed, _FIRST_BORN + self._born))
            return
        device = self._tenant.at(self._random.randrange(len(self._tenant)))
        group = self._random.choice(list(self._tenant.groups.values()))
        if luck < 0.80:
            device.seen_at = at
            if luck < 0.10:
                device.installed, device.updated_at = NEWEST_OS, at
        elif luck < 0.90:
            changed, device.group_id = device.group_id != group.id, group.id
            patch: dict[str, object] = {"DeviceGroupId": group.id}
            self._counters.note_operator(at=at, id_=device.id, patch=patch, changed=changed)
        else:
            patch = {"Description": f"checked at {at:.0f}"}
            self._tenant.edit_group(group, patch)
            self._counters.note_operator(at=at, type="device-group", id_=group.id, patch=patch, changed=True)
