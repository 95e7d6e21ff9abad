"""Many selectors in one pass: the same answers as one by one, and each answers for itself alone."""

import contextlib
import random
from collections.abc import Sequence

import pytest
from sqlalchemy import text

from fleetsync.core.bitmap import CHUNK_BITS
from fleetsync.core.model import DEVICE
from fleetsync.errors import MirrorError, TooLongError
from fleetsync.mirror.reader import Reader, reading
from fleetsync.mirror.scan import Scanned
from fleetsync.mirror.selection import Selection
from fleetsync.mirror.spool import Sorted
from tests.mirror.bench import Bench, page
from tests.mirror.test_selection import FLEET, declaration, found_by

SELECTORS = (
    None,
    "tags ->> 'site' = 'oslo'",
    "tags ->> 'site' IS DISTINCT FROM 'oslo'",
    "tags -> 'k' = '21'",
    "CAST(tags ->> 'n' AS numeric) > 21",
    "json_quote(tags -> 'site') = '\"oslo\"'",
    "json_array(tags) LIKE '[{%'",
    "json_type(tags) = 'object'",
    "enabled",
    "NOT enabled",
    "enabled = 1 OR id = 'bare'",
    "id = 5 OR id IN ('lyon')",
    "devices.id = 'oslo'",
    '"display_name" IS NULL',
    "ID LIKE 'LY%'",
    "first_seen_at > ago('30 days')",
    "id IN (SELECT id FROM devices WHERE NOT enabled)",
    "EXISTS (SELECT 1 FROM json_each(tags) j WHERE j.key = 'site')",
    "NULL",
    "'text'",
    "1 = 1 OR 1 = 0 AND 1",
)
FAILING = "json_extract(CASE WHEN id = 'lyon' THEN '{' ELSE '{}' END, '$') IS NULL"


def named(selectors: Sequence[str | None]) -> list:
    found = [declaration(where) for where in selectors]
    return [type(one)(name=f"d{n}", file="d.toml", line=1, leaves={}, where=one.where) for n, one in enumerate(found)]


@pytest.fixture
async def fleet(bench: Bench) -> Bench:
    await bench.listed(page())
    await bench.sight(*FLEET)
    return bench


async def test_together_selectors_select_what_each_selects_alone(fleet: Bench) -> None:
    wanted = named(SELECTORS * 7)  # more than one number has bits for
    alone = {one.name: found_by(fleet, one)[0][one.name] for one in wanted}

    together, faults = found_by(fleet, *wanted)

    assert faults == {}
    assert together == alone
    assert together["d0"] == {"oslo", "lyon", "bare"}
    assert together["d1"] == {"oslo"}


@pytest.mark.parametrize("place", [0, 57, 199])
async def test_one_of_two_hundred_that_fails_holds_only_itself(fleet: Bench, place: int) -> None:
    wanted = named([*(["enabled", "NOT enabled"] * 100)])
    wanted[place] = named([FAILING] * 200)[place]

    found, faults = found_by(fleet, *wanted)

    assert list(faults) == [f"d{place}"]
    assert "JSON" in faults[f"d{place}"]
    assert len(found) == 199
    assert {name: ids for name, ids in found.items() if ids != {"oslo"}}.keys() == {
        f"d{n}" for n in range(1, 200, 2) if n != place
    }


async def test_one_that_the_schema_refuses_holds_only_itself(fleet: Bench) -> None:
    found, faults = found_by(fleet, *named(["enabled", "unheard_of = 1", "NOT enabled"]))
    assert found == {"d0": {"oslo"}, "d2": {"lyon"}}
    assert list(faults) == ["d1"]


class Costly(Reader):
    """A reader whose time runs by the statement: one that looks at a chunk with a certain word in it takes `cost_s`."""

    cost_s = 0.0
    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def rows(self, sql, parameters=(), *, within_s=None):  # type: ignore[no-untyped-def]
        if "BETWEEN" in sql:
            limit_s = self.time_limit_s if within_s is None else within_s
            cost_s = self.cost_s if "'slow'" in sql else 0.01
            self.now_s += min(limit_s, cost_s)
            self.limits.append((limit_s, "'slow'" in sql))
            if limit_s < cost_s:
                raise TooLongError("late")
        return super().rows(sql, parameters, within_s=within_s)

    limits: list[tuple[float, bool]]


