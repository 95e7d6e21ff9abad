"""A careful client of the simulated services, without sockets: the raw target goes out as it came in."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from fleetsync.simulator import Cloud, SimRequest, SimResponse

PREVIEW = "2022-10-31-preview"
STABLE = "2022-07-31"


@dataclass
class HandClock:
    """A clock that is moved by hand."""

    seconds: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Client:
    cloud: Cloud
    clock: HandClock
    version: str = PREVIEW
    headers: dict[str, str] = field(default_factory=dict)

    def send(self, method: str, target: str, body: object = None, **headers: str) -> SimResponse:
        found = {name.replace("_", "-"): value for name, value in {**self.headers, **headers}.items()}
        if body is not None:
            found.setdefault("Content-Type", "application/json")
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.cloud.handle(SimRequest(method=method, target=target, headers=found, body=content))

    def call(self, method: str, path: str, body: object = None, **headers: str) -> SimResponse:
        return self.send(method, f"/api/{path}?api-version={self.version}", body, **headers)

    def device(self, device_id: str, method: str = "GET", body: object = None, **headers: str) -> SimResponse:
        return self.call(method, f"devices/{quote(device_id, safe='')}", body, **headers)

    def some_id(self) -> str:
        return next(id_ for id_ in self.cloud.application.devices.ids if id_.startswith("thermostat"))

    def first_target(self, path: str = "devices", size: int | None = None) -> str:
        suffix = f"&maxpagesize={size}" if size else ""
        return f"/api/{path}?api-version={self.version}{suffix}"

    def pages(self, path: str = "devices", size: int | None = None, most: int = 100) -> list[dict[str, Any]]:
        target: str | None = self.first_target(path, size)
        found = []
        while target is not None and len(found) < most:
            answer = self.send("GET", target)
            assert answer.status == 200, answer.body
            found.append(answer.json())
            target = next_target(found[-1])
        return found

    def ids(self, path: str = "devices", size: int | None = None, most: int = 100) -> list[str]:
        return [item["id"] for page in self.pages(path, size, most) for item in page["value"]]


HUB_VERSION = "2021-04-12"


@dataclass
class HubClient:
    """A careful client of the simulated IoT Hub."""

    cloud: Cloud
    clock: HandClock

    def call(self, method: str, path: str, body: object = None, **headers: str) -> SimResponse:
        found = {name.replace("_", "-"): value for name, value in headers.items()}
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        separator = "&" if "?" in path else "?"
        target = f"/{path}{separator}api-version={HUB_VERSION}"
        return self.cloud.handle_hub(SimRequest(method=method, target=target, headers=found, body=content))

    def device(self, device_id: str, method: str = "GET", body: object = None, **headers: str) -> SimResponse:
        return self.call(method, f"devices/{quote(device_id, safe='')}", body, **headers)

    def twin(self, device_id: str, method: str = "GET", body: object = None, **headers: str) -> SimResponse:
        return self.call(method, f"twins/{quote(device_id, safe='')}", body, **headers)

    def query(self, text: str, *, size: int | None = None, token: str | None = None) -> SimResponse:
        headers = {} if size is None else {"x-ms-max-item-count": str(size)}
        if token is not None:
            headers["x-ms-continuation"] = token
        return self.call("POST", "devices/query", {"query": text}, **headers)

    def pages(self, text: str, *, size: int | None = None, most: int = 100) -> list[SimResponse]:
        found: list[SimResponse] = []
        token: str | None = None
        while len(found) < most:
            found.append(self.query(text, size=size, token=token))
            assert found[-1].status == 200, found[-1].body
            token = found[-1].headers.get("x-ms-continuation")
            if not token:
                break
        return found

    def rows(self, text: str = "SELECT * FROM devices", *, size: int | None = None) -> list[dict[str, Any]]:
        return [row for page in self.pages(text, size=size) for row in page.json()]


def error_name(answer: SimResponse) -> tuple[int, str | None]:
    return answer.status, answer.headers.get("iothub-errorcode")


def next_target(page: dict[str, Any]) -> str | None:
    link = page.get("nextLink")
    if link is None:
        return None
    parts = urlsplit(link)
    # Only the origin goes; path and query stay byte for byte.
    return str(link).removeprefix(f"{parts.scheme}://{parts.netloc}")


def quoted(etag: str) -> str:
    return etag if etag.startswith('"') else f'"{etag}"'


SPHERE_VERSION = "2024-04-01"
HUB_ARM_VERSION = "2023-06-30"


@dataclass
class ArmClient:
    """A careful client of the simulated Azure Resource Manager."""

    cloud: Cloud
    clock: HandClock

    @property
    def subscription(self) -> str:
        return f"/subscriptions/{self.cloud.arm.subscription}"

    @property
    def catalog(self) -> str:
        return f"{self.subscription}/resourceGroups/Sphere-Prod/providers/Microsoft.AzureSphere/catalogs/MainCatalog"

    @property
    def hub(self) -> str:
        return f"{self.subscription}/resourceGroups/IoT-Hubs/providers/Microsoft.Devices/IotHubs/fleet-hub"

    def send(self, method: str, target: str, body: object = None, **headers: str) -> SimResponse:
        found = {name.replace("_", "-"): value for name, value in headers.items()}
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.cloud.handle_arm(SimRequest(method=method, target=target, headers=found, body=content))

    def call(self, method: str, id: str, body: object = None, **headers: str) -> SimResponse:
        """Send a request about an ARM id, as it stands in a document."""
        version = HUB_ARM_VERSION if "/Microsoft.Devices/" in id else SPHERE_VERSION
        return self.send(method, f"{quote(id)}?api-version={version}", body, **headers)

    def pages(self, id: str, method: str = "GET", body: object = None) -> list[dict[str, Any]]:
        found = [self.call(method, id, body).json()]
        while (target := next_target(found[-1])) is not None:
            answer = self.send("GET", target)
            assert answer.status == 200, answer.body
            found.append(answer.json())
        return found

    def listed(self, id: str, method: str = "GET", body: object = None) -> list[dict[str, Any]]:
        return [item for page in self.pages(id, method, body) for item in page["value"]]

    def devices(self) -> list[dict[str, Any]]:
        return self.listed(f"{self.catalog}/listDevices", "POST")

    def group(self, place: str = "ColdChain/Field Test") -> str:
        product, group = place.split("/")
        return f"{self.catalog}/products/{product}/deviceGroups/{group}"

    def move(self, device: str, place: str = "ColdChain/Field Test") -> SimResponse:
        """Move a device, by its ARM id, to a group of the catalog."""
        return self.call("PATCH", device, {"properties": {"deviceGroupId": self.group(place)}})

    def poll(self, url: str) -> SimResponse:
        return self.send("GET", url.removeprefix(self.cloud.arm_url))


def error_code(answer: SimResponse) -> tuple[int, object]:
    """Return status and code of an error in either shape."""
    document = answer.json()
    return answer.status, document.get("error", document).get("code")
