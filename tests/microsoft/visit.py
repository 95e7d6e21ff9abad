"""What a user of `azure-iot-hub` does with a hub; its own environment runs it, and nothing of fleetsync is imported.

    python visit.py FILE

The file holds the connection string. What the client made of the answers is printed as one JSON object.
"""

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import Configuration, ConfigurationContent, QuerySpecification, Twin, TwinProperties
from msrest.exceptions import HttpOperationError

QUERY = "SELECT * FROM devices"
KEY = base64.b64encode(b"thirty-two bytes of a device key").decode()


def refused(call: Callable[..., object], *words: object) -> list[Any]:
    """Return the status and the name of the error that a call is answered with."""
    try:
        call(*words)
    except HttpOperationError as error:
        return [error.response.status_code, error.response.headers["iothub-errorcode"]]
    return []


def queried(hub: IoTHubRegistryManager) -> list[dict[str, Any]]:
    """Return every page of a query of all devices, twenty rows at a time."""
    pages, token = [], None
    while True:
        result = hub.query_iot_hub(QuerySpecification(query=QUERY), token, 20)
        token = result.continuation_token
        rows = [{"id": twin.device_id, "etag": twin.etag, "tags": twin.tags} for twin in result.items]
        pages.append({"type": result.type, "rows": rows, "goes_on": bool(token)})
        if not token:
            return pages


def twins(hub: IoTHubRegistryManager, device_id: str) -> dict[str, Any]:
    """Change a twin under its etag, and try to do so again under the same one."""
    before = hub.get_twin(device_id)
    patch = Twin(
        tags={"ring": "visited", "owner": None, "visit": {"by": "azure-iot-hub"}},
        properties=TwinProperties(desired={"telemetry": {"intervalS": 17}}),
    )
    answer = hub.update_twin(device_id, patch, before.etag)
    # The whole twin as it was read, sent back.
    stale = refused(hub.update_twin, device_id, before, before.etag)
    after = hub.get_twin(device_id)
    same = hub.update_twin(device_id, after, after.etag)
    return {
        "before": before.as_dict(),
        "answer": answer.as_dict(),
        "stale": stale,
        "after": after.as_dict(),
        "same": same.as_dict(),
    }


def modules(hub: IoTHubRegistryManager, device_id: str) -> dict[str, Any]:
    """Read the modules of a device, and change the twin of one under its etag."""
    found = [module.module_id for module in hub.get_modules(device_id)]
    twin = hub.get_module_twin(device_id, found[-1])
    patch = Twin(properties=TwinProperties(desired={"intervalS": 17}))
    answer = hub.update_module_twin(device_id, found[-1], patch, twin.etag)
    stale = refused(hub.update_module_twin, device_id, found[-1], patch, twin.etag)
    return {"ids": found, "answer": answer.as_dict(), "stale": stale}


def identities(hub: IoTHubRegistryManager, device_id: str) -> dict[str, Any]:
    """Make a device, disable it and delete it, the latter two under its etag and under an old one."""
    created = hub.create_device_with_sas(device_id, KEY, KEY, "enabled")
    twice = refused(hub.create_device_with_sas, device_id, KEY, KEY, "enabled")
    updated = hub.update_device_with_sas(device_id, created.etag, KEY, KEY, "disabled", status_reason="lost")
    stale = refused(hub.update_device_with_sas, device_id, created.etag, KEY, KEY, "enabled")
    kept = refused(hub.delete_device, device_id, created.etag)
    read = hub.get_device(device_id)
    hub.delete_device(device_id, updated.etag)
    return {
        "created": created.as_dict(),
        "twice": twice,
        "updated": updated.as_dict(),
        "stale": stale,
        "kept": kept,
        "read": read.as_dict(),
        "gone": refused(hub.get_device, device_id),
    }


def configurations(hub: IoTHubConfigurationManager) -> dict[str, Any]:
    """Make a configuration, change it and delete it; this part of the client leaves the quotes to its user."""
    listed = [found.as_dict() for found in hub.get_configurations(100)]
    content = ConfigurationContent(device_content={"properties.desired.visit": {"by": "azure-iot-hub"}})
    wanted = Configuration(
        id="visit", schema_version="1.0", labels={}, content=content, target_condition="tags.ring='none'", priority=1
    )
    created = hub.create_configuration(wanted)
    wanted.priority = 2
    updated = hub.update_configuration(wanted, f'"{created.etag}"')
    stale = refused(hub.update_configuration, wanted, f'"{created.etag}"')
    hub.delete_configuration("visit", f'"{updated.etag}"')
    return {"listed": listed, "created": created.as_dict(), "updated": updated.as_dict(), "stale": stale}


def main(file: Path) -> None:
    """Visit the hub, and print what was seen."""
    connection_string = file.read_text()
    hub = IoTHubRegistryManager.from_connection_string(connection_string)
    pages = queried(hub)
    edge, plain = (
        next(device for device in hub.get_devices() if device.capabilities.iot_edge is is_edge)
        for is_edge in (True, False)
    )
    seen = {
        "pages": pages,
        "statistics": hub.get_device_registry_statistics().as_dict(),
        "connected": hub.get_service_statistics().as_dict(),
        "identity": plain.as_dict(),
        "twins": twins(hub, plain.device_id),
        "modules": modules(hub, edge.device_id),
        "identities": identities(hub, "it's-(a)=visit@50%25"),
        "configurations": configurations(IoTHubConfigurationManager.from_connection_string(connection_string)),
    }
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
