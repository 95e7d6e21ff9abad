"""Two small kinds of service, so that the configuration is tested without any provider."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fleetsync.core.bucket import Rate
from fleetsync.core.kind import ANY, Daily, Kind, Quota, TypeSpec, Writable
from fleetsync.core.model import DEVICE, Part, ResourceType

_DOCUMENT = Part("document")
_PROPERTIES = Part("properties")


@dataclass(frozen=True, slots=True, kw_only=True)
class CentralSettings:
    api_version: Literal["2022-10-31-preview", "2022-07-31"] = "2022-10-31-preview"


CENTRAL = Kind(
    name="iot-central",
    settings=CentralSettings,
    types=(
        TypeSpec(
            type=DEVICE,
            view="devices",
            writable=(
                Writable(path=("displayName",), part=_DOCUMENT, value=str),
                Writable(path=("enabled",), part=_DOCUMENT, value=bool),
                Writable(path=("template",), part=_DOCUMENT, value=str),
                Writable(path=("organizations",), part=_DOCUMENT, value=list[str]),
                Writable(path=("properties", ANY), part=_PROPERTIES),
            ),
            details=(_PROPERTIES,),
            is_secret=lambda name: name.startswith("password"),
        ),
        TypeSpec(
            type=ResourceType("device-group"),
            view="device_groups",
            writable=(Writable(path=("displayName",), part=_DOCUMENT, value=str),),
        ),
        TypeSpec(type=ResourceType("organization"), view="organizations"),
        TypeSpec(type=ResourceType("user"), view="users", cheap=False),
    ),
    operations=("list", "read", "write"),
    quota=lambda _: Quota(classes={"list": None, "read": None, "write": None}, total=Rate(per_s=20, burst=2)),
    daily=Daily(operations=frozenset({"write"})),
    methods=(
        "client-secret",
        "client-certificate",
        "managed-identity",
        "workload-identity",
        "device-code",
        "api-token",
        "none",
    ),
    interval_s=300,
    scope="https://apps.azureiotcentral.com/.default",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    roster: list[str]
    units: int = 1

    def __post_init__(self) -> None:
        if self.units > len(self.roster):
            raise ValueError("`units` must not be more than `roster` names")

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(name.removeprefix("source ") for name in self.roster if name.startswith("source "))


RELAY = Kind(
    name="cloud-relay",
    settings=RelaySettings,
    types=(TypeSpec(type=DEVICE, view="devices", writable=(Writable(path=("value",), part=_DOCUMENT, value=float),)),),
    operations=("call",),
    quota=lambda _: Quota(classes={"call": Rate(per_s=5, burst=1)}),
    has_documented_quota=False,
    methods=("client-secret", "none"),
    interval_s=600,
    url="https://relay.example.com",
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (CENTRAL, RELAY)}
