"""The process that makes a mirror with a fleet in it: twins of an IoT Hub as its listing would have stored them."""

import asyncio
import contextlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from fleetsync.clock import SystemClock
from fleetsync.mirror.mirror import open_mirror
from fleetsync.providers.base import all_kinds
from fleetsync.wiring.configuration import read_configuration
from fleetsync.wiring.sources import source_rows

_CONFIG = """
declarations = "declarations"

[sources.hub]
kind = "iot-hub"
url = "http://127.0.0.1:9"
mode = "manual"
resources = ["device"]
auth = { method = "none" }
"""
_COLUMNS = (
    "no, source, type, id, digest, etag, size_bytes, enabled, status, connection_state, last_activity_at, version,"
    " first_seen_at, changed_at, seen_at, seen_by, document"
)
_AT = "2026-11-01T10:00:00.000Z"
_WRITTEN = "2026-01-01T00:00:00Z"


def fill(folder: Path, devices: int) -> None:
    """Make a configuration and its database with so many devices in it."""
    (folder / "declarations").mkdir(parents=True)
    config = folder / "config.toml"
    config.write_text(_CONFIG)
    asyncio.run(_create(config))
    database = folder / "fleetsync.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        marks = ", ".join("?" * len(_COLUMNS.split(",")))
        connection.executemany(f"INSERT INTO resource ({_COLUMNS}) VALUES ({marks})", _rows(devices))
        connection.execute(
            "INSERT INTO event (no, at, cycle, event) SELECT no, first_seen_at, 1, 'added' FROM resource"
        )
        connection.execute("INSERT INTO resource_name (no, source, type, id) SELECT no, source, type, id FROM resource")
        connection.execute("INSERT INTO coverage VALUES ('hub', 'device', 1, ?, 1, ?)", (_AT, devices))
        connection.execute("UPDATE source SET last_complete_at = ?, known = ?", (_AT, devices))
        connection.commit()


async def _create(config: Path) -> None:
    clock = SystemClock()
    settings = read_configuration(config, clock).settings
    async with open_mirror(settings.database.path, all_kinds().values(), clock) as mirror:
        await mirror.cycles.register(source_rows(settings.sources.values()), file="config.toml")


def _rows(devices: int) -> Iterator[tuple[object, ...]]:
    for number in range(devices):
        twin = _twin(number)
        document = json.dumps(twin, separators=(",", ":"))
        described = (
            twin["etag"],
            len(document),
            twin["status"] == "enabled",
            twin["status"],
            twin["connectionState"],
            str(twin["lastActivityTime"]).replace("Z", ".000Z"),
            twin["version"],
        )
        yield number + 1, "hub", "device", twin["deviceId"], b"-", *described, _AT, _AT, _AT, 1, document


def _twin(number: int) -> dict[str, object]:
    """Return a twin of 1.2 KB; some of them are as nobody declared."""
    metadata = {"$lastUpdated": _WRITTEN, "firmware": {"$lastUpdated": _WRITTEN}}
    telemetry = {"intervalS": 60, "level": "info"}
    return {
        "deviceId": f"pump-{number:07}",
        "etag": "AAAAAAAAAAE=",
        "deviceEtag": "NzQ1Mjk0NjE1",
        "status": "enabled" if number % 50 else "disabled",
        "statusUpdateTime": "0001-01-01T00:00:00Z",
        "connectionState": "Connected" if number % 3 else "Disconnected",
        "lastActivityTime": f"2026-{1 + number % 10:02}-11T10:00:00Z",
        "cloudToDeviceMessageCount": 0,
        "authenticationType": "sas",
        "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
        "modelId": "",
        "version": 2 + number % 9,
        "tags": {
            "site": f"site-{number * 7919 % 200:03}",
            "ring": ("stable", "early", "canary")[number % 3],
            "floor": number % 40,
            "owner": f"team-{number % 20}",
        },
        "properties": {
            "desired": {
                "telemetry": telemetry,
                "firmware": {"channel": "main" if number % 50 else "beta"},
                "$metadata": metadata,
                "$version": 3,
            },
            "reported": {"telemetry": telemetry, "uptime": number, "$metadata": metadata, "$version": 7},
        },
        "capabilities": {"iotEdge": False},
    }


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]))
