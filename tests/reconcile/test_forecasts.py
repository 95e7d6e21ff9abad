"""What a forecast says, held against what it takes on a virtual clock."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from fleetsync.cli import forecasts
from fleetsync.core.bucket import Rate
from fleetsync.core.forecast import Forecast
from fleetsync.mirror.reader import reading
from fleetsync.mirror.selection import Selection
from fleetsync.mirror.views import view_of
from fleetsync.providers.base import all_kinds
from fleetsync.reconcile.planning import Planner
from fleetsync.wiring.sources import unconnected
from tests.fakes.inline import run_inline
from tests.reconcile.rig import HUB, HUB_OPTIONS, Rig, declare


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    run_inline(monkeypatch)


def ahead_of(rig: Rig) -> tuple[Forecast, Forecast]:
    """Return the forecasts of the writes and of the listing, from the mirror as it is."""
    source = rig.settings
    with reading(rig.path, rig.clock) as reader:
        selection = Selection(reader, view_of(all_kinds().values()))
        ages_s = selection.ages_s(rig.clock.now())
        planner = Planner(
            unconnected(source), source, rig.declarations, at=rig.clock.now(), ages_s=ages_s, longest_s=rig.longest_s
        )
        plan, stocks = planner.plan(selection, asked=True).plan, forecasts.stocks_of(reader, source)
        details = forecasts.details(source, planner, selection, stocks)
        return forecasts.writing(source, plan, stocks), forecasts.listing(source, stocks, details)


async def taken(rig: Rig) -> tuple[Mapping[str, int], float, int]:
    """Apply, and return the requests by class, the seconds and the messages that it took."""
    quota = rig.cloud.hub.quota if rig.settings.kind is HUB.kind else None
    sent, spent = len(rig.http.sent), quota.used(rig.clock.now().timestamp()) if quota else 0
    await rig.clock.advance(60)
    began_s = rig.clock.monotonic_s()
    await rig.cycle(write=True)
    now_spent = quota.used(rig.clock.now().timestamp()) if quota else 0
    return Counter(r.operation for r in rig.http.sent[sent:]), rig.clock.monotonic_s() - began_s - 60, now_spent - spent


@pytest.mark.parametrize("latency_s", [0.02, 0.5])
@pytest.mark.parametrize("desired", [{"tags": {"wave": "3"}}, {"status": "disabled"}])
async def test_a_plan_of_a_hub_takes_what_its_forecast_says(
    make: Callable[..., Rig],
    desired: Mapping[str, Any],
    latency_s: float,
) -> None:
    rig = make(settings=HUB, **{**HUB_OPTIONS, "hub_devices": 150, "hub_page_size": 100})
    rig.http.latency_s = latency_s
    rig.declarations = [declare(desired)]
    async with rig.opened():
        await rig.cycle()
        rig.limit_rates(classes={"query": Rate(per_s=20.0), "twin_write": Rate(per_s=5.0)})
        writing, listing = ahead_of(rig)
        requests, seconds, cost = await taken(rig)

    assert writing.total > 100
    foreseen = Counter(writing.requests) + Counter(listing.requests)
    assert {name: requests[name] for name in foreseen} == pytest.approx(foreseen, rel=0.1, abs=1)
    assert seconds == pytest.approx(writing.seconds + listing.seconds, rel=0.1)
    assert cost == pytest.approx(writing.cost + listing.cost, rel=0.1)


async def test_a_plan_whose_writes_are_framed_by_reads_takes_what_its_forecast_says(
    make: Callable[..., Rig],
) -> None:
    rig = make(devices=150)
    rig.declarations = [declare({"properties": {"targetTemperature": 21}})]
    async with rig.opened():
        await rig.cycle()
        rig.limit_rates()
        writing, listing = ahead_of(rig)
        requests, seconds, _ = await taken(rig)

    assert writing.requests == {"read": 300, "write": 150}
    assert listing.requests == {"list": 2, "read": 150}
    assert requests == Counter(writing.requests) + Counter(listing.requests)
    assert seconds == pytest.approx(writing.seconds + listing.seconds, rel=0.1)


async def test_a_page_is_as_large_as_the_service_granted_last(make: Callable[..., Rig]) -> None:
    rig = make(settings=HUB, **{**HUB_OPTIONS, "hub_devices": 60, "hub_page_size": 20})
    async with rig.opened():
        await rig.cycle()
        _, listing = ahead_of(rig)
    assert listing.requests == {"query": 3}
