"""The commands that serve or play a cloud: demo, simulate, run."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

from fleetsync.cli.arguments import Option
from fleetsync.cli.invocation import Invocation
from fleetsync.errors import FleetsyncError, of_the_machine

LISTEN = "127.0.0.1:8470"
"""Fixed, so that a printed configuration is still right tomorrow."""


def demo(
    invocation: Invocation,
    folder: Annotated[
        Path | None, Option(name="--dir", metavar="DIR", help="Leave configuration, declarations and database here.")
    ] = None,
    devices: Annotated[int, Option(least=100, most=20_000, metavar="N", help="How many.")] = 2000,
    keep: Annotated[bool, Option(help="Leave the folder also without --dir.")] = False,
) -> None:
    """Show everything at once, on the built-in cloud."""
    from fleetsync.cli import demo as shown

    shown.demo(invocation, folder, devices, keep=keep)


def simulate(
    invocation: Invocation,
    listen: Annotated[
        str,
        Option(metavar="ADDR", help="Where IoT Central and the sign-in are; loopback only, unless --tls is given."),
    ] = LISTEN,
    devices: Annotated[int, Option(least=0, metavar="N", help="How many devices IoT Central has.")] = 2000,
    seed: Annotated[int, Option(metavar="N", help="The same seed makes the same fleet.")] = 1,
    kinds: Annotated[str, Option(metavar="KIND,…", help="Which services, or all.")] = "iot-central",
    rate: Annotated[
        str, Option(metavar="RATE", help='What IoT Central allows, as "20/s burst 20", or "none": everything.')
    ] = "20/s burst 20",
    faults: Annotated[
        str, Option(metavar="FAULT,…", help="What goes wrong, as status=503:0.1 or list.latency=800ms.")
    ] = "",
    latency: Annotated[str, Option(metavar="TIME", help="Added to every answer: 5ms, 0.2s.")] = "5ms",
    life: Annotated[str, Option(metavar="off|calm|busy", help="What happens while nobody asks.")] = "off",
    tls: Annotated[
        Path | None, Option(metavar="DIR", help="Serve TLS with sign-in; certificates and secrets go here.")
    ] = None,
    hub_listen: Annotated[
        str | None, Option(metavar="ADDR", help="Where the IoT Hub is; else at the port after that of --listen.")
    ] = None,
    hub_devices: Annotated[
        int | None,
        Option(
            least=0,
            metavar="N",
            help="How many devices the IoT Hub has; else half of --devices, or all of them without IoT Central.",
        ),
    ] = None,
    tier: Annotated[
        str, Option(metavar="F1|S1|S2|S3|none", help="The IoT Hub's tier; none: it allows everything.")
    ] = "S1",
    units: Annotated[
        int, Option(least=1, most=200, metavar="N", help="Its units; what it allows follows from these two.")
    ] = 1,
    daily_quota: Annotated[
        int | None,
        Option(least=0, metavar="N", help="Its messages of 4 KB in a UTC day; else there is no end to them."),
    ] = None,
    page_size: Annotated[
        int, Option(least=1, most=1000, metavar="N", help="The most twins that a page of its queries holds.")
    ] = 100,
    index_lag: Annotated[str, Option(metavar="TIME", help="How late its queries see a write: 0.5s, 30m.")] = "0.5s",
    sphere_listen: Annotated[
        str | None,
        Option(metavar="ADDR", help="Where the Azure Sphere tenant is; else two ports after that of --listen."),
    ] = None,
    sphere_devices: Annotated[
        int | None,
        Option(
            least=0,
            metavar="N",
            help="How many devices the tenant has, most of which are in a catalog too; else a quarter of --devices.",
        ),
    ] = None,
    sphere_move: Annotated[str, Option(metavar="TIME", help="How long a move of one of them takes.")] = "6s",
    arm_listen: Annotated[
        str | None,
        Option(metavar="ADDR", help="Where Azure Resource Manager is; else three ports after that of --listen."),
    ] = None,
    relay_listen: Annotated[
        str | None,
        Option(metavar="ADDR", help="Where the Cloud Relay is; else four ports after that of --listen."),
    ] = None,
    relay_devices: Annotated[
        int | None,
        Option(
            least=0,
            metavar="N",
            help="How many controllers are behind it; else a tenth of --devices. With an IoT Hub, its devices.",
        ),
    ] = None,
) -> None:
    """Run the built-in cloud alone.

    Standard output is a configuration that fits it, and nothing else: fleetsync simulate > config.toml. It runs until
    it is interrupted.
    """
    from fleetsync.cli import simulated
    from fleetsync.simulator import Options

    chosen = simulated.chosen_kinds(kinds)
    simulated.refuse_what_is_not_there(invocation.given, chosen)
    options = Options(
        listen=listen,
        devices=devices,
        seed=seed,
        kinds=chosen,
        rate=rate,
        faults=faults,
        latency_s=simulated.seconds("--latency", latency),
        life=life,
        tls=tls,
        hub_listen=hub_listen,
        hub_devices=hub_devices,
        hub_tier=simulated.chosen_tier(tier),
        hub_units=units,
        hub_daily_quota=daily_quota,
        hub_page_size=page_size,
        index_lag_s=simulated.seconds("--index-lag", index_lag),
        sphere_listen=sphere_listen,
        sphere_devices=sphere_devices,
        sphere_operation_s=simulated.seconds("--sphere-move", sphere_move),
        arm_listen=arm_listen,
        relay_listen=relay_listen,
        relay_devices=relay_devices,
    )
    asyncio.run(simulated.serve(options))


def run(invocation: Invocation) -> None:
    """Mirror every source at its interval, until SIGTERM.

    This is the daemon. SIGHUP reads the configuration again; a wrong one leaves the old one running.
    """
    asyncio.run(_run(invocation))


async def _run(invocation: Invocation) -> None:
    with invocation.loading():
        from fleetsync import log
        from fleetsync.daemon import systemd
        from fleetsync.wiring.configuration import read_configuration
        from fleetsync.wiring.service import serving

    try:
        configuration = read_configuration(invocation.file(), invocation.clock)
        settings = configuration.settings
        log.configure("debug" if invocation.debug else settings.log.level, settings.log.format)
        log.load()
        async with serving(configuration, invocation.clock) as daemon:
            await daemon.run()
    except (FleetsyncError, OSError, MemoryError) as error:
        # `systemctl status` goes on to show it when the process is gone.
        systemd.notifier(os.environ)(systemd.status(str(of_the_machine(error) or error)))
        raise
