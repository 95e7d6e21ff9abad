"""Reading what listings do not carry, resource by resource, where a declaration wants it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleetsync.core.model import CycleId, Detail, Part, ResourceKey
from fleetsync.core.path import Path
from fleetsync.mirror.mirror import Mirror
from fleetsync.providers.base import Source
from fleetsync.reconcile.progress import Progress, Report
from fleetsync.reconcile.together import each

_BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedDetail:
    """A part that is to be read of a resource; `paths` are what declarations say of it."""

    key: ResourceKey
    part: Part
    paths: tuple[Path, ...]


async def read_details(
    source: Source, mirror: Mirror, wanted: Sequence[WantedDetail], cycle: CycleId, report: Report
) -> int:
    """Read the wanted parts into the mirror, several at once; return how many could not be read.

    One that cannot be read stays unknown, and a plan says so.
    """
    failed = 0
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]

        def say(done: int, start: int = start) -> None:
            report(Progress(source=source.name, step="reading details", done=start + done, total=len(wanted)))

        read, failures = await _read(source, batch, say)
        failed += failures
        for type in {one.key.type for one in batch}:
            details = [detail for key, detail in read if key.type == type]
            await mirror.record(source.name, source.kind.specs[type], details, cycle)
        say(len(batch))
    return failed


async def _read(
    source: Source, batch: Sequence[WantedDetail], say: Callable[[int], None]
) -> tuple[list[tuple[ResourceKey, Detail]], int]:
    """Return what could be read, also when `say` ends the cycle in the middle of it, and how many could not."""
    read: list[tuple[ResourceKey, Detail]] = []

    async def ask(one: WantedDetail) -> None:
        read.append((one.key, await source.detail_at(one.key, one.part, one.paths)))
        say(len(read))

    return read, await each(batch, ask)
