"""Which versions of SQLite will do."""

import sqlite3

from fleetsync.errors import MirrorError

OLDEST = (3, 39, 0)
"""The first with `IS DISTINCT FROM`; `->` and `->>`, which the views need, came with 3.38."""
SAFE = (3, 51, 3)
"""The first without a bug that corrupts a file where two connections write or checkpoint at the same moment."""


def check_library() -> None:
    """Make sure that the SQLite which Python was built with understands our SQL.

    Raises:
        MirrorError: it is too old.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        oldest = ".".join(map(str, OLDEST[:2]))
        raise MirrorError(
            f"SQLite {sqlite3.sqlite_version} is too old: fleetsync needs {oldest} or newer: use a Python that has it"
        )
