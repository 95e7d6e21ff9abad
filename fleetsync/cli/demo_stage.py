"""What every scene of the demo works with: the cloud, the mirror, and a way to run cycles and to ask."""

from collections.abc import Collection, Sequence

from msgspec import Struct

from fleetsync.cli import output, progress
from fleetsync.clock import Clock
from fleetsync.core.declaration import Missing
from fleetsync.core.merge_patch import Json
from fleetsync.core.path import render
from fleetsync.daemon.parts import job_of
from fleetsync.errors import FleetsyncError
from fleetsync.mirror.mirror import Mirror
from fleetsync.mirror.reader import reading
from fleetsync.reconcile.cycle import Cycle, Done
from fleetsync.reconcile.progress import Progress, Report, silent
from fleetsync.simulator import Cloud
from fleetsync.tasks import together
from fleetsync.wiring.configuration import Configuration
from fleetsync.wiring.sources import Connected, orders_of

CENTRAL, HUB, TENANT, CATALOG, HUBS, BUILDINGS = "central", "hub", "tenant", "catalog", "hubs", "buildings"
"""The sources, as the cloud calls them in its configuration."""

_LONGEST_ID = 20


class Stage(Struct, frozen=True, kw_only=True):
    """The cloud, its mirror, and the sources between them."""

    cloud: Cloud
    configuration: Configuration
    mirror: Mirror
    parts: dict[str, Connected]
    clock: Clock

    async def cycles(self, sources: Collection[str], *, write: bool, watch: Report = silent) -> dict[str, Done]:
        """Run a cycle of each of these sources, all at the same time.

        Raises:
            FleetsyncError: something was wrong with one.
        """
        with progress.shown(self.clock) as report:

            def both(step: Progress) -> None:
                report(step)
                watch(step)

            async with together() as group:
                tasks = {name: group.create_task(self._cycle(name, both, write=write)) for name in sources}
        finished = {name: task.result() for name, task in tasks.items()}
        for error in (done.error for done in finished.values() if done.error is not None):
            raise error
        return finished

    def answer(self, sql: str) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return what `fleetsync query` would: the names of the columns, and the rows."""
        with reading(self.mirror.path, self.clock) as reader:
            columns, rows = reader.question(sql)
            return columns, list(rows)

    def column(self, sql: str) -> list[str]:
        """Return the first column of an answer."""
        return [str(row[0]) for row in self.answer(sql)[1]]

    def ask(self, question: str, sql: str, *, most: int | None = None) -> None:
        """Show a question with its answer, or with the first rows of it, and how long it took."""
        began_s = self.clock.monotonic_s()
        columns, rows = self.answer(sql)
        took_ms = (self.clock.monotonic_s() - began_s) * 1000
        output.line("   ", (question, "bold"), f"  {took_ms:.1f} ms")
        self.show(columns, rows if most is None else rows[:most])
        if most is not None and len(rows) > most:
            output.line(f"   … {len(rows)} rows in all")

    def show(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Show rows, the ids of Azure Sphere's devices by their beginnings."""
        output.table(columns, [[_short(value) for value in row] for row in rows])

    def show_plan(self, done: Done) -> None:
        """Show one change of a plan, and what became of all.

        Raises:
            FleetsyncError: there is none.
        """
        plan = done.plan
        if plan is None or not plan.changes:
            raise FleetsyncError(f"the demo planned nothing for {done.source}")
        change = plan.changes[-1]
        for leaf in change.leaves:
            before, after = _worded(leaf.actual), _worded(leaf.declared)
            output.line(f"   {change.key.source} {_short(change.key.id)}: {render(leaf.path)} {before} -> {after}")
        counts = done.counts
        output.line(f"   … {len(plan.changes)} changes in all: {counts.applied} written, {counts.failed} failed")

    async def _cycle(self, source: str, report: Report, *, write: bool) -> Done:
        part = self.parts[source]
        job = job_of(part.link, part.settings, orders_of(self.configuration), self.mirror, self.clock, report)
        return await Cycle(job, write=write).run()


def title(text: str) -> None:
    """Begin a scene."""
    output.line("")
    output.line((text, "bold cyan"))


def _short(value: object) -> object:
    is_long = isinstance(value, str) and len(value) > _LONGEST_ID and set(value) <= set("0123456789abcdef")
    return f"{value[:12]}…" if isinstance(value, str) and is_long else value


def _worded(value: Json | Missing) -> str:
    return "nothing" if isinstance(value, Missing) else str(value)
