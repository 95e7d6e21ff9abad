"""What a provider's test lets the mirror know, without a mirror."""

import datetime
from collections.abc import Mapping, Sequence

from fleetsync.core.model import ResourceKey, ResourceType
from fleetsync.errors import NotYetError


class KnownDocuments(dict[ResourceKey, bytes]):
    """A `Known` made of documents: a source is known, completely, if it has any."""

    def __init__(self, documents: Mapping[ResourceKey, bytes] | None = None) -> None:
        super().__init__(documents or {})
        self.observed: dict[ResourceKey, datetime.datetime] = {}

    async def document(self, key: ResourceKey) -> bytes | None:
        return self.get(key)

    async def observed_at(self, key: ResourceKey) -> datetime.datetime | None:
        return self.observed.get(key)

    async def ids(self, source: str, type: ResourceType, *, after: str, most: int) -> Sequence[str]:
        found = sorted(key.id for key in self if (key.source, key.type) == (source, type))
        if not found:
            raise NotYetError(f"which {type}s {source} has is not known")
        return [id for id in found if id > after][:most]
