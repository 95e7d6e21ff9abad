"""EDGE: what is logged, how it looks, and the keys that may stand in it.

Events are constants, `noun.verb`; what varies is a key. On a terminal lines are for people, elsewhere they are JSON
with the priority that journald reads. Tokens, keys, bodies and query strings never get here.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

KEYS = frozenset(
    """
    source kind cycle resource page attempt status request_id wait_s took_s listed added updated unchanged gone planned
    applied conflicted contested failed error reason event level timestamp file declaration pages requests throttled
    complete outcome signal path until type fault size_bytes
    """.split()  # noqa: SIM905 - readable
)
"""Every key that an event may carry; a new one is added here."""

_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class Log(structlog.stdlib.BoundLogger):
    """A logger with the keys of a source or a cycle bound to it."""


def configure(level: str, style: str, stream: TextIO | None = None) -> None:
    """Decide what is logged and how. `style` is auto, console or json; `level` a name of the standard library's."""
    out = stream if stream is not None else sys.stderr
    console = style == "console" or (style == "auto" and out.isatty())
    last: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            only_known_keys,
            _escaped,
            *([] if console else [_with_priority]),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def get_log(**keys: object) -> Log:
    """Return a logger with `keys` bound."""
    return cast(Log, structlog.get_logger(**keys))


def only_known_keys(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Refuse an event with a key that is not in the list; a processor, also of the tests."""
    unknown = event.keys() - KEYS
    if unknown:
        raise ValueError(f"log keys that log.py does not know: {', '.join(sorted(unknown))}")
    return event


def _escaped(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape control characters in texts: ids come from outside, and a line is one entry."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = printable(value)
    return event


def printable(text: str) -> str:
    """Return `text` with everything escaped that a terminal or a journal could take for a command."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _with_priority(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {"priority": _PRIORITY[event["level"]], **event}
