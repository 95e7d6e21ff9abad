"""Over a real socket: what needs one."""

import asyncio
import base64
import functools
import hashlib
import hmac
import ssl
import stat
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msal
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from yarl import URL

from fleetsync.simulator import Cloud, Options, SimulatorError

SCOPES = ["https://apps.azureiotcentral.com/.default"]
OPTIONS: dict[str, Any] = {"devices": 60, "rate": "none", "latency_s": 0.0}


def cloud(**changes: Any) -> Cloud:
    return Cloud(Options(**{**OPTIONS, **changes}))


async def test_the_bytes_of_a_link_survive_the_way_there_and_back() -> None:
    simulated = cloud()
    async with simulated.serving() as address, aiohttp.ClientSession() as session:
        for version in ("2022-10-31-preview", "2022-07-31"):
            url, seen = f"http://{address}/api/devices?api-version={version}", 0
            while url:
                async with session.get(URL(url, encoded=True)) as answer:
                    page = await answer.json()
                seen, url = seen + len(page["value"]), page.get("nextLink")
            assert seen == 60


async def test_a_link_that_was_parsed_and_built_again_is_refused() -> None:
    simulated = cloud()
    async with simulated.serving() as address, aiohttp.ClientSession() as session:
        async with session.get(f"http://{address}/api/devices?api-version=2022-07-31") as answer:
            link = (await answer.json())["nextLink"]
        async with session.get(link) as answer:
            assert answer.status == 400


@pytest.mark.parametrize(("fault", "applied"), [("reset", 1), ("reset-before", 0)])
async def test_a_reset_is_seen_as_one_and_the_books_know_what_was_done(fault: str, applied: int) -> None:
    simulated = cloud(faults=f"write.{fault}@1")
    async with simulated.serving() as address, aiohttp.ClientSession() as session:
        url = URL(f"http://{address}/api/devices/UPPER_lower-01?api-version=2022-10-31-preview", encoded=True)
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.patch(url, json={"displayName": "changed"})
        assert simulated.counters.writes_applied == applied
        async with session.get(url) as answer:
            assert ((await answer.json())["displayName"] == "changed") == bool(applied)


async def test_a_truncated_body_is_an_error_of_the_payload() -> None:
    simulated = cloud(faults="truncate@1")
    async with simulated.serving() as address, aiohttp.ClientSession() as session:
        answer = await session.get(f"http://{address}/api/devices?api-version=2022-07-31")
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_slow_body_does_not_hold_up_the_others_or_the_end() -> None:
    simulated = cloud(faults="slow-body=1m@1")
    async with simulated.serving() as address, aiohttp.ClientSession() as session:
        url = f"http://{address}/api/organizations?api-version=2022-07-31"
        async with session.get(url) as slow:
            assert slow.status == 200
            async with session.get(url) as quick:
                assert (await quick.json())["value"]


async def test_a_delay_delays_the_answer_only() -> None:
    simulated = cloud(faults="latency=1m")
    async with simulated.serving() as address, aiohttp.ClientSession() as session:
        url = f"http://{address}/api/devices?api-version=2022-07-31"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await session.get(url)
        assert simulated.counters.requests == 1


async def test_the_printed_configuration_fits_without_tls() -> None:
    simulated = cloud()
    async with simulated.serving() as address:
        parsed = tomllib.loads(simulated.configuration())
    assert parsed == {
        "sources": {"central": {"kind": "iot-central", "url": f"http://{address}", "auth": {"method": "none"}}}
    }


async def test_a_taken_address_is_named() -> None:
    async with cloud().serving() as address:
        with pytest.raises(SimulatorError, match=address):
            async with cloud(listen=address).serving():
                pass


