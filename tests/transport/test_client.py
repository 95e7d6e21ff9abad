import asyncio
import gzip
import re
import tracemalloc
import zlib

import pytest

from fleetsync import __version__
from fleetsync.clock import SystemClock
from fleetsync.errors import (
    AuthError,
    ConflictError,
    DeviceFaultError,
    InvalidResponseError,
    NotFoundError,
    QuotaSpentError,
    RejectedError,
    ResourceError,
    ServerFaultError,
    ThrottledError,
    UnreachableError,
)
from fleetsync.transport.client import Client
from fleetsync.transport.http import Request
from fleetsync.transport.origin import Origin
from fleetsync.transport.session import open_session
from tests.fakes.clock import FakeClock
from tests.transport.loopback import answer, serve
from tests.transport.test_origin import ELSEWHERE

OWN_WORDS = b'{"error": {"code": "Odd", "message": "it is\\nso", "requestId": "r1"}}'
MEGABYTE = 1024 * 1024


def get(server, path="/x", **options):
    return Request(method="GET", url=f"{server.url}{path}", operation="read", **options)


async def send(*answers, request=None, **options):
    """Serve `answers` and send one request; return what comes back and what the server saw."""
    async with serve(*answers) as server, open_session() as session:
        client = Client(session, Origin.of(server.url), SystemClock(), **options)
        return await client.send(request(server) if request else get(server)), server


async def test_the_answer_comes_back_whole_with_lower_case_headers():
    response, server = await send(answer(200, b'{"a": 1}', "X-MS-Request-Id: 7"))
    assert (response.status, response.body, response.request_id) == (200, b'{"a": 1}', "7")
    assert server.header("user-agent") == f"fleetsync/{__version__}"
    assert server.header("accept") == "application/json"
    assert server.header("authorization") is None


async def test_headers_that_are_no_utf_8_come_back_as_text_that_can_be_stored():
    said = answer(200, b"{}", "x-ms-request-id: aXb", 'ETag: "é"').replace(b"aXb", b"a\xffb")
    response, _ = await send(said)
    assert (response.request_id, response.headers["etag"]) == ("a\ufffdb", '"é"')


async def test_a_request_goes_out_as_it_is():
    path = "/a%2Fb/%C3%A9%20'()@:+/..%2f/;x?$skip=%2524a&b=[]{}|&c=%zz&&=+%20"
    _, server = await send(
        answer(204, b""),
        request=lambda server: Request(
            method="PATCH",
            url=f"{server.url}{path}",
            operation="write",
            headers={"If-Match": '"W/x"', "Content-Type": "application/merge-patch+json"},
            body=b'{"a":null}',
        ),
    )
    assert server.lines == [f"PATCH {path} HTTP/1.1"]
    assert server.header("if-match") == '"W/x"'
    assert server.header("content-type") == "application/merge-patch+json"
    assert server.bodies == [b'{"a":null}']


async def test_no_content_type_is_made_up():
    _, server = await send(
        answer(), request=lambda server: Request(method="POST", url=server.url, operation="write", body=b"{}")
    )
    assert server.header("content-type") is None


