"""Lists that lag behind: what they show is believed only where it cannot be older than what is known."""

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import structlog

from fleetsync.core.model import DEVICE
from fleetsync.errors import AuthError, CircuitOpenError
from fleetsync.log import only_known_keys
from fleetsync.providers.iot_hub import CONFIGURATION, MODULE
from fleetsync.simulator import parse_faults
from fleetsync.simulator.iot_hub.fleet import BASELINE_AUTHOR
from fleetsync.simulator.iot_hub.records import Record, row_document
from fleetsync.transport.http import Request, Response
from tests.fakes.http import Killed, is_write, killed, lost, refused
from tests.reconcile.rig import HUB, HUB_OPTIONS, Rig, declare, mirrored, true


def is_twin_read(request: Any) -> bool:
    return request.operation == "twin_read"


def lag(rig: Rig, seconds: float) -> None:
    rig.cloud.hub.state.registry.index.lag_s = seconds


def show(rig: Rig, id: str, record: Record | None) -> None:
    """Let the index show this of a device from now on, whatever it is."""
    rig.cloud.hub.state.registry.index.publish((id, ""), record, at=rig.clock.now().timestamp())


def tagged(rig: Rig, id: str) -> Any:
    return rig.documents()[id].get("tags", {}).get("note")


async def test_a_hub_is_mirrored_with_its_modules_and_configurations(hub: Rig) -> None:
    hub.settings = replace(hub.settings, resources=(DEVICE, MODULE, CONFIGURATION))
    done = await hub.cycle()
    assert done.complete
    assert mirrored(hub) == true(hub)
    assert hub.rows("SELECT count(*) FROM modules WHERE device_id || '/' || module_id = id") == [(3,)]
    assert hub.rows("SELECT count(*) FROM configurations WHERE target_condition IS NOT NULL AND priority >= 0")[0][0]
    assert not hub.http.count(is_twin_read)


async def test_a_second_cycle_with_nothing_new_writes_nothing_and_asks_for_no_device(hub: Rig) -> None:
    await hub.cycle()
    before = hub.content()
    await hub.cycle()
    assert hub.content() == before
    assert not hub.http.count(is_twin_read)


async def test_that_a_device_is_alive_is_stored_and_is_no_event(hub: Rig) -> None:
    await hub.cycle()
    before = hub.events()
    id = hub.ids()[0]
    hub.cloud.hub.state.connect(hub.cloud.hub.state.found(id), connected=False, at=hub.clock.now().timestamp())
    hub.cloud.hub.state.settle(hub.clock.now().timestamp())
    await hub.cycle()
    assert hub.events() == before
    assert hub.rows("SELECT connection_state FROM devices WHERE id = ?", id) == [("Disconnected",)]


async def test_after_a_write_an_older_row_of_the_index_is_not_believed(hub: Rig) -> None:
    await hub.cycle()
    lag(hub, 3600)
    hub.declarations = [declare({"tags": {"note": "ours"}})]
    await hub.cycle(write=True)
    written = hub.events()
    assert hub.outcomes() == [(id, "applied") for id in sorted(hub.truth())]

    done = await hub.cycle(write=True)  # the index still shows what was there before our writes

    assert done.plan is not None
    assert done.plan.is_empty
    assert hub.events() == written
    assert mirrored(hub) == true(hub)
    assert len(hub.carried_out()) == 12


async def test_a_newer_row_is_believed_without_asking(hub: Rig) -> None:
    await hub.cycle()
    id = hub.ids()[3]
    hub.cloud.hub.report(id, {"temperature": 99})
    hub.cloud.hub.operator_edit(id, {"properties": {"desired": {"interval": 7}}})
    await hub.cycle()
    assert mirrored(hub) == true(hub)
    assert hub.events()[-1] == (id, "updated")
    assert not hub.http.count(is_twin_read)


