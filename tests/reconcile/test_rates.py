"""Whole cycles at a rate, on a virtual clock."""

from collections.abc import Callable

import pytest

from tests.fakes.inline import run_inline
from tests.reconcile.rig import HUB, HUB_OPTIONS, Rig, declare


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    run_inline(monkeypatch)


def big_hub(make: Callable[..., Rig], **options: object) -> Rig:
    return make(settings=HUB, **{**HUB_OPTIONS, "hub_devices": 300, "hub_page_size": 100, **options})


async def test_we_count_the_messages_of_a_day_as_the_hub_does(make: Callable[..., Rig]) -> None:
    rig = big_hub(make)
    limiter = rig.limit_rates()
    rig.declarations = [declare({"tags": {"wave": "3"}, "status": "disabled"})]
    async with rig.opened():
        await rig.cycle()
        await rig.cycle(write=True)

    spent = limiter.usage().spent
    assert spent == rig.cloud.hub.quota.used(rig.clock.now().timestamp())
    assert spent is not None
    assert spent > 600


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
