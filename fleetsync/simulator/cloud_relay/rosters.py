"""Which devices a relay can reach: those of a simulated IoT Hub, or, where there is none, those of its own."""

from dataclasses import dataclass
from typing import Protocol

from fleetsync.simulator.iot_hub.service import IotHub

_SITES = ("oslo", "lyon", "osaka", "austin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the hub knows of a device that is registered."""

    is_connected: bool = True
    is_enabled: bool = True


class Roster(Protocol):
    """Who is registered."""

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all devices, oldest first."""
        ...

    def standing(self, device_id: str) -> Standing | None:
        """Return how a device stands; None where it is not registered."""
        ...


class HubRoster:
    """The devices of a hub."""

    def __init__(self, hub: IotHub) -> None:
        self._hub = hub

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all devices, oldest first."""
        return self._hub.state.registry.ids

    def standing(self, device_id: str) -> Standing | None:
        """Return how a device stands; None where it is not registered."""
        record = self._hub.device(device_id)
        if record is None:
            return None
        return Standing(is_connected=bool(record.is_connected), is_enabled=record.status == "enabled")


class OwnRoster:
    """Devices that are registered somewhere out of sight. `devices` may be changed while it runs."""

    def __init__(self, count: int) -> None:
        ids = (f"ecy-{_SITES[number % len(_SITES)]}-{number:05}" for number in range(count))
        self.devices = dict.fromkeys(ids, Standing())

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all devices, oldest first."""
        return tuple(self.devices)

    def standing(self, device_id: str) -> Standing | None:
        """Return how a device stands; None where it is not registered."""
        return self.devices.get(device_id)
