"""Values that somebody else keeps changing back: written so often, then left alone until that has an end."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
import structlog

from fleetsync.cli.output import json_pieces
from fleetsync.config.settings import AuthSettings
from fleetsync.core.contest import Rewrites
from fleetsync.core.kind import Kind
from fleetsync.core.model import DEVICE, ResourceType
from fleetsync.log import only_known_keys
from fleetsync.providers import cloud_relay, iot_hub_arm, sphere_arm, sphere_legacy
from fleetsync.reconcile.reviewed import as_json, plans_in
from fleetsync.simulator.cloud_relay.service import Shares
from fleetsync.simulator.sphere_fleet import tenant_id
from fleetsync.transport.http import Request, Response
from tests.fakes.http import CloudHttp
from tests.reconcile.rig import HUB, HUB_OPTIONS, SOURCE, Rig, declare

DAY_S = 86_400.0
HOUR_S = 3600.0
VALUE = "protocols/bacnet/local/objects/analog-value/1/properties/present-value"
RELAYED = tuple(f"ecy-{place}-{number:05}" for number, place in enumerate(("oslo", "lyon", "osaka")))
FLEET = "/subscriptions/{}/resourceGroups/iot-hubs/providers/Microsoft.Devices/IotHubs/fleet-hub"
BY = "somebody else, after 3 writes in 24 h"


@dataclass
class Fight:
    """A source, one value that is declared, and how somebody else changes it back."""

    rig: Rig
    id: str
    revert: Callable[[], object]

    def carried_out(self) -> int:
        taken = "outcome IN ('applied', 'ignored')"
        [[found]] = self.rig.rows(f"SELECT count(*) FROM writes WHERE resource_id = ? AND {taken}", self.id)
        assert isinstance(found, int)
        return found

    def drift(self) -> list[tuple[Any, ...]]:
        return self.rig.rows('SELECT state, "by" FROM drift WHERE resource_id = ?', self.id)

    async def round(self) -> None:
        """Change it back, and let a cycle find it so."""
        self.revert()
        await self.rig.cycle(write=True)


def where(id: str) -> str:
    return f"id = '{id}'"


async def central(make: Callable[..., Rig], desired: dict[str, object], theirs: dict[str, object]) -> Fight:
    rig = make(page_size=5)
    id = next(id for id in sorted(rig.truth()) if id.startswith("thermostat"))
    rig.declarations = [declare(desired, where=where(id))]
    return Fight(rig, id, lambda: rig.cloud.operator_edit(id, theirs))


async def name(make: Callable[..., Rig]) -> Fight:
    return await central(make, {"displayName": "ours"}, {"displayName": "theirs"})


async def wish(make: Callable[..., Rig]) -> Fight:
    """Return a fight over a property that the device is asked for, which has no ETag."""
    return await central(make, {"properties": {"targetTemperature": 21.5}}, {"properties": {"targetTemperature": 15.0}})


async def tag(make: Callable[..., Rig]) -> Fight:
    rig = make(settings=HUB, **HUB_OPTIONS)
    id = sorted(rig.truth())[3]
    rig.declarations = [declare({"tags": {"ring": "ours"}}, where=where(id))]
    return Fight(rig, id, lambda: rig.cloud.hub.operator_edit(id, {"tags": {"ring": "theirs"}}))


async def status(make: Callable[..., Rig]) -> Fight:
    rig = make(settings=HUB, **HUB_OPTIONS)
    id = sorted(rig.truth())[3]
    rig.declarations = [declare({"status": "disabled"}, where=where(id))]
    return Fight(rig, id, lambda: rig.cloud.hub.operator_edit(id, {"status": "enabled"}))


def at_arm(rig: Rig, kind: Kind, own: Any, type: str) -> None:
    """Make a subscription that is simulated already the source."""
    rig.settings = replace(SOURCE, kind=kind, url=rig.cloud.arm_url, own=own, resources=(ResourceType(type),))


async def hub_tag(make: Callable[..., Rig]) -> Fight:
    rig = make(kinds=("iot-hub", "iot-hub-arm"), hub_devices=2, arm_rate="none")
    arm, type = rig.cloud.arm, ResourceType("hub")
    at_arm(rig, iot_hub_arm.KIND, iot_hub_arm.Settings(subscription=arm.subscription), type)
    id, path = "iot-hubs/fleet-hub", FLEET.format(arm.subscription)
    rig.declarations = [declare({"tags": {"ring": "ours"}}, type=type, where=where(id))]
    return Fight(rig, id, lambda: arm.operator_edit(path, {"tags": {"ring": "theirs"}}))


async def arm_move(make: Callable[..., Rig]) -> Fight:
    rig = make(kinds=("sphere-arm",), sphere_devices=20, arm_rate="none")
    arm = rig.cloud.arm
    at_arm(rig, sphere_arm.KIND, sphere_arm.Settings(subscription=arm.subscription, catalog="MainCatalog"), DEVICE)
    id = min(one["id"] for one in arm.truth() if one["catalog"] == "MainCatalog")
    rig.declarations = [declare({"group": "prototypes/p1"}, where=where(id))]
    return Fight(rig, id, lambda: arm.operator_move(id, "Line Gateway", "Development"))


async def legacy_move(make: Callable[..., Rig]) -> Fight:
    settings = replace(
        SOURCE,
        kind=sphere_legacy.KIND,
        url="http://127.0.0.1:8082",
        own=sphere_legacy.Settings(tenant=tenant_id(3)),
        resources=(DEVICE,),
    )
    rig = make(settings=settings, kinds=("sphere-legacy",), sphere_devices=8, sphere_rate="none")
    tenant = rig.cloud.sphere.tenant
    ours, theirs, *_ = sorted(tenant.groups)
    id = min(str(one["DeviceId"]).lower() for one in rig.cloud.sphere.truth())
    rig.declarations = [declare({"group": ours}, where=where(id))]
    return Fight(rig, id, lambda: rig.cloud.sphere.operator_edit(id, {"DeviceGroupId": theirs}))


async def relayed(make: Callable[..., Rig]) -> Fight:
    """Return a fight with the program of a controller, which falls back to its own value."""
    own = cloud_relay.Settings(roster=RELAYED)
    settings = replace(SOURCE, kind=cloud_relay.KIND, url="http://127.0.0.1:8084", own=own)
    well = Shares(offline=0, slow=0, rubbish=0, hollow=0, large=0)
    rig = make(settings=settings, kinds=("cloud-relay",), relay_devices=3, relay_shares=well)
    id = rig.cloud.relay.roster.ids()[0]
    rig.settings = replace(settings, own=cloud_relay.Settings(roster=rig.cloud.relay.roster.ids()))
    rig.declarations = [declare({VALUE: {"value": "77"}}, where=where(id))]
    return Fight(rig, id, lambda: rig.cloud.relay.operator_edit(id, VALUE, "5"))


KINDS = [name, wish, tag, status, hub_tag, legacy_move, arm_move, relayed]


@pytest.mark.parametrize("begin", KINDS)
async def test_what_somebody_else_keeps_changing_back_is_written_three_times_a_day(
    make: Callable[..., Rig], begin: Any
) -> None:
    fight = await begin(make)
    async with fight.rig.opened():
        for number in (1, 2, 3, 3, 3):
            await fight.round()
            assert fight.carried_out() == number
    # Another process knows it as well.
    async with fight.rig.opened():
        assert fight.drift() == [("contested", BY)]
        before = fight.rig.content()
        await fight.rig.clock.advance(DAY_S - 600)
        await fight.rig.cycle(write=True)
        assert fight.rig.content()["drift"] == before["drift"]
        assert fight.carried_out() == 3
        await fight.rig.clock.advance(600)
        await fight.rig.cycle(write=True)
        assert fight.carried_out() == 4, "nobody touched it for a day"
        assert fight.drift() == []


@pytest.fixture
async def fight(make: Callable[..., Rig]) -> AsyncIterator[Fight]:
    """Give a fight over a name that is contested by now."""
    made = await name(make)
    async with made.rig.opened():
        for _ in range(4):
            await made.round()
        assert made.drift() == [("contested", BY)]
        yield made


async def test_what_changes_all_the_time_is_left_alone_for_as_long(fight: Fight) -> None:
    for number in range(40):
        fight.rig.cloud.operator_edit(fight.id, {"displayName": f"theirs {number}"})
        await fight.rig.clock.advance(2 * HOUR_S)
        await fight.rig.cycle(write=True)
    assert fight.carried_out() == 3
    await fight.rig.clock.advance(DAY_S)
    await fight.rig.cycle(write=True)
    assert fight.carried_out() == 4


async def test_a_declaration_that_changes_is_written_at_once(fight: Fight) -> None:
    fight.rig.declarations = [declare({"displayName": "ours as well"}, where=where(fight.id))]
    await fight.rig.cycle(write=True)
    assert fight.rig.truth()[fight.id]["displayName"] == "ours as well"
    assert fight.carried_out() == 4


async def test_the_same_value_by_another_declaration_is_no_rest_and_no_news(fight: Fight) -> None:
    await fight.rig.clock.advance(DAY_S / 2)
    fight.rig.declarations = [declare({"displayName": "ours"}, name="another", where=where(fight.id))]
    await fight.rig.cycle(write=True)
    assert fight.drift() == [("contested", BY)]
    await fight.rig.clock.advance(DAY_S / 2)
    await fight.rig.cycle(write=True)
    assert fight.carried_out() == 4


async def test_what_stayed_as_declared_for_a_day_is_written_again(fight: Fight) -> None:
    fight.rig.cloud.operator_edit(fight.id, {"displayName": "ours"})
    await fight.rig.cycle(write=True)
    assert fight.drift() == []
    await fight.round()
    assert fight.drift() == [("contested", BY)]
    fight.rig.cloud.operator_edit(fight.id, {"displayName": "ours"})
    await fight.rig.cycle(write=True)
    await fight.rig.clock.advance(DAY_S)
    await fight.round()
    assert fight.carried_out() == 4


async def test_the_other_values_of_a_contested_resource_are_written(fight: Fight) -> None:
    fight.rig.declarations = [declare({"displayName": "ours", "enabled": False}, where=where(fight.id))]
    await fight.rig.cycle(write=True)
    device = fight.rig.truth()[fight.id]
    assert (device["displayName"], device["enabled"]) == ("theirs", False)
    assert fight.rig.rows("SELECT path, state FROM drift") == [("displayName", "contested")]


async def test_how_often_is_the_operators_choice(make: Callable[..., Rig]) -> None:
    fight = await name(make)
    fight.rig.limit(max_rewrites=Rewrites(most=1, window_s=HOUR_S))
    async with fight.rig.opened():
        for _ in range(3):
            await fight.round()
        assert fight.carried_out() == 1
        assert fight.drift() == [("contested", "somebody else, after 1 write in 60 min")]
        await fight.rig.clock.advance(HOUR_S)
        await fight.rig.cycle(write=True)
        assert fight.carried_out() == 2


async def test_a_plan_that_was_reviewed_before_does_not_write_it_either(make: Callable[..., Rig]) -> None:
    fight = await name(make)
    async with fight.rig.opened():
        fight.revert()
        done = await fight.rig.cycle()
        assert done.plan is not None
        text = "".join(json_pieces(as_json([(done.plan, ())])))
        [reviewed] = plans_in(text.encode(), name="monday.json")
        for _ in range(4):
            await fight.round()
        done = await fight.rig.cycle(write=True, reviewed=reviewed)
        assert [key.id for key in done.skipped] == [fight.id]
        assert fight.carried_out() == 3


async def test_it_is_said_when_it_begins_and_when_it_ends(make: Callable[..., Rig]) -> None:
    fight = await name(make)
    with structlog.testing.capture_logs(processors=[only_known_keys]) as said:
        async with fight.rig.opened():
            for _ in range(6):
                await fight.round()
            await fight.rig.clock.advance(DAY_S)
            await fight.rig.cycle(write=True)
    told = [one for one in said if one["event"].startswith("drift.")]
    assert [(one["event"], one["log_level"], one["contested"]) for one in told] == [
        ("drift.contested", "warning", 1),
        ("drift.rested", "info", 1),
    ]
    assert (told[0]["resource"], told[0]["path"], told[0]["reason"]) == (fight.id, "displayName", BY)


@dataclass
class Deaf:
    """A service that takes a write and leaves the name out."""

    http: CloudHttp

    async def send(self, request: Request) -> Response:
        if request.body:
            body = json.loads(request.body)
            body.pop("displayName", None)
            request = msgspec.structs.replace(request, body=json.dumps(body).encode())
        return await self.http.send(request)


async def test_what_the_service_accepts_and_ignores_is_not_sent_at_every_cycle(make: Callable[..., Rig]) -> None:
    fight = await name(make)
    fight.rig.layers = Deaf
    async with fight.rig.opened():
        for _ in range(6):
            await fight.rig.cycle(write=True)
        assert fight.rig.outcomes() == [(fight.id, "ignored")] * 3
        assert fight.drift() == [("contested", "accepted and not taken over, after 3 writes in 24 h")]
        await fight.rig.clock.advance(DAY_S)
        for _ in range(6):
            await fight.rig.cycle(write=True)
        assert fight.carried_out() == 6


async def test_where_the_service_says_who_it_is_said_unless_it_was_us(make: Callable[..., Rig]) -> None:
    fight = await hub_tag(make)
    rig = fight.rig
    rig.settings = replace(rig.settings, auth=AuthSettings(method="none", options={"client_id": "we"}))
    who = ["ada@example.com"]

    @dataclass
    class Telling:
        http: CloudHttp

        async def send(self, request: Request) -> Response:
            response = await self.http.send(request)
            told = b'"systemData":{"lastModifiedBy":"%s"},"location"' % who[0].encode()
            return msgspec.structs.replace(response, body=response.body.replace(b'"location"', told))

    rig.layers = Telling
    async with rig.opened():
        for _ in range(4):
            await fight.round()
        assert fight.drift() == [("contested", "ada@example.com, after 3 writes in 24 h")]
        who[0] = "we"
        await rig.cycle(write=True)
        assert fight.drift() == [("contested", BY)]
