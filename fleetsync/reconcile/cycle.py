"""One cycle of one source: list, mirror, plan, apply, once."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Protocol, TypeVar

from msgspec import Struct, field
from msgspec.structs import asdict

from fleetsync.clock import Clock
from fleetsync.config.settings import SourceSettings
from fleetsync.core.counts import Counts
from fleetsync.core.declaration import Declaration
from fleetsync.core.kind import TypeSpec
from fleetsync.core.model import CycleId, ListingId, Part, ResourceKey, ResourceType
from fleetsync.core.path import render
from fleetsync.core.plan import Outcome, Plan, Result
from fleetsync.core.safety import check_plan
from fleetsync.errors import (
    AuthError,
    FleetsyncError,
    MirrorError,
    TerminalError,
    UnsafePlanError,
)
from fleetsync.log import get_log
from fleetsync.mirror.cycles import Ending
from fleetsync.mirror.journal import OpenWrite
from fleetsync.mirror.listings import Listing
from fleetsync.mirror.mirror import Mirror
from fleetsync.mirror.selection import Selection
from fleetsync.mirror.unbroken import to_its_end
from fleetsync.mirror.wishes import Turn
from fleetsync.providers.base import Source, Target
from fleetsync.reconcile.apply import Apply
from fleetsync.reconcile.details import WantedDetail, read_details
from fleetsync.reconcile.endings import CUT_SHORT, Trouble, ending_of, source_fault_of
from fleetsync.reconcile.listing import Means, count, judge, list_type
from fleetsync.reconcile.planning import Evaluated, Planned, Planner
from fleetsync.reconcile.progress import Progress, Report, silent
from fleetsync.reconcile.reviewed import Reviewed, still_valid
from fleetsync.reconcile.settlement import Settlement
from fleetsync.reconcile.spooled import Keys, Outcomes
from fleetsync.reconcile.together import Hands, each
from fleetsync.reconcile.tombstones import bury
from fleetsync.transport.breaking import Circuit
from fleetsync.transport.threads import start_in_daemon_thread

T = TypeVar("T")

CLOSING_S = 1.0
"""So long a cycle that is cut short waits for its turn to say so in the books."""

_FORBIDDEN = 403


class Meter(Hands, Protocol):
    """What a source's requests cost so far, and how many there should be; `keep` stores what was learned of rates."""

    @property
    def requests(self) -> int: ...  # noqa: D102

    @property
    def throttled(self) -> int: ...  # noqa: D102

    @property
    def waited_s(self) -> float: ...  # noqa: D102

    async def keep(self) -> None: ...  # noqa: D102


class Job(Struct, frozen=True, kw_only=True):
    """What a cycle works with. `longest_s`: see `Planner`."""

    source: Source
    settings: SourceSettings
    meter: Meter
    circuit: Circuit
    mirror: Mirror
    clock: Clock
    declarations: Sequence[Declaration]
    longest_s: Mapping[str, float]
    report: Report = silent


class Done(Struct, kw_only=True):
    """What a cycle did. Of its troubles the first is what cut it short, if something did."""

    source: str
    cycle: CycleId
    counts: Counts
    complete: bool = False
    recovered: int = 0
    """Of the writes that are counted as applied: those of an earlier process, whose outcome only this one found."""
    plan: Plan | None = None
    outcomes: Outcomes = field(default_factory=Outcomes)
    skipped: tuple[ResourceKey, ...] = ()
    """Resources of a reviewed plan that were left alone, because a declared value moved since."""
    troubles: list[Trouble] = field(default_factory=list)

    @property
    def errors(self) -> list[FleetsyncError]:
        """Return what went wrong."""
        return [trouble.error for trouble in self.troubles]

    @property
    def error(self) -> FleetsyncError | None:
        """Return the first of its errors."""
        return self.troubles[0].error if self.troubles else None


