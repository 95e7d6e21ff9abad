"""The main job at once, on the built-in cloud: what the README begins with."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleetsync import log
from fleetsync.cli import output, progress
from fleetsync.cli.invocation import Invocation
from fleetsync.clock import Clock
from fleetsync.errors import FleetsyncError, UsageError
from fleetsync.mirror.mirror import Mirror
from fleetsync.mirror.reader import reading
from fleetsync.reconcile.cycle import Cycle, Done
from fleetsync.reconcile.progress import Progress
from fleetsync.simulator import Cloud, Options
from fleetsync.wiring.configuration import Configuration, read_configuration
from fleetsync.wiring.sources import Connected, connected, job_of, opened_mirror

SOURCE = "central"
_SETTINGS = """\
mode = "manual"                 # `fleetsync apply` may write, the daemon may not
weakest_guard = "reread"        # device properties have no ETag: read, compare, write, read back

[sources.central.rate]
share = 1.0                     # the built-in cloud has no other clients

"""
_DECLARATIONS = """\
# What the devices should look like. Each declaration selects devices in SQL and says what they should have.

[[declaration]]
name = "tromso-belongs-to-europe"
where = "id LIKE '%-tromso-%' AND enabled"

[declaration.desired]
organizations = ["europe"]

[[declaration]]
name = "two-thermostats-at-21"
where = "id IN ({thermostats})"

