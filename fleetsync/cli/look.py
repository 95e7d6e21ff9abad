"""The commands that look: status, query, explain, history."""

import sys
from typing import Annotated, cast, get_args

import typer

from fleetsync.cli import output
from fleetsync.cli.fleet import AsJson, Source
from fleetsync.cli.invocation import chosen, invocation_of
from fleetsync.cli.output import Format
from fleetsync.core.model import DEVICE
from fleetsync.errors import UsageError
from fleetsync.mirror.reader import reading

Id = Annotated[str, typer.Argument(metavar="ID", help="As the view shows it, letter by letter.")]
Type = Annotated[str, typer.Option("--type", metavar="TYPE", help="The resource's type: device, device-group, …")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (status, query, explain, history):
        app.command()(command)


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how the sources are, and what needs a person."""
    from fleetsync.cli import state

    found = state.look(invocation_of(context))
    if as_json:
        output.print_json(found)
    else:
        state.show(found)


def query(
    context: typer.Context,
    sql: Annotated[
        str, typer.Argument(metavar="SQL", help="One SELECT over the views; - reads it from standard input.")
    ],
    style: Annotated[
        str, typer.Option("--format", metavar="|".join(get_args(Format)), help="How the rows are printed.")
    ] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Ask the mirror in SQL, read-only.

    For example: fleetsync query "SELECT id FROM devices WHERE NOT enabled". It ends after 30 s. A table is as wide as
    the terminal; elsewhere its lines have tabs between the values.
    """
    if style not in get_args(Format):
        raise UsageError(f"--format {style}: there is {', '.join(get_args(Format))}")
    wanted = cast("Format", "json" if as_json else style)
    text = sys.stdin.read() if sql == "-" else sql
    invocation = invocation_of(context)
    with reading(invocation.settings().database.path, invocation.clock) as reader:
        columns, rows = reader.question(text)
        output.print_rows(columns, rows, wanted)


def explain(context: typer.Context, source: Source, id: Id, type: Type = DEVICE, as_json: AsJson = False) -> None:
    """Show what is declared of a resource, and by whom.

    Each declared field: how it is, how it should be, which declaration says so and why.
    """
    from fleetsync.cli import explained

    found = explained.explain(invocation_of(context), source, type, id)
    if as_json:
        output.print_json(found)
    else:
        explained.show(found)


def history(context: typer.Context, source: Source, id: Id, type: Type = DEVICE, as_json: AsJson = False) -> None:
    """Show what happened to a resource, newest first."""
    from fleetsync.cli import past

    invocation = invocation_of(context)
    settings = invocation.settings()
    chosen(settings, [source])
    with reading(settings.database.path, invocation.clock) as reader:
        found = past.history(reader, source, type, id)
    if as_json:
        output.print_json(found)
    else:
        past.show(found)
