"""What outlives a process, what a day may cost, what late answers mean, and what waiting costs; on a virtual clock."""

import asyncio
import datetime
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from fleetsync.core.bucket import Rate
from fleetsync.core.kind import Daily
from fleetsync.core.pace import StoredPace, StoredScope
from fleetsync.errors import (
    BrokenMirrorError,
    MirrorError,
    QuotaSpentError,
    ServerFaultError,
    SourceError,
    ThrottledError,
)
from fleetsync.transport.http import Request, Response
from fleetsync.transport.lane import Usage
from fleetsync.transport.limited import SPARE, Limited, Meter
from fleetsync.transport.limiter import Budget, Limiter
from fleetsync.transport.retry import Retrying
from fleetsync.transport.session import MOST_AT_ONCE
from tests.fakes.clock import START, FakeClock

GET = Request(method="GET", url="https://service/", operation="read")
PUT = Request(method="PUT", url="https://service/", operation="registry")
OK = Response(status=200, headers={}, body=b"")
COUNTS = Daily(operations=frozenset({"read"}), message_bytes=4096)
TODAY, TOMORROW = datetime.date(2026, 11, 21), datetime.date(2026, 11, 22)
TO_MIDNIGHT_S = 6 * 3600.0
FAST = {"read": Rate(per_s=1000.0), "registry": Rate(per_s=1000.0)}


class Service:
    """Answers with the next thing of a list, then with `OK`; an error is raised.

    `latency_s` passes before each. A request that `hangs` never goes on the wire: there is no connection.
    """

    def __init__(self, clock: FakeClock, *answers: Response | SourceError, latency_s: float = 0.0) -> None:
        self.clock, self.answers, self.latency_s = clock, list(answers), latency_s
        self.hangs = False
        self.sent_at_s: list[float] = []

    async def send(self, request: Request) -> Response:
        if self.hangs:
            await asyncio.Event().wait()
        assert request.departs is not None
        request.departs()
        self.sent_at_s.append(self.clock.monotonic_s())
        answer = self.answers.pop(0) if self.answers else OK
        await self.clock.sleep(self.latency_s)
        if isinstance(answer, SourceError):
            raise answer
        return answer


class Shelf:
    """Where a limiter stores; keeps it as a database does."""

    def __init__(self, clock: FakeClock, *, takes_s: float = 0.0) -> None:
        self.clock, self.takes_s = clock, takes_s
        self.paces: dict[str, StoredPace] = {}
        self.spent: dict[datetime.date, int] = {}
        self.stored_at_s: list[float] = []
        self.is_full = False

    async def store(self, scope: str, changed: StoredScope) -> None:
        await self.clock.sleep(self.takes_s)
        if self.is_full:
            raise MirrorError("disk full")
        self.stored_at_s.append(self.clock.monotonic_s())
        self.paces |= {pace.operation: pace for pace in changed.paces}
        for day, cost in changed.spent.items():
            self.spent[day] = self.spent.get(day, 0) + cost

    @property
    def scope(self) -> StoredScope:
        return StoredScope(paces=tuple(self.paces.values()), spent=self.spent)


def limiter_of(
    clock: FakeClock,
    classes: Mapping[str, Rate | None] = FAST,
    *,
    daily: int | None = None,
    shelf: Shelf | None = None,
    **more: Any,
) -> Limiter:
    budget = Budget(classes=classes, daily=daily, counts=COUNTS, **more)
    if shelf is None:
        return Limiter("hub", budget, clock)
    return Limiter("hub", budget, clock, left_behind=shelf.scope, store=shelf.store)


def usage_of(limiter: Limiter, operation: str) -> Usage:
    return next(usage for usage in limiter.usage().classes if usage.operation == operation)


async def send_many(http: Any, request: Request, count: int) -> None:
    for _ in range(count):
        await http.send(request)


# A day's budget


async def test_when_the_days_budget_is_spent_nothing_leaves_until_the_next_utc_day() -> None:
    clock = FakeClock()
    service = Service(clock)
    limiter = limiter_of(clock, daily=3)
    http = Retrying(Limited(service, limiter), clock)

    async def work() -> None:
        await send_many(http, GET, 3)
        with pytest.raises(ThrottledError) as caught:
            await http.send(GET)
        assert str(caught.value) == "the daily budget of 3 is spent; the next UTC day begins in 6 h"
        assert caught.value.retry_after_s == pytest.approx(TO_MIDNIGHT_S, abs=1)
        assert not caught.value.sent
        await clock.sleep(caught.value.retry_after_s or 0.0)
        await http.send(GET)

    await clock.run(work())
    assert len(service.sent_at_s) == 4
    assert service.sent_at_s[3] >= TO_MIDNIGHT_S
    assert limiter.usage().spent == 1


