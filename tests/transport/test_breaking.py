"""What is sent to a source that does not answer, and who waits for what; on a virtual clock."""

import asyncio
from collections import Counter

import pytest

from fleetsync.core.breaker import MOST_FAILING
from fleetsync.core.bucket import Rate
from fleetsync.errors import (
    AuthError,
    CircuitOpenError,
    DeviceFaultError,
    RejectedError,
    ServerFaultError,
    SourceError,
    ThrottledError,
    UnreachableError,
)
from fleetsync.transport.auth import Authorized, NoTokens
from fleetsync.transport.breaking import Breaking, Circuit
from fleetsync.transport.http import Request, Response
from fleetsync.transport.limited import Limited
from fleetsync.transport.limiter import Budget, Limiter
from fleetsync.transport.retry import Retrying
from tests.fakes.clock import FakeClock, settle

OK = Response(status=200, headers={}, body=b"")
DOWN = ServerFaultError("503", status=503)


def get(path: str) -> Request:
    return Request(method="GET", url=f"https://service{path}?a=b", operation="read")


class Service:
    """Fails as it is told to, takes its time, and remembers what arrived."""

    def __init__(self, clock: FakeClock, error: SourceError | None = None, *, latency_s: float = 0.0) -> None:
        self.clock, self.error, self.latency_s = clock, error, latency_s
        self.sick: dict[str, SourceError] = {}
        self.paths: list[str] = []
        self.sent_at_s: list[float] = []

    async def send(self, request: Request) -> Response:
        path = request.url.removeprefix("https://service").partition("?")[0]
        self.paths.append(path)
        self.sent_at_s.append(self.clock.monotonic_s())
        await self.clock.sleep(self.latency_s)
        error = self.sick.get(path, self.error)
        if error is not None:
            raise error
        return OK


async def ended(http: Breaking | Retrying, *paths: str) -> list[str]:
    """Return how requests ended that are sent one after the other."""
    found = []
    for path in paths:
        try:
            await http.send(get(path))
        except SourceError as error:
            found.append(type(error).__name__)
        else:
            found.append("OK")
    return found


def paths(count: int) -> list[str]:
    return [f"/devices/{number}" for number in range(count)]


async def test_after_a_few_failures_nothing_is_sent_until_the_probe_is_due() -> None:
    clock = FakeClock()
    service, circuit = Service(clock, DOWN), Circuit(clock)
    http = Breaking(service, circuit)
    outcomes = Counter(await ended(http, *paths(100)))
    assert outcomes == {"ServerFaultError": MOST_FAILING - 1, "CircuitOpenError": 100 - MOST_FAILING + 1}
    assert len(service.paths) == MOST_FAILING
    assert 13.5 <= circuit.wait_s <= 16.5


async def test_a_source_that_stays_away_gets_one_request_a_pause_and_ever_fewer() -> None:
    clock = FakeClock()
    service, circuit = Service(clock, UnreachableError("no route")), Circuit(clock)
    http = Breaking(service, circuit)
    for _ in range(8 * 3600):  # somebody tries every second for eight hours
        await ended(http, f"/{clock.monotonic_s()}")
        await clock.advance(1.0)
    gaps = [after - before for before, after in zip(service.sent_at_s, service.sent_at_s[1:], strict=False)]
    assert len(service.sent_at_s) < MOST_FAILING + 60
    assert all(gap >= 13.0 for gap in gaps[MOST_FAILING - 1 :])
    assert max(gaps) <= 661.0


async def test_one_sick_device_or_several_among_healthy_ones_stop_nobody() -> None:
    clock = FakeClock()
    service = Service(clock)
    service.sick = {"/devices/3": DOWN, "/devices/4": DOWN, "/devices/50": UnreachableError("reset")}
    http = Retrying(Breaking(service, Circuit(clock)), clock)
    outcomes = Counter(await clock.run(ended(http, *paths(100))))
    assert outcomes == {"ServerFaultError": 2, "UnreachableError": 1, "OK": 97}


async def test_devices_that_are_at_fault_themselves_open_nothing() -> None:
    clock = FakeClock()
    service = Service(clock, DeviceFaultError("504 1001", status=504))
    assert Counter(await ended(Breaking(service, Circuit(clock)), *paths(50))) == {"DeviceFaultError": 50}


async def test_refusals_because_of_the_rate_are_the_limiter_s_business_alone() -> None:
    clock = FakeClock()
    service = Service(clock, ThrottledError("429", status=429, sent=False))
    assert Counter(await ended(Breaking(service, Circuit(clock)), *paths(50))) == {"ThrottledError": 50}


async def test_nobody_repeats_once_it_is_open() -> None:
    clock = FakeClock()
    service = Service(clock, DOWN)
    http = Retrying(Breaking(service, Circuit(clock)), clock)
    before_s = clock.monotonic_s()
    results = await clock.run(gathered(http, 40))
    assert {type(result) for result in results} == {CircuitOpenError}
    assert len(service.paths) == 40
    # Those who failed before it opened find out after their first pause.
    assert clock.monotonic_s() - before_s <= 1.0


async def gathered(http: Breaking | Retrying, count: int) -> list[Response | BaseException]:
    return await asyncio.gather(*(http.send(get(path)) for path in paths(count)), return_exceptions=True)


