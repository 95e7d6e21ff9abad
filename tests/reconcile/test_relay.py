"""The Cloud Relay over whole cycles: devices that cannot be asked, values that are declared, writes nobody answers."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from fleetsync.config.settings import WeakestGuard
from fleetsync.core.model import DEVICE, Page, Resource
from fleetsync.core.plan import Result
from fleetsync.errors import ServerFaultError
from fleetsync.mirror.cycles import SourceRow
from fleetsync.providers import cloud_relay
from fleetsync.simulator import parse_faults
from fleetsync.simulator.cloud_relay.service import Shares
from fleetsync.transport.client import error_of
from fleetsync.transport.http import Request, Response
from fleetsync.transport.retry import Retrying
from tests.reconcile.rig import SOURCE, Rig, declare

OBJECTS = "protocols/bacnet/local/objects"
VALUE = f"{OBJECTS}/analog-value/1/properties/present-value"
OTHER = f"{OBJECTS}/analog-value/2/properties/present-value"
INPUT = f"{OBJECTS}/analog-input/1/properties/present-value"
WELL = Shares(offline=0, slow=0, rubbish=0, hollow=0, large=0)
IDS = tuple(f"ecy-{('oslo', 'lyon', 'osaka', 'austin')[number % 4]}-{number:05}" for number in range(30))
SETTINGS = replace(SOURCE, kind=cloud_relay.KIND, url="http://127.0.0.1:8084", own=cloud_relay.Settings(roster=IDS))


def value(path: str, text: str) -> dict[str, object]:
    return {path: {"value": text}}


@pytest.fixture
async def rig(make: Callable[..., Rig]) -> AsyncIterator[Rig]:
    made = make(settings=SETTINGS, kinds=("cloud-relay",), relay_devices=30, relay_shares=WELL)
    made.layers = lambda http: Retrying(http, made.clock)
    assert made.cloud.relay.roster.ids() == IDS
    async with made.opened():
        yield made


def moods(rig: Rig, mood: Any, *ids: str) -> None:
    rig.cloud.relay.moods.update(dict.fromkeys(ids, mood))


def states(rig: Rig) -> dict[str, str]:
    return dict(rig.rows("SELECT id, connection_state FROM devices"))


def posts(rig: Rig, id: str | None = None) -> list[str]:
    return [call.remote for call in rig.cloud.relay.calls(id) if call.method == "POST"]


async def test_a_second_cycle_with_nothing_new_is_no_news(rig: Rig) -> None:
    moods(rig, "offline", IDS[0])
    assert (await rig.cycle()).complete
    history = rig.rows("SELECT * FROM history")
    changed = rig.rows("SELECT id, changed_at FROM resources ORDER BY id")
    assert len(history) == 30
    moods(rig, "well", IDS[0])
    moods(rig, "offline", *IDS[1:4])
    moods(rig, "rubbish", IDS[5])
    assert (await rig.cycle()).complete
    assert [(event, id) for id, event in rig.events()[30:]] == [("updated", IDS[0])], "it was heard for the first time"
    assert rig.rows("SELECT id, changed_at FROM resources WHERE id <> ? ORDER BY id", IDS[0]) == [
        row for row in changed if row[0] != IDS[0]
    ]
    assert states(rig) == dict.fromkeys(IDS, "online") | dict.fromkeys(IDS[1:4], "offline") | {IDS[5]: "silent"}
    assert rig.documents()[IDS[1]]["info"] == rig.documents()[IDS[2]]["info"]


async def test_a_cycle_in_which_nothing_changes_changes_no_document_also_of_who_cannot_be_asked(rig: Rig) -> None:
    moods(rig, "slow", *IDS[8:10])
    await rig.cycle()
    [(first,)] = rig.rows("SELECT DISTINCT observed_at FROM devices")
    moods(rig, "offline", *IDS[1:4])
    moods(rig, "rubbish", *IDS[5:8])
    await rig.cycle()
    paths = cloud_relay.Settings(roster=IDS).paths
    read_at = {id: document["readAt"] for id, document in rig.documents().items()}
    assert [read_at[IDS[number]] for number in (0, 1, 5, 8)] == [
        {},
        dict.fromkeys(paths, first),
        dict.fromkeys(paths, first),
        dict.fromkeys(paths, None),
    ]
    before = rig.content()
    for _ in range(2):
        await rig.cycle()
        assert rig.content() == before


async def test_faults_of_half_the_devices_stop_neither_listing_nor_reading_nor_writing(rig: Rig) -> None:
    moods(rig, "offline", *IDS[:5])
    moods(rig, "rubbish", *IDS[5:10])
    moods(rig, "slow", *IDS[10:15])
    rig.declarations = [declare(value(VALUE, "77"))]
    done = await rig.cycle(write=True)
    assert done.error is None
    assert done.complete
    assert done.counts.failed == 15
    assert {rig.cloud.relay.value(id, VALUE) for id in IDS[15:]} == {"77"}
    assert {rig.cloud.relay.value(id, VALUE) for id in IDS[:15]} & {"77"} == set()
    assert dict(rig.rows("SELECT state, count(*) FROM drift GROUP BY 1")) == {"unknown": 15}
    assert rig.cloud.relay.most_per_device == 1


async def test_declared_values_are_written_once_and_kept(rig: Rig) -> None:
    rig.declarations = [declare(value(VALUE, "77"), where=f"id = '{IDS[0]}'")]
    done = await rig.cycle(write=True)
    assert [one.result for one in done.outcomes] == [Result.APPLIED]
    assert posts(rig) == [f"/api/rest/v1/{VALUE}"]
    before = rig.rows("SELECT * FROM history")
    assert (await rig.cycle(write=True)).outcomes == []
    assert rig.rows("SELECT * FROM history") == before
    rig.cloud.relay.operator_edit(IDS[0], VALUE, "5")
    assert [one.result for one in (await rig.cycle(write=True)).outcomes] == [Result.APPLIED]
    assert rig.cloud.relay.value(IDS[0], VALUE) == "77"
    guards = rig.rows("SELECT DISTINCT guard, etag FROM writes")
    assert guards == [("reread", None)]


async def test_the_operator_has_to_allow_it(rig: Rig) -> None:
    rig.settings = replace(rig.settings, weakest_guard=WeakestGuard.ETAG)
    rig.declarations = [declare(value(VALUE, "77"))]
    assert (await rig.cycle(write=True)).outcomes == []
    assert {by for (by,) in rig.rows('SELECT "by" FROM drift')} == {
        'the service has no ETag for it: allow weakest_guard = "reread"'
    }


async def test_a_path_that_nobody_read_yet_is_unknown_beside_one_that_is_known(rig: Rig) -> None:
    rig.declarations = [declare(value(VALUE, "77"), where=f"id = '{IDS[0]}'")]
    await rig.cycle()
    moods(rig, "offline", IDS[0])
    rig.declarations = [*rig.declarations, declare(value(OTHER, "78"), name="other", where=f"id = '{IDS[0]}'")]
    await rig.cycle()
    assert [
        (path.rpartition("analog-value/")[2][:1], state)
        for path, state in rig.rows("SELECT path, state FROM drift ORDER BY 1")
    ] == [
        ("1", "pending"),
        ("2", "unknown"),
    ]
    moods(rig, "well", IDS[0])
    await rig.cycle()
    assert {state for (state,) in rig.rows("SELECT state FROM drift")} == {"pending"}
    assert rig.events()[30:] == [], "what is read for the first time is no news"


async def test_a_write_that_timed_out_is_read_before_anything_else_is_sent(rig: Rig) -> None:
    id = IDS[0]
    rig.declarations = [declare(value(VALUE, "77") | value(OTHER, "78"), where=f"id = '{id}'")]
    rig.http.when(lambda request: request.method == "POST", before=lambda _: moods(rig, "slow", id), times=1)
    await rig.cycle(write=True)
    assert len(posts(rig, id)) == 1
    assert rig.outcomes() == [(id, "open")]
    await rig.cycle(write=True)
    assert (len(posts(rig, id)), rig.outcomes()) == (1, [(id, "open")]), "it cannot be read, so nothing is sent"
    moods(rig, "well", id)
    await rig.cycle(write=True)
    assert rig.outcomes() == [(id, "unknown"), (id, "applied")]
    methods = [
        (call.method, call.remote.partition(OBJECTS)[2][:15])
        for call in rig.cloud.relay.calls(id)
        if OBJECTS in call.remote
    ]
    again = [index for index, (method, _) in enumerate(methods) if method == "POST"]
    assert len(again) == 2
    assert ("GET", methods[again[1]][1]) in methods[again[0] + 1 : again[1]]
    assert [rig.cloud.relay.value(id, path) for path in (VALUE, OTHER)] == ["77", "78"]


async def test_a_failure_inside_a_200_is_a_failure_of_that_value_alone(rig: Rig) -> None:
    rig.settings = replace(rig.settings, own=cloud_relay.Settings(roster=IDS, write_multiple=True))
    rig.declarations = [declare(value(VALUE, "77") | value(INPUT, "1"), where=f"id = '{IDS[0]}'")]
    done = await rig.cycle(write=True)
    assert [(one.result, one.error) for one in done.outcomes] == [(Result.REJECTED, f"{INPUT}: write access denied")]
    assert posts(rig) == [f"/api/rest/v1/{OBJECTS}/write-property-multiple"]
    assert rig.cloud.relay.value(IDS[0], VALUE) == "77"
    await rig.cycle()
    assert [path for (path,) in rig.rows("SELECT path FROM drift")] == [f'"{INPUT}".value']


async def test_a_value_in_other_words_is_said_to_be_so(rig: Rig) -> None:
    rig.declarations = [declare(value(VALUE, "77.50"), where=f"id = '{IDS[0]}'")]
    done = await rig.cycle(write=True)
    assert [one.result for one in done.outcomes] == [Result.IGNORED]
    assert rig.cloud.relay.value(IDS[0], VALUE) == "77.5"


async def test_devices_come_and_go_with_the_hub(make: Callable[..., Rig]) -> None:
    own = cloud_relay.Settings(roster=cloud_relay.FromSource(source="hub"))
    rig = make(settings=replace(SETTINGS, own=own), kinds=("iot-hub", "cloud-relay"), hub_devices=12, relay_shares=WELL)
    async with rig.opened() as mirror:
        refused = await rig.cycle()
        assert "which devices hub has is not known" in str(refused.error)
        assert not refused.complete
        [(told,)] = rig.rows("SELECT error FROM listings WHERE source = 'plant'")
        assert "which devices hub has is not known" in told
        await hub_has(rig, mirror, list(rig.cloud.hub.state.registry.ids))
        assert (await rig.cycle()).complete
        first = next(iter(rig.cloud.hub.state.registry))
        assert states(rig)[first.key[0]] == ("online" if first.is_connected else "offline")
        await hub_has(rig, mirror, list(rig.cloud.hub.state.registry.ids)[1:])
        await hub_has(rig, mirror, list(rig.cloud.hub.state.registry.ids)[1:])
        await rig.cycle()
        gone = rig.rows("SELECT id, gone_reason FROM resources WHERE source = 'plant' AND gone_at IS NOT NULL")
        assert [id for id, _ in gone] == [first.key[0]]
        assert "not found by a read" in gone[0][1]


async def hub_has(rig: Rig, mirror: Any, ids: list[str]) -> None:
    """Let the mirror know the devices of a hub, as its own source would."""
    rows = [
        SourceRow(name="plant", kind="cloud-relay", url="", mode="manual", identity="cloud-relay at here"),
        SourceRow(name="hub", kind="iot-hub", url="", mode="manual", identity="hub"),
    ]
    await mirror.cycles.register(rows, file="config.toml")
    spec = cloud_relay.KIND.specs[DEVICE]
    going = await mirror.listings.begin("hub", spec, await mirror.cycles.begin("hub"))
    resources = tuple(Resource(id=id, document=b"{}") for id in ids)
    await mirror.listings.record(going, [Page(resources=resources, next=None)])
    await mirror.listings.complete(going)
    missed = await mirror.listings.missed(going, twice=True, most=100)
    await mirror.listings.mark_gone(going, [(row, "unseen twice") for row in missed])


async def test_what_a_write_did_not_read_stays_known(rig: Rig) -> None:
    rig.declarations = [declare(value(VALUE, "77") | value(OTHER, "78"), where=f"id = '{IDS[0]}'")]
    await rig.cycle(write=True)
    rig.cloud.relay.operator_edit(IDS[0], VALUE, "5")
    await rig.cycle(write=True)
    assert rig.rows("SELECT * FROM drift") == []


async def test_controllers_that_fail_are_asked_once_for_each_path_and_hold_up_nobody(rig: Rig) -> None:
    sick = IDS[3:13]  # more in a row than a service may fail for
    moods(rig, "hollow", *sick)
    before_s = rig.clock.monotonic_s()
    done = await rig.cycle()
    assert done.complete
    # A minute before it, and the second that pages are collected for: nobody paused between two calls.
    assert rig.clock.monotonic_s() - before_s <= 61.0
    assert states(rig) == dict.fromkeys(IDS, "online") | dict.fromkeys(sick, "silent")
    assert {len(rig.cloud.relay.calls(id)) for id in sick} == {4}
    assert rig.rows("SELECT state, fault FROM sources") == [("up", None)]


async def test_a_relay_that_fails_for_everybody_is_left_alone(rig: Rig) -> None:
    rig.cloud.faults = parse_faults("status=500")
    done = await rig.cycle()
    assert isinstance(done.error, ServerFaultError)
    assert rig.circuit.wait_s
    assert rig.rows("SELECT state, fault FROM sources") == [("down", "service")]


async def test_a_controller_that_wants_another_token_does_not_sign_the_relay_out(rig: Rig) -> None:
    def answer(request: Request) -> None:
        raise error_of(request, Response(status=401, headers={}, body=b""), rig.clock.now())

    rig.http.when(lambda request: f"/{IDS[2]}/" in request.url, before=answer)
    done = await rig.cycle()
    assert done.complete
    assert states(rig)[IDS[2]] == "silent"
    assert rig.rows("SELECT state, fault FROM sources") == [("up", None)]


async def test_an_open_write_to_a_device_that_left_the_roster_is_closed_and_nobody_asks_for_it_again(rig: Rig) -> None:
    rig.declarations = [declare(value(VALUE, "77"), where=f"id = '{IDS[0]}'")]
    rig.http.when(lambda request: request.method == "POST", before=lambda _: moods(rig, "slow", IDS[0]), times=1)
    await rig.cycle(write=True)
    assert rig.outcomes() == [(IDS[0], "open")]

    rig.settings = replace(SETTINGS, own=cloud_relay.Settings(roster=IDS[1:]))
    rig.http.sent.clear()
    for _ in range(3):
        await rig.cycle(write=True)
    assert rig.outcomes() == [(IDS[0], "unknown")]
    assert IDS[0] not in rig.ids()
    assert not any(IDS[0] in request.url for request in rig.http.sent)
