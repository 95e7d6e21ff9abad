"""The main job at once, on the built-in cloud: what the README begins with."""

import asyncio
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from fleetsync import log
from fleetsync.cli import output
from fleetsync.cli.demo_scenes import CENTRAL, HUB, Show, Touched
from fleetsync.cli.invocation import Invocation
from fleetsync.clock import Clock
from fleetsync.errors import UsageError
from fleetsync.simulator import Cloud, Options
from fleetsync.wiring.configuration import Configuration, read_configuration
from fleetsync.wiring.sources import connected, opened_mirror

INDEX_LAG_S = 3.0
_SETTINGS = {
    CENTRAL: """\
mode = "manual"                 # `fleetsync apply` may write, the daemon may not
weakest_guard = "reread"        # device properties have no ETag: read, compare, write, read back
rate = { share = 1.0 }          # the built-in cloud has no other clients

""",
    HUB: """\
mode = "manual"

""",
}
_DECLARATIONS = """\
# What the devices should look like. Each declaration selects devices in SQL and says what they should have.

[[declaration]]
name = "tromso-belongs-to-europe"
sources = ["central"]
where = "id LIKE '%-tromso-00%' AND enabled"

[declaration.desired]
organizations = ["europe"]

[[declaration]]
name = "two-thermostats-at-21"
sources = ["central"]
where = "id IN ({thermostats})"

[declaration.desired]
properties.targetTemperature = 21

[[declaration]]
name = "oslo-reports-every-minute"
sources = ["hub"]
where = "tags ->> 'site' = 'oslo' AND enabled"

[declaration.desired]
tags.reporting = "every minute"
properties.desired.telemetry.intervalS = 60
"""


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
    kinds = ("iot-central", "iot-hub")
    # Of a smaller hub the limits would be waited for longer than anybody watches.
    cloud = Cloud(Options(kinds=kinds, devices=devices, hub_tier="S3", hub_units=5, index_lag_s=INDEX_LAG_S))
    async with cloud.serving():
        configuration = _configure(folder, cloud, clock)
        settings = configuration.settings
        async with (
            opened_mirror(settings, clock) as mirror,
            connected(settings.sources.values(), clock, folder) as parts,
        ):
            show = Show(cloud=cloud, configuration=configuration, mirror=mirror, parts=parts, clock=clock)
            return await show.run()


def _configure(folder: Path, cloud: Cloud, clock: Clock) -> Configuration:
    """Write the files that a user would write, and read them as `fleetsync check` would."""
    text = cloud.configuration()
    for source, lines in _SETTINGS.items():
        text = text.replace(f"[sources.{source}.auth]", f"{lines}[sources.{source}.auth]")
    (folder / "config.toml").write_text(text, encoding="utf-8")
    (folder / "declarations").mkdir()
    ids = sorted(device["id"] for device in cloud.truth() if str(device["id"]).startswith("thermostat-oslo-"))[:2]
    thermostats = ", ".join(f"'{id}'" for id in ids)
    (folder / "declarations" / "demo.toml").write_text(_DECLARATIONS.format(thermostats=thermostats), encoding="utf-8")
    return read_configuration(folder / "config.toml", clock)


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
