"""kill -9 on the real process in the middle of moving 200 Azure Sphere devices, of which some fail.

OPERATION_S sets how many seconds a move takes; a real one takes 6 to 8.
"""

import asyncio
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetsync.simulator import Cloud, Options, SimRequest, SimResponse

OPERATION_S = float(os.environ.get("OPERATION_S", "2"))
DEVICES = 200
NOT_CARRIED_OVER = 21
"""Of the whole fleet about one in ten is in the tenant only."""
ARM_OPTIONS = Options(
    kinds=("sphere-arm",),
    sphere_devices=DEVICES + NOT_CARRIED_OVER,
    arm_rate="none",
    arm_link_size=3900,
    latency_s=0.0,
    seed=5,
)
OPTIONS = Options(
    kinds=("sphere-legacy",),
    sphere_devices=DEVICES,
    sphere_rate="none",
    sphere_operation_s=OPERATION_S,
    sphere_fail_share=0.03,
    sphere_errors_share=0.02,
    latency_s=0.0,
    seed=5,
)
FAILED, WITH_ERRORS = 3, 4
LATER = """
    UPDATE write SET started_at = strftime('%Y-%m-%dT%H:%M:%fZ', started_at, '-16 minutes')
    WHERE outcome = 'open' AND id NOT IN (SELECT write FROM operation)
"""
"""As if a quarter of an hour had passed since intents whose request may never have left."""


