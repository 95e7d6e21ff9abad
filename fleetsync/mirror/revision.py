"""Which schema a database has, which one this version works with, and what to do where they differ.

Without the libraries that migrate: `query` must start quickly.
"""

import re
from collections.abc import Collection
from pathlib import Path

from fleetsync.errors import SchemaMismatchError

_FILE = re.compile(r"(\d{4})_\w+\.py\Z")


def migrations() -> Path:
    """Return the folder of the migrations: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def revisions() -> tuple[str, ...]:
    """Return the revisions that this version knows, oldest first: the files of the migrations begin with them."""
    matches = (_FILE.match(file.name) for file in (migrations() / "versions").iterdir())
    return tuple(sorted(match[1] for match in matches if match))


def head() -> str:
    """Return the revision that this version of fleetsync works with."""
    return revisions()[-1]


def mismatch(path: Path, found: str | None, tables: Collection[str]) -> SchemaMismatchError:
    """Return the error for a database that has another revision, or none but these tables."""
    known = revisions()
    if found is None:
        what, todo = f"is not of fleetsync: it holds {', '.join(sorted(tables)[:3])}", "name another file"
    elif found in known:
        what, todo = f"has schema {found}, which is older", "run `fleetsync db upgrade`"
    else:
        what, todo = f"has schema {found}, which is newer", "install the fleetsync that made it, or a later one"
    return SchemaMismatchError(f"database {path} {what}; this version works with schema {known[-1]}: {todo}")
