"""kill -9 on the real process, at seeded requests of a listing and of an apply.

KILLS sets how many; the default is what fits into every test run.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fleetsync.reconcile.listing import MOST_PAGES
from fleetsync.simulator import Cloud, Options, SimRequest, SimResponse

KILLS = int(os.environ.get("KILLS", "5"))
DEVICES = 12_000
PAGES = DEVICES // 100
DECLARED = "it is ours"
SELECTED = "thermostat-tromso-0%"


class KillingCloud(Cloud):
    """A cloud that kills its client when a certain request arrives, before or after carrying it out."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.victim: asyncio.subprocess.Process | None = None
        self.kill_at = 0
        self.kill_late = False
        self.seen = 0
        self.device_pages = 0

    def handle(self, request: SimRequest) -> SimResponse:
        self.seen += 1
        self.device_pages += request.method == "GET" and request.target.startswith("/api/devices?")
        if self.seen != self.kill_at:
            return super().handle(request)
        if not self.kill_late:
            self._kill()
            return super().handle(request)
        response = super().handle(request)
        self._kill()
        return response

    def _kill(self) -> None:
        """Kill it; `send_signal` would also ask how it ended, and may take that away from the one who waits for it."""
        if self.victim is not None:
            os.kill(self.victim.pid, signal.SIGKILL)


@dataclass
class Ground:
    """A folder with a configuration for the cloud, and a way to run the program in it."""

    folder: Path
    cloud: KillingCloud
    output: list[str] = field(default_factory=list)

    def configure(self) -> None:
        fast = (
            'mode = "manual"\nresources = ["device"]\nlimits = { max_writes = "100%", max_rewrites = "1000 in 1h" }\n'
        )
        fast += 'rate = { list = "5000/s", read = "5000/s", write = "5000/s" }\n\n'
        text = self.cloud.configuration().replace("[sources.central.auth]", f"{fast}[sources.central.auth]")
        (self.folder / "config.toml").write_text(text, encoding="utf-8")
        (self.folder / "declarations").mkdir()
        (self.folder / "declarations" / "names.toml").write_text(
            f'[[declaration]]\nname = "ours"\nwhere = "id LIKE \'{SELECTED}\'"\n[declaration.desired]\ndisplayName = "{DECLARED}"\n',
            encoding="utf-8",
        )

    async def run(self, *, kill_at: int = 0, late: bool = False) -> int:
        """Run `apply` and return its exit code, -9 when it was killed."""
        command = [sys.executable, "-m", "fleetsync", "--config", str(self.folder / "config.toml"), "apply"]
        cloud = self.cloud
        cloud.seen, cloud.device_pages, cloud.kill_at, cloud.kill_late = 0, 0, kill_at, late
        cloud.victim = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await cloud.victim.communicate()
        self.output.append(errors.decode())
        code, cloud.victim = cloud.victim.returncode, None
        assert code is not None
        return code

    def undo(self) -> list[str]:
        """Have somebody change every declared value, so that there is work; return the devices."""
        pattern = SELECTED.rstrip("%")
        ids = [str(device["id"]) for device in self.cloud.truth() if str(device["id"]).startswith(pattern)]
        for id in ids:
            self.cloud.operator_edit(id, {"displayName": f"not as declared, {random.random()}"})
        return ids

    def truth(self) -> dict[str, object]:
        """Return every device as a list of the service shows it: without its properties."""
        return {
            str(device["id"]): {name: value for name, value in device.items() if name != "properties"}
            for device in self.cloud.truth()
        }

    def mirrored(self) -> dict[str, object]:
        connection = sqlite3.connect(f"file:{self.folder / 'fleetsync.db'}?mode=ro", uri=True)
        rows = connection.execute("SELECT id, document FROM devices").fetchall()
        connection.close()
        return {id: json.loads(document) for id, document in rows}

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(f"file:{self.folder / 'fleetsync.db'}?mode=ro", uri=True)
        rows = connection.execute(sql).fetchall()
        connection.close()
        return rows


async def test_a_process_that_is_killed_anywhere_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    cloud = KillingCloud(Options(devices=DEVICES, rate="none", latency_s=0.0))
    async with cloud.serving():
        ground = Ground(tmp_path, cloud)
        ground.configure()
        assert await ground.run() == 0, ground.output
        between = 0
        for number in range(KILLS):
            ids = ground.undo()
            cloud.reset_counters()
            # Every other kill in the listing, every other among the writes.
            last = PAGES + len(ids)
            kill_at = chance.randint(2, PAGES) if number % 2 else chance.randint(PAGES + 1, last - 1)
            code = await ground.run(kill_at=kill_at, late=chance.random() < 0.5)
            assert code == -signal.SIGKILL, (code, ground.output[-1])
            between += 1 < cloud.seen < last
            pages_before = cloud.device_pages
            assert await ground.run() == 0, ground.output[-1]
            asked_again = pages_before + cloud.device_pages - PAGES if pages_before < PAGES else 0
            assert asked_again <= MOST_PAGES

            assert ground.mirrored() == ground.truth()
            carried_out = Counter(write.id for write in cloud.counters.writes if write.by == "client" and write.changed)
            assert carried_out == dict.fromkeys(ids, 1), "each intent is carried out once, and only once"
            assert cloud.counters.writes_noop == 0
            assert ground.ask("SELECT count(*) FROM writes WHERE outcome = 'open'") == [(0,)]
        assert between >= 0.8 * KILLS
