"""The commands that move a fleet: sync, plan, apply, confirm, pause, resume."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetsync.cli.invocation import Invocation, chosen, invocation_of
from fleetsync.errors import FleetsyncError, UsageError

if TYPE_CHECKING:
    from fleetsync.daemon.work import Name

Sources = Annotated[list[str] | None, typer.Argument(metavar="SOURCE", help="All, when none is named.")]
Source = Annotated[str, typer.Argument(metavar="SOURCE")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


_TERMINATED = 143  # what a shell shows for a program that SIGTERM ended


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (sync, plan, apply, confirm, pause, resume):
        app.command()(command)


def sync(context: typer.Context, sources: Sources = None, as_json: AsJson = False) -> None:
    """List into the mirror, once; nothing is written.

    While the daemon runs, it does the work; this command shows how far it is.
    """
    invocation = invocation_of(context)
    _carry_out(invocation, "sync", as_json=as_json, sources=_names(invocation, sources))


def plan(
    context: typer.Context,
    sources: Sources = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the plan here, for `apply --plan`.")
    ] = None,
    as_json: AsJson = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="0: nothing to do, 1: error, 3: changes wait.")
    ] = False,
) -> None:
    """Show what `apply` would send, without a request.

    It is made from the mirror alone. It ends with 75 where a source was never listed completely, and with 1 where
    declarations contradict each other; with --exit-code also where one is held.
    """
    from fleetsync.cli import planned

    invocation = invocation_of(context)
    plans = planned.make(invocation, sources or ())
    if out is not None:
        planned.save(plans, out)
    if as_json:
        planned.print_as_json(plans)
    else:
        planned.show(plans)
    if planned.complain_of_contradictions(plans):
        raise typer.Exit(FleetsyncError.exit_code)
    raise typer.Exit(planned.exit_code_of(plans) if exit_code else 0)


def apply(
    context: typer.Context,
    sources: Sources = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="Carry out exactly this reviewed plan.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List, plan, and write what is not as declared.

    Each write goes under its guard. With --plan exactly the reviewed plan, and nothing where the declarations changed
    since. A source writes only where its `mode` is "manual" or "enforce".
    """
    invocation = invocation_of(context)
    if plan is not None and sources:
        raise UsageError("--plan says which sources: name none besides")
    file = None if plan is None else str(plan.absolute())
    _carry_out(invocation, "apply", as_json=as_json, sources=_names(invocation, sources), plan=file)


def confirm(
    context: typer.Context,
    source: Source,
    writes: Annotated[int | None, typer.Option("--writes", min=1, metavar="N", help="The writes of one plan.")] = None,
    gone: Annotated[int | None, typer.Option("--gone", min=1, metavar="N", help="Vanished from one listing.")] = None,
    as_json: AsJson = False,
) -> None:
    """Accept exactly the refused number, once."""
    if (writes is None) == (gone is None):
        raise UsageError("confirm takes one of --writes N and --gone N")
    invocation = invocation_of(context)
    names = _names(invocation, [source])
    _carry_out(invocation, "confirm", as_json=as_json, sources=names, writes=writes, gone=gone)


def pause(context: typer.Context, source: Source, as_json: AsJson = False) -> None:
    """Leave a source alone, until `resume`."""
    invocation = invocation_of(context)
    _carry_out(invocation, "pause", as_json=as_json, sources=_names(invocation, [source]))


def resume(context: typer.Context, source: Source, as_json: AsJson = False) -> None:
    """Go on with a paused source."""
    invocation = invocation_of(context)
    _carry_out(invocation, "resume", as_json=as_json, sources=_names(invocation, [source]))


def _names(invocation: Invocation, names: list[str] | None) -> tuple[str, ...]:
    """Return the names as given once they are known to be right; none stays none, which means all."""
    return tuple(one.name for one in chosen(invocation.settings(), names)) if names else ()


def _carry_out(invocation: Invocation, name: "Name", *, as_json: bool, **arguments: Any) -> None:
    """Have a command (`daemon.work.Command`, with these arguments) carried out, show the reply and leave."""
    from fleetsync.cli import doing

    command = doing.command(name, **arguments)
    try:
        reply = asyncio.run(doing.carry_out(invocation, command))
    except asyncio.CancelledError as error:  # told so by SIGTERM: what was done is stored
        raise typer.Exit(_TERMINATED) from error
    doing.show(command, reply, as_json=as_json)
    raise typer.Exit(reply.exit_code)