async def test_tags_alone_raise_no_version_so_a_read_decides(hub: Rig) -> None:
    await hub.cycle()
    id = hub.ids()[3]
    hub.cloud.hub.operator_edit(id, {"tags": {"note": "x"}})
    await hub.cycle()
    assert tagged(hub, id) == "x"
    assert hub.http.count(is_twin_read) == 1


async def test_an_identity_that_was_written_is_read_and_the_same_device(hub: Rig) -> None:
    await hub.cycle()
    id = hub.ids()[3]
    hub.cloud.hub.operator_edit(id, {"status": "disabled"})
    await hub.cycle()
    assert hub.events()[-1] == (id, "updated")
    assert hub.rows("SELECT enabled, status FROM devices WHERE id = ?", id) == [(0, "disabled")]


async def test_a_device_made_anew_under_its_id_is_replaced(hub: Rig) -> None:
    await hub.cycle()
    id = hub.ids()[3]
    await hub.clock.advance(10)
    hub.cloud.hub.recreate_device(id, {"tags": {"note": "young"}})
    await hub.cycle()
    assert hub.events()[-1] == (id, "replaced")
    assert mirrored(hub) == true(hub)
    [[patch]] = hub.rows("SELECT patch FROM history WHERE event = 'replaced'")
    assert json.loads(patch)["tags"]["note"] == "young"


async def test_a_replaced_device_is_not_gone_while_the_index_does_not_show_it(hub: Rig) -> None:
    await hub.cycle()
    id = hub.ids()[3]
    await hub.clock.advance(10)
    hub.cloud.hub.delete_device(id)
    hub.cloud.hub.state.settle(hub.clock.now().timestamp())
    lag(hub, 3600)
    hub.cloud.hub.add_device(id)
    await hub.cycle()
    assert id in hub.ids()
    assert hub.events()[-1] == (id, "replaced")


async def test_a_device_that_the_index_lost_is_not_gone_however_often_it_is_not_listed(hub: Rig) -> None:
    await hub.cycle()
    lost_id = hub.ids()[3]
    show(hub, lost_id, None)
    for _ in range(3):
        await hub.cycle()
        assert lost_id in hub.ids()
    assert {event for _, event in hub.events()} == {"added"}


async def test_a_device_is_gone_by_the_service_s_own_word_and_stays_so_while_the_index_still_shows_it(hub: Rig) -> None:
    await hub.cycle()
    id = hub.ids()[3]
    old = hub.cloud.hub.state.found(id)
    hub.cloud.hub.delete_device(id)
    await hub.cycle()
    assert hub.events()[-1] == (id, "gone")
    [[reason]] = hub.rows("SELECT gone_reason FROM resources WHERE id = ?", id)
    assert "not found by a read (request " in reason
    # Some replica of the index shows it again, as it was.
    show(hub, id, old)
    await hub.cycle()
    assert id not in hub.ids()
    assert hub.events()[-1] == (id, "gone")


async def test_an_older_row_under_the_same_etag_is_not_believed(hub: Rig) -> None:
    """What a device reports does not change the ETag; the versions tell."""
    await hub.cycle()
    id = hub.ids()[3]
    old = hub.cloud.hub.state.found(id)
    hub.cloud.hub.report(id, {"temperature": 99})
    show(hub, id, None)
    await hub.cycle()  # a read shows what it reported
    show(hub, id, old)
    before = hub.events()
    await hub.cycle()
    assert mirrored(hub)[id] == true(hub)[id]
    assert hub.events() == before


async def test_what_comes_back_is_returned(hub: Rig) -> None:
    await hub.cycle()
    id = hub.ids()[3]
    hub.cloud.hub.delete_device(id)
    await hub.cycle()
    hub.cloud.hub.add_device(id)
    await hub.cycle()
    assert [event for one, event in hub.events() if one == id] == ["added", "gone", "returned"]
    assert mirrored(hub) == true(hub)


