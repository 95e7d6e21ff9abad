"""The state of one IoT Central application: its resources, the twins, and what devices have yet to answer."""

import heapq
from collections.abc import Mapping
from random import Random

from fleetsync.simulator import fleet
from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.iot_central.properties import CapabilityModel, Habit, Path, Twin
from fleetsync.simulator.resources import (
    Collection,
    Entry,
    header_etag,
    is_same,
    no_etag,
    patched,
    quoted_etag,
    quoted_guid_etag,
)
from fleetsync.simulator.wire import Object


class Application:
    """Devices and what belongs to them; every change has an instant, and nothing here reads a clock."""

    def __init__(self, *, seed: int, devices: int, at: float) -> None:
        random = Random(f"{seed}:fleet")
        self._seed = seed
        self.devices = Collection(etags=header_etag)
        self.device_groups = Collection(etags=header_etag)
        self.device_templates = Collection(id_member="@id", etags=quoted_etag)
        self.enrollment_groups = Collection(etags=quoted_guid_etag)
        self.organizations = Collection(etags=no_etag)
        self.devices.fill(fleet.devices(random, devices), at=at)
        self.device_groups.fill(fleet.device_groups(), at=at)
        self.device_templates.fill(fleet.device_templates(), at=at)
        self.enrollment_groups.fill(fleet.enrollment_groups(random), at=at)
        self.organizations.fill(fleet.organizations(), at=at)
        self._twins: dict[str, Twin] = {}
        self._due: list[tuple[float, str, Path, int]] = []
        self._started_at = at

    def add_device(self, device_id: str, document: Mapping[str, object], *, at: float) -> Entry:
        """Add a device, or replace the one that has the id."""
        self._twins.pop(device_id, None)
        defaults: Object = {"displayName": device_id, "simulated": False, "provisioned": False, "enabled": True}
        return self.devices.put(device_id, {**defaults, **document}, at=at)

    def delete_device(self, device_id: str) -> bool:
        """Delete a device with its twin, and return whether it was there."""
        self._twins.pop(device_id, None)
        return self.devices.remove(device_id)

    def edit_device(self, device_id: str, patch: Mapping[str, object], *, at: float) -> bool:
        """Merge a patch into a device as a person at the portal would; return whether it changed anything.

        Its member `properties` sets desired properties, component by component.

        Raises:
            SimulatorError: there is no such device.
        """
        entry = self.devices.get(device_id)
        if entry is None:
            raise SimulatorError(f'no device "{device_id}" in the simulated application')
        properties = patch.get("properties")
        if isinstance(properties, Mapping):
            self.desire(entry, _paths(properties), at=at)
        rest = {name: value for name, value in patch.items() if name != "properties"}
        if not rest:
            return bool(properties)
        document = patched(entry.document, rest)
        self.devices.put(device_id, document, at=at)
        return bool(properties) or not is_same(entry.document, document)

    def twin(self, device: Entry) -> Twin:
        """Return the twin of a device; a seeded one is invented when first asked for."""
        found = self._twins.get(device.id)
        if found is None:
            template = self.device_templates.get(str(device.document.get("template")))
            model = CapabilityModel.of(template.document if template else {})
            random = Random(f"{self._seed}:twin:{device.id}")
            found = self._twins[device.id] = Twin(model, random=random, at=self._started_at)
        return found

    def desire(self, device: Entry, values: Mapping[Path, object], *, at: float) -> None:
        """Set desired values; the device answers them later, each after its habit."""
        asked = self.twin(device).desire(values, at=at)
        habit = Habit.of(device.id)
        if habit.answers and device.document.get("provisioned"):
            for path, version in asked.items():
                heapq.heappush(self._due, (at + habit.delay_s, device.id, path, version))

    def settle(self, at: float) -> None:
        """Let every device answer that should have answered by now."""
        while self._due and self._due[0][0] <= at:
            due_at, device_id, path, version = heapq.heappop(self._due)
            twin = self._twins.get(device_id)
            if twin is not None:
                acknowledged = Habit.of(device_id).acknowledges
                twin.answer(path, version, acknowledged=acknowledged, at=due_at)


def _paths(properties: Mapping[str, object]) -> dict[Path, object]:
    values: dict[Path, object] = {}
    for name, value in properties.items():
        if isinstance(value, Mapping):
            values.update({(name, inner): content for inner, content in value.items()})
        else:
            values[(name,)] = value
    return values