@pytest.mark.parametrize("url", ELSEWHERE.values(), ids=ELSEWHERE.keys())
async def test_nothing_leaves_for_another_origin(url):
    async with serve(answer()) as ours, serve(answer()) as evil, open_session() as session:
        client = Client(session, Origin.of(ours.url), SystemClock())
        host, evil_host = ours.url.removeprefix("http://"), evil.url.removeprefix("http://")
        for theirs in ("evil.example.net", "evil.net"):
            url = url.replace(theirs, evil_host)
        url = url.replace("fleet.example.net", host).replace("https", "http")
        if url == f"http://{host}/x":
            url = f"https://{host}/x"
        with pytest.raises(InvalidResponseError, match="was not sent: its address leads to"):
            await client.send(Request(method="GET", url=url, operation="read", headers={"Authorization": "t"}))
        assert (ours.connections, evil.connections) == (0, 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_named_and_not_followed(status):
    async with serve(answer()) as elsewhere:
        with pytest.raises(InvalidResponseError, match=rf"GET /x: {status} redirects to 127\.0\.0\.1, and") as caught:
            await send(answer(status, b"", f"Location: {elsewhere.url}/secret?sig=t0ken"))
        assert elsewhere.connections == 0
        assert "t0ken" not in str(caught.value)


async def test_a_redirect_to_nowhere_is_refused_as_well():
    for location in ("/y", "http://[", ""):
        with pytest.raises(InvalidResponseError, match="redirects to"):
            await send(answer(302, b"", f"Location: {location}"))


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (304, InvalidResponseError),
        (400, RejectedError),
        (401, AuthError),
        (403, AuthError),
        (404, NotFoundError),
        (405, RejectedError),
        (408, ServerFaultError),
        (409, ConflictError),
        (410, NotFoundError),
        (412, ConflictError),
        (413, RejectedError),
        (418, RejectedError),
        (422, RejectedError),
        (429, ThrottledError),
        (500, ServerFaultError),
        (501, ServerFaultError),
        (502, ServerFaultError),
        (503, ServerFaultError),
        (504, ServerFaultError),
        (599, ServerFaultError),
    ],
)
async def test_each_status_has_its_error(status, error_type):
    body = b"" if status == 304 else OWN_WORDS
    with pytest.raises(error_type) as caught:
        await send(answer(status, body))
    error = caught.value
    assert type(error) is error_type
    assert error.status == status
    if body:
        assert (error.code, error.request_id) == ("Odd", "r1")
        assert str(error) == rf"GET /x: {status} Odd: it is\nso"


async def test_a_throttled_request_was_not_carried_out_and_a_failed_one_may_have_been():
    with pytest.raises(ThrottledError) as throttled:
        await send(answer(429, b"", "Retry-After: 7"))
    assert (throttled.value.sent, throttled.value.retry_after_s) == (False, 7.0)
    with pytest.raises(ServerFaultError) as failed:
        await send(answer(503, b"<html>", "Retry-After: 8"))
    assert (failed.value.sent, failed.value.retry_after_s) == (True, 8.0)


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("body", [b"", b"<html>Not Found</html>", b"{}", b"null", b'{"message": "no"}'])
async def test_a_not_found_in_other_words_proves_nothing(status, body):
    with pytest.raises(InvalidResponseError, match="proves nothing"):
        await send(answer(status, body, "x-ms-error-code: NotFound"))


async def test_a_hub_that_fails_over_does_not_say_that_a_device_is_gone():
    with pytest.raises(ServerFaultError):
        await send(answer(404, b'{"Message": "ErrorCode:IotHubFailingOver;x", "ExceptionMessage": ""}'))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, b'{"Message": "ErrorCode:IotHubQuotaExceeded;x", "ExceptionMessage": ""}'),
        (503, b'{"errorCode": 5002, "title": "Quota", "status": 503, "detail": "x"}'),
    ],
)
async def test_a_spent_daily_quota_comes_back_at_the_next_utc_day(status, body):
    with pytest.raises(QuotaSpentError) as caught:
        await send(answer(status, body, "Date: Sun, 22 Nov 2026 23:00:00 GMT"))
    assert (caught.value.sent, caught.value.retry_after_s) == (False, 3600.0)


PROBLEM = "Content-Type: application/problem+json; charset=utf-8"


@pytest.mark.parametrize(
    ("status", "code", "sent"),
    [(404, 1000, False), (504, 1001, True), (502, 1002, True), (502, 1003, True), (503, 5001, True)],
)
async def test_what_a_relay_says_of_a_device_is_about_that_device(status, code, sent):
    body = b'{"errorCode": %d, "title": "x", "status": %d, "detail": "y"}' % (code, status)
    with pytest.raises(DeviceFaultError) as caught:
        await send(answer(status, body, PROBLEM))
    assert (caught.value.sent, caught.value.code, caught.value.status) == (sent, str(code), status)
    assert isinstance(caught.value, ResourceError)


