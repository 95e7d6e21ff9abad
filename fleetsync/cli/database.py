"""The commands on the database itself: `db …`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetsync.cli import output
from fleetsync.cli.invocation import Invocation, invocation_of
from fleetsync.cli.look import reading
from fleetsync.errors import UsageError

if TYPE_CHECKING:
    from fleetsync.mirror.cycles import Cycles

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
    from fleetsync.cli.planned import schema_of
    from fleetsync.mirror.schema import head

    with reading(invocation) as reader:
        found = schema_of(reader)
    output.line(f"schema {found or 'unknown'}; this version works with {head()}")


@group.command()
def backup(context: typer.Context, file: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    """Copy the database as it is at one instant, also while the daemon writes to it."""
    from fleetsync.mirror import schema

    invocation = invocation_of(context)
    with reading(invocation):  # there is one, and it can be read
        schema.backup(invocation.settings().database.path, file)
    output.line(f"{file}: {file.stat().st_size} bytes")


@group.command()
def rename(
    context: typer.Context,
    old: Annotated[str, typer.Argument(metavar="OLD")],
    new: Annotated[str, typer.Argument(metavar="NEW")],
) -> None:
    """Give everything that is stored of a source another name. Rename it in the configuration as well."""
    asyncio.run(_change(invocation_of(context), lambda cycles: cycles.rename(old, new)))
    output.line(f"{old} is now {new}")


@group.command()
def forget(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete everything that is stored of a source, its history as well."""
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"db forget deletes the history of {source}: say --yes")
        typer.confirm(f"Delete everything that is stored of {source}, its history as well?", abort=True, err=True)
    asyncio.run(_change(invocation_of(context), lambda cycles: cycles.forget(source)))
    output.line(f"{source} is forgotten")


async def _change(invocation: Invocation, change: "Callable[[Cycles], Awaitable[None]]") -> None:
    """Change the books under the lock.

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
        await change(mirror.cycles)
