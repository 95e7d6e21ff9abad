"""A careful client of the simulated Cloud Relay, without sockets."""

import json
from dataclasses import dataclass
from urllib.parse import quote

from fleetsync.simulator import Cloud, SimRequest, SimResponse
from fleetsync.simulator.cloud_relay.service import Shares
from tests.simulator.client import HandClock

WELL = Shares(offline=0, slow=0, rubbish=0, hollow=0, large=0)


@dataclass
class RelayClient:
    """A careful client of the simulated Cloud Relay."""

    cloud: Cloud
    clock: HandClock

    def send(self, method: str, target: str, body: object = None, **headers: str) -> SimResponse:
        found = {name.replace("_", "-"): value for name, value in headers.items()}
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if body is not None:
            found.setdefault("Content-Type", "application/json")
        return self.cloud.handle_relay(SimRequest(method=method, target=target, headers=found, body=content))

    def call(
        self, device_id: str, remote: str, method: str = "GET", body: object = None, query: str = "", **headers: str
    ) -> SimResponse:
        """Ask a device for a path below the prefix of its API."""
        target = f"/api/v1/devices/{quote(device_id, safe='')}/request{query}"
        return self.send(method, target, body, Remote_Query=f"/api/rest/v1/{remote}", **headers)


def relay_error(answer: SimResponse) -> tuple[int, int | None]:
    """Return status and errorCode of the relay's own error; None where it has none."""
    if answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        return answer.status, answer.json().get("errorCode")
    return answer.status, None
