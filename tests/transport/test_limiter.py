"""The limiter on a virtual clock, against a bucket such as services have."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetsync.core.bucket import Rate
from fleetsync.errors import RejectedError, ServerFaultError, ThrottledError
from fleetsync.transport.http import Request, Response
from fleetsync.transport.limited import Limited, urgency_of
from fleetsync.transport.limiter import Budget, Limiter, Urgency
from fleetsync.transport.retry import Retrying
from tests.fakes.clock import FakeClock, settle

GET = Request(method="GET", url="https://service/", operation="read")
OK = Response(status=200, headers={}, body=b"")


class Service:
    """A bucket of 20/s with a burst of 20, that says nothing about when to come back."""

    def __init__(self, clock, *, per_s=20.0, burst=20.0, latency_s=lambda: 0.005):
        self.clock, self.per_s, self.burst, self.latency_s = clock, per_s, burst, latency_s
        self.tokens, self.at_s = burst, clock.monotonic_s()
        self.served, self.refused = [], []

    async def send(self, request):
        now_s = self.clock.monotonic_s()
        self.tokens = min(self.burst, self.tokens + (now_s - self.at_s) * self.per_s)
        self.at_s = now_s
        enough = self.tokens >= 1
        self.tokens -= enough
        (self.served if enough else self.refused).append(now_s)
        await self.clock.sleep(self.latency_s())
        if not enough:
            raise ThrottledError("429", sent=False)
        return OK


class Script:
    """Answers each request with the next thing of a list."""

    def __init__(self, clock, *answers):
        self.clock, self.answers, self.sent_at_s = clock, list(answers), []

    async def send(self, request):
        self.sent_at_s.append(self.clock.monotonic_s())
        answer = self.answers.pop(0) if self.answers else OK
        if isinstance(answer, Exception):
            raise answer
        return answer


def limiter_of(clock, rate=None, **classes):
    return Limiter("scope", Budget(total=rate, classes=classes or {"list": None, "read": None, "write": None}), clock)


def usage_of(limiter, operation):
    return next(usage for usage in limiter.usage().classes if usage.operation == operation)


@pytest.mark.parametrize("callers", [1, 8])
async def test_a_rate_above_the_services_own_is_learned_with_few_refusals(callers):
    clock = FakeClock()
    service = Service(clock)
    http = Retrying(Limited(service, limiter_of(clock, Rate(per_s=60.0, burst=6.0))), clock)
    left = iter(range(5_000))

    async def caller():
        for _ in left:
            await http.send(GET)

    async def work():
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(caller())

    await clock.run(work())
    assert len(service.served) == 5_000
    assert len(service.refused) / 5_000 < 0.01
    assert 5_000 / (20 * clock.monotonic_s()) >= 0.80


@pytest.mark.parametrize("callers", [1, 8])
async def test_the_rate_is_used_to_97_percent_although_sleeps_last_too_long(callers):
    chance = random.Random(7)
    clock = FakeClock(oversleep=lambda: chance.uniform(0.01, 0.03) if chance.random() < 0.3 else 0.0)
    service = Service(clock, latency_s=lambda: chance.uniform(0.005, 0.020))
    http = Limited(service, limiter_of(clock, Rate(per_s=20.0, burst=2.0)))
    left = iter(range(2_000))

    async def caller():
        for _ in left:
            await http.send(GET)

    async def work():
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(caller())

    await clock.run(work())
    assert not service.refused
    assert (2_000 - 2) / (20 * clock.monotonic_s()) >= 0.97


@settings(max_examples=60, deadline=None)
@given(
    per_s=st.floats(0.5, 50.0),
    burst=st.floats(1.0, 8.0),
    seed=st.integers(0, 2**32),
    callers=st.lists(
        st.tuples(st.floats(0.0, 20.0), st.sampled_from(Urgency), st.none() | st.floats(0.0, 5.0), st.booleans()),
        min_size=1,
        max_size=40,
    ),
)
def test_in_every_window_at_most_rate_times_window_plus_burst_leave(per_s, burst, seed, callers):
    """Whoever comes when, gives up, oversleeps or is refused."""
    chance = random.Random(seed)
    left_at_s = []

    async def caller(limiter, clock, arrives_s, urgency, gives_up_s, is_refused):
        await clock.sleep(arrives_s)
        try:
            async with clock.timeout(gives_up_s):
                ticket = await limiter.admit("read", urgency)
        except TimeoutError:
            return
        left_at_s.append(clock.monotonic_s())
        if is_refused:
            limiter.throttled(ticket, None)

    async def work(clock):
        limiter = Limiter("scope", Budget(classes={"read": Rate(per_s=per_s, burst=burst)}), clock)
        async with asyncio.TaskGroup() as group:
            for each in callers:
                group.create_task(caller(limiter, clock, *each))
        assert usage_of(limiter, "read").waiting == 0

    async def main():
        clock = FakeClock(oversleep=lambda: chance.choice([0.0, 0.0, 0.02, 1.0]))
        await clock.run(work(clock))

    asyncio.run(main())
    for first, start_s in enumerate(left_at_s):
        for last, end_s in enumerate(left_at_s[first:], first):
            assert last - first + 1 <= per_s * (end_s - start_s) + burst + 1e-6


async def order_of_departure(*arrivals):
    """Let `arrivals` (seconds, urgency) queue at 1/s and return their numbers in the order in which they leave."""
    clock, order = FakeClock(), []
    limiter = limiter_of(clock, Rate(per_s=1.0))

    async def caller(number, at_s, urgency):
        await clock.sleep(at_s)
        await limiter.admit("read", urgency)
        order.append(number)

    async def work():
        async with asyncio.TaskGroup() as group:
            for number, arrival in enumerate(arrivals):
                group.create_task(caller(number, *arrival))

    await clock.run(work())
    return order


async def test_first_come_first_served_within_a_class():
    assert await order_of_departure(*[(0.1 * n, Urgency.READ) for n in range(6)]) == [0, 1, 2, 3, 4, 5]


async def test_writes_go_before_reads_and_reads_before_listings():
    arrivals = [(0.1, Urgency.LIST), (0.2, Urgency.READ), (0.3, Urgency.WRITE), (0.4, Urgency.WRITE)]
    assert await order_of_departure(*arrivals) == [2, 3, 1, 0]


async def test_a_stream_of_writes_does_not_starve_a_listing():
    arrivals = [(0.1, Urgency.LIST), *((0.2 + 0.5 * n, Urgency.WRITE) for n in range(30))]
    order = await order_of_departure(*arrivals)
    assert order.index(0) < 15


async def test_somebody_who_gives_up_leaves_no_hole():
    clock, left_at_s = FakeClock(), []
    limiter = limiter_of(clock, Rate(per_s=1.0))

    async def caller():
        await limiter.admit("read")
        left_at_s.append(clock.monotonic_s())

    async def impatient():
        with pytest.raises(TimeoutError):
            async with clock.timeout(0.5):
                await limiter.admit("read")

    async def work():
        async with asyncio.TaskGroup() as group:
            for each in (impatient, caller, impatient, caller):
                group.create_task(each())

    await clock.run(work())
    assert left_at_s == pytest.approx([1.0, 2.0])


async def test_a_token_handed_to_somebody_cancelled_at_that_moment_is_not_lost():
    clock = FakeClock()
    limiter = limiter_of(clock, Rate(per_s=1.0, burst=2.0))
    patient = asyncio.create_task(limiter.admit("read"))
    await asyncio.sleep(0)
    urgent = asyncio.create_task(limiter.admit("read", Urgency.WRITE))
    await settle()
    first = limiter._lanes["read"].gate._queue[0]
    clock._wake_next()
    await until(lambda: first.admitted)
    urgent.cancel()
    await clock.advance(1.0)
    await asyncio.gather(patient, urgent, return_exceptions=True)
    assert urgent.cancelled()
    await clock.run(limiter.admit("read"))
    assert clock.monotonic_s() < 2.1


@pytest.mark.parametrize("stall_s", [0.0, 0.01, 0.045])
async def test_a_burst_that_is_late_does_not_bring_the_next_ones_a_refusal(stall_s):
    clock = FakeClock()
    limiter = limiter_of(clock, Rate(per_s=1000.0, burst=100.0))
    service = Service(clock, per_s=1000.0, burst=101.0)
    await clock.advance(2.0)  # the bucket is full by now
    connected_s = clock.monotonic_s() + stall_s

    async def one_after_the_other():
        while clock.monotonic_s() < 4.0:
            await limiter.admit("read")
            await clock.sleep(max(0.0, connected_s - clock.monotonic_s()))
            await service.send(GET)

    async with asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(one_after_the_other())
        while clock.monotonic_s() < 4.2:
            await clock.advance(0.001)
    assert service.refused == []
    assert len(service.served) >= 0.97 * 2000


async def until(true):
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("never")


async def test_a_refusal_holds_all_callers_of_the_bucket_until_the_time_that_the_service_named():
    clock = FakeClock()
    service = Script(clock, ThrottledError("429", sent=False, retry_after_s=30.0))
    limiter = limiter_of(clock, Rate(per_s=10.0))
    http = Retrying(Limited(service, limiter), clock)

    async def work():
        async with asyncio.TaskGroup() as group:
            for operation in ("read", "write", "list", "read"):
                group.create_task(http.send(Request(method="GET", url="", operation=operation)))

    await clock.run(work())
    assert service.sent_at_s[0] == pytest.approx(0.1)
    assert min(service.sent_at_s[1:]) >= 30.1
    assert len(service.sent_at_s) == 5


async def test_a_class_with_its_own_rate_is_neither_charged_to_the_total_nor_held_with_it():
    clock = FakeClock()
    limiter = limiter_of(clock, Rate(per_s=1.0), read=None, write=Rate(per_s=5.0))

    async def work():
        limiter.throttled(await limiter.admit("read"), 60.0)
        await limiter.admit("write")

    await clock.run(work())
    assert clock.monotonic_s() == pytest.approx(1.0)  # 1 s for the read; the write's bucket had filled meanwhile
    assert usage_of(limiter, "read").held_s == pytest.approx(60.0)
    assert usage_of(limiter, "read").why == "the service refused a request and asked for 60 s"
    assert usage_of(limiter, "write").held_s == 0.0


async def test_a_503_that_names_a_time_holds_like_a_refusal_and_one_that_does_not_does_not():
    clock = FakeClock()
    service = Script(clock, ServerFaultError("503", retry_after_s=9.0), ServerFaultError("503"))
    limiter = limiter_of(clock, Rate(per_s=1.0))
    http = Limited(service, limiter)

    async def work():
        for _ in range(2):
            with pytest.raises(ServerFaultError):
                await http.send(GET)
        await http.send(GET)

    await clock.run(work())
    first, second, third = service.sent_at_s
    assert second - first >= 9.0
    assert third - second < 2.0


async def test_nobody_waits_for_a_hold_that_lasts_longer_than_patience():
    clock = FakeClock()
    limiter = limiter_of(clock, Rate(per_s=1.0))

    async def work():
        limiter.throttled(await limiter.admit("read"), 3_000.0)
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(refusal())

    async def refusal():
        with pytest.raises(ThrottledError, match="asked for 3000 s: no requests for 50 min") as caught:
            await limiter.admit("read")
        assert not caught.value.sent
        assert caught.value.retry_after_s == pytest.approx(3_000.0)

    await clock.run(work())
    assert clock.monotonic_s() == pytest.approx(1.0)


async def test_those_who_wait_when_a_long_hold_comes_stop_waiting():
    clock = FakeClock()
    limiter = limiter_of(clock, Rate(per_s=1.0))

    async def refusal():
        with pytest.raises(ThrottledError):
            await limiter.admit("read")

    async def work():
        ticket = await limiter.admit("read")
        async with asyncio.TaskGroup() as group:
            group.create_task(refusal())
            group.create_task(refusal())
            await clock.sleep(0.1)
            limiter.throttled(ticket, 3_000.0)

    await clock.run(work())
    assert clock.monotonic_s() < 3.0


async def test_after_a_hold_no_burst_leaves():
    clock, left = FakeClock(), []
    limiter = limiter_of(clock, Rate(per_s=1.0, burst=5.0))

    async def work():
        limiter.throttled(await limiter.admit("read"), 60.0)
        for _ in range(3):
            await limiter.admit("read")
            left.append(clock.monotonic_s())

    await clock.run(work())
    assert left[0] > 61.0
    assert left[2] - left[0] > 2.0


async def test_after_ten_minutes_asleep_no_burst_leaves():
    clock = FakeClock()
    limiter = limiter_of(clock, Rate(per_s=1.0, burst=2.0))
    left = []

    async def work():
        await clock.sleep(600.0)
        for _ in range(10):
            await limiter.admit("read")
            left.append(clock.monotonic_s())

    await clock.run(work())
    assert sum(at_s < 600.5 for at_s in left) == 2


async def test_steps_of_the_wall_clock_change_nothing():
    clock = FakeClock()
    limiter = limiter_of(clock, Rate(per_s=1.0))

    async def work():
        for step_s in (86_400.0, -172_800.0, 0.0):
            clock.step(step_s)
            await limiter.admit("read")

    await clock.run(work())
    assert clock.monotonic_s() == pytest.approx(3.0)


async def test_the_usage_tells_what_happened():
    clock = FakeClock()
    limiter = limiter_of(clock, Rate(per_s=2.0))

    async def work():
        limiter.throttled(await limiter.admit("read"), 10.0)
        await limiter.admit("write")

    await clock.run(work())
    read, write = usage_of(limiter, "read"), usage_of(limiter, "write")
    assert (read.requests, read.throttled, read.used_60s, read.permitted_per_s) == (1, 1, 1, 2.0)
    assert read.learned_per_s == pytest.approx(1.4, abs=0.1)
    assert (write.requests, write.throttled) == (1, 0)
    assert (read.held_s, read.why) == (0.0, "")
    await clock.advance(61.0)
    assert usage_of(limiter, "read").used_60s == 0


async def test_what_is_refused_for_other_reasons_changes_no_rate():
    clock = FakeClock()
    limiter = limiter_of(clock, Rate(per_s=1.0))

    async def work():
        with pytest.raises(RejectedError):
            await Limited(Script(clock, RejectedError("400")), limiter).send(GET)

    await clock.run(work())
    assert usage_of(limiter, "read").learned_per_s == 1.0


def test_a_class_without_a_rate_and_without_a_total_is_a_mistake():
    with pytest.raises(ValueError, match="neither a rate nor a total"):
        Limiter("scope", Budget(classes={"read": None}), FakeClock())


@pytest.mark.parametrize(
    ("method", "operation", "safe", "urgency"),
    [
        ("PATCH", "write", None, Urgency.WRITE),
        ("GET", "read", None, Urgency.READ),
        ("GET", "list", None, Urgency.LIST),
        ("POST", "query", True, Urgency.LIST),
        ("POST", "call", None, Urgency.WRITE),
    ],
)
def test_urgency_follows_from_what_a_request_does(method, operation, safe, urgency):
    assert urgency_of(Request(method=method, url="", operation=operation, safe=safe)) is urgency


async def test_another_budget_keeps_the_holds_and_what_was_learned() -> None:
    clock = FakeClock()
    limiter = limiter_of(clock, Rate(per_s=10.0, burst=1.0))
    ticket = await clock.run(limiter.admit("read"))
    limiter.throttled(ticket, 30.0)
    limiter.adopt(Budget(total=Rate(per_s=100.0, burst=10.0), classes={"list": None, "read": None, "write": None}))
    assert usage_of(limiter, "read").held_s == pytest.approx(30.0)
    assert usage_of(limiter, "read").learned_per_s < 10.0
    assert usage_of(limiter, "read").permitted_per_s == 100.0
    before_s = clock.monotonic_s()
    await clock.run(limiter.admit("read"))
    assert clock.monotonic_s() - before_s >= 30.0


async def test_another_budget_without_refusals_is_kept_to_at_once_and_earns_no_burst() -> None:
    clock = FakeClock()
    limiter = limiter_of(clock, Rate(per_s=1.0, burst=1.0))
    limiter.adopt(Budget(total=Rate(per_s=100.0, burst=10.0), classes={"list": None, "read": None, "write": None}))
    began_s = clock.monotonic_s()
    for _ in range(20):
        await clock.run(limiter.admit("read"))
    assert clock.monotonic_s() - began_s == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("headers", "share"),
    [
        ({"x-ms-ratelimit-remaining-subscription-reads": "11999"}, 1.0),
        ({"x-ms-ratelimit-remaining-subscription-reads": "10"}, 0.5),
        ({"x-ms-ratelimit-remaining-subscription-resource-requests": "0"}, 0.25),
        ({"x-ms-ratelimit-remaining-tenant-reads": "15", "x-ms-ratelimit-remaining-subscription-reads": "5"}, 0.25),
        ({"x-ms-ratelimit-remaining-subscription-reads": "many"}, 1.0),
        ({}, 1.0),
    ],
)
async def test_few_that_are_left_lower_the_rate_of_their_class_alone(headers, share) -> None:
    clock = FakeClock()
    rates = {"read": Rate(per_s=20.0, burst=2), "write": Rate(per_s=20.0, burst=2)}
    limiter = limiter_of(clock, **rates)
    http = Limited(Script(clock, Response(status=200, headers=headers, body=b"")), limiter)
    await clock.run(http.send(GET))
    learned = {one.operation: one.learned_per_s for one in limiter.usage().classes}
    assert learned == {"read": pytest.approx(20.0 * share), "write": 20.0}
