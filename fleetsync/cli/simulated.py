"""The built-in cloud on its own."""

import asyncio
import re
import signal
from collections.abc import Iterator
from urllib.parse import urlsplit

import typer

from fleetsync.cli import output
from fleetsync.errors import UsageError
from fleetsync.providers.base import kinds as known_kinds
from fleetsync.simulator import Cloud, Options, SimulatorError

_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0}
_HUB = "iot-hub"
_SPHERE = "sphere-legacy"
_ABOUT = {
    _HUB: ("hub_listen", "hub_devices", "tier", "units", "daily_quota", "page_size", "index_lag"),
    _SPHERE: ("sphere_listen", "sphere_devices", "sphere_move"),
}
"""The options that are about one kind of service."""
# Without the Basic ones: they have no twins, so no source can be configured for them.
_TIERS = ("F1", "S1", "S2", "S3", "none")


def chosen_kinds(words: str) -> tuple[str, ...]:
    """Return the kinds of service that `--kinds` names.

    Raises:
        UsageError: this version does not speak to one of them.
    """
    chosen = tuple(kind.strip() for kind in words.split(","))
    for kind in chosen:
        if kind not in known_kinds():
            raise UsageError(f"--kinds {kind}: this version speaks to {', '.join(known_kinds())}")
    return chosen


def chosen_tier(word: str) -> str:
    """Return the tier that `--tier` names.

    Raises:
        UsageError: no source can be configured for it.
    """
    if word not in _TIERS:
        raise UsageError(f"--tier {word}: one of {', '.join(_TIERS)}")
    return word


def refuse_what_is_not_there(context: typer.Context, kinds: tuple[str, ...]) -> None:
    """Refuse options about a service where none of its kind is wanted.

    Raises:
        UsageError: there is one on the command line.
    """
    for kind in _ABOUT.keys() - set(kinds):
        for name in _ABOUT[kind]:
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} is about {kind}, and there is none: --kinds {','.join((*kinds, kind))}")


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
            places = " and ".join(_places(cloud))
            output.remark(f"{places}, seed {options.seed}; Ctrl-C ends it")
            await stop.wait()
    except SimulatorError as error:
        raise UsageError(str(error)) from error


def _places(cloud: Cloud) -> Iterator[str]:
    """Yield where how many devices are."""
    for kind, url in (("iot-central", cloud.url), (_HUB, cloud.hub_url), (_SPHERE, cloud.sphere_url)):
        if kind in cloud.options.kinds:
            yield f"{cloud.options.devices_of(kind)} devices at {urlsplit(url).netloc} ({kind})"


def stopped_by_signals() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