@pytest.mark.parametrize(
    ("status", "code", "header", "error"),
    [
        (503, 5000, PROBLEM, ServerFaultError),
        (404, 3000, PROBLEM, NotFoundError),
        (404, 1000, "Content-Type: application/json", NotFoundError),
        (504, 1001, "Content-Type: text/html", ServerFaultError),
        (500, 1001, PROBLEM, ServerFaultError),
    ],
)
async def test_what_only_looks_like_it_is_not(status, code, header, error):
    body = b'{"errorCode": %d, "title": "x", "status": %d, "detail": "y"}' % (code, status)
    with pytest.raises(error):
        await send(answer(status, body, header))


async def test_messages_hold_no_query_no_body_and_no_token():
    def request(server):
        return get(server, "/p?sig=s3cret", headers={"Authorization": "Bearer t0ken"})

    with pytest.raises(RejectedError) as caught:
        await send(
            answer(400, b'{"error": {"code": "x", "message": "' + b"y" * 5000 + b'"}, "z": "b0dy"}'), request=request
        )
    text = str(caught.value)
    assert text.startswith("GET /p: 400 x: yyy")
    assert len(text) < 300
    assert not re.search("s3cret|t0ken|b0dy", text)


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "a\0b", "é", "\ud800", "\x7f"])
async def test_a_header_that_would_end_early_is_refused_before_anything_is_sent(value):
    async with serve(answer()) as server, open_session() as session:
        client = Client(session, Origin.of(server.url), SystemClock())
        with pytest.raises(RejectedError, match="the header If-Match holds a character that cannot be sent"):
            await client.send(get(server, headers={"If-Match": value}))
        assert server.connections == 0


async def endless(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def bomb(writer):
    """256 MB of spaces in 256 KB."""
    packed = zlib.compressobj(9, wbits=31)
    piece = b"".join(packed.compress(b" " * MEGABYTE) for _ in range(256)) + packed.flush()
    writer.write(answer(200, piece, "Content-Encoding: gzip"))
    await writer.drain()


@pytest.mark.parametrize("body", [endless, bomb, answer(200, b" " * 9 * MEGABYTE)], ids=["endless", "bomb", "large"])
async def test_an_answer_that_is_too_large_is_not_read_on(body):
    tracemalloc.start()
    try:
        with pytest.raises(InvalidResponseError, match="the answer is larger than 8388608 bytes"):
            await send(body, max_bytes=8 * MEGABYTE)
        assert tracemalloc.get_traced_memory()[1] < 64 * MEGABYTE
    finally:
        tracemalloc.stop()


async def test_the_status_of_an_answer_that_is_too_large_says_nothing():
    with pytest.raises(InvalidResponseError, match="404, and the answer is larger than 1000 bytes") as caught:
        await send(answer(404, b"{" * 1001), max_bytes=1000)
    assert caught.value.status is None


async def test_after_an_answer_that_was_too_large_the_connection_is_not_used_again():
    async with serve(endless, answer()) as server, open_session() as session:
        client = Client(session, Origin.of(server.url), SystemClock(), max_bytes=1000)
        with pytest.raises(InvalidResponseError):
            await client.send(get(server))
        assert (await client.send(get(server))).status == 200
        assert server.connections == 2


async def test_a_compressed_answer_is_unpacked():
    response, _ = await send(answer(200, gzip.compress(b'{"a": 1}'), "Content-Encoding: gzip"))
    assert response.body == b'{"a": 1}'


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        answer(200, b"not gzip", "Content-Encoding: gzip"),
    ],
    ids=["truncated", "truncated chunk", "not compressed"],
)
async def test_an_answer_that_breaks_off_is_no_answer(broken):
    async def and_close(writer):
        writer.write(broken)
        await writer.drain()
        writer.close()

    with pytest.raises(UnreachableError, match="broke off or cannot be unpacked") as caught:
        await send(and_close)
    assert caught.value.sent


