"""Thirty virtual days of the daemon: once the first history is old enough to be forgotten, nothing grows any more."""

import asyncio
import gc
from collections import Counter
from dataclasses import dataclass
from random import Random

from fleetsync.mirror.wal import WAL_KEPT_BYTES, wal_bytes
from tests.simulation.place_central import Central
from tests.simulation.process import Process
from tests.simulation.run import Stage
from tests.simulation.world import World

DAY_S = 86_400.0
INTERVAL_S = 6 * 3600
KEEP = '[database]\nkeep_history = "4d"\nkeep_gone = "4d"\nkeep_cycles = "4d"\n'
TABLES = (
    "resource",
    "resource_name",
    "event",
    "write",
    "cycle",
    "listing",
    "seen",
    "drift_leaf",
    "pace",
    "spending",
    "selected",
)


@dataclass
class Size:
    """How large everything is."""

    rows: Counter[str]
    file_bytes: int
    wal_bytes: int
    objects: Counter[str]

    def grew(self, before: "Size", share: float) -> list[str]:
        """Return what grew by more than this share, and by more than a few."""
        found = [
            f"{name}: {before_rows} rows, then {self.rows[name]}"
            for name, before_rows in before.rows.items()
            if self.rows[name] > before_rows * (1 + share) + 3
        ]
        found += [
            f"{name}: {before.objects[name]} objects, then {count}"
            for name, count in self.objects.items()
            if count > before.objects[name] * (1 + share) + 30
        ]
        if self.file_bytes > before.file_bytes * (1 + share):
            found.append(f"the file: {before.file_bytes} bytes, then {self.file_bytes}")
        return found


def measured(world: World, process: Process) -> Size:
    path = world.machine.database
    rows = Counter({name: process.rows(f'SELECT count(*) FROM "{name}"')[0][0] for name in TABLES})
    return Size(rows, path.stat().st_size, wal_bytes(path), ours())


def ours() -> Counter[str]:
    """Count the objects that the program keeps, and what it could leave behind in the loop and in the interpreter."""
    gc.collect()
    kinds = Counter[str]()
    for one in gc.get_objects():
        kind = type(one)
        name = getattr(kind, "__module__", "")
        if isinstance(one, asyncio.Task | asyncio.Future | BaseException):
            kinds[kind.__name__] += 1
        elif isinstance(name, str) and name.startswith("fleetsync.") and not name.startswith("fleetsync.simulator"):
            kinds[f"{name}.{kind.__name__}"] += 1
    return kinds


def test_nothing_grows_once_what_is_old_is_forgotten(staged: Stage) -> None:
    with staged.set(5, (Central,)) as world:
        [place] = world.places
        random = Random(5)
        place.interval_s = INTERVAL_S
        world.more_toml = KEEP
        world._tomls[place.name] = place.toml()
        world.write_configuration()
        process = world.start()
        names = iter(range(10_000))

        def happen() -> None:
            """Let operators change some devices, add one, and delete the one that they added before."""
            for key in random.sample(sorted(place.truth()), 3):
                place.disturb(random, *key)
            number = next(names)
            place.cloud.add_device(f"soak-{number:05}")
            if number:
                place.cloud.delete_device(f"soak-{number - 1:05}")
                place.deleted.add(("device", f"soak-{number - 1:05}"))
            world.log.clear()
            world.agenda.after(INTERVAL_S, happen)

        world.agenda.after(INTERVAL_S / 2, happen)
        sizes = []
        for day in (10, 20, 30):
            process.run(day * DAY_S)
            sizes.append(measured(world, process))
        assert not process.has_ended
        first, *later = sizes
        assert first.rows["event"] > 30
        assert first.rows["write"] > 3
        assert first.rows["cycle"] > 12
        assert [one.grew(first, 0.15) for one in later] == [[], []]
        assert max(one.wal_bytes for one in sizes) <= WAL_KEPT_BYTES
        assert sum(count for name, count in process.rows("SELECT outcome, count(*) FROM cycle GROUP BY 1")) < 30
        assert process.rows("SELECT state FROM sources") == [("up",)]
