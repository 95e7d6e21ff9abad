import asyncio
import datetime

import pytest

from fleetsync.clock import SystemClock
from fleetsync.core.bucket import Rate
from fleetsync.errors import AuthError
from fleetsync.transport.auth import ApiToken, Authorized, NoTokens
from fleetsync.transport.breaking import Circuit
from fleetsync.transport.connect import connect
from fleetsync.transport.http import Request, Response
from fleetsync.transport.limited import Limited, Meter
from fleetsync.transport.limiter import Budget, Limiter
from fleetsync.transport.origin import Origin
from fleetsync.transport.secret import SecretText
from fleetsync.transport.session import open_session
from tests.fakes.clock import FakeClock
from tests.transport.loopback import answer, serve

OK = Response(status=200, headers={}, body=b"")
PATCH = Request(method="PATCH", url="", operation="write", headers={"If-Match": '"1"'})
CENTRAL = "SharedAccessSignature sr=app&sig=s1g%3D&skn=name&se=1647950487889"


class Turnstile:
    """Gives numbered tokens and notes which were refused."""

    def __init__(self, *tokens):
        self.tokens, self.dropped = list(tokens), []

    async def authorization(self):
        return self.tokens[0]

    async def refused(self, value):
        self.dropped.append(value)
        if len(self.tokens) > 1:
            self.tokens.pop(0)


class Guarded:
    """Lets only `accepted` in."""

    def __init__(self, accepted, status=401):
        self.accepted, self.status, self.seen = accepted, status, []

    async def send(self, request):
        self.seen.append(request.headers.get("Authorization"))
        if self.seen[-1] != self.accepted:
            raise AuthError("no", status=self.status)
        return OK


async def send(service, tokens):
    try:
        await Authorized(service, tokens).send(PATCH)
    except AuthError:
        return "refused"
    return "answered"


async def test_a_401_is_answered_with_another_token_once():
    service, tokens = Guarded("b"), Turnstile("a", "b")
    assert await send(service, tokens) == "answered"
    assert (service.seen, tokens.dropped) == (["a", "b"], ["a"])


async def test_the_repetition_after_a_401_is_charged_to_the_rate():
    clock = FakeClock()
    limiter = Limiter("scope", Budget(total=Rate(per_s=1.0), classes={"write": None}), clock)
    await clock.run(Authorized(Limited(Guarded("b"), limiter), Turnstile("a", "b")).send(PATCH))
    assert [usage.requests for usage in limiter.usage().classes] == [2]


async def test_who_waits_for_a_token_holds_no_permission_to_send():
    """Forty that wait ten seconds for a sign-in leave at the rate afterwards, and not all at once."""
    clock, sent_at_s = FakeClock(), []

    class Slow(Turnstile):
        async def authorization(self):
            await clock.sleep(10.0)
            return await super().authorization()

    class Noting:
        async def send(self, request):
            sent_at_s.append(clock.monotonic_s())
            return OK

    limiter = Limiter("scope", Budget(total=Rate(per_s=5.0), classes={"write": None}), clock)
    http = Authorized(Limited(Noting(), limiter), Slow("a"))

    async def all_at_once():
        await asyncio.gather(*(http.send(PATCH) for _ in range(40)))

    await clock.run(all_at_once())
    assert sent_at_s[-1] - sent_at_s[0] >= 39 / 5 - 1e-6


async def test_a_second_401_ends_it():
    service = Guarded("c")
    assert await send(service, Turnstile("a", "b", "c")) == "refused"
    assert service.seen == ["a", "b"]


async def test_without_another_token_nothing_is_repeated():
    service = Guarded("b")
    assert await send(service, Turnstile("a")) == "refused"
    assert service.seen == ["a"]


async def test_a_403_is_about_a_role_and_is_not_repeated():
    service, tokens = Guarded("b", status=403), Turnstile("a", "b")
    assert await send(service, tokens) == "refused"
    assert tokens.dropped == []


async def test_without_sign_in_no_header_is_sent_and_a_401_stands():
    service = Guarded("b")
    assert await send(service, NoTokens()) == "refused"
    assert service.seen == [None]
    await NoTokens().refused("x")
    assert NoTokens().expires_at() is None


def api_token(text):
    return ApiToken(SecretText(place="credential plant", read=lambda: text))


async def test_an_api_token_is_sent_as_it_stands_without_the_newline_at_its_end():
    for end in ("", "\n", "\r\n"):
        assert await api_token(CENTRAL + end).authorization() == CENTRAL


async def test_a_replaced_api_token_is_seen_at_the_next_request():
    texts = iter(["old", "new"])
    service = Guarded("new")
    assert await send(service, ApiToken(SecretText(place="p", read=lambda: next(texts)))) == "answered"


def test_an_api_token_says_in_milliseconds_when_it_ends():
    end = datetime.datetime(2022, 3, 22, 12, 1, 27, 889_000, tzinfo=datetime.UTC)
    assert api_token(CENTRAL).expires_at() == end
    assert api_token("SharedAccessSignature sr=app&sig=x").expires_at() is None
    assert api_token("").expires_at() is None


@pytest.mark.parametrize("text", ["", "\n", " \n"])
async def test_an_empty_secret_names_its_place(text):
    with pytest.raises(AuthError, match=r"^credential plant is empty$"):
        await api_token(text).authorization()


async def test_a_secret_that_cannot_be_sent_names_its_place_and_not_itself():
    with pytest.raises(AuthError, match=r"^credential plant holds a line break") as caught:
        await api_token("s3cret\nmore").authorization()
    assert "s3cret" not in str(caught.value)


async def test_a_secret_that_cannot_be_read_names_its_place(tmp_path):
    secret = SecretText(place="file /run/x", read=(tmp_path / "none").read_text)
    with pytest.raises(AuthError, match=r"^file /run/x cannot be read: No such file"):
        await ApiToken(secret).authorization()
    assert "read" not in repr(secret)


class Unjittered(SystemClock):
    """Backs off by nothing."""

    def jitter(self):
        return 0.0


async def test_the_stacked_layers_send_authorize_wait_and_repeat():
    async with serve(None, answer(401, b""), answer(200, b"[]")) as server, open_session() as session:
        texts = iter(["one", "two", "three"])
        clock = Unjittered()
        limiter = Limiter("app", Budget(classes={"read": Rate(per_s=1000.0)}), clock)
        http = connect(
            session,
            origin=Origin.of(server.url),
            tokens=ApiToken(SecretText(place="p", read=lambda: next(texts))),
            meter=Meter(limiter),
            circuit=Circuit(clock),
            clock=clock,
        )
        response = await http.send(Request(method="GET", url=f"{server.url}/x", operation="read"))
        assert response.body == b"[]"
        assert [server.header("authorization", number) for number in range(3)] == ["one", "two", "three"]
        assert limiter.usage().classes[0].requests == 3
