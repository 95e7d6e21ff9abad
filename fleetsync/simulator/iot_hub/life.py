"""What happens at a hub while nobody asks: devices report, connect and disconnect, come, go and come again."""

from random import Random

from fleetsync.simulator.counters import Counters
from fleetsync.simulator.fleet import MODELS, SITES
from fleetsync.simulator.iot_hub.fleet import RINGS
from fleetsync.simulator.iot_hub.records import Record
from fleetsync.simulator.iot_hub.state import HubState
from fleetsync.simulator.life import Rhythm
from fleetsync.simulator.wire import Object


class HubLife:
    """Events at a fixed pace, lived through when somebody looks."""

    def __init__(self, state: HubState, counters: Counters, *, pace: str, seed: int, at: float) -> None:
        self._state = state
        self._counters = counters
        self._rhythm = Rhythm(pace, at=at)
        self._random = Random(f"{seed}:hub-life")
        self._born = 0

    def advance(self, at: float) -> None:
        """Live through everything up to an instant, in order."""
        for event_at in self._rhythm.until(at):
            self._state.settle(event_at)
            self._event(event_at)
        self._state.settle(at)

    def _event(self, at: float) -> None:
        registry = self._state.registry
        luck = self._random.random()
        if luck < 0.04 or not len(registry):
            self._birth(at)
            return
        device = registry.at(self._random.randrange(len(registry)))
        if luck < 0.08:
            registry.remove(device.key, at=at, by="life")
        elif luck < 0.11:
            registry.remove(device.key, at=at, by="life")
            self._state.create(device.key[0], at=at, by="life")
        elif luck < 0.45:
            temperature = round(self._random.uniform(5, 35), 1)
            self._state.report(device, {"temperature": temperature}, at=at)
        elif luck < 0.70:
            self._state.connect(device, connected=not device.is_connected, at=at)
        else:
            self._edit(device, at)

    def _birth(self, at: float) -> None:
        self._born += 1
        model, site = self._random.choice(MODELS), self._random.choice(SITES)
        device_id = f"{model.word}-{site.organization}-new-{self._born:05}"
        record = self._state.create(device_id, at=at, by="life")
        tags = {"site": site.organization, "ring": self._random.choice(RINGS)}
        self._state.edit(record, {"tags": tags}, at=at)

    def _edit(self, device: Record, at: float) -> None:
        match self._random.randrange(4):
            case 0:
                patch: Object = {"tags": {"ring": self._random.choice(RINGS)}}
            case 1:
                patch = {"status": "disabled" if device.status == "enabled" else "enabled"}
            case 2:
                interval_s = self._random.choice((10, 30, 60, 300))
                patch = {"properties": {"desired": {"telemetry": {"intervalS": interval_s}}}}
            case _:
                patch = {"tags": {"checked": at}}
        changed = self._state.edit(device, patch, at=at)
        self._counters.note_operator(at=at, type="twin", id_=device.key[0], patch=patch, changed=changed)
