"""Whole cycles at a rate, on a virtual clock."""

from collections.abc import Callable

import pytest

from fleetsync.core.bucket import Rate
from tests.fakes.inline import run_inline
from tests.reconcile.rig import HUB, HUB_OPTIONS, Rig, declare


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    run_inline(monkeypatch)


def big_hub(make: Callable[..., Rig], **options: object) -> Rig:
    return make(settings=HUB, **{**HUB_OPTIONS, "hub_devices": 300, "hub_page_size": 100, **options})


async def test_we_count_the_messages_of_a_day_as_the_hub_does(make: Callable[..., Rig]) -> None:
    rig = big_hub(make, hub_devices=120)
    limiter = rig.limit_rates()
    rig.declarations = [declare({"tags": {"wave": "3"}, "status": "disabled"})]
    async with rig.opened():
        await rig.cycle()
        await rig.cycle(write=True)

    spent = limiter.usage().spent
    assert spent == rig.cloud.hub.quota.used(rig.clock.now().timestamp())
    assert spent is not None
    assert spent > 240


async def test_a_spent_budget_ends_the_cycle_and_says_when_it_goes_on(make: Callable[..., Rig]) -> None:
    rig = big_hub(make)
    rig.limit_rates(daily=50)
    async with rig.opened():
        done = await rig.cycle()

    assert "the daily budget of 50 is spent; the next UTC day begins in 6 h" in str(done.error)
    assert rig.rows("SELECT state, outcome FROM sources JOIN cycles ON source = name") == [("throttled", "throttled")]


async def test_waiting_for_the_rate_is_never_longer_than_the_cycle(make: Callable[..., Rig]) -> None:
    rig = big_hub(make)
    rig.http.latency_s = 0.2
    rig.limit_rates()
    rig.declarations = [declare({"tags": {"wave": "3"}})]
    async with rig.opened():
        await rig.cycle(write=True)

    [(waited_s, took_s)] = rig.rows(
        "SELECT waited_s, (julianday(finished_at) - julianday(started_at)) * 86400 FROM cycles"
    )
    assert 10 < waited_s <= took_s + 0.01


def used(at_s: list[float], per_s: float) -> float:
    """Return the share of a rate that was used between the first and the last request."""
    return (len(at_s) - 1) / (at_s[-1] - at_s[0]) / per_s


@pytest.mark.parametrize("latency_s", [0.02, 0.08, 0.5])
async def test_the_permitted_rate_of_writes_is_used_whatever_the_latency(
    make: Callable[..., Rig], latency_s: float
) -> None:
    rig = big_hub(make)
    rig.http.latency_s = latency_s
    rig.limit_rates(classes={"twin_write": Rate(per_s=50.0, burst=5.0)})
    rig.declarations = [declare({"tags": {"wave": "3"}})]
    async with rig.opened():
        done = await rig.cycle(write=True)

    assert len(done.outcomes) == 300
    assert used([write.at for write in rig.carried_out()], 50.0) >= 0.97


@pytest.mark.parametrize("latency_s", [0.02, 0.5])
async def test_the_rate_is_used_where_every_write_is_framed_by_reads(
    make: Callable[..., Rig], latency_s: float
) -> None:
    rig = make(devices=150, seed=3)
    rig.http.latency_s = latency_s
    rig.limit_rates(share=1.0)
    rig.declarations = [declare({"properties": {"targetTemperature": 21}})]
    async with rig.opened():
        done = await rig.cycle(write=True)

    assert len(done.outcomes) == 150
    began_s, *_, ended_s = rig.http.arrivals(lambda request: "/properties" in request.url)
    assert (150 * 4 - 1) / (ended_s - began_s) / 20.0 >= 0.97


@pytest.mark.parametrize("latency_s", [0.02, 0.5])
async def test_the_rate_is_used_while_it_is_asked_who_is_gone(make: Callable[..., Rig], latency_s: float) -> None:
    rig = big_hub(make, hub_devices=700)
    async with rig.opened():
        await rig.cycle()
        rig.http.latency_s = latency_s
        rig.limit_rates()
        for id in sorted(rig.truth())[:600]:
            rig.cloud.hub.delete_device(id)
        await rig.cycle()

    assert used(rig.http.arrivals(lambda request: request.operation == "twin_read"), 60.0) >= 0.97
