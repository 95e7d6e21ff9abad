import asyncio
import datetime
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest

from fleetsync.config.settings import Mode
from fleetsync.core.breaker import FaultClass, StoredBreaker
from fleetsync.daemon.daemon import RELOAD_GRACE_S, STOP_GRACE_S, Daemon
from fleetsync.daemon.parts import Orders, Parts
from fleetsync.daemon.work import Command, Reply
from fleetsync.errors import BrokenMirrorError, ConfigError, FleetsyncError, NotYetError, Problem
from fleetsync.reconcile.cycle import CLOSING_S
from fleetsync.reconcile.listing import MOST_SECONDS
from fleetsync.reconcile.progress import silent
from fleetsync.transport.breaking import Circuit
from fleetsync.transport.http import Request
from tests.daemon.conftest import Said
from tests.daemon.rig import PATIENCE_S, Plant, ReadsPlant, Rig, declare
from tests.fakes.clock import settle, until
from tests.fakes.http import is_write, refused

SYNC = Command(name="sync")


@dataclass
class Ear:
    """What systemd hears."""

    heard: list[str] = field(default_factory=list)

    def listen(self, listening: socket.socket) -> list[str]:
        """Return everything that was told so far, a line each."""
        while True:
            try:
                self.heard += listening.recv(65536).decode().splitlines()
            except BlockingIOError:
                return self.heard


@dataclass
class Running:
    """A daemon at work, and what a test can do with it."""

    rig: Rig
    daemon: Daemon
    task: "asyncio.Task[None]"
    told: Callable[[], list[str]]
    reloads: list[Orders | Exception]

    async def pass_time(self, seconds: float, *, sleepers: int = 1) -> None:
        """Let `seconds` pass once so many sleep: nobody is on the way to it, in a thread or elsewhere."""
        await until(lambda: self.rig.clock.sleepers == sleepers)
        await self.rig.clock.advance(seconds)

    async def first_cycles(self, *plants: Plant, sleepers: int | None = None) -> None:
        """Let the first cycle of these sources come."""
        await self.pass_time(5.0, sleepers=sleepers or len(plants))
        await self.cycles(1, *plants)

    async def cycles(self, number: int, *plants: Plant) -> None:
        """Wait until each of these sources has had so many cycles."""
        await until(lambda: all(self.rig.cycles(plant.name) == ["done"] * number for plant in plants))

    def steps(self, plant: Plant) -> "asyncio.Queue[None]":
        """Return what gets an entry for every step that a cycle of this source reports from now on."""
        turn, steps = self.daemon._turns[plant.name], asyncio.Queue[None]()
        hear = turn.on_step

        def step() -> None:
            hear()
            steps.put_nowait(None)

        turn.on_step = step
        return steps

    async def stand_before(self, plant: Plant, **more: int) -> None:
        """Let the first cycle of a source come to its first request, and no further."""
        plant.door.close()
        await self.pass_time(5.0, **more)
        await plant.door.arrived()

    async def reload(self, with_what: Orders | Exception) -> None:
        """Reload, and wait until that is over."""
        before = self.told().count("READY=1")
        self.reloads.append(with_what)
        self.daemon.reload()
        await until(lambda: self.told().count("READY=1") > before)

    async def ended(self) -> None:
        """Wait for the end of the daemon; no time passes meanwhile on its clock."""
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({self.task})

    def status(self) -> str:
        """Return what `systemctl status` shows."""
        return [line for line in self.told() if line.startswith("STATUS=")][-1].removeprefix("STATUS=")


