"""Listing one type to its end: pages in order, circles refused, the next page asked for before the last is stored."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from fleetsync.clock import Clock
from fleetsync.config.settings import Limits
from fleetsync.core.kind import TypeSpec
from fleetsync.core.model import Cursor, CycleId, Page, ResourceType
from fleetsync.core.safety import Showing, check_listing
from fleetsync.errors import (
    AuthError,
    InvalidResponseError,
    NotYetError,
    ResourceError,
    SourceError,
    TransientError,
    UnsafePlanError,
)
from fleetsync.log import get_log
from fleetsync.mirror.listings import Listing
from fleetsync.mirror.mirror import Mirror
from fleetsync.providers.base import Source
from fleetsync.reconcile.doubts import settled
from fleetsync.reconcile.together import Hands
from fleetsync.tasks import together

# One transaction holds at most this: a kill costs no more.
MOST_PAGES = 100
MOST_SECONDS = 1.0
MOST_BYTES = 4 * 1024 * 1024
# A service may answer with empty pages; one that answers with nothing else never ends.
MOST_EMPTY_PAGES = 100

_FORBIDDEN = 403

Watch = Callable[[Listing], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What listing takes besides a source and a mirror.

    `watch` is called after each transaction, with the listing as it is by then; `hands` settle what is doubtful.
    """

    clock: Clock
    watch: Watch
    hands: Hands


async def list_pages(source: Source, type: ResourceType, cursor: Cursor | None) -> AsyncIterator[Page]:
    """Yield the pages from `cursor` to the end, or raise.

    Raises:
        InvalidResponseError: the links go in a circle, lead through nothing but empty pages, or nowhere.
    """
    met: set[int] = set()
    empty = 0
    while True:
        page = await _page(source, type, cursor)
        yield page
        if page.next is None:
            return
        empty = empty + 1 if page.is_empty else 0
        if hash(page.next) in met or page.next == cursor:
            raise InvalidResponseError(f"the pages of {type} go in a circle")
        if empty > MOST_EMPTY_PAGES:
            raise InvalidResponseError(f"the pages of {type} do not end: {empty} empty ones in a row")
        cursor = page.next
        met.add(hash(cursor))


async def _page(source: Source, type: ResourceType, cursor: Cursor | None) -> Page:
    try:
        return await source.page(type, cursor)
    except ResourceError as error:
        if cursor is None:
            raise
        # Where to go on was its own word: nothing that we asked for is refused.
        reason = f"the pages of {type} do not go on where the service said: {error}"
        raise InvalidResponseError(reason, status=error.status, request_id=error.request_id) from error


@dataclass(frozen=True, slots=True)
class _End:
    """The end of the pages: their own, or what cut them short."""

    error: SourceError | None


async def list_type(source: Source, spec: TypeSpec, mirror: Mirror, cycle: CycleId, means: Means) -> Listing:
    """List one type into the mirror, from where it was cut short if it was, and return the listing at its end.

    Raises:
        SourceError: it was cut short. What came before is stored; where the service said nothing of the listing, it is
            left to be gone on with.
        NotYetError: what it depends on is not known yet; likewise.
    """
    going = await mirror.listings.begin(source.name, spec, cycle)
    try:
        await _drain(source, going, mirror, means)
    except (SourceError, NotYetError) as error:
        if _says_nothing(error):
            await mirror.listings.cut(going, str(error))
            raise
        await mirror.listings.fail(going, str(error))
        if not going.resumed:
            raise
        # What an earlier cycle left leads nowhere: begin again, once.
        return await list_type(source, spec, mirror, cycle, means)
    return going


def _says_nothing(error: SourceError | NotYetError) -> bool:
    """Say whether it says nothing of the listing: nobody answered, was let in, or was asked at all."""
    was_let_in = not isinstance(error, AuthError) or error.status == _FORBIDDEN
    return isinstance(error, TransientError | NotYetError) or not was_let_in


async def _drain(source: Source, going: Listing, mirror: Mirror, means: Means) -> None:
    """Fetch and store side by side; the queue between the two is what bounds the memory."""
    queue: asyncio.Queue[Page | _End] = asyncio.Queue(maxsize=2)
    end = _End(None) if going.ended else None
    async with together() as group:
        if end is None:
            group.create_task(_fetch(source, going, queue))
        while end is None:
            pages, end = await _batch(queue, means.clock)
            # A page of a list that lags is doubted by what the one before it said; and the reads for that take time.
            if await mirror.listings.doubtful(going, pages):
                for page in pages:
                    await _store(going, [await settled(source, going, mirror, page, means.hands)], mirror, means)
            elif pages:
                await _store(going, pages, mirror, means)
    if end.error is not None:
        raise end.error


async def _store(going: Listing, pages: list[Page], mirror: Mirror, means: Means) -> None:
    await mirror.listings.record(going, pages)
    means.watch(going)


async def _fetch(source: Source, going: Listing, queue: "asyncio.Queue[Page | _End]") -> None:
    try:
        async for page in list_pages(source, going.type, going.cursor):
            await queue.put(page)
    except SourceError as error:
        await queue.put(_End(error))
    else:
        await queue.put(_End(None))


async def _batch(queue: "asyncio.Queue[Page | _End]", clock: Clock) -> tuple[list[Page], _End | None]:
    """Return the pages for one transaction, and the end if it was reached."""
    first = await queue.get()
    if isinstance(first, _End):
        return [], first
    pages = [first]
    size = first.size_bytes
    with contextlib.suppress(TimeoutError):
        async with clock.timeout(MOST_SECONDS):
            while len(pages) < MOST_PAGES and size < MOST_BYTES:
                following = await queue.get()
                if isinstance(following, _End):
                    return pages, following
                pages.append(following)
                size += following.size_bytes
    return pages, None


async def count(source: Source, going: Listing) -> None:
    """Ask the service how many there are, apart from its list; where that cannot be told the list is judged alone."""
    try:
        going.counted = await source.count(going.type)
    except SourceError as error:
        get_log(source=source.name).info("listing.uncounted", type=going.type, reason=str(error))


async def judge(going: Listing, mirror: Mirror, limits: Limits) -> None:
    """Believe a listing that reached its end, or refuse it because it is suspiciously short.

    Raises:
        UnsafePlanError: it is not believed and marks nothing.
    """
    showing = await mirror.listings.showing(going)
    await _say(going, showing, mirror)
    accepted = False
    try:
        check_listing(showing, max_gone=limits.max_gone, min_known=limits.min_known)
    except UnsafePlanError as error:
        missing = showing.missing
        accepted = await mirror.listings.is_confirmed(going, missing)
        if not accepted:
            await mirror.listings.refuse(going, showing, str(error))
            accept = f"`fleetsync confirm {going.source} --gone {missing}` accepts it once"
            raise UnsafePlanError(f"{error}; nothing is marked gone; {accept}") from error
    await mirror.listings.complete(going, accepted=accepted)


async def _say(going: Listing, showing: Showing, mirror: Mirror) -> None:
    """Say it when a list begins to differ from the service's own count, and when it ends to."""
    log = get_log(source=going.source, cycle=going.cycle)
    agreed = await mirror.listings.agreed(going)
    if showing.disagreement is not None and agreed:
        log.warning("listing.disagrees", type=going.type, listed=showing.shown, reason=showing.disagreement)
    elif showing.disagreement is None and showing.counted is not None and not agreed:
        log.info("listing.agrees", type=going.type, listed=showing.shown)
