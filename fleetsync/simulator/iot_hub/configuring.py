"""Configurations as clients see them: `/configurations`."""

from typing import Final

from fleetsync.simulator.counters import Guard
from fleetsync.simulator.desk import Carried
from fleetsync.simulator.iot_hub.configurations import Configuration
from fleetsync.simulator.iot_hub.guards import enforce, enforce_put
from fleetsync.simulator.iot_hub.rules import body_of, check_configuration_id, check_named, invalid, top_of
from fleetsync.simulator.iot_hub.state import HubState
from fleetsync.simulator.resources import is_same
from fleetsync.simulator.wire import RefusedError, SimRequest, SimResponse, json_answer

_MISMATCH: Final = "Precondition failed: the etag of the configuration did not match"


class Configuring:
    """Serves `/configurations`; whatever is written makes the service look at every device again."""

    def __init__(self, state: HubState) -> None:
        self._state = state
        self._stored = state.configurations

    def listed(self, query: str) -> SimResponse:
        """Return the first configurations; there are never so many that pages were needed."""
        top = top_of(query)
        if top is not None and top < 1:
            raise invalid("top is not positive")
        # A larger number than there can be is as good as none, says the description of the API.
        return json_answer([found.document() for found in self._stored][:top])

    def read(self, id_: str) -> SimResponse:
        """Return a configuration."""
        found = self._stored.get(id_)
        if found is None:
            raise RefusedError(404, "ConfigurationNotFound", f"The configuration '{id_}' does not exist.")
        return _shown(found)

    def write(self, request: SimRequest, id_: str, guard: Guard, *, at: float) -> Carried:
        """Create a configuration, or put another in its place."""
        body, before = body_of(request), self._stored.get(id_)
        enforce_put(guard, exists=before is not None, taken="ConfigurationAlreadyExists", message=_MISMATCH)
        check_configuration_id(id_)
        check_named(body, "id", id_)
        found = self._stored.put(id_, body, at=at)
        self._state.watch_all(at=at)
        changed = before is None or not is_same(before.members, found.members)
        return Carried(answer=_shown(found), changed=changed)

    def delete(self, id_: str, guard: Guard) -> Carried:
        """Delete a configuration; what it wrote stays."""
        enforce(guard, _MISMATCH)
        exists = self._stored.get(id_) is not None
        if exists:
            self._stored.remove(id_)
        return Carried(answer=SimResponse(status=204), changed=exists)


def _shown(found: Configuration) -> SimResponse:
    return json_answer(found.document(), headers={"ETag": f'"{found.etag}"'})
