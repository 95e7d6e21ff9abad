"""What happens in a fleet while nobody asks: devices report, an operator edits, some come and some go."""

from collections.abc import Iterator
from random import Random

from fleetsync.simulator import fleet
from fleetsync.simulator.counters import Counters
from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.iot_central.application import Application
from fleetsync.simulator.resources import Entry

PACES = {"off": 0.0, "calm": 0.2, "busy": 5.0}
"""Events a second."""

_LONGEST_CATCH_UP = 20_000
"""Events; a process that was suspended for days does not live through all of them at once."""


class Rhythm:
    """Instants at a fixed pace; the same ones, however often anybody looks."""

    def __init__(self, pace: str, *, at: float) -> None:
        if pace not in PACES:
            raise SimulatorError(f'life "{pace}" is none of: {", ".join(PACES)}')
        self._per_s = PACES[pace]
        self._started_at = at
        self._lived = 0

    def until(self, at: float) -> Iterator[float]:
        """Yield the instants up to another that were not lived through before."""
        due = int(max(0.0, at - self._started_at) * self._per_s)
        self._lived = max(self._lived, due - _LONGEST_CATCH_UP)
        while self._lived < due:
            self._lived += 1
            yield self._started_at + self._lived / self._per_s


class Life:
    """Events at a fixed pace, lived through when somebody looks.

    The same seed gives the same events at the same instants, however often anybody looks; they depend only
    on what clients changed in between.
    """

    def __init__(self, application: Application, counters: Counters, *, pace: str, seed: int, at: float) -> None:
        self._application = application
        self._counters = counters
        self._rhythm = Rhythm(pace, at=at)
        self._random = Random(f"{seed}:life")
        self._born = 0

    def advance(self, at: float) -> None:
        """Live through everything up to an instant, in order."""
        for event_at in self._rhythm.until(at):
            self._application.settle(event_at)
            self._event(event_at)
        self._application.settle(at)

    def _event(self, at: float) -> None:
        devices = self._application.devices
        luck = self._random.random()
        if luck < 0.05 or not devices:
            self._birth(at)
            return
        device = devices.at(self._random.randrange(len(devices)))
        if luck < 0.10:
            self._application.delete_device(device.id)
        elif luck < 0.55:
            value = round(self._random.uniform(5, 35), 1)
            self._application.twin(device).report(("targetTemperature",), value, at=at)
        else:
            self._edit(device, at)

    def _birth(self, at: float) -> None:
        self._born += 1
        model, site = self._random.choice(fleet.MODELS), self._random.choice(fleet.SITES)
        document = fleet.device(self._random, model=model, site=site, number=900_000 + self._born)
        self._application.add_device(f"{model.word}-{site.organization}-new-{self._born:05}", document, at=at)

    def _edit(self, device: Entry, at: float) -> None:
        match self._random.randrange(4):
            case 0:
                name = str(device.document.get("displayName")).removesuffix(" (checked)")
                patch: dict[str, object] = {"displayName": f"{name} (checked)"}
            case 1:
                patch = {"enabled": not device.document.get("enabled")}
            case 2:
                patch = {"properties": {"telemetryInterval": self._random.choice((10, 30, 60, 300))}}
            case _:
                patch = {"organizations": [self._random.choice(fleet.SITES).organization]}
        changed = self._application.edit_device(device.id, patch, at=at)
        self._counters.note_operator(at=at, id_=device.id, patch=patch, changed=changed)