@asynccontextmanager
async def running(
    rig: Rig,
    tmp_path: Path,
    *,
    prune: Callable[[], Awaitable[object]] | None = None,
    put_back: Callable[[], Awaitable[int]] | None = None,
    watchdog_s: float | None = None,
) -> AsyncIterator[Running]:
    """Run a daemon for the block, and stop it then."""
    reloads: list[Orders | Exception] = []

    async def reload() -> Orders:
        found = reloads.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind(str(tmp_path / "notify"))
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        if watchdog_s is not None:
            environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        parts = Parts(
            connect=rig.connect,
            reload=reload,
            mirror=rig.mirror,
            clock=rig.clock,
            environment=environment,
            prune=prune,
            put_back=put_back,
        )
        daemon, ear = Daemon(rig.orders(), parts), Ear()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(daemon.run())
            yield Running(rig, daemon, task, lambda: ear.listen(listening), reloads)
            for plant in rig.plants.values():
                plant.door.open()
            daemon.stop()


async def test_every_source_is_mirrored_and_systemd_is_told(rig: Rig, tmp_path: Path) -> None:
    plants = [await rig.add("plant"), await rig.add("mill")]

    async with running(rig, tmp_path) as daemon:
        await daemon.first_cycles(*plants)

        assert "READY=1" in daemon.told()
        assert daemon.status() == "2 sources"
        daemon.daemon.stop()
        await daemon.ended()
        assert daemon.told()[-1] == "STOPPING=1"


async def test_a_source_that_cannot_be_connected_holds_up_nobody_and_is_tried_again(
    rig: Rig, tmp_path: Path, said: Said
) -> None:
    plant, mill = await rig.add("plant"), await rig.add("mill")
    plant.refusal = FleetsyncError("certificate file: permission denied")

    async with running(rig, tmp_path) as daemon:
        await daemon.first_cycles(mill, sleepers=2)
        assert daemon.status() == "2 sources; plant down"
        reply = await daemon.daemon.carry_out(msgspec.structs.replace(SYNC, sources=("plant",)), silent)
        assert (reply.exit_code, reply.sources[0].error) == (
            75,
            "source plant is not connected: `fleetsync status` says why",
        )

        plant.refusal = None
        await daemon.pass_time(90.0, sleepers=2)
        await daemon.pass_time(5.0, sleepers=2)
        await daemon.cycles(1, plant)
        await until(lambda: daemon.status() == "2 sources")

    assert [line["event"] for line in said if line.get("source") == "plant"] == [
        "source.down",
        "cycle.finished",
        "source.up",
    ]


async def test_a_mistake_in_connecting_is_kept_from_the_others(rig: Rig, tmp_path: Path) -> None:
    plant, mill = await rig.add("plant"), await rig.add("mill")
    plant.refusal = ZeroDivisionError("a mistake")

    async with running(rig, tmp_path) as daemon:
        await daemon.first_cycles(mill, sleepers=2)
        assert daemon.status() == "2 sources; plant down"


