"""What the demo shows, scene by scene."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleetsync.cli import output, progress
from fleetsync.clock import Clock
from fleetsync.core.declaration import Missing
from fleetsync.core.merge_patch import Json
from fleetsync.core.path import render
from fleetsync.daemon.parts import job_of
from fleetsync.errors import FleetsyncError
from fleetsync.mirror.mirror import Mirror
from fleetsync.mirror.reader import reading
from fleetsync.reconcile.cycle import Cycle, Done, Job
from fleetsync.reconcile.progress import Progress, Report, silent
from fleetsync.simulator import Cloud
from fleetsync.wiring.configuration import Configuration
from fleetsync.wiring.sources import Connected, orders_of

CENTRAL, HUB = "central", "hub"

_QUESTIONS = (
    (
        "what there is",
        "SELECT source, kind, count(*) AS devices, sum(size_bytes) / 1024 AS kib FROM devices GROUP BY source, kind",
    ),
    ("blocked devices", "SELECT source, count(*) AS blocked FROM devices WHERE NOT enabled GROUP BY source"),
    (
        "canaries by their tags",
        "SELECT tags ->> 'site' AS site, count(*) AS canaries FROM devices"
        " WHERE tags ->> 'ring' = 'canary' GROUP BY tags ->> 'site' ORDER BY canaries DESC LIMIT 3",
    ),
)
_TO_BE_WRITTEN = (
    "SELECT DISTINCT resource_id FROM drift WHERE source = '{source}' AND path IN ('organizations', 'tags.reporting')"
    " ORDER BY resource_id LIMIT {most}"
)
_FOUGHT_OVER = (
    "SELECT source, resource_id, attempt, guard, status, outcome FROM writes WHERE EXISTS (SELECT 1 FROM writes w"
    " WHERE w.source = writes.source AND w.resource_id = writes.resource_id AND w.outcome = 'conflict')"
    " ORDER BY source, resource_id, id"
)
_DRIFT = "SELECT source, resource_id, path, actual, declared, state FROM drift ORDER BY source"
_HAPPENED = "SELECT source, resource_id, event FROM history WHERE event IN ('gone', 'replaced') ORDER BY source, event"
_GONE = "SELECT source, id, gone_reason FROM resources WHERE gone_at IS NOT NULL ORDER BY source"
_RENAMED = "Renamed by the operator"
_NOTE = "written by the operator"
_RIVALS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """Devices of the hub that something happened to."""

    declared: str
    replaced: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """The scenes, in order."""

    cloud: Cloud
    configuration: Configuration
    mirror: Mirror
    parts: dict[str, Connected]
    clock: Clock

    async def run(self) -> Touched:
        """Show all of it."""
        await self._list()
        self._ask()
        await self._plan_and_apply()
        declared = await self._heal()
        replaced = await self._bury()
        self._count()
        return Touched(declared=declared, replaced=replaced)

    async def _list(self) -> None:
        _title("1. List every device of two services, each at its own rate, into one mirror")
        for done in (await self._cycles(write=False)).values():
            counts, writes = done.counts, self._writes()
            pages = f"{counts.listed} resources on {counts.pages} pages"
            output.line(f"   {done.source}: {pages}, {counts.requests} requests, {writes} writes")

    def _ask(self) -> None:
        _title("2. Ask the mirror: any SQL tool can, this is `fleetsync query`")
        for question, sql in _QUESTIONS:
            began_s = self.clock.monotonic_s()
            columns, rows = self._answer(sql)
            took_ms = (self.clock.monotonic_s() - began_s) * 1000
            output.line("   ", (question, "bold"), f"  {took_ms:.1f} ms")
            output.table(columns, rows)

    async def _plan_and_apply(self) -> None:
        _title("3. Plan and apply what the declarations want, each write under its ETag")
        output.line(f'   meanwhile an "operator" edits {_RIVALS} of the same devices of each, after we looked')
        rivals = {source: self._to_be_written(source) for source in self.parts}
        finished = await self._cycles(write=True, watch=self._interference(rivals))
        for done in finished.values():
            self._show_plan(done)
        output.table(*self._answer(_FOUGHT_OVER))
        both, all_of_them = self._with_both_edits(rivals), sum(map(len, rivals.values()))
        output.line(f"   412, read again, decided again: both edits are there on {both} of {all_of_them}")

    def _to_be_written(self, source: str) -> list[str]:
        rows = self._answer(_TO_BE_WRITTEN.format(source=source, most=_RIVALS))[1]
        return [str(id) for (id,) in rows]

    def _interference(self, rivals: Mapping[str, Sequence[str]]) -> Report:
        """Return what watches a cycle and edits devices while the last list is read: they were looked at before."""
        last = {source: f"listing {part.settings.kind.types[-1].type}" for source, part in self.parts.items()}
        waiting = dict(rivals)

        def watch(step: Progress) -> None:
            if step.step == last[step.source]:
                for id in waiting.pop(step.source, ()):
                    if step.source == HUB:
                        self.cloud.hub.operator_edit(id, {"tags": {"note": _NOTE}})
                    else:
                        self.cloud.operator_edit(id, {"displayName": _RENAMED})

        return watch

    def _show_plan(self, done: Done) -> None:
        plan = done.plan
        if plan is None or not plan.changes:
            raise FleetsyncError("the demo planned nothing")
        change = plan.changes[-1]
        for leaf in change.leaves:
            before, after = _shown(leaf.actual), _shown(leaf.declared)
            output.line(f"   {change.key.source} {change.key.id}: {render(leaf.path)} {before} -> {after}")
        counts = done.counts
        output.line(f"   … {len(plan.changes)} changes in all: {counts.applied} written, {counts.failed} failed")

    def _with_both_edits(self, rivals: Mapping[str, Sequence[str]]) -> int:
        documents = (one for one in self.cloud.truth() if one["id"] in rivals[CENTRAL])
        devices = [one for one in documents if (one["displayName"], one["organizations"]) == (_RENAMED, ["europe"])]
        tags = [one["twin"]["tags"] for one in self.cloud.hub.truth() if one["twin"]["deviceId"] in rivals[HUB]]
        twins = [one for one in tags if (one.get("note"), one.get("reporting")) == (_NOTE, "every minute")]
        return len(devices) + len(twins)

    async def _heal(self) -> str:
        """Let declared values be changed and mend them; return the id of the hub's device."""
        _title("4. Somebody changes declared values: drift, and it heals")
        (organized, *_), (tagged, *_) = self._declared()
        self.cloud.operator_edit(organized, {"organizations": ["oslo"]})
        self.cloud.hub.operator_edit(tagged, {"properties": {"desired": {"telemetry": {"intervalS": 1}}}})
        await self._wait_for_the_index()
        await self._cycles(write=False)
        output.table(*self._answer(_DRIFT))
        healed = await self._cycles(write=True)
        output.line(f"   {sum(done.counts.applied for done in healed.values())} written")
        writes, reads = self._writes(), self._twin_reads()
        await self._cycles(write=True)
        output.line(f"   the next cycle writes {self._writes() - writes}")
        if self._twin_reads() > reads:
            output.line(
                "   although the hub's queries still showed the old value: the twin was read, the query not believed"
            )
        return tagged

    def _declared(self) -> tuple[list[str], list[str]]:
        """Return the ids of devices that were written to, of each service."""
        sql = "SELECT DISTINCT resource_id FROM writes WHERE source = '{}' AND outcome = 'applied' ORDER BY 1 LIMIT 1"
        central, hub = ([str(id) for (id,) in self._answer(sql.format(source))[1]] for source in (CENTRAL, HUB))
        return central, hub

    async def _bury(self) -> str:
        """Let devices be deleted and one be made anew; return the id of that one."""
        _title("5. Devices are deleted, and one is made again under its id: gone and replaced, never without a proof")
        self.cloud.delete_device(str(self.cloud.truth()[-1]["id"]))
        plain = [str(one["twin"]["deviceId"]) for one in self.cloud.hub.truth() if not one["modules"]]
        deleted, replaced = plain[-2:]
        self.cloud.hub.delete_device(deleted)
        self.cloud.hub.recreate_device(replaced, {"tags": {"site": "oslo"}})
        await self._wait_for_the_index()
        await self._cycles(write=False)
        output.table(*self._answer(_HAPPENED))
        output.table(*self._answer(_GONE))
        return replaced

    def _count(self) -> None:
        _title("What the services say of it")
        counters = self.cloud.counters
        limits = {
            kind: [limit for name, limit in counters.limits.items() if name.partition(".")[0] == kind]
            for kind in self.cloud.options.kinds
        }
        rows = [
            (
                kind,
                sum(limit.requests for limit in of_kind),
                max(limit.over_rate for limit in of_kind),
                sum(limit.delayed for limit in of_kind),
                sum(limit.refused for limit in of_kind),
            )
            for kind, of_kind in limits.items()
        ]
        output.table(("service", "requests", "over the rate", "served late", "answers of 429"), rows)
        output.line(
            f"   {counters.writes_applied} writes carried out; If-Match missing where the service has one:"
            f" {counters.if_match_missing}, unquoted: {counters.if_match_unquoted}, *: {counters.if_match_star}"
        )

    async def _wait_for_the_index(self) -> None:
        lag_s = self.cloud.options.index_lag_s
        output.line(f"   the hub's queries see a write {lag_s:g} s later")
        await self.clock.sleep(lag_s)

    def _writes(self) -> int:
        return self.cloud.counters.by_kind.get("write", 0)

    def _twin_reads(self) -> int:
        return self.cloud.counters.limits["iot-hub.twin_read"].requests

    def _answer(self, sql: str) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        with reading(self.mirror.path, self.clock) as reader:
            columns, rows = reader.question(sql)
            return columns, list(rows)

    async def _cycles(self, *, write: bool, watch: Report = silent) -> dict[str, Done]:
        """Run a cycle of each source, all at the same time."""
        with progress.shown(self.clock) as report:

            def both(step: Progress) -> None:
                report(step)
                watch(step)

            async with asyncio.TaskGroup() as group:
                tasks = {
                    name: group.create_task(Cycle(self._job(part, both), write=write).run())
                    for name, part in self.parts.items()
                }
        finished = {name: task.result() for name, task in tasks.items()}
        for error in (done.error for done in finished.values() if done.error is not None):
            raise error
        return finished

    def _job(self, part: Connected, report: Report) -> Job:
        return job_of(part.link, part.settings, orders_of(self.configuration), self.mirror, self.clock, report)


def _shown(value: Json | Missing) -> str:
    return "nothing" if isinstance(value, Missing) else str(value)


def _title(text: str) -> None:
    output.line("")
    output.line((text, "bold cyan"))
