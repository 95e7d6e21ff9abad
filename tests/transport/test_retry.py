import asyncio

import pytest

from fleetsync.errors import (
    AuthError,
    ConflictError,
    InvalidResponseError,
    RejectedError,
    ServerFaultError,
    ThrottledError,
    UnreachableError,
)
from fleetsync.transport.http import Request, Response
from fleetsync.transport.retry import Retrying, RetryPolicy
from tests.fakes.clock import FakeClock

OK = Response(status=200, headers={}, body=b"")
GET = Request(method="GET", url="", operation="read")
PATCH = Request(method="PATCH", url="", operation="write")
SAFE_POST = Request(method="POST", url="", operation="query", safe=True)


class Failing:
    """Fails a number of times, then answers."""

    def __init__(self, error, times=100):
        self.error, self.times, self.sent = error, times, 0

    async def send(self, request):
        self.sent += 1
        if self.sent <= self.times:
            raise self.error
        return OK


async def attempts(error, request, *, times=100):
    clock, service = FakeClock(), Failing(error, times)
    (outcome,) = await asyncio.gather(clock.run(Retrying(service, clock).send(request)), return_exceptions=True)
    assert outcome in (error, OK)
    return service.sent, clock.monotonic_s(), "raised" if outcome is error else "answered"


@pytest.mark.parametrize("request_", [GET, PATCH, SAFE_POST])
async def test_what_was_not_sent_is_repeated_whatever_the_method(request_):
    sent, _, end = await attempts(UnreachableError("refused", sent=False), request_, times=3)
    assert (sent, end) == (4, "answered")


@pytest.mark.parametrize("error", [UnreachableError("reset"), ServerFaultError("500")])
async def test_what_may_have_been_carried_out_is_repeated_only_where_that_does_no_harm(error):
    assert (await attempts(error, GET, times=1))[0] == 2
    assert (await attempts(error, SAFE_POST, times=1))[0] == 2
    assert (await attempts(error, PATCH, times=1))[::2] == (1, "raised")


@pytest.mark.parametrize("error", [ServerFaultError("500"), UnreachableError("refused", sent=False)])
async def test_four_attempts_are_the_end(error):
    assert (await attempts(error, GET))[::2] == (4, "raised")


async def test_a_refused_rate_is_repeated_whatever_the_method_ten_times_in_all():
    assert (await attempts(ThrottledError("429", sent=False), PATCH, times=9))[::2] == (10, "answered")
    assert (await attempts(ThrottledError("429", sent=False), PATCH))[::2] == (10, "raised")


async def test_waiting_for_the_rate_is_the_limiters_business():
    assert (await attempts(ThrottledError("429", sent=False, retry_after_s=60.0), GET, times=2))[1] == 0.0


@pytest.mark.parametrize("error_type", [ThrottledError, ServerFaultError])
async def test_a_service_that_asks_for_more_than_patience_gets_no_further_request(error_type):
    assert (await attempts(error_type("later", retry_after_s=121.0), GET))[::2] == (1, "raised")


async def test_a_fault_that_names_a_time_is_not_repeated_before():
    sent, took_s, _ = await attempts(ServerFaultError("503", retry_after_s=40.0), GET, times=1)
    assert sent == 2
    assert took_s >= 40.0


@pytest.mark.parametrize("error_type", [AuthError, ConflictError, InvalidResponseError, RejectedError])
async def test_what_would_fail_again_is_not_repeated(error_type):
    assert (await attempts(error_type("no"), GET))[::2] == (1, "raised")


async def test_pauses_grow_are_jittered_and_bounded():
    clock, service = FakeClock(), Failing(ServerFaultError("500"))
    with pytest.raises(ServerFaultError):
        await clock.run(Retrying(service, clock, RetryPolicy(attempts=12, max_backoff_s=2.0)).send(GET))
    assert 2.0 < clock.monotonic_s() < 22.0


async def test_errors_of_other_kinds_pass():
    clock = FakeClock()
    with pytest.raises(ZeroDivisionError):
        await clock.run(Retrying(Failing(ZeroDivisionError()), clock).send(GET))
