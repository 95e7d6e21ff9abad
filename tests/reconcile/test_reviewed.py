"""Plans that a person reviewed: carried out exactly, or not at all."""

import json
from pathlib import Path

import pytest

from fleetsync.cli.output import json_pieces
from fleetsync.core.declaration import ABSENT
from fleetsync.core.plan import Change, Plan
from fleetsync.errors import UnsafePlanError, UsageError
from fleetsync.reconcile.reviewed import Reviewed, as_json, read_plan
from tests.fakes.http import is_write, lost
from tests.reconcile.rig import Rig, declare

NAMED = {"displayName": "as declared"}
WARM = {"properties": {"targetTemperature": 21.5}}


async def reviewed_by(rig: Rig) -> Reviewed:
    """Return what the next plan is, after it went through a file."""
    done = await rig.cycle()
    assert done.plan is not None
    return through_a_file(rig.path.with_name("plan.json"), done.plan)


def through_a_file(file: Path, plan: Plan) -> Reviewed:
    file.write_text(text_of(plan))
    [reviewed] = read_plan(file)
    return reviewed


def text_of(plan: Plan) -> str:
    return "".join(json_pieces(as_json([(plan, ())])))


async def test_a_plan_survives_its_file(rig: Rig) -> None:
    rig.declarations = [declare(NAMED | WARM), declare({"enabled": False}, "off")]
    plan = (await rig.cycle()).plan
    assert plan is not None

    reviewed = through_a_file(rig.path.with_name("plan.json"), plan)

    assert (reviewed.name, reviewed.source, reviewed.basis) == ("plan.json", plan.source, plan.basis)
    assert [contents(change) for change in reviewed.changes] == [contents(change) for change in plan.changes]


def contents(change: Change) -> tuple[object, ...]:
    guard = change.guard
    return change.key, change.part, change.leaves, guard.kind, guard.etag, guard.needs_reread


async def test_the_same_plan_is_the_same_text(rig: Rig) -> None:
    rig.declarations = [declare(NAMED | WARM)]
    first = (await rig.cycle()).plan
    second = (await rig.cycle()).plan
    assert first is not None
    assert second is not None
    assert text_of(first) == text_of(second)


async def test_a_reviewed_plan_is_carried_out_and_named_in_the_journal(rig: Rig) -> None:
    rig.declarations = [declare(NAMED, where="id LIKE '%0001_'")]
    reviewed = await reviewed_by(rig)

    done = await rig.cycle(write=True, reviewed=reviewed)

    assert {write.id for write in rig.carried_out()} == {change.key.id for change in reviewed.changes}
    assert rig.rows("SELECT DISTINCT plan, outcome FROM writes") == [("plan.json", "applied")]
    assert done.skipped == ()


async def test_a_plan_whose_changes_somebody_put_in_another_order_is_the_same_plan(rig: Rig) -> None:
    rig.declarations = [declare(NAMED | WARM)]
    plan = (await rig.cycle()).plan
    assert plan is not None
    assert {change.part for change in plan.changes} == {"document", "properties"}
    file = rig.path.with_name("plan.json")
    document = json.loads(text_of(plan))
    document["sources"][0]["changes"].reverse()
    file.write_text(json.dumps(document))
    [reviewed] = read_plan(file)

    done = await rig.cycle(write=True, reviewed=reviewed)

    assert len(done.outcomes) == len(plan.changes) > 12
    assert {one.result.value for one in done.outcomes} == {"applied"}


async def test_nothing_is_ever_added_to_a_reviewed_plan(rig: Rig) -> None:
    rig.declarations = [declare(NAMED)]
    reviewed = await reviewed_by(rig)
    rig.cloud.add_device("a-new-one")

    await rig.cycle(write=True, reviewed=reviewed)

    assert "a-new-one" in rig.ids()
    assert rig.truth()["a-new-one"]["displayName"] == "a-new-one"
    assert len(rig.carried_out()) == 12


async def test_a_reviewed_plan_is_refused_when_the_declarations_changed(rig: Rig) -> None:
    rig.declarations = [declare(NAMED)]
    reviewed = await reviewed_by(rig)
    rig.declarations = [declare({"displayName": "something else"})]

    done = await rig.cycle(write=True, reviewed=reviewed)

    assert isinstance(done.error, UnsafePlanError)
    assert "declarations changed" in str(done.error)
    assert rig.writes() == []


