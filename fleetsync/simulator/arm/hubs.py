"""IoT Hubs as resources of Azure Resource Manager: what they are, not what is in them.

Facts (recordings of azure-cli and azure-mgmt-iothub, read 2026-11): the etag is in the body, and no header has one;
PATCH takes tags alone and no If-Match; short lists have no nextLink at all.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Final

from fleetsync.simulator.arm.routes import DEVICES, HUB
from fleetsync.simulator.resources import Collection, Entry, no_etag
from fleetsync.simulator.wire import Object

GROUP_NAME: Final = "IoT-Hubs"
HUB_NAMES: Final = ("fleet-hub", "spare-hub")
MESSAGES_A_DAY: Final[Mapping[str, int]] = {"F1": 8_000, "S1": 400_000, "S2": 6_000_000, "S3": 300_000_000}


class Hubs:
    """The hubs of a subscription; the first is the simulated one, if there is one."""

    def __init__(
        self, *, tier: str, units: int, counts: Callable[[], Mapping[str, int]], at: float, are_there: bool
    ) -> None:
        self.entries = Collection(etags=no_etag)
        self._counts = counts
        for name, sku, capacity in ((HUB_NAMES[0], tier, units), (HUB_NAMES[1], "F1", 1)) if are_there else ():
            document = {"names": (name,), "group": GROUP_NAME, **_description(name, sku, capacity)}
            self.entries.put(f"{GROUP_NAME}/{name}".lower(), document, at=at)

    def document(self, entry: Entry, subscription: str, *, addressed: str | None = None) -> Object:
        """Return a hub as its service describes it."""
        path = f"/providers/{DEVICES}/{HUB[0]}/{entry.document['names'][0]}"
        group = str(entry.document["group"])
        shown = {name: value for name, value in entry.document.items() if name not in ("names", "group")}
        return {
            "id": addressed or f"/subscriptions/{subscription}/resourceGroups/{group}{path}",
            "name": entry.document["names"][0],
            "type": f"{DEVICES}/{HUB[0]}",
            "resourcegroup": group,
            "subscriptionid": subscription,
            "etag": etag(entry),
            **shown,
        }

    def statistics(self, entry: Entry) -> Object:
        """Return how many devices a hub has."""
        counts = self._counts() if entry.document["names"][0] == HUB_NAMES[0] else {}
        total, enabled = counts.get("all", 0), counts.get("enabled", 0)
        return {
            "totalDeviceCount": total,
            "enabledDeviceCount": enabled,
            "disabledDeviceCount": total - enabled,
        }

    def quota(self, entry: Entry) -> Object:
        """Return what of its quota a hub has used."""
        sku = entry.document["sku"]
        most = MESSAGES_A_DAY.get(str(sku["name"]), 400_000) * int(sku["capacity"])
        total = self.statistics(entry)["totalDeviceCount"]
        return {
            "value": [
                {"name": "TotalMessages", "currentValue": min(most, total * 12), "maxValue": most},
                {"name": "TotalDeviceCount", "currentValue": total, "maxValue": 1_000_000},
            ]
        }


def etag(entry: Entry) -> str:
    """Return the etag that the body of a hub has: base64 of a number that grows."""
    return base64.b64encode((entry.serial << 16).to_bytes(8, "big")).decode()


def _description(name: str, sku: str, capacity: int) -> Object:
    tier = "Free" if sku == "F1" else "Basic" if sku.startswith("B") else "Standard"
    return {
        "location": "westeurope",
        "tags": {"stage": "prod"} if name == HUB_NAMES[0] else {},
        "properties": {
            "locations": [{"location": "West Europe", "role": "primary"}],
            "state": "Active",
            "provisioningState": "Succeeded",
            "ipFilterRules": [],
            "hostName": f"{name}.azure-devices.net",
            "eventHubEndpoints": {
                "events": {
                    "retentionTimeInDays": 1,
                    "partitionCount": 4,
                    "partitionIds": ["0", "1", "2", "3"],
                    "path": name,
                    "endpoint": f"sb://ihsuprodamres-{name}.servicebus.windows.net/",
                }
            },
            "routing": {"endpoints": {"serviceBusQueues": [], "eventHubs": []}, "routes": []},
            "storageEndpoints": {
                "$default": {
                    "sasTtlAsIso8601": "PT1H",
                    "connectionString": "DefaultEndpointsProtocol=https;AccountName=fleet;AccountKey=****",
                    "containerName": "uploads",
                }
            },
            "features": "None",
        },
        "sku": {"name": sku, "tier": tier, "capacity": capacity},
    }
