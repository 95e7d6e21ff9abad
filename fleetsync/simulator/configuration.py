"""The configuration that fits a running simulator."""

import json
from dataclasses import dataclass
from pathlib import Path

from fleetsync.simulator.bucket import Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the configuration is made of; without a folder there is no TLS and no sign-in."""

    url: str
    folder: Path | None
    tenant_id: str
    client_id: str
    limit: Limit | None


def configuration(facts: Facts) -> str:
    """Return TOML that works as it is, with the alternatives as comments."""
    lines = ["[sources.central]", 'kind = "iot-central"', f"url = {_text(facts.url)}"]
    if facts.folder is None:
        lines += [
            "",
            "[sources.central.auth]",
            "# plain HTTP on the loopback interface asks for no token; start with --tls to try sign-in",
            'method = "none"',
        ]
    else:
        lines += _with_tls(facts, facts.folder)
    return "\n".join([*_limit(facts.limit), *lines]) + "\n"


def _with_tls(facts: Facts, folder: Path) -> list[str]:
    def file(name: str) -> str:
        return f"{{ file = {_text(folder / name)} }}"

    return [
        f"ca_file = {_text(folder / 'ca.pem')}",
        f"authority = {_text(facts.url)}",
        "",
        "[sources.central.auth]",
        'method = "client-secret"',
        f"tenant_id = {_text(facts.tenant_id)}",
        f"client_id = {_text(facts.client_id)}",
        f"client_secret = {file('client-secret')}",
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


def _limit(limit: Limit | None) -> list[str]:
    if limit is None:
        return ["# the simulator refuses no request for being one too many"]
    return [f"# the simulator allows {limit.per_s:g} requests a second and {limit.burst:g} at once, for all clients"]


def _text(value: object) -> str:
    # A JSON string in ASCII is a TOML basic string.
    return json.dumps(str(value))
