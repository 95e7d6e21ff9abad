"""Having a command carried out: by the daemon where one listens, else here, under the lock."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from fleetsync import log
from fleetsync.cli import output, progress
from fleetsync.cli.invocation import Invocation
from fleetsync.core.counts import COUNTS
from fleetsync.core.words import counted
from fleetsync.daemon.control import hand_over, socket_file
from fleetsync.daemon.work import Command, Name, Reply, SourceReply
from fleetsync.wiring.configuration import read_configuration
from fleetsync.wiring.sources import working

_RECOVERED = "recovered"
_UNSAID = frozenset({"pages", "unchanged", "waited_s"})
_MAKING = frozenset({"sync", "apply"})
"""The commands that make a database where there is none."""


def command(name: Name, **arguments: Any) -> Command:
    """Return a command; `arguments` are the fields of `Command`."""
    return Command(name=name, **arguments)


async def carry_out(invocation: Invocation, command: Command) -> Reply:
    """Return the reply to a command. SIGTERM cancels it: what was done by then is stored.

    Raises:
        NotYetError: there is no database, and this command makes none.
        LockedError: something has the database that does not listen.
        ConfigError: the configuration, or a declaration, is wrong.
        FleetsyncError: the daemon may not be spoken to, or ended in the middle of it.
    """
    set_up_log(invocation)
    clock = invocation.clock
    with _cancelled_by_sigterm(), progress.shown(clock) as report:
        listening = socket_file(invocation.settings().database.path)
        reply = await hand_over(listening, command, report)
        if reply is not None:
            return reply
        configuration = read_configuration(invocation.file(), clock)
        async with working(configuration, clock, create=command.name in _MAKING) as work:
            return await work.carry_out(command, report)


@contextlib.contextmanager
def _cancelled_by_sigterm() -> Iterator[None]:
    """Let SIGTERM cancel the block, as asyncio itself has it for SIGINT."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def set_up_log(invocation: Invocation) -> None:
    """Have commands log nothing but warnings: what they did, they print."""
    log.configure("debug" if invocation.debug else "warning", "auto")


def show(command: Command, reply: Reply, *, as_json: bool) -> None:
    """Print a reply: with `as_json` all of it (`Reply.as_json`), else what a person wants to know."""
    if as_json:
        output.print_json(reply.as_json())
    elif command.name in {"sync", "apply"}:
        _show_cycles(reply)
    else:
        for one in reply.sources:
            if one.error is None:
                output.line(f"{one.source}: {_said(command)}")
    if reply.remark is not None and not as_json:
        output.remark(reply.remark)
    for text in _complaints(reply):
        for row in text.splitlines():
            output.complain(row)


def _said(command: Command) -> str:
    match command.name:
        case "pause":
            return "paused"
        case "resume":
            return "goes on"
        case _:
            writes, gone = command.writes, command.gone
            number = counted(gone or 0, "vanished resource") if writes is None else counted(writes, "write")
            return f"the next cycle may go ahead with exactly {number}"


def _show_cycles(reply: Reply) -> None:
    """Print what the cycles did: a table on a terminal, elsewhere a line a source."""
    cycles = {one.source: (_listing(one), _counts(one)) for one in reply.sources if one.cycle is not None}
    found = {name for _, counts in cycles.values() for name, count in counts.items() if count}
    if output.is_terminal():
        shown = [name for name in (*COUNTS, _RECOVERED) if name in {"listed", *found}]
        rows = [(source, listing, *(counts[name] for name in shown)) for source, (listing, counts) in cycles.items()]
        output.table(("source", "listing", *shown), rows)
    else:
        for source, (listing, counts) in cycles.items():
            texts = (f"{count} {name}" for name, count in counts.items() if count or name != _RECOVERED)
            output.line(f"{source}: {listing}, {', '.join(texts)}")
    for one in reply.sources:
        for text in (*one.held, *(f"skipped: {text}" for text in one.skipped)):
            output.line(f"{one.source}: {text}")


def _counts(one: SourceReply) -> dict[str, int]:
    """Return what a cycle counted; what an earlier process had written is not among what this one applied."""
    counts = {name: int(one.counts.get(name, 0)) for name in COUNTS if name not in _UNSAID}
    return counts | {"applied": counts["applied"] - one.recovered, _RECOVERED: one.recovered}


def _listing(one: SourceReply) -> str:
    return "complete" if one.complete else "incomplete"


def _complaints(reply: Reply) -> Iterator[str]:
    if reply.error is not None:
        yield reply.error
    for one in reply.sources:
        if one.error is not None:
            yield one.error if one.error.startswith(f"source {one.source} ") else f"{one.source}: {one.error}"
