"""Growth: how many bytes of the database a device takes, a change of one, and a pass in which nothing changed.

A change is what a tenth of the fleet that was described anew adds for good: its event, and what its row grew by. Until
the history of it is old enough to be forgotten; then its place is used again, and the file grows no more.
"""

import contextlib
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.listing import FLEETSYNC, Place
from benchmarks.service import serving

_CHANGED = 0.1
_PASSES = 5


@dataclass(slots=True, kw_only=True)
class Grown:
    """What one shape of devices takes, in bytes."""

    shape: str
    document: float
    device: float
    change: float
    unchanged_pass: float


@dataclass(slots=True, kw_only=True)
class Growth:
    """The same for every shape."""

    folder: Path
    devices: int
    found: list[Grown] = field(default_factory=list)

    def run(self, _rounds: int) -> None:
        """Measure each shape once: sizes do not vary."""
        for shape in ("central", "hub"):
            with serving(self.devices, shape=shape) as service:
                self.found.append(self._measured(Place(folder=self.folder / shape, service=service), shape))

    def _measured(self, place: Place, shape: str) -> Grown:
        place.begin()
        database = place.of(FLEETSYNC) / "fleetsync.db"
        subprocess.run(place.sync(), check=True, capture_output=True)
        loaded, document = database.stat().st_size, _asked(database, "SELECT avg(size_bytes) FROM devices")
        before = _used(database)
        for _ in range(_PASSES):
            subprocess.run(place.sync(), check=True, capture_output=True)
        unchanged = (_used(database) - before) / _PASSES
        before = _used(database)
        events = _asked(database, "SELECT count(*) FROM history")
        for _ in range(_PASSES):
            place.service.change(_CHANGED)
            subprocess.run(place.sync(), check=True, capture_output=True)
        changes = _asked(database, "SELECT count(*) FROM history") - events
        return Grown(
            shape=shape,
            document=document,
            device=loaded / self.devices,
            change=(_used(database) - before) / changes,
            unchanged_pass=unchanged,
        )

    def table(self) -> str:
        """Return the sizes."""
        lines = [
            f"### Size of the database at {self.devices:,} devices, bytes",
            "",
            "| | document | device | change | unchanged pass |",
            "| --- | ---: | ---: | ---: | ---: |",
            *(
                f"| {one.shape} | {one.document:.0f} | {one.device:.0f} | {one.change:.0f} | {one.unchanged_pass:.0f} |"
                for one in self.found
            ),
        ]
        return "\n".join([*lines, ""])


def _asked(database: Path, question: str) -> float:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        [(answer,)] = connection.execute(question).fetchall()
    return float(answer)


def _used(database: Path) -> float:
    """Return how many bytes of the file are in use: what was given back inside of it is used again."""
    pages = _asked(database, "PRAGMA page_count") - _asked(database, "PRAGMA freelist_count")
    return pages * _asked(database, "PRAGMA page_size")


@contextlib.contextmanager
def suite(folder: Path, devices: int) -> Iterator[Growth]:
    """Give what measures fleets of so many devices."""
    yield Growth(folder=folder, devices=devices)
