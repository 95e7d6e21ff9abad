"""EDGE: what is logged, how it looks, and the keys that may stand in it.

Events are constants, `noun.verb`; what varies is a key. On a terminal lines are for people, elsewhere they are JSON
with the priority that journald reads. Tokens, keys, bodies and query strings never get here.
"""

import sys
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any, TextIO

KEYS = frozenset(
    """
    source kind cycle resource page attempt status request_id wait_s took_s listed added updated unchanged gone planned
    applied conflicted contested failed error reason event level timestamp file declaration pages requests throttled
    complete outcome signal path until type fault size_bytes
    """.split()  # noqa: SIM905 - readable
)
"""Every key that an event may carry; a new one is added here."""

_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class Log:
    """Writes lines with the keys of a source or a cycle bound to them.

    The library behind it is loaded for the first line that is written: that takes longer than most commands run, which
    write none.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: dict[str, object]) -> None:
        self._keys = keys

    def debug(self, event: str, **keys: object) -> None:
        """Say what only somebody who looks for a mistake wants to know."""
        _say("debug", event, self._keys | keys)

    def info(self, event: str, **keys: object) -> None:
        """Say what is normal and worth a line."""
        _say("info", event, self._keys | keys)

    def warning(self, event: str, **keys: object) -> None:
        """Say what a person should look at some time."""
        _say("warning", event, self._keys | keys)

    def error(self, event: str, **keys: object) -> None:
        """Say what a person has to look at."""
        _say("error", event, self._keys | keys)


def get_log(**keys: object) -> Log:
    """Return a logger with `keys` bound."""
    return Log(keys)


class _Chosen:
    """What is written and what is not: everything that is at least as urgent as `most`, a priority of journald."""

    most = _PRIORITY["debug"]
    set_up: Callable[[], None] | None = None
    """Has the library write it so; None where it already does, or where nobody decided."""


def configure(level: str, style: str, stream: TextIO | None = None) -> None:
    """Decide what is logged and how. `style` is auto, console or json; `level` a name of the standard library's."""
    out = stream if stream is not None else sys.stderr
    _Chosen.most = _PRIORITY[level.lower()]
    _Chosen.set_up = partial(_set_up, out, is_console=style == "console" or (style == "auto" and out.isatty()))


def load() -> None:
    """Load what writes lines now: a process that lives long may have to write one when it can open no file any more."""
    import structlog  # noqa: F401 - its being there is the point


def reset() -> None:
    """Leave the log as it is where nobody decided: it belongs to the process, which may be one of many tests."""
    import structlog

    _Chosen.most, _Chosen.set_up = _PRIORITY["debug"], None
    structlog.reset_defaults()


def _say(level: str, event: str, keys: dict[str, object]) -> None:
    if _PRIORITY[level] > _Chosen.most:
        return
    import structlog

    if _Chosen.set_up is not None:
        _Chosen.set_up()
        _Chosen.set_up = None
    getattr(structlog.get_logger(), level)(event, **keys)


def _set_up(out: TextIO, *, is_console: bool) -> None:
    import structlog

    last: Any = structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            only_known_keys,
            _escaped,
            *([] if is_console else [_with_priority]),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


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
