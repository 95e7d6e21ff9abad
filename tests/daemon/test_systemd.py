import os
import socket
from pathlib import Path

import pytest

from fleetsync.daemon import systemd
from tests.daemon.conftest import Said


def ear(address: str) -> socket.socket:
    """Return a socket that hears what is told to `address`."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    listening.bind(address)
    return listening


def test_without_systemd_nobody_is_told(said: Said) -> None:
    systemd.notifier({})(systemd.READY)
    systemd.notifier({"NOTIFY_SOCKET": "vsock:2:1234"})(systemd.READY)

    assert said == []


def test_systemd_hears_every_assignment_of_one_message(tmp_path: Path) -> None:
    with ear(str(tmp_path / "notify")) as heard:
        systemd.notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})(systemd.READY, systemd.status("2 sources"))

        assert heard.recv(4096) == b"READY=1\nSTATUS=2 sources"


def test_an_abstract_address_is_heard_as_well() -> None:
    name = f"fleetsync-test-{os.getpid()}"
    with ear(f"\0{name}") as heard:
        systemd.notifier({"NOTIFY_SOCKET": f"@{name}"})(systemd.STOPPING)

        assert heard.recv(4096) == b"STOPPING=1"


def test_a_systemd_that_does_not_listen_stops_nothing(tmp_path: Path, said: Said) -> None:
    systemd.notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})(systemd.WATCHDOG)

    assert [line["event"] for line in said] == ["systemd.unreachable"]


def test_a_status_cannot_smuggle_in_another_assignment() -> None:
    assert systemd.status("down:\nMAINPID=1") == "STATUS=down: MAINPID=1"


def test_a_status_without_end_is_cut() -> None:
    assert len(systemd.status("word " * 10_000)) <= 1007


def test_a_reload_is_announced_with_the_time_that_systemd_compares() -> None:
    (flag, first), (_, second) = systemd.reloading(), systemd.reloading()

    assert flag == "RELOADING=1"
    assert 0 < int(first.removeprefix("MONOTONIC_USEC=")) <= int(second.removeprefix("MONOTONIC_USEC="))


@pytest.mark.parametrize(
    ("environment", "found_s"),
    [
        ({"WATCHDOG_USEC": "120000000"}, 60.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_of_what_systemd_waits(environment: dict[str, str], found_s: float | None) -> None:
    assert systemd.watchdog_s(environment) == found_s
