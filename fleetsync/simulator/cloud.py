"""The cloud: its options, its services, and who answers which path."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from urllib.parse import urlsplit

from fleetsync.simulator import control
from fleetsync.simulator.arm.parts import ArmOptions, assembled, subscription_of
from fleetsync.simulator.arm.service import Arm
from fleetsync.simulator.arm.service import Frontage as ArmFrontage
from fleetsync.simulator.arm.throttles import limits as arm_limits
from fleetsync.simulator.bucket import Limit
from fleetsync.simulator.cloud_relay.rosters import HubRoster, OwnRoster
from fleetsync.simulator.cloud_relay.service import RESOURCE as RELAY_RESOURCE
from fleetsync.simulator.cloud_relay.service import CloudRelay, RelayDoorman
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
from fleetsync.simulator.iot_hub.queries import Queries
from fleetsync.simulator.iot_hub.registry import Registry
from fleetsync.simulator.iot_hub.service import Frontage, IotHub
from fleetsync.simulator.iot_hub.state import HubState
from fleetsync.simulator.iot_hub.throttles import PATIENCE_S, Quota, limits, most_configurations
from fleetsync.simulator.life import Life, Rhythm
from fleetsync.simulator.options import Credentials, Options, beside, check, url_of
from fleetsync.simulator.server import address_of, listener, served
from fleetsync.simulator.sphere_legacy.service import Doorman as SphereDoorman
from fleetsync.simulator.sphere_legacy.service import SphereLegacy
from fleetsync.simulator.sphere_legacy.state import Tenant
from fleetsync.simulator.tls import Folder, prepared
from fleetsync.simulator.wire import Object, SimRequest, SimResponse


class Cloud:
    """All simulated services together, on one clock and from one seed.

    Making one does no input or output, and neither does `handle`: the same requests at the same instants get the
    same answers. `serving` puts it on the network.
    """

    def __init__(self, options: Options, *, now: Callable[[], float] = time.time) -> None:
        check(options)
        self.options = options
        self.credentials = Credentials.invented(seed=options.seed, at=now())
        self._now = now
        self._books = Counters()
        self.faults = parse_faults(options.faults)
        self.url = url_of(options, options.listen)
        self.hub_url = url_of(options, beside(options.listen, options.hub_listen, 1))
        self.arm_url = url_of(options, beside(options.listen, options.arm_listen, 3))
        self.sphere_url = url_of(options, beside(options.listen, options.sphere_listen, 2))
        self.relay_url = url_of(options, beside(options.listen, options.relay_listen, 4))
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
            self.url = url_of(self.options, address)
            self.central.origin = self.entra.origin = self.url
            await stack.enter_async_context(served(self.handle, sock, context))
            if self._hub is not None:
                sock = listener(beside(self.options.listen, self.options.hub_listen, 1))
                self.hub_url = url_of(self.options, address_of(sock))
                self._move_hub(self._hub, folder)
                await stack.enter_async_context(served(self.handle_hub, sock, context))
            if self._arm is not None:
                sock = listener(beside(self.options.listen, self.options.arm_listen, 3))
                self.arm_url = self._arm.origin = url_of(self.options, address_of(sock))
                await stack.enter_async_context(served(self.handle_arm, sock, context))
            if self._sphere is not None:
                sock = listener(beside(self.options.listen, self.options.sphere_listen, 2))
                self.sphere_url = url_of(self.options, address_of(sock))
                await stack.enter_async_context(served(self.handle_sphere, sock, context))
            if self._relay is not None:
                sock = listener(beside(self.options.listen, self.options.relay_listen, 4))
                self.relay_url = url_of(self.options, address_of(sock))
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
