"""The pages under `/_simulator`: the books, the whole truth, and the strings of the puppets.

| GET /_simulator           | the counters                                        |
| GET /_simulator/devices   | every device with its properties, as they really are |
| GET /_simulator/log       | the last requests                                   |
| POST /_simulator/faults   | set the faults; the body is a specification         |
| POST /_simulator/operator | `{"id": ..., "patch": {...}}`: a second operator edits a device |
| POST /_simulator/reset    | begin the counters anew                             |

They are not limited, not counted, have no faults and ask for no token.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.faults import parse_faults
from fleetsync.simulator.wire import SimRequest, SimResponse, json_answer

if TYPE_CHECKING:
    from fleetsync.simulator.cloud import Cloud

PREFIX = "/_simulator"


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
        case "POST", "/operator":
            document = {"changed": _edited(cloud, request)}
        case "POST", "/reset":
            cloud.reset_counters()
            document = {}
        case _:
            return json_answer({"error": "no such page"}, status=404)
    return json_answer(document)


def _specs(cloud: Cloud) -> list[str]:
    return [fault.spec for fault in cloud.faults]


def _edited(cloud: Cloud, request: SimRequest) -> bool:
    body = request.object() or {}
    id_, patch = body.get("id"), body.get("patch")
    if not isinstance(id_, str) or not isinstance(patch, dict):
        raise SimulatorError('an edit is like {"id": "...", "patch": {...}}')
    return cloud.operator_edit(id_, patch)
