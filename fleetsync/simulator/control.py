"""The pages under `/_simulator`: the books, the whole truth, and the strings of the puppets.

| GET /_simulator           | the counters                                        |
| GET /_simulator/devices   | every device with its properties, as they really are |
| GET /_simulator/log       | the last requests                                   |
| GET /_simulator/hub       | every device of the IoT Hub with its twins, as they really are |
| GET /_simulator/hub/happenings | which devices of the IoT Hub came and went      |
| POST /_simulator/faults   | set the faults; the body is a specification         |
| POST /_simulator/operator | `{"id": ..., "patch": {...}}`: a second operator edits a device |
| POST /_simulator/hub/operator | the same at the IoT Hub; the patch has `tags`, `properties.desired`, `status` |
| GET /_simulator/arm       | every Azure Sphere device behind Azure Resource Manager, as it really is |
| GET /_simulator/arm/moves | which of them were moved                            |
| GET /_simulator/arm/log   | the last requests to Azure Resource Manager         |
| POST /_simulator/arm/operator | the same there; the id is that of a resource, the patch has `tags` or `properties` |
| GET /_simulator/sphere    | every device and device group of the Azure Sphere tenant, as they really are |
| GET /_simulator/sphere/moves | which of its devices clients moved, and how that ended |
| POST /_simulator/sphere/operator | the same there; the id is that of a device or of a group |
| GET /_simulator/relay     | every device of the Cloud Relay with its controller, as they really are |
| POST /_simulator/relay/operator | the same at a controller; the patch has values by path |
| POST /_simulator/reset    | begin the counters anew                             |

They are the same at every address. They are not limited, not counted, have no faults and ask for no token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.faults import parse_faults
from fleetsync.simulator.wire import Object, SimRequest, SimResponse, json_answer

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
    made = _PAGES.get((request.method, request.path.removeprefix(PREFIX).rstrip("/")))
    if made is None:
        return json_answer({"error": "no such page"}, status=404)
    return json_answer(made(cloud, request))


def _set_faults(cloud: Cloud, request: SimRequest) -> Object:
    cloud.faults = parse_faults(request.body.decode(errors="replace"))
    return {"faults_set": _specs(cloud)}


def _reset(cloud: Cloud, _request: SimRequest) -> Object:
    cloud.reset_counters()
    return {}


def _specs(cloud: Cloud) -> list[str]:
    return [fault.spec for fault in cloud.faults]


def _edited(request: SimRequest, edit: Callable[[str, Mapping[str, object]], bool]) -> bool:
    body = request.object() or {}
    id_, patch = body.get("id"), body.get("patch")
    if not isinstance(id_, str) or not isinstance(patch, dict):
        raise SimulatorError('an edit is like {"id": "...", "patch": {...}}')
    return edit(id_, patch)


_PAGES: Mapping[tuple[str, str], Callable[[Cloud, SimRequest], Object]] = {
    ("GET", ""): lambda cloud, _: {"faults_set": _specs(cloud), **asdict(cloud.counters)},
    ("GET", "/devices"): lambda cloud, _: {"devices": cloud.truth()},
    ("GET", "/log"): lambda cloud, _: {"log": [asdict(line) for line in cloud.log()]},
    ("GET", "/hub"): lambda cloud, _: {"devices": cloud.hub.truth()},
    ("GET", "/hub/happenings"): lambda cloud, _: {"happenings": [asdict(one) for one in cloud.hub.happenings()]},
    ("GET", "/arm"): lambda cloud, _: {"devices": cloud.arm.truth()},
    ("GET", "/arm/moves"): lambda cloud, _: {"moves": [asdict(move) for move in cloud.arm.moves()]},
    ("GET", "/arm/log"): lambda cloud, _: {"log": [asdict(line) for line in cloud.arm.log()]},
    ("GET", "/sphere"): lambda cloud, _: {"devices": cloud.sphere.truth(), "groups": cloud.sphere.groups()},
    ("GET", "/sphere/moves"): lambda cloud, _: {"moves": [asdict(move) for move in cloud.sphere.moves()]},
    ("GET", "/relay"): lambda cloud, _: {"devices": cloud.relay.truth()},
    ("POST", "/faults"): _set_faults,
    ("POST", "/operator"): lambda cloud, request: {"changed": _edited(request, cloud.operator_edit)},
    ("POST", "/hub/operator"): lambda cloud, request: {"changed": _edited(request, cloud.hub.operator_edit)},
    ("POST", "/arm/operator"): lambda cloud, request: {"changed": _edited(request, cloud.arm.operator_edit)},
    ("POST", "/sphere/operator"): lambda cloud, request: {"changed": _edited(request, cloud.sphere.operator_edit)},
    ("POST", "/relay/operator"): lambda cloud, request: {"changed": _edited(request, cloud.relay.operator_patch)},
    ("POST", "/reset"): _reset,
}