class SignedIn:
    """MSAL against a cloud with TLS, with the certificate authority handed to each request."""

    def __init__(self, simulated: Cloud, folder: Path) -> None:
        session = requests.Session()
        # An argument of the request beats REQUESTS_CA_BUNDLE, an attribute of the session does not.
        session.request = functools.partial(session.request, verify=str(folder / "ca.pem"), timeout=10)  # type: ignore[method-assign]
        source = tomllib.loads(simulated.configuration())["sources"]["central"]
        self.client_id: str = source["auth"]["client_id"]
        authority = f"{source['authority']}/{source['auth']['tenant_id']}"
        self.options = {"authority": authority, "instance_discovery": False, "http_client": session}

    def confidential(self, credential: object) -> dict[str, Any]:
        app = msal.ConfidentialClientApplication(self.client_id, client_credential=credential, **self.options)
        return dict(app.acquire_token_for_client(scopes=SCOPES))

    def device_code(self) -> tuple[dict[str, Any], dict[str, Any]]:
        app = msal.PublicClientApplication(self.client_id, **self.options)
        flow = app.initiate_device_flow(scopes=SCOPES)
        first = app.acquire_token_by_device_flow(flow)
        [account] = app.get_accounts()
        second = app.acquire_token_silent_with_error(SCOPES, account, force_refresh=True)
        return dict(first), dict(second)


async def fetched(simulated: Cloud, folder: Path, authorization: str) -> int:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    async with aiohttp.ClientSession() as session:
        url = f"{simulated.url}/api/devices?api-version=2022-07-31"
        async with session.get(url, headers={"Authorization": authorization}, ssl=context) as answer:
            return answer.status


