"""Cycles that write: what the service saw, what it has now, and what the journal says."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest

from fleetsync.config.settings import WeakestGuard
from fleetsync.core.breaker import MOST_FAILING
from fleetsync.core.declaration import ABSENT
from fleetsync.core.model import DEVICE, CycleId
from fleetsync.core.plan import GuardKind
from fleetsync.errors import (
    AuthError,
    CircuitOpenError,
    FleetsyncError,
    ThrottledError,
    TransientError,
    UnsafePlanError,
)
from fleetsync.mirror.journal import Attempt
from fleetsync.providers.base import Target
from fleetsync.providers.iot_central import STABLE, Settings
from fleetsync.reconcile.apply import MOST_ATTEMPTS, MOST_TROUBLES, Apply
from fleetsync.simulator import parse_faults
from fleetsync.transport.http import Http, Request, Response
from tests.fakes.http import CloudHttp, Hook, is_write, lost, refused
from tests.reconcile.rig import HUB, HUB_OPTIONS, Rig, declare

NAMED = {"displayName": "as declared"}
WARM = {"properties": {"targetTemperature": 21.5}}


def named(rig: Rig) -> list[str]:
    return [id for id, document in rig.truth().items() if document["displayName"] == "as declared"]


def wants(rig: Rig, *declarations: Any) -> None:
    rig.declarations = declarations


def one(rig: Rig, number: int = 0) -> str:
    """Return the id of a device that lists itself and answers to its desired properties."""
    return sorted(rig.truth())[number]


def is_write_to(id: str) -> Callable[[Request], bool]:
    return lambda request: request.method == "PATCH" and f"/{id}?" in request.url


# What is written, and under which guard


async def test_what_is_declared_is_written_once_and_nothing_else(rig: Rig) -> None:
    await rig.cycle()
    before = rig.truth()
    wants(rig, declare(NAMED))

    done = await rig.cycle(write=True)

    assert (done.counts.planned, done.counts.applied) == (12, 12)
    after = rig.truth()
    assert after == {
        id: {**document, "displayName": "as declared", "etag": after[id]["etag"]} for id, document in before.items()
    }
    assert rig.documents() == after
    assert rig.outcomes() == [(id, "applied") for id in sorted(before)]
    assert rig.rows("SELECT COUNT(*) FROM drift") == [(0,)]


async def test_every_write_of_a_document_carries_the_current_etag_in_quotes(rig: Rig) -> None:
    wants(rig, declare(NAMED))

    await rig.cycle(write=True)

    books = rig.cloud.counters
    assert books.if_match_current == 12
    assert books.if_match_star == books.if_match_unquoted == books.if_match_missing == books.if_match_stale == 0


async def test_the_stable_version_gets_the_etag_in_the_body_and_is_read_before_and_after(rig: Rig) -> None:
    rig.settings = replace(rig.settings, own=Settings(api_version=STABLE))
    wants(rig, declare(NAMED, where=f"id = '{one(rig)}'"))

    await rig.cycle(write=True)

    assert named(rig) == [one(rig)]
    assert rig.cloud.counters.body_etag_current == 1
    operations = [request.operation for request in rig.http.sent][-3:]
    assert operations == ["read", "write", "read"]


async def test_a_second_cycle_after_an_apply_changes_nothing(rig: Rig) -> None:
    wants(rig, declare(NAMED), declare(WARM, name="warm"))
    await rig.cycle(write=True)
    await rig.clock.advance(60)
    await rig.cycle(write=True)
    before, writes = rig.content(), rig.writes()

    await rig.cycle(write=True)

    assert rig.content() == before
    assert rig.writes() == writes


async def test_without_the_word_to_write_a_cycle_only_says_what_it_would_do(rig: Rig) -> None:
    wants(rig, declare(NAMED))

    done = await rig.cycle()

    assert done.plan is not None
    assert len(done.plan.changes) == done.counts.planned == 12
    assert rig.writes() == []
    assert rig.rows("SELECT DISTINCT path, declared, state FROM drift") == [("displayName", '"as declared"', "pending")]
    assert rig.rows("SELECT drifting FROM sources") == [(12,)]
    assert rig.rows("SELECT matched, drifting, error FROM declarations") == [(12, 12, None)]


async def test_a_member_that_must_not_be_there_is_taken_away(rig: Rig) -> None:
    id = next(id for id, document in rig.truth().items() if "organizations" in document)
    wants(rig, msgspec.structs.replace(declare({}, where=f"id = '{id}'"), leaves={("organizations",): ABSENT}))

    await rig.cycle(write=True)

    assert "organizations" not in rig.truth()[id]
    assert rig.outcomes() == [(id, "applied")]


async def test_the_same_mirror_and_declarations_give_the_same_plan(rig: Rig) -> None:
    first, second = declare(NAMED, priority=1), declare({"displayName": "no", "enabled": True}, name="other")
    wants(rig, first, second)
    one_plan = (await rig.cycle()).plan
    wants(rig, second, first)

    other_plan = (await rig.cycle()).plan

    assert one_plan == other_plan
    assert one_plan is not None
    assert list(one_plan.changes) == sorted(one_plan.changes, key=lambda change: (change.key, change.part))


# Safety


async def test_a_plan_with_too_many_writes_sends_none_of_them(rig: Rig) -> None:
    rig.limit(max_writes=0.3)
    wants(rig, declare(NAMED))

    done = await rig.cycle(write=True)

    assert isinstance(done.error, UnsafePlanError)
    assert "confirm plant --writes 12" in str(done.error)
    assert rig.writes() == []
    assert rig.outcomes() == []
    assert rig.rows("SELECT state FROM sources") == [("refused",)]


async def test_a_confirmed_number_of_writes_holds_for_that_number_exactly_once(rig: Rig) -> None:
    rig.limit(max_writes=0.3)
    wants(rig, declare(NAMED))
    assert rig.mirror is not None
    assert isinstance((await rig.cycle(write=True)).error, UnsafePlanError)
    with pytest.raises(FleetsyncError, match="11 writes were not refused; what waits is --writes 12"):
        await rig.mirror.cycles.confirm("plant", writes=11)
    assert isinstance((await rig.cycle(write=True)).error, UnsafePlanError)
    await rig.mirror.cycles.confirm("plant", writes=12)

    assert (await rig.cycle(write=True)).error is None
    assert len(named(rig)) == 12

    wants(rig, declare({"displayName": "another"}))
    assert isinstance((await rig.cycle(write=True)).error, UnsafePlanError)
    assert len(named(rig)) == 12


async def test_a_word_about_a_plan_is_void_once_there_is_another(rig: Rig) -> None:
    rig.limit(max_writes=0.3)
    assert rig.mirror is not None
    twelve, eleven = declare(NAMED), declare(NAMED, where=f"id <> '{one(rig)}'")
    for between in (eleven, declare(NAMED, where=f"id = '{one(rig)}'")):
        wants(rig, twelve)
        assert isinstance((await rig.cycle(write=True)).error, UnsafePlanError)
        await rig.mirror.cycles.confirm("plant", writes=12)
        wants(rig, between)
        await rig.cycle(write=True)
        wants(rig, twelve)
        rig.cloud.operator_edit(one(rig), {"displayName": "once more"})
        assert isinstance((await rig.cycle(write=True)).error, UnsafePlanError)
    assert len(named(rig)) == 0


async def test_a_plan_that_stays_within_its_limit_leaves_nothing_to_confirm(rig: Rig) -> None:
    rig.limit(max_writes=0.3)
    wants(rig, declare(NAMED))
    assert rig.mirror is not None
    assert isinstance((await rig.cycle(write=True)).error, UnsafePlanError)
    wants(rig)
    await rig.cycle(write=True)
    with pytest.raises(FleetsyncError, match="what waits is nothing"):
        await rig.mirror.cycles.confirm("plant", writes=12)


async def test_nothing_is_written_to_a_type_that_was_not_listed_to_its_end(rig: Rig) -> None:
    await rig.cycle()
    wants(rig, declare(NAMED))
    rig.cloud.faults = parse_faults("no-value@2")

    done = await rig.cycle(write=True)

    assert done.plan is not None
    assert done.plan.is_empty
    assert rig.writes() == []


async def test_a_guard_that_the_operator_does_not_allow_holds_the_leaf(rig: Rig) -> None:
    rig.settings = replace(rig.settings, weakest_guard=WeakestGuard.ETAG)
    wants(rig, declare(NAMED | WARM, where=f"id = '{one(rig)}'"))

    await rig.cycle(write=True)

    assert [write.members for write in rig.writes()] == [("displayName",)]
    assert rig.rows("SELECT path, state FROM drift") == [("properties.targetTemperature", "held")]
    assert 'weakest_guard = "reread"' in rig.rows('SELECT "by" FROM drift')[0][0]


# Somebody else writes as well


async def test_an_edit_between_plan_and_patch_survives_beside_what_is_declared(rig: Rig) -> None:
    id = one(rig)
    wants(rig, declare(NAMED, where=f"id = '{id}'"))
    rig.http.when(is_write, before=lambda _: rig.cloud.operator_edit(id, {"enabled": False, "note": "x"}), times=1)

    done = await rig.cycle(write=True)

    assert done.counts.applied == 1
    assert rig.outcomes() == [(id, "conflict"), (id, "applied")]
    assert rig.rows("SELECT attempt, status FROM writes ORDER BY id") == [(1, 412), (2, 200)]
    document = rig.truth()[id]
    assert (document["displayName"], document["enabled"], document["note"]) == ("as declared", False, "x")
    assert rig.documents() == rig.truth()


async def test_an_edit_that_does_what_was_declared_leaves_nothing_to_write(rig: Rig) -> None:
    id = one(rig)
    wants(rig, declare(NAMED, where=f"id = '{id}'"))
    rig.http.when(is_write, before=lambda _: rig.cloud.operator_edit(id, NAMED), times=1)

    done = await rig.cycle(write=True)

    assert rig.outcomes() == [(id, "conflict"), (id, "already")]
    assert rig.carried_out() == []
    assert done.counts.applied == 1


async def test_an_edit_at_every_attempt_ends_in_a_conflict_and_not_in_a_loop(rig: Rig) -> None:
    id = one(rig)
    wants(rig, declare(NAMED))
    edits = iter(range(1000))
    rig.http.when(is_write_to(id), before=lambda _: rig.cloud.operator_edit(id, {"note": next(edits)}))

    done = await rig.cycle(write=True)

    assert [outcome for who, outcome in rig.outcomes() if who == id] == ["conflict"] * MOST_ATTEMPTS
    assert done.counts.conflicted == 1
    assert len(named(rig)) == 11
    assert next(edits) == MOST_ATTEMPTS
    assert rig.documents()[id]["displayName"] != "as declared"


async def test_a_device_without_an_etag_on_the_second_look_is_not_written_without_a_guard(rig: Rig) -> None:
    """The operator allows ETags only; a 412, and then a read that shows none, are no way round that."""
    rig.settings = replace(rig.settings, weakest_guard=WeakestGuard.ETAG)
    id = one(rig)
    wants(rig, declare(NAMED, where=f"id = '{id}'"))
    rig.layers = EtagsVanish
    rig.http.when(is_write, before=lambda _: rig.cloud.operator_edit(id, {"note": "x"}), times=1)

    done = await rig.cycle(write=True)

    assert rig.carried_out() == []
    assert rig.cloud.counters.if_match_missing == 0
    assert named(rig) == []
    assert done.counts.conflicted == 1


@dataclass
class EtagsVanish:
    """Takes the etag out of what single reads answer."""

    http: Http

    async def send(self, request: Request) -> Response:
        response = await self.http.send(request)
        if request.operation != "read":
            return response
        document = json.loads(response.body)
        document.pop("etag", None)
        return msgspec.structs.replace(response, body=json.dumps(document).encode())


async def test_devices_that_vanish_before_their_write_do_not_stop_the_others(rig: Rig) -> None:
    wants(rig, declare(NAMED))
    vanished = sorted(rig.truth())[: MOST_TROUBLES + 3]

    def vanish(_request: Request) -> None:
        for id in vanished:
            rig.cloud.delete_device(id)

    rig.http.when(is_write, before=vanish, times=1)

    done = await rig.cycle(write=True)

    assert done.error is None
    assert len(named(rig)) == len(rig.truth()) == 12 - len(vanished)
    assert done.counts.failed == len(vanished)


async def test_devices_that_the_service_does_not_accept_do_not_stop_the_others(rig: Rig) -> None:
    wants(rig, declare({"template": "dtmi:contoso:nothing;1"}, where="id NOT LIKE '%0001_'"), declare(NAMED, "name"))

    done = await rig.cycle(write=True)

    refused_ids = {id for id in rig.truth() if not id[:-1].endswith("0001")}
    assert {write.id for write in rig.writes() if write.status == 400} == refused_ids
    assert set(named(rig)) == set(rig.truth()) - refused_ids
    assert done.error is None
    assert Counter(outcome for _, outcome in rig.outcomes()) == {
        "rejected": len(refused_ids),
        "applied": 12 - len(refused_ids),
    }


async def test_a_service_that_fails_at_every_write_is_left_alone_after_a_few(make: Callable[..., Rig]) -> None:
    rig = make(devices=60)
    wants(rig, declare(NAMED))
    rig.http.when(lambda request: request.operation != "list", before=refused(503))
    async with rig.opened():
        done = await rig.cycle(write=True)

        assert isinstance(done.error, CircuitOpenError)
        assert done.error.fault == "service"
        # Those that were on their way when the fifth failed; then nothing more, not even the reads that would tell.
        assert rig.http.count(is_write) <= rig.http.at_once
        assert rig.http.count(lambda request: request.operation == "read") < MOST_FAILING
        assert rig.carried_out() == []
        # What was sent may have been carried out; what was meant to be and did not leave any more was not.
        left = Counter(outcome for _, outcome in rig.outcomes())
        assert left == {"open": rig.http.count(is_write), "failed": left["failed"]}
        assert sum(left.values()) <= 2 * rig.http.at_once


async def test_a_throttled_write_ends_the_writing_and_is_no_loss(rig: Rig) -> None:
    wants(rig, declare(NAMED))
    rig.http.on(9, before=refused(429))

    done = await rig.cycle(write=True)

    assert isinstance(done.error, ThrottledError)
    assert rig.rows("SELECT state FROM sources") == [("throttled",)]
    rig.http.heal()
    await rig.cycle(write=True)
    assert len(named(rig)) == 12
    assert Counter(write.id for write in rig.carried_out()) == dict.fromkeys(rig.truth(), 1)


async def test_a_part_that_may_not_be_written_is_given_up_and_the_others_are_written(make: Callable[..., Rig]) -> None:
    rig = make(devices=60)
    wants(rig, declare({**NAMED, **WARM}))
    rig.http.when(lambda request: is_write(request) and "/properties?" in request.url, before=refused(403))
    async with rig.opened():
        done = await rig.cycle(write=True)

        assert isinstance(done.error, AuthError)
        assert [trouble.type for trouble in done.troubles] == [DEVICE]
        assert len(named(rig)) == 60
        rejected = [id for id, outcome in rig.outcomes() if outcome == "rejected"]
        assert MOST_TROUBLES <= len(rejected) <= MOST_TROUBLES + rig.http.at_once
        assert done.complete
        assert rig.rows("SELECT outcome FROM cycles") == [("refused",)]
        assert rig.rows("SELECT state, fault, probe_at FROM sources") == [("refused", "sign-in", None)]


async def test_a_part_that_may_not_be_read_stays_unknown_and_the_others_are_written(make: Callable[..., Rig]) -> None:
    rig = make(devices=60)
    wants(rig, declare({**NAMED, **WARM}))
    reads = refused(403)
    rig.http.when(lambda request: request.method == "GET" and "/properties?" in request.url, before=reads)
    async with rig.opened():
        done = await rig.cycle(write=True)

        assert isinstance(done.error, AuthError)
        assert [trouble.type for trouble in done.troubles] == [DEVICE]
        assert len(named(rig)) == 60
        assert rig.http.count(lambda request: "/properties?" in request.url) <= MOST_TROUBLES + rig.http.at_once
        assert rig.rows("SELECT DISTINCT state FROM drift WHERE path LIKE 'properties%'") == [("unknown",)]
        assert not rig.circuit.wait_s


# Lost answers


async def test_a_write_whose_answer_was_lost_after_it_was_carried_out_is_applied_and_not_sent_again(rig: Rig) -> None:
    wants(rig, declare(NAMED))
    rig.http.when(is_write_to(one(rig)), after=lost)

    done = await rig.cycle(write=True)
    await rig.cycle(write=True)

    assert done.error is None
    assert done.counts.applied == 12
    assert rig.outcomes() == [(id, "applied") for id in sorted(rig.truth())]
    assert Counter(write.id for write in rig.carried_out()) == dict.fromkeys(rig.truth(), 1)
    assert rig.documents() == rig.truth()


async def test_a_write_that_was_lost_on_its_way_is_known_to_have_failed_and_is_sent_by_the_next_cycle(rig: Rig) -> None:
    id = one(rig)
    wants(rig, declare(NAMED, where=f"id = '{id}'"))
    rig.http.when(is_write, before=lost, times=1)

    await rig.cycle(write=True)
    assert rig.outcomes() == [(id, "failed")]
    await rig.cycle(write=True)

    assert rig.outcomes() == [(id, "failed"), (id, "applied")]
    assert len(rig.carried_out()) == 1


async def test_a_lost_write_that_somebody_wrote_over_says_that_nobody_knows(rig: Rig) -> None:
    id = one(rig)
    wants(rig, declare(NAMED, where=f"id = '{id}'"))

    def overwrite(request: Request) -> None:
        rig.cloud.operator_edit(id, {"displayName": "mine"})
        lost(request)

    rig.http.when(is_write, after=overwrite, times=1)

    await rig.cycle(write=True)

    assert rig.outcomes() == [(id, "unknown")]
    assert rig.documents()[id]["displayName"] == "mine"


@pytest.mark.parametrize("is_carried_out", [True, False])
@pytest.mark.parametrize("desired", [NAMED, WARM])
async def test_a_write_that_nobody_can_read_after_stays_open_and_is_read_before_anything_else(
    rig: Rig, desired: dict[str, Any], is_carried_out: bool
) -> None:
    id = one(rig)
    wants(rig, declare(desired, where=f"id = '{id}'"))
    await rig.cycle()

    def fall_silent(request: Request) -> None:
        rig.http.when(lambda request: True, before=lost)
        lost(request)

    rig.http.when(is_write, **{"after" if is_carried_out else "before": fall_silent})
    done = await rig.cycle(write=True)
    assert rig.outcomes() == [(id, "open")]
    assert done.counts.failed == 1

    await rig.cycle(write=True)
    assert rig.outcomes() == [(id, "open")]
    asked = len(rig.http.sent)
    rig.http.heal()
    await rig.cycle(write=True)

    assert rig.http.sent[asked].operation == "read"
    assert len(rig.carried_out()) == 1
    assert rig.outcomes()[-1] == (id, "applied")
    if not is_carried_out:
        assert rig.outcomes()[0] == (id, "failed" if desired is NAMED else "unknown")


async def test_an_open_write_to_a_device_that_is_no_more_is_closed_as_unknown(rig: Rig) -> None:
    id = one(rig)
    wants(rig, declare(NAMED, where=f"id = '{id}'"))
    rig.http.when(is_write, before=lambda _: rig.http.when(lambda _: True, before=lost), after=lost)
    await rig.cycle(write=True)
    assert rig.outcomes() == [(id, "open")]
    rig.http.heal()
    rig.cloud.delete_device(id)

    done = await rig.cycle(write=True)

    assert done.error is None
    assert rig.outcomes() == [(id, "unknown")]


async def test_an_open_write_to_a_device_that_cannot_be_stored_does_not_stop_the_source(rig: Rig) -> None:
    id = one(rig)
    wants(rig, declare(NAMED, where=f"id = '{id}'"))
    rig.http.when(is_write, before=lambda _: rig.http.when(lambda _: True, before=lost), after=lost)
    await rig.cycle(write=True)
    rig.http.heal()
    rig.cloud.operator_edit(id, {"note": "\0"})
    rig.cloud.add_device("a-new-one")

    await rig.cycle()

    assert rig.outcomes() == [(id, "unknown")]
    assert "a-new-one" in rig.ids()


async def test_a_device_with_an_open_write_is_not_written_to(rig: Rig) -> None:
    wants(rig, declare(NAMED))
    plan = (await rig.cycle()).plan
    assert plan is not None
    assert rig.mirror is not None
    await rig.mirror.journal.intend(plan.changes[0], Attempt(cycle=CycleId(1)))
    target = rig.job().source
    assert isinstance(target, Target)

    await rig.clock.run(Apply(target, rig.mirror, CycleId(1), rig.clock).run(plan.changes, lambda _: None, rig.http))

    assert {write.id for write in rig.carried_out()} == set(rig.truth()) - {plan.changes[0].key.id}


async def test_an_answer_that_is_no_answer_is_read_after(rig: Rig) -> None:
    wants(rig, declare(NAMED))
    rig.cloud.faults = parse_faults("write.html")

    done = await rig.cycle(write=True)

    assert done.counts.applied == 12
    assert len(rig.carried_out()) == 12


# Ignored members


@dataclass
class Deaf:
    """A service that takes a write and leaves one member of it out."""

    http: CloudHttp
    member: str = "displayName"

    async def send(self, request: Request) -> Response:
        if request.body:
            body = json.loads(request.body)
            body.pop(self.member, None)
            request = msgspec.structs.replace(request, body=json.dumps(body).encode())
        return await self.http.send(request)


async def test_a_member_that_was_accepted_and_not_taken_over_is_an_outcome(rig: Rig) -> None:
    id = one(rig)
    rig.layers = Deaf
    wants(rig, declare(NAMED | {"enabled": False}, where=f"id = '{id}'"))

    done = await rig.cycle(write=True)

    assert rig.outcomes() == [(id, "ignored")]
    assert rig.rows("SELECT error FROM writes") == [("accepted, but not taken over: displayName",)]
    assert rig.truth()[id]["enabled"] is False
    assert done.counts.failed == 1
    assert rig.rows("SELECT path FROM drift") == [("displayName",)]


# Properties


async def test_properties_are_read_one_by_one_where_a_declaration_wants_them_and_nowhere_else(rig: Rig) -> None:
    id = next(id for id in sorted(rig.truth()) if id.startswith("thermostat"))
    wants(rig, declare(WARM, where=f"id = '{id}'"))

    done = await rig.cycle()

    reads = [request.url for request in rig.http.sent if request.operation == "read"]
    assert len(reads) == 1
    assert f"/devices/{id}/properties?" in reads[0]
    assert done.plan is not None
    [change] = done.plan.changes
    assert change.guard.kind is GuardKind.REREAD
    [(desired, reported)] = rig.rows("SELECT desired_properties, reported_properties FROM devices WHERE id = ?", id)
    assert json.loads(desired) == {}
    assert "targetTemperature" in json.loads(reported)


async def test_a_property_is_read_before_and_after_it_is_written_and_is_applied_when_it_is_desired(rig: Rig) -> None:
    id = one(rig)
    wants(rig, declare(WARM, where=f"id = '{id}'"))

    await rig.cycle(write=True)

    assert [request.operation for request in rig.http.sent][-3:] == ["read", "write", "read"]
    assert "If-Match" not in rig.http.sent[-2].headers
    assert rig.rows("SELECT outcome, status, guard FROM writes") == [("applied", 202, "reread")]
    [(desired,)] = rig.rows("SELECT desired_properties FROM devices WHERE id = ?", id)
    assert json.loads(desired) == {"targetTemperature": 21.5}


async def test_a_property_that_somebody_set_as_declared_in_between_is_not_written(rig: Rig) -> None:
    id = one(rig)
    wants(rig, declare(WARM, where=f"id = '{id}'"))
    await rig.cycle()
    # The cycle reads it once for the plan; the edit comes before the read of the guard.
    reads = iter(range(10))

    def edit(_request: Request) -> None:
        if next(reads) == 1:
            rig.cloud.operator_edit(id, WARM)

    rig.http.when(lambda request: "/properties" in request.url, before=edit)
    await rig.cycle(write=True)

    assert rig.outcomes() == [(id, "already")]
    assert rig.writes() == []


async def test_properties_that_cannot_be_read_are_unknown_and_hold_nobody_else_up(rig: Rig) -> None:
    id, other = one(rig), one(rig, 1)
    wants(rig, declare(WARM, where=f"id IN ('{id}', '{other}')"))
    rig.http.when(lambda request: f"/{id}/properties" in request.url, before=refused(400))

    done = await rig.cycle(write=True)

    assert done.counts.failed == 1
    assert done.plan is not None
    assert done.plan.unread == 1
    assert rig.rows("SELECT resource_id, state, actual FROM drift") == [(id, "unknown", None)]
    assert rig.outcomes() == [(other, "applied")]


async def test_properties_that_cannot_be_stored_are_unknown_and_hold_nobody_else_up(rig: Rig) -> None:
    id, other = one(rig), one(rig, 1)
    wants(rig, declare(WARM, where=f"id IN ('{id}', '{other}')"))
    rig.cloud.operator_edit(id, {"properties": {"serviceContact": "a\0b"}})

    done = await rig.cycle(write=True)

    assert done.error is None
    assert rig.rows("SELECT resource_id, state FROM drift") == [(id, "unknown")]
    assert rig.outcomes() == [(other, "applied")]


async def test_the_writes_to_one_device_go_one_after_the_other_each_with_its_outcome_on_record(rig: Rig) -> None:
    wants(rig, declare(NAMED | WARM))
    rig.layers = lambda http: OneAtATime(http, rig)

    done = await rig.cycle(write=True)

    assert done.counts.applied == 24
    assert len(rig.carried_out()) == 24


@dataclass
class OneAtATime:
    """Lets time pass in the middle of writes, and looks whether an earlier one of the same device is still open."""

    http: CloudHttp
    rig: Rig

    async def send(self, request: Request) -> Response:
        if request.method == "PATCH":
            id = request.url.split("/devices/")[1].split("?")[0].removesuffix("/properties")
            open_now = self.rig.rows("SELECT COUNT(*) FROM writes WHERE resource_id = ? AND outcome = 'open'", id)
            assert open_now == [(1,)]
            response = await self.http.send(request)
            await self.http.clock.sleep(0.5)
            return response
        return await self.http.send(request)


async def test_the_second_part_of_a_device_waits_for_the_next_cycle_when_the_first_is_open(rig: Rig) -> None:
    id = one(rig)
    wants(rig, declare(NAMED | WARM, where=f"id = '{id}'"))
    document = f"/api/devices/{id}?"
    rig.http.when(
        is_write, before=lambda _: rig.http.when(lambda r: document in r.url, before=lost), after=lost, times=1
    )

    await rig.cycle(write=True)

    assert rig.outcomes() == [(id, "open")]
    rig.http.heal()
    await rig.cycle(write=True)
    assert rig.outcomes() == [(id, "applied"), (id, "applied")]
    assert len(rig.carried_out()) == 2


# Declarations


async def test_declarations_that_contradict_hold_one_device_and_not_the_others(rig: Rig) -> None:
    id = one(rig)
    wants(rig, declare(NAMED), declare({"displayName": "other", "enabled": False}, "rival", where=f"id = '{id}'"))
    before = rig.truth()[id]

    done = await rig.cycle(write=True)

    assert rig.truth()[id] == before
    assert len(named(rig)) == 11
    assert done.plan is not None
    [(key, reason)] = done.plan.contradictions
    assert key.id == id
    assert "rival.toml" in reason
    assert "wish.toml" in reason
    states = rig.rows('SELECT path, state, "by" FROM drift ORDER BY path')
    assert [state[:2] for state in states] == [("displayName", "conflict"), ("enabled", "held")]
    assert all("rival.toml" in by and "wish.toml" in by for _, _, by in states)


async def test_a_selector_that_fails_holds_only_its_own_declaration(rig: Rig) -> None:
    wants(rig, declare({"enabled": False}, "broken", where="json_extract(id, '$.x') = 1"), declare(NAMED, "sound"))

    await rig.cycle(write=True)

    assert len(named(rig)) == 12
    assert all(members == ("displayName",) for members in (write.members for write in rig.writes()))
    [(error,)] = rig.rows("SELECT error FROM declarations WHERE name = 'broken'")
    assert "JSON" in error


async def test_a_selector_over_other_rows_sees_the_listing_that_was_just_made(rig: Rig) -> None:
    wants(rig, declare(NAMED, where="id IN (SELECT id FROM devices WHERE source = 'plant')"))

    await rig.cycle(write=True)

    assert len(named(rig)) == 12
    assert rig.rows("SELECT error FROM declarations") == [(None,)]


async def test_a_declaration_that_disappears_leaves_its_values_and_says_so(rig: Rig) -> None:
    id = one(rig)
    wants(rig, declare(NAMED, where=f"id = '{id}'"))
    await rig.cycle(write=True)
    wants(rig)

    await rig.cycle(write=True)

    assert named(rig) == [id]
    assert rig.rows("SELECT resource_id, patch FROM history WHERE event = 'released'") == [
        (id, '{"declaration":"wish","paths":["displayName"]}')
    ]
    assert rig.rows("SELECT COUNT(*) FROM declarations") == [(0,)]
    assert rig.rows("SELECT COUNT(*) FROM drift") == [(0,)]


async def test_how_long_a_leaf_drifts_is_counted_from_the_first_cycle_that_saw_it(rig: Rig) -> None:
    wants(rig, declare(NAMED, where=f"id = '{one(rig)}'"))
    await rig.cycle()
    since = rig.rows("SELECT since FROM drift")
    await rig.clock.advance(600)
    rig.cloud.operator_edit(one(rig), {"displayName": "worse"})

    await rig.cycle()

    assert rig.rows("SELECT since, actual FROM drift") == [(since[0][0], '"worse"')]


async def test_a_cancelled_cycle_leaves_the_mirror_usable(rig: Rig) -> None:
    wants(rig, declare(NAMED))
    rig.http.latency_s = 1000.0
    task = asyncio.ensure_future(rig.cycle(write=True))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    rig.http.latency_s = 0.0

    done = await rig.cycle(write=True)

    assert done.error is None
    assert len(named(rig)) == 12


async def test_a_write_that_never_left_is_on_record_as_failed(rig: Rig) -> None:
    def unsent(request: Request) -> None:
        raise TransientError("no connection", sent=False)

    id = one(rig)
    wants(rig, declare(NAMED, where=f"id = '{id}'"))
    rig.http.when(is_write, before=unsent, times=1)

    await rig.cycle(write=True)

    assert rig.outcomes() == [(id, "failed")]
    assert rig.http.sent[-1].method == "PATCH"


@pytest.mark.parametrize("fault", [lost, refused(303), refused(500)])
async def test_a_write_whose_reading_before_it_failed_is_not_taken_for_one_that_was_sent(
    make: Callable[..., Rig], fault: Hook
) -> None:
    rig = make(settings=HUB, **HUB_OPTIONS)
    id = sorted(rig.truth())[3]
    rig.declarations = [declare({"status": "disabled"}, where=f"id = '{id}'")]
    rig.http.when(lambda request: request.method == "GET" and id in request.url, before=fault)
    async with rig.opened():
        await rig.cycle(write=True)
        assert rig.outcomes() == [(id, "failed")]
        rig.http.heal()
        rig.cloud.hub.operator_edit(id, {"status": "disabled"})
        await rig.cycle(write=True)
        assert rig.outcomes() == [(id, "failed")]
