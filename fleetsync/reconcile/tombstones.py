"""What a believed listing did not show: gone, or not?"""

from collections.abc import Sequence

from fleetsync.core.model import Resource, Unreadable
from fleetsync.errors import NotFoundError, SourceError
from fleetsync.mirror.listings import Listing, Missed
from fleetsync.mirror.mirror import Mirror
from fleetsync.providers.base import Source
from fleetsync.reconcile.doubts import read_now
from fleetsync.reconcile.together import Batches, Hands, each

# So many are asked for one by one in a cycle; beyond that the next listing decides, which costs less.
MOST_READS = 1000
_ROWS = 5000
_BATCH = 500


async def bury(source: Source, going: Listing, mirror: Mirror, hands: Hands) -> int:
    """Mark what is gone: unseen by two complete listings, or by this one and the service says "not found".

    Where the list lags a read alone decides, and where resources move two listings do. Returns how many are gone. What
    a read finds is recorded as being there.
    """
    gone = 0
    if not going.missed:
        return gone
    while rows := await mirror.listings.missed(going, twice=True, most=_BATCH):
        for since in sorted({row.since for row in rows}):
            some = [row for row in rows if row.since == since]
            reason = f"unseen by the complete listings {since} and {going.id}"
            await mirror.listings.mark_gone(going, [(row, reason) for row in some])
        gone += len(rows)
    if going.spec.moves:
        return gone
    most, last = _ROWS if going.spec.lags else MOST_READS, ""
    while rows := await mirror.listings.missed(going, twice=False, most=most, after=last):
        gone += await _ask(source, going, mirror, rows, hands)
        if not going.spec.lags:
            break
        last = rows[-1].id
    return gone


async def _ask(source: Source, going: Listing, mirror: Mirror, rows: Sequence[Missed], hands: Hands) -> int:
    """Ask the service for each; one that it cannot answer for is left to the next listing."""
    gone = 0

    async def record(some: Sequence[Resource]) -> None:
        await mirror.record(source.name, going.spec, some, going.cycle)

    async def mark(some: Sequence[tuple[Missed, str]]) -> None:
        nonlocal gone
        await mirror.listings.mark_gone(going, some)
        gone += len(some)

    async def sight(some: Sequence[Missed]) -> None:
        await mirror.listings.sight(going, some)

    found, missing, unreadable = Batches(record, _BATCH), Batches(mark, _BATCH), Batches(sight, _BATCH)

    async def ask(row: Missed) -> None:
        try:
            shown = await read_now(source, going, mirror, row.id)
        except NotFoundError as error:
            read = "a read" if error.request_id is None else f"a read (request {error.request_id})"
            await missing.add((row, f"unseen by the complete listing {row.since}, and not found by {read}"))
        except SourceError as error:
            going.pass_over([Unreadable(id=row.id, reason=str(error))])
            if error.is_there:
                await unreadable.add(row)
            raise
        else:
            await found.add(shown)

    try:
        await each(rows, ask, hands)
    finally:
        await found.flush()
        await missing.flush()
        await unreadable.flush()
    return gone