async def test_a_failing_over_hub_makes_nothing_gone(hub: Rig) -> None:
    await hub.cycle()
    id = hub.ids()[3]
    hub.cloud.hub.delete_device(id)
    answer = b'{"Message":"ErrorCode:IotHubFailingOver;moving","ExceptionMessage":""}'
    hub.http.when(is_twin_read, before=refused(404, answer))
    for _ in range(3):  # however many listings agree
        await hub.cycle()
        assert id in hub.ids()
    hub.http.heal()
    await hub.cycle()
    assert id not in hub.ids()


async def test_a_doubt_that_cannot_be_cleared_leaves_what_is_known_and_comes_back(hub: Rig) -> None:
    await hub.cycle()
    id = hub.ids()[3]
    hub.cloud.hub.operator_edit(id, {"tags": {"note": "x"}})
    hub.http.when(is_twin_read, before=lost)
    done = await hub.cycle()
    assert done.complete
    assert tagged(hub, id) is None
    hub.http.heal()
    await hub.cycle()
    assert tagged(hub, id) == "x"


async def test_a_service_that_answers_no_read_at_all_cuts_the_listing_short(hub: Rig) -> None:
    await hub.cycle()
    for id in hub.ids():
        hub.cloud.hub.operator_edit(id, {"tags": {"note": "x"}})
    hub.http.when(is_twin_read, before=lost)
    done = await hub.cycle()
    assert isinstance(done.error, CircuitOpenError)
    assert done.error.fault == "network"
    hub.http.heal()
    await hub.cycle()
    assert mirrored(hub) == true(hub)


async def test_a_listing_far_below_the_registry_s_own_count_is_refused_even_the_first(hub: Rig) -> None:
    hub.limit(max_gone=0.2)
    hub.cloud.faults = parse_faults("short-list=0.7")
    done = await hub.cycle()
    assert "8 are in it, and the service itself counts 12" in str(done.error)
    assert not done.complete
    assert len(hub.ids()) == 8
    assert hub.rows("SELECT state, listed, counted FROM listing") == [("refused", 8, 12)]


async def test_a_listing_a_little_below_the_registry_s_own_count_makes_nothing_gone(hub: Rig) -> None:
    await hub.cycle()
    gone_id, *_ = hub.ids()
    hub.cloud.hub.delete_device(gone_id)
    hub.cloud.faults = parse_faults("short-list=0.9")
    record = "SELECT state, listed, shown, unseen, counted, agrees, error FROM listings ORDER BY id DESC LIMIT 1"
    with structlog.testing.capture_logs(processors=[only_known_keys]) as said:
        for _ in range(2):
            done = await hub.cycle()
            assert (done.complete, done.counts.gone) == (True, 0)
            reason = "the service itself counts 11, and its list shows 9"
            assert hub.rows(record) == [("complete", 9, 9, 3, 11, 0, reason)]
        hub.cloud.faults = ()
        await hub.cycle()
    told = [(one["event"], one.get("reason")) for one in said if one["event"].startswith("listing.")]
    assert told == [("listing.disagrees", reason), ("listing.agrees", None)]
    assert hub.events()[-1] == (gone_id, "gone")
    [[number, why]] = hub.rows(
        "SELECT (SELECT max(id) FROM listings), gone_reason FROM resources WHERE id = ?", gone_id
    )
    assert re.fullmatch(rf"unseen by the complete listing {number}, and not found by a read \(request \S+\)", why)


async def test_without_the_right_to_count_the_listing_is_judged_alone(hub: Rig) -> None:
    answer = b'{"Message":"ErrorCode:IotHubUnauthorizedAccess;no right","ExceptionMessage":""}'
    hub.http.when(lambda request: "/statistics/" in request.url, before=refused(401, answer))
    hub.settings = replace(hub.settings, resources=(DEVICE, MODULE, CONFIGURATION))
    done = await hub.cycle()
    assert done.complete
    assert done.error is None
    assert hub.circuit.error is None


