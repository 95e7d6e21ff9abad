"""The commands that look after an installation: check and doctor."""

import asyncio
from typing import Annotated

from fleetsync.cli import output
from fleetsync.cli.arguments import Option
from fleetsync.cli.fleet import AsJson, Sources
from fleetsync.cli.invocation import Invocation


def check(
    invocation: Invocation,
    sources: Sources = None,
    online: Annotated[bool, Option(help="Also sign in, and read one page of each type.")] = False,
    sign_in: Annotated[bool, Option(help="Have a person sign in, for `device-code`.")] = False,
    as_json: AsJson = False,
) -> int:
    """Check configuration, declarations and database.

    Every problem is named at once. Nothing is sent without --online or --sign-in.
    """
    from fleetsync.cli import checked

    if sign_in:
        asyncio.run(checked.sign_in(invocation, sources or ()))
    found = asyncio.run(checked.check(invocation, sources or (), online=online))
    if as_json:
        output.print_json(found)
    else:
        checked.show(found)
    return int(found["exit_code"])


def doctor(invocation: Invocation, as_json: AsJson = False) -> int:
    """Look at the machine: clock, TLS, disk, rights, quota.

    It ends with 1 where something fails. One request without a token goes to the host of each source.
    """
    from fleetsync.cli import doctored

    findings = asyncio.run(doctored.examine(invocation))
    if as_json:
        output.print_json(doctored.as_json(findings))
    else:
        doctored.show(findings)
    return 1 if any(one.verdict == "fail" for one in findings) else 0
