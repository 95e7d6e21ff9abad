"""The state of one IoT Hub: who is registered, as what, and what became of the others."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Literal, TypeAlias

from fleetsync.simulator.counters import KEPT
from fleetsync.simulator.iot_hub.fleet import EDGE_MODULES, Fleet, module_record
from fleetsync.simulator.iot_hub.index import Index, Stored
from fleetsync.simulator.iot_hub.records import Key, Record
from fleetsync.simulator.iot_hub.twins import Twin

By: TypeAlias = Literal["client", "operator", "life"]

_EPOCH_TICKS: Final = 621_355_968_000_000_000
_TICKS_A_SECOND: Final = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """A device came or went; one that has had its id before is re-created."""

    at: float
    what: Literal["created", "deleted", "recreated"]
    device_id: str
    generation_id: str
    by: By


class Registry:
    """Devices and modules by key; every change has an instant, and nothing here reads a clock.

    What is read here is always current. Every write goes on to the index.
    """

    def __init__(self, fleet: Fleet, *, lag_s: float) -> None:
        self._fleet = fleet
        self._random = Random(f"{fleet.seed}:hub")
        self._ids: list[str] = []
        self._records: dict[Key, Stored] = {}
        self._modules: dict[str, list[str]] = {}
        for number, device_id in enumerate(fleet.ids()):
            self._ids.append(device_id)
            self._records[device_id, ""] = number
            if fleet.is_edge(number):
                self._modules[device_id] = list(EDGE_MODULES)
                self._records.update({(device_id, name): number for name in EDGE_MODULES})
        self._gone: set[str] = set()
        self._happenings: deque[Happening] = deque(maxlen=KEPT)
        self._generation = 0
        self.index = Index(self._records.items(), record=self._record)
        self.index.lag_s = lag_s

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, device_id: str) -> bool:
        return (device_id, "") in self._records

    def __iter__(self) -> Iterator[Record]:
        """Iterate over the devices, oldest first."""
        return (self._record(key, self._records[key]) for key in ((id_, "") for id_ in self._ids))

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids of all devices, oldest first."""
        return tuple(self._ids)

    @property
    def happenings(self) -> tuple[Happening, ...]:
        """Return who came and went, oldest first."""
        return tuple(self._happenings)

    def at(self, index: int) -> Record:
        """Return the device at an index, oldest first."""
        key = (self._ids[index], "")
        return self._record(key, self._records[key])

    def get(self, key: Key) -> Record | None:
        """Return a device or module, or None when there is none."""
        stored = self._records.get(key)
        return None if stored is None else self._record(key, stored)

    def modules(self, device_id: str) -> list[Record]:
        """Return the modules of a device."""
        keys = [(device_id, name) for name in self._modules.get(device_id, ())]
        return [self._record(key, self._records[key]) for key in keys]

    def create(self, device_id: str, *, at: float, by: By) -> Record:
        """Register a new device, with a new generation, a new twin, and an etag from anywhere."""
        record = Record(
            key=(device_id, ""),
            generation=self._next_generation(at),
            serial=(serial := self._new_serial()),
            device_serial=serial,
            twin=Twin.newborn(),
        )
        self._ids.append(device_id)
        self._note("recreated" if device_id in self._gone else "created", record, at=at, by=by)
        return self.put(record, at=at)

    def create_module(self, device: Record, module_id: str, *, at: float) -> Record:
        """Register a new module of a device."""
        generation, serial = self._next_generation(at), self._new_serial()
        record = module_record(device, module_id, generation=generation, serial=serial, twin=Twin.newborn())
        self._modules.setdefault(device.key[0], []).append(module_id)
        return self.put(record, at=at)

    def put(self, record: Record, *, at: float) -> Record:
        """Store the next state of a device or module that is registered."""
        self._records[record.key] = record
        self.index.publish(record.key, record, at=at)
        return record

    def put_identity(self, record: Record, *, at: float) -> Record:
        """Store a device or module with the next etag of its identity, which the twins of its modules show too."""
        serial = record.serial + 1
        if record.is_module:
            return self.put(replace(record, serial=serial), at=at)
        for module in self.modules(record.key[0]):
            inherited = replace(
                module,
                device_serial=serial,
                status=record.status,
                status_reason=record.status_reason,
                status_at=record.status_at,
            )
            self.put(inherited, at=at)
        return self.put(replace(record, serial=serial, device_serial=serial), at=at)

    def remove(self, key: Key, *, at: float, by: By) -> bool:
        """Remove a module, or a device with its modules, and return whether it was there."""
        record = self.get(key)
        if record is None:
            return False
        device_id, module_id = key
        if module_id:
            self._modules[device_id].remove(module_id)
        else:
            for name in self._modules.pop(device_id, ()):
                self._drop((device_id, name), at=at)
            self._ids.remove(device_id)
            self._gone.add(device_id)
            self._note("deleted", record, at=at, by=by)
        self._drop(key, at=at)
        return True

    def statistics(self) -> Counter[str]:
        """Count all, enabled and connected devices, as the index knows them."""
        found: Counter[str] = Counter()
        for key, stored in self.index.stored():
            if key[1]:
                continue
            found["all"] += 1
            if isinstance(stored, int):
                found["enabled"] += self._fleet.is_enabled(stored)
                found["connected"] += self._fleet.is_connected(stored)
            else:
                found["enabled"] += stored.status == "enabled"
                found["connected"] += stored.is_connected
        return found

    def _record(self, key: Key, stored: Stored) -> Record:
        return self._fleet.record(key, stored) if isinstance(stored, int) else stored

    def _drop(self, key: Key, *, at: float) -> None:
        del self._records[key]
        self.index.publish(key, None, at=at)

    def _new_serial(self) -> int:
        return self._random.randrange(100_000_000, 1_000_000_000)

    def _next_generation(self, at: float) -> int:
        self._generation = max(self._generation + 1, _EPOCH_TICKS + int(at * _TICKS_A_SECOND))
        return self._generation

    def _note(self, what: Literal["created", "deleted", "recreated"], record: Record, *, at: float, by: By) -> None:
        self._happenings.append(
            Happening(at=at, what=what, device_id=record.key[0], generation_id=str(record.generation), by=by)
        )