def files(folder: Path) -> dict[str, bytes]:
    """Return all files but the API token, which ends a year after the start."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "api-token"}


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def pem(folder: Path) -> dict[str, str]:
    return {
        "private_key": (folder / "client.key").read_text(),
        "public_certificate": (folder / "client.pem").read_text(),
    }


def thumbprint(folder: Path) -> dict[str, str]:
    certificate = x509.load_pem_x509_certificate((folder / "client.pem").read_bytes())
    return {
        "private_key": (folder / "client.key").read_text(),
        "thumbprint": certificate.fingerprint(hashes.SHA1()).hex(),
    }


CREDENTIALS: dict[str, Callable[[Path], object]] = {
    "secret": lambda folder: (folder / "client-secret").read_text(),
    "certificate": pem,
    "certificate by its old thumbprint": thumbprint,
    "workload": lambda folder: {"client_assertion": (folder / "workload-token").read_text},
}


@pytest.mark.parametrize("how", CREDENTIALS)
async def test_msal_signs_in_with_what_the_folder_holds(tmp_path: Path, how: str) -> None:
    simulated = cloud(tls=tmp_path)
    async with simulated.serving():
        client = SignedIn(simulated, tmp_path)
        result = await asyncio.to_thread(client.confidential, CREDENTIALS[how](tmp_path))
        assert "access_token" in result, result
        assert await fetched(simulated, tmp_path, f"Bearer {result['access_token']}") == 200
        assert await fetched(simulated, tmp_path, "Bearer wrong") == 401


async def test_msal_signs_a_person_in_with_a_device_code_and_refreshes(tmp_path: Path) -> None:
    simulated = cloud(tls=tmp_path, device_code_interval_s=0)
    async with simulated.serving():
        first, second = await asyncio.to_thread(SignedIn(simulated, tmp_path).device_code)
        for result in (first, second):
            assert await fetched(simulated, tmp_path, f"Bearer {result['access_token']}") == 200


async def test_a_key_that_is_not_registered_is_refused(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    async with cloud(tls=theirs).serving():
        pass
    simulated = cloud(tls=ours)
    async with simulated.serving():
        result = await asyncio.to_thread(SignedIn(simulated, ours).confidential, pem(theirs))
        mixed = {**pem(ours), "private_key": pem(theirs)["private_key"]}
        forged = await asyncio.to_thread(SignedIn(simulated, ours).confidential, mixed)
    assert (result["error"], forged["error"]) == ("invalid_client", "invalid_client")


async def test_the_folder_is_private_and_stays_the_same_the_next_time(tmp_path: Path) -> None:
    contents = []
    for _ in range(2):
        simulated = cloud(tls=tmp_path)
        async with simulated.serving():
            contents.append(files(tmp_path))
            token = (tmp_path / "api-token").read_text()
            assert await fetched(simulated, tmp_path, token) == 200
    assert contents[0] == contents[1]
    assert {name for name, mode in modes(tmp_path).items() if mode != 0o600} == {"ca.pem"}


async def test_the_printed_configuration_fits_with_tls(tmp_path: Path) -> None:
    simulated = cloud(tls=tmp_path)
    async with simulated.serving():
        central = tomllib.loads(simulated.configuration())["sources"]["central"]
    assert central["url"] == simulated.url
    assert central["authority"] == simulated.url
    assert Path(central["ca_file"]) == tmp_path / "ca.pem"
    assert Path(central["auth"]["client_secret"]["file"]) == tmp_path / "client-secret"
    assert files(tmp_path)["client-secret"].decode() == simulated.credentials.client_secret
    alternatives = [line.removeprefix("# ") for line in simulated.configuration().splitlines() if " = " in line]
    assert {"method", "certificate", "token_file", "token"} <= {line.split(" = ")[0] for line in alternatives}


async def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(SimulatorError, match="listen address"):
        async with cloud(listen="127.0.0.1:http").serving():
            pass


async def test_a_folder_that_cannot_be_filled_is_named(tmp_path: Path) -> None:
    files_are_no_folders = tmp_path / "file"
    await asyncio.to_thread(files_are_no_folders.touch)
    with pytest.raises(SimulatorError, match="cannot keep certificates"):
        async with cloud(tls=files_are_no_folders).serving():
            pass


async def test_the_hub_has_an_address_of_its_own_and_keeps_odd_ids_apart() -> None:
    simulated = cloud(kinds=("iot-central", "iot-hub"), hub_devices=60)
    async with simulated.serving(), aiohttp.ClientSession() as session:
        assert simulated.hub_url != simulated.url
        for device_id, encoded in (
            ("50%25-sensor", "50%2525-sensor"),
            ("$5,-*2;which?one!", "%245%2C-%2A2%3Bwhich%3Fone%21"),
        ):
            url = URL(f"{simulated.hub_url}/twins/{encoded}?api-version=2021-04-12", encoded=True)
            async with session.get(url) as answer:
                assert (await answer.json())["deviceId"] == device_id
        async with session.get(f"{simulated.hub_url}/_simulator") as answer:
            assert (await answer.json())["limits"]["iot-hub.twin_read"]["requests"] == 2


async def test_the_printed_configuration_has_the_hub_without_tls() -> None:
    simulated = cloud(kinds=("iot-central", "iot-hub"))
    async with simulated.serving():
        sources = tomllib.loads(simulated.configuration())["sources"]
    assert sources["hub"] == {
        "kind": "iot-hub",
        "url": simulated.hub_url,
        "tier": "S1",
        "units": 1,
        "auth": {"method": "none"},
    }
    assert sources["central"]["url"] == simulated.url
    alone = cloud(kinds=("iot-hub",), hub_tier="none")
    assert tomllib.loads(alone.configuration())["sources"] == {
        "hub": {"kind": "iot-hub", "url": alone.hub_url, "auth": {"method": "none"}}
    }


async def test_the_connection_string_in_the_folder_signs_in(tmp_path: Path) -> None:
    simulated = cloud(kinds=("iot-hub",), tls=tmp_path)
    async with simulated.serving():
        source = tomllib.loads(simulated.configuration())["sources"]["hub"]
        file = Path(source["auth"]["connection_string"]["file"])
        parts = connection_parts(file)
        assert source["url"] == simulated.hub_url == f"https://{parts['HostName']}"
        assert modes(tmp_path)[file.name] == 0o600
        header = shared_access(parts)
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        async with aiohttp.ClientSession() as session:
            url = f"{simulated.hub_url}/devices?api-version=2021-04-12"
            async with session.get(url, headers={"Authorization": header}, ssl=context) as answer:
                assert answer.status == 200
            async with session.get(url, ssl=context) as answer:
                assert answer.status == 401


def connection_parts(file: Path) -> dict[str, str]:
    return dict(part.split("=", 1) for part in file.read_text().split(";"))


def shared_access(parts: dict[str, str]) -> str:
    scope, end = quote(parts["HostName"], safe=""), int(time.time()) + 600
    digest = hmac.digest(base64.b64decode(parts["SharedAccessKey"]), f"{scope}\n{end}".encode(), hashlib.sha256)
    signature = quote(base64.b64encode(digest), safe="")
    return f"SharedAccessSignature sr={scope}&sig={signature}&se={end}&skn={parts['SharedAccessKeyName']}"
