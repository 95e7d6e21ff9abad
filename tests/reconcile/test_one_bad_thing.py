"""P10, and its neighbours: one bad resource or declaration stops nothing else, and hides nothing either."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import pytest

from fleetsync.core.model import CycleId
from fleetsync.errors import InvalidResponseError, UnsafePlanError
from fleetsync.mirror.cycles import SourceRow
from fleetsync.reconcile.reviewed import Reviewed
from fleetsync.reconcile.together import MOST_TROUBLES
from fleetsync.simulator import parse_faults
from fleetsync.transport.http import Request, Response
from tests.fakes.http import CloudHttp, lost, refused
from tests.reconcile.rig import HUB, HUB_OPTIONS, NAME, Rig, declare
from tests.reconcile.test_apply import NAMED, WARM, is_write_to, one, wants

UNSTORABLE = {"displayName": "a\0b"}


async def test_a_held_declaration_keeps_what_it_had_selected_from_lower_ones(rig: Rig) -> None:
    id = one(rig)
    canary = declare({"displayName": "canary"}, name="canary", priority=10, where=f"id = '{id}'")
    base = declare({"displayName": "stable"}, name="base")
    wants(rig, canary, base)
    await rig.cycle(write=True)
    assert rig.truth()[id]["displayName"] == "canary"
    wants(rig, msgspec.structs.replace(canary, where="json_extract(CASE WHEN id > '' THEN '{' END, '$') IS NULL"), base)

    await rig.cycle(write=True)

    assert rig.truth()[id]["displayName"] == "canary"
    [(state, by)] = rig.rows("SELECT state, by FROM drift")
    assert state == "held"
    assert by.startswith("declaration canary is held: ")
    assert {document["displayName"] for document in rig.truth().values()} == {"canary", "stable"}


async def test_a_declaration_that_never_selected_anything_holds_only_itself(rig: Rig) -> None:
    broken = declare({"displayName": "x"}, name="x", priority=10, where="json_extract('{', '$') IS NULL")
    wants(rig, broken, declare(NAMED, name="base"))
    done = await rig.cycle(write=True)
    assert done.counts.applied == 12


async def test_what_is_listed_but_cannot_be_stored_is_not_gone(rig: Rig) -> None:
    await rig.cycle()
    id = rig.ids()[-1]
    rig.cloud.operator_edit(id, UNSTORABLE)
    rig.cloud.faults = parse_faults("short-list=0.95")
    for _ in range(3):  # each time a read says that it is there
        assert (await rig.cycle()).complete
        assert id in rig.ids()
    rig.cloud.faults = ()
    assert (await rig.cycle()).complete
    assert id in rig.ids()


async def test_a_tombstone_that_cannot_be_read_hides_nobody_else_who_is_gone(rig: Rig) -> None:
    await rig.cycle()
    back, away = rig.ids()[:2]
    rig.cloud.delete_device(back)
    await rig.cycle()
    assert back not in rig.ids()
    rig.cloud.add_device(back)
    rig.cloud.operator_edit(back, UNSTORABLE)
    rig.cloud.delete_device(away)
    await rig.cycle()
    assert away not in rig.ids()


async def test_an_open_write_that_cannot_be_read_holds_up_nothing_but_its_resource(rig: Rig) -> None:
    id = one(rig)
    wants(rig, declare(NAMED, where=f"id = '{id}'"))
    rig.http.when(is_write_to(id), before=lambda _: rig.http.when(lambda _: True, before=lost), after=lost)
    await rig.cycle(write=True)
    assert rig.outcomes() == [(id, "open")]
    rig.http.heal()
    rig.http.when(lambda request: request.operation == "read" and f"/{id}?" in request.url, before=refused(500))
    rig.cloud.add_device("a-new-one")
    done = await rig.cycle(write=True)
    assert done.complete
    assert "a-new-one" in rig.ids()
    assert rig.outcomes() == [(id, "open")], "and nothing is sent to it before it was read"


async def test_properties_that_cannot_be_read_stop_no_other_device(rig: Rig) -> None:
    id, other = one(rig), one(rig, 1)
    wants(rig, declare(WARM, where=f"id IN ('{id}', '{other}')"))

    def junk(_request: Request) -> None:
        raise InvalidResponseError("not what was promised")

    for fault in (refused(500), junk):
        rig.http.when(lambda request: f"/{id}/properties" in request.url, before=fault)
        await rig.cycle(write=True)
        assert [outcome for outcome in rig.outcomes() if outcome[1] == "applied"] == [(other, "applied")]
        assert rig.rows("SELECT resource_id, state FROM drift") == [(id, "unknown")]


async def test_an_answer_about_another_device_proves_nothing(rig: Rig) -> None:
    id, other = one(rig), one(rig, 1)
    await rig.cycle()
    rig.cloud.delete_device(id)
    send = rig.http.send
    asked: list[str] = []

    async def mixed_up(request: Request) -> object:
        if request.operation == "read" and f"/{id}?" in request.url:
            asked.append(id)
            request = msgspec.structs.replace(request, url=request.url.replace(id, other))
        return await send(request)

    rig.http.send = mixed_up  # type: ignore[method-assign]  # a service that answers about somebody else
    await rig.cycle()
    assert asked == [id]
    assert id in rig.ids(), "it was not found, and nobody said so"


async def test_a_removed_source_takes_its_part_of_a_declaration_along(rig: Rig) -> None:
    wants(rig, declare(NAMED, name="d"))
    await rig.cycle()
    assert rig.rows("SELECT name, matched FROM declarations") == [("d", 12)]
    other = SourceRow(name="other", kind="iot-central", url="https://other", mode="manual", identity="other")
    await rig.mirror.cycles.register([other], file="config.toml")
    assert rig.rows("SELECT matched, drifting, error FROM declarations") == [(0, 0, None)]
    await rig.mirror.wishes.declare([], CycleId(1), "other")
    assert rig.rows("SELECT name FROM declarations") == []


async def test_a_confirmed_number_is_about_the_listing_that_was_refused_and_no_other(rig: Rig) -> None:
    rig.limit(max_gone=0.2)
    await rig.cycle()
    gone = rig.ids()[:11]
    edit = [rig.cloud.delete_device, rig.cloud.add_device, rig.cloud.delete_device]
    for change in edit:
        for id in gone:
            change(id)
        done = await rig.cycle()
        if change == rig.cloud.delete_device:
            assert isinstance(done.error, UnsafePlanError), "nobody had been asked about these yet"
            await rig.mirror.cycles.confirm(NAME, gone=len(gone))
        else:
            assert done.error is None
    assert len(rig.ids()) == 12
    assert (await rig.cycle()).error is None
    assert len(rig.ids()) == 1


async def test_a_device_of_a_reviewed_plan_that_is_gone_is_named(rig: Rig) -> None:
    wants(rig, declare(NAMED))
    plan = (await rig.cycle()).plan
    assert plan is not None
    reviewed = Reviewed(name="p.json", source=NAME, basis=plan.basis, changes=plan.changes)
    id, met = one(rig), one(rig, 1)
    rig.cloud.delete_device(id)
    rig.cloud.operator_edit(met, NAMED)
    done = await rig.cycle(write=True, reviewed=reviewed)
    assert len(done.outcomes) == 10
    assert [key.id for key in done.skipped] == [id], "and what is as declared by now needs no word"


@dataclass
class Babbling:
    """A service that answers what is no JSON when it is asked for the identity of some devices."""

    http: CloudHttp
    about: str

    async def send(self, request: Request) -> Response:
        response = await self.http.send(request)
        is_babble = request.method == "GET" and f"/devices/{self.about}" in request.url
        return msgspec.structs.replace(response, body=b"<html>") if is_babble else response


@pytest.fixture
def disabling(make: Callable[..., Rig]) -> Rig:
    """Return a rig that wants all devices disabled, of which each is read first, one after the other."""
    rig = make(settings=HUB, **HUB_OPTIONS)
    rig.declarations = [declare({"status": "disabled"})]
    rig.http.at_once = 1
    return rig


async def test_a_device_whose_reading_before_its_write_is_nonsense_stops_no_other(disabling: Rig) -> None:
    first = min(id for id, device in disabling.truth().items() if device["status"] == "enabled")
    disabling.layers = lambda http: Babbling(http, first)
    async with disabling.opened():
        done = await disabling.cycle(write=True)
        outcomes = dict(disabling.outcomes())
    assert outcomes.pop(first) == "failed"
    assert (len(outcomes), set(outcomes.values())) == (10, {"applied"})
    assert (done.errors, done.counts.failed) == ([], 1)


async def test_a_service_that_answers_nothing_but_nonsense_is_left_alone_after_a_few(disabling: Rig) -> None:
    disabling.layers = lambda http: Babbling(http, "")
    async with disabling.opened():
        done = await disabling.cycle(write=True)
        assert [outcome for _, outcome in disabling.outcomes()] == ["failed"] * MOST_TROUBLES
    assert isinstance(done.error, InvalidResponseError)