async def test_an_answer_costs_a_message_for_each_four_kilobytes_it_begins() -> None:
    clock = FakeClock()
    limiter = limiter_of(clock, daily=1000)
    page = Response(status=200, headers={}, body=b"x" * 150_000)

    await clock.run(send_many(Limited(Service(clock, page, OK), limiter), GET, 2))

    assert limiter.usage().spent == 37 + 1


async def test_what_the_service_does_not_count_goes_on_when_the_budget_is_spent() -> None:
    clock = FakeClock()
    service = Service(clock)
    limiter = limiter_of(clock, daily=1)

    await clock.run(send_many(Limited(service, limiter), GET, 1))
    await clock.run(send_many(Limited(service, limiter), PUT, 5))

    assert len(service.sent_at_s) == 6
    assert limiter.usage().spent == 1
    read, registry = usage_of(limiter, "read"), usage_of(limiter, "registry")
    assert (read.held_s > 21_000, read.why) == (True, "the daily budget of 1 is spent")
    assert (registry.held_s, registry.why) == (0.0, "")


async def test_those_who_wait_when_the_budget_ends_are_told_at_once() -> None:
    clock = FakeClock()
    limiter = limiter_of(clock, {"read": Rate(per_s=0.1)}, daily=1)
    http = Limited(Service(clock), limiter)

    async def work() -> list[Any]:
        return await asyncio.gather(*(http.send(GET) for _ in range(50)), return_exceptions=True)

    found = await clock.run(work())
    assert [type(one) for one in found].count(ThrottledError) == 49
    assert clock.monotonic_s() < 30.0


async def test_just_before_midnight_the_next_day_is_waited_for() -> None:
    clock = FakeClock(now=START.replace(hour=23, minute=59))
    service = Service(clock)

    await clock.run(send_many(Limited(service, limiter_of(clock, daily=1)), GET, 2))

    assert service.sent_at_s[1] == pytest.approx(60.0, abs=0.1)


async def test_a_clock_that_steps_a_day_ahead_and_back_gives_no_second_budget() -> None:
    clock = FakeClock()
    limiter = limiter_of(clock, daily=2)
    http = Limited(Service(clock), limiter)

    async def work() -> None:
        await send_many(http, GET, 2)
        clock.step(86_400.0)
        await http.send(GET)
        clock.step(-86_400.0)
        with pytest.raises(ThrottledError):
            await http.send(GET)

    await clock.run(work())


async def test_a_spent_quota_of_the_services_own_holds_what_it_counts_and_lowers_no_rate() -> None:
    clock = FakeClock()
    refusal = QuotaSpentError("403", sent=False, retry_after_s=7_000.0)
    limiter = limiter_of(clock, {"read": Rate(per_s=10.0), "registry": Rate(per_s=10.0)})
    service = Service(clock, refusal)
    http = Retrying(Limited(service, limiter), clock)

    async def work() -> None:
        with pytest.raises(QuotaSpentError):
            await http.send(GET)
        with pytest.raises(ThrottledError) as caught:
            await http.send(GET)
        assert str(caught.value) == "the service says that its daily quota is spent: no requests for 117 min"
        await http.send(PUT)
        await clock.sleep(7_000.0)
        await http.send(GET)

    await clock.run(work())
    assert len(service.sent_at_s) == 3
    assert usage_of(limiter, "read").learned_per_s == 10.0


async def test_another_budget_keeps_what_was_spent() -> None:
    clock = FakeClock()
    limiter = limiter_of(clock, daily=3)
    await clock.run(send_many(Limited(Service(clock), limiter), GET, 3))

    limiter.adopt(Budget(classes=FAST, daily=5, counts=COUNTS))

    assert (limiter.usage().spent, limiter.usage().daily) == (3, 5)
    assert usage_of(limiter, "read").held_s == 0.0


# What outlives the process


async def test_a_new_process_keeps_to_the_hold_and_the_rate_of_the_old_one() -> None:
    clock = FakeClock()
    shelf = Shelf(clock)
    classes = {"read": Rate(per_s=10.0)}
    old = Service(clock, ThrottledError("429", sent=False, retry_after_s=90.0))
    with pytest.raises(ThrottledError):
        await clock.run(Limited(old, limiter_of(clock, classes, shelf=shelf)).send(GET))

    new, limiter = Service(clock), limiter_of(clock, classes, shelf=shelf)
    await clock.run(Limited(new, limiter).send(GET))

    assert new.sent_at_s[0] - old.sent_at_s[0] >= 90.0
    assert usage_of(limiter, "read").learned_per_s < 10.0


