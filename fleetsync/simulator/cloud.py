"""The cloud: its options, its services, and who answers which path."""

import base64
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from random import Random
from urllib.parse import quote, urlsplit
from uuid import UUID

from fleetsync.simulator import control
from fleetsync.simulator.arm.lists import DEFAULT_SIZE as ARM_PAGE_SIZE
from fleetsync.simulator.arm.parts import ArmOptions, assembled, subscription_of
from fleetsync.simulator.arm.service import Arm
from fleetsync.simulator.arm.service import Frontage as ArmFrontage
from fleetsync.simulator.arm.throttles import limits as arm_limits
from fleetsync.simulator.bucket import Limit
from fleetsync.simulator.cloud_relay.rosters import HubRoster, OwnRoster
from fleetsync.simulator.cloud_relay.service import RESOURCE as RELAY_RESOURCE
from fleetsync.simulator.cloud_relay.service import CloudRelay, RelayDoorman, Shares
from fleetsync.simulator.configuration import ArmFacts, Facts, HubFacts, RelayFacts, TenantFacts, configuration
from fleetsync.simulator.counters import Counters, CounterSnapshot, LogLine
from fleetsync.simulator.desk import Desk
from fleetsync.simulator.entra.service import Entra, Registration
from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.faults import Fault, Injector, parse_faults
from fleetsync.simulator.iot_central.application import Application
from fleetsync.simulator.iot_central.service import Doorman, IotCentral
from fleetsync.simulator.iot_hub.auth import Doorman as HubDoorman
from fleetsync.simulator.iot_hub.auth import built_in_policies
from fleetsync.simulator.iot_hub.fleet import Fleet
from fleetsync.simulator.iot_hub.life import HubLife
from fleetsync.simulator.iot_hub.queries import DEFAULT_SIZE, Queries
from fleetsync.simulator.iot_hub.registry import Registry
from fleetsync.simulator.iot_hub.service import Frontage, IotHub
from fleetsync.simulator.iot_hub.state import HubState
from fleetsync.simulator.iot_hub.throttles import PATIENCE_S, Quota, limits, most_configurations
from fleetsync.simulator.life import Life, Rhythm
from fleetsync.simulator.server import address_of, listener, served
from fleetsync.simulator.sphere_legacy.pages import DEFAULT_SIZE as SPHERE_PAGE_SIZE
from fleetsync.simulator.sphere_legacy.service import Doorman as SphereDoorman
from fleetsync.simulator.sphere_legacy.service import SphereLegacy
from fleetsync.simulator.sphere_legacy.state import Tenant
from fleetsync.simulator.tls import Folder, prepared
from fleetsync.simulator.wire import Object, SimRequest, SimResponse

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


