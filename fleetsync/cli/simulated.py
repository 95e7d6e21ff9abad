"""The built-in cloud on its own."""

import asyncio
import re
import signal
from pathlib import Path

from fleetsync.cli import output
from fleetsync.errors import UsageError
from fleetsync.providers.base import kinds as known_kinds
from fleetsync.simulator import Cloud, Options, SimulatorError

_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s)")
_UNITS_S = {"ms": 0.001, "s": 1.0}


def options(
    *,
    listen: str,
    devices: int,
    seed: int,
    kinds: str,
    rate: str,
    faults: str,
    latency: str,
    life: str,
    tls: Path | None,
) -> Options:
    """Return the options of a cloud as the command line says them.

    Raises:
        UsageError: the latency is no time, or a kind is not one that this version speaks to.
    """
    chosen = tuple(kind.strip() for kind in kinds.split(","))
    for kind in chosen:
        if kind not in known_kinds():
            raise UsageError(f"--kinds {kind}: this version speaks to {', '.join(known_kinds())}")
    match = _TIME.fullmatch(latency)
    if match is None:
        raise UsageError(f'--latency {latency}: a time like "5ms" or "0.2s"')
    return Options(
        listen=listen,
        devices=devices,
        seed=seed,
        kinds=chosen,
        rate=rate,
        faults=faults,
        latency_s=float(match[1]) * _UNITS_S[match[2]],
        life=life,
        tls=tls,
    )


async def serve(options: Options) -> None:
    """Serve until SIGINT or SIGTERM; print the configuration once it can be used.

    Raises:
        UsageError: an option is wrong, or the address cannot be listened on.
    """
    try:
        cloud = Cloud(options)
        async with cloud.serving() as address:
            stop = stopped_by_signals()
            print(cloud.configuration(), end="", flush=True)
            output.remark(f"{options.devices} devices at {address}, seed {options.seed}; Ctrl-C ends it")
            await stop.wait()
    except SimulatorError as error:
        raise UsageError(str(error)) from error


def stopped_by_signals() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
