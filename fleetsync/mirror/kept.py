"""Pages that are known by their bytes: which rows they showed, just as those still are.

A page is kept when its rows follow one another and each is as it shows it. Whatever writes to such a row what the page
does not show forgets the page. Of one that comes otherwise, the digests of its entries tell what in it is the same.
"""

from collections.abc import Iterable, Sequence, Set

from msgspec import Struct
from sqlalchemy import bindparam, delete, func, insert, select, update

from fleetsync.core.model import ResourceType
from fleetsync.mirror.engine import Prepared, Statements, array_of, values_in
from fleetsync.mirror.tables import kept_page

_NEXT = Prepared(
    select(kept_page.c.digest, kept_page.c.first, kept_page.c.last)
    .where(kept_page.c.source == bindparam("source"), kept_page.c.type == bindparam("type"))
    .where(kept_page.c.first > bindparam("after"))
    .order_by(kept_page.c.first)
    .limit(bindparam("most")),
    ("source", "type", "after", "most"),
)
_ENTRIES = Prepared(
    select(kept_page.c.first, kept_page.c.last, kept_page.c.digest, kept_page.c.entries).where(
        kept_page.c.first.in_(values_in("firsts"))
    ),
    ("firsts",),
)
_KEEP = Prepared(insert(kept_page), ("first", "last", "source", "type", "digest", "entries"))
_KEEP_ON = Prepared(
    update(kept_page)
    .where(kept_page.c.first == bindparam("b_first"))
    .values(digest=bindparam("b_digest"), entries=bindparam("b_entries")),
    ("b_digest", "b_entries", "b_first"),
)
# No two of them overlap: of those that begin before a row only the last can reach it.
_OTHER = kept_page.alias()
_BEFORE = select(func.max(_OTHER.c.first)).where(_OTHER.c.first <= bindparam("row")).scalar_subquery()
_FORGET = Prepared(
    delete(kept_page)
    .where(kept_page.c.first >= func.coalesce(_BEFORE, 0))
    .where(kept_page.c.first <= bindparam("b_last"), kept_page.c.last >= bindparam("b_first")),
    ("row", "b_last", "b_first"),
)


class Kept(Struct, frozen=True):
    """The rows that a page showed, the digest of its bytes, and those of the rows' documents, joined."""

    rows: range
    digest: bytes
    entries: bytes


def following(on: Statements, source: str, type: ResourceType, *, after: int, most: int) -> dict[bytes, range]:
    """Return the rows of the pages that are kept after a row, by the digests of their bytes."""
    return {digest: range(first, last + 1) for digest, first, last in on.fetch(_NEXT, (source, type, after, most))}


def opened(on: Statements, pages: Iterable[range]) -> list[Kept]:
    """Return kept pages, entry by entry, in the order of their rows."""
    found = on.fetch(_ENTRIES, (array_of([rows.start for rows in pages]),))
    return [Kept(range(first, last + 1), digest, entries) for first, last, digest, entries in sorted(found)]


def keep(on: Statements, source: str, type: ResourceType, pages: Sequence[Kept], now: Set[range] = frozenset()) -> None:
    """Keep pages, and forget all others that showed their rows; of the rows `now` a page is kept at present."""
    anew = [one for one in pages if one.rows not in now]
    on.run_many(_KEEP_ON, [(one.digest, one.entries, one.rows.start) for one in pages if one.rows in now])
    on.run_many(_FORGET, [(one.rows[0], one.rows[-1], one.rows[0]) for one in anew])
    on.run_many(_KEEP, [(one.rows[0], one.rows[-1], source, type, one.digest, one.entries) for one in anew])


def forget(on: Statements, numbers: Iterable[int]) -> None:
    """Forget the pages that showed these rows."""
    on.run_many(_FORGET, [(number, number, number) for number in numbers])
