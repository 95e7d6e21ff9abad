"""The pages under `/_simulator`: the books, the whole truth, and the strings of the puppets.

| GET /_simulator           | the counters                                        |
| GET /_simulator/devices   | every device with its properties, as they really are |
| GET /_simulator/log       | the last requests                                   |
| GET /_simulator/hub       | every device of the IoT Hub with its twins, as they really are |
| GET /_simulator/hub/happenings | which devices of the IoT Hub came and went      |
| POST /_simulator/faults   | set the faults; the body is a specification         |
| POST /_simulator/operator | `{"id": ..., "patch": {...}}`: a second operator edits a device |
| POST /_simulator/hub/operator | the same at the IoT Hub; the patch has `tags`, `properties.desired`, `status` |
| POST /_simulator/reset    | begin the counters anew                             |

They are the same at the address of the IoT Hub. They are not limited, not counted, have no faults and ask for no token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.faults import parse_faults
from fleetsync.simulator.wire import SimRequest, SimResponse, json_answer

if TYPE_CHECKING:
    from fleetsync.simulator.cloud import Cloud

PREFIX = "/_simulator"


def serves(path: str) -> bool:
    """True for the paths of the pages."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def page(cloud: Cloud, request: SimRequest) -> SimResponse:
    """Answer a request for one of the pages."""
    try:
        return _page(cloud, request)
    except SimulatorError as error:
        return json_answer({"error": str(error)}, status=400)


def _page(cloud: Cloud, request: SimRequest) -> SimResponse:
    document: object
    match request.method, request.path.removeprefix(PREFIX).rstrip("/"):
        case "GET", "":
            document = {"faults_set": _specs(cloud), **asdict(cloud.counters)}
        case "GET", "/devices":
            document = {"devices": cloud.truth()}
        case "GET", "/log":
            document = {"log": [asdict(line) for line in cloud.log()]}
        case "POST", "/faults":
            cloud.faults = parse_faults(request.body.decode(errors="replace"))
            document = {"faults_set": _specs(cloud)}
        case "GET", "/hub":
            document = {"devices": cloud.hub.truth()}
        case "GET", "/hub/happenings":
            document = {"happenings": [asdict(happening) for happening in cloud.hub.happenings()]}
        case "POST", "/operator":
            document = {"changed": _edited(request, cloud.operator_edit)}
        case "POST", "/hub/operator":
            document = {"changed": _edited(request, cloud.hub.operator_edit)}
        case "POST", "/reset":
            cloud.reset_counters()
            document = {}
        case _:
            return json_answer({"error": "no such page"}, status=404)
    return json_answer(document)


def _specs(cloud: Cloud) -> list[str]:
    return [fault.spec for fault in cloud.faults]


def _edited(request: SimRequest, edit: Callable[[str, Mapping[str, object]], bool]) -> bool:
    body = request.object() or {}
    id_, patch = body.get("id"), body.get("patch")
    if not isinstance(id_, str) or not isinstance(patch, dict):
        raise SimulatorError('an edit is like {"id": "...", "patch": {...}}')
    return edit(id_, patch)
