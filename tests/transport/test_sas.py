import base64
import hashlib

import pytest

from fleetsync.errors import AuthError
from fleetsync.transport.sas import LIFE_S, ConnectionString, SharedAccessKey, sas_token
from fleetsync.transport.secret import SecretText
from tests.fakes.clock import FakeClock

KEY = base64.b64encode(hashlib.sha256(b"fleetsync test vector").digest()).decode()
HOST = "fleetsync-test.azure-devices.net"
TEXT = f"HostName={HOST};SharedAccessKeyName=registryReadWrite;SharedAccessKey={KEY}"


def connection(policy: str = "registryReadWrite") -> ConnectionString:
    return ConnectionString(host=HOST, policy=policy, key=base64.b64decode(KEY))


def tokens(text: str, clock: FakeClock) -> SharedAccessKey:
    return SharedAccessKey(SecretText(place="file 'hub'", read=lambda: text), clock)


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


def test_the_key_is_in_no_representation() -> None:
    assert KEY not in repr(connection())
