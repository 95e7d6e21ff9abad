"""Reading what listings do not carry, resource by resource, where a declaration wants it."""

from collections.abc import Sequence

from msgspec import Struct

from fleetsync.core.model import CycleId, Detail, Part, ResourceKey
from fleetsync.core.path import Path
from fleetsync.mirror.mirror import Mirror
from fleetsync.providers.base import Source
from fleetsync.reconcile.progress import Progress, Report
from fleetsync.reconcile.together import Batches, Hands, each

_BATCH = 100


class WantedDetail(Struct, frozen=True, kw_only=True):
    """A part that is to be read of a resource; `paths` are what declarations say of it."""

    key: ResourceKey
    part: Part
    paths: tuple[Path, ...]


async def read_details(
    source: Source, mirror: Mirror, wanted: Sequence[WantedDetail], cycle: CycleId, report: Report, hands: Hands
) -> int:
    """Read the wanted parts into the mirror, several at once; return how many could not be read.

    One that cannot be read stays unknown, and a plan says so. What was read by then is kept also when it is cut short.
    """
    done = 0

    async def store(read: Sequence[tuple[ResourceKey, Detail]]) -> None:
        for type in {key.type for key, _ in read}:
            details = [detail for key, detail in read if key.type == type]
            await mirror.record(source.name, source.kind.specs[type], details, cycle)

    def say() -> None:
        report(Progress(source=source.name, step="reading details", done=done, total=len(wanted)))

    async def ask(one: WantedDetail) -> None:
        nonlocal done
        await batches.add((one.key, await source.detail_at(one.key, one.part, one.paths)))
        done += 1
        say()

    batches = Batches(store, _BATCH)
    try:
        failed = await each(wanted, ask, hands)
    finally:
        await batches.flush()
    if wanted:
        say()  # who is told to end in there ends a worker, and here the cycle
    return failed