async def test_a_document_cut_off_before_it_was_packed_is_not_taken_for_a_whole_one():
    packed = gzip.compress(b'{"value": [1, 2, 3]}')[:-12]
    response, _ = await send(answer(200, packed, "Content-Encoding: gzip"))
    with pytest.raises(InvalidResponseError, match="is not what was promised"):
        response.decode(dict)


async def test_what_follows_an_answer_of_the_wrong_length_is_never_taken_for_the_next_answer():
    smuggled = answer(200, b"{}") + answer(200, b'{"smuggled": 1}')
    async with serve(smuggled, answer(200, b'{"second": 1}')) as server, open_session() as session:
        client = Client(session, Origin.of(server.url), SystemClock())
        await client.send(get(server))
        assert (await client.send(get(server))).body == b'{"second": 1}'


@pytest.mark.parametrize("junk", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100 + b"\r\n\r\n"])
async def test_what_is_not_http_is_named_so(junk):
    with pytest.raises(InvalidResponseError, match=r"127\.0\.0\.1 does not speak HTTP"):
        await send(junk)


async def test_a_reset_after_sending_may_have_been_carried_out():
    async def reset(writer):
        writer.transport.abort()

    with pytest.raises(UnreachableError) as caught:
        await send(reset)
    assert caught.value.sent


async def test_a_refused_connection_was_not_sent():
    async with serve(answer()) as server:
        gone = get(server)
    async with open_session() as session:
        client = Client(session, Origin.of(gone.url), SystemClock())
        with pytest.raises(
            UnreachableError, match=r"GET /x: 127\.0\.0\.1 cannot be reached: the connection was refused"
        ) as caught:
            await client.send(gone)
    assert not caught.value.sent


async def test_an_address_that_systems_read_in_different_ways_cannot_be_used():
    async with open_session() as session:
        client = Client(session, Origin.of("http://127.1"), SystemClock())
        with pytest.raises(InvalidResponseError, match="the address cannot be used"):
            await client.send(Request(method="GET", url="http://127.1/", operation="read"))


async def test_an_answer_has_a_deadline_however_slowly_it_comes():
    clock, asked = FakeClock(), asyncio.Event()

    async def drip(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        asked.set()
        await asyncio.Event().wait()

    async with serve(drip) as server, open_session() as session, asyncio.TaskGroup() as group:
        client = Client(session, Origin.of(server.url), clock)

        async def ask():
            with pytest.raises(UnreachableError, match=r"no answer from 127\.0\.0\.1 in time") as caught:
                await client.send(get(server))
            assert caught.value.sent

        asking = group.create_task(ask())
        await asked.wait()
        await clock.advance(59.0)
        assert not asking.done()
        await clock.advance(1.0)


async def test_cancelling_passes():
    asked = asyncio.Event()

    async def hang(writer):
        asked.set()
        await asyncio.Event().wait()

    async with serve(hang) as server, open_session() as session:
        asking = asyncio.create_task(Client(session, Origin.of(server.url), SystemClock()).send(get(server)))
        await asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


@pytest.mark.parametrize(("header", "error"), [((), DeviceFaultError), (("Retry-After: 7",), ServerFaultError)])
@pytest.mark.parametrize("body", [b"<html>", b'{"errorCode": 1001, "title": "x", "status": 504, "detail": "y"}'])
async def test_of_what_a_relay_passes_on_only_what_names_a_time_is_about_all_devices(header, error, body):
    with pytest.raises(error) as caught:
        await send(answer(504, body, PROBLEM, *header), request=lambda server: get(server, is_relayed=True))
    assert type(caught.value) is error


async def test_a_device_that_is_not_connected_is_not_gone_whatever_else_is_said():
    body = b'{"errorCode": 1000, "title": "x", "status": 404, "detail": "y"}'
    with pytest.raises(DeviceFaultError):
        await send(answer(404, body, PROBLEM, "Retry-After: 7"), request=lambda server: get(server, is_relayed=True))
