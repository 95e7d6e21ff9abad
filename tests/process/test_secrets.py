"""No key, token or signature in anything that a run writes: database, logs at DEBUG, status, plans, error texts."""

import asyncio
import base64
import hashlib
import hmac
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

from fleetsync.simulator import Cloud, Options, SimRequest, SimResponse, parse_faults

DECLARATIONS = """\
[[declaration]]
name = "wave"
sources = ["hub"]
[declaration.desired]
tags.wave = "3"

[[declaration]]
name = "on"
sources = ["hub"]
where = "NOT enabled"
[declaration.desired]
status = "enabled"
statusReason = "found again"
"""
REGISTRY_PASSWORD = "r3gistry-p4ssword"


class Listening(Cloud):
    """A cloud that keeps what clients signed in with."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.headers: set[str] = set()

    def handle_hub(self, request: SimRequest) -> SimResponse:
        self.headers.add(request.header("Authorization") or "")
        return super().handle_hub(request)

    def handle(self, request: SimRequest) -> SimResponse:
        self.headers.add(request.header("Authorization") or "")
        return super().handle(request)


@dataclass
class Run:
    """A folder in which the program runs, and all that it said."""

    folder: Path
    said: list[str] = field(default_factory=list)

    async def __call__(self, *arguments: str, code: int = 0) -> None:
        command = [sys.executable, "-m", "fleetsync", "--config", str(self.folder / "config.toml"), *arguments]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said = [output.decode() for output in await process.communicate()]
        self.said += said
        assert process.returncode == code, (arguments, said)

    def written(self) -> Iterator[tuple[str, bytes]]:
        """Yield everything that the program wrote, with a name for it."""
        for number, text in enumerate(self.said):
            yield f"output {number}", text.encode()
        for file in self.folder.rglob("*"):
            if file.is_file() and file.name != "config.toml":
                yield str(file), file.read_bytes()


def forms(secret: str) -> set[bytes]:
    """Return the ways in which a secret may be written."""
    texts = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), secret[:24], secret[-24:]}
    texts |= {text.replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d") for text in texts}
    raw = secret.encode()
    encoded = {base64.b64encode(raw).rstrip(b"="), base64.urlsafe_b64encode(raw).rstrip(b"="), raw.hex().encode()}
    return {text.encode() for text in texts} | encoded


def secrets_of(cloud: Listening) -> Iterator[str]:
    """Yield what nobody may see: keys, tokens, and the signatures that were sent."""
    for header in cloud.headers - {""}:
        if signature := re.search(r"sig=([^&]+)", header):
            yield signature[1]
        yield header.partition(" ")[2]
    yield cloud.hub.doorman.connection_string().rpartition("SharedAccessKey=")[2]
    yield cloud.credentials.client_secret
    yield cloud.credentials.api_token
    for one in cloud.hub.truth():
        yield from (key for key in (one["identity"]["authentication"]["symmetricKey"] or {}).values() if key)
    yield REGISTRY_PASSWORD


def configure(folder: Path, text: str) -> None:
    fast = 'mode = "manual"\nlimits.max_writes = "100%"\nrate.query = "500/s"\nrate.registry = "500/s"\n'
    fast += 'rate.configuration = "500/s"\n\n'
    text = text.replace("[sources.hub.auth]", f"{fast}[sources.hub.auth]")
    text = re.sub(r"\[log\]\n", "", text) + '\n[log]\nlevel = "debug"\nformat = "json"\n'
    (folder / "config.toml").write_text(text, encoding="utf-8")
    (folder / "declarations").mkdir(exist_ok=True)
    (folder / "declarations" / "all.toml").write_text(DECLARATIONS, encoding="utf-8")


async def test_whatever_runs_and_fails_no_secret_is_written_anywhere(tmp_path: Path) -> None:
    keys, folder = tmp_path / "tls", tmp_path / "run"
    folder.mkdir()
    options = Options(
        kinds=("iot-central", "iot-hub"), devices=30, hub_devices=40, hub_tier="none", rate="none", tls=keys
    )
    cloud = Listening(options)
    async with cloud.serving():
        device = next(one["twin"]["deviceId"] for one in cloud.hub.truth() if one["modules"])
        manifest = {
            "runtime": {"settings": {"registryCredentials": {"r": {"password": REGISTRY_PASSWORD}}}},
            "modules": {"m": {"settings": {"createOptions": REGISTRY_PASSWORD}}},
        }
        cloud.hub.operator_edit(device, {"properties": {"desired": manifest}}, module_id="$edgeAgent")
        cloud.hub.state.registry.index.settle(time.time() + 60)

        configure(folder, cloud.configuration())
        run = Run(folder)
        await run("--debug", "check", "--online")
        await run("--debug", "sync")
        await run("--debug", "plan", "--out", str(folder / "plan.json"))
        await run("--debug", "apply", "hub")
        await run("--debug", "status", "--json")
        await run("--debug", "explain", "hub", device)
        await run("--debug", "history", "hub", device)
        await run("--debug", "query", "SELECT document FROM modules")
        await run("--debug", "doctor")
        assert cloud.counters.writes_applied

        # Now everything fails that can.
        cloud.faults = parse_faults("status=401")
        await run("--debug", "sync", "hub", code=1)
        cloud.faults = parse_faults("status=500")
        await run("--debug", "sync", "hub", code=75)
        cloud.faults = parse_faults("status=403")
        await run("--debug", "apply", "hub", code=1)
        cloud.faults = ()
        file = keys / "hub-connection-string"
        right = file.read_text(encoding="utf-8")
        wrong = base64.b64encode(hmac.digest(b"x", b"y", hashlib.sha256)).decode()
        file.write_text(right.rpartition("SharedAccessKey=")[0] + f"SharedAccessKey={wrong}", encoding="utf-8")
        await run("--debug", "sync", "hub", code=1)
        file.write_text(right.replace("SharedAccessKey=", "SharedAccessKey=!"), encoding="utf-8")
        await run("--debug", "sync", "hub", code=1)

    secrets = {form for secret in (*secrets_of(cloud), wrong) for form in forms(secret)}
    assert len(secrets) > 100
    found = [(name, secret) for name, text in run.written() for secret in secrets if secret in text]
    assert found == []
    assert not any(b"SharedAccessSignature" in text or b"sig=" in text for _, text in run.written())
    # The mirror has what is no secret.
    assert b'"wave":"3"' in (folder / "fleetsync.db").read_bytes()
