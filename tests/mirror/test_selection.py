"""Selectors: the users' SQL over the mirror, inside its brackets."""

from typing import Any

import pytest

from fleetsync.core.bitmap import Bitmap
from fleetsync.core.declaration import Declaration
from fleetsync.core.model import DEVICE, ResourceType
from fleetsync.mirror.blank import faults_of
from fleetsync.providers.iot_central import KIND
from tests.fakes.clock import FakeClock
from tests.mirror.bench import Bench, page, resource

FLEET = (
    resource("oslo", '{"id":"oslo","tags":{"site":"oslo","k":21,"b":true,"n":"30"}}', enabled=True, display_name="O"),
    resource("lyon", '{"id":"lyon","tags":{"site":"lyon","k":"21","b":"true","n":"5"}}', enabled=False),
    resource("bare", '{"id":"bare"}'),
)


@pytest.fixture
async def fleet(bench: Bench) -> Bench:
    await bench.listed(page())
    await bench.sight(*FLEET)
    return bench


def declaration(where: str | None, type: ResourceType = DEVICE) -> Declaration:
    return Declaration(name="d", file="d.toml", line=1, leaves={}, where=where, type=type)


def found_by(
    bench: Bench, *declarations: Declaration, source: str = "plant"
) -> tuple[dict[str, set[str]], dict[str, str]]:
    """Return by declaration the ids that it selects, and what is wrong with it."""
    with bench.mirror.selection() as selection:
        scanned = selection.scan(source, DEVICE, declarations)
        found: dict[str, set[str]] = {one.name: set() for one in declarations if one.name not in scanned.faults}
        for row, names in selection.rows(scanned.rows()):
            for name in names:
                found[name].add(row.resource.id)
        counts = {name: len(scanned.matches[name]) for name in found}
        assert counts == {name: len(ids) for name, ids in found.items()}
        for name in found:
            assert len(Bitmap(dict(scanned.matches[name].chunks()))) == counts[name]
        return found, scanned.faults


def select(bench: Bench, where: str | None) -> str | None:
    """Return what is wrong with a selector, which selects nothing then."""
    _, faults = found_by(bench, declaration(where))
    return faults.get("d")


def ids(bench: Bench, where: str | None, **more: Any) -> list[str]:
    """Return what a selector selects."""
    found, faults = found_by(bench, declaration(where), **more)
    assert faults == {}
    return sorted(found["d"])


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (None, ["bare", "lyon", "oslo"]),
        ("tags ->> 'site' = 'oslo'", ["oslo"]),
        ("tags ->> 'site' IS DISTINCT FROM 'oslo'", ["bare", "lyon"]),
        ("tags -> 'k' = '21'", ["oslo"]),
        ("tags -> 'b' = 'true'", ["oslo"]),
        ("CAST(tags ->> 'n' AS numeric) > 21", ["oslo"]),
        ("enabled", ["oslo"]),
        ("NOT enabled", ["lyon"]),
        ("enabled IS NULL", ["bare"]),
        ("NULL", []),
        ("first_seen_at < ago('1 second')", []),
        ("first_seen_at > ago('30 days')", ["bare", "lyon", "oslo"]),
        ("enabled OR id = 'bare'", ["bare", "oslo"]),
        ("\"display_name\" = 'O'", ["oslo"]),
        ("id IN (SELECT id FROM devices WHERE NOT enabled)", ["lyon"]),
        ("EXISTS (SELECT 1 FROM json_each(tags) j WHERE j.key = 'site')", ["lyon", "oslo"]),
    ],
)
async def test_a_selector_selects_what_it_says(fleet: Bench, where: str | None, found: list[str]) -> None:
    assert ids(fleet, where) == found


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("enabled) OR (enabled", "bracket"),
        ("1) UNION SELECT 1 WHERE (1", "bracket"),
        ("enabled -- all", "comments"),
        ("enabled /*", "comments"),
        ("enabled; DELETE FROM resource", "semicolon"),
        ("unheard_of = 1", "no such column: unheard_of"),
        ('"oslo" = id', "no such column: 'oslo'"),
        ("enabled ORDER BY id", "syntax error"),
        ("enabled LIMIT 1", "syntax error"),
        ("1 UNION SELECT id FROM devices", "syntax error"),
        ("COUNT(*) > 0", "misuse of aggregate"),
        ("id IN (SELECT resource_id FROM history)", "not allowed"),
        ("id IN (SELECT id FROM resource)", "not allowed"),
        ("id IN (SELECT id FROM resources)", "not allowed"),
        ("id IN (WITH devices AS (SELECT * FROM event) SELECT resource_id FROM devices)", "is a view"),
        ("id IN (SELECT name FROM unheard_of)", "no such table"),
        ("load_extension('x')", "load_extension"),
        ("randomblob(10) IS NULL", "randomblob"),
        ("no = 1", "no such column: no"),
        ("r.no = 1", "no such column: r.no"),
        ("d.id = 'oslo'", "no such column: d.id"),
        ("", "empty"),
        ("SELECT 1", "syntax error"),
    ],
)
async def test_a_selector_that_is_wrong_is_held_and_selects_nothing(fleet: Bench, where: str, reason: str) -> None:
    before = fleet.rows("SELECT * FROM resource")
    error = select(fleet, where)
    assert reason in (error or "")
    assert fleet.rows("SELECT * FROM resource") == before
    assert [fault for _, fault in faults_of([declaration(where)], [KIND], FakeClock())] == [error]