async def test_a_sign_in_that_ends_before_the_count_is_not_hidden_by_a_listing_that_went_well(hub: Rig) -> None:
    def end_of_the_secret(_: Request) -> None:
        raise AuthError("sign-in was refused: the secret has ended")

    hub.http.when(lambda request: "/statistics/" in request.url, before=end_of_the_secret)
    done = await hub.cycle()

    assert done.complete
    assert hub.rows("SELECT state, counted FROM listings") == [("complete", None)]
    assert hub.circuit.wait_s
    assert isinstance(done.error, CircuitOpenError)
    found = "SELECT state, fault, error, probe_at IS NOT NULL FROM sources"
    assert hub.rows(found) == [("refused", "sign-in", "sign-in was refused: the secret has ended", 1)]
    hub.http.heal()
    assert (await hub.cycle()).error is None
    assert hub.rows(found) == [("up", None, None, 0)]


@pytest.mark.parametrize("seed", range(6))
async def test_however_the_index_lags_the_mirror_ends_as_the_hub_is(make: Callable[..., Rig], seed: int) -> None:
    """Operators, devices and deletions go on while cycles run; once the index has settled all is as it is."""
    rig = make(settings=HUB, seed=seed + 1, hub_page_size=4, **HUB_OPTIONS | {"hub_devices": 30, "index_lag_s": 60.0})
    dice = random.Random(seed)
    hub = rig.cloud.hub
    async with rig.opened():
        await rig.cycle()
        known = set(rig.ids())
        began = len(hub.happenings())
        for _ in range(12):
            for _ in range(6):
                await rig.clock.advance(dice.random() * 10)
                ids = sorted(rig.truth())
                id = dice.choice(ids)
                match dice.randrange(6):
                    case 0:
                        hub.recreate_device(id)
                    case 1:
                        hub.delete_device(id)
                    case 2:
                        hub.add_device(f"new-{dice.randrange(8)}-{len(hub.happenings())}")
                    case 3:
                        hub.operator_edit(id, {"tags": {"note": str(dice.random())}})
                    case 4:
                        hub.report(id, {"temperature": dice.random()})
                    case _:
                        hub.operator_edit(id, {"status": dice.choice(["enabled", "disabled"])})
            await rig.cycle()
        await rig.clock.advance(120)
        await rig.cycle()
        await rig.cycle()
        assert mirrored(rig) == true(rig)
        log = hub.happenings()[began:]
        deleted = {one.device_id for one in log if one.what in ("deleted", "recreated")}
        events = rig.events()
        assert {id for id, event in events if event in ("gone", "replaced")} <= deleted
        # What was deleted for good, and was known, is gone; nothing else is.
        gone = {id for (id,) in rig.rows("SELECT id FROM resources WHERE gone_at IS NOT NULL")}
        assert known - set(rig.truth()) <= gone
        assert not gone & set(rig.truth())


async def grow(hub: Rig, id: str, times: int = 100) -> None:
    """Let a device count higher than it ever did."""
    for number in range(times):
        hub.cloud.hub.report(id, {"temperature": number})
        hub.cloud.hub.operator_edit(id, {"properties": {"desired": {"interval": number}}})


async def test_where_the_incarnation_is_known_it_tells_what_no_version_does(hub: Rig) -> None:
    await hub.cycle()
    id, other = hub.ids()[3:5]
    hub.declarations = [declare({"statusReason": "known"}, where=f"id IN ('{id}', '{other}')")]
    await hub.cycle(write=True)  # it puts the identity, whose answer names the incarnation
    hub.declarations = []
    hub.cloud.hub.recreate_device(id)
    await grow(hub, id)
    hub.cloud.hub.operator_edit(other, {"status": "disabled"})
    await hub.cycle()
    assert [event for one, event in hub.events() if one == id and event != "released"][-1] == "replaced"
    assert [event for one, event in hub.events() if one == other and event != "released"][-1] == "updated"
    assert mirrored(hub) == true(hub)
    # What was known of the one before is forgotten.
    assert hub.rows("SELECT id FROM resource WHERE details IS NOT NULL") == [(other,)]


