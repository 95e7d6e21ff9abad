"""Look after the database."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fleetsync.cli import output
from fleetsync.cli.arguments import Argument, Option
from fleetsync.cli.invocation import Invocation
from fleetsync.config.values import UnfitError, as_name
from fleetsync.errors import FleetsyncError, UsageError
from fleetsync.mirror.reader import Reader, reading
from fleetsync.mirror.revision import head

if TYPE_CHECKING:
    from fleetsync.mirror.mirror import Mirror


def upgrade(invocation: Invocation) -> None:
    """Make the database if there is none; bring an older one up to date, after a backup copy beside it."""
    asyncio.run(_upgrade(invocation))
    _say_current(invocation)


async def _upgrade(invocation: Invocation) -> None:
    from fleetsync.cli import doing
    from fleetsync.wiring.sources import opened_mirror

    doing.set_up_log(invocation)
    async with opened_mirror(invocation.settings(), invocation.clock, upgrade=True):
        pass


def current(invocation: Invocation) -> None:
    """Show the schema of the database, and the one that this version works with."""
    _say_current(invocation)


def _say_current(invocation: Invocation) -> None:
    with _reading(invocation) as reader:
        found = reader.revision()
    output.line(f"schema {found or 'of something else'}; this version works with {head()}")


def _reading(invocation: Invocation) -> contextlib.AbstractContextManager[Reader]:
    return reading(invocation.settings().database.path, invocation.clock, any_schema=True)


def backup(invocation: Invocation, file: Annotated[Path, Argument(metavar="FILE")]) -> None:
    """Copy the database as it is at one instant, also while the daemon writes to it."""
    from fleetsync.mirror import schema

    with _reading(invocation):  # there is one, and it can be read
        schema.backup(invocation.settings().database.path, file)
    output.line(f"{file}: {file.stat().st_size} bytes")


def rename(
    invocation: Invocation,
    old: Annotated[str, Argument(metavar="OLD")],
    new: Annotated[str, Argument(metavar="NEW")],
) -> None:
    """Give everything that is stored of a source another name. Rename it in the configuration as well."""
    from fleetsync.wiring.sign_in import sign_in_file

    async def change(mirror: "Mirror") -> None:
        await mirror.cycles.rename(old, _name(new))
        state = mirror.path.parent
        with contextlib.suppress(FileNotFoundError):
            sign_in_file(old, state).replace(sign_in_file(new, state))

    asyncio.run(_change(invocation, change))
    output.line(f"{old} is now {new}")


def forget(
    invocation: Invocation,
    source: Annotated[str, Argument(metavar="SOURCE")],
    yes: Annotated[bool, Option(help="Do not ask.")] = False,
) -> None:
    """Delete everything that is stored of a source, its history and a person's sign-in as well."""
    from fleetsync.wiring.sign_in import sign_in_file

    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"db forget deletes the history of {source}: say --yes")
        _confirm(f"Delete everything that is stored of {source}, its history as well?")

    async def change(mirror: "Mirror") -> None:
        await mirror.cycles.forget(source)
        sign_in_file(source, mirror.path.parent).unlink(missing_ok=True)

    asyncio.run(_change(invocation, change))
    output.line(f"{source} is forgotten")


def _confirm(question: str) -> None:
    """Ask a person, who has to say yes.

    Raises:
        FleetsyncError: they do not.
    """
    output.ask(f"{question} [y/N] ")
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise FleetsyncError("cancelled")


def _name(text: str) -> str:
    """Return a name that a source can have.

    Raises:
        UsageError: it is none.
    """
    try:
        return as_name(text)
    except UnfitError as error:
        raise UsageError(f"{text!r} {error}") from error


async def _change(invocation: Invocation, change: "Callable[[Mirror], Awaitable[None]]") -> None:
    """Change what is stored, under the lock.

    Raises:
        NotYetError: there is no database.
        LockedError: another process has it.
    """
    from fleetsync.cli import doing
    from fleetsync.mirror.mirror import open_mirror
    from fleetsync.providers.base import all_kinds

    doing.set_up_log(invocation)
    # Not `opened_mirror`: it registers the sources, and refuses the very name that is to be forgotten.
    path = invocation.settings().database.path
    async with open_mirror(path, all_kinds().values(), invocation.clock, create=False) as mirror:
        await change(mirror)
