"""The cloud: its options, its services, and who answers which path."""

import base64
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from random import Random
from urllib.parse import quote
from uuid import UUID

from fleetsync.simulator import control
from fleetsync.simulator.application import Application
from fleetsync.simulator.bucket import Limit
from fleetsync.simulator.configuration import Facts, configuration
from fleetsync.simulator.counters import Counters, CounterSnapshot, LogLine
from fleetsync.simulator.desk import Desk
from fleetsync.simulator.entra import Entra, Registration
from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.faults import Fault, Injector, parse_faults
from fleetsync.simulator.iot_central import Doorman, IotCentral
from fleetsync.simulator.life import Life
from fleetsync.simulator.server import listener, served
from fleetsync.simulator.tls import Folder, prepared
from fleetsync.simulator.wire import Object, SimRequest, SimResponse

KINDS = ("iot-central",)
_YEAR_S = 365 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What kind of cloud is wanted.

    `listen` has to be a loopback address unless `tls` names a folder for certificates and secrets;
    port 0 takes a free one. `rate` is like `20/s burst 20 retry-after 2` or `none`. `faults` is described in
    `fleetsync.simulator.faults`. `life` is `off`, `calm` (an event every five seconds) or `busy`
    (five a second). `latency_s` is added to every answer. The last three are about tokens.
    """

    listen: str = "127.0.0.1:0"
    devices: int = 2000
    seed: int = 1
    kinds: tuple[str, ...] = KINDS
    rate: str = "20/s burst 20"
    latency_s: float = 0.005
    faults: str = ""
    tls: Path | None = None
    life: str = "off"
    token_life_s: int = 3599
    device_code_polls: int = 2
    device_code_interval_s: int = 5


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
        self.url = _url(options, "localhost" if options.tls else options.listen.rpartition(":")[0])
        self.entra = self._make_entra()
        self.application = Application(seed=options.seed, devices=options.devices, at=now())
        self.central = self._make_central()

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

    def handle(self, request: SimRequest) -> SimResponse:
        """Answer a request, whichever service it is for."""
        path = request.path
        if path == control.PREFIX or path.startswith(f"{control.PREFIX}/"):
            return control.page(self, request)
        if self.entra.serves(path):
            return self.entra.handle(request)
        return self.central.handle(request)

    def configuration(self) -> str:
        """Return a TOML configuration that fits this cloud where it listens."""
        return configuration(
            Facts(
                url=self.url,
                folder=self.options.tls.absolute() if self.options.tls else None,
                tenant_id=self.credentials.tenant_id,
                client_id=self.credentials.client_id,
                limit=Limit.parse(self.options.rate),
            )
        )

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Listen, and give the address as `host:port`; with TLS the folder is filled before.

        Raises:
            SimulatorError: the address cannot be listened on, or the folder cannot be filled.
        """
        folder = self._prepared_folder()
        sock = listener(self.options.listen)
        host, port = sock.getsockname()[:2]
        self.url = _url(self.options, "localhost" if folder else host, port)
        self.central.origin = self.entra.origin = self.url
        async with served(self.handle, sock, folder.server_context() if folder else None):
            yield f"{host}:{port}"

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

    def _make_desk(self, name: str, limit: Limit | None) -> Desk:
        return Desk(
            name=name,
            now=self._now,
            counters=self._books,
            injector=lambda: self._injector,
            limit=limit,
            latency_s=self.options.latency_s,
        )


def _check(options: Options) -> None:
    unknown = [kind for kind in options.kinds if kind not in KINDS]
    if unknown:
        raise SimulatorError(f'kind "{unknown[0]}" is not simulated; there is {", ".join(KINDS)}')
    if options.devices < 0 or options.latency_s < 0:
        raise SimulatorError("the number of devices and the latency cannot be negative")
    if options.tls is None and not _is_loopback(options.listen):
        raise SimulatorError(f'listen address "{options.listen}" is not a loopback address, which needs --tls')


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _url(options: Options, host: str, port: int | None = None) -> str:
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    number = options.listen.rpartition(":")[2] if port is None else port
    return f"{'https' if options.tls else 'http'}://{shown}:{number}"
