"""From the old Azure Sphere to the new: the queries of the README over both simulated services."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from fleetsync.simulator import Cloud, Options
from fleetsync.simulator.arm.fleet import RETUNED

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.split("### Azure Sphere before 27 September 2027")[1].split("\n### ")[0]
QUERIES = re.findall(r"```sql\n(.*?)```", SECTION, re.DOTALL)
OPTIONS = Options(
    kinds=("sphere-legacy", "sphere-arm"),
    sphere_devices=80,
    sphere_rate="none",
    arm_rate="none",
    latency_s=0.0,
    seed=4,
)


async def fleetsync(folder: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fleetsync", "--config", str(folder / "config.toml"), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def asked(folder: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(await fleetsync(folder, "query", sql, "--format", "json"))
    return found


async def test_the_queries_show_who_still_waits_and_which_groups_differ(tmp_path: Path) -> None:
    cloud = Cloud(OPTIONS)
    async with cloud.serving():
        text = cloud.configuration()
        fast = 'rate.read = "5000/s"\nrate.write = "5000/s"\n\n'
        for source in ("tenant", "catalog"):
            text = text.replace(f"[sources.{source}.auth]", f"{fast}[sources.{source}.auth]")
        (tmp_path / "config.toml").write_text(text, encoding="utf-8")
        await fleetsync(tmp_path, "sync")
        waiting, differing = [await asked(tmp_path, sql) for sql in QUERIES]

    new = {one["id"] for one in cloud.arm.truth()}
    old = {str(one["DeviceId"]).lower(): one for one in cloud.sphere.truth()}
    assert [row["id"] for row in waiting] == sorted(old.keys() - new)
    assert len(waiting) == 80 // 8
    groups = {group.id: group for group in cloud.sphere.tenant.groups.values()}
    for row in waiting:
        group = old[row["id"]]["DeviceGroupId"]
        assert row["device_group"] == (None if group is None else groups[group].members["Name"])
    assert {(row["product"], row["device_group"]) for row in differing} == set(RETUNED)
    for row in differing:
        assert (row["old_policy"], row["new_policy"]) == ("UpdateAll", "No3rdPartyAppUpdates")
        assert (row["old_feed"], row["old_crash_dumps"]) == (row["new_feed"], row["new_crash_dumps"])
