"""Azure Sphere's legacy service, as its user sees it: sign-in, the days that are left, enums by name."""

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.cli.warnings import ending_services
from fleetsync.config.load import load
from fleetsync.providers.base import all_kinds
from fleetsync.simulator import Cloud, Options
from tests.cli.bench import Bench, served
from tests.fakes.clock import FakeClock

OPTIONS = Options(kinds=("sphere-legacy",), sphere_devices=30, sphere_rate="none", latency_s=0.0)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with served(OPTIONS) as cloud:
        made = Bench(folder=tmp_path, cloud=cloud)
        made.config.write_text(f'{cloud.configuration()}[sources.tenant.rate]\nread = "1000/s"\nwrite = "1000/s"\n')
        yield made


def test_an_application_signs_in_for_its_own_resource_and_sees_its_tenant(tmp_path: Path) -> None:
    with served(Options(kinds=("sphere-legacy",), devices=40, latency_s=0.0, tls=tmp_path / "tls")) as cloud:
        made = Bench(folder=tmp_path, cloud=cloud)
        made.config.write_text(cloud.configuration())
        found = made.json("check", "--online")
        assert found["sources"][0]["online"] == {"product": None, "device-group": None, "device": None}

        made.config.write_text(
            cloud.configuration().replace(cloud.sphere.tenant.id, "0" * 8 + cloud.sphere.tenant.id[8:])
        )
        online = made.json("check", "--online")["sources"][0]["online"]
    assert list(online) == ["product"]
    assert f"none of those that this identity has a role in: {cloud.sphere.tenant.id} Contoso" in online["product"]


def test_check_and_status_say_when_the_service_ends_and_what_to_do(bench: Bench) -> None:
    assert bench.run("sync").exit_code == 0
    checked = [one["message"] for one in bench.json("check")["warnings"]]
    shown = bench.json("status")["warnings"]
    for warnings in (checked, shown):
        [warning] = [one for one in warnings if "2027-09-27" in one]
        assert warning.startswith("source tenant: the service behind sphere-legacy ends on 2027-09-27, in ")
        assert "sphere-arm" in warning
    assert "2027-09-27" in bench.run("status").stdout
    assert "2027-09-27" in bench.run("check").stderr


@pytest.mark.parametrize(
    ("today", "word"),
    [
        ("2027-09-26", "ends on 2027-09-27, in 1 day"),
        ("2027-09-27", "in 0 days"),
        ("2027-09-28", "ended on 2027-09-27"),
    ],
)
def test_the_days_are_counted_to_the_end_and_after_it(tmp_path: Path, today: str, word: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(Cloud(OPTIONS).configuration().replace(":0/", ":1/").replace(':0"', ':1"'))
    clock = FakeClock(now=datetime.datetime.fromisoformat(f"{today}T12:00:00+00:00"))
    [warning] = ending_services(load(file, all_kinds()).sources.values(), clock)
    assert word in warning


def test_enums_are_shown_by_name_and_kept_as_numbers(bench: Bench) -> None:
    group = bench.cloud.sphere.tenant.group_named("ColdChain", "Development")
    odd = bench.cloud.sphere.tenant.group_named("Prototypes", "P1")
    bench.cloud.sphere.operator_edit(odd.id, {"UpdatePolicy": 2})
    assert bench.run("sync").exit_code == 0
    columns = "os_feed_type, update_policy, allow_crash_dumps_collection, document ->> 'UpdatePolicy' AS number"
    rows = bench.json("query", f"SELECT id, display_name, {columns} FROM device_groups ORDER BY id")
    by_id = {row["id"]: row for row in rows}
    assert len(by_id) == 11
    assert by_id[group.id] == {
        "id": group.id,
        "display_name": "Development",
        "os_feed_type": "Retail",
        "update_policy": "No3rdPartyAppUpdates",
        "allow_crash_dumps_collection": 0,
        "number": 1,
    }
    assert by_id[odd.id]["update_policy"] == "2"
    members = "SELECT DISTINCT g.display_name AS name FROM devices d JOIN device_groups g ON g.id = d.group_id"
    assert {row["name"] for row in bench.json("query", members)} <= {row["display_name"] for row in rows}


def test_what_is_not_cheap_is_mirrored_when_it_is_named(bench: Bench) -> None:
    types = '["device-group", "deployment", "device-insight"]'
    bench.config.write_text(bench.config.read_text().replace('kind = "sphere', f'resources = {types}\nkind = "sphere'))
    assert bench.run("sync").exit_code == 0
    found = bench.json(
        "query",
        "SELECT (SELECT count(*) FROM deployments) AS deployments, (SELECT count(*) FROM device_insights) AS insights,"
        " (SELECT count(*) FROM products) AS products",
    )
    insights = len(bench.cloud.sphere.tenant.insights)
    assert found == [{"deployments": 8, "insights": insights, "products": 0}]


def test_a_group_is_set_as_declared_and_stays_so(bench: Bench) -> None:
    text = bench.config.read_text().replace(
        'kind = "sphere', 'mode = "manual"\nweakest_guard = "reread"\nkind = "sphere'
    )
    bench.config.write_text(text + '[sources.tenant.limits]\nmax_writes = "100%"\n')
    (bench.folder / "declarations").mkdir(exist_ok=True)
    (bench.folder / "declarations" / "groups.toml").write_text(
        '[[declaration]]\nname = "dumps"\nresource = "device-group"\nwhere = "display_name = \'Production\'"\n'
        'desired = { AllowCrashDumpsCollection = false, OSFeedType = "RetailEval" }\n'
    )
    assert bench.run("apply").exit_code == 0
    groups = [one for one in bench.cloud.sphere.groups() if one["Name"] == "Production"]
    assert [(one["AllowCrashDumpsCollection"], one["OsFeedType"]) for one in groups] == [(False, 1)] * 2
    assert bench.json("query", "SELECT outcome, guard FROM writes") == [{"outcome": "applied", "guard": "reread"}] * 2
    assert bench.run("plan", "--exit-code").exit_code == 0
