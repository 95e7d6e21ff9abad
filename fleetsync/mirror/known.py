"""What the mirror knows, for providers whose requests depend on it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from fleetsync.core.model import ResourceKey, ResourceType
from fleetsync.errors import MirrorError, NotYetError, TooLongError, UsageError
from fleetsync.mirror.reader import Reader, Readers
from fleetsync.transport.threads import DaemonThreads

T = TypeVar("T")

_AT_ONCE = 4
_DOCUMENT = "SELECT document FROM resource WHERE source = ? AND type = ? AND id = ? AND gone_at IS NULL"
_OBSERVED = "SELECT observed_at FROM resources WHERE source = ? AND type = ? AND id = ? AND gone_at IS NULL"
_COVERAGE = (
    "SELECT 1 FROM coverage c JOIN source s ON s.name = c.source AND s.configured WHERE c.source = ? AND c.type = ?"
)
_IDS = "SELECT id FROM resource WHERE source = ? AND type = ? AND gone_at IS NULL AND id > ? ORDER BY id LIMIT ?"


class Known:
    """Reads what is committed, in threads of its own: the loop does not wait, and nothing is held between two calls."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._threads = DaemonThreads(_AT_ONCE)

    async def document(self, key: ResourceKey) -> bytes | None:
        """Return the document of a resource that is there; None where there is no such, or no database yet.

        Raises:
            MirrorError: the database cannot be read.
        """
        try:
            return await self._read(partial(_document, key))
        except NotYetError:
            return None

    async def observed_at(self, key: ResourceKey) -> datetime | None:
        """Return since when at the latest a resource is known to be as it is; None where there is no such.

        Raises:
            MirrorError: the database cannot be read.
        """
        try:
            return await self._read(partial(_observed_at, key))
        except NotYetError:
            return None

    async def ids(self, source: str, type: ResourceType, *, after: str, most: int) -> Sequence[str]:
        """Return the first ids after `after`, by code point, of what is there.

        Raises:
            NotYetError: nobody listed it completely yet: what is there is not known.
            MirrorError: the database cannot be read.
        """
        return await self._read(partial(_ids, source, type, after, most))

    async def _read(self, read: Callable[[Reader], T]) -> T:
        def work() -> T:
            with self._readers.reading() as reader:
                try:
                    return read(reader)
                except (UsageError, TooLongError) as error:
                    raise MirrorError(f"database {self._readers.path}: {error}") from error

        return await self._threads.run(work)


def _document(key: ResourceKey, reader: Reader) -> bytes | None:
    for (document,) in list(reader.rows(_DOCUMENT, (key.source, key.type, key.id))):
        return str(document).encode()
    return None


def _observed_at(key: ResourceKey, reader: Reader) -> datetime | None:
    for (at,) in list(reader.rows(_OBSERVED, (key.source, key.type, key.id))):
        return datetime.fromisoformat(at)
    return None


def _ids(source: str, type: ResourceType, after: str, most: int, reader: Reader) -> Sequence[str]:
    if not list(reader.rows(_COVERAGE, (source, type))):
        what = f"which {type}s {source} has is not known before its first complete listing"
        raise NotYetError(f"{what}: run `fleetsync sync {source}` first, or let the daemon do it")
    return [id for (id,) in reader.rows(_IDS, (source, type, after, most))]
