import datetime

import pytest

from fleetsync.clock import SystemClock
from fleetsync.core.bucket import Rate
from fleetsync.errors import AuthError
from fleetsync.transport.auth import ApiToken, Authorized, NoTokens
from fleetsync.transport.connect import connect
from fleetsync.transport.http import Request, Response
from fleetsync.transport.limiter import Budget, Limiter
from fleetsync.transport.origin import Origin
from fleetsync.transport.secret import SecretText
from fleetsync.transport.session import open_session
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
    admitted = []

    async def admit(request):
        admitted.append(request)

    try:
        await Authorized(service, tokens, admit=admit).send(PATCH)
    except AuthError:
        return "refused", len(admitted)
    return "answered", len(admitted)


async def test_a_401_is_answered_with_another_token_once_and_charged_to_the_rate():
    service, tokens = Guarded("b"), Turnstile("a", "b")
    assert await send(service, tokens) == ("answered", 1)
    assert (service.seen, tokens.dropped) == (["a", "b"], ["a"])


async def test_a_second_401_ends_it():
    service = Guarded("c")
    assert await send(service, Turnstile("a", "b", "c")) == ("refused", 1)
    assert service.seen == ["a", "b"]


async def test_without_another_token_nothing_is_repeated():
    service = Guarded("b")
    assert await send(service, Turnstile("a")) == ("refused", 0)
    assert service.seen == ["a"]


async def test_a_403_is_about_a_role_and_is_not_repeated():
    service, tokens = Guarded("b", status=403), Turnstile("a", "b")
    assert await send(service, tokens) == ("refused", 0)
    assert tokens.dropped == []


async def test_without_sign_in_no_header_is_sent_and_a_401_stands():
    service = Guarded("b")
    assert await send(service, NoTokens()) == ("refused", 0)
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
    assert await send(service, ApiToken(SecretText(place="p", read=lambda: next(texts)))) == ("answered", 1)


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
            limiter=limiter,
            clock=clock,
        )
        response = await http.send(Request(method="GET", url=f"{server.url}/x", operation="read"))
        assert response.body == b"[]"
        assert [server.header("authorization", number) for number in range(3)] == ["one", "two", "three"]
        assert limiter.usage()[0].requests == 3
