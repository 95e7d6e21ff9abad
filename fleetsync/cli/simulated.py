"""The built-in cloud on its own."""

import asyncio
import re
import signal
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from fleetsync.cli import output
from fleetsync.errors import UsageError
from fleetsync.simulator import KINDS, Cloud, Options, SimulatorError

_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0}
_ALL = "all"
_ABOUT = {
    "hub_listen": ("iot-hub",),
    "hub_devices": ("iot-hub",),
    "tier": ("iot-hub", "iot-hub-arm"),
    "units": ("iot-hub", "iot-hub-arm"),
    "daily_quota": ("iot-hub",),
    "page_size": ("iot-hub",),
    "index_lag": ("iot-hub",),
    "sphere_listen": ("sphere-legacy",),
    "sphere_devices": ("sphere-legacy", "sphere-arm"),
    "sphere_move": ("sphere-legacy", "sphere-arm"),
    "arm_listen": ("sphere-arm", "iot-hub-arm"),
    "relay_listen": ("cloud-relay",),
    "relay_devices": ("cloud-relay",),
}
"""Which kinds of service an option is about, where it is not about all of them."""
# Without the Basic ones: they have no twins, so no source can be configured for them.
_TIERS = ("F1", "S1", "S2", "S3", "none")


def chosen_kinds(words: str) -> tuple[str, ...]:
    """Return the kinds of service that `--kinds` names; `all` names every one.

    Raises:
        UsageError: one of them is none.
    """
    if words.strip() == _ALL:
        return KINDS
    chosen = tuple(kind.strip() for kind in words.split(","))
    for kind in chosen:
        if kind not in KINDS:
            raise UsageError(f"--kinds {kind}: {', '.join(KINDS)}, or {_ALL}")
    return chosen


def chosen_tier(word: str) -> str:
    """Return the tier that `--tier` names.

    Raises:
        UsageError: no source can be configured for it.
    """
    if word not in _TIERS:
        raise UsageError(f"--tier {word}: one of {', '.join(_TIERS)}")
    return word


def refuse_what_is_not_there(given: Collection[str], kinds: tuple[str, ...]) -> None:
    """Refuse options that are given about a service where none of its kind is wanted.

    Raises:
        UsageError: there is one on the command line.
    """
    for name in _ABOUT:
        if name not in given:
            continue
        option, about = f"--{name.replace('_', '-')}", _ABOUT[name]
        if not set(about) & set(kinds):
            raise UsageError(f"{option} is about {' and '.join(about)}: --kinds {','.join((*kinds, about[0]))}")
        if name == "relay_devices" and "iot-hub" in kinds:
            raise UsageError(f"{option}: the relay is in front of the IoT Hub, and has its devices: --hub-devices")


def seconds(option: str, text: str) -> float:
    """Return a time of the command line.

    Raises:
        UsageError: it is none.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise UsageError(f'{option} {text}: a time like "5ms", "0.2s" or "30m"')
    return float(match[1]) * _UNITS_S[match[2]]


async def serve(options: Options) -> None:
    """Serve until SIGINT or SIGTERM; print the configuration once it can be used.

    Raises:
        UsageError: an option is wrong, or the address cannot be listened on.
    """
    try:
        cloud = Cloud(options)
        async with cloud.serving():
            stop = stopped_by_signals()
            print(cloud.configuration(), end="", flush=True)
            for line in _places(cloud):
                output.remark(line)
            output.remark(f"seed {options.seed}; Ctrl-C ends it")
            await stop.wait()
    except SimulatorError as error:
        raise UsageError(str(error)) from error


def _places(cloud: Cloud) -> Iterator[str]:
    """Yield what is where, kind by kind."""
    for kind in cloud.options.kinds:
        url, what = _seen(cloud, kind)
        yield f"{kind} at {urlsplit(url).netloc}: {what}"


def _seen(cloud: Cloud, kind: str) -> tuple[str, str]:
    match kind:
        case "iot-hub":
            return cloud.hub_url, f"{cloud.options.devices_of(kind)} devices"
        case "sphere-legacy":
            return cloud.sphere_url, f"{len(cloud.sphere.tenant)} devices"
        case "sphere-arm":
            return cloud.arm_url, f"{len(cloud.arm.truth())} devices in {len(cloud.arm.tree.entries)} catalogs"
        case "iot-hub-arm":
            return cloud.arm_url, f"{len(cloud.arm.hubs.entries)} hubs"
        case "cloud-relay":
            return cloud.relay_url, f"{len(cloud.relay.roster.ids())} controllers"
        case _:
            return cloud.url, f"{cloud.options.devices_of(kind)} devices"


def stopped_by_signals() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