async def test_a_write_to_a_device_that_was_made_anew_is_not_called_failed_by_an_etag_that_both_have(hub: Rig) -> None:
    await hub.cycle()
    id = hub.ids()[3]
    hub.cloud.hub.recreate_device(id)
    await hub.cycle()
    hub.declarations = [declare({"tags": {"note": "ours"}}, where=f"id = '{id}'")]

    def made_anew(request: Request) -> None:
        hub.cloud.hub.recreate_device(id)
        lost(request)

    hub.http.when(is_write, after=made_anew, times=1)
    await hub.cycle(write=True)
    [(outcome, etag)] = hub.rows("SELECT outcome, etag FROM writes WHERE resource_id = ?", id)
    assert etag == hub.truth()[id]["etag"], "what begins anew begins with the same ETag"
    assert outcome == "unknown"


async def know_incarnations(hub: Rig, *ids: str) -> None:
    """Put identities: the answers name the incarnations."""
    hub.declarations = [declare({"statusReason": "known"}, where=f"id IN {(*ids, '')}")]
    await hub.cycle(write=True)
    hub.declarations = []


def happened_to(hub: Rig, id: str) -> list[str]:
    return [event for one, event in hub.events() if one == id and event != "released"]


def is_identity_read(request: Any) -> bool:
    return request.method == "GET" and "/devices/" in request.url and "/statistics/" not in request.url


async def test_what_returned_is_not_compared_with_the_one_before(hub: Rig) -> None:
    await hub.cycle()
    id = hub.ids()[3]
    await know_incarnations(hub, id)
    hub.cloud.hub.delete_device(id)
    await hub.cycle()
    hub.cloud.hub.add_device(id)
    await hub.cycle()
    await hub.clock.advance(10)
    hub.cloud.hub.operator_edit(id, {"status": "disabled"})
    await hub.cycle()
    assert happened_to(hub, id) == ["added", "updated", "gone", "returned", "updated"]


async def test_the_incarnation_is_asked_for_only_where_the_identity_was_written(hub: Rig) -> None:
    """The registry takes 100 requests a minute, and the index may lag for half an hour."""
    await hub.cycle()
    lag(hub, 3600)
    await know_incarnations(hub, *hub.ids())
    before = hub.http.count(is_identity_read)
    hub.cloud.hub.operator_edit(hub.ids()[3], {"tags": {"note": "x"}})
    await hub.cycle()  # the index shows all as they were before
    assert hub.http.count(is_twin_read) >= 12
    assert hub.http.count(is_identity_read) == before


async def test_a_device_made_anew_that_is_found_by_a_read_alone_is_replaced(hub: Rig) -> None:
    await hub.cycle()
    id = hub.ids()[3]
    await know_incarnations(hub, id)
    hub.cloud.hub.recreate_device(id)
    await grow(hub, id)
    show(hub, id, None)
    await hub.cycle()
    assert happened_to(hub, id)[-1] == "replaced"


@pytest.mark.parametrize("places", [(1, 1), (1, 2)])
async def test_of_two_descriptions_in_one_listing_the_older_is_not_believed(hub: Rig, places: tuple[int, int]) -> None:
    """Rows come in no order, and may stand on two pages."""
    await hub.cycle()
    id = hub.ids()[0]
    rows = []
    for temperature in (1, 2):
        hub.cloud.hub.report(id, {"temperature": temperature})
        rows.append(row_document(hub.cloud.hub.state.found(id)))
    newest_first = list(zip(places, reversed(rows), strict=True))
    send, pages = hub.http.send, 0

    async def twice(request: Request) -> Response:
        nonlocal pages
        response = await send(request)
        if request.operation != "query":
            return response
        pages += 1
        found = [row for row in json.loads(response.body) if row["deviceId"] != id]
        found += [row for page, row in newest_first if page == pages]
        return msgspec.structs.replace(response, body=json.dumps(found, separators=(",", ":")).encode())

    hub.http.send = twice  # type: ignore[method-assign]  # a list that changes while it is read
    await hub.cycle()
    assert mirrored(hub)[id] == true(hub)[id]
    assert happened_to(hub, id) == ["added", "updated"]