class Cloud:
    """All simulated services together, on one clock and from one seed.

    Making one does no input or output, and neither does `handle`: the same requests at the same instants get the
    same answers. `serving` puts it on the network.
    """

    def __init__(self, options: Options, *, now: Callable[[], float] = time.time) -> None:
        _check(options)
        self.options = options
        self.credentials = Credentials.invented(seed=options.seed, at=now())
        self._now = now
        self._books = Counters()
        self.faults = parse_faults(options.faults)
        self.url = _url(options, options.listen)
        self.hub_url = _url(options, _beside(options.listen, options.hub_listen, 1))
        self.arm_url = _url(options, _beside(options.listen, options.arm_listen, 3))
        self.sphere_url = _url(options, _beside(options.listen, options.sphere_listen, 2))
        self.relay_url = _url(options, _beside(options.listen, options.relay_listen, 4))
        self.entra = self._make_entra()
        self.application = Application(seed=options.seed, devices=options.devices_of("iot-central"), at=now())
        self.central = self._make_central()
        self._hub = self._make_hub() if "iot-hub" in options.kinds else None
        self._arm = self._make_arm() if {"sphere-arm", "iot-hub-arm"} & set(options.kinds) else None
        self._sphere = self._make_sphere() if "sphere-legacy" in options.kinds else None
        self._relay = self._make_relay() if "cloud-relay" in options.kinds else None

    @property
    def hub(self) -> IotHub:
        """The IoT Hub.

        Raises:
            SimulatorError: there is none, as `Options.kinds` does not ask for it.
        """
        if self._hub is None:
            raise SimulatorError('no IoT Hub is simulated; "iot-hub" has to be one of the kinds')
        return self._hub

    @property
    def arm(self) -> Arm:
        """Azure Resource Manager.

        Raises:
            SimulatorError: there is none, as `Options.kinds` asks for nothing that is behind it.
        """
        if self._arm is None:
            raise SimulatorError('nothing is simulated behind Azure Resource Manager; "sphere-arm" is one such kind')
        return self._arm

    @property
    def sphere(self) -> SphereLegacy:
        """The old service of Azure Sphere.

        Raises:
            SimulatorError: there is none, as `Options.kinds` does not ask for it.
        """
        if self._sphere is None:
            raise SimulatorError('no Azure Sphere tenant is simulated; "sphere-legacy" has to be one of the kinds')
        return self._sphere

    @property
    def relay(self) -> CloudRelay:
        """The Cloud Relay.

        Raises:
            SimulatorError: there is none, as `Options.kinds` does not ask for it.
        """
        if self._relay is None:
            raise SimulatorError('no Cloud Relay is simulated; "cloud-relay" has to be one of the kinds')
        return self._relay

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that are set; setting them begins their ordinals anew."""
        return self._injector.faults

    @faults.setter
    def faults(self, faults: tuple[Fault, ...]) -> None:
        self._injector = Injector(faults, Random(f"{self.options.seed}:faults"))

    @property
    def counters(self) -> CounterSnapshot:
        """The books as they are now."""
        return self._books.snapshot()

    def log(self) -> tuple[LogLine, ...]:
        """Return the last requests, oldest first."""
        return self._books.log()

    def truth(self) -> list[Object]:
        """Return every device with its properties, as they really are now."""
        self._life.advance(self._now())
        devices, twin = self.application.devices, self.application.twin
        return [{**devices.document(entry), "properties": twin(entry).document()} for entry in devices]

    def operator_edit(self, device_id: str, patch: Mapping[str, object]) -> bool:
        """Edit a device as somebody else at the portal would; return whether it changed anything.

        Raises:
            SimulatorError: there is no such device.
        """
        at = self._now()
        self._life.advance(at)
        changed = self.application.edit_device(device_id, patch, at=at)
        self._books.note_operator(at=at, id_=device_id, patch=patch, changed=changed)
        return changed

    def add_device(self, device_id: str, document: Mapping[str, object] | None = None) -> None:
        """Add a device, or replace the one that has the id by a new one."""
        self.application.add_device(device_id, document or {}, at=self._now())

    def delete_device(self, device_id: str) -> None:
        """Delete a device.

        Raises:
            SimulatorError: there is no such device.
        """
        if not self.application.delete_device(device_id):
            raise SimulatorError(f'no device "{device_id}" in the simulated application')

    def reset_counters(self) -> None:
        """Begin the counters, the log and the meters anew; the fleet, the faults and the buckets stay."""
        self._books.reset()
        self._desk.renew()
        if self._hub is not None:
            self._hub.renew()
        if self._arm is not None:
            self._arm.renew()
        if self._sphere is not None:
            self._sphere.renew()
        if self._relay is not None:
            self._relay.renew()

    def handle(self, request: SimRequest) -> SimResponse:
        """Answer a request to `url`, where the sign-in and IoT Central are."""
        if control.serves(request.path):
            return control.page(self, request)
        if self.entra.serves(request.path):
            return self.entra.handle(request)
        if "iot-central" not in self.options.kinds:
            return SimResponse(status=404)
        return self.central.handle(request)

    def handle_hub(self, request: SimRequest) -> SimResponse:
        """Answer a request to `hub_url`.

        Raises:
            SimulatorError: there is no IoT Hub.
        """
        if control.serves(request.path):
            return control.page(self, request)
        return self.hub.handle(request)

    def handle_arm(self, request: SimRequest) -> SimResponse:
        """Answer a request to `arm_url`.

        Raises:
            SimulatorError: there is no Azure Resource Manager.
        """
        if control.serves(request.path):
            return control.page(self, request)
        return self.arm.handle(request)

    def handle_sphere(self, request: SimRequest) -> SimResponse:
        """Answer a request to `sphere_url`.

        Raises:
            SimulatorError: there is no Azure Sphere tenant.
        """
        if control.serves(request.path):
            return control.page(self, request)
        return self.sphere.handle(request)

    def handle_relay(self, request: SimRequest) -> SimResponse:
        """Answer a request to `relay_url`.

        Raises:
            SimulatorError: there is no Cloud Relay.
        """
        if control.serves(request.path):
            return control.page(self, request)
        return self.relay.handle(request)

    def configuration(self) -> str:
        """Return a TOML configuration that fits this cloud where it listens."""
        options = self.options
        hub = HubFacts(url=self.hub_url, tier=options.hub_tier, units=options.hub_units)
        return configuration(
            Facts(
                url=self.url,
                folder=self.options.tls.absolute() if self.options.tls else None,
                tenant_id=self.credentials.tenant_id,
                client_id=self.credentials.client_id,
                limit=Limit.parse(self.options.rate),
                has_central="iot-central" in options.kinds,
                hub=hub if self._hub else None,
                arm=ArmFacts(url=self.arm_url, subscription=self._arm.subscription) if self._arm else None,
                has_catalog="sphere-arm" in options.kinds,
                has_hub_arm="iot-hub-arm" in options.kinds,
                tenant=TenantFacts(url=self.sphere_url, id=self._sphere.tenant.id) if self._sphere else None,
                relay=self._relay_facts(self._relay) if self._relay else None,
            )
        )

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Listen, and give the address of `url` as `host:port`; with TLS the folder is filled before.

        Raises:
            SimulatorError: the address cannot be listened on, or the folder cannot be filled.
        """
        folder = self._prepared_folder()
        context = folder.server_context() if folder else None
        async with AsyncExitStack() as stack:
            sock = listener(self.options.listen)
            address = address_of(sock)
            self.url = _url(self.options, address)
            self.central.origin = self.entra.origin = self.url
            await stack.enter_async_context(served(self.handle, sock, context))
            if self._hub is not None:
                sock = listener(_beside(self.options.listen, self.options.hub_listen, 1))
                self.hub_url = _url(self.options, address_of(sock))
                self._move_hub(self._hub, folder)
                await stack.enter_async_context(served(self.handle_hub, sock, context))
            if self._arm is not None:
                sock = listener(_beside(self.options.listen, self.options.arm_listen, 3))
                self.arm_url = self._arm.origin = _url(self.options, address_of(sock))
                await stack.enter_async_context(served(self.handle_arm, sock, context))
            if self._sphere is not None:
                sock = listener(_beside(self.options.listen, self.options.sphere_listen, 2))
                self.sphere_url = _url(self.options, address_of(sock))
                await stack.enter_async_context(served(self.handle_sphere, sock, context))
            if self._relay is not None:
                sock = listener(_beside(self.options.listen, self.options.relay_listen, 4))
                self.relay_url = _url(self.options, address_of(sock))
                await stack.enter_async_context(served(self.handle_relay, sock, context))
            yield address

    def _move_hub(self, hub: IotHub, folder: Folder | None) -> None:
        hub.doorman.host = urlsplit(self.hub_url).netloc
        if folder is not None:
            folder.write_private("hub-connection-string", hub.doorman.connection_string())

    def _prepared_folder(self) -> Folder | None:
        if self.options.tls is None:
            return None
        secrets = {
            "client-secret": self.credentials.client_secret,
            "api-token": self.credentials.api_token,
            "workload-token": self.credentials.workload_token,
        }
        try:
            folder = prepared(self.options.tls, at=self._now())
            for name, secret in secrets.items():
                folder.write_private(name, secret)
            self.entra.certificate = folder.certificate()
        except (OSError, ValueError) as error:
            raise SimulatorError(f'cannot keep certificates in "{self.options.tls}": {error}') from error
        return folder

    def _make_entra(self) -> Entra:
        options, credentials = self.options, self.credentials
        registration = Registration(
            tenant_id=credentials.tenant_id,
            client_id=credentials.client_id,
            client_secret=credentials.client_secret,
            workload_assertion=credentials.workload_token,
            expires_in_s=options.token_life_s,
            device_code_polls=options.device_code_polls,
            device_code_interval_s=options.device_code_interval_s,
        )
        desk = self._make_desk("entra", None)
        return Entra(registration, desk, seed=options.seed, origin=self.url)

    def _make_central(self) -> IotCentral:
        options = self.options
        self._desk = self._make_desk("iot-central", Limit.parse(options.rate))
        self._life = Life(self.application, self._books, pace=options.life, seed=options.seed, at=self._now())
        doorman = Doorman(
            api_token=self.credentials.api_token, bearer=self.entra.is_good, anonymous=options.tls is None
        )
        return IotCentral(self.application, self._desk, self._life, doorman, seed=options.seed, origin=self.url)

    def _make_hub(self) -> IotHub:
        options, at = self.options, self._now()
        fleet = Fleet(seed=options.seed, count=options.devices_of("iot-hub"), at=at)
        registry = Registry(fleet, lag_s=options.index_lag_s)
        state = HubState(registry, most_configurations=most_configurations(options.hub_tier), at=at)
        desks = {
            operation: self._make_desk(f"iot-hub.{operation}", limit, patience_s=PATIENCE_S)
            for operation, limit in limits(options.hub_tier, options.hub_units).items()
        }
        doorman = HubDoorman(
            host=urlsplit(self.hub_url).netloc,
            policies=built_in_policies(Random(f"{options.seed}:hub-policies")),
            bearer=self.entra.is_good,
            anonymous=options.tls is None,
        )
        quota = Quota(options.hub_daily_quota)
        return IotHub(
            state,
            Frontage(desks=desks, doorman=doorman, tier=options.hub_tier, quota=quota),
            HubLife(state, self._books, pace=options.life, seed=options.seed, at=at),
            Queries(registry.index, seed=options.seed, page_size=options.hub_page_size),
            seed=options.seed,
            counters=self._books,
        )

    def _make_arm(self) -> Arm:
        options, at = self.options, self._now()
        desks = {
            name: self._make_desk(f"arm.{name}", limit)
            for name, limit in arm_limits(options.arm_rate, options.arm_retry_after).items()
        }
        frontage = ArmFrontage(
            desks=desks,
            bearer=self.entra.is_good,
            anonymous=options.tls is None,
            subscription=subscription_of(options.seed),
        )
        chosen = ArmOptions(
            devices=options.devices_of("sphere-arm") if "sphere-arm" in options.kinds else None,
            hubs=(options.hub_tier, options.hub_units, self._hub_counts) if "iot-hub-arm" in options.kinds else None,
            page_size=options.arm_page_size,
            link_size=options.arm_link_size,
        )
        arm = assembled(chosen, frontage, self._books, seed=options.seed, at=at)
        arm.origin = self.arm_url
        arm.operations.habits.duration_s = options.sphere_operation_s
        return arm

    def _hub_counts(self) -> Mapping[str, int]:
        return {} if self._hub is None else self._hub.state.registry.statistics()

    def _make_sphere(self) -> SphereLegacy:
        options = self.options
        sphere = SphereLegacy(
            Tenant(seed=options.seed, count=options.devices_of("sphere-legacy"), at=self._now()),
            self._make_desk("sphere-legacy", Limit.parse(options.sphere_rate)),
            SphereDoorman(bearer=self.entra.is_good, anonymous=options.tls is None),
            seed=options.seed,
            page_size=options.sphere_page_size,
            pace=options.life,
        )
        sphere.operations.lasts_s = options.sphere_operation_s
        sphere.operations.fail_share = options.sphere_fail_share
        sphere.operations.errors_share = options.sphere_errors_share
        return sphere

    def _make_relay(self) -> CloudRelay:
        options = self.options
        roster = HubRoster(self._hub) if self._hub is not None else OwnRoster(options.devices_of("cloud-relay"))
        doorman = RelayDoorman(bearer=self.entra.is_good, anonymous=options.tls is None)
        rhythm = Rhythm(options.life, at=self._now())
        relay = CloudRelay(roster, self._make_desk("cloud-relay", None), doorman, rhythm, seed=options.seed)
        relay.shares, relay.daily_quota = options.relay_shares, options.relay_daily_quota
        return relay

    def _relay_facts(self, relay: CloudRelay) -> RelayFacts:
        roster = None if self._hub is not None else relay.roster.ids()
        return RelayFacts(url=self.relay_url, scope=f"{RELAY_RESOURCE}/.default", roster=roster)

    def _make_desk(self, name: str, limit: Limit | None, *, patience_s: float = 0.0) -> Desk:
        return Desk(
            name=name,
            now=self._now,
            counters=self._books,
            injector=lambda: self._injector,
            limit=limit,
            patience_s=patience_s,
            latency_s=self.options.latency_s,
        )


def _check(options: Options) -> None:
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


def _beside(listen: str, own: str | None, distance: int) -> str:
    """Return the address that is wanted, or the one so many ports after `listen`; port 0 stays a free one."""
    if own is not None:
        return own
    host, _, port = listen.rpartition(":")
    return f"{host}:{int(port) + distance}" if port.isdecimal() and int(port) else listen


def _url(options: Options, address: str) -> str:
    host, _, port = address.rpartition(":")
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"https://localhost:{port}" if options.tls else f"http://{shown}:{port}"
