"""Microsoft's own client, unchanged and in its own environment, on the IoT Hub of `fleetsync simulate --tls`."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.cli.bench import started
from tests.microsoft import environment

DEVICES = 60
MISMATCH = [412, "PreconditionFailed"]

pytestmark = pytest.mark.skipif(environment.OBSTACLE is not None, reason=environment.OBSTACLE or "")


@dataclass
class Visit:
    """What the client saw, what was so before and after it came, and what the simulator entered in its books."""

    seen: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]
    books: dict[str, Any]
    log: list[dict[str, Any]]

    def writes(self, type: str) -> list[tuple[object, ...]]:
        """Return every write: its method, whether its etag was quoted and current, and its status."""
        found = [write for write in self.books["writes"] if write["type"] == type]
        return [(write["method"], write["quoted"], write["current"], write["status"]) for write in found]


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    """Let the client visit a hub, once for all tests."""
    assert environment.PYTHON.exists(), "`make unit` makes the environment of azure-iot-hub; here it is missing"
    folder = tmp_path_factory.mktemp("tls")
    with simulated(folder):
        before = asked(folder, "/hub")["devices"]
        seen = visited(folder)
        after = asked(folder, "/hub")["devices"]
        books, log = asked(folder), asked(folder, "/log")["log"]
    return Visit(seen, by_id(before), by_id(after), books, log)


@contextmanager
def simulated(folder: Path) -> Iterator[None]:
    """Have the built-in cloud serve a hub without limits, with its certificates and secrets in a folder."""
    words = ("--kinds", "iot-hub", "--hub-devices", str(DEVICES), "--tier", "none", "--tls", str(folder))
    process = started("simulate", "--listen", "127.0.0.1:0", "--hub-listen", "127.0.0.1:0", *words)
    try:
        assert process.stderr is not None
        assert f": {DEVICES} devices\n" in process.stderr.readline()
        yield
    finally:
        process.terminate()
        process.communicate(timeout=20)


def asked(folder: Path, page: str = "") -> dict[str, Any]:
    """Return a page of the simulator, at the hub of the connection string."""
    host = (folder / "hub-connection-string").read_text().removeprefix("HostName=").partition(";")[0]
    return requests.get(f"https://{host}/_simulator{page}", verify=str(folder / "ca.pem"), timeout=10).json()


def visited(folder: Path) -> dict[str, Any]:
    script = Path(__file__).with_name("visit.py")
    done = subprocess.run(
        [environment.PYTHON, "-I", script, folder / "hub-connection-string"],
        env={"REQUESTS_CA_BUNDLE": str(folder / "ca.pem")},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def by_id(devices: list[dict[str, Any]]) -> dict[str, Any]:
    return {device["identity"]["deviceId"]: device for device in devices}


def test_it_reads_a_query_page_by_page_to_the_end(visit: Visit) -> None:
    pages = visit.seen["pages"]
    rows = [row for page in pages for row in page["rows"]]

    assert [(len(page["rows"]), page["goes_on"]) for page in pages] == [(20, True), (20, True), (20, False)]
    assert {page["type"] for page in pages} == {"Twin"}
    assert len(rows) == DEVICES
    assert {row["id"]: (row["etag"], row["tags"]) for row in rows} == {
        id: (device["twin"]["etag"], device["twin"].get("tags")) for id, device in visit.before.items()
    }


def test_it_reads_identities_twins_statistics_and_configurations(visit: Visit) -> None:
    seen = visit.seen
    truth = visit.before[seen["identity"]["device_id"]]

    keys = ("deviceId", "generationId", "etag", "connectionState", "status")
    named = ("device_id", "generation_id", "etag", "connection_state", "status")
    assert [seen["identity"][name] for name in named] == [truth["identity"][key] for key in keys]
    assert seen["identity"]["authentication"]["symmetric_key"]["primary_key"]
    for name in ("tags", "properties", "etag", "version"):
        assert seen["twins"]["before"][name] == truth["twin"][name]
    assert seen["twins"]["before"]["device_etag"] == truth["identity"]["etag"]
    disabled = sum(device["identity"]["status"] == "disabled" for device in visit.before.values())
    assert seen["statistics"] == {
        "total_device_count": DEVICES,
        "enabled_device_count": DEVICES - disabled,
        "disabled_device_count": disabled,
    }
    connected = sum(device["identity"]["connectionState"] == "Connected" for device in visit.before.values())
    assert seen["connected"] == {"connected_device_count": connected}
    assert [found["id"] for found in seen["configurations"]["listed"]] == ["canary-baseline"]


def test_it_patches_a_twin_under_its_etag_and_gets_412_for_a_stale_one(visit: Visit) -> None:
    twins = visit.seen["twins"]
    before, answer = twins["before"], twins["answer"]
    desired = answer["properties"]["desired"]

    kept = {name: value for name, value in before["tags"].items() if name != "owner"}
    assert answer["tags"] == {**kept, "ring": "visited", "visit": {"by": "azure-iot-hub"}}
    assert desired["telemetry"] == {"intervalS": 17}
    assert desired["firmware"] == before["properties"]["desired"]["firmware"]
    assert desired["$version"] == before["properties"]["desired"]["$version"] + 1
    assert twins["stale"] == MISMATCH
    assert twins["after"] == answer
    same = visit.after[before["device_id"]]["twin"]
    assert (same["tags"], same["etag"]) == (answer["tags"], twins["same"]["etag"])
    assert visit.writes("twin") == [("PATCH", True, True, 200), ("PATCH", True, False, 412), ("PATCH", True, True, 200)]


def test_it_patches_the_twin_of_a_module(visit: Visit) -> None:
    modules = visit.seen["modules"]

    assert modules["ids"] == ["$edgeAgent", "$edgeHub", "collector"]
    assert modules["answer"]["properties"]["desired"]["intervalS"] == 17
    assert modules["stale"] == MISMATCH
    assert visit.writes("module-twin") == [("PATCH", True, True, 200), ("PATCH", True, False, 412)]


def test_it_makes_changes_and_deletes_a_device(visit: Visit) -> None:
    seen = visit.seen["identities"]

    assert seen["created"]["status"] == "enabled"
    assert seen["twice"] == [409, "DeviceAlreadyExists"]
    assert (seen["updated"]["status"], seen["updated"]["status_reason"]) == ("disabled", "lost")
    assert seen["stale"] == seen["kept"] == MISMATCH
    assert seen["read"] == seen["updated"]
    assert seen["gone"] == [404, "DeviceNotFound"]
    assert visit.after.keys() == visit.before.keys()
    assert visit.writes("identity") == [
        ("PUT", None, None, 200),
        ("PUT", None, None, 409),
        ("PUT", True, True, 200),
        ("PUT", True, False, 412),
        ("DELETE", True, False, 412),
        ("DELETE", True, True, 204),
    ]


def test_it_makes_changes_and_deletes_a_configuration(visit: Visit) -> None:
    seen = visit.seen["configurations"]

    assert (seen["created"]["priority"], seen["updated"]["priority"]) == (1, 2)
    assert seen["created"]["content"] == seen["updated"]["content"]
    assert seen["stale"] == MISMATCH
    assert visit.writes("configuration") == [
        ("PUT", None, None, 200),
        ("PUT", True, True, 200),
        ("PUT", True, False, 412),
        ("DELETE", True, True, 204),
    ]


def test_nothing_was_refused_but_what_had_to_be(visit: Visit) -> None:
    refusals = Counter((line["method"], line["type"], line["status"]) for line in visit.log if line["status"] >= 400)

    assert refusals == {
        ("PATCH", "twin", 412): 1,
        ("PATCH", "module-twin", 412): 1,
        ("PUT", "identity", 409): 1,
        ("PUT", "identity", 412): 1,
        ("DELETE", "identity", 412): 1,
        ("GET", "identity", 404): 1,
        ("PUT", "configuration", 412): 1,
    }
    assert (visit.books["if_match_unquoted"], visit.books["if_match_star"], visit.books["unguardable"]) == (0, 0, 0)
    assert all("api-version=2021-04-12" in line["target"] for line in visit.log)