async def test_a_kill_between_doubts_costs_no_page_that_was_settled(hub: Rig) -> None:
    await hub.cycle()
    for id in hub.ids():
        hub.cloud.hub.operator_edit(id, {"tags": {"note": "x"}})
    hub.http.when(lambda request: is_twin_read(request) and hub.http.count(is_twin_read) == 8, before=killed)
    with pytest.raises(Killed):
        await hub.cycle()
    hub.http.heal()
    assert [tagged(hub, id) for id in hub.ids()].count("x") == 5, "a page"
    done = await hub.cycle()
    assert done.counts.pages == 2, "it went on where it was"
    assert mirrored(hub) == true(hub)
    assert {event for _, event in hub.events()} == {"added", "updated"}


@pytest.mark.parametrize("where", ["listed", "not listed"])
async def test_what_could_not_be_read_is_counted_and_named(hub: Rig, where: str) -> None:
    await hub.cycle()
    id = hub.ids()[3]
    if where == "listed":
        hub.cloud.hub.operator_edit(id, {"tags": {"note": "x"}})
    else:
        show(hub, id, None)
    hub.http.when(is_twin_read, before=refused(400))
    with structlog.testing.capture_logs(processors=[only_known_keys]) as said:
        done = await hub.cycle()
    assert (done.complete, done.counts.failed) == (True, 1)
    [line] = [line for line in said if line["event"] == "listing.passed_over"]
    assert (line["type"], line["resource"], line["failed"]) == ("device", id, 1)
    assert "400" in line["reason"]


@pytest.mark.parametrize(("status", "left"), [(401, "open"), (403, "failed"), (429, "open")])
async def test_a_refusal_in_the_middle_of_doubts_believes_nothing(hub: Rig, status: int, left: str) -> None:
    await hub.cycle()
    for id in hub.ids():
        hub.cloud.hub.operator_edit(id, {"tags": {"note": "x"}})
    before = hub.events()
    hub.http.when(is_twin_read, before=refused(status))
    done = await hub.cycle()
    assert not done.complete
    assert hub.events() == before
    assert hub.rows("SELECT state FROM listing ORDER BY id DESC LIMIT 1") == [(left,)]
    hub.http.heal()
    await hub.cycle()
    assert mirrored(hub) == true(hub)


async def test_what_a_configuration_took_over_meanwhile_is_not_written_again(hub: Rig) -> None:
    await hub.cycle()
    id = next(id for id, twin in sorted(hub.truth().items()) if "$lastUpdatedBy" in json.dumps(twin))
    desired = hub.truth()[id]["properties"]["desired"]
    [name] = [
        name for name, said in desired["$metadata"].items() if "$lastUpdatedBy" in json.dumps(said) and name[0] != "$"
    ]
    hub.declarations = [declare({"properties": {"desired": {name: "ours"}}}, where=f"id = '{id}'")]
    await hub.cycle(write=True)
    assert hub.writes() == []
    assert hub.rows('SELECT state, "by" FROM drift') == [
        ("contested", "the hub's automatic configuration 'canary-baseline'")
    ]


async def test_a_key_that_a_configuration_takes_over_between_plan_and_write_is_left_to_it(hub: Rig) -> None:
    await hub.cycle()
    id = sorted(hub.truth())[0]
    hub.declarations = [declare({"properties": {"desired": {"level": 5}}}, where=f"id = '{id}'")]

    def take_over(_request: Any) -> None:
        state, at = hub.cloud.hub.state, hub.clock.now().timestamp()
        record = state.found(id)
        desired = record.twin.desired.merged({"level": 9}, at=at, author=BASELINE_AUTHOR)
        state.registry.put(replace(record, twin=record.twin.desiring(desired).touched()), at=at)

    hub.http.when(is_write, before=take_over, times=1)
    await hub.cycle(write=True)
    assert hub.truth()[id]["properties"]["desired"]["level"] == 9
    assert hub.carried_out() == []
    assert hub.outcomes() == [(id, "conflict"), (id, "conflict")]
    assert hub.rows("SELECT state FROM drift") == [("contested",)]
