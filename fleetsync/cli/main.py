"""The program `fleetsync`: its commands, and how each of them ends."""

import atexit
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fleetsync import __version__
from fleetsync.cli import care, database, fleet, look, serve
from fleetsync.cli.invocation import USUAL_PLACES, VARIABLE, Invocation
from fleetsync.cli.output import complain, remark
from fleetsync.clock import SystemClock
from fleetsync.errors import ConfigError, FleetsyncError, of_the_machine

_USAGE = 2
_PIPE = 141  # what a shell shows for a program that SIGPIPE ended


class Commands(TyperGroup):
    """The commands; whatever a command raises becomes one line and an exit code."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]  # the rest of its parameters is in `extra`
        """Run the command in `args` and leave with its exit code."""
        extra["standalone_mode"] = False
        words = sys.argv[1:] if args is None else list(args)
        try:
            code = super().main(words, prog_name or "fleetsync", **extra)
        except FleetsyncError as error:
            code = _failed(error, debug=_wants_debug(words))
        except (OSError, MemoryError, ExceptionGroup) as error:
            machine = of_the_machine(error)
            if machine is None:
                raise
            machine.__cause__ = error
            code = _failed(machine, debug=_wants_debug(words))
        except typer.TyperException as error:
            complain(f"{_lower(error.format_message())} (`fleetsync --help` tells more)")
            code = _USAGE
        except typer.Abort:
            complain("cancelled")
            code = 1
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a reader who goes away in the middle is no error of ours."""
        try:
            value = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            _forget_output()
            raise typer.Exit(_PIPE) from error
        return value


def _wants_debug(words: Sequence[str]) -> bool:
    """Say whether --debug stands before the command: also an option that comes later may be wrong."""
    return "--debug" in words


def _failed(error: FleetsyncError, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    if isinstance(error, ConfigError):
        for problem in error.problems:
            remark(str(problem)) if problem.file else complain(str(problem))
    else:
        complain(str(error))
    return error.exit_code


def _lower(message: str) -> str:
    """Return a message of the library as ours are: lower case, no full stop."""
    return f"{message[:1].lower()}{message[1:]}".rstrip(".")


def _forget_output() -> None:
    """Let nothing complain at exit that nobody reads us any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = typer.Typer(cls=Commands, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fleetsync {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def fleetsync(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help=f"The configuration; else ${VARIABLE}, {', '.join(map(str, USUAL_PLACES))}.",
            show_default=False,
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Log everything, and show where errors come from.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,  # noqa: ARG001 - the callback reads it
) -> None:
    """Mirror Azure device fleets into local SQL and apply declared desired state, carefully.

    Exit codes: 0 fine, 1 failed, 2 usage, 3 changes wait (`plan --exit-code`), 75 try later, 78 configuration.
    """
    clock = context.obj if context.obj is not None else SystemClock()  # tests bring their own
    context.obj = Invocation(config=config, debug=debug, clock=clock)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(_USAGE)


for group in (serve, care, fleet, look, database):
    group.register(app)


def main() -> None:
    """Run the program: what the console script calls."""
    if not _wants_debug(sys.argv):
        sys.excepthook = _one_line
    # What is left at the end is looked through again and again for rubbish: seconds, on a machine that is busy.
    atexit.register(gc.freeze)
    # A page is thousands of values that live for a moment: looking through them for rubbish, which comes in cycles and
    # hardly ever, after every 700 took a third of the time of a listing.
    gc.set_threshold(20_000, 20, 20)
    typer.main.get_command(app)()


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:  # noqa: ARG001 - Python's signature
    """Say in one line what nobody foresaw: it is a mistake of ours."""
    complain(f"a mistake in fleetsync itself: {kind.__name__}: {error}; `fleetsync --debug …` shows where")
