"""What is stored of rates, for the next process."""

import datetime

from msgspec.structs import replace

from fleetsync.core.pace import TOTAL, StoredPace, StoredScope
from fleetsync.mirror.reader import reading
from fleetsync.mirror.scopes import stored_scopes
from tests.fakes.clock import START
from tests.mirror.bench import Bench

HUB = "hub contoso.azure-devices.net"
TODAY, TOMORROW = datetime.date(2026, 11, 21), datetime.date(2026, 11, 22)
PACE = StoredPace(operation="query", per_s=0.125, at=START, held_until=START + datetime.timedelta(hours=1), why="x")
KEEP = {"history_s": 1e9, "gone_s": 1e9, "cycles_s": 1e9}


def stored(bench: Bench) -> dict[str, StoredScope]:
    with reading(bench.path, bench.clock) as reader:
        return stored_scopes(reader)


async def test_what_is_stored_is_read_as_it_was(bench: Bench) -> None:
    total = StoredPace(operation=TOTAL, per_s=12.0, at=START, held_until=None, why="")
    await bench.mirror.paces.store(HUB, StoredScope(paces=(PACE,), spent={TODAY: 5}))
    await bench.mirror.paces.store("application a", StoredScope(paces=(total,)))

    assert stored(bench) == {
        HUB: StoredScope(paces=(PACE,), spent={TODAY: 5}),
        "application a": StoredScope(paces=(total,)),
    }


async def test_a_pace_is_replaced_and_what_was_spent_is_added(bench: Bench) -> None:
    later = replace(PACE, per_s=0.25, held_until=None, why="")
    await bench.mirror.paces.store(HUB, StoredScope(paces=(PACE,), spent={TODAY: 5}))
    await bench.mirror.paces.store(HUB, StoredScope(paces=(later,), spent={TODAY: 2, TOMORROW: 1}))

    assert stored(bench) == {HUB: StoredScope(paces=(later,), spent={TODAY: 7, TOMORROW: 1})}


async def test_what_no_process_needs_any_more_is_forgotten(bench: Bench) -> None:
    await bench.mirror.paces.store(HUB, StoredScope(paces=(PACE,), spent={TODAY: 5}))
    assert await bench.mirror.prune(**KEEP) == 0
    bench.clock.step(6 * 86_400.0)
    assert await bench.mirror.prune(**KEEP) == 0
    bench.clock.step(2 * 86_400.0)
    assert await bench.mirror.prune(**KEEP) == 2
    assert stored(bench) == {}