async def test_what_waits_for_the_rate_when_it_opens_is_not_sent_any_more() -> None:
    clock = FakeClock()
    service = Service(clock, DOWN)
    limiter = Limiter("app", Budget(classes={"read": Rate(per_s=1.0)}), clock)
    http = Breaking(Authorized(Limited(service, limiter), NoTokens()), Circuit(clock))
    await clock.run(gathered(http, 60))
    assert len(service.paths) == MOST_FAILING


async def test_of_those_who_come_when_the_probe_is_due_one_goes_and_the_others_wait_for_it() -> None:
    clock = FakeClock()
    service, circuit = Service(clock, DOWN, latency_s=2.0), Circuit(clock)
    http = Breaking(service, circuit)
    await clock.run(ended(http, *paths(MOST_FAILING)))
    await clock.advance(circuit.wait_s)
    service.error = None
    async with asyncio.TaskGroup() as group:
        for path in paths(20):
            group.create_task(http.send(get(path)))
        await settle()
        assert len(service.paths) == MOST_FAILING + 1
        await clock.advance(2.0)
        await settle()
        assert len(service.paths) == MOST_FAILING + 20
        await clock.advance(2.0)
    assert await clock.run(ended(http, "/x")) == ["OK"]


async def test_when_the_probe_fails_the_others_are_not_sent() -> None:
    clock = FakeClock()
    service, circuit = Service(clock, DOWN), Circuit(clock)
    http = Breaking(service, circuit)
    await ended(http, *paths(MOST_FAILING))
    await clock.advance(circuit.wait_s)
    results = await clock.run(gathered(http, 20))
    assert {type(result) for result in results} == {CircuitOpenError}
    assert len(service.paths) == MOST_FAILING + 1
    assert 27.0 <= circuit.wait_s <= 33.0


async def test_a_probe_that_is_cancelled_leaves_its_place_to_the_next() -> None:
    clock = FakeClock()
    service, circuit = Service(clock, DOWN, latency_s=5.0), Circuit(clock)
    http = Breaking(service, circuit)
    await clock.run(ended(http, *paths(MOST_FAILING)))
    await clock.advance(circuit.wait_s)
    service.error = None
    async with asyncio.TaskGroup() as group:
        first = group.create_task(http.send(get("/first")))
        await settle()
        second = group.create_task(http.send(get("/second")))
        await settle()
        first.cancel()
        await settle()
        await clock.advance(5.0)
    assert second.result() is OK
    assert not circuit.wait_s


async def test_a_wrong_secret_is_said_as_it_is_and_then_not_tried_again_and_again() -> None:
    clock = FakeClock()
    service, circuit = Service(clock, AuthError("wrong secret", status=401)), Circuit(clock)
    assert await ended(Breaking(service, circuit), *paths(3)) == ["AuthError", "CircuitOpenError", "CircuitOpenError"]
    assert len(service.paths) == 1
    assert 54.0 <= circuit.wait_s <= 66.0


async def test_the_error_says_what_since_when_and_when_next() -> None:
    clock = FakeClock()
    http = Breaking(Service(clock, UnreachableError("no route to host", sent=False)), Circuit(clock))
    await ended(http, *paths(MOST_FAILING - 1))
    await clock.advance(10.0)
    with pytest.raises(CircuitOpenError) as caught:
        await http.send(get("/x"))
    assert str(caught.value).startswith("network fault since 2026-11-21T18:00:00Z, next try at 2026-11-21T18:00:2")
    assert str(caught.value).endswith(": no route to host")
    assert (caught.value.fault, caught.value.sent) == ("network", False)


async def test_a_write_that_opens_it_may_have_been_carried_out_and_one_that_is_held_back_was_not() -> None:
    clock = FakeClock()
    http = Breaking(Service(clock, ServerFaultError("503", status=503, request_id="r")), Circuit(clock))
    await ended(http, *paths(MOST_FAILING - 1))
    sent = []
    for _ in range(2):
        with pytest.raises(CircuitOpenError) as caught:
            await http.send(Request(method="PATCH", url="https://service/y", operation="write"))
        sent.append((caught.value.sent, caught.value.status, caught.value.request_id))
    assert sent == [(True, 503, "r"), (False, None, None)]


async def test_a_person_who_asks_is_answered_by_a_probe_at_once() -> None:
    clock = FakeClock()
    service, circuit = Service(clock, DOWN), Circuit(clock)
    http = Breaking(service, circuit)
    circuit.probe_now()
    await ended(http, *paths(MOST_FAILING))
    circuit.probe_now()
    service.error = RejectedError("400", status=400)
    assert await ended(http, "/x", "/y") == ["RejectedError", "RejectedError"]


async def test_another_process_sends_its_first_probe_no_later_than_after_a_first_pause() -> None:
    clock = FakeClock()
    service, circuit = Service(clock, DOWN), Circuit(clock)
    http = Breaking(service, circuit)
    await ended(http, *paths(MOST_FAILING))
    for _ in range(8):
        await clock.advance(circuit.wait_s)
        await ended(http, "/x")
    assert circuit.wait_s > 500.0
    another = Circuit(clock, circuit.record)
    assert 0.0 < another.wait_s <= 16.5
    assert await ended(Breaking(service, another), "/x") == ["CircuitOpenError"]
    assert len(service.paths) == MOST_FAILING + 8
    await clock.advance(another.wait_s)
    await ended(Breaking(service, another), "/x")
    assert another.wait_s > 500.0
