"""Reading what listings do not carry, resource by resource, where a declaration wants it."""

from collections.abc import Sequence

from fleetsync.core.model import CycleId, Detail, Part, ResourceKey
from fleetsync.mirror.mirror import Mirror
from fleetsync.providers.base import Source
from fleetsync.reconcile.progress import Progress, Report
from fleetsync.reconcile.together import each

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
        read: list[tuple[ResourceKey, Detail]] = []

        async def ask(one: tuple[ResourceKey, Part], read: list[tuple[ResourceKey, Detail]] = read) -> None:
            read.append((one[0], await source.detail(*one)))

        failed += await each(batch, ask)
        for type in {key.type for key, _ in batch}:
            details = [detail for key, detail in read if key.type == type]
            await mirror.record(source.name, source.kind.specs[type], details, cycle)
        report(Progress(source=source.name, step="reading details", done=start + len(batch), total=len(wanted)))
    return failed
