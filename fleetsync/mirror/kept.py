"""Pages that are known by their bytes: which rows they showed, just as those still are.

A page is kept when its rows follow one another and each is as it shows it. Whatever writes to such a row what the page
does not show forgets the page.
"""

from collections.abc import Iterable

from sqlalchemy import bindparam, delete, func, insert, select

from fleetsync.core.model import ResourceType
from fleetsync.mirror.engine import Prepared, Statements
from fleetsync.mirror.tables import kept_page

_NEXT = Prepared(
    select(kept_page.c.digest, kept_page.c.first, kept_page.c.last)
    .where(kept_page.c.source == bindparam("source"), kept_page.c.type == bindparam("type"))
    .where(kept_page.c.first > bindparam("after"))
    .order_by(kept_page.c.first)
    .limit(bindparam("most")),
    ("source", "type", "after", "most"),
)
_KEEP = Prepared(insert(kept_page), ("first", "last", "source", "type", "digest"))
# No two of them overlap: of those that begin before a row only the last can reach it.
_OTHER = kept_page.alias()
_BEFORE = select(func.max(_OTHER.c.first)).where(_OTHER.c.first <= bindparam("row")).scalar_subquery()
_FORGET = Prepared(
    delete(kept_page)
    .where(kept_page.c.first >= func.coalesce(_BEFORE, 0))
    .where(kept_page.c.first <= bindparam("b_last"), kept_page.c.last >= bindparam("b_first")),
    ("row", "b_last", "b_first"),
)


def following(on: Statements, source: str, type: ResourceType, *, after: int, most: int) -> dict[bytes, range]:
    """Return the rows of the pages that are kept after a row, by the digests of their bytes."""
    return {digest: range(first, last + 1) for digest, first, last in on.fetch(_NEXT, (source, type, after, most))}


def keep(on: Statements, source: str, type: ResourceType, pages: Iterable[tuple[range, bytes]]) -> None:
    """Keep pages: the rows that each showed, and the digest of its bytes."""
    shown = [(rows[0], rows[-1], source, type, digest) for rows, digest in pages]
    on.run_many(_FORGET, [(first, last, first) for first, last, *_ in shown])
    on.run_many(_KEEP, shown)


def forget(on: Statements, numbers: Iterable[int]) -> None:
    """Forget the pages that showed these rows."""
    on.run_many(_FORGET, [(number, number, number) for number in numbers])
