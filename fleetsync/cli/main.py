"""The program `fleetsync`: its commands, and how each of them ends."""

import argparse
import atexit
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType, TracebackType

from fleetsync import __version__
from fleetsync.cli.arguments import Command, Parser, first_line, given
from fleetsync.cli.invocation import USUAL_PLACES, VARIABLE, Invocation
from fleetsync.cli.output import complain, remark
from fleetsync.clock import Clock, SystemClock
from fleetsync.config.wording import suggestion
from fleetsync.errors import ConfigError, FleetsyncError, UsageError, of_the_machine

_USAGE = 2
_INTERRUPTED = 130  # what a shell shows for a program that SIGINT ended
_PIPE = 141  # and for one that SIGPIPE ended

_ABOUT = """Mirror Azure device fleets into local SQL and apply declared desired state, carefully.

Exit codes: 0 fine, 1 failed, 2 usage, 3 changes wait (`plan --exit-code`), 75 try later, 78 configuration."""
_DATABASE = "db"
_MODULES = MappingProxyType(
    {
        **dict.fromkeys(("demo", "simulate", "run"), "serve"),
        **dict.fromkeys(("check", "doctor"), "care"),
        **dict.fromkeys(("sync", "plan", "apply", "confirm", "pause", "resume"), "fleet"),
        **dict.fromkeys(("status", "query", "explain", "history"), "look"),
        _DATABASE: "database",
    }
)
"""The commands, in the order of the help, and where they are; `db` is a group of more."""
_OF_THE_DATABASE = MappingProxyType(dict.fromkeys(("upgrade", "current", "backup", "rename", "forget"), "database"))


class _Commands(Parser):
    """Reads what stands before the name of a command; its module is loaded when it is asked for."""

    def __init__(self, prog: str, about: str, modules: Mapping[str, str]) -> None:
        super().__init__(prog, "[OPTIONS] COMMAND …", about)
        self._modules = modules
        self.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)

    def module(self, name: str) -> ModuleType:
        """Return where a command is.

        Raises:
            UsageError: there is no such command.
        """
        if name not in self._modules:
            near = suggestion(name, self._modules)
            raise UsageError(f"no command {name!r}{near or ' (`fleetsync --help` lists them)'}")
        return importlib.import_module(f"fleetsync.cli.{self._modules[name]}")

    def command(self, name: str) -> Command:
        """Return a command; errors as of `module`."""
        found: Command = getattr(self.module(name), name)
        return found

    def format_help(self) -> str:
        """Return the help, with the commands."""
        abouts = {name: first_line(getattr(self.module(name), name, self.module(name))) for name in self._modules}
        return "\n".join([super().format_help(), "Commands:", *(f"  {name:9} {it}" for name, it in abouts.items()), ""])


def run(words: Sequence[str], clock: Clock | None = None, *, is_process: bool = False) -> int:
    """Run the command in `words` and return its exit code; whatever it raises becomes one line.

    `is_process` says that the process is there for nothing else.
    """
    try:
        code = _carried_out(words, clock or SystemClock(), is_process=is_process)
        sys.stdout.flush()
    except BrokenPipeError:  # a reader who goes away in the middle is no error of ours
        _forget_output()
        return _PIPE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except FleetsyncError as error:
        return _failed(error, debug=_wants_debug(words))
    except (OSError, MemoryError, ExceptionGroup) as error:
        machine = of_the_machine(error)
        if machine is None:
            raise
        machine.__cause__ = error
        return _failed(machine, debug=_wants_debug(words))
    return code or 0


def _carried_out(words: Sequence[str], clock: Clock, *, is_process: bool) -> int | None:
    commands = _Commands("fleetsync", _ABOUT, _MODULES)
    commands.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"The configuration; else ${VARIABLE}, {', '.join(map(str, USUAL_PLACES))}.",
    )
    commands.add_argument("--debug", action="store_true", help="Log everything, and show where errors come from.")
    commands.add_argument("--version", action="store_true", help="Show it.")
    asked = commands.parse_args(words)
    if asked.version:
        print(f"fleetsync {__version__}")
        return None
    named = asked.words
    if named[:1] == [_DATABASE]:
        commands = _Commands(f"fleetsync {_DATABASE}", first_line(commands.module(_DATABASE)), _OF_THE_DATABASE)
        named = commands.parse_args(named[1:]).words
    if not named:
        print(commands.format_help(), end="", file=sys.stderr)
        return _USAGE
    name, *rest = named
    command = commands.command(name)
    parameters = given(f"{commands.prog} {name}", command, rest)
    invocation = Invocation(
        config=asked.config, debug=asked.debug, clock=clock, given=frozenset(parameters), is_process=is_process
    )
    return command(invocation, **parameters)


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


def _forget_output() -> None:
    """Let nothing complain at exit that nobody reads us any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the program. Who calls it may have switched the search for rubbish off until then."""
    if not _wants_debug(sys.argv):
        sys.excepthook = _one_line
    # What is left at the end is looked through again and again for rubbish: seconds, on a machine that is busy.
    atexit.register(gc.freeze)
    # A page is thousands of values that live for a moment: looking through them for rubbish, which comes in cycles and
    # hardly ever, after every 700 took a third of the time of a listing.
    gc.set_threshold(20_000, 20, 20)
    gc.freeze()
    gc.enable()
    sys.exit(run(sys.argv[1:], is_process=True))


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:  # noqa: ARG001 - Python's signature
    """Say in one line what nobody foresaw: it is a mistake of ours."""
    complain(f"a mistake in fleetsync itself: {kind.__name__}: {error}; `fleetsync --debug …` shows where")
