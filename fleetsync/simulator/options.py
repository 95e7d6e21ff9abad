"""What kind of cloud is wanted, and what clients sign in with there."""

import base64
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from random import Random
from urllib.parse import quote
from uuid import UUID

from fleetsync.simulator.arm.lists import DEFAULT_SIZE as ARM_PAGE_SIZE
from fleetsync.simulator.cloud_relay.service import Shares
from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.iot_hub.queries import DEFAULT_SIZE
from fleetsync.simulator.sphere_legacy.pages import DEFAULT_SIZE as SPHERE_PAGE_SIZE

KINDS = ("iot-central", "iot-hub", "sphere-legacy", "sphere-arm", "iot-hub-arm", "cloud-relay")
"""Every kind of service that can be simulated."""

_YEAR_S = 365 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What kind of cloud is wanted.

    `listen` has to be a loopback address unless `tls` names a folder for certificates and secrets;
    port 0 takes a free one. `rate` is like `20/s burst 20 retry-after 2` or `none`. `faults` is described in
    `fleetsync.simulator.faults`. `life` is `off`, `calm` (an event every five seconds) or `busy`
    (five a second). `latency_s` is added to every answer. Three are about tokens.

    The rest is about IoT Hub, which listens at an address of its own: `hub_listen`, or else the next port.
    `hub_devices` is half of `devices` when None, and all of them where there is no IoT Central. `hub_tier` and
    `hub_units` decide its limits, and `none` is no limit; `hub_daily_quota` are messages, and None is enough for all.
    `hub_page_size` is the most rows that a page of a query holds, whatever is asked for. `index_lag_s` is how much
    later than a read a query sees a write.

    Azure Resource Manager, for `sphere-arm` and `iot-hub-arm`, listens at `arm_listen`, or else at the third port after
    `listen`. `sphere_devices` is how many Azure Sphere devices there are, a quarter of `devices` when None. `arm_rate`
    is `documented`, `none`, or a rate for every class of methods; `arm_retry_after` is what a 429 asks for.
    `arm_page_size` is how much a page holds, `arm_link_size` how many bytes the URL of an operation has.

    The old service of Azure Sphere, `sphere-legacy`, listens at `sphere_listen`, or else at the second port after
    `listen`. `sphere_rate` is like `rate`, `sphere_page_size` how much its pages hold. A move takes
    `sphere_operation_s` here and behind Azure Resource Manager; here `sphere_fail_share` of all moves fail and
    `sphere_errors_share` end complete with errors.

    The Cloud Relay listens at `relay_listen`, or else at the fourth port after `listen`. It is in front of the devices
    of the IoT Hub; where there is no hub, it has `relay_devices` of its own, a tenth of `devices` when None.
    `relay_shares` says how many of them are offline, slow and so on, `relay_daily_quota` how many calls a day has.
    """

    listen: str = "127.0.0.1:0"
    devices: int = 2000
    seed: int = 1
    kinds: tuple[str, ...] = ("iot-central",)
    rate: str = "20/s burst 20"
    latency_s: float = 0.005
    faults: str = ""
    tls: Path | None = None
    life: str = "off"
    token_life_s: int = 3599
    device_code_polls: int = 2
    device_code_interval_s: int = 5
    hub_listen: str | None = None
    hub_devices: int | None = None
    hub_tier: str = "S1"
    hub_units: int = 1
    hub_daily_quota: int | None = None
    hub_page_size: int = DEFAULT_SIZE
    index_lag_s: float = 0.5
    arm_listen: str | None = None
    sphere_devices: int | None = None
    arm_rate: str = "documented"
    arm_retry_after: str = "1"
    arm_page_size: int = ARM_PAGE_SIZE
    arm_link_size: int = 3050
    sphere_listen: str | None = None
    sphere_rate: str = "5/s burst 20"
    sphere_page_size: int = SPHERE_PAGE_SIZE
    sphere_operation_s: float = 6.0
    sphere_fail_share: float = 0.0
    sphere_errors_share: float = 0.0
    relay_listen: str | None = None
    relay_devices: int | None = None
    relay_shares: Shares = field(default_factory=Shares)
    relay_daily_quota: int | None = None

    def devices_of(self, kind: str) -> int:
        """Return how many devices a service of this kind begins with; none where it is not asked for."""
        if kind not in self.kinds:
            return 0
        if kind == "iot-central":
            return self.devices
        hub = self.devices // 2 if "iot-central" in self.kinds else self.devices
        chosen = {
            "iot-hub": (self.hub_devices, hub),
            "iot-hub-arm": (0, 0),
            "cloud-relay": (self.relay_devices, self.devices // 10),
        }
        asked, otherwise = chosen.get(kind, (self.sphere_devices, self.devices // 4))
        return otherwise if asked is None else asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What clients sign in with; it follows from the seed and protects nothing."""

    tenant_id: str
    client_id: str
    client_secret: str = field(repr=False)
    api_token: str = field(repr=False)
    workload_token: str = field(repr=False)

    @classmethod
    def invented(cls, *, seed: int, at: float) -> "Credentials":
        """Return the credentials of a seed; the API token ends a year after `at`."""
        random = Random(f"{seed}:credentials")
        application = UUID(int=random.getrandbits(128), version=4)
        signature = quote(base64.b64encode(random.randbytes(32)), safe="")
        # This service counts the end of its tokens in milliseconds.
        end_ms = int((at + _YEAR_S) * 1000)
        return cls(
            tenant_id=str(UUID(int=random.getrandbits(128), version=4)),
            client_id=str(UUID(int=random.getrandbits(128), version=4)),
            client_secret=base64.urlsafe_b64encode(random.randbytes(30)).decode(),
            api_token=f"SharedAccessSignature sr={application}&sig={signature}&skn=simulator&se={end_ms}",
            workload_token=f"workload.{random.randbytes(16).hex()}.token",
        )