[declaration.desired]
properties.targetTemperature = 21
"""
_QUESTIONS = (
    (
        "devices by template",
        "SELECT template, count(*) AS devices FROM devices GROUP BY template ORDER BY 2 DESC LIMIT 5",
    ),
    ("blocked devices", "SELECT count(*) AS blocked FROM devices WHERE NOT enabled"),
    (
        "organizations and what is above them",
        "SELECT o.id, o.parent, (SELECT count(*) FROM devices d WHERE d.document -> 'organizations' ->> 0 = o.id)"
        " AS devices FROM organizations o ORDER BY 3 DESC LIMIT 5",
    ),
)
_WRITES = (
    "SELECT resource_id, attempt, guard, status, outcome FROM writes"
    " WHERE resource_id IN (SELECT resource_id FROM writes WHERE outcome = 'conflict') ORDER BY resource_id, id"
)


def demo(invocation: Invocation, folder: Path | None, devices: int, *, keep: bool) -> None:
    """Show all of it, in `folder`, or in a new one that is removed unless it is to be kept."""
    log.configure("debug" if invocation.debug else "error", "auto")
    clock = invocation.clock
    if folder is not None or keep:
        place = folder if folder is not None else Path(tempfile.mkdtemp(prefix="fleetsync-demo-"))
        _prepare(place)
        asyncio.run(_run(place, devices, clock, stays=True))
        return
    with tempfile.TemporaryDirectory(prefix="fleetsync-demo-") as name:
        asyncio.run(_run(Path(name), devices, clock, stays=False))


def _prepare(folder: Path) -> None:
    if (folder / "config.toml").exists():
        raise UsageError(f"{folder} holds a config.toml already: the demo wants a folder of its own")
    folder.mkdir(parents=True, exist_ok=True)


async def _run(folder: Path, devices: int, clock: Clock, *, stays: bool) -> None:
    cloud = Cloud(Options(devices=devices))
    async with cloud.serving():
        configuration = _configure(folder, cloud, clock)
        settings = configuration.settings
        async with (
            opened_mirror(settings, clock) as mirror,
            connected(settings.sources.values(), clock, mirror.path) as parts,
        ):
            show = _Show(cloud=cloud, configuration=configuration, mirror=mirror, part=parts[SOURCE], clock=clock)
            device = await show.run()
    if stays:
        _say_what_next(folder, device)


def _configure(folder: Path, cloud: Cloud, clock: Clock) -> Configuration:
    """Write the files that a user would write, and read them as `fleetsync check` would."""
    text = cloud.configuration().replace("[sources.central.auth]", f"{_SETTINGS}[sources.central.auth]")
    (folder / "config.toml").write_text(text, encoding="utf-8")
    (folder / "declarations").mkdir()
    ids = sorted(device["id"] for device in cloud.truth() if str(device["id"]).startswith("thermostat-oslo-"))[:2]
    thermostats = ", ".join(f"'{id}'" for id in ids)
    (folder / "declarations" / "demo.toml").write_text(_DECLARATIONS.format(thermostats=thermostats), encoding="utf-8")
    return read_configuration(folder / "config.toml", clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Show:
    """The scenes, in order."""

    cloud: Cloud
    configuration: Configuration
    mirror: Mirror
    part: Connected
    clock: Clock

    async def run(self) -> str:
        """Show all of it; return the id of a device that something happened to."""
        await self._list()
        self._ask()
        done = await self._plan_and_apply()
        changed = await self._heal(done)
        await self._bury()
        self._count()
        return changed

    async def _list(self) -> None:
        _title("1. List every device, at 20 requests/s at most, and mirror it")
        done = await self._cycle(write=False)
        counts = done.counts
        output.line(f"   {counts.listed} resources on {counts.pages} pages, {counts.requests} requests, 0 writes")

    def _ask(self) -> None:
        _title("2. Ask the mirror: any SQL tool can, this is `fleetsync query`")
        with reading(self.mirror.path, self.clock) as reader:
            for question, sql in _QUESTIONS:
                began_s = self.clock.monotonic_s()
                columns, found = reader.question(sql)
                rows = list(found)
                took_ms = (self.clock.monotonic_s() - began_s) * 1000
                output.line("   ", (question, "bold"), f"  {took_ms:.1f} ms")
                output.table(columns, rows)

    async def _plan_and_apply(self) -> Done:
        _title("3. Plan and apply what the declarations want, each write under its ETag")
        output.line('   meanwhile an "operator" edits three of the same devices, between our plan and our write')
        rivals: list[str] = []

        def interfere(step: Progress) -> None:
            # The writes go out in order of the ids: the last ones are still to come.
            if step.step == "writing" and not rivals:
                rivals.extend(self._last_to_be_written())
                for id in rivals:
                    self.cloud.operator_edit(id, {"displayName": "Renamed by the operator"})

        done = await self._cycle(write=True, watch=interfere)
        self._show_plan(done)
        output.line(f"   {done.counts.applied} written, {done.counts.failed} failed; the operator's devices:")
        with reading(self.mirror.path, self.clock) as reader:
            columns, rows = reader.question(_WRITES)
            output.table(columns, list(rows))
        kept = [device for device in self.cloud.truth() if device["id"] in rivals]
        both = sum(device["displayName"] == "Renamed by the operator" for device in kept)
        output.line(f"   412, read again, decided again: both edits are there on {both} of {len(rivals)}")
        return done

    def _last_to_be_written(self) -> list[str]:
        with reading(self.mirror.path, self.clock) as reader:
            sql = "SELECT DISTINCT resource_id FROM drift WHERE path = 'organizations' ORDER BY 1 DESC LIMIT 3"
            return [str(id) for (id,) in reader.question(sql)[1]]

    def _show_plan(self, done: Done) -> None:
        plan = done.plan
        if plan is None or not plan.changes:
            raise FleetsyncError("the demo planned nothing")
        for change in plan.changes[:3]:
            leaf = change.leaves[0]
            output.line(f"   {change.key.id}: {leaf.path[-1]} {leaf.actual} -> {leaf.declared}  ({change.guard.kind})")
        output.line(f"   … {len(plan.changes)} changes in all")

    async def _heal(self, before: Done) -> str:
        _title("4. Somebody changes a declared value: drift, and it heals")
        changed = next(one.key.id for one in before.outcomes if one.part == "document")
        self.cloud.operator_edit(changed, {"organizations": ["oslo"]})
        await self._cycle(write=False)
        with reading(self.mirror.path, self.clock) as reader:
            columns, rows = reader.question("SELECT resource_id, path, actual, declared, state FROM drift")
            output.table(columns, list(rows))
        done = await self._cycle(write=True)
        output.line(f"   {done.counts.applied} written; the next cycle writes {await self._writes_of_next()}")
        return changed

    async def _writes_of_next(self) -> int:
        before = self.cloud.counters.by_kind.get("write", 0)
        await self._cycle(write=True)
        return self.cloud.counters.by_kind.get("write", 0) - before

    async def _bury(self) -> None:
        _title("5. A device is deleted: gone, with the reason, and never without one")
        self.cloud.delete_device(str(self.cloud.truth()[-1]["id"]))
        await self._cycle(write=False)
        with reading(self.mirror.path, self.clock) as reader:
            columns, rows = reader.question("SELECT id, gone_at, gone_reason FROM resources WHERE gone_at IS NOT NULL")
            output.table(columns, list(rows))

    def _count(self) -> None:
        _title("What the service says of it")
        counters = self.cloud.counters
        limit = counters.limits["iot-central"]
        output.line(
            f"   {counters.requests} requests, {limit.over_rate:g} over the rate, {counters.throttled} answers of 429"
        )
        output.line(
            f"   {counters.writes_applied} writes carried out; If-Match missing where the service has one:"
            f" {counters.if_match_missing}, unquoted: {counters.if_match_unquoted}, *: {counters.if_match_star}"
        )

    async def _cycle(self, *, write: bool, watch: Callable[[Progress], None] | None = None) -> Done:
        with progress.shown(self.clock) as report:

            def both(step: Progress) -> None:
                report(step)
                if watch is not None:
                    watch(step)

            job = job_of(self.part, self.configuration, self.mirror, self.clock, both)
            done = await Cycle(job, write=write).run()
        if done.error is not None:
            raise done.error
        return done


def _title(text: str) -> None:
    output.line("")
    output.line((text, "bold cyan"))


def _say_what_next(folder: Path, device: str) -> None:
    program = "fleetsync" if shutil.which("fleetsync") else sys.argv[0]
    start = f"   {program} --config {folder / 'config.toml'}"
    question = "SELECT event, count(*) FROM history GROUP BY event"
    output.line("")
    output.line((f"Next, on what is left in {folder} (the cloud is gone, the mirror is not):", "bold"))
    output.line(f'{start} query "{question}"')
    output.line(f"{start} explain {SOURCE} {device}")
    output.line(f"{start} history {SOURCE} {device}")