async def test_a_new_process_goes_on_with_what_the_day_has_cost() -> None:
    clock = FakeClock()
    shelf = Shelf(clock)
    limiter = limiter_of(clock, daily=1000, shelf=shelf)
    await clock.run(send_many(Limited(Service(clock), limiter), GET, 7))
    await clock.run(limiter.keep())

    assert shelf.spent == {TODAY: 7}
    assert limiter_of(clock, daily=1000, shelf=shelf).usage().spent == 7


async def test_a_refusal_is_stored_before_the_next_request_leaves() -> None:
    """Also where storing takes longer than the hold."""
    clock = FakeClock()
    shelf = Shelf(clock, takes_s=20.0)
    service = Service(clock, ThrottledError("429", sent=False, retry_after_s=1.0))
    limiter = limiter_of(clock, {"read": Rate(per_s=10.0), "registry": None}, total=Rate(per_s=10.0), shelf=shelf)
    http = Retrying(Limited(service, limiter), clock)

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            for request in (GET, GET, GET, PUT, PUT):
                group.create_task(http.send(request))

    await clock.run(work())
    [stored_at_s] = shelf.stored_at_s
    assert [at_s for at_s in service.sent_at_s if 0.11 < at_s < stored_at_s] == []
    assert len(service.sent_at_s) == 6


async def test_nothing_is_stored_where_nothing_changed() -> None:
    clock = FakeClock()
    shelf = Shelf(clock)
    limiter = limiter_of(clock, shelf=shelf)
    limiter.adopt(Budget(classes=FAST))  # of a service that does not count per day
    await clock.run(send_many(Limited(Service(clock), limiter), GET, 500))
    await clock.run(limiter.keep())

    assert shelf.stored_at_s == []


async def test_a_hundredth_of_the_budget_is_stored_in_between_and_no_request_alone() -> None:
    clock = FakeClock()
    shelf = Shelf(clock)
    limiter = limiter_of(clock, daily=10_000, shelf=shelf)

    await clock.run(send_many(Limited(Service(clock), limiter), GET, 1_000))

    assert 8 <= len(shelf.stored_at_s) <= 10
    assert 1_000 - sum(shelf.spent.values()) <= 101


async def test_what_cannot_be_stored_is_stored_later() -> None:
    clock = FakeClock()
    shelf = Shelf(clock)
    shelf.is_full = True
    limiter = limiter_of(clock, daily=100, shelf=shelf)
    service = Service(clock, OK, ThrottledError("429", sent=False, retry_after_s=60.0))
    http = Limited(service, limiter)

    async def work() -> None:
        await http.send(GET)
        with pytest.raises(ThrottledError):
            await http.send(GET)
        shelf.is_full = False
        await limiter.keep()

    await clock.run(work())
    assert shelf.spent == {TODAY: 2}
    assert shelf.paces["read"].held_until is not None


async def test_a_full_disk_is_not_tried_for_every_request() -> None:
    clock = FakeClock()
    tries = []

    async def store(scope: str, changed: StoredScope) -> None:
        tries.append(scope)
        raise MirrorError("disk full")

    limiter = Limiter("hub", Budget(classes=FAST, daily=1000, counts=COUNTS), clock, store=store)
    await clock.run(send_many(Limited(Service(clock), limiter), GET, 500))
    assert len(tries) == 1


async def test_a_database_that_failed_is_no_matter_of_rates() -> None:
    async def store(scope: str, changed: StoredScope) -> None:
        raise BrokenMirrorError("restart")

    clock = FakeClock()
    limiter = Limiter("hub", Budget(classes=FAST, daily=1000, counts=COUNTS), clock, store=store)
    with pytest.raises(BrokenMirrorError):
        await clock.run(send_many(Limited(Service(clock), limiter), GET, 500))


async def test_a_store_that_is_cut_off_is_done_again() -> None:
    clock = FakeClock()
    shelf = Shelf(clock, takes_s=5.0)
    limiter = limiter_of(clock, daily=1000, shelf=shelf)

    async def work() -> None:
        await Limited(Service(clock), limiter).send(GET)
        with pytest.raises(TimeoutError):
            async with clock.timeout(1.0):
                await limiter.keep()
        assert shelf.spent == {}
        await limiter.keep()

    await clock.run(work())
    assert shelf.spent == {TODAY: 1}


