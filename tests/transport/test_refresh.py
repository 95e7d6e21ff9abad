import asyncio
import threading

import pytest

from fleetsync.errors import AuthError, ServerFaultError, SourceError, UnreachableError
from fleetsync.transport.refresh import AccessToken, RefreshedTokens
from tests.fakes.clock import FakeClock


class Scripted:
    """Signs in when `go` is set, with the next outcome of a list; then with `last` for ever."""

    def __init__(self, *outcomes, last="t"):
        self.outcomes, self.last, self.calls, self.go = list(outcomes), last, [], threading.Event()
        self.go.set()

    def acquire(self, *, anew):
        self.calls.append(anew)
        assert self.go.wait(5)
        outcome = self.outcomes.pop(0) if self.outcomes else self.last
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, AccessToken) else AccessToken(text=outcome, lifetime_s=3600.0)

    def expires_at(self):
        return None


async def landed(tokens):
    """Wait until the renewal in the background is done."""
    if tokens._flight is not None:
        await asyncio.wait({tokens._flight})


async def test_twenty_waiters_are_one_sign_in():
    sign_in = Scripted("a")
    sign_in.go.clear()
    tokens = RefreshedTokens(sign_in, FakeClock())
    waiting = [asyncio.create_task(tokens.authorization()) for _ in range(20)]
    await asyncio.sleep(0)
    sign_in.go.set()
    assert await asyncio.gather(*waiting) == ["Bearer a"] * 20
    assert sign_in.calls == [False]


async def test_a_cancelled_waiter_takes_nothing_from_the_others():
    sign_in = Scripted("a")
    sign_in.go.clear()
    tokens = RefreshedTokens(sign_in, FakeClock())
    first, second = (asyncio.create_task(tokens.authorization()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    sign_in.go.set()
    assert await second == "Bearer a"
    assert sign_in.calls == [False]


async def test_what_nobody_waits_for_any_more_is_kept():
    sign_in = Scripted("a")
    sign_in.go.clear()
    tokens = RefreshedTokens(sign_in, FakeClock())
    waiting = asyncio.create_task(tokens.authorization())
    await asyncio.sleep(0)
    waiting.cancel()
    sign_in.go.set()
    await landed(tokens)
    assert await tokens.authorization() == "Bearer a"
    assert sign_in.calls == [False]


async def test_a_token_is_renewed_in_the_background_when_half_of_its_life_has_passed():
    clock, sign_in = FakeClock(), Scripted("a", "b")
    tokens = RefreshedTokens(sign_in, clock)
    assert await tokens.authorization() == "Bearer a"
    await clock.advance(1799)
    assert await tokens.authorization() == "Bearer a"
    assert len(sign_in.calls) == 1
    await clock.advance(1)
    assert await tokens.authorization() == "Bearer a"
    await landed(tokens)
    assert await tokens.authorization() == "Bearer b"


@pytest.mark.parametrize(
    "error", [UnreachableError("down"), ServerFaultError("500"), AuthError("secret expired"), ZeroDivisionError()]
)
async def test_a_good_token_outlives_whatever_goes_wrong_with_the_next(error):
    clock, sign_in = FakeClock(), Scripted("a", error, error, last="b")
    tokens = RefreshedTokens(sign_in, clock)
    await tokens.authorization()
    for pause_s in (1800, 60):
        await clock.advance(pause_s)
        assert await tokens.authorization() == "Bearer a"
        await landed(tokens)
    assert len(sign_in.calls) == 3
    await clock.advance(1)
    assert await tokens.authorization() == "Bearer a"
    assert len(sign_in.calls) == 3  # not again so soon


async def test_a_token_with_less_than_a_minute_left_is_not_used():
    clock, sign_in = FakeClock(), Scripted("a", UnreachableError("down", sent=False))
    tokens = RefreshedTokens(sign_in, clock)
    await tokens.authorization()
    await clock.advance(3540)
    with pytest.raises(UnreachableError):
        await tokens.authorization()


async def test_a_step_of_the_wall_clock_ends_no_token():
    clock, sign_in = FakeClock(), Scripted("a")
    tokens = RefreshedTokens(sign_in, clock)
    await tokens.authorization()
    clock.step(86_400)
    assert await tokens.authorization() == "Bearer a"
    assert sign_in.calls == [False]


async def test_a_short_lived_token_is_used_once_at_least():
    short = AccessToken(text="short", lifetime_s=30.0)
    assert await RefreshedTokens(Scripted(short), FakeClock()).authorization() == "Bearer short"


@pytest.mark.parametrize("error", [AuthError("wrong secret", code="AADSTS7000215"), ServerFaultError("500")])
async def test_a_failure_is_not_remembered(error: SourceError):
    sign_in = Scripted(error, last="a")
    tokens = RefreshedTokens(sign_in, FakeClock())
    with pytest.raises(type(error)) as caught:
        await tokens.authorization()
    assert caught.value.code == error.code
    assert await tokens.authorization() == "Bearer a"


async def test_a_token_that_a_service_refused_is_replaced_by_a_new_one():
    sign_in = Scripted("a", "b")
    tokens = RefreshedTokens(sign_in, FakeClock())
    await tokens.refused(await tokens.authorization())
    assert await tokens.authorization() == "Bearer b"
    assert sign_in.calls == [False, True]


async def test_many_refusals_of_one_token_are_one_new_sign_in():
    sign_in = Scripted("a", "b")
    tokens = RefreshedTokens(sign_in, FakeClock())
    old = await tokens.authorization()

    async def again():
        await tokens.refused(old)
        return await tokens.authorization()

    assert await asyncio.gather(*(again() for _ in range(20))) == ["Bearer b"] * 20
    assert sign_in.calls == [False, True]


async def test_a_renewal_under_way_when_a_token_is_refused_is_waited_for():
    clock, sign_in = FakeClock(), Scripted("a", "a", "b")
    tokens = RefreshedTokens(sign_in, clock)
    old = await tokens.authorization()
    await clock.advance(1800)
    await tokens.authorization()
    await tokens.refused(old)
    assert await tokens.authorization() == "Bearer b"
    assert sign_in.calls == [False, False, True]


def test_a_token_shows_in_no_repr():
    assert "s3cret" not in repr(AccessToken(text="s3cret", lifetime_s=1.0))