async def test_a_device_whose_declared_leaf_moved_is_skipped_and_named(rig: Rig) -> None:
    rig.declarations = [declare(NAMED)]
    reviewed = await reviewed_by(rig)
    moved = reviewed.changes[0].key.id
    rig.cloud.operator_edit(moved, {"displayName": "moved"})

    done = await rig.cycle(write=True, reviewed=reviewed)

    assert [key.id for key in done.skipped] == [moved]
    assert rig.truth()[moved]["displayName"] == "moved"
    assert len(rig.carried_out()) == 11


async def test_a_device_of_which_only_the_etag_moved_gets_the_same_change_under_the_new_one(rig: Rig) -> None:
    rig.declarations = [declare(NAMED)]
    reviewed = await reviewed_by(rig)
    touched = reviewed.changes[0].key.id
    rig.cloud.operator_edit(touched, {"note": "of no concern"})

    done = await rig.cycle(write=True, reviewed=reviewed)

    assert done.skipped == ()
    assert rig.truth()[touched]["displayName"] == "as declared"
    assert rig.truth()[touched]["note"] == "of no concern"
    assert rig.cloud.counters.if_match_stale == 0


async def test_a_device_that_is_as_declared_by_now_needs_nothing(rig: Rig) -> None:
    rig.declarations = [declare(NAMED)]
    reviewed = await reviewed_by(rig)
    rig.cloud.operator_edit(reviewed.changes[0].key.id, NAMED)

    done = await rig.cycle(write=True, reviewed=reviewed)

    assert done.skipped == ()
    assert len(rig.carried_out()) == 11


async def test_a_leaf_that_moves_between_plan_and_patch_is_left_alone(rig: Rig) -> None:
    rig.declarations = [declare(NAMED)]
    reviewed = await reviewed_by(rig)
    id = reviewed.changes[0].key.id
    rig.http.when(is_write, before=lambda _: rig.cloud.operator_edit(id, {"displayName": "moved"}), times=1)

    done = await rig.cycle(write=True, reviewed=reviewed)

    assert rig.truth()[id]["displayName"] == "moved"
    assert [outcome for who, outcome in rig.outcomes() if who == id] == ["conflict", "conflict"]
    assert done.counts.conflicted == 1
    assert done.counts.applied == 11


async def test_a_property_that_moves_between_review_and_the_guards_read_is_left_alone(rig: Rig) -> None:
    id = min(rig.truth())
    rig.declarations = [declare(WARM, where=f"id = '{id}'")]
    reviewed = await reviewed_by(rig)
    reads = iter(range(10))

    def edit(_request: object) -> None:
        if next(reads) == 1:
            rig.cloud.operator_edit(id, {"properties": {"targetTemperature": 5}})

    rig.http.when(lambda request: "/properties" in request.url, before=edit)
    await rig.cycle(write=True, reviewed=reviewed)

    assert rig.writes() == []
    assert rig.outcomes() == [(id, "conflict")]


async def test_a_reviewed_write_whose_answer_was_lost_is_not_sent_twice(rig: Rig) -> None:
    rig.declarations = [declare(NAMED)]
    reviewed = await reviewed_by(rig)
    rig.http.when(is_write, after=lost)

    await rig.cycle(write=True, reviewed=reviewed)
    await rig.cycle(write=True, reviewed=reviewed)

    assert len(rig.carried_out()) == 12


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"format": 1}', '{"format": 2, "sources": []}', '{"format": 1, "sources": [{"source": 1}]}',
     '{"format": 1, "sources": [{"source": "a", "basis": "b", "changes": [{"type": "device", "id": "x", "part": "p",'
     ' "guard": "no", "leaves": []}]}]}',
     '{"format": 1, "sources": [{"source": "a", "basis": "b", "changes": [{"type": "device", "id": "x", "part": "p",'
     ' "guard": "reread", "leaves": [{"path": "a b", "declarations": []}]}]}]}'],
)  # fmt: skip
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"plan\.json"):
        read_plan(file)


def test_a_plan_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_plan(tmp_path / "plan.json")


async def test_a_member_to_take_away_survives_the_file_as_such(rig: Rig) -> None:
    id = next(id for id, document in rig.truth().items() if "organizations" in document)
    wish = declare({"organizations": ["x"]}, where=f"id = '{id}'")
    rig.declarations = [
        type(wish)(name="wish", file="f", line=1, where=wish.where, leaves={("organizations",): ABSENT})
    ]
    reviewed = await reviewed_by(rig)

    await rig.cycle(write=True, reviewed=reviewed)

    assert "organizations" not in rig.truth()[id]
