"""Signed links and operation URLs through the real client, over a real socket: every byte has to arrive."""

from typing import Any

import pytest

from fleetsync.clock import SystemClock
from fleetsync.core.declaration import ABSENT
from fleetsync.core.model import DEVICE, ResourceKey
from fleetsync.core.operation import Standing
from fleetsync.core.plan import Change, Leaf
from fleetsync.providers.base import Endpoint
from fleetsync.providers.sphere_arm import GROUP, KIND, Settings, SphereArm
from fleetsync.simulator import Cloud, Options
from fleetsync.transport.auth import NoTokens
from fleetsync.transport.breaking import Circuit
from fleetsync.transport.connect import connect
from fleetsync.transport.limited import Meter
from fleetsync.transport.limiter import Budget, Limiter
from fleetsync.transport.origin import Origin
from fleetsync.transport.session import open_session
from tests.fakes.known import KnownDocuments

OPTIONS = Options(
    kinds=("sphere-arm",),
    sphere_devices=30,
    arm_rate="none",
    arm_page_size=10,
    arm_link_size=3900,
    latency_s=0.0,
    seed=3,
)


@pytest.mark.parametrize("style", ["both", "azure-async", "location", "asyncinfo"])
async def test_links_and_operation_urls_arrive_byte_for_byte(style: Any) -> None:
    cloud, clock = Cloud(OPTIONS), SystemClock()
    cloud.arm.links.page_size = 3900
    cloud.arm.operations.habits.duration_s = 0.0
    cloud.arm.operations.habits.style = style
    async with cloud.serving(), open_session() as session:
        settings = Settings(subscription=cloud.arm.subscription, catalog="MainCatalog")
        budget = Budget(classes=KIND.quota(settings).classes)
        http = connect(
            session,
            origin=Origin.of(cloud.arm_url),
            tokens=NoTokens(),
            meter=Meter(Limiter("test", budget, clock)),
            circuit=Circuit(clock),
            clock=clock,
        )
        known = KnownDocuments()
        source = SphereArm(
            Endpoint(name="catalog", url=cloud.arm_url, http=http, known=known, clock=clock, settings=settings)
        )
        pages, cursor = [], None
        while not pages or cursor is not None:
            page = await source.page(DEVICE, cursor)
            pages.append(page)
            cursor = page.next
        devices = [one for page in pages for one in page.resources]
        assert len(pages) == 3
        assert len(devices) == 30 - 30 // 8

        key = ResourceKey("catalog", DEVICE, devices[0].id)
        known[key] = devices[0].document
        leaf = Leaf(path=("group",), actual=ABSENT, declared="Prototypes/P1", declarations=("d",))
        guard = source.guard(GROUP, devices[0])
        assert guard is not None
        written = await source.patch(Change(key=key, part=GROUP, guard=guard, leaves=(leaf,)))
        assert written.operation is not None
        assert (await source.follow(key, GROUP, written.operation)).standing is Standing.DONE
        assert (await source.read(key)).facts.group_id == "sphere-prod/maincatalog/prototypes/p1"
    signed = [line.target for line in cloud.arm.log() if "&h=" in line.target]
    assert len(signed) == 3
    assert all(len(target) >= 3850 for target in signed)
    for mark in ("%2F", "%3A", "%27", "*"):
        assert all(mark in target for target in signed)
    assert any("&fresh&" in target or "&asyncinfo&" in target for target in signed)
