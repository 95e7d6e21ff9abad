import base64
import hashlib

import pytest

from fleetsync.errors import AuthError
from fleetsync.transport.auth import Authorized
from fleetsync.transport.http import Request, Response
from fleetsync.transport.origin import Origin
from fleetsync.transport.sas import LIFE_S, ConnectionString, SharedAccessKey, sas_token
from fleetsync.transport.secret import SecretText
from tests.fakes.clock import FakeClock

KEY = base64.b64encode(hashlib.sha256(b"fleetsync test vector").digest()).decode()
HOST = "fleetsync-test.azure-devices.net"
TEXT = f"HostName={HOST};SharedAccessKeyName=registryReadWrite;SharedAccessKey={KEY}"


def connection(policy: str = "registryReadWrite") -> ConnectionString:
    return ConnectionString(host=HOST, policy=policy, key=base64.b64decode(KEY))


def tokens(text: str, clock: FakeClock, url: str = f"https://{HOST}") -> SharedAccessKey:
    return SharedAccessKey(SecretText(place="file 'hub'", read=lambda: text), Origin.of(url), clock)


def test_a_token_for_the_whole_hub_is_what_the_sdk_makes() -> None:
    token = sas_token(connection(), resource=HOST, until_s=1767225610)
    assert token == (
        "SharedAccessSignature sr=fleetsync-test.azure-devices.net"
        "&sig=plkbjLrWid6149W8ToilPSKUlRS0s%2F14bawBHfA%2BDqw%3D&se=1767225610&skn=registryReadWrite"
    )


def test_a_token_for_a_part_of_the_hub_signs_the_encoded_path() -> None:
    token = sas_token(connection("registryRead"), resource=f"{HOST}/devices", until_s=1767225610)
    assert token == (
        "SharedAccessSignature sr=fleetsync-test.azure-devices.net%2Fdevices"
        "&sig=g15NaGs0LFWHR1JsVkWTxknoQ4mh%2F6HiWE3tGJm0XXs%3D&se=1767225610&skn=registryRead"
    )


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"SharedAccessKey={KEY};HostName={HOST};SharedAccessKeyName=registryReadWrite",
        f"hostname={HOST.upper()};sharedaccesskeyname=registryReadWrite;sharedaccesskey={KEY};\n",
    ],
)
def test_a_connection_string_is_understood_in_any_order_and_case(text: str) -> None:
    assert ConnectionString.of(text, "here") == connection()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no connection string"),
        (f"HostName={HOST};SharedAccessKey={KEY}", "no connection string"),
        (f"{TEXT};SharedAccessKey={KEY}", "no connection string"),
        (f"{TEXT};GatewayHostName=x", "no connection string"),
        (f"HostName={HOST};DeviceId=d;SharedAccessKey={KEY}", "of a device"),
        (TEXT.replace(KEY, "not base64!"), "not base64"),
        (TEXT.replace(HOST, KEY), "no host name"),
        (TEXT.replace(HOST, f"https://{HOST}"), "no host name"),
        (TEXT.replace(HOST, f"{HOST}/devices"), "no host name"),
    ],
)
def test_what_is_no_connection_string_of_a_service_is_refused_without_showing_it(text: str, words: str) -> None:
    with pytest.raises(AuthError, match=words) as raised:
        ConnectionString.of(text, "file 'hub'")
    assert "file 'hub'" in str(raised.value)
    assert KEY not in str(raised.value)


async def test_a_token_is_kept_for_half_its_life_and_then_made_anew() -> None:
    clock = FakeClock()
    source = tokens(TEXT, clock)
    first = await source.authorization()
    await clock.advance(LIFE_S / 2)
    assert await source.authorization() == first
    await clock.advance(1)
    assert await source.authorization() != first


async def test_a_refused_token_is_replaced() -> None:
    clock = FakeClock()
    source = tokens(TEXT, clock)
    first = await source.authorization()
    await source.refused("another one")
    assert await source.authorization() == first
    await clock.advance(2)
    await source.refused(first)
    assert await source.authorization() != first


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (HOST.upper(), f"https://{HOST}"),
        (HOST, f"https://{HOST}:8471"),
        (f"{HOST}:443", f"https://{HOST}"),
        (f"{HOST}:8471", f"https://{HOST}"),
        (f"{HOST}:8471", f"https://{HOST}:8471"),
        ("localhost", "http://localhost:8471"),
    ],
)
async def test_a_connection_string_is_for_a_host_whatever_its_case_and_a_port_that_one_side_leaves_out(
    host: str, url: str
) -> None:
    assert await tokens(TEXT.replace(HOST, host), FakeClock(), url).authorization()


@pytest.mark.parametrize(
    ("host", "url", "words"),
    [
        (HOST, "https://other.azure-devices.net", f"is for the hub {HOST}, .* is at other.azure-devices.net"),
        (f"{HOST}:8471", f"https://{HOST}:8472", f"is for the hub {HOST}:8471, .* is at {HOST}:8472"),
    ],
)
async def test_a_connection_string_of_another_hub_is_refused_and_both_are_named(
    host: str, url: str, words: str
) -> None:
    with pytest.raises(AuthError, match=words) as raised:
        await tokens(TEXT.replace(HOST, host), FakeClock(), url).authorization()
    assert str(raised.value).startswith("file 'hub' is for")
    assert KEY not in str(raised.value)


async def test_nothing_is_sent_with_the_connection_string_of_another_hub() -> None:
    sent: list[Request] = []

    class Service:
        async def send(self, request: Request) -> Response:
            sent.append(request)
            return Response(status=200, headers={}, body=b"")

    request = Request(method="GET", url="", operation="registry")
    await Authorized(Service(), tokens(TEXT, FakeClock())).send(request)
    with pytest.raises(AuthError):
        await Authorized(Service(), tokens(TEXT, FakeClock(), "https://other.azure-devices.net")).send(request)
    assert len(sent) == 1


def test_the_key_is_in_no_representation() -> None:
    assert KEY not in repr(connection())
