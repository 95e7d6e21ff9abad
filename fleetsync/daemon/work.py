"""What commands ask for, whether the daemon does it or the command itself: the same work, the same reply."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, assert_never

from msgspec import Struct, field, to_builtins
from msgspec.structs import asdict, replace

from fleetsync.config.settings import Mode
from fleetsync.config.wording import suggestion
from fleetsync.core.kind import reads_of
from fleetsync.core.model import ResourceKey
from fleetsync.core.plan import DriftState, Plan, Result
from fleetsync.daemon.loop import attempt
from fleetsync.daemon.turns import Turn
from fleetsync.errors import ConfigError, FleetsyncError, NotYetError, Problem, UsageError
from fleetsync.mirror.mirror import Mirror
from fleetsync.reconcile.cycle import Cycle, Done, Job
from fleetsync.reconcile.endings import summary
from fleetsync.reconcile.progress import Report, silent
from fleetsync.reconcile.reviewed import Reviewed, plans_in, read_plan
from fleetsync.transport.limiter import ScopeUsage
from fleetsync.transport.threads import start_in_daemon_thread

Name = Literal["sync", "apply", "confirm", "pause", "resume", "rates"]

Rates = Callable[[], tuple[ScopeUsage, ...]]
"""Tells how the quota scopes are used now."""

MakeJob = Callable[[Report], Job]
"""Gives what a cycle of one source works with, as it is configured now."""

Ended = Callable[[Job, Done], None]
"""Hears how the cycle of a command ended."""

_WORST_FIRST = (78, 2, 1, 75)
_HARMLESS = frozenset({Result.APPLIED, Result.ALREADY})


class Command(Struct, frozen=True, kw_only=True):
    """One command. No `sources` means all, where that makes sense. `plan` is the absolute path of a reviewed plan.

    `plan_text` is what stands in that file, for a daemon that may not read the files of whoever asks.
    """

    name: Name
    sources: tuple[str, ...] = ()
    writes: int | None = None
    gone: int | None = None
    plan: str | None = None
    plan_text: str | None = None


class SourceReply(Struct, frozen=True, kw_only=True):
    """What a command did in one source; `counts` as in the view `cycles`, `held` and `skipped` in words.

    Of those applied, `recovered` were sent by an earlier process, and only found to be so by this one.
    """

    source: str
    cycle: int | None = None
    complete: bool = False
    counts: dict[str, Any] = field(default_factory=dict)
    recovered: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    held: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    error: str | None = None
    exit_code: int = 0


class Reply(Struct, frozen=True, kw_only=True):
    """The reply to a command: what each source did, and the exit code of the whole; `remark` is one line besides.

    `rates` is what `rates` asks for: how the quota scopes are used.
    """

    sources: tuple[SourceReply, ...] = ()
    rates: tuple[ScopeUsage, ...] = ()
    remark: str | None = None
    error: str | None = None
    exit_code: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it; `rates` is shown by `status`."""
        return {name: value for name, value in to_builtins(self).items() if name != "rates"}