class KillingCloud(Cloud):
    """A cloud that kills its client when a certain move arrives."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.kill: Callable[[], None] | None = None
        self.begun: Counter[str] = Counter()
        self.moves_left = 0

    def handle_sphere(self, request: SimRequest) -> SimResponse:
        answer = super().handle_sphere(request)
        if request.method == "PUT" and answer.status == 202:
            self._begin(request.path.split("/")[5])
        return answer

    def handle_arm(self, request: SimRequest) -> SimResponse:
        answer = super().handle_arm(request)
        if request.method == "PATCH" and answer.status == 202:
            self._begin(request.path.rpartition("/")[2])
        return answer

    def _begin(self, device: str) -> None:
        self.begun[device] += 1
        self.moves_left -= 1
        if self.moves_left == 0 and self.kill is not None:
            self.kill()


@dataclass
class Ground:
    """A folder with a configuration for the cloud, and a way to run the program in it."""

    folder: Path
    cloud: KillingCloud
    output: list[str] = field(default_factory=list)

    def configure(self, group: str, source: str = "tenant") -> None:
        fast = 'mode = "manual"\nweakest_guard = "reread"\nlimits.max_writes = "100%"\n'
        fast += 'rate.read = "5000/s"\nrate.write = "5000/s"\n\n'
        text = self.cloud.configuration().replace(f"[sources.{source}.auth]", f"{fast}[sources.{source}.auth]")
        (self.folder / "config.toml").write_text(text, encoding="utf-8")
        (self.folder / "declarations").mkdir()
        (self.folder / "declarations" / "moved.toml").write_text(
            f'[[declaration]]\nname = "moved"\ndesired.group = "{group}"\n', encoding="utf-8"
        )

    async def apply(self, *, kill_at: int = 0) -> int:
        """Run `apply` and return its exit code, -9 when it was killed."""
        command = [sys.executable, "-m", "fleetsync", "--config", str(self.folder / "config.toml"), "apply"]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        self.cloud.moves_left, self.cloud.kill = kill_at, lambda: process.send_signal(signal.SIGKILL)
        _, errors = await process.communicate()
        self.cloud.kill = None
        self.output.append(errors.decode())
        assert process.returncode is not None
        return process.returncode

    def ask(self, sql: str, mode: str = "ro") -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{self.folder / 'fleetsync.db'}?mode={mode}", uri=True)
        with connection:
            rows = connection.execute(sql).fetchall()
        connection.close()
        return rows


async def test_every_device_is_moved_once_or_reported_in_the_services_own_words(tmp_path: Path) -> None:
    cloud = KillingCloud(OPTIONS)
    group = cloud.sphere.tenant.group_named("Prototypes", "P1").id
    async with cloud.serving():
        ground = Ground(tmp_path, cloud)
        ground.configure(group)

        assert await ground.apply(kill_at=DEVICES // 2) == -signal.SIGKILL, ground.output
        assert len(cloud.begun) < DEVICES
        underway = ground.ask("SELECT count(*) FROM operation")
        assert underway[0][0] > 0
        # At once, while the service is at work.
        await ground.apply()
        ground.ask(LATER, mode="rw")
        await ground.apply()

    moves = cloud.sphere.moves()
    assert {move.state for move in moves} == {2, FAILED, WITH_ERRORS}
    truth = {str(one["DeviceId"]).lower(): one["DeviceGroupId"] for one in cloud.sphere.truth()}
    # Nothing was carried out twice, and nothing begun twice but what had ended without having been done.
    assert max(Counter(move.device_id for move in moves if move.changed).values()) == 1
    undone = Counter(move.device_id for move in moves if not move.changed)
    assert all(count == 1 + undone[id] - (truth[id] != group) for id, count in cloud.begun.items())
    # Every device is where it was declared to be, or what became of its last move is in the service's own words.
    reported = ground.ask("SELECT resource_id, outcome, error FROM writes WHERE outcome <> 'applied' OR error <> ''")
    said = {id: error for id, outcome, error in reported if outcome in ("failed", "applied") and error}
    for id, where in truth.items():
        assert where == group or id in said
    words = " ".join(map(str, said.values()))
    assert "failed: Conflict: The device is being updated by another operation." in words
    assert "completed with errors: OperationFailed: The device group was set" in words
    assert {outcome for _, outcome, _ in reported} <= {"failed", "applied", "unknown"}
    assert ground.ask("SELECT count(*) FROM operation") == [(0,)]
    # None is gone.
    assert ground.ask("SELECT count(*) FROM devices") == [(DEVICES,)]
    mirrored = dict(ground.ask("SELECT id, group_id FROM devices"))
    assert mirrored == truth


async def test_on_arm_too_although_the_path_of_a_device_changes_when_it_moves(tmp_path: Path) -> None:
    cloud = KillingCloud(ARM_OPTIONS)
    habits = cloud.arm.operations.habits
    habits.duration_s, habits.failing, habits.canceling = OPERATION_S, 0.03, 0.02
    async with cloud.serving():
        ground = Ground(tmp_path, cloud)
        ground.configure("Prototypes/P1", "catalog")

        assert await ground.apply(kill_at=DEVICES // 2) == -signal.SIGKILL, ground.output
        assert len(cloud.arm.truth()) == DEVICES
        assert len(cloud.begun) < DEVICES
        assert ground.ask("SELECT count(*) FROM operation")[0][0] > 0
        # At once, while the service is at work.
        await ground.apply()
        ground.ask(LATER, mode="rw")
        await ground.apply()

    ends = Counter(operation.end for operation in cloud.arm.operations.all)
    assert ends.keys() == {"Succeeded", "Failed", "Canceled"}
    truth = {str(one["id"]): f"{one['product']}/{one['group']}" for one in cloud.arm.truth()}
    # Nothing was carried out twice, and nothing begun twice but what had ended without having been done.
    assert max(Counter(move.device_id for move in cloud.arm.moves()).values()) == 1
    undone = Counter(
        operation.target.rpartition("/")[2] for operation in cloud.arm.operations.all if operation.end != "Succeeded"
    )
    assert all(count == 1 + undone[id] - (truth[id] != "Prototypes/P1") for id, count in cloud.begun.items())
    # Every device is where it was declared to be, or what became of its last move is in the service's own words.
    said = dict(ground.ask("SELECT resource_id, error FROM writes WHERE outcome = 'failed' ORDER BY id"))
    for id, where in truth.items():
        assert where == "Prototypes/P1" or id in said
    words = " ".join(map(str, said.values()))
    assert "DeviceUpdateFailed: The device did not answer the request to change its device group." in words
    assert "OperationCanceled: The operation was canceled by another request." in words
    assert ground.ask("SELECT count(*) FROM operation") == [(0,)]
    # None is gone, and none was ever: its path is not what it is.
    assert ground.ask("SELECT count(*) FROM resources WHERE gone_at IS NOT NULL") == [(0,)]
    assert ground.ask("SELECT count(*) FROM history WHERE event IN ('gone', 'returned')") == [(0,)]
    mirrored = dict(ground.ask("SELECT id, group_id FROM devices"))
    assert {id: "/".join(place.split("/")[2:]) for id, place in mirrored.items()} == {
        id: place.lower() for id, place in truth.items()
    }
