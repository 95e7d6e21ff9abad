"""Sources over simulated clouds, one mirror for all, and a clock that only tests move."""

import asyncio
import contextlib
import datetime
import shutil
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from fleetsync.config.settings import AuthSettings, Limits, Mode, SourceSettings, WeakestGuard
from fleetsync.core.declaration import Declaration
from fleetsync.core.model import DEVICE
from fleetsync.core.path import leaves
from fleetsync.daemon.parts import Link, Orders, job_of
from fleetsync.daemon.work import MakeJob
from fleetsync.mirror.cycles import SourceRow
from fleetsync.mirror.mirror import Mirror, open_mirror
from fleetsync.providers.base import Endpoint, Source
from fleetsync.providers.iot_central import KIND, PROVIDER, Settings
from fleetsync.reconcile.cycle import Job
from fleetsync.reconcile.progress import Report
from fleetsync.simulator import Cloud, Options
from fleetsync.transport.breaking import Breaking, Circuit
from fleetsync.transport.http import Request, Response
from tests.fakes.clock import FakeClock
from tests.fakes.http import CloudHttp
from tests.fakes.known import KnownDocuments

PATIENCE_S = 5.0
"""Real seconds after which a test gives up; none waits so long."""

OPTIONS = Options(listen="127.0.0.1:8080", devices=6, seed=3, rate="none", latency_s=0.0)


def source_settings(name: str, **more: Any) -> SourceSettings:
    """Return the settings of a source that `apply` may write to, every five minutes."""
    settings = SourceSettings(
        name=name,
        kind=KIND,
        url="http://127.0.0.1:8080",
        auth=AuthSettings(method="none"),
        own=Settings(),
        resources=(DEVICE,),
        interval_s=300.0,
        mode=Mode.MANUAL,
        weakest_guard=WeakestGuard.REREAD,
        limits=Limits(max_gone=1.0, max_writes=3.0),
    )
    return replace(settings, **more)


def declare(name: str, display_name: str, **more: Any) -> Declaration:
    """Return a declaration of one display name for all devices."""
    declared = dict(leaves({"displayName": display_name}))
    return Declaration(name=name, file=f"{name}.toml", line=1, leaves=declared, **more)


class ReadsPlant(Settings):
    """Settings of a source that goes by the devices of another."""

    reads = ("plant", "elsewhere")


class NapClock(FakeClock):
    """A clock that tells tests who goes to sleep, so that they wait for threads and sockets without sleeping."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._naps: asyncio.Queue[float] = asyncio.Queue()

    async def sleep(self, seconds: float) -> None:
        self._naps.put_nowait(seconds)
        await super().sleep(seconds)

    async def nap(self) -> float:
        """Return how long the next one sleeps who has not been asked for yet."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._naps.get()


class Door:
    """An `Http` that a test can close: requests wait in front of it."""

    def __init__(self, http: CloudHttp) -> None:
        self._http = http
        self._open = asyncio.Event()
        self._open.set()
        self._arrived = asyncio.Semaphore(0)

    def close(self) -> None:
        """Let requests wait."""
        self._open.clear()

    def open(self) -> None:
        """Let them go on."""
        self._open.set()

    async def arrived(self) -> None:
        """Wait until a request stands in front of the closed door."""
        async with asyncio.timeout(PATIENCE_S):
            await self._arrived.acquire()

    async def send(self, request: Request) -> Response:
        if not self._open.is_set():
            self._arrived.release()
        await self._open.wait()
        return await self._http.send(request)


@dataclass
class Plant:
    """One source: its service, the way there, and its settings."""

    settings: SourceSettings
    http: CloudHttp
    door: Door
    circuit: Circuit
    connected: int = 0
    expires_at: datetime.datetime | None = None
    refusal: Exception | None = None
    """What connecting fails with."""

    @property
    def name(self) -> str:
        return self.settings.name

    def source(self) -> Source:
        endpoint = Endpoint(
            name=self.name,
            url=self.http.cloud.url,
            http=Breaking(self.door, self.circuit),
            known=KnownDocuments(),
            clock=self.http.clock,
            settings=self.settings.own,
        )
        return PROVIDER.connect(endpoint)

    def link(self) -> Link:
        return Link(source=self.source(), meter=self.http, circuit=self.circuit, expires_at=lambda: self.expires_at)


@dataclass
class Rig:
    """Several plants and their mirror."""

    mirror: Mirror
    clock: NapClock
    plants: dict[str, Plant] = field(default_factory=dict)
    declarations: Sequence[Declaration] = ()

    async def add(self, name: str, *, page_size: int | None = None, **settings: Any) -> Plant:
        """Add a source and register it in the mirror."""
        http = CloudHttp(Cloud(OPTIONS, now=lambda: self.clock.now().timestamp()), self.clock, page_size=page_size)
        plant = Plant(source_settings(name, **settings), http, Door(http), Circuit(self.clock))
        self.plants[name] = plant
        rows = [
            SourceRow(name=name, kind=KIND.name, url="", mode=one.settings.mode.value, identity=name)
            for name, one in self.plants.items()
        ]
        await self.mirror.cycles.register(rows, file="config.toml")
        return plant

    def orders(self) -> Orders:
        return Orders(
            sources={name: plant.settings for name, plant in self.plants.items()},
            declarations=self.declarations,
            longest_s=dict.fromkeys(self.plants, 900.0),
        )

    @contextlib.asynccontextmanager
    async def connect(self, settings: SourceSettings) -> AsyncIterator[Link]:
        plant = self.plants[settings.name]
        if plant.refusal is not None:
            raise plant.refusal
        plant.connected += 1
        try:
            yield plant.link()
        finally:
            plant.connected -= 1

    def jobs(self) -> dict[str, MakeJob]:
        return {name: partial(self.job, plant) for name, plant in self.plants.items()}

    def job(self, plant: Plant, report: Report) -> Job:
        return job_of(plant.link(), plant.settings, self.orders(), self.mirror, self.clock, report)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what a reader of the database sees."""
        with contextlib.closing(sqlite3.connect(f"file:{self.mirror.path}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()

    def cycles(self, name: str) -> list[str]:
        """Return the outcomes of a source's cycles, oldest first."""
        return [outcome for (outcome,) in self.rows(f"SELECT outcome FROM cycles WHERE source = '{name}' ORDER BY id")]

    def names(self) -> set[str]:
        """Return the display names that the mirror knows."""
        return {name for (name,) in self.rows("SELECT display_name FROM devices")}


@contextlib.asynccontextmanager
async def opened_rig(path: Path, template: Path) -> AsyncIterator[Rig]:
    """Give a rig without plants; `template` is an empty database, since migrating takes time."""
    shutil.copyfile(template, path)
    clock = NapClock()
    async with open_mirror(path, [KIND], clock) as mirror:
        yield Rig(mirror, clock)
