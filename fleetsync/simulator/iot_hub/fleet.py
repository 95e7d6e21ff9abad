"""An invented fleet of twins: the same seed and number give the same device, made anew whenever it is asked for.

A fleet of a million is a million ids; what a device is follows from its number.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from fleetsync.simulator.fleet import MODELS, SITES
from fleetsync.simulator.iot_hub.records import Authentication, Key, Record
from fleetsync.simulator.iot_hub.twins import Author, Path, Section, Stamp, Twin
from fleetsync.simulator.wire import Object

ODD_IDS: Final = (
    "00:1B:44:11:3A:B7",
    "50%25-sensor",
    "boiler.cellar.2",
    "it's-(the)=one@home",
    "probe#7+a",
    "UPPER_lower-01",
    "upper_LOWER-01",
    "$5,-*2;which?one!",
)
"""Legal ids that hold every legal character between them; a fleet of fifty or more devices has them."""

BASELINE: Final = "canary-baseline"
"""The automatic configuration that the fleet comes with."""

BASELINE_AUTHOR: Final = Author(
    configuration=BASELINE, digest="2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717"
)
BASELINE_PATH: Final = ("diagnostics",)
BASELINE_VALUE: Final[Object] = {"level": "verbose", "uploadMin": 15}

EDGE_MODULES: Final = ("$edgeAgent", "$edgeHub", "collector")
RINGS: Final = ("broad", "broad", "broad", "early", "early", "canary")

_BIRTH_SERIAL: Final = 100_000_000
_YEAR_S: Final = 365 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Makes the records of the devices that were there from the beginning, at `at`."""

    seed: int
    count: int
    at: float

    def ids(self) -> Iterator[str]:
        """Yield the id of every number."""
        odd = ODD_IDS if self.count >= 50 else ()
        yield from odd
        models, sites = [model.word for model in MODELS], [site.organization for site in SITES]
        for number in range(len(odd), self.count):
            yield f"{models[number % len(models)]}-{sites[number * 7 % len(sites)]}-{number:05}"

    def is_edge(self, number: int) -> bool:
        """True for the few devices with modules."""
        return number % 40 == 11

    def is_enabled(self, number: int) -> bool:
        """True for most devices."""
        return number % 37 != 5

    def is_connected(self, number: int) -> bool:
        """True for three of four."""
        return number % 4 != 1

    def record(self, key: Key, number: int) -> Record:
        """Return a device as it was at the beginning, or one of its modules."""
        random = Random(self.seed * 1_000_003 + number)
        born_at = self.at - 1000 - random.randrange(_YEAR_S)
        device = Record(
            key=(key[0], ""),
            generation=621_355_968_000_000_000 + int(born_at) * 10_000_000 + number,
            serial=(serial := random.randrange(_BIRTH_SERIAL, 10 * _BIRTH_SERIAL)),
            device_serial=serial,
            twin=_twin(random, born_at=born_at, site=SITES[number * 7 % len(SITES)].organization),
            status="enabled" if self.is_enabled(number) else "disabled",
            status_reason=None if self.is_enabled(number) else "lost",
            status_at=None if self.is_enabled(number) else born_at + 500,
            is_connected=self.is_connected(number),
            connected_at=born_at + 100,
            active_at=born_at + 900,
            authentication=_authentication(random, number),
            is_edge=self.is_edge(number),
            scope=f"ms-azure-iot-edge://{key[0]}-{int(born_at)}" if self.is_edge(number) else None,
        )
        return _module(device, key) if key[1] else device


def module_record(device: Record, module_id: str, *, generation: int, serial: int, twin: Twin) -> Record:
    """Return a new module of a device; what the device is, its modules are."""
    return Record(
        key=(device.key[0], module_id),
        generation=generation,
        serial=serial,
        device_serial=device.serial,
        twin=twin,
        status=device.status,
        status_reason=device.status_reason,
        status_at=device.status_at,
        managed_by="iotEdge" if module_id.startswith("$") else None,
    )


def _module(device: Record, key: Key) -> Record:
    order = EDGE_MODULES.index(key[1])
    born = Stamp(at=device.active_at, version=2)
    desired = {"schemaVersion": "1.1", "intervalS": 30 * (order + 1)}
    twin = Twin(
        desired=Section(born=born, values=desired, version=2),
        reported=Section(born=Stamp(at=device.active_at), values={"lastDesiredVersion": 2}, version=5),
        serial=2,
        version=7,
    )
    generation, serial = device.generation + 1 + order, device.serial + 1 + order
    found = module_record(device, key[1], generation=generation, serial=serial, twin=twin)
    return replace(found, authentication=Authentication(type="sas" if order else "none"))


def _authentication(random: Random, number: int) -> Authentication:
    if number % 10 != 3:
        return Authentication()
    return Authentication(type="selfSigned", thumbprints=(f"{random.getrandbits(160):040X}", None))


def _twin(random: Random, *, born_at: float, site: str) -> Twin:
    luck = random.random()
    ring = RINGS[int(luck * len(RINGS))]
    written_at = born_at + 300 + int(luck * 3_000_000_000) / 10_000_000
    version, reports = 2 + int(luck * 9), 2 + int(luck * 1000) % 90
    interval_s = (10, 30, 60, 300)[int(luck * 400) % 4]
    firmware = f"{1 + int(luck * 3)}.{int(luck * 70) % 10}.{int(luck * 990) % 10}"
    desired: Object = {
        "telemetry": {"intervalS": interval_s},
        "firmware": {"version": firmware, "channel": ring},
    }
    stamps: dict[Path, Stamp] = {}
    if ring == "canary":
        desired[BASELINE_PATH[0]] = BASELINE_VALUE
        by_us = Stamp(at=written_at, version=version, author=BASELINE_AUTHOR)
        stamps = {(): by_us, BASELINE_PATH: by_us, **{(*BASELINE_PATH, name): by_us for name in BASELINE_VALUE}}
    # Reported nodes may lack the version.
    reported_stamp = Stamp(at=written_at + 12.25, version=reports if luck > 0.3 else None)
    return Twin(
        tags={} if 0.5 < luck < 0.52 else {
            "site": site,
            "ring": ring,
            "location": {"building": f"B{int(luck * 50) % 9 + 1}", "floor": int(luck * 700) % 12},
            "owner": "plant-" + site,
        },
        desired=Section(born=Stamp(at=written_at, version=version), values=desired, version=version, stamps=stamps),
        reported=Section(
            born=reported_stamp,
            values={
                "telemetry": {"intervalS": interval_s},
                "firmware": firmware,
                "temperature": round(15 + luck * 10, 1),
            },
            version=reports,
        ),
        serial=version + int(luck * 3),
        version=version + reports,
    )  # fmt: skip
