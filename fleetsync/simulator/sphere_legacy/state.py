"""An Azure Sphere tenant as it is: products, groups, devices, deployments and insights, and what became of moves."""

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from fleetsync.simulator import sphere_fleet as fleet
from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.wire import Object

NEWEST_OS: Final = "24.09"

_HOUR_S: Final = 3600.0
_MEMBERS: Final[Mapping[str, type]] = {
    "Name": str,
    "Description": str,
    "OsFeedType": int,
    "UpdatePolicy": int,
    "AllowCrashDumpsCollection": bool,
}
"""What of a group can be edited, spelled as the service shows it."""


@dataclass(slots=True, kw_only=True)
class Deployment:
    """Images that were sent to a group."""

    id: str
    images: tuple[str, ...]
    at: float


@dataclass(slots=True, kw_only=True)
class Product:
    """A product; its groups know it."""

    id: str
    name: str
    description: str


@dataclass(slots=True, kw_only=True)
class Group:
    """A device group; `members` are the fields that can be edited."""

    id: str
    product_id: str
    members: Object
    deployments: list[Deployment] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Device:
    """A claimed device. `shown_as` is its id in the letter case that the service has it in."""

    id: str
    shown_as: str
    group_id: str | None
    installed: str | None = None
    updated_at: float | None = None
    seen_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """An event of a device in a span of time."""

    device_id: str
    start_at: int
    end_at: int
    description: str
    event_class: str
    category: str
    count: int


class Tenant:
    """One tenant. Ids of devices are lower case in here."""

    def __init__(self, *, seed: int, count: int, at: float) -> None:
        self.id = fleet.tenant_id(seed)
        self.name = "Contoso"
        self.products: dict[str, Product] = {}
        self.groups: dict[str, Group] = {}
        self.insights: list[Insight] = []
        self._seed = seed
        self._devices: dict[str, Device] = {}
        self._order: list[str] = []
        self._set_up(at)
        for one in fleet.devices(seed, count, at=at):
            self._settle_in(one, at)

    def __iter__(self) -> Iterator[Device]:
        """Yield the devices, sorted by id."""
        return (self._devices[id] for id in self._order)

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, id: str) -> bool:
        return id.lower() in self._devices

    def device(self, id: str) -> Device | None:
        """Return a device, whatever letter case its id is in."""
        return self._devices.get(id.lower())

    def at(self, index: int) -> Device:
        """Return the device at a place in the order of ids."""
        return self._devices[self._order[index]]

    def found(self, id: str) -> Device:
        """Return a device.

        Raises:
            SimulatorError: there is no such.
        """
        device = self.device(id)
        if device is None:
            raise SimulatorError(f'no device "{id}" in the simulated tenant')
        return device

    def add(self, id: str, *, group_id: str | None = None) -> Device:
        """Claim a device.

        Raises:
            SimulatorError: it is there already, or the group is not.
        """
        if id in self or (group_id is not None and group_id not in self.groups):
            raise SimulatorError(f'device "{id}" cannot be added')
        device = Device(id=id.lower(), shown_as=id, group_id=group_id)
        self._devices[device.id] = device
        bisect.insort(self._order, device.id)
        return device

    def remove(self, id: str) -> None:
        """Let a device be no longer of this tenant.

        Raises:
            SimulatorError: there is no such.
        """
        device = self.found(id)
        del self._devices[device.id]
        self._order.remove(device.id)

    def group_named(self, product: str, group: str) -> Group:
        """Return a group by the names of its product and of its own.

        Raises:
            SimulatorError: there is no such.
        """
        for one in self.groups.values():
            if (self.products[one.product_id].name, one.members["Name"]) == (product, group):
                return one
        raise SimulatorError(f'no group "{product}/{group}" in the simulated tenant')

    def edit_group(self, group: Group, patch: Mapping[str, object]) -> bool:
        """Change fields of a group; return whether any is another one now.

        Raises:
            SimulatorError: it has no such field, the value is none for it, or the name is taken.
        """
        for name, value in patch.items():
            if name not in _MEMBERS or type(value) is not _MEMBERS[name]:
                raise SimulatorError(f"{name} of a device group cannot be {value!r}")
        self._check_name(group, patch.get("Name"))
        before = dict(group.members)
        group.members.update(patch)
        return before != group.members

    def deploy(self, group: Group, images: tuple[str, ...], *, at: float) -> None:
        """Send images to a group."""
        id = self._guid("deployment", group.id, str(len(group.deployments)))
        group.deployments.append(Deployment(id=id, images=images, at=at))

    def _check_name(self, group: Group, name: object) -> None:
        for other in self.groups.values():
            is_beside = other.product_id == group.product_id and other.id != group.id
            if isinstance(name, str) and is_beside and other.members["Name"].lower() == name.lower():
                raise SimulatorError(f'the product has a device group "{name}" already')

    def _set_up(self, at: float) -> None:
        images = {image.name: image.id for image in fleet.images(self._seed)}
        for product in fleet.PRODUCTS:
            id = self._guid("product", product.name)
            self.products[id] = Product(id=id, name=product.name, description=product.description)
            for one in product.groups:
                group = Group(
                    id=self._guid("group", product.name, one.name),
                    product_id=id,
                    members={
                        "Name": one.name,
                        "Description": one.description,
                        "OsFeedType": fleet.FEEDS.index(one.feed),
                        "UpdatePolicy": fleet.POLICIES.index(one.policy),
                        "AllowCrashDumpsCollection": one.crash_dumps,
                    },
                )
                self.groups[group.id] = group
                if one.image is not None:
                    self.deploy(group, (images[one.image],), at=at - 30 * 24 * _HOUR_S)
                    self.deploy(group, (images[one.image],), at=at - 7 * 24 * _HOUR_S)

    def _settle_in(self, one: fleet.SphereDevice, at: float) -> None:
        random = Random(f"{self._seed}:sphere-legacy:{one.number}")
        group_id = None
        if one.product is not None and one.group is not None:
            group_id = self.group_named(one.product, one.group).id
        # Nothing says in which letters the service has an id; clients were seen to compare them in both.
        device = self.add(one.id.upper() if one.number % 5 == 3 else one.id, group_id=group_id)
        device.installed, device.seen_at = one.installed, one.seen_at
        device.updated_at = None if one.seen_at is None else one.seen_at - random.uniform(0, 30) * 24 * _HOUR_S
        if one.number % 7 == 0 and one.seen_at is not None:
            start_at = int(at - random.uniform(1, 72) * _HOUR_S)
            self.insights.append(
                Insight(
                    device_id=device.shown_as,
                    start_at=start_at,
                    end_at=start_at + 86_400,
                    description="App exited with status 255",
                    event_class="AppCrash",
                    category="Application",
                    count=random.randrange(1, 40),
                )
            )

    def _guid(self, *words: str) -> str:
        return str(uuid5(NAMESPACE_URL, ":".join((str(self._seed), "sphere-legacy", *words))))