class Work:
    """Does commands. Sources run at the same time, but for one that goes by the devices of another and comes after it;
    the cycles of one source run one after the other.

    `jobs` and `turns` may change while it works: a reload does that. A command alone needs neither `turns` nor `rates`,
    and nobody to hear how its cycles `ended`.
    """

    def __init__(
        self,
        jobs: Mapping[str, MakeJob],
        mirror: Mirror,
        *,
        turns: defaultdict[str, Turn] | None = None,
        rates: Rates = tuple,
        ended: Ended | None = None,
    ) -> None:
        self._jobs = jobs
        self._ended = ended
        self._rates = rates
        self._mirror = mirror
        self._turns = turns if turns is not None else defaultdict(Turn)

    async def carry_out(self, command: Command, report: Report) -> Reply:
        """Do a command to its end and return what became of it.

        Raises:
            BrokenMirrorError: the database failed.
        """
        reply = await attempt(self._carry_out(command, report))
        return Reply(error=str(reply), exit_code=reply.exit_code) if isinstance(reply, FleetsyncError) else reply

    async def _carry_out(self, command: Command, report: Report) -> Reply:
        names = self._known(command.sources)
        match command.name:
            case "sync":
                return await self._each(names, lambda name: self._cycle(name, report))
            case "apply":
                return await self._apply(command, names, report)
            case "confirm":
                return await self._each(self._named(command), lambda name: self._confirm(name, command))
            case "pause":
                return await self._each(self._named(command), lambda name: self._pause(name, paused=True))
            case "resume":
                return await self._each(self._named(command), lambda name: self._pause(name, paused=False))
            case "rates":
                return Reply(rates=self._rates())
            case unknown:
                assert_never(unknown)

    def _known(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names, each once, or all there are."""
        for name in names:
            if name not in self._jobs:
                raise UsageError(f"no source {name!r} in the configuration{suggestion(name, self._jobs)}")
        return tuple(dict.fromkeys(names)) or tuple(self._jobs)

    def _named(self, command: Command) -> tuple[str, ...]:
        """Return the names of a command that no one gives to all sources by accident."""
        if not command.sources:
            raise UsageError(f"`{command.name}` needs the name of a source")
        return self._known(command.sources)

    async def _each(self, names: Iterable[str], work: Callable[[str], Awaitable[SourceReply]]) -> Reply:
        tasks: dict[str, asyncio.Task[SourceReply]] = {}

        async def in_order(name: str) -> SourceReply:
            # What it goes by is at its newest then, and at a first time there at all.
            if before := [tasks[other] for other in self._reads(name) if other in tasks]:
                await asyncio.wait(before)
            if name not in self._jobs:  # a reload took it away before its turn
                return _cut_short(name)
            return await self._one(name, work)

        async with asyncio.TaskGroup() as group:
            for name in names:
                tasks[name] = group.create_task(in_order(name))
        # A task that was cancelled alone is one whose turn was ended: see `Turn.watched`.
        replies = tuple(_cut_short(name) if task.cancelled() else task.result() for name, task in tasks.items())
        return Reply(sources=replies, exit_code=worst(reply.exit_code for reply in replies))

    def _reads(self, name: str) -> tuple[str, ...]:
        """Return the other sources whose devices a source goes by."""
        try:
            return reads_of(self._jobs[name](silent).settings.own) if name in self._jobs else ()
        except NotYetError:
            return ()

    async def _one(self, name: str, work: Callable[[str], Awaitable[SourceReply]]) -> SourceReply:
        reply = await attempt(work(name), source=name)
        if isinstance(reply, FleetsyncError):
            return SourceReply(source=name, error=str(reply), exit_code=reply.exit_code)
        return reply

    async def _apply(self, command: Command, names: tuple[str, ...], report: Report) -> Reply:
        if command.plan is None:
            observed = () if command.sources else tuple(name for name in names if self._is_observed(name))
            if len(observed) == len(names):
                observed = ()  # nothing else can be meant: each says why it cannot
            written = [name for name in names if name not in observed]
            reply = await self._each(written, lambda name: self._cycle(name, report, write=True))
            return replace(reply, remark=_passed_over(observed)) if observed else reply
        if command.sources:
            raise UsageError("`apply` takes sources or a reviewed plan, not both")
        reviewed = {one.source: one for one in await _read_reviewed(command)}
        planned = self._known(tuple(reviewed)) if reviewed else ()
        return await self._each(
            planned, lambda name: self._cycle(name, report, write=True, reviewed=reviewed.get(name))
        )

    def _is_observed(self, name: str) -> bool:
        """Say whether a source is never written to; of one that is not connected that is said when its turn comes."""
        try:
            return self._jobs[name](silent).settings.mode is Mode.OBSERVE
        except NotYetError:
            return False

    async def _cycle(
        self, name: str, report: Report, *, write: bool = False, reviewed: Reviewed | None = None
    ) -> SourceReply:
        # Before the first wait: if a reload takes the source away meanwhile, this turn is the one that it ends.
        turn = self._turns[name]
        job = self._jobs[name](turn.watched(report))
        if write and job.settings.mode is Mode.OBSERVE:
            raise ConfigError(
                Problem(message=f'source {name} has mode = "observe" and is never written to; set mode = "manual"')
            )
        if await self._mirror.cycles.is_paused(name):
            raise NotYetError(f"source {name} is paused: `fleetsync resume {name}` lets it go on")
        async with turn.taken():
            job.circuit.probe_now()
            done = await Cycle(job, write=write, asked=write, reviewed=reviewed).run()
            if turn.is_ending:
                return _cut_short(name, done)
            if self._ended is not None:
                self._ended(job, done)
            return reply_of(done, write=write)

    async def _confirm(self, name: str, command: Command) -> SourceReply:
        numbers = [number for number in (command.writes, command.gone) if number is not None]
        if not numbers or min(numbers) < 1:
            raise UsageError("`confirm` needs the number that was refused: --writes N or --gone N, at least 1")
        await self._mirror.cycles.confirm(name, writes=command.writes, gone=command.gone)
        return SourceReply(source=name)

    async def _pause(self, name: str, *, paused: bool) -> SourceReply:
        await self._mirror.cycles.set_paused(name, paused=paused)
        self._turns[name].wake()
        return SourceReply(source=name)


def worst(exit_codes: Iterable[int]) -> int:
    """Return the exit code of the whole: 78 before 2 before 1 before 75 before 0."""
    found = set(exit_codes)
    return next((code for code in _WORST_FIRST if code in found), 0)


def reply_of(done: Done, *, write: bool) -> SourceReply:
    """Return what a cycle did, and its exit code; `write` says whether it was to write."""
    codes = [error.exit_code for error in done.errors]
    if write and done.plan is not None and done.plan.contradictions:
        codes.append(1)
    if any(outcome.result not in _HARMLESS for outcome in done.outcomes):
        codes.append(1)
    return SourceReply(
        source=done.source,
        cycle=done.cycle,
        complete=done.complete,
        counts=asdict(done.counts),
        recovered=done.recovered,
        outcomes=dict(Counter(outcome.result.value for outcome in done.outcomes)),
        held=_held(done.plan) if done.plan is not None else (),
        skipped=tuple(
            f"{key.type} {key.id}: it moved since the plan was made, is held, or is gone" for key in done.skipped
        ),
        error=summary(done.troubles),
        exit_code=worst(codes),
    )


def _passed_over(names: Sequence[str]) -> str:
    return f'not written to, because of mode = "observe": {", ".join(names)}'


def _held(plan: Plan) -> tuple[str, ...]:
    """Return why resources are held, each reason once, with how many and one of them."""
    reasons: dict[str, _Such] = {}
    disputed = iter(plan.contradictions)
    key, reason = next(disputed, _NOTHING)
    # Both are sorted by key. What is held because of a contradiction is named once, with that.
    for of, drift in groupby(plan.drift, key=lambda one: one.key):
        is_disputed = False
        while key is not None and key <= of:
            is_disputed |= key == of
            reasons.setdefault(reason, _Such()).add(key)
            key, reason = next(disputed, _NOTHING)
        for one in () if is_disputed else drift:
            if one.state is DriftState.HELD:
                reasons.setdefault(one.by or "held", _Such()).add(of)
    return tuple(f"{reason}: {reasons[reason]}" for reason in sorted(reasons))


_NOTHING = (None, "")


class _Such(Struct):
    """How many resources are meant, and the first of them; they come sorted."""

    first: ResourceKey | None = None
    last: ResourceKey | None = None
    count: int = 0

    def add(self, key: ResourceKey) -> None:
        self.first = self.first or key
        self.count += key != self.last
        self.last = key

    def __str__(self) -> str:
        first = "" if self.first is None else f"{self.first.type} {self.first.id}"
        return first if self.count == 1 else f"{first} and {self.count - 1} more"


def _cut_short(name: str, done: Done | None = None) -> SourceReply:
    error = "cut short, because the daemon stops or reloads; what was done is stored: try again"
    cycle, outcomes = (None, ()) if done is None else (done.cycle, done.outcomes)
    counted = dict(Counter(outcome.result.value for outcome in outcomes))
    return SourceReply(source=name, cycle=cycle, outcomes=counted, error=error, exit_code=NotYetError.exit_code)


async def _read_reviewed(command: Command) -> tuple[Reviewed, ...]:
    """Return the reviewed plan of a command. Reading it blocks, and it may be large: a thread does it."""
    file, text = Path(command.plan or ""), command.plan_text
    return await start_in_daemon_thread(
        lambda: read_plan(file) if text is None else plans_in(text.encode(), name=file.name)
    )
