"""Listing: what the real `fleetsync sync` costs beside the floor, and beside scripts that people write."""

import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest import Bound, Case, Command, Suite
from benchmarks.service import Service, serving

_CONFIG = """
[sources.plant]
kind = "{kind}"
url = "{url}"
mode = "observe"
resources = ["device"]
auth = {{ method = "none" }}
rate = {{ {rate} }}
limits = {{ max_gone = "20%" }}
"""
_BENCH = Path(__file__).parent.parent / ".venv" / "bench" / "bin" / "python"
"""The environment that has dlt, where `make bench` could make it."""

_KINDS = {
    "central": ("iot-central", 'list = "1000000/s"'),
    "hub": ("iot-hub", 'query = "1000000/s", daily = 1000000000'),
}

FLEETSYNC = "fleetsync sync"
BEFORE = "fleetsync sync, before the change"
FETCH = "fetching alone"
FLOOR = "floor"
KEY_LAST = "floor, key last"
ORDERED = "floor, ordered"
PLAIN = "requests script"
DLT = "dlt"

FIRST = "first load"
UNCHANGED = "unchanged"
FAR = "20 ms a page"
_LARGE = 1_000_000
_FAR_MS = 20.0
_MOST_FAR = 100_000
"""Of more, pages that come so late would take minutes."""
SHARES = {"0.1 % changed": 0.001, "1 % changed": 0.01, "10 % changed": 0.1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The folder of a contest and the service in it."""

    folder: Path
    service: Service

    def begin(self) -> None:
        """Make everybody's folder empty, and the service quick."""
        self.service.wait(0.0)
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in (FLEETSYNC, FLOOR, KEY_LAST, ORDERED, PLAIN, DLT):
            self.of(name).mkdir(parents=True)
        kind, rate = _KINDS[self.service.shape]
        config = _CONFIG.format(kind=kind, url=self.service.base, rate=rate)
        (self.of(FLEETSYNC) / "config.toml").write_text(config)

    def of(self, name: str) -> Path:
        return self.folder / name.replace(" ", "-").replace(",", "")

    def sync(self) -> list[str]:
        config = self.of(FLEETSYNC) / "config.toml"
        return [sys.executable, "-m", "fleetsync", "--config", str(config), "sync"]

    def by_hand(self, way: str, name: str) -> Command:
        url = f"{self.service.shape}+{self.service.base}"
        return lambda: [sys.executable, "-m", "benchmarks.floor", way, url, str(self.of(name) / "floor.db")]

    def script(self, module: str, name: str, python: str) -> Command:
        return lambda: [python, "-m", f"benchmarks.{module}", self.service.base, str(self.of(name) / "a.db")]

    def others(self) -> Mapping[str, Command]:
        """Return what people write and use instead, as far as it is there; they know the shape of Central."""
        if self.service.shape != "central":
            return {}
        found = {PLAIN: self.script("plain", PLAIN, sys.executable)}
        if _BENCH.exists():
            found[DLT] = self.script("with_dlt", DLT, str(_BENCH))
        return found


def cases(place: Place, *, with_others: bool) -> list[Case]:
    others = place.others() if with_others else {}
    first = Case(
        name=FIRST,
        against=(FLOOR, KEY_LAST),
        contestants={
            FETCH: place.by_hand("fetch", FLOOR),
            FLOOR: place.by_hand("load", FLOOR),
            KEY_LAST: place.by_hand("load-key-last", KEY_LAST),
            FLEETSYNC: place.sync,
            **others,
        },
    )
    again: dict[str, Command] = {
        FETCH: place.by_hand("fetch", FLOOR),
        FLOOR: place.by_hand("compare-in", FLOOR),
        ORDERED: place.by_hand("compare-ordered", KEY_LAST),
        FLEETSYNC: place.sync,
    }
    unchanged = Case(name=UNCHANGED, against=(FETCH, FLOOR), contestants={**again, **others})
    return [first, unchanged, *(_changed(place, name, share, again) for name, share in SHARES.items())]


def _far(place: Place) -> Case:
    """Return an unchanged pass over a service elsewhere: nearly all of its time is waiting for pages."""
    contestants: dict[str, Command] = {FETCH: place.by_hand("fetch", FLOOR), FLEETSYNC: place.sync}
    return Case(name=FAR, against=(FETCH,), contestants=contestants, prepare=lambda: place.service.wait(_FAR_MS))


def _changed(place: Place, name: str, share: float, again: Mapping[str, Command]) -> Case:
    """Return a pass over what changed; right before it one over the same without a change, to compare it with."""
    contestants = {BEFORE: place.sync, FLEETSYNC: place.sync, **again}
    told: list[str] = []

    def prepare() -> None:
        """Change once per round, before the second contestant."""
        if len(told) % len(contestants) == 1:
            place.service.change(share)
        told.append(name)

    return Case(name=name, against=(FETCH, FLOOR), contestants=contestants, prepare=prepare)


def bounds(devices: int) -> list[Bound]:
    """Return what is wanted at this size: of few devices the start of a process counts, of many their rows do."""
    is_large = devices >= _LARGE
    return [
        *(_of_many(devices) if is_large else _of_few()),
        Bound(metric="cpu_s", of=_ours(UNCHANGED), to=(UNCHANGED, FETCH), most=2.3 if is_large else 2.0),
        Bound(metric="written_times", of=_ours(FIRST), most=4),
        Bound(metric="peak_mb", of=_ours(FIRST), most=120),
        Bound(metric="peak_mb", of=_ours(UNCHANGED), most=120),
    ]


def _of_few() -> list[Bound]:
    return [
        Bound(metric="cpu_s", of=_ours("1 % changed"), to=("1 % changed", BEFORE), most=1.25),
        Bound(metric="cpu_s", of=_ours("10 % changed"), to=("10 % changed", BEFORE), most=1.6),
        Bound(metric="wall_s", of=_ours(FAR), to=(FAR, FETCH), most=1.06),
        Bound(metric="cpu_s", of=_ours(FIRST), to=(FIRST, PLAIN), most=0.7),
        Bound(metric="cpu_s", of=_ours(UNCHANGED), to=(UNCHANGED, PLAIN), most=0.4),
        Bound(metric="cpu_s", of=_ours(FIRST), to=(FIRST, DLT), most=0.3),
        Bound(metric="cpu_s", of=_ours(UNCHANGED), to=(UNCHANGED, DLT), most=0.3),
    ]


def _of_many(devices: int) -> list[Bound]:
    return [
        # Of few, what a process and a cycle write to begin and to end is more: 90 KB, however many there are.
        Bound(metric="written_mb", of=_ours(UNCHANGED), most=devices / 100_000 * 0.065536),
        Bound(metric="cpu_s", of=_ours(FIRST), to=(FIRST, FLOOR), most=1.5),
        Bound(metric="wall_s", of=_ours(FIRST), to=(FIRST, FLOOR), most=1.5),
    ]


def _ours(case: str) -> tuple[str, str]:
    return case, FLEETSYNC


@contextlib.contextmanager
def suite(folder: Path, devices: int, *, shape: str, order: str, with_others: bool = True) -> Iterator[Suite]:
    """Give the contest for one shape of service and one order of its list."""
    title = f"{devices:,} devices of {_KINDS[shape][0]}, {order} order"
    with serving(devices, shape=shape, order=order) as service:
        place = Place(folder=folder, service=service)
        all_of = cases(place, with_others=with_others) + ([_far(place)] if devices <= _MOST_FAR else [])
        left = {FLEETSYNC: place.of(FLEETSYNC) / "fleetsync.db"}
        yield Suite(title=title, cases=all_of, begin=place.begin, left=left, bounds=bounds(devices))
