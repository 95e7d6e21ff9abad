"""The configuration that fits a running simulator."""

import json
from dataclasses import dataclass
from pathlib import Path

from fleetsync.simulator.bucket import Limit
from fleetsync.simulator.iot_hub.throttles import UNLIMITED

_RELAY_RATE = 'rate = { call = "200/s" }'


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFacts:
    """What is to be said of an IoT Hub."""

    url: str
    tier: str
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmFacts:
    """What is to be said of Azure Resource Manager."""

    url: str
    subscription: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantFacts:
    """What is to be said of an Azure Sphere tenant."""

    url: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayFacts:
    """What is to be said of a Cloud Relay; its roster is that of the hub's source, or a list."""

    url: str
    scope: str
    roster: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the configuration is made of; without a folder there is no TLS and no sign-in.

    `url` is that of IoT Central and of the sign-in; without a hub there is no second source.
    """

    url: str
    folder: Path | None
    tenant_id: str
    client_id: str
    limit: Limit | None
    has_central: bool = True
    hub: HubFacts | None = None
    arm: ArmFacts | None = None
    has_catalog: bool = False
    has_hub_arm: bool = False
    tenant: TenantFacts | None = None
    relay: RelayFacts | None = None


def configuration(facts: Facts) -> str:
    """Return TOML that works as it is, with the alternatives as comments."""
    sources = [_central(facts)] if facts.has_central else []
    if facts.hub is not None:
        sources.append(_hub(facts, facts.hub))
    if facts.arm is not None and facts.has_catalog:
        sources.append(_behind_arm(facts, facts.arm, "catalog", "sphere-arm"))
    if facts.arm is not None and facts.has_hub_arm:
        sources.append(_behind_arm(facts, facts.arm, "hubs", "iot-hub-arm"))
    if facts.tenant is not None:
        sources.append(_tenant(facts, facts.tenant))
    if facts.relay is not None:
        sources.append(_relay(facts, facts.relay))
    return "\n\n".join("\n".join(lines) for lines in sources) + "\n"


def _central(facts: Facts) -> list[str]:
    lines = ["[sources.central]", 'kind = "iot-central"', f"url = {_text(facts.url)}"]
    lines += _without_tls("central") if facts.folder is None else _with_tls(facts, facts.folder)
    return [*_limit(facts.limit), *lines]


def _hub(facts: Facts, hub: HubFacts) -> list[str]:
    lines = ["[sources.hub]", 'kind = "iot-hub"', f"url = {_text(hub.url)}"]
    if hub.tier == UNLIMITED:
        lines.insert(0, "# the simulator limits nothing at this hub, so no tier describes it")
    else:
        lines += [f"tier = {_text(hub.tier)}", f"units = {hub.units}"]
    return lines + (_without_tls("hub") if facts.folder is None else _hub_with_tls(facts, facts.folder))


def _behind_arm(facts: Facts, arm: ArmFacts, source: str, kind: str) -> list[str]:
    lines = [f"[sources.{source}]", f"kind = {_text(kind)}", f"url = {_text(arm.url)}"]
    return _with_entra_only(facts, source, [*lines, f"subscription = {_text(arm.subscription)}"])


def _tenant(facts: Facts, tenant: TenantFacts) -> list[str]:
    lines = ["[sources.tenant]", 'kind = "sphere-legacy"', f"url = {_text(tenant.url)}", f"tenant = {_text(tenant.id)}"]
    return _with_entra_only(facts, "tenant", lines)


def _with_entra_only(facts: Facts, source: str, lines: list[str]) -> list[str]:
    if facts.folder is None:
        return lines + _without_tls(source)
    return [
        *lines,
        f"ca_file = {_text(facts.folder / 'ca.pem')}",
        f"authority = {_text(facts.url)}",
        "",
        f"[sources.{source}.auth]",
        *_client_secret(facts, facts.folder),
    ]


def _relay(facts: Facts, relay: RelayFacts) -> list[str]:
    roster = '{ source = "hub" }' if relay.roster is None else json.dumps(relay.roster)
    lines = ["[sources.buildings]", 'kind = "cloud-relay"', f"url = {_text(relay.url)}", f"roster = {roster}"]
    lines += [
        "# no quota of a relay is documented, so fleetsync sends 5 a second; the simulator refuses none",
        _RELAY_RATE,
    ]
    if facts.folder is None:
        return lines + _without_tls("buildings")
    return [
        *lines,
        f"ca_file = {_text(facts.folder / 'ca.pem')}",
        f"authority = {_text(facts.url)}",
        f"scope = {_text(relay.scope)}",
        "",
        "[sources.buildings.auth]",
        *_client_secret(facts, facts.folder),
    ]


def _without_tls(source: str) -> list[str]:
    return [
        "",
        f"[sources.{source}.auth]",
        "# plain HTTP on the loopback interface asks for no token; start with --tls to try sign-in",
        'method = "none"',
    ]


def _hub_with_tls(facts: Facts, folder: Path) -> list[str]:
    return [
        f"ca_file = {_text(folder / 'ca.pem')}",
        f"authority = {_text(facts.url)}",
        "",
        "[sources.hub.auth]",
        'method = "shared-access-key"',
        f"connection_string = {_file(folder / 'hub-connection-string')}",
        "# or with an application's secret, from the authority above:",
        *(f"# {line}" for line in _client_secret(facts, folder)),
    ]


def _with_tls(facts: Facts, folder: Path) -> list[str]:
    def file(name: str) -> str:
        return _file(folder / name)

    return [
        f"ca_file = {_text(folder / 'ca.pem')}",
        f"authority = {_text(facts.url)}",
        "",
        "[sources.central.auth]",
        *_client_secret(facts, folder),
        "# or with the registered certificate:",
        '# method = "client-certificate"',
        f"# certificate = {file('client.pem')}",
        "# or with a workload's token:",
        '# method = "workload-identity"',
        f"# token_file = {_text(folder / 'workload-token')}",
        "# or with an API token, which needs neither tenant nor client:",
        '# method = "api-token"',
        f"# token = {file('api-token')}",
    ]


def _client_secret(facts: Facts, folder: Path) -> list[str]:
    return [
        'method = "client-secret"',
        f"tenant_id = {_text(facts.tenant_id)}",
        f"client_id = {_text(facts.client_id)}",
        f"client_secret = {_file(folder / 'client-secret')}",
    ]


def _limit(limit: Limit | None) -> list[str]:
    if limit is None:
        return ["# the simulator refuses no request for being one too many"]
    return [f"# the simulator allows {limit.per_s:g} requests a second and {limit.burst:g} at once, for all clients"]


def _file(path: Path) -> str:
    return f"{{ file = {_text(path)} }}"


def _text(value: object) -> str:
    # A JSON string in ASCII is a TOML basic string.
    return json.dumps(str(value))