class _Start:
    """Where the meter and the clock stood when a cycle began."""

    def __init__(self, job: Job) -> None:
        self._meter = job.meter
        self._before = (job.meter.requests, job.meter.throttled, job.meter.waited_s)
        self.at_s = job.clock.monotonic_s()

    def count(self, counts: Counts) -> None:
        """Count what the requests since then cost."""
        requests, throttled, waited_s = self._before
        counts.requests = self._meter.requests - requests
        counts.throttled = self._meter.throttled - throttled
        counts.waited_s = round(self._meter.waited_s - waited_s, 3)


class Cycle:
    """One cycle. `write` says whether it applies its plan; `reviewed` is a plan from a file, applied instead.

    `asked` says that a person wants the writes: also those that the service rejected a short while ago.
    """

    def __init__(self, job: Job, *, write: bool, asked: bool = False, reviewed: Reviewed | None = None) -> None:
        self._job = job
        self._write = write
        self._asked = asked
        self._reviewed = reviewed
        self._counts = Counts()
        self._listed: set[ResourceType] = set()
        self._listings: dict[ListingId, Listing] = {}
        self._troubles: list[Trouble] = []

    async def run(self) -> Done:
        """Run the cycle to its end, and keep the books also when it is cut short."""
        job = self._job
        start = _Start(job)
        cycle = await job.mirror.cycles.begin(job.source.name)
        done = Done(source=job.source.name, cycle=cycle, counts=self._counts, troubles=self._troubles)
        try:
            await self._steps(cycle, done)
        except MirrorError:
            raise
        except FleetsyncError as error:
            self._troubles.insert(0, Trouble(error=error))
        except asyncio.CancelledError:
            # Where the books cannot be closed now, the next cycle closes them.
            with contextlib.suppress(TimeoutError, MirrorError):
                await to_its_end(self._close(done, start, CUT_SHORT, within_s=CLOSING_S))
            raise
        done.complete = self._listed == set(job.settings.resources)
        self._tell_circuit()
        ending = ending_of(self._troubles, complete=done.complete, breaker=job.circuit.record, now=job.clock.now())
        await to_its_end(self._close(done, start, ending))
        return done

    def _tell_circuit(self) -> None:
        """Leave the source alone for a while if it ended the cycle, or had nothing to give in it."""
        cutting = [trouble.error for trouble in self._troubles if trouble.type is None or not self._listings]
        circuit = self._job.circuit
        for error in cutting:
            circuit.trip(error)
        if any(map(source_fault_of, cutting)):
            return
        if circuit.error is None:
            circuit.heal()
        else:
            # What opened it, the cycle could do without; what comes next could not.
            self._troubles.append(Trouble(error=circuit.error))

    async def _close(self, done: Done, start: "_Start", ending: Ending, *, within_s: float | None = None) -> None:
        job = self._job
        self._count_listings()
        start.count(self._counts)
        async with job.clock.timeout(within_s):
            await job.meter.keep()
            await job.mirror.cycles.finish(done.cycle, done.source, self._counts, ending)
        _say(done, ending, took_s=job.clock.monotonic_s() - start.at_s)

    async def _steps(self, cycle: CycleId, done: Done) -> None:
        job = self._job
        await self._settle(cycle, done)
        for spec in job.settings.kind.types:
            if spec.type in job.settings.resources:
                await self._list(spec, cycle)
        await job.mirror.wishes.declare(job.declarations, cycle, job.source.name)
        wanted = await self._in_thread(lambda planner, selection: planner.wanting_details(selection))
        await self._read_details(wanted, cycle)
        planned = await self._plan(asked=self._asked)
        done.plan = planned.plan
        self._counts.planned = len(done.plan.changes)
        if self._write:
            await self._apply(cycle, done, planned)

    async def _settle(self, cycle: CycleId, done: Done) -> None:
        """Find out what became of writes that an earlier process left open, before anything else is sent."""
        job = self._job
        if not isinstance(job.source, Target):
            return
        settlement = Settlement(job.source, job.mirror, cycle, job.clock)
        left = await job.mirror.journal.left_open(job.source.name)
        settled = 0

        async def find_out(write: OpenWrite) -> None:
            nonlocal settled
            outcome = await settlement.look(write)
            if outcome.result is Result.APPLIED:
                self._counts.applied += 1
                done.recovered += 1
            settled += 1
            say()

        def say() -> None:
            job.report(Progress(source=job.source.name, step="settling", done=settled, total=len(left)))

        # One that cannot be read now, or that still goes on, stays open, and its resource is not written to.
        self._counts.failed += await each(left, find_out, job.meter)
        if left:
            say()  # who is told to end in there ends a worker, and here the cycle

    async def _list(self, spec: TypeSpec, cycle: CycleId) -> None:
        """List one type. What is wrong with it alone does not stop the other types."""
        job = self._job
        means = Means(clock=job.clock, watch=self._watch, hands=job.meter)
        try:
            going = await list_type(job.source, spec, job.mirror, cycle, means)
            await count(job.source, going)
            await judge(going, job.mirror, job.settings.limits)
            self._counts.gone += await bury(job.source, going, job.mirror, job.meter)
            self._listed.add(spec.type)
            _say_passed_over(going)
        except (UnsafePlanError, TerminalError) as error:
            if isinstance(error, AuthError) and error.status != _FORBIDDEN:
                raise
            self._troubles.append(Trouble(error=error, type=spec.type))

    def _watch(self, going: Listing) -> None:
        self._listings[going.id] = going
        self._job.report(Progress(source=going.source, step=f"listing {going.type}", done=going.listed))

    def _count_listings(self) -> None:
        """Count what this cycle stored of its listings, also of those that were cut short."""
        counts = self._counts
        for going in self._listings.values():
            counts.pages += going.pages - going.pages_before
            counts.listed += going.listed - going.listed_before
            counts.added += going.added
            counts.updated += going.updated
            counts.unchanged += going.unchanged
            counts.failed += going.passed_over

    async def _read_details(self, wanted: Sequence[WantedDetail], cycle: CycleId) -> None:
        """Read what declarations want to know besides. A part that may not be read stays unknown and stops no other."""
        job = self._job
        for (type, _), some in groupby(sorted(wanted, key=_part_of), key=_part_of):
            try:
                self._counts.failed += await read_details(
                    job.source, job.mirror, tuple(some), cycle, job.report, job.meter
                )
            except AuthError as error:
                if error.status != _FORBIDDEN:
                    raise
                self._troubles.append(Trouble(error=error, type=type))

    async def _plan(self, *, asked: bool = False) -> Planned:
        """Evaluate the declarations, store the drift, and return the plan of the types that were listed just now."""
        planned: Planned = await self._in_thread(
            lambda planner, selection: planner.plan(selection, self._listed, asked=asked)
        )
        await self._evaluate(planned.evaluated)
        return planned

    async def _plan_again(self, planned: Planned, written: Iterable[Outcome]) -> None:
        """Store what the declarations say now that something was written, looking again at that alone where one can."""
        keys = Keys()
        for outcome in written:
            keys.put(outcome.key)
        left = await self._in_thread(lambda planner, selection: planner.again(selection, planned, keys))
        if left is None:
            await self._plan()
        else:
            await self._evaluate(left)

    async def _evaluate(self, found: Evaluated) -> None:
        name = self._job.source.name
        _say_turned(name, await self._job.mirror.wishes.evaluate(name, found.selected, found.drift))

    async def _apply(self, cycle: CycleId, done: Done, planned: Planned) -> None:
        job, plan, reviewed = self._job, planned.plan, self._reviewed
        if not isinstance(job.source, Target):
            return
        changes = plan.changes
        if reviewed is not None:
            valid = await self._in_thread(
                lambda planner, selection: still_valid(reviewed, plan, lambda change: planner.meets(selection, change))
            )
            changes, done.skipped = valid.changes, valid.skipped
        await self._check(len(changes), plan.known)
        name = reviewed.name if reviewed is not None else None

        def report(outcome: Outcome) -> None:
            done.outcomes.put(outcome)
            job.report(Progress(source=job.source.name, step="writing", done=len(done.outcomes), total=len(changes)))

        def step() -> None:
            job.report(Progress(source=job.source.name, step="waiting for the service", done=len(done.outcomes)))

        apply = Apply(job.source, job.mirror, cycle, job.clock, reviewed=name)
        try:
            await apply.run(changes, report, job.meter, step)
        finally:
            self._count(done.outcomes)
            self._troubles += (Trouble(error=error, type=type) for (type, _), error in apply.forbidden.items())
        if done.outcomes:
            await self._plan_again(planned, done.outcomes)

    async def _check(self, changes: int, known: int) -> None:
        job, limits = self._job, self._job.settings.limits
        name, books = job.source.name, job.mirror.cycles
        try:
            check_plan(known=known, changes=changes, max_writes=limits.max_writes, min_known=limits.min_known)
        except UnsafePlanError as error:
            if await books.is_confirmed(name, changes):
                return
            accept = f"`fleetsync confirm {name} --writes {changes}` accepts it once"
            raise UnsafePlanError(f"{error}; nothing is sent; {accept}") from error
        await books.pass_plan(name)

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            match outcome.result:
                case Result.APPLIED | Result.ALREADY:
                    self._counts.applied += 1
                case Result.CONFLICT:
                    self._counts.conflicted += 1
                case Result.OPEN:
                    pass  # What becomes of it, a later cycle counts.
                case _:
                    self._counts.failed += 1

    async def _in_thread(self, function: Callable[[Planner, Selection], T]) -> T:
        """Plan in a thread: selectors are the users' SQL, and the loop must not wait for them."""
        job = self._job
        running: list[Selection] = []

        def work() -> T:
            with job.mirror.selection() as selection:
                running.append(selection)
                at = job.clock.now()
                ages_s = selection.ages_s(at)
                if self._listed == set(job.settings.resources):
                    ages_s[job.source.name] = 0.0
                planner = Planner(
                    job.source, job.settings, job.declarations, at=at, ages_s=ages_s, longest_s=job.longest_s
                )
                return function(planner, selection)

        try:
            return await start_in_daemon_thread(work)
        except asyncio.CancelledError:
            for selection in running:
                selection.interrupt()
            raise