async def test_a_right_selector_is_right_without_any_data() -> None:
    assert faults_of([declaration("tags ->> 'x' = '1'"), declaration(None)], [KIND], FakeClock()) == []


async def test_a_selector_that_fails_on_the_data_says_so(fleet: Bench) -> None:
    assert "JSON" in (select(fleet, "json_extract(id, '$.x') = 1") or "")
    assert "30 days" in (select(fleet, "first_seen_at > ago(id)") or "")


async def test_only_rows_of_the_source_that_are_there_are_selected(fleet: Bench) -> None:
    await fleet.listed(page("oslo"), source="other")
    assert ids(fleet, "id = 'oslo'") == ["oslo"]
    assert ids(fleet, "1", source="nobody") == []
    for _ in range(2):
        await fleet.bury(await fleet.listed(page("bare")))
    assert ids(fleet, "1") == ["bare"]


async def test_a_selector_over_other_rows_waits_until_every_source_is_fresh(fleet: Bench) -> None:
    both, alone = declaration("id IN (SELECT id FROM devices)"), declaration("enabled")
    with fleet.mirror.selection() as selection:
        longest_s = {"plant": 900.0, "other": 900.0}
        for ages_s, is_held in [
            ({"plant": 1.0, "other": 1.0}, False),
            ({"plant": 1.0, "other": 900.0}, False),
            ({"plant": 1.0, "other": 901.0}, True),
            ({"plant": 1.0, "other": None}, True),
        ]:
            assert (selection.stale(both, ages_s, longest_s) is not None) is is_held
            assert selection.stale(alone, ages_s, longest_s) is None
            assert selection.stale(declaration(None), ages_s, longest_s) is None


async def test_a_row_is_found_by_its_id_byte_for_byte(fleet: Bench) -> None:
    with fleet.mirror.selection() as selection:
        row = selection.find("plant", DEVICE, "oslo")
        assert row is not None
        assert row.resource.id == "oslo"
        assert selection.find("plant", DEVICE, "OSLO") is None
        assert selection.find("plant", DEVICE, "' OR 1 --") is None


async def test_ages_are_counted_from_the_last_complete_cycle(bench: Bench) -> None:
    with bench.mirror.selection() as selection:
        assert selection.ages_s(bench.clock.now()) == {"plant": None}
        assert selection.known("plant") == 0
        assert selection.known("nobody") == 0


async def test_many_rows_come_in_the_order_of_their_numbers(bench: Bench) -> None:
    await bench.listed(page(*(f"d{number:04}" for number in range(1200))))
    with bench.mirror.selection() as selection:
        rows = list(selection.rows(selection.scan("plant", DEVICE, [declaration(None)]).rows()))
        assert [row.resource.id for row, _ in rows] == [f"d{number:04}" for number in range(1200)]
        assert selection.known("plant") == 1200
