"""What aiohttp would do by itself, and must not."""

import asyncio
import socket
import threading

import pytest

from fleetsync.clock import SystemClock
from fleetsync.errors import ConfigError, UnreachableError
from fleetsync.transport.client import Client
from fleetsync.transport.http import Request
from fleetsync.transport.origin import Origin
from fleetsync.transport.session import open_session
from tests.transport.loopback import answer, serve


def request_to(server, method="GET", path="/x"):
    body = b"{}" if method in {"PUT", "PATCH", "POST"} else None
    return Request(method=method, url=f"{server.url}{path}", operation="read", body=body)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "POST"])
async def test_a_fresh_connection_that_dies_after_the_request_sees_it_once(method):
    async with serve(None) as server, open_session() as session:
        with pytest.raises(UnreachableError, match="closed the connection") as caught:
            await Client(session, Origin.of(server.url), SystemClock()).send(request_to(server, method))
        assert caught.value.sent
        assert server.lines == [f"{method} /x HTTP/1.1"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "POST"])
async def test_a_kept_connection_that_dies_after_the_request_sees_it_once(method):
    async with serve(answer(), None) as server, open_session() as session:
        client = Client(session, Origin.of(server.url), SystemClock())
        await client.send(request_to(server))
        with pytest.raises(UnreachableError) as caught:
            await client.send(request_to(server, method))
        assert caught.value.sent
        assert server.connections == 1
        assert server.lines == ["GET /x HTTP/1.1", f"{method} /x HTTP/1.1"]


async def test_connections_are_kept_and_cookies_are_not():
    async with serve(answer(200, b"{}", "Set-Cookie: a=b")) as server, open_session() as session:
        server.url = server.url.replace("127.0.0.1", "localhost")  # cookies of bare addresses are dropped anyway
        client = Client(session, Origin.of(server.url), SystemClock())
        for _ in range(3):
            await client.send(request_to(server))
        assert server.connections == 1
        assert server.header("cookie") is None


async def test_the_environments_proxy_and_netrc_are_ignored(monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login mallory password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serve(answer()) as server, open_session() as session:
        await Client(session, Origin.of(server.url), SystemClock()).send(request_to(server))
        assert server.header("authorization") is None


async def test_a_name_lookup_that_hangs_holds_up_neither_its_request_nor_the_end(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: ended.wait(20))
    try:
        async with open_session(connect_s=0.05) as session:
            client = Client(session, Origin.of("http://dead.example"), SystemClock())
            with pytest.raises(UnreachableError, match=r"no connection to dead\.example in time") as caught:
                await client.send(Request(method="PATCH", url="http://dead.example/", operation="write"))
        assert not caught.value.sent
    finally:
        ended.set()


async def test_a_name_that_does_not_exist_has_words_of_its_own(monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with open_session() as session:
        client = Client(session, Origin.of("http://no.example"), SystemClock())
        with pytest.raises(UnreachableError, match=r"no address was found for no\.example") as caught:
            await client.send(Request(method="PATCH", url="http://no.example/", operation="write"))
    assert not caught.value.sent


async def test_names_are_looked_up(monkeypatch):
    async with serve(answer()) as server, open_session() as session:
        url = server.url.replace("127.0.0.1", "localhost")
        response = await Client(session, Origin.of(url), SystemClock()).send(
            Request(method="GET", url=url, operation="read")
        )
        assert response.status == 200


async def test_an_answer_takes_from_when_the_request_is_on_the_wire_and_not_what_it_waits_for_here(monkeypatch):
    clock = PassingClock()
    look_up = socket.getaddrinfo

    def slowly(*args, **kwargs):
        clock.pass_by(30.0)
        return look_up(*args, **kwargs)

    async def late(writer):
        clock.pass_by(2.0)
        writer.write(answer())

    departed_at_s = []
    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    async with serve(late) as server, open_session() as session:
        url = server.url.replace("127.0.0.1", "localhost")
        request = Request(
            method="GET", url=url, operation="read", departs=lambda: departed_at_s.append(clock.monotonic_s())
        )
        response = await Client(session, Origin.of(url), clock).send(request)
    assert response.took_s == 2.0
    assert departed_at_s == [30.0]
    assert clock.monotonic_s() == 32.0


class PassingClock(SystemClock):
    """A clock whose time passes only when a test says so; timeouts are real."""

    def __init__(self):
        super().__init__()
        self._now_s = 0.0

    def pass_by(self, seconds):
        self._now_s += seconds

    def monotonic_s(self):
        return self._now_s


async def test_a_proxy_that_cannot_be_reached_is_named():
    async with serve(answer()) as server, open_session(proxy="http://127.0.0.1:1") as session:
        client = Client(session, Origin.of(server.url), SystemClock())
        with pytest.raises(
            UnreachableError, match=r"the proxy 127\.0\.0\.1:1 cannot be reached: the connection was refused"
        ):
            await client.send(request_to(server))


async def test_a_proxy_that_refuses_is_named_and_sees_no_token():
    async with serve(answer(407)) as proxy, open_session(proxy=proxy.url) as session:
        client = Client(session, Origin.of("https://fleet.example"), SystemClock())
        request = Request(
            method="PATCH", url="https://fleet.example/", operation="write", headers={"Authorization": "Bearer t0ken"}
        )
        with pytest.raises(
            UnreachableError, match=r"the proxy refused to connect to fleet\.example with status 407"
        ) as caught:
            await client.send(request)
        assert not caught.value.sent
        assert proxy.lines == ["CONNECT fleet.example:443 HTTP/1.1"]
        assert "t0ken" not in proxy.heads[0]


def test_a_ca_file_that_cannot_be_read_is_a_matter_of_configuration(tmp_path):
    async def main():
        open_session(ca_file=tmp_path / "none.pem")

    with pytest.raises(ConfigError, match=r"ca_file .*none\.pem cannot be read"):
        asyncio.run(main())
