"""The commands that look after an installation: check and doctor."""

import asyncio
from typing import Annotated

import typer

from fleetsync.cli import output
from fleetsync.cli.fleet import AsJson, Sources
from fleetsync.cli.invocation import invocation_of


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (check, doctor):
        app.command()(command)


def check(
    context: typer.Context,
    sources: Sources = None,
    online: Annotated[bool, typer.Option("--online", help="Also sign in, and read one page of each type.")] = False,
    sign_in: Annotated[bool, typer.Option("--sign-in", help="Have a person sign in, for `device-code`.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check configuration, declarations and database.

    Every problem is named at once. Nothing is sent without --online or --sign-in.
    """
    from fleetsync.cli import checked

    invocation = invocation_of(context)
    if sign_in:
        asyncio.run(checked.sign_in(invocation, sources or ()))
    found = asyncio.run(checked.check(invocation, sources or (), online=online))
    if as_json:
        output.print_json(found)
    else:
        checked.show(found)
    raise typer.Exit(found["exit_code"])


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Look at the machine: clock, TLS, disk, rights, quota.

    It ends with 1 where something fails. One request without a token goes to the host of each source.
    """
    from fleetsync.cli import doctored

    findings = asyncio.run(doctored.examine(invocation_of(context)))
    if as_json:
        output.print_json(doctored.as_json(findings))
    else:
        doctored.show(findings)
    raise typer.Exit(1 if any(one.verdict == "fail" for one in findings) else 0)
