"""Where a list lags behind: what it says that may be old is asked for, before a page is stored."""

import msgspec

from fleetsync.core.kind import Succession
from fleetsync.core.merge_patch import same
from fleetsync.core.model import Page, Resource, ResourceKey, Unreadable
from fleetsync.errors import NotFoundError, SourceError
from fleetsync.mirror.listings import Listing
from fleetsync.mirror.mirror import Mirror
from fleetsync.providers.base import Source
from fleetsync.reconcile.together import Hands, each


async def settled(source: Source, going: Listing, mirror: Mirror, page: Page, hands: Hands) -> Page:
    """Return a page as it may be believed: what was doubtful is replaced by what a read shows now.

    What the service does not find is left out, as if it had not been listed. What it cannot answer for stays there as
    it was; the next listing doubts it again.

    Raises:
        SourceError: the service as a whole does not go on.
    """
    doubtful = await mirror.listings.doubtful(going, [page])
    if not doubtful:
        return page
    found: list[Resource] = []
    unanswered: list[Unreadable] = []

    async def ask(id: str) -> None:
        try:
            found.append(await read_now(source, going, mirror, id))
        except NotFoundError:
            pass
        except SourceError as error:
            unanswered.append(Unreadable(id=id, reason=str(error)))
            raise

    await each(sorted(doubtful), ask, hands)
    return Page(
        resources=[*(one for one in page.resources if one.id not in doubtful), *found],
        unreadable=[*page.unreadable, *unanswered],
        next=page.next,
    )


async def read_now(source: Source, going: Listing, mirror: Mirror, id: str) -> Resource:
    """Return a resource as it is now, and whether it is another than the one that is stored, where that can be told."""
    key, part = ResourceKey(source.name, going.type, id), going.spec.incarnation
    resource = await source.read(key)
    if part is None or (
        await mirror.succession(source.name, going.spec, resource, going.cycle) is not Succession.UNCLEAR
    ):
        return resource
    known = await mirror.detail(key, part)
    if known is None:
        return resource
    now = msgspec.json.decode((await source.detail(key, part)).document)
    return msgspec.structs.replace(resource, is_another=not same(known, now))
