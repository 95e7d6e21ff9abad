"""The main job at once, on the built-in cloud: what the README begins with."""

import asyncio
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from fleetsync import log
from fleetsync.cli import output
from fleetsync.cli.demo_files import configure
from fleetsync.cli.demo_scenes import Touched, show
from fleetsync.cli.demo_stage import HUB, Stage
from fleetsync.cli.invocation import Invocation
from fleetsync.clock import Clock
from fleetsync.errors import UsageError
from fleetsync.simulator import KINDS, Cloud, Options, Shares
from fleetsync.wiring.sources import connected, opened_mirror

INDEX_LAG_S: Final = 3.0
MOVE_S: Final = 4.0
_FEWEST_OF_THE_HUB: Final = 50
"""A smaller hub has no devices with odd ids."""


def demo(invocation: Invocation, folder: Path | None, devices: int, *, keep: bool) -> None:
    """Show all of it, in `folder`, or in a new one that is removed unless it is to be kept."""
    log.configure("debug" if invocation.debug else "error", "auto")
    clock = invocation.clock
    if folder is not None or keep:
        place = folder if folder is not None else Path(tempfile.mkdtemp(prefix="fleetsync-demo-"))
        _prepare(place)
        _say_what_next(place, asyncio.run(_run(place, devices, clock)))
        return
    with tempfile.TemporaryDirectory(prefix="fleetsync-demo-") as name:
        asyncio.run(_run(Path(name), devices, clock))


def _prepare(folder: Path) -> None:
    if (folder / "config.toml").exists():
        raise UsageError(f"{folder} holds a config.toml already: the demo wants a folder of its own")
    folder.mkdir(parents=True, exist_ok=True)


async def _run(folder: Path, devices: int, clock: Clock) -> Touched:
    cloud = Cloud(
        Options(
            kinds=KINDS,
            devices=devices,
            # Of a smaller hub the limits would be waited for longer than anybody watches; so would some controllers.
            hub_devices=max(devices // 5, _FEWEST_OF_THE_HUB),
            hub_tier="S3",
            hub_units=5,
            index_lag_s=INDEX_LAG_S,
            sphere_operation_s=MOVE_S,
            relay_shares=Shares(hollow=0.0, slow_s=0.3),
        )
    )
    async with cloud.serving():
        configuration = configure(folder, cloud, clock)
        settings = configuration.settings
        async with (
            opened_mirror(settings, clock) as mirror,
            connected(settings.sources.values(), clock, settings.database.path) as parts,
        ):
            stage = Stage(cloud=cloud, configuration=configuration, mirror=mirror, parts=parts, clock=clock)
            return await show(stage)


def _say_what_next(folder: Path, touched: Touched) -> None:
    start = f"   {_program()} --config {shlex.quote(str(folder / 'config.toml'))}"
    question = "SELECT source, event, count(*) FROM history GROUP BY source, event"
    output.line("")
    output.line((f"Next, on what is left in {folder} (the cloud is gone, the mirror is not):", "bold"))
    output.line(f'{start} query "{question}"')
    output.line(f"{start} explain {HUB} {shlex.quote(touched.declared)}")
    output.line(f"{start} history {HUB} {shlex.quote(touched.replaced)}")


def _program() -> str:
    """Return how this program is called here."""
    if shutil.which("fleetsync"):
        return "fleetsync"
    is_module = Path(sys.argv[0]).name == "__main__.py"
    return f"{shlex.quote(sys.executable)} -m fleetsync" if is_module else shlex.quote(sys.argv[0])
