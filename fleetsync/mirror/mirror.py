"""The mirror, open for writing: its lock, its one writer connection, and the parts that use it."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path

from fleetsync.clock import Clock
from fleetsync.core.kind import Kind, Succession, TypeSpec
from fleetsync.core.model import CycleId, Detail, Part, Resource, ResourceKey, ResourceType
from fleetsync.errors import MirrorError
from fleetsync.mirror import schema, sightings
from fleetsync.mirror.checkpoint import put_back
from fleetsync.mirror.cycles import Cycles
from fleetsync.mirror.engine import Statements, Writer, open_writer
from fleetsync.mirror.journal import Journal
from fleetsync.mirror.late import Late
from fleetsync.mirror.listings import Listings
from fleetsync.mirror.lock import locked
from fleetsync.mirror.paces import Paces
from fleetsync.mirror.prune import prune
from fleetsync.mirror.reader import Readers, reading
from fleetsync.mirror.reloads import Reloads
from fleetsync.mirror.resources import Scope
from fleetsync.mirror.selection import Selection
from fleetsync.mirror.views import view_of
from fleetsync.mirror.wishes import Wishes


class Mirror:
    """Everything that writes to the database goes through here, one transaction at a time."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock, views: Mapping[ResourceType, str]) -> None:
        self._writer = writer
        self._clock = clock
        self._views = views
        self.path = writer.path
        self.readers = readers
        self._late = Late()
        self.listings = Listings(writer, clock, self._late)
        self.journal = Journal(writer, clock, self._late)
        self.cycles = Cycles(writer, clock)
        self.reloads = Reloads(writer, clock)
        self.wishes = Wishes(writer, clock)
        self.paces = Paces(writer)

    async def record(self, source: str, spec: TypeSpec, shown: Iterable[Resource | Detail], cycle: CycleId) -> None:
        """Store what reads showed of single resources, in one transaction."""
        scope = Scope(source=source, type=spec.type, cycle=cycle, at=self._clock.now())
        every = tuple(shown)

        def record(on: Statements) -> None:
            self._late.build_early(on)
            for one in every:
                sightings.record(on, scope, spec, one)

        await self._writer.together(record)

    async def succession(self, source: str, spec: TypeSpec, shown: Resource, cycle: CycleId) -> Succession:
        """Return what a read of a resource is to what is stored of its id."""
        scope = Scope(source=source, type=spec.type, cycle=cycle, at=self._clock.now())
        return await self._writer.together(lambda on: sightings.succession_of(on, scope, spec, shown))

    async def detail(self, key: ResourceKey, part: Part) -> object:
        """Return a part of a resource, decoded, that was read apart from its listing; None where it is not known."""
        return await self._writer.together(lambda on: sightings.detail(on, key, part))

    async def prune(self, *, history_s: float, gone_s: float, cycles_s: float) -> int:
        """Forget what is older than these seconds; see `prune.py`."""
        return await prune(self._writer, self._clock, history_s=history_s, gone_s=gone_s, cycles_s=cycles_s)

    async def put_back(self) -> int:
        """Put the journal back into the file if it has grown, and return its size in bytes; see `checkpoint.py`."""
        return await put_back(self._writer)

    @contextlib.contextmanager
    def selection(self) -> Iterator[Selection]:
        """Give a reader for planning; it sees what is committed."""
        with self.readers.reading() as reader, contextlib.closing(Selection(reader, self._views)) as selection:
            yield selection


@contextlib.asynccontextmanager
async def open_mirror(
    path: Path, kinds: Iterable[Kind], clock: Clock, *, create: bool = True, upgrade: bool = False
) -> AsyncIterator[Mirror]:
    """Open the mirror for writing; if there is none, make one where `create` allows it.

    Raises:
        NotYetError: there is none, and none is to be made.
        LockedError: another process has it.
        SchemaMismatchError: another version made it; `upgrade` brings an older one up to date.
        MirrorError: it cannot be written.
    """
    kinds = tuple(kinds)
    if not create:
        with reading(path, clock, any_schema=True):
            pass
    with _held(path):
        async with open_writer(path) as writer:
            await schema.prepare(writer, kinds, upgrade=upgrade)
            with contextlib.closing(Readers(path, clock)) as readers:
                yield Mirror(writer, readers, clock, view_of(kinds))


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path))
        except OSError as error:
            raise MirrorError(f"database {path}: {error.strerror}") from error
        yield
