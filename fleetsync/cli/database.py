"""The commands on the database itself: `db …`."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetsync.cli import output
from fleetsync.cli.invocation import Invocation, invocation_of
from fleetsync.config.values import UnfitError, as_name
from fleetsync.errors import UsageError
from fleetsync.mirror.reader import Reader, reading
from fleetsync.mirror.revision import head

if TYPE_CHECKING:
    from fleetsync.mirror.mirror import Mirror

group = typer.Typer(help="Look after the database.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(group, name="db")


@group.command()
def upgrade(context: typer.Context) -> None:
    """Make the database if there is none; bring an older one up to date, after a backup copy beside it."""
    invocation = invocation_of(context)
    asyncio.run(_upgrade(invocation))
    _say_current(invocation)


async def _upgrade(invocation: Invocation) -> None:
    from fleetsync.cli import doing
    from fleetsync.wiring.sources import opened_mirror

    doing.set_up_log(invocation)
    async with opened_mirror(invocation.settings(), invocation.clock, upgrade=True):
        pass


@group.command()
def current(context: typer.Context) -> None:
    """Show the schema of the database, and the one that this version works with."""
    _say_current(invocation_of(context))


def _say_current(invocation: Invocation) -> None:
    with _reading(invocation) as reader:
        found = reader.revision()
    output.line(f"schema {found or 'of something else'}; this version works with {head()}")


def _reading(invocation: Invocation) -> contextlib.AbstractContextManager[Reader]:
    return reading(invocation.settings().database.path, invocation.clock, any_schema=True)


@group.command()
def backup(context: typer.Context, file: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    """Copy the database as it is at one instant, also while the daemon writes to it."""
    from fleetsync.mirror import schema

    invocation = invocation_of(context)
    with _reading(invocation):  # there is one, and it can be read
        schema.backup(invocation.settings().database.path, file)
    output.line(f"{file}: {file.stat().st_size} bytes")


@group.command()
def rename(
    context: typer.Context,
    old: Annotated[str, typer.Argument(metavar="OLD")],
    new: Annotated[str, typer.Argument(metavar="NEW")],
) -> None:
    """Give everything that is stored of a source another name. Rename it in the configuration as well."""
    from fleetsync.wiring.sign_in import sign_in_file

    async def change(mirror: "Mirror") -> None:
        await mirror.cycles.rename(old, _name(new))
        state = mirror.path.parent
        with contextlib.suppress(FileNotFoundError):
            sign_in_file(old, state).replace(sign_in_file(new, state))

    asyncio.run(_change(invocation_of(context), change))
    output.line(f"{old} is now {new}")


@group.command()
def forget(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete everything that is stored of a source, its history and a person's sign-in as well."""
    from fleetsync.wiring.sign_in import sign_in_file

    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"db forget deletes the history of {source}: say --yes")
        typer.confirm(f"Delete everything that is stored of {source}, its history as well?", abort=True, err=True)

    async def change(mirror: "Mirror") -> None:
        await mirror.cycles.forget(source)
        sign_in_file(source, mirror.path.parent).unlink(missing_ok=True)

    asyncio.run(_change(invocation_of(context), change))
    output.line(f"{source} is forgotten")


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
