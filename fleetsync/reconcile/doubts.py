"""Where a list lags behind: what it says that may be old is asked for, before a page is stored."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from fleetsync.core.merge_patch import same
from fleetsync.core.model import Page, Resource, ResourceKey, Unreadable
from fleetsync.errors import NotFoundError, SourceError
from fleetsync.mirror.listings import Listing
from fleetsync.mirror.mirror import Mirror
from fleetsync.providers.base import Source
from fleetsync.reconcile.together import Hands, each


async def settled(source: Source, going: Listing, mirror: Mirror, pages: Sequence[Page], hands: Hands) -> list[Page]:
    """Return pages as they may be believed: what was doubtful is replaced by what a read shows now.

    What the service does not find is left out, as if it had not been listed. What it cannot answer for stays there as
    it was; the next listing doubts it again.

    Raises:
        SourceError: the service as a whole does not go on.
    """
    if not going.spec.lags:
        return list(pages)
    return [await _settled(source, going, mirror, page, hands) for page in pages]


async def _read(source: Source, going: Listing, mirror: Mirror, key: ResourceKey) -> Resource:
    """Return a resource as it is now, and whether it is another than the one that is stored, where that can be told."""
    resource, part = await source.read(key), going.spec.incarnation
    known = await mirror.detail(key, part) if part is not None else None
    if part is None or known is None:
        return resource
    now = msgspec.json.decode((await source.detail(key, part)).document)
    return replace(resource, is_another=not same(known, now))


async def _settled(source: Source, going: Listing, mirror: Mirror, page: Page, hands: Hands) -> Page:
    doubtful = await mirror.listings.doubtful(going, page)
    if not doubtful:
        return page
    found: dict[str, Resource | Unreadable | None] = {}

    async def ask(id: str) -> None:
        try:
            found[id] = await _read(source, going, mirror, ResourceKey(source.name, going.type, id))
        except NotFoundError:
            found[id] = None
        except SourceError as error:
            found[id] = Unreadable(id=id, reason=str(error))
            raise

    await each(sorted(doubtful), ask, hands)
    return replace(
        page,
        resources=(
            *(one for one in page.resources if one.id not in doubtful),
            *(one for one in found.values() if isinstance(one, Resource)),
        ),
        unreadable=(*page.unreadable, *(one for one in found.values() if isinstance(one, Unreadable))),
    )