async def test_a_command_is_done_between_the_cycles(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant")
    rig.declarations = [declare("wish", "as declared")]

    async with running(rig, tmp_path) as daemon:
        await daemon.first_cycles(plant)
        await until(lambda: rig.clock.sleepers == 1)
        plant.door.close()
        await rig.clock.advance(330.0)
        await plant.door.arrived()
        async with asyncio.TaskGroup() as group:
            command = group.create_task(daemon.daemon.carry_out(Command(name="apply"), silent))
            await settle()
            assert plant.http.count(is_write) == 0
            plant.door.open()

    assert command.result().sources[0].outcomes == {"applied": 6}
    assert rig.cycles("plant") == ["done", "done", "done"]


async def test_a_command_that_heals_a_source_ends_its_rest_also_when_an_earlier_process_found_it_broken(
    rig: Rig, tmp_path: Path, said: Said
) -> None:
    plant = await rig.add("plant")
    far_off = rig.clock.now() + datetime.timedelta(minutes=30)
    left = StoredBreaker(fault=FaultClass.SIGN_IN, since=rig.clock.now(), error="401", openings=5, probe_at=far_off)
    plant.circuit = Circuit(rig.clock, left)

    async with running(rig, tmp_path) as daemon:
        await until(lambda: rig.clock.sleepers == 1)
        assert daemon.status() == "1 source; plant refused"
        assert (await daemon.daemon.carry_out(SYNC, silent)).exit_code == 0
        await until(lambda: daemon.status() == "1 source")
        await daemon.pass_time(269.0)
        assert rig.cycles("plant") == ["done"]
        await daemon.pass_time(61.0)
        await daemon.cycles(2, plant)

    assert [line["event"] for line in said if line["event"].startswith("source.")] == ["source.down", "source.up"]


async def test_a_command_that_finds_a_source_broken_is_heard_of_and_the_probe_comes_in_time(
    rig: Rig, tmp_path: Path, said: Said
) -> None:
    plant = await rig.add("plant", interval_s=21_600.0)

    async with running(rig, tmp_path) as daemon:
        await daemon.first_cycles(plant)
        await until(lambda: rig.clock.sleepers == 1)
        plant.http.when(lambda _: True, before=refused(503))
        assert (await daemon.daemon.carry_out(SYNC, silent)).exit_code == 75
        assert daemon.status() == "1 source; plant down"
        plant.http.heal()
        await daemon.pass_time(17.0)
        await until(lambda: rig.cycles("plant") == ["done", "failed", "done"])
        await until(lambda: daemon.status() == "1 source")

    assert [line["event"] for line in said if line["event"].startswith("source.")] == ["source.down", "source.up"]


@pytest.mark.parametrize("is_by_command", [False, True])
async def test_who_goes_by_a_source_that_was_never_listed_follows_its_first_listing_at_once(
    rig: Rig, tmp_path: Path, is_by_command: bool
) -> None:
    plant, mill = await rig.add("plant"), await rig.add("mill", own=ReadsPlant())
    barn = await rig.add("barn", own=ReadsPlant())
    barn.http.when(lambda _: True, before=refused(503))

    def wait_for_the_other(_: Request) -> None:
        if not rig.rows("SELECT 1 FROM sources WHERE name = 'plant' AND last_complete_at IS NOT NULL"):
            raise NotYetError("which devices plant has is not known")

    mill.http.when(lambda _: True, before=wait_for_the_other)

    async with running(rig, tmp_path) as daemon:
        await daemon.stand_before(plant, sleepers=3)
        await until(lambda: rig.clock.sleepers == 2)
        assert rig.cycles("mill") == ["failed"]
        if is_by_command:
            command = asyncio.create_task(
                daemon.daemon.carry_out(msgspec.structs.replace(SYNC, sources=("plant",)), silent)
            )
        before_s = rig.clock.monotonic_s()
        plant.door.open()
        await until(lambda: rig.cycles("mill") == ["failed", "done"])
        assert rig.clock.monotonic_s() == before_s
        assert rig.cycles("barn") == ["failed"], "what is broken is left alone"
        if is_by_command:
            await command


async def test_resuming_a_source_wakes_it_at_once(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant")
    await rig.mirror.cycles.set_paused("plant", paused=True)

    async with running(rig, tmp_path) as daemon:
        await daemon.pass_time(1000.0)
        assert plant.http.requests == 0
        await daemon.daemon.carry_out(Command(name="resume", sources=("plant",)), silent)
        await daemon.cycles(1, plant)


async def test_what_is_too_old_is_forgotten_every_hour_whatever_goes_wrong(
    rig: Rig, tmp_path: Path, said: Said
) -> None:
    calls: list[float] = []

    async def prune() -> None:
        calls.append(rig.clock.monotonic_s())
        raise FleetsyncError("disk full") if len(calls) == 1 else ZeroDivisionError

    async with running(rig, tmp_path, prune=prune) as daemon:
        await daemon.pass_time(3 * 3600.0)

    assert calls == [3600.0, 7200.0, 10800.0]
    assert [line["event"] for line in said].count("prune.failed") == 3


async def test_the_journal_is_looked_after_every_minute_and_said_once_when_it_is_large(
    rig: Rig, tmp_path: Path, said: Said
) -> None:
    sizes: list[int | Exception] = [5, 3 * 10**8, FleetsyncError("disk full"), 4 * 10**8, 4 * 10**8, 0]

    async def put_back() -> int:
        size = sizes.pop(0)
        if isinstance(size, Exception):
            raise size
        return size

    async with running(rig, tmp_path, put_back=put_back) as daemon:
        await daemon.pass_time(6 * 60.0)

    assert sizes == []
    assert [line["event"] for line in said if line["event"].startswith("wal.")] == ["wal.large", "wal.small"]


async def test_the_watchdog_is_fed_until_a_source_hangs(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant")

    async with running(rig, tmp_path, watchdog_s=120.0) as daemon:
        await daemon.stand_before(plant, sleepers=2)
        for minutes in range(1, 121):
            await rig.clock.advance(60.0)
            assert daemon.told().count("WATCHDOG=1") == minutes
        await rig.clock.advance(120.0)
        for _ in range(10):
            await rig.clock.advance(600.0)
            assert daemon.told().count("WATCHDOG=1") == 121


async def test_a_listing_of_hours_does_not_starve_the_watchdog(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant", page_size=1)
    plant.http.latency_s = 3600.0

    async with running(rig, tmp_path, watchdog_s=120.0) as daemon:
        await until(lambda: rig.clock.sleepers == 2)
        steps = daemon.steps(plant)
        await rig.clock.advance(5.0)
        minutes = 0
        for pages in range(5):
            while await rig.clock.nap() != plant.http.latency_s:
                pass
            await rig.clock.advance(MOST_SECONDS)
            if pages:
                await asyncio.wait_for(steps.get(), PATIENCE_S)
            for _ in range(60):
                await rig.clock.advance(60.0)
                minutes += 1
                assert daemon.told().count("WATCHDOG=1") == minutes


# Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_at_once_when_nothing_is_going_on(
    rig: Rig, tmp_path: Path, number: signal.Signals
) -> None:
    plant = await rig.add("plant")

    async with running(rig, tmp_path) as daemon:
        await daemon.first_cycles(plant)
        before_s = rig.clock.monotonic_s()
        os.kill(os.getpid(), number)
        await daemon.ended()

    assert rig.clock.monotonic_s() == before_s
    assert plant.connected == 0
    assert signal.getsignal(number) is not signal.SIG_IGN


async def test_the_page_that_is_being_read_is_finished_and_stored_and_no_other_begun(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant", page_size=2)

    async with running(rig, tmp_path) as daemon:
        await daemon.stand_before(plant)
        daemon.daemon.stop()
        await settle()
        assert not daemon.task.done()
        plant.door.open()
        await daemon.ended()

    (known,) = rig.rows("SELECT COUNT(*) FROM resources")[0]
    assert known > 0
    assert rig.clock.monotonic_s() == 5.0
    assert rig.cycles("plant") == ["interrupted"]


async def test_a_server_that_hangs_holds_up_the_end_for_seconds_only(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant")

    async with running(rig, tmp_path) as daemon:
        await daemon.stand_before(plant)
        daemon.daemon.stop()
        await rig.clock.advance(STOP_GRACE_S)
        await daemon.ended()

    assert STOP_GRACE_S + CLOSING_S < 5.0
    assert plant.connected == 0
    assert rig.cycles("plant") == ["interrupted"]


async def test_writes_that_are_under_way_are_finished_and_recorded(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant", mode=Mode.ENFORCE)
    rig.declarations = [declare("wish", "as declared")]
    plant.http.when(is_write, before=lambda _: stop(), times=1)

    def stop() -> None:
        running_daemon.daemon.stop()

    async with running(rig, tmp_path) as running_daemon:
        await running_daemon.pass_time(5.0)
        await running_daemon.ended()

    outcomes = {outcome for (outcome,) in rig.rows("SELECT outcome FROM writes")}
    assert outcomes == {"applied"}
    assert plant.http.count(is_write) == len(rig.rows("SELECT 1 FROM writes"))


async def test_a_command_that_was_writing_is_told_what_was_written(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant")
    rig.declarations = [declare("wish", "as declared")]

    async with running(rig, tmp_path) as daemon:
        await daemon.first_cycles(plant)
        plant.http.when(is_write, before=lambda _: daemon.daemon.stop(), times=1)
        reply = await daemon.daemon.carry_out(Command(name="apply"), silent)

    assert reply.exit_code == 75
    assert "cut short" in (reply.sources[0].error or "")
    assert reply.sources[0].outcomes == {"applied": plant.http.count(is_write)}


async def test_a_command_in_the_middle_is_told_that_it_was_cut_short(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant")

    async with running(rig, tmp_path) as daemon:
        await daemon.first_cycles(plant)
        plant.door.close()
        async with asyncio.TaskGroup() as group:
            hanging = group.create_task(daemon.daemon.carry_out(SYNC, silent))
            await plant.door.arrived()
            queued = group.create_task(daemon.daemon.carry_out(SYNC, silent))
            await settle()
            daemon.daemon.stop()
            await rig.clock.advance(STOP_GRACE_S)
            await daemon.ended()

    assert hanging.result().exit_code == queued.result().exit_code == 75
    assert "cut short" in (hanging.result().sources[0].error or "")
    assert "nothing was done" in (queued.result().sources[0].error or "")
    assert await daemon.daemon.carry_out(SYNC, silent) == Reply(
        error="the daemon stops; nothing was done: try again", exit_code=75
    )


# Reloading


async def test_a_wrong_configuration_leaves_the_old_one_running_and_says_everything(
    rig: Rig, tmp_path: Path, said: Said
) -> None:
    plant = await rig.add("plant")
    problems = [
        Problem(message="unknown key `intervall`", file="c.toml", line=3),
        Problem(message="no url", file="c.toml"),
    ]

    async with running(rig, tmp_path) as daemon:
        await daemon.first_cycles(plant)
        await daemon.reload(ConfigError(*problems))

        assert daemon.status() == (
            "1 source; new configuration refused, the old one runs on: c.toml:3: unknown key `intervall`"
        )
        assert "RELOADING=1" in daemon.told()
        assert [line["error"] for line in said if line["event"] == "config.refused"] == [str(one) for one in problems]
        assert rig.rows("SELECT file, line, message FROM reload") == [
            ("c.toml", 3, "unknown key `intervall`"),
            ("c.toml", None, "no url"),
        ]
        await daemon.reload(rig.orders())
        assert rig.rows("SELECT * FROM reload") == []
        assert plant.connected == 1
        await daemon.pass_time(330.0)
        await daemon.cycles(2, plant)

        await daemon.reload(rig.orders())
        assert daemon.status() == "1 source"


async def test_a_mistake_in_reloading_leaves_the_old_one_running(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant")

    async with running(rig, tmp_path) as daemon:
        await daemon.reload(ZeroDivisionError("a mistake"))

        assert "refused" in daemon.status()
        assert plant.connected == 1


async def test_a_source_that_did_not_change_goes_on_undisturbed_with_the_new_declarations(
    rig: Rig, tmp_path: Path
) -> None:
    plant = await rig.add("plant", mode=Mode.ENFORCE)

    async with running(rig, tmp_path) as daemon:
        await daemon.stand_before(plant)
        rig.declarations = [declare("wish", "as declared")]
        await daemon.reload(rig.orders())
        assert rig.cycles("plant") == ["running"]
        plant.door.open()
        await daemon.cycles(1, plant)
        assert plant.http.count(is_write) == 0

        await daemon.pass_time(330.0)
        await daemon.cycles(2, plant)
        assert plant.http.count(is_write) == 6


async def test_a_source_that_changed_ends_after_its_page_and_begins_anew(rig: Rig, tmp_path: Path) -> None:
    plant, mill = await rig.add("plant", page_size=2), await rig.add("mill")

    async with running(rig, tmp_path) as daemon:
        await daemon.stand_before(plant, sleepers=2)
        plant.settings = replace(plant.settings, interval_s=50.0)
        daemon.reloads.append(rig.orders())
        daemon.daemon.reload()
        await settle()
        assert rig.cycles("plant") == ["running"]

        plant.door.open()
        await until(lambda: daemon.told().count("READY=1") == 2)
        await daemon.pass_time(5.0, sleepers=2)
        await until(lambda: rig.cycles("plant") == ["interrupted", "done"])
        await daemon.pass_time(56.0, sleepers=2)
        await until(lambda: rig.cycles("plant") == ["interrupted", "done", "done"])

    assert rig.cycles("mill") == ["done"]
    assert (plant.connected, mill.connected) == (0, 0)


async def test_a_source_that_hangs_does_not_hold_up_what_else_a_reload_brings(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant")

    async with running(rig, tmp_path) as daemon:
        await daemon.stand_before(plant)
        plant.settings = replace(plant.settings, interval_s=50.0)
        mill = await rig.add("mill")
        daemon.reloads.append(rig.orders())
        daemon.daemon.reload()
        await until(lambda: mill.connected == 1)
        await daemon.pass_time(5.0, sleepers=2)  # the mill's first pause, and the grace of the plant
        await daemon.cycles(1, mill)
        assert daemon.told().count("READY=1") == 1

        await rig.clock.advance(RELOAD_GRACE_S)
        await until(lambda: daemon.told().count("READY=1") == 2)
        assert plant.connected == 1


async def test_a_source_that_left_is_let_go_and_one_that_came_is_minded(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant")

    async with running(rig, tmp_path) as daemon:
        await daemon.first_cycles(plant)
        gone = rig.plants.pop("plant")
        mill = await rig.add("mill")
        await daemon.reload(rig.orders())
        await daemon.first_cycles(mill)

        assert (gone.connected, mill.connected) == (0, 1)
        assert (await daemon.daemon.carry_out(msgspec.structs.replace(SYNC, sources=("plant",)), silent)).exit_code == 2
        assert daemon.status() == "1 source"


async def test_sighup_reloads(rig: Rig, tmp_path: Path, said: Said) -> None:
    await rig.add("plant")

    async with running(rig, tmp_path) as daemon:
        await until(lambda: "READY=1" in daemon.told())
        daemon.reloads.append(rig.orders())
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: daemon.told().count("READY=1") == 2)

    assert "config.reloaded" in [line["event"] for line in said]


async def test_a_reload_that_hangs_does_not_hold_up_the_end(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant")

    async with running(rig, tmp_path) as daemon:
        await daemon.stand_before(plant)
        daemon.reloads.append(msgspec.structs.replace(rig.orders(), sources={}))
        daemon.daemon.reload()
        await until(lambda: not daemon.reloads)
        await settle()
        daemon.daemon.stop()
        await rig.clock.advance(STOP_GRACE_S)
        await daemon.ended()

    assert plant.connected == 0


async def test_a_database_that_failed_ends_the_daemon(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant")

    async def run() -> None:
        async with running(rig, tmp_path) as daemon:
            await daemon.first_cycles(plant)
            rig.mirror._writer.is_broken = True
            await daemon.pass_time(400.0)
            await daemon.ended()

    with pytest.raises(ExceptionGroup) as failed:
        await run()
    [error] = failed.value.exceptions
    assert isinstance(error, BrokenMirrorError)
    assert "restart" in str(error)


async def test_a_database_that_a_command_finds_failed_ends_the_daemon_at_once(rig: Rig, tmp_path: Path) -> None:
    plant = await rig.add("plant")
    replies: list[Reply] = []

    async def run() -> None:
        async with running(rig, tmp_path) as daemon:
            await daemon.first_cycles(plant)
            rig.mirror._writer.is_broken = True
            replies.append(await daemon.daemon.carry_out(Command(name="pause", sources=("plant",)), silent))
            await daemon.ended()

    with pytest.raises(ExceptionGroup) as failed:
        await run()
    [error] = failed.value.exceptions
    assert isinstance(error, BrokenMirrorError)
    [reply] = replies
    assert reply.error is not None
    assert "restart" in reply.error
    assert reply.exit_code == 1