def _part_of(one: WantedDetail) -> tuple[ResourceType, Part]:
    return one.key.type, one.part


def _say_passed_over(going: Listing) -> None:
    first = going.first_passed_over
    if first is not None:
        log = get_log(source=going.source, cycle=going.cycle)
        log.warning(
            "listing.passed_over", type=going.type, failed=going.passed_over, resource=first.id, reason=first.reason
        )


def _say_turned(source: str, turn: Turn) -> None:
    """Say what somebody else is found to keep changing back, and when that has ended."""
    log = get_log(source=source)
    if (first := turn.first) is not None:
        log.warning(
            "drift.contested",
            type=first.key.type,
            resource=first.key.id,
            path=render(first.leaf.path),
            reason=first.by,
            contested=turn.contested,
        )
    if turn.rested:
        log.info("drift.rested", contested=turn.rested)


def _say(done: Done, ending: Ending, *, took_s: float) -> None:
    """Write the cycle's one line."""
    counts = {name: value for name, value in asdict(done.counts).items() if name != "waited_s"}
    log = get_log(source=done.source, cycle=done.cycle)
    log.info(
        "cycle.finished",
        **counts,
        wait_s=done.counts.waited_s,
        took_s=round(took_s, 3),
        outcome=ending.outcome,
        complete=ending.complete,
        error=ending.error,
    )
