"""What a subscription holds of Azure Sphere: catalogs, and below each its products, groups, devices and the rest."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from fleetsync.simulator import sphere_fleet
from fleetsync.simulator.arm.routes import CATALOG, CERTIFICATE, DEPLOYMENT, DEVICE, GROUP, IMAGE, PRODUCT, Words
from fleetsync.simulator.counters import KEPT
from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.resources import Collection, no_etag
from fleetsync.simulator.sphere_fleet import SphereDevice
from fleetsync.simulator.wire import Object

Place: TypeAlias = tuple[str, str]
"""A product and one of its groups, as they are spelled."""

NOWHERE: Final[Place] = (".default", ".default")
"""Where devices are that were claimed and put into no group."""

_BELOW: Final = (PRODUCT, GROUP, DEVICE, DEPLOYMENT, IMAGE, CERTIFICATE)
_DONE: Final = {"provisioningState": "Succeeded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A device was moved; `by` tells who wanted it."""

    at: float
    device_id: str
    before: Place
    after: Place
    by: Literal["client", "operator"]


@dataclass(slots=True, kw_only=True)
class Catalog:
    """One catalog and everything below it; resources are kept under their names, folded, joined by slashes."""

    group: str
    name: str
    below: Mapping[Words, Collection] = field(
        default_factory=lambda: {words: Collection(etags=no_etag) for words in _BELOW}
    )

    @property
    def key(self) -> str:
        """Return what it is kept under."""
        return f"{self.group}/{self.name}".lower()


class Tree:
    """All catalogs of a subscription; every change has an instant, and nothing here reads a clock."""

    def __init__(self) -> None:
        self.entries = Collection(etags=no_etag)
        self._catalogs: dict[str, Catalog] = {}
        self._moves: deque[Move] = deque(maxlen=KEPT)

    @property
    def moves(self) -> tuple[Move, ...]:
        """Return which devices were moved, oldest first."""
        return tuple(self._moves)

    @property
    def catalogs(self) -> tuple[Catalog, ...]:
        """Return all catalogs."""
        return tuple(self._catalogs.values())

    def catalog(self, key: str) -> Catalog | None:
        """Return a catalog by resource group and name, folded."""
        return self._catalogs.get(key)

    def add_catalog(self, group: str, name: str, *, tenant_id: str, tags: Mapping[str, str], at: float) -> Catalog:
        """Create a catalog without anything in it."""
        catalog = self._catalogs[f"{group}/{name}".lower()] = Catalog(group=group, name=name)
        properties = {"tenantId": tenant_id, "provisioningState": "Succeeded"}
        document: Object = {"names": (name,), "location": "Global", "tags": dict(tags), "properties": properties}
        self.entries.put(catalog.key, document, at=at)
        return catalog

    def collection(self, words: Words, catalog: Catalog | None) -> Collection:
        """Return where resources of a type are kept."""
        return self.entries if words == CATALOG or catalog is None else catalog.below[words]

    def devices(self) -> Iterator[tuple[Catalog, str, Object]]:
        """Iterate over all devices with their catalogs and ids."""
        for catalog in self._catalogs.values():
            for entry in catalog.below[DEVICE]:
                yield catalog, entry.id, entry.document

    def holding(self, device_id: str) -> Catalog:
        """Return the catalog that a device is in.

        Raises:
            SimulatorError: there is no such device.
        """
        for catalog in self._catalogs.values():
            if catalog.below[DEVICE].get(device_id.lower()) is not None:
                return catalog
        raise SimulatorError(f'no device "{device_id}" in the simulated catalogs')

    def place(self, catalog: Catalog, product: str, group: str) -> Place | None:
        """Return a group as it is spelled, or None when there is none; names are compared without case."""
        if product.lower() == group.lower() and group.lower() in (".default", ".unassigned"):
            return NOWHERE
        entry = catalog.below[GROUP].get(f"{product}/{group}".lower())
        if entry is None:
            return None
        return entry.document["names"][1], entry.document["names"][2]

    def move(
        self, catalog: Catalog, device_id: str, after: Place, *, at: float, by: Literal["client", "operator"]
    ) -> None:
        """Put a device into another group, or nowhere; one that is gone by now stays so."""
        devices = catalog.below[DEVICE]
        entry = devices.get(device_id)
        if entry is None:
            return
        names = entry.document["names"]
        before = (names[1], names[2])
        document = {**entry.document, "names": (names[0], *after, names[3])}
        devices.put(device_id, document, at=at)
        self._moves.append(Move(at=at, device_id=device_id, before=before, after=after, by=by))

    def add_product(self, catalog: Catalog, name: str, description: str, *, at: float) -> None:
        """Create a product without groups."""
        document = {"names": (catalog.name, name), "properties": {"description": description, **_DONE}}
        catalog.below[PRODUCT].put(name.lower(), document, at=at)

    def add_group(self, catalog: Catalog, place: Place, properties: Mapping[str, object], *, at: float) -> None:
        """Create a group of a product."""
        document = {"names": (catalog.name, *place), "properties": {**properties, **_DONE}}
        catalog.below[GROUP].put("/".join(place).lower(), document, at=at)

    def add_device(self, catalog: Catalog, device: SphereDevice, *, at: float) -> None:
        """Claim a device."""
        place = NOWHERE if device.product is None or device.group is None else (device.product, device.group)
        seen = device.seen_at
        properties = {
            "deviceId": device.id,
            "chipSku": sphere_fleet.CHIP,
            # A device that never checked in has empty versions, and no times at all.
            "lastAvailableOsVersion": "24.06" if seen else "",
            "lastInstalledOsVersion": device.installed or "",
            "lastOsUpdateUtc": utc(seen - 86_400) if seen else None,
            "lastUpdateRequestUtc": utc(seen) if seen else None,
            **_DONE,
        }
        document = {"names": (catalog.name, *place, device.id), "properties": properties}
        catalog.below[DEVICE].put(device.id, document, at=at)


def utc(at: float) -> str:
    """Return an instant as these services write it."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}7Z"
