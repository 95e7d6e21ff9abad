"""One source over the simulated cloud, a mirror in a file, and a clock that only tests move."""

import contextlib
import datetime
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleetsync.config.settings import AuthSettings, Limits, Mode, RateSettings, SourceSettings, WeakestGuard
from fleetsync.core.declaration import Declaration
from fleetsync.core.merge_patch import without
from fleetsync.core.model import DEVICE, ResourceType
from fleetsync.core.path import leaves
from fleetsync.mirror.cycles import SourceRow
from fleetsync.mirror.known import Known
from fleetsync.mirror.mirror import Mirror, open_mirror
from fleetsync.providers import iot_central, iot_hub
from fleetsync.providers.base import Endpoint, all_kinds, load
from fleetsync.reconcile.cycle import Cycle, Done, Job, Meter
from fleetsync.reconcile.reviewed import Reviewed
from fleetsync.simulator import Cloud, Options, WriteRecord
from fleetsync.transport import limited
from fleetsync.transport.breaking import Breaking, Circuit
from fleetsync.transport.http import Http
from fleetsync.transport.limiter import Limiter
from fleetsync.transport.retry import Retrying
from fleetsync.wiring.rates import limiters_of
from tests.fakes.clock import FakeClock
from tests.fakes.http import CloudHttp

NAME = "plant"
URL = "http://127.0.0.1:8080"
OPTIONS = Options(listen="127.0.0.1:8080", devices=12, seed=3, rate="none", latency_s=0.0)
ALL_TYPES = tuple(spec.type for spec in iot_central.KIND.types)
UNLIMITED = Limits(max_gone=1.0, max_writes=3.0)
SOURCE = SourceSettings(
    name=NAME,
    kind=iot_central.KIND,
    url=URL,
    auth=AuthSettings(method="none"),
    own=iot_central.Settings(),
    resources=(ResourceType("device"),),
    interval_s=300.0,
    mode=Mode.MANUAL,
    weakest_guard=WeakestGuard.REREAD,
    limits=UNLIMITED,
)
HUB_URL = "http://127.0.0.1:8081"
HUB = replace(SOURCE, kind=iot_hub.KIND, url=HUB_URL, own=iot_hub.Settings(), weakest_guard=WeakestGuard.ETAG)
HUB_OPTIONS: Mapping[str, Any] = {"kinds": ("iot-hub",), "hub_tier": "none", "hub_devices": 12, "index_lag_s": 0.0}


def declare(desired: Mapping[str, object], name: str = "wish", where: str | None = None, **more: Any) -> Declaration:
    """Return a declaration; `desired` is nested as users write it."""
    return Declaration(name=name, file=f"{name}.toml", line=1, leaves=dict(leaves(desired)), where=where, **more)


