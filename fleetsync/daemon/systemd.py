"""What systemd is told, in its notification protocol: sd_notify(3), checked 2026-11-21 against systemd 252."""

import os
import socket
import time
from collections.abc import Callable, Mapping

from fleetsync.log import get_log

Notify = Callable[..., None]
"""Sends assignments such as `READY=1`, in one message."""

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"

_LONGEST = 1000


def notifier(environment: Mapping[str, str]) -> Notify:
    """Return what tells systemd; it does nothing where no systemd asked for it."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return _tell_nobody
    # A leading @ stands for the zero byte of an abstract address.
    return _Teller("\0" + address[1:] if address.startswith("@") else address)


class _Teller:
    """Tells systemd, through one socket from the start: a process without free descriptors still feeds its watchdog."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def __call__(self, *assignments: str) -> None:
        try:
            self._socket.sendto("\n".join(assignments).encode(), self._target)
        except OSError as error:
            # A lost message is no reason to stop; a lost WATCHDOG=1 is followed by another.
            get_log().debug("systemd.unreachable", error=str(error))

    def __del__(self) -> None:
        self._socket.close()


def _tell_nobody(*_assignments: str) -> None:
    pass


def status(text: str) -> str:
    """Return the assignment that shows `text` in `systemctl status`; one line, since a line is an assignment."""
    return f"STATUS={' '.join(text.split())[:_LONGEST]}"


def reloading() -> tuple[str, str]:
    """Return the assignments that announce a reload; READY=1 ends it."""
    # The protocol wants this very clock, which does not count suspend; ours does.
    now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return "RELOADING=1", f"MONOTONIC_USEC={now_us}"


def watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Return how often the watchdog is to be fed, half of what systemd waits; None where it does not wait."""
    text = environment.get("WATCHDOG_USEC", "")
    if not text.isdecimal() or int(text) == 0:
        return None
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # it is another process's
    return int(text) / 1e6 / 2