async def test_spent_on_both_sides_of_midnight_is_stored_by_day() -> None:
    clock = FakeClock(now=START.replace(hour=23, minute=59))
    shelf = Shelf(clock)
    limiter = limiter_of(clock, daily=1000, shelf=shelf)
    http = Limited(Service(clock), limiter)

    async def work() -> None:
        await http.send(GET)
        await clock.sleep(120.0)
        await send_many(http, GET, 2)
        await limiter.keep()

    await clock.run(work())
    assert shelf.spent == {TODAY: 1, TOMORROW: 2}


# Late answers


def answers_of(*took_s: float) -> Iterator[Response]:
    return (Response(status=200, headers={}, body=b"", took_s=each) for each in took_s)


async def learned_after(*took_s: float, per_s: float = 10.0) -> float:
    clock = FakeClock()
    limiter = limiter_of(clock, {"read": Rate(per_s=per_s)})
    await clock.run(send_many(Limited(Service(clock, *answers_of(*took_s)), limiter), GET, len(took_s)))
    return usage_of(limiter, "read").learned_per_s


async def test_answers_that_come_ever_later_lower_the_rate_and_it_climbs_back() -> None:
    assert await learned_after(*[0.1] * 50, *[4.0] * 10) == pytest.approx(9.0, abs=0.1)
    assert await learned_after(*[0.1] * 50, *[4.0] * 10, *[0.1] * 2_000) > 9.5


async def test_one_late_answer_and_one_that_was_not_measured_change_nothing() -> None:
    assert await learned_after(*[0.1] * 50, 60.0, *[0.1] * 10) == 10.0
    clock = FakeClock()
    limiter = limiter_of(clock, {"read": Rate(per_s=10.0)})
    await clock.run(send_many(Limited(Service(clock, latency_s=30.0), limiter), GET, 40))
    assert usage_of(limiter, "read").learned_per_s == 10.0


async def test_the_rate_is_lowered_once_in_some_seconds() -> None:
    assert await learned_after(*[0.1] * 50, *[4.0] * 80) == pytest.approx(9.0, abs=0.2)  # in 8 s


async def test_what_left_before_the_rate_was_lowered_tells_nothing_new() -> None:
    """Forty answers were on their way at that moment, all of them late: the rate is lowered once."""
    clock = FakeClock()
    limiter = limiter_of(clock, {"read": Rate(per_s=10.0)})
    service = Service(clock, *answers_of(*[0.1] * 50, *[3_600.0] * 40))
    http = Limited(service, limiter)

    async def work() -> None:
        await send_many(http, GET, 50)
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                service.latency_s = 60.0 + number * 1.5
                group.create_task(http.send(GET))
                await clock.sleep(0.1)

    await clock.run(work())
    assert 9.0 <= usage_of(limiter, "read").learned_per_s < 10.0


class Shaping:
    """A service that serves requests over its limit late, by up to four seconds, before it refuses any, as IoT Hub does."""

    def __init__(self, clock: FakeClock, *, per_s: float, tells: bool) -> None:
        self.clock, self.per_s, self.tells = clock, per_s, tells
        self.tokens, self.at_s = per_s * 6, clock.monotonic_s()
        self.served = self.refused = 0

    async def send(self, request: Request) -> Response:
        now_s = self.clock.monotonic_s()
        self.tokens = min(self.per_s * 6, self.tokens + (now_s - self.at_s) * self.per_s)
        self.at_s = now_s
        late_s = max(0.0, 1 - self.tokens) / self.per_s
        if late_s > 4.0:
            self.refused += 1
            raise ThrottledError("429", sent=False)
        self.tokens -= 1
        self.served += 1
        await self.clock.sleep(0.08 + late_s)
        return Response(status=200, headers={}, body=b"", took_s=0.08 + late_s if self.tells else None)


@pytest.mark.parametrize(("tells", "is_refused"), [(True, False), (False, True)])
async def test_a_service_that_serves_late_before_it_refuses_need_not_refuse(tells: bool, is_refused: bool) -> None:
    """Permitted is a fifth more than the service stands."""
    clock = FakeClock()
    service = Shaping(clock, per_s=50.0, tells=tells)
    http = Retrying(Limited(service, limiter_of(clock, {"read": Rate(per_s=60.0, burst=6.0)})), clock)
    left = iter(range(12_000))

    async def caller() -> None:
        for _ in left:
            await http.send(GET)

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(256):
                group.create_task(caller())

    await clock.run(work())
    assert service.served == 12_000
    assert (service.refused > 0) is is_refused
    if tells:
        assert 12_000 / clock.monotonic_s() >= 0.85 * 50


# How many at once


