"""Who is not trusted, each with its own words."""

import asyncio
import datetime
import ssl

import pytest
import trustme

from fleetsync.clock import SystemClock
from fleetsync.errors import UnreachableError
from fleetsync.transport.client import Client
from fleetsync.transport.http import Request
from fleetsync.transport.origin import Origin
from fleetsync.transport.session import open_session
from tests.transport.loopback import answer, serve

CA = trustme.CA()


@pytest.fixture
def ca_file(tmp_path):
    CA.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


def context(*names, ca=CA, **options):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names, **options).configure_cert(tls)
    return tls


async def send(tls, ca_file):
    async with serve(answer(), tls=tls) as server, open_session(ca_file=ca_file) as session:
        request = Request(method="PATCH", url=f"{server.url}/x", operation="write")
        try:
            return await Client(session, Origin.of(server.url), SystemClock()).send(request)
        finally:
            assert len(server.heads) <= 1


async def test_a_certificate_of_the_configured_authority_is_trusted(ca_file):
    assert (await send(context("localhost"), ca_file)).status == 200


LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        (context("localhost", ca=trustme.CA()), "its certificate was issued by an unknown authority"),
        (context("localhost", not_before=LONG_AGO, not_after=LONG_AGO + datetime.timedelta(days=9)), "has expired"),
        (context("other.example"), "its certificate is for another name"),
    ],
)
async def test_a_bad_certificate_has_words_of_its_own_and_nothing_is_sent(tls, words, ca_file):
    with pytest.raises(UnreachableError, match=words) as caught:
        await send(tls, ca_file)
    assert not caught.value.sent


async def test_the_configured_authority_replaces_the_systems():
    with pytest.raises(UnreachableError, match="unknown authority"):
        await send(context("localhost"), None)


async def test_a_server_without_tls_is_no_secure_connection():
    async def greet(_reader, writer):
        writer.write(b"220 this is not TLS\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, open_session() as session:
        with pytest.raises(
            UnreachableError, match=r"no secure connection to 127\.0\.0\.1: WRONG_VERSION_NUMBER"
        ) as caught:
            await Client(session, Origin.of(url), SystemClock()).send(Request(method="GET", url=url, operation="read"))
    assert not caught.value.sent
