"""What can be done to an IoT Hub, whoever does it: a client, an operator, a device, or the service itself."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.iot_hub.configurations import Configurations
from fleetsync.simulator.iot_hub.records import Key, Record
from fleetsync.simulator.iot_hub.registry import By, Registry
from fleetsync.simulator.iot_hub.rules import check_size
from fleetsync.simulator.wire import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinWrite:
    """What is written to a twin; None leaves a section alone, `replaces` puts another in its place."""

    tags: Mapping[str, object] | None = None
    desired: Mapping[str, object] | None = None
    replaces: bool = False


class HubState:
    """The registry and the configurations, which look at everything that is written."""

    def __init__(self, registry: Registry, *, most_configurations: int, at: float) -> None:
        self.registry = registry
        self.configurations = Configurations(most=most_configurations, at=at)

    def settle(self, at: float) -> None:
        """Let the configurations come round and the index catch up."""
        self.configurations.settle(at, self._configure)
        self.registry.index.settle(at)

    def found(self, device_id: str, module_id: str = "") -> Record:
        """Return a device or module.

        Raises:
            SimulatorError: there is none.
        """
        record = self.registry.get((device_id, module_id))
        if record is None:
            raise SimulatorError(f'no device "{device_id}" in the simulated hub')
        return record

    def write_twin(self, record: Record, write: TwinWrite, *, at: float) -> Record:
        """Write tags and desired properties; every write of the second raises their version.

        Raises:
            RefusedError: 400, a section would be too large.
        """
        twin = record.twin
        if write.tags is not None:
            twin = twin.tagged(write.tags, replace_all=write.replaces)
            check_size(twin.tags, "tags")
        if write.desired is not None:
            desired = twin.desired
            newer = desired.replaced(write.desired, at=at) if write.replaces else desired.merged(write.desired, at=at)
            check_size(newer.values, "desired")
            twin = twin.desiring(newer)
        if twin is record.twin:
            return record
        self.configurations.watch(record.key, at=at)
        return self.registry.put(replace(record, twin=twin.touched()), at=at)

    def watch_all(self, *, at: float) -> None:
        """Let the configurations look at every device, as after one of them was written."""
        for device_id in self.registry.ids:
            self.configurations.watch((device_id, ""), at=at)

    def create(self, device_id: str, *, at: float, by: By) -> Record:
        """Register a device; a configuration for everybody will find it."""
        self.configurations.watch((device_id, ""), at=at)
        return self.registry.create(device_id, at=at, by=by)

    def report(self, record: Record, patch: Mapping[str, object], *, at: float) -> Record:
        """Let a device report; it shows that it is alive."""
        twin = record.twin.reporting(patch, at=at)
        return self.registry.put(replace(record, twin=twin, active_at=at), at=at)

    def connect(self, record: Record, *, connected: bool, at: float) -> Record:
        """Let a device connect or disconnect; no version and no etag tells."""
        return self.registry.put(replace(record, is_connected=connected, connected_at=at, active_at=at), at=at)

    def edit(self, record: Record, patch: Mapping[str, object], *, at: float) -> bool:
        """Merge a patch with `tags`, `properties.desired` and `status`, and return whether it changed anything.

        Raises:
            SimulatorError: the patch holds something else, or a section would be too large.
        """
        properties = patch.get("properties", {})
        desired = properties.get("desired") if isinstance(properties, Mapping) else None
        tags, status = patch.get("tags"), patch.get("status", record.status)
        if not patch.keys() <= {"tags", "properties", "status"} or status not in ("enabled", "disabled"):
            raise SimulatorError(
                'an edit is like {"tags": {...}, "properties": {"desired": {...}}, "status": "disabled"}'
            )
        write = TwinWrite(
            tags=tags if isinstance(tags, Mapping) else None,
            desired=desired if isinstance(desired, Mapping) else None,
        )
        try:
            after = self.write_twin(record, write, at=at)
        except RefusedError as error:
            raise SimulatorError(error.message) from error
        if status != record.status:
            after = self.registry.put_identity(replace(after, status=str(status), status_at=at), at=at)
        return status != record.status or not after.twin.wants_the_same_as(record.twin)

    def _configure(self, key: Key, at: float) -> None:
        record = self.registry.get(key)
        if record is None or record.is_module:
            return
        for author, patch in self.configurations.owed(record):
            twin = record.twin
            newer = twin.desired.merged(patch, at=at, author=author)
            record = self.registry.put(replace(record, twin=twin.desiring(newer).touched()), at=at)
