"""The commands that look: status, query, explain, history."""

import sys
from typing import Annotated, cast, get_args

from fleetsync.cli import output
from fleetsync.cli.arguments import Argument, Option
from fleetsync.cli.fleet import AsJson, Source
from fleetsync.cli.invocation import Invocation, chosen
from fleetsync.cli.output import Format
from fleetsync.core.model import DEVICE
from fleetsync.errors import UsageError
from fleetsync.mirror.reader import reading

Id = Annotated[str, Argument(metavar="ID", help="As the view shows it, letter by letter.")]
Type = Annotated[str, Option(metavar="TYPE", help="The resource's type: device, device-group, …")]


def status(invocation: Invocation, as_json: AsJson = False) -> None:
    """Show how the sources are, and what needs a person."""
    from fleetsync.cli import state

    found = state.look(invocation)
    if as_json:
        output.print_json(found)
    else:
        state.show(found)


def query(
    invocation: Invocation,
    sql: Annotated[str, Argument(metavar="SQL", help="One SELECT over the views; - reads it from standard input.")],
    style: Annotated[
        str, Option(name="--format", metavar="|".join(get_args(Format)), help="How the rows are printed.")
    ] = "table",
    as_json: Annotated[bool, Option(name="--json", help="The same as --format json.")] = False,
) -> None:
    """Ask the mirror in SQL, read-only.

    For example: fleetsync query "SELECT id FROM devices WHERE NOT enabled". It ends after 30 s. A table is as wide as
    the terminal; elsewhere its lines have tabs between the values.
    """
    if style not in get_args(Format):
        raise UsageError(f"--format {style}: there is {', '.join(get_args(Format))}")
    wanted = cast("Format", "json" if as_json else style)
    text = sys.stdin.read() if sql == "-" else sql
    with reading(invocation.settings().database.path, invocation.clock) as reader:
        columns, rows = reader.question(text)
        output.print_rows(columns, rows, wanted)


def explain(invocation: Invocation, source: Source, id: Id, type: Type = DEVICE, as_json: AsJson = False) -> None:
    """Show what is declared of a resource, and by whom.

    Each declared field: how it is, how it should be, which declaration says so and why.
    """
    from fleetsync.cli import explained

    found = explained.explain(invocation, source, type, id)
    if as_json:
        output.print_json(found)
    else:
        explained.show(found)


def history(invocation: Invocation, source: Source, id: Id, type: Type = DEVICE, as_json: AsJson = False) -> None:
    """Show what happened to a resource, newest first."""
    from fleetsync.cli import past

    settings = invocation.settings()
    chosen(settings, [source])
    with reading(settings.database.path, invocation.clock) as reader:
        found = past.history(reader, source, type, id)
    if as_json:
        output.print_json(found)
    else:
        past.show(found)