@dataclass
class Rig:
    """Everything that a cycle works with. Between cycles a test changes what it likes."""

    path: Path
    clock: FakeClock
    cloud: Cloud
    http: CloudHttp
    settings: SourceSettings = SOURCE
    declarations: Sequence[Declaration] = ()
    layers: Callable[[CloudHttp], Http] = lambda http: http
    longest_s: Mapping[str, float] = field(default_factory=lambda: {NAME: 900.0})
    mirror: Mirror | None = None
    meter: Meter | None = None
    """What counts the requests; None is `http` itself, which knows no rates."""
    circuit: Circuit = field(init=False)

    def __post_init__(self) -> None:
        self.circuit = Circuit(self.clock)

    def limit_rates(self, **rate: Any) -> Limiter:
        """Send through a limiter from now on, at what the source's kind and `rate` allow; return it."""
        self.settings = replace(self.settings, rate=RateSettings(**rate))
        [limiter] = limiters_of([self.settings], self.clock).values()
        self.meter = meter = limited.Meter(limiter)
        self.layers = lambda http: Retrying(limited.Limited(http, limiter, meter), self.clock)
        return limiter

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Mirror]:
        """Open the mirror for as long as the block lasts."""
        async with open_mirror(self.path, all_kinds().values(), self.clock) as mirror:
            kind, url = self.settings.kind.name, self.settings.url
            row = SourceRow(name=NAME, kind=kind, url=url, mode="manual", identity=f"{kind} at here")
            await mirror.cycles.register([row], file="config.toml")
            self.mirror = mirror
            try:
                yield mirror
            finally:
                self.mirror = None

    def job(self) -> Job:
        assert self.mirror is not None
        settings = self.settings
        endpoint = Endpoint(
            name=NAME,
            url=settings.url,
            http=Breaking(self.layers(self.http), self.circuit),
            known=Known(self.mirror.readers),
            clock=self.clock,
            settings=settings.own,
        )
        return Job(
            source=load(settings.kind.name).connect(endpoint),
            settings=self.settings,
            meter=self.meter or self.http,
            circuit=self.circuit,
            mirror=self.mirror,
            clock=self.clock,
            declarations=self.declarations,
            longest_s=self.longest_s,
        )

    async def cycle(self, *, write: bool = False, asked: bool = True, reviewed: Reviewed | None = None) -> Done:
        """Run one cycle, as a person asks for it; an hour passes nowhere, but a minute before each."""
        await self.clock.advance(60)
        self.circuit.probe_now()
        return await self.clock.run(Cycle(self.job(), write=write, asked=asked, reviewed=reviewed).run())

    def limit(self, **limits: Any) -> None:
        """Change the safety limits."""
        self.settings = replace(self.settings, limits=replace(self.settings.limits, **limits))

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return what a reader of the database sees."""
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def ids(self) -> list[str]:
        """Return the ids of the devices that the mirror believes to be there."""
        return [id for (id,) in self.rows("SELECT id FROM devices ORDER BY id")]

    def documents(self) -> dict[str, Any]:
        """Return the devices of the mirror."""
        return {id: json.loads(document) for id, document in self.rows("SELECT id, document FROM devices")}

    def truth(self) -> dict[str, Any]:
        """Return the devices as the service has them."""
        if self.settings.kind is iot_hub.KIND:
            return {one["twin"]["deviceId"]: one["twin"] for one in self.cloud.hub.truth()}
        devices = self.cloud.application.devices
        return {entry.id: devices.document(entry) for entry in devices}

    def events(self) -> list[tuple[str, str]]:
        """Return the history as resource id and event, oldest first."""
        return self.rows("SELECT resource_id, event FROM history ORDER BY id")

    def writes(self) -> list[WriteRecord]:
        """Return what the service saw of our writes."""
        return [write for write in self.cloud.counters.writes if write.by == "client"]

    def carried_out(self) -> list[WriteRecord]:
        """Return our writes that the service carried out."""
        return [write for write in self.writes() if write.status < 300]

    def outcomes(self) -> list[tuple[str, str]]:
        """Return the journal as resource id and outcome, oldest first."""
        return self.rows("SELECT resource_id, outcome FROM writes ORDER BY id")

    def content(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return all of `resources`, but for when it was last looked at, and all of `history`, `drift` and `writes`."""
        columns = "source, kind, type, id, document, etag, first_seen_at, changed_at, gone_at, gone_reason"
        return {
            "resources": self.rows(f"SELECT {columns} FROM resources ORDER BY type, id"),
            "history": self.rows("SELECT * FROM history ORDER BY id"),
            "drift": self.rows("SELECT * FROM drift ORDER BY 1, 2, 3, 4"),
            "writes": self.rows("SELECT * FROM writes ORDER BY id"),
        }


def make_rig(
    path: Path, template: Path, *, page_size: int | None = None, settings: SourceSettings = SOURCE, **options: Any
) -> Rig:
    """Return a rig on a fresh database; `template` is an empty one, since migrating takes time."""
    shutil.copyfile(template, path)
    clock = FakeClock()
    cloud = Cloud(replace(OPTIONS, **options), now=lambda: clock.now().timestamp())
    http = CloudHttp(cloud, clock, page_size=page_size)
    return Rig(path=path, clock=clock, cloud=cloud, http=http, settings=settings)


def mirrored(rig: Rig) -> dict[str, Any]:
    """Return the mirror's devices without what only says that they are alive."""
    return _without_signs_of_life(rig, rig.documents())


def true(rig: Rig) -> dict[str, Any]:
    """Return the service's devices without what only says that they are alive."""
    return _without_signs_of_life(rig, rig.truth())


def _without_signs_of_life(rig: Rig, documents: Mapping[str, Any]) -> dict[str, Any]:
    volatile = rig.settings.kind.specs[DEVICE].volatile
    return {id: without(document, volatile) for id, document in documents.items()}


def at(rig: Rig, seconds: float) -> str:
    """Return an instant `seconds` before now, as the database writes it."""
    instant = rig.clock.now() - datetime.timedelta(seconds=seconds)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