async def scanned_in(
    bench: Bench, chunks: int, *, slow: int | None, cost_s: float, reader: type[Costly] = Costly
) -> tuple[Scanned, list[tuple[float, bool]]]:
    """Scan so many chunks with two hundred selectors; return what that finds, and each statement's limit."""
    ids = [f"d{number:03}" for number in range(chunks)]
    await bench.listed(page(*ids))
    async with bench.mirror._writer.transaction() as transaction:
        for place, id in enumerate(ids):
            await transaction.run(text(f"UPDATE resource SET no = {(place + 1) * CHUNK_BITS + 5} WHERE id = '{id}'"))
    wanted = named(["id > ''" if number != slow else "'slow' <> id" for number in range(200)])
    with contextlib.closing(reader(bench.path, bench.clock)) as costly:
        costly.cost_s, costly.limits = cost_s, []
        return Selection(costly, {DEVICE: "devices"}).scan("plant", DEVICE, wanted), costly.limits


async def test_one_of_two_hundred_that_is_slow_holds_only_itself(bench: Bench) -> None:
    """Twelve seconds for each of four chunks are more than thirty."""
    scanned, limits = await scanned_in(bench, 4, slow=130, cost_s=12.0)

    assert scanned.faults == {"d130": "it took longer than the limit of 30 s"}
    assert {len(one) for name, one in scanned.matches.items() if name != "d130"} == {4}
    slow = [limit_s for limit_s, is_slow in limits if is_slow]
    assert slow == [2.0] * 9 + [30.0, 18.0, 6.0], "it is sought once, and then it goes alone"


async def test_one_that_is_slow_in_company_is_found_when_all_took_as_long_as_one_may(bench: Bench) -> None:
    scanned, limits = await scanned_in(bench, 60, slow=7, cost_s=1.5)

    assert scanned.faults == {"d7": "it took longer than the limit of 30 s"}
    assert {len(one) for name, one in scanned.matches.items() if name != "d7"} == {60}
    assert sum(1 for _, is_slow in limits if is_slow) < 60


async def test_a_machine_that_is_slow_with_all_of_them_holds_none(bench: Bench) -> None:
    """Five seconds for a chunk, a share of that for some of the selectors."""

    class Slow(Costly):
        def rows(self, sql, parameters=(), *, within_s=None):  # type: ignore[no-untyped-def]
            self.cost_s = 0.025 * max(1, sql.count("IS TRUE"))
            return super().rows(f"{sql} /* 'slow' */", parameters, within_s=within_s)

    scanned, limits = await scanned_in(bench, 12, slow=None, cost_s=0.0, reader=Slow)
    assert scanned.faults == {}
    assert {len(one) for one in scanned.matches.values()} == {12}
    # But for when the slowest is sought, they go on all at once.
    assert [limit_s for limit_s, _ in limits if limit_s < 30.0][-2:] == [8.0, 8.0]


async def test_a_fleet_of_several_chunks_is_selected_row_by_row(bench: Bench) -> None:
    ids = [f"d{number:05}" for number in range(2 * CHUNK_BITS + 7)]
    await bench.listed(page(*ids))
    expected = {f"d{n}": {id for id in ids if int(id[1:]) % 10 == n} for n in range(10)}
    found, faults = found_by(bench, *named([f"id LIKE '%{n}'" for n in range(10)]))
    assert faults == {}
    assert found == expected


async def test_what_is_interrupted_does_not_begin_again(fleet: Bench) -> None:
    with reading(fleet.path, fleet.clock) as reader:
        selection = Selection(reader, {DEVICE: "devices"})
        selection.interrupt()
        with pytest.raises(MirrorError, match="interrupted"):
            selection.scan("plant", DEVICE, named(["enabled", "NOT enabled"]))


def test_what_is_sorted_comes_by_key_and_then_as_it_came() -> None:
    items: Sorted[bytes] = Sorted(bytes)
    keys = [(random.Random(n).choice("ab"), f"{n % 700:03}", n) for n in range(2000)]
    for type, id, n in keys:
        items.add(type, id, b"%d" % n)
    expected = [b"%d" % n for type, id, n in sorted(keys)]
    assert list(items) == expected
    assert (len(items), items[3], items[-1], items[5:7]) == (2000, expected[3], expected[-1], tuple(expected[5:7]))
    assert items == expected
    assert items != expected[:-1]
    assert items != [*expected[:-1], b""]
    with pytest.raises(IndexError):
        items[2000]


async def test_a_row_of_another_source_or_that_is_gone_is_not_selected(fleet: Bench) -> None:
    await fleet.listed(page("other"), source="other")
    for _ in range(2):
        await fleet.bury(await fleet.listed(page("bare")))
    found, _ = found_by(fleet, *named(["1", "id > ''"]))
    assert found == {"d0": {"bare"}, "d1": {"bare"}}


def test_what_finds_no_room_says_where_it_is_needed() -> None:
    items: Sorted[bytes] = Sorted(bytes)
    items.add("a", "b", bytes(1 << 20))
    assert items._connection is not None
    items._connection.execute("PRAGMA max_page_count = 300")
    for _ in range(400):
        items.add("a", "b", bytes(1000))
    with pytest.raises(MirrorError, match="TMPDIR"):
        list(items)
