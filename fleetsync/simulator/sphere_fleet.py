"""The Azure Sphere devices of one company, as its old tenant and its new catalog both began with.

Both services are made of this, so that what the one holds can be looked for in the other: the same device ids, and the
same names of products and groups. Nothing here says how a service shows it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final, Literal, TypeAlias
from uuid import UUID

OsFeed: TypeAlias = Literal["Retail", "RetailEval"]
UpdatePolicy: TypeAlias = Literal["UpdateAll", "No3rdPartyAppUpdates"]

FEEDS: Final[tuple[OsFeed, ...]] = ("Retail", "RetailEval")
POLICIES: Final[tuple[UpdatePolicy, ...]] = ("UpdateAll", "No3rdPartyAppUpdates")
"""In the order of their numbers at the old service."""

CHIP: Final = "MT3620AN"
_OS: Final = ("24.06", "24.06", "24.06", "24.03", "23.10")
_SEEN_WITHIN_S: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class SphereGroup:
    """A device group as it was set up; `image` names what is deployed to it, if anything is."""

    name: str
    feed: OsFeed = "Retail"
    policy: UpdatePolicy = "UpdateAll"
    crash_dumps: bool = False
    image: str | None = None

    @property
    def description(self) -> str:
        """Return what the portal shows under the name."""
        return f"{self.name} devices"


@dataclass(frozen=True, slots=True, kw_only=True)
class SphereProduct:
    """A product with its groups."""

    name: str
    description: str
    groups: tuple[SphereGroup, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SphereImage:
    """An image that was uploaded."""

    id: str
    name: str
    component_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SphereDevice:
    """A claimed device; without a product it is in no group. `installed` and `seen_at` are None until it checked in."""

    number: int
    id: str
    product: str | None
    group: str | None
    installed: str | None
    seen_at: float | None

    @property
    def is_integrated(self) -> bool:
        """True when it was carried over to the new service; one in eight still waits."""
        return self.number % 8 != 7


def _default_groups(image: str) -> tuple[SphereGroup, ...]:
    return (
        SphereGroup(name="Development", policy="No3rdPartyAppUpdates"),
        SphereGroup(name="Field Test", image=image),
        SphereGroup(name="Production", image=image, crash_dumps=True),
        SphereGroup(name="Production OS Evaluation", feed="RetailEval"),
        SphereGroup(name="Field Test OS Evaluation", feed="RetailEval"),
    )


PRODUCTS: Final = (
    SphereProduct(name="ColdChain", description="Freezer monitors", groups=_default_groups("cold_chain")),
    SphereProduct(name="Line Gateway", description="Gateways of the lines", groups=_default_groups("line_gateway")),
    SphereProduct(name="Prototypes", description="", groups=(SphereGroup(name="P1"),)),
)


def tenant_id(seed: int) -> str:
    """Return the old tenant, which the new catalog names as well."""
    return _guid(seed, "tenant")


def images(seed: int) -> tuple[SphereImage, ...]:
    """Return the images that were uploaded, sorted by name."""
    names = sorted({group.image for product in PRODUCTS for group in product.groups if group.image})
    return tuple(
        SphereImage(id=_guid(seed, "image", name), name=name, component_id=_guid(seed, "component", name))
        for name in names
    )


def device_id(seed: int, number: int) -> str:
    """Return the 128 lower-case hex digits of a device."""
    return hashlib.sha512(f"{seed}:sphere:{number}".encode()).hexdigest()


def devices(seed: int, count: int, *, at: float) -> Iterator[SphereDevice]:
    """Yield the first devices; those of a smaller count are the same."""
    for number in range(count):
        random = Random(f"{seed}:sphere:{number}")
        product = PRODUCTS[number % 2]
        group = random.choices(product.groups, weights=(2, 6, 24, 3, 1))[0]
        is_assigned, was_seen = random.random() < 0.94, random.random() < 0.9
        yield SphereDevice(
            number=number,
            id=device_id(seed, number),
            product=product.name if is_assigned else None,
            group=group.name if is_assigned else None,
            installed=random.choice(_OS) if was_seen else None,
            seen_at=at - random.uniform(0, _SEEN_WITHIN_S) if was_seen else None,
        )


def _guid(seed: int, *words: str) -> str:
    digest = hashlib.sha256(":".join((str(seed), "sphere", *words)).encode()).digest()
    return str(UUID(bytes=digest[:16], version=4))