def check(options: Options) -> None:
    """Raise SimulatorError for options that make no sense together, or by themselves."""
    unknown = [kind for kind in options.kinds if kind not in KINDS]
    if unknown:
        raise SimulatorError(f'kind "{unknown[0]}" is not simulated; there is {", ".join(KINDS)}')
    if options.devices < 0 or options.latency_s < 0:
        raise SimulatorError("the number of devices and the latency cannot be negative")
    if min(options.relay_devices or 0, options.relay_daily_quota or 0) < 0:
        raise SimulatorError("devices and calls of a Cloud Relay cannot be negative")
    if min(options.hub_devices or 0, options.index_lag_s, options.hub_daily_quota or 0, options.hub_page_size - 1) < 0:
        raise SimulatorError("devices, lag and quota of the hub cannot be negative, and its pages hold something")
    if min(options.sphere_devices or 0, options.sphere_operation_s, options.sphere_page_size - 1) < 0:
        raise SimulatorError("devices and operations of Azure Sphere cannot be negative, and its pages hold something")
    for address in (
        options.listen,
        options.hub_listen,
        options.sphere_listen,
        options.arm_listen,
        options.relay_listen,
    ):
        if address is not None and options.tls is None and not _is_loopback(address):
            raise SimulatorError(f'listen address "{address}" is not a loopback address, which needs --tls')


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def beside(listen: str, own: str | None, distance: int) -> str:
    """Return the address that is wanted, or the one so many ports after `listen`; port 0 stays a free one."""
    if own is not None:
        return own
    host, _, port = listen.rpartition(":")
    return f"{host}:{int(port) + distance}" if port.isdecimal() and int(port) else listen


def url_of(options: Options, address: str) -> str:
    """Return where a service that listens at an address is found."""
    host, _, port = address.rpartition(":")
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"https://localhost:{port}" if options.tls else f"http://{shown}:{port}"
