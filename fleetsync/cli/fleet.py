"""The commands that move a fleet: sync, plan, apply, confirm, pause, resume."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fleetsync.cli.arguments import Argument, Option
from fleetsync.cli.invocation import Invocation, chosen
from fleetsync.errors import UsageError

if TYPE_CHECKING:
    from fleetsync.daemon.work import Name

Sources = Annotated[list[str] | None, Argument(metavar="SOURCE", help="All, when none is named.")]
Source = Annotated[str, Argument(metavar="SOURCE")]
AsJson = Annotated[bool, Option(name="--json", help="Print JSON.")]

_TERMINATED = 143  # what a shell shows for a program that SIGTERM ended


def sync(invocation: Invocation, sources: Sources = None, as_json: AsJson = False) -> int:
    """List into the mirror, once; nothing is written.

    While the daemon runs, it does the work; this command shows how far it is.
    """
    return _carry_out(invocation, "sync", as_json=as_json, sources=_names(invocation, sources))


def plan(
    invocation: Invocation,
    sources: Sources = None,
    out: Annotated[Path | None, Option(metavar="FILE", help="Write the plan here, for `apply --plan`.")] = None,
    as_json: AsJson = False,
    exit_code: Annotated[bool, Option(help="0: nothing to do, 1: error, 3: changes wait.")] = False,
) -> int:
    """Show what `apply` would send, without a request.

    It is made from the mirror alone. It ends with 75 where a source was never listed completely, whatever the others
    have to change, and with 1 where declarations contradict each other; with --exit-code also where one is held.
    """
    from fleetsync.cli import planned

    plans = planned.make(invocation, sources or ())
    if plans.made and out is not None:
        planned.save(plans, out)
    if plans.made and as_json:
        planned.print_as_json(plans)
    else:
        planned.show(plans)
    code = planned.complain(plans)
    return planned.exit_code_of(plans, code) if exit_code else code


def apply(
    invocation: Invocation,
    sources: Sources = None,
    plan: Annotated[Path | None, Option(metavar="FILE", help="Carry out exactly this reviewed plan.")] = None,
    as_json: AsJson = False,
) -> int:
    """List, plan, and write what is not as declared.

    Each write goes under its guard. With --plan exactly the reviewed plan, and nothing where the declarations changed
    since. A source writes only where its `mode` is "manual" or "enforce".
    """
    if plan is not None and sources:
        raise UsageError("--plan says which sources: name none besides")
    file = None if plan is None else str(plan.absolute())
    return _carry_out(invocation, "apply", as_json=as_json, sources=_names(invocation, sources), plan=file)


def confirm(
    invocation: Invocation,
    source: Source,
    writes: Annotated[int | None, Option(least=1, metavar="N", help="The writes of one plan.")] = None,
    gone: Annotated[int | None, Option(least=1, metavar="N", help="Vanished from one listing.")] = None,
    as_json: AsJson = False,
) -> int:
    """Accept exactly the refused number, once."""
    if (writes is None) == (gone is None):
        raise UsageError("confirm takes one of --writes N and --gone N")
    names = _names(invocation, [source])
    return _carry_out(invocation, "confirm", as_json=as_json, sources=names, writes=writes, gone=gone)


def pause(invocation: Invocation, source: Source, as_json: AsJson = False) -> int:
    """Leave a source alone, until `resume`."""
    return _carry_out(invocation, "pause", as_json=as_json, sources=_names(invocation, [source]))


def resume(invocation: Invocation, source: Source, as_json: AsJson = False) -> int:
    """Go on with a paused source."""
    return _carry_out(invocation, "resume", as_json=as_json, sources=_names(invocation, [source]))


def _names(invocation: Invocation, names: list[str] | None) -> tuple[str, ...]:
    """Return the names as given once they are known to be right; none stays none, which means all."""
    return tuple(one.name for one in chosen(invocation.settings(), names)) if names else ()


def _carry_out(invocation: Invocation, name: "Name", *, as_json: bool, **arguments: Any) -> int:
    """Have a command (`daemon.work.Command`, with these arguments) carried out, and show the reply."""
    with invocation.loading():
        import asyncio

        from fleetsync.cli import doing

    command = doing.command(name, **arguments)
    try:
        reply = asyncio.run(doing.carry_out(invocation, command))
    except asyncio.CancelledError:  # told so by SIGTERM: what was done is stored
        return _TERMINATED
    doing.show(command, reply, as_json=as_json)
    return reply.exit_code