async def test_at_work_are_those_on_their_way_and_a_few_more() -> None:
    clock = FakeClock()
    meter = Meter(limiter := limiter_of(clock))
    http = Limited(Service(clock, latency_s=1.0), limiter, meter)
    assert meter.at_once == SPARE

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(http.send(GET))
            await clock.sleep(0.5)
            assert meter.at_once == SPARE + 5
        assert meter.at_once == SPARE

    await clock.run(work())


async def test_those_who_wait_for_the_rate_are_not_on_their_way() -> None:
    clock = FakeClock()
    meter = Meter(limiter := limiter_of(clock, {"read": Rate(per_s=0.1)}))
    http = Limited(Service(clock), limiter, meter)

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(http.send(GET))
            await clock.sleep(15.0)
            assert meter.at_once == SPARE

    await clock.run(work())


async def test_those_who_wait_for_a_connection_are_not_on_their_way() -> None:
    """Else hundreds would wait for a network that hangs, and leave at one moment when it comes back."""
    clock = FakeClock()
    meter = Meter(limiter := limiter_of(clock))
    service = Service(clock)
    service.hangs = True
    http = Limited(service, limiter, meter)

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(http.send(GET)) for _ in range(20)]
            await clock.sleep(15.0)
            assert meter.at_once == SPARE
            for task in tasks:
                task.cancel()

    await clock.run(work())
    assert meter.at_once == SPARE


async def test_whoever_waits_for_a_departure_hears_of_the_next_one() -> None:
    clock = FakeClock()
    meter = Meter(limiter := limiter_of(clock, {"read": Rate(per_s=1.0)}))
    http = Limited(Service(clock, latency_s=10.0), limiter, meter)
    heard_at_s = []

    async def listen() -> None:
        for _ in range(2):
            await meter.departure()
            heard_at_s.append(clock.monotonic_s())

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(listen())
            group.create_task(http.send(GET))
            group.create_task(http.send(GET))

    await clock.run(work())
    assert heard_at_s == pytest.approx([1.0, 2.0])


async def test_there_are_never_more_at_work_than_connections() -> None:
    clock = FakeClock()
    meter = Meter(limiter := limiter_of(clock, {"read": Rate(per_s=1e6)}))
    http = Limited(Service(clock, latency_s=60.0), limiter, meter)

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(300):
                group.create_task(http.send(GET))
            await clock.sleep(1.0)
            assert meter.at_once == MOST_AT_ONCE

    await clock.run(work())


# What waiting costs


async def meter_after(work: Callable[[Limited, FakeClock], Any]) -> tuple[Meter, float]:
    clock = FakeClock()
    limiter = limiter_of(clock, {"read": Rate(per_s=1.0)})
    meter = Meter(limiter)
    await clock.run(work(Limited(Service(clock), limiter, meter), clock))
    return meter, clock.monotonic_s()


async def test_many_that_wait_at_once_wait_once() -> None:
    async def work(http: Limited, clock: FakeClock) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(http.send(GET))

    meter, took_s = await meter_after(work)
    assert took_s == pytest.approx(10.0)
    assert meter.waited_s == pytest.approx(10.0)
    assert meter.requests == 10


async def test_what_passes_between_requests_is_no_waiting() -> None:
    async def work(http: Limited, clock: FakeClock) -> None:
        await http.send(GET)
        await clock.sleep(100.0)
        await http.send(GET)

    meter, _ = await meter_after(work)
    assert meter.waited_s == pytest.approx(1.0)


async def test_who_gives_up_waited_and_who_waits_counts_already() -> None:
    seen: list[float] = []

    async def work(http: Limited, clock: FakeClock) -> None:
        await http.send(GET)
        async with asyncio.TaskGroup() as group:
            group.create_task(give_up(http, clock))
            await clock.sleep(0.2)
            seen.append(http._meter.waited_s)

    async def give_up(http: Limited, clock: FakeClock) -> None:
        with pytest.raises(TimeoutError):
            async with clock.timeout(0.5):
                await http.send(GET)

    meter, _ = await meter_after(work)
    assert seen == [pytest.approx(1.2)]
    assert meter.waited_s == pytest.approx(1.5)
    assert meter.requests == 1


async def test_a_503_is_no_refusal_for_the_meter_and_a_429_is() -> None:
    clock = FakeClock()
    meter = Meter(limiter := limiter_of(clock))
    service = Service(clock, ServerFaultError("503", retry_after_s=2.0), ThrottledError("429", sent=False))
    http = Limited(service, limiter, meter)

    async def work() -> None:
        for _ in range(2):
            with pytest.raises(SourceError):
                await http.send(GET)

    await clock.run(work())
    assert (meter.requests, meter.throttled) == (2, 1)
    assert usage_of(limiter, "read").throttled == 2
