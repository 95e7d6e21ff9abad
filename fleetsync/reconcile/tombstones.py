"""What a believed listing did not show: gone, or not?"""

from collections.abc import Sequence

from fleetsync.core.model import Resource, ResourceKey
from fleetsync.errors import NotFoundError
from fleetsync.mirror.listings import Listing, Missed
from fleetsync.mirror.mirror import Mirror
from fleetsync.providers.base import Source
from fleetsync.reconcile.together import each

# So many are asked for one by one in a cycle; beyond that the next listing decides, which costs less.
MOST_READS = 1000
_BATCH = 500


async def bury(source: Source, going: Listing, mirror: Mirror) -> int:
    """Mark what is gone: unseen by two complete listings, or by this one and the service says "not found".

    Where the list lags a read alone decides. Returns how many are gone. What a read finds is recorded as being there.
    """
    gone = 0
    while rows := await mirror.listings.missed(going, twice=True, most=_BATCH):
        for since in sorted({row.since for row in rows}):
            some = [row for row in rows if row.since == since]
            await mirror.listings.mark_gone(going, some, f"unseen by the complete listings {since} and {going.id}")
        gone += len(rows)
    asked, last = 0, ""
    while asked < MOST_READS or going.spec.lags:
        rows = await mirror.listings.missed(going, twice=False, most=_BATCH, after=last)
        if not rows:
            break
        gone += await _ask(source, going, mirror, rows)
        asked, last = asked + len(rows), rows[-1].id
    return gone


async def _ask(source: Source, going: Listing, mirror: Mirror, rows: Sequence[Missed]) -> int:
    """Ask the service for each; one that it cannot answer for is left to the next listing."""
    found: list[Resource] = []
    gone: list[Missed] = []

    async def ask(row: Missed) -> None:
        try:
            found.append(await source.read(ResourceKey(source.name, going.type, row.id)))
        except NotFoundError:
            gone.append(row)

    await each(rows, ask)
    await mirror.record(source.name, going.spec, found, going.cycle)
    if gone:
        await mirror.listings.mark_gone(
            going, gone, f"unseen by the complete listing {going.id}, and not found by a read"
        )
    return len(gone)
