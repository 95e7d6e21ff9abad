"""Twins as clients see them: `/twins`."""

from fleetsync.simulator.counters import Guard
from fleetsync.simulator.desk import Carried
from fleetsync.simulator.iot_hub.guards import enforce
from fleetsync.simulator.iot_hub.identities import Identities
from fleetsync.simulator.iot_hub.records import twin_document
from fleetsync.simulator.iot_hub.routes import Route
from fleetsync.simulator.iot_hub.rules import body_of, written_section
from fleetsync.simulator.iot_hub.state import HubState, TwinWrite
from fleetsync.simulator.wire import Object, SimRequest, SimResponse, json_answer


class Twinning:
    """Serves `/twins`; reads are never behind, and every answer is the whole twin."""

    def __init__(self, state: HubState, identities: Identities) -> None:
        self._state = state
        self._identities = identities

    def read(self, route: Route) -> SimResponse:
        """Return a twin, whose etag is in its body only."""
        return json_answer(twin_document(self._identities.found(*route.key)))

    def write(self, request: SimRequest, route: Route, guard: Guard, *, at: float) -> Carried:
        """Merge a patch into tags and desired properties, or put others in their place; nothing else is written."""
        before = self._identities.found(*route.key)
        # It says device even for a module.
        enforce(guard, f"ETag mismatch for device ID '{route.key[0]}'")
        body, replaces = body_of(request), request.method == "PUT"
        nothing: Object | None = {} if replaces else None
        tags, desired = written_section(body, "tags"), written_section(body, "desired")
        write = TwinWrite(
            tags=nothing if tags is None else tags, desired=nothing if desired is None else desired, replaces=replaces
        )
        after = self._state.write_twin(before, write, at=at)
        changed = not after.twin.wants_the_same_as(before.twin)
        return Carried(answer=json_answer(twin_document(after)), changed=changed)
