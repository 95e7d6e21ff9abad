"""Reading what listings do not carry, resource by resource, where a declaration wants it."""

from collections.abc import Iterator, Sequence

from fleetsync.core.model import CycleId, Detail, Part, ResourceKey
from fleetsync.errors import ResourceError
from fleetsync.mirror.mirror import Mirror
from fleetsync.providers.base import Source
from fleetsync.reconcile.progress import Progress, Report
from fleetsync.reconcile.together import together

_AT_ONCE = 16
_BATCH = 100


async def read_details(
    source: Source, mirror: Mirror, wanted: Sequence[tuple[ResourceKey, Part]], cycle: CycleId, report: Report
) -> int:
    """Read the wanted parts into the mirror, several at once; return how many could not be read.

    One that cannot be read stays unknown, and a plan says so.
    """
    failed = 0
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        read = await _read(source, batch)
        for type in {key.type for key, _ in batch}:
            details = [detail for key, detail in read if key.type == type]
            await mirror.record(source.name, source.kind.specs[type], details, cycle)
        failed += len(batch) - len(read)
        report(Progress(source=source.name, step="reading details", done=start + len(batch), total=len(wanted)))
    return failed


async def _read(source: Source, batch: Sequence[tuple[ResourceKey, Part]]) -> list[tuple[ResourceKey, Detail]]:
    read: list[tuple[ResourceKey, Detail]] = []

    async def work(waiting: Iterator[tuple[ResourceKey, Part]]) -> None:
        for key, part in waiting:
            try:
                read.append((key, await source.detail(key, part)))
            except ResourceError:
                continue

    waiting = iter(batch)
    async with together() as group:
        for _ in range(min(_AT_ONCE, len(batch))):
            group.create_task(work(waiting))
    return read
