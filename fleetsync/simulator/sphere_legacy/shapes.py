"""How the Azure Sphere public API shows things: PascalCase, enums as integers, null for what is not there."""

from datetime import UTC, datetime

from fleetsync.simulator.sphere_legacy.state import NEWEST_OS, Deployment, Device, Group, Insight, Product, Tenant
from fleetsync.simulator.wire import Object


def instant(at: float | None) -> str | None:
    """Return an instant as the service writes it."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "1Z"


def device_document(tenant: Tenant, device: Device) -> Object:
    """Return a device."""
    group = tenant.groups.get(device.group_id or "")
    return {
        "DeviceId": device.shown_as,
        "TenantId": tenant.id,
        "ProductId": None if group is None else group.product_id,
        "DeviceGroupId": None if group is None else group.id,
        "ChipSku": 0,
        "LastAvailableOSVersion": None if device.seen_at is None else NEWEST_OS,
        "LastInstalledOSVersion": device.installed or "",
        "LastOSUpdateUTC": instant(device.updated_at),
        "LastUpdateRequestUTC": instant(device.seen_at),
    }


def deployment_document(tenant: Tenant, deployment: Deployment) -> Object:
    """Return a deployment; it does not say whose it is."""
    return {
        "Id": deployment.id,
        "TenantId": tenant.id,
        "DeployedImages": list(deployment.images),
        "DeploymentDateUtc": instant(deployment.at),
    }


def group_document(tenant: Tenant, group: Group) -> Object:
    """Return a device group, in the order of the official sample."""
    members = group.members
    deployment = group.deployments[-1] if group.deployments else None
    return {
        "Id": group.id,
        "TenantId": tenant.id,
        "OsFeedType": members["OsFeedType"],
        "ProductId": group.product_id,
        "Name": members["Name"],
        "Description": members["Description"],
        "CurrentDeployment": None if deployment is None else deployment_document(tenant, deployment),
        "UpdatePolicy": members["UpdatePolicy"],
        "AllowCrashDumpsCollection": members["AllowCrashDumpsCollection"],
    }


def product_document(tenant: Tenant, product: Product) -> Object:
    """Return a product."""
    return {"Id": product.id, "TenantId": tenant.id, "Name": product.name, "Description": product.description}


def insight_document(insight: Insight) -> Object:
    """Return an insight, which has no id."""
    return {
        "DeviceId": insight.device_id,
        "StartTimestampInUnix": insight.start_at,
        "EndTimestampInUnix": insight.end_at,
        "Description": insight.description,
        "EventType": "App",
        "EventClass": insight.event_class,
        "EventCategory": insight.category,
        "EventCount": insight.count,
    }
