import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from fleetsync.cli.output import json_pieces
from fleetsync.config.settings import Limits, Mode, WeakestGuard
from fleetsync.core.declaration import Declaration
from fleetsync.core.plan import Plan
from fleetsync.daemon.work import Command, Reply, SourceReply, Work, worst
from fleetsync.mirror.mirror import Mirror
from fleetsync.reconcile.cycle import Cycle
from fleetsync.reconcile.progress import Progress, silent
from fleetsync.reconcile.reviewed import as_json
from fleetsync.transport.limiter import ScopeUsage
from tests.daemon.conftest import Said
from tests.daemon.rig import Plant, ReadsPlant, Rig, declare
from tests.fakes.clock import settle
from tests.fakes.http import is_write, lost, refused

SYNC, APPLY = Command(name="sync"), Command(name="apply")


async def carry_out(rig: Rig, command: Command) -> Reply:
    return await Work(rig.jobs(), rig.mirror).carry_out(command, silent)


def by_name(reply: Reply) -> dict[str, SourceReply]:
    return {one.source: one for one in reply.sources}


async def test_a_person_who_asks_a_source_that_is_left_alone_is_answered_by_one_request(rig: Rig) -> None:
    plant, mill = await rig.add("plant"), await rig.add("mill")
    plant.http.when(lambda _: True, before=refused(401))
    assert by_name(await carry_out(rig, SYNC))["plant"].exit_code == 1
    assert plant.circuit.wait_s > 50.0

    for sent in (2, 3):
        replies = by_name(await carry_out(rig, SYNC))
        assert plant.http.requests == sent
        assert "401" in str(replies["plant"].error)
        assert replies["mill"].complete

    plant.http.heal()
    assert by_name(await carry_out(rig, SYNC))["plant"].complete
    assert rig.rows("SELECT state, fault FROM sources") == [("up", None), ("up", None)]
    assert mill.http.requests == 4


# Which sources


async def test_sync_mirrors_every_source_and_writes_nothing(rig: Rig) -> None:
    plants = [await rig.add("plant"), await rig.add("mill")]
    rig.declarations = [declare("wish", "as declared")]

    reply = await carry_out(rig, SYNC)

    assert [(one.source, one.complete, one.counts["listed"], one.exit_code) for one in reply.sources] == [
        ("plant", True, 6, 0),
        ("mill", True, 6, 0),
    ]
    assert reply.exit_code == 0
    assert [plant.http.count(is_write) for plant in plants] == [0, 0]


async def test_a_source_that_goes_by_another_comes_after_it(rig: Rig) -> None:
    mill, plant = await rig.add("mill", own=ReadsPlant()), await rig.add("plant")
    plant.door.close()
    syncing = asyncio.create_task(carry_out(rig, SYNC))
    await plant.door.arrived()
    await settle()
    assert mill.http.requests == 0
    plant.door.open()
    assert [one.complete for one in (await syncing).sources] == [True, True]
    assert mill.http.requests > 0
    assert (await carry_out(rig, replace(SYNC, sources=("mill",)))).exit_code == 0


async def test_what_a_reload_takes_away_while_it_waits_for_another_is_cut_short(rig: Rig) -> None:
    plant = await rig.add("plant")
    await rig.add("mill", own=ReadsPlant())
    jobs = dict(rig.jobs())
    plant.door.close()
    syncing = asyncio.create_task(Work(jobs, rig.mirror).carry_out(SYNC, silent))
    await plant.door.arrived()
    del jobs["mill"]
    plant.door.open()
    replies = by_name(await syncing)
    assert replies["plant"].complete
    assert (replies["mill"].exit_code, (replies["mill"].error or "")[:9]) == (75, "cut short")


async def test_only_the_named_source_is_asked_and_only_once(rig: Rig) -> None:
    plant, mill = await rig.add("plant"), await rig.add("mill")

    reply = await carry_out(rig, replace(SYNC, sources=("mill", "mill")))

    assert [one.source for one in reply.sources] == ["mill"]
    assert plant.http.requests == 0
    assert mill.http.requests > 0


@pytest.mark.parametrize("name", ["sync", "apply", "pause"])
async def test_an_unknown_name_is_refused_with_the_nearest_and_nothing_is_done(rig: Rig, name: str) -> None:
    plant = await rig.add("plant")

    reply = await carry_out(rig, Command(name=name, sources=("plant", "plamt")))  # type: ignore[arg-type]

    assert reply.exit_code == 2
    assert reply.error == "no source 'plamt' in the configuration; did you mean `plant`?"
    assert plant.http.requests == 0


@pytest.mark.parametrize("name", ["confirm", "pause", "resume"])
async def test_what_must_not_hit_all_sources_by_accident_needs_a_name(rig: Rig, name: str) -> None:
    await rig.add("plant")

    reply = await carry_out(rig, Command(name=name, writes=1))  # type: ignore[arg-type]

    assert (reply.exit_code, reply.error) == (2, f"`{name}` needs the name of a source")
    assert rig.rows("SELECT state FROM sources") == [("never",)]


async def test_progress_is_reported(rig: Rig) -> None:
    await rig.add("plant", page_size=3)
    steps: list[Progress] = []

    await Work(rig.jobs(), rig.mirror).carry_out(SYNC, steps.append)

    assert [(step.source, step.step) for step in steps][:1] == [("plant", "listing device")]
    assert steps[-1].done == 6


# What may be written


async def test_apply_writes_what_is_declared(rig: Rig) -> None:
    await rig.add("plant")
    rig.declarations = [declare("wish", "as declared")]

    reply = await carry_out(rig, APPLY)

    assert reply.sources[0].outcomes == {"applied": 6}
    assert reply.exit_code == 0
    assert rig.names() == {"as declared"}


async def test_a_source_in_observe_mode_is_not_even_asked_and_the_others_are_written(rig: Rig) -> None:
    plant, mill = await rig.add("plant", mode=Mode.OBSERVE), await rig.add("mill")
    await rig.add("barn", mode=Mode.OBSERVE)
    rig.declarations = [declare("wish", "as declared")]

    reply = await carry_out(rig, APPLY)

    assert [(one.source, one.exit_code) for one in reply.sources] == [("mill", 0)]
    assert reply.remark == 'not written to, because of mode = "observe": plant, barn'
    assert reply.exit_code == 0
    assert plant.http.requests == 0
    assert mill.http.count(is_write) == 6


@pytest.mark.parametrize("names", [("plant",), ("plant", "mill")])
async def test_a_source_in_observe_mode_that_is_named_is_a_mistake(rig: Rig, names: tuple[str, ...]) -> None:
    plant = await rig.add("plant", mode=Mode.OBSERVE)
    await rig.add("mill")

    reply = await carry_out(rig, replace(APPLY, sources=names))

    assert reply.exit_code == by_name(reply)["plant"].exit_code == 78
    assert 'mode = "observe"' in (by_name(reply)["plant"].error or "")
    assert 'mode = "manual"' in (by_name(reply)["plant"].error or "")
    assert plant.http.requests == 0


async def test_where_all_sources_are_in_observe_mode_each_says_so(rig: Rig) -> None:
    await rig.add("plant", mode=Mode.OBSERVE)
    await rig.add("mill", mode=Mode.OBSERVE)

    reply = await carry_out(rig, APPLY)

    assert [one.exit_code for one in reply.sources] == [78, 78]
    assert (reply.exit_code, reply.remark) == (78, None)


async def test_what_an_earlier_process_wrote_is_not_said_to_be_written_now(rig: Rig) -> None:
    plant = await rig.add("plant")
    rig.declarations = [declare("wish", "as declared")]
    plant.http.when(is_write, before=lambda _: plant.http.when(lambda _: True, before=lost), after=lost)
    await carry_out(rig, APPLY)
    plant.http.heal()
    left = [outcome for (outcome,) in rig.rows("SELECT outcome FROM writes WHERE outcome = 'open'")]
    done = plant.http.count(is_write)

    reply = await carry_out(rig, SYNC)

    [one] = reply.sources
    assert left
    assert 0 < one.recovered <= len(left)
    assert one.counts["applied"] == one.recovered
    assert one.outcomes == {}
    assert plant.http.count(is_write) == done


async def test_declarations_that_disagree_hold_the_device_and_both_files_are_named(rig: Rig) -> None:
    plant = await rig.add("plant")
    off = Declaration(name="off", file="off.toml", line=1, leaves={("enabled",): False})
    rig.declarations = [declare("red", "red"), declare("blue", "blue"), off]

    reply = await carry_out(rig, APPLY)

    assert reply.exit_code == 1
    (held,) = reply.sources[0].held
    assert "red.toml" in held
    assert "blue.toml" in held
    assert "and 5 more" in held
    assert plant.http.count(is_write) == 0
    assert (await carry_out(rig, SYNC)).exit_code == 0


async def test_what_no_guard_protects_is_held_and_says_what_would_allow_it(rig: Rig) -> None:
    plant = await rig.add("plant", weakest_guard=WeakestGuard.ETAG)
    rig.declarations = [
        Declaration(name="warm", file="warm.toml", line=1, leaves={("properties", "targetTemperature"): 21.5})
    ]

    reply = await carry_out(rig, APPLY)

    (held,) = reply.sources[0].held
    assert 'weakest_guard = "reread"' in held
    assert plant.http.count(is_write) == 0


async def test_a_write_that_the_service_refuses_fails_the_command(rig: Rig) -> None:
    plant = await rig.add("plant")
    rig.declarations = [declare("wish", "as declared")]
    plant.http.when(is_write, before=refused(400), times=1)

    reply = await carry_out(rig, APPLY)

    assert reply.sources[0].outcomes == {"applied": 5, "rejected": 1}
    assert reply.exit_code == 1


async def test_too_many_writes_are_refused_until_exactly_that_number_is_confirmed(rig: Rig) -> None:
    plant = await rig.add("plant", limits=Limits(max_writes=0.5, min_known=1))
    rig.declarations = [declare("wish", "as declared")]
    refusal = await carry_out(rig, APPLY)
    assert (refusal.exit_code, plant.http.count(is_write)) == (1, 0)
    assert "fleetsync confirm plant --writes 6" in (refusal.sources[0].error or "")

    wrong = await carry_out(rig, Command(name="confirm", sources=("plant",), writes=5))
    confirmed = await carry_out(rig, Command(name="confirm", sources=("plant",), writes=6))

    assert (wrong.exit_code, wrong.sources[0].error) == (
        1,
        "5 writes were not refused; what waits is --writes 6",
    )
    assert confirmed.exit_code == 0
    assert (await carry_out(rig, APPLY)).sources[0].outcomes == {"applied": 6}


@pytest.mark.parametrize("numbers", [{}, {"writes": 0}, {"gone": -1}])
async def test_a_confirmation_needs_a_number(rig: Rig, numbers: dict[str, int]) -> None:
    await rig.add("plant")

    reply = await carry_out(rig, Command(name="confirm", sources=("plant",), **numbers))  # type: ignore[arg-type]

    assert reply.exit_code == 2


# Reviewed plans


async def plan_of(rig: Rig, *plants: Plant) -> str:
    """Return the text of the plan of these plants, as `plan --out` writes it."""
    plans: list[Plan] = []
    for plant in plants:
        done = await Cycle(rig.job(plant, silent), write=False).run()
        assert done.plan is not None
        plans.append(done.plan)
    return "".join(json_pieces(as_json((plan, ()) for plan in plans)))


async def test_a_reviewed_plan_is_applied_to_its_own_sources_only(rig: Rig, tmp_path: Path) -> None:
    plant, mill = await rig.add("plant"), await rig.add("mill")
    rig.declarations = [declare("wish", "as declared")]
    file = tmp_path / "reviewed.json"
    file.write_text(await plan_of(rig, plant), encoding="utf-8")

    reply = await carry_out(rig, replace(APPLY, plan=str(file)))

    assert [one.outcomes for one in reply.sources] == [{"applied": 6}]
    assert mill.http.count(is_write) == 0
    assert rig.rows("SELECT DISTINCT plan FROM writes") == [("reviewed.json",)]


async def test_a_reviewed_plan_may_come_as_text_from_whoever_can_read_it(rig: Rig) -> None:
    plant = await rig.add("plant")
    rig.declarations = [declare("wish", "as declared")]
    text = await plan_of(rig, plant)

    reply = await carry_out(rig, replace(APPLY, plan="/home/ours/not-yours/reviewed.json", plan_text=text))

    assert [one.outcomes for one in reply.sources] == [{"applied": 6}]
    assert rig.rows("SELECT DISTINCT plan FROM writes") == [("reviewed.json",)]


async def test_a_device_that_moved_since_the_review_is_skipped_and_named(rig: Rig) -> None:
    plant = await rig.add("plant")
    rig.declarations = [declare("wish", "as declared")]
    text = await plan_of(rig, plant)
    moved = sorted(entry.id for entry in plant.http.cloud.application.devices)[0]
    plant.http.cloud.operator_edit(moved, {"displayName": "somebody else's"})

    reply = await carry_out(rig, replace(APPLY, plan="reviewed.json", plan_text=text))

    assert reply.sources[0].outcomes == {"applied": 5}
    assert reply.sources[0].skipped == (f"device {moved}: it moved since the plan was made, is held, or is gone",)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"plan": "/nowhere/plan.json"}, "No such file"),
        ({"plan": "plan.json", "plan_text": "{}"}, "not a plan"),
        ({"plan": "plan.json", "sources": ("plant",)}, "not both"),
        (
            {"plan": "plan.json", "plan_text": '{"format":1,"sources":[{"source":"x","basis":"","changes":[]}]}'},
            "no source 'x'",
        ),
    ],
)
async def test_what_is_no_plan_for_these_sources_is_refused(rig: Rig, more: dict[str, str], words: str) -> None:
    plant = await rig.add("plant")

    reply = await carry_out(rig, replace(APPLY, **more))  # type: ignore[arg-type]

    assert reply.exit_code == 2
    assert words in (reply.error or "")
    assert plant.http.requests == 0


async def test_a_reviewed_plan_without_changes_touches_no_source(rig: Rig) -> None:
    plant = await rig.add("plant")

    reply = await carry_out(rig, replace(APPLY, plan="plan.json", plan_text='{"format":1,"sources":[]}'))

    assert reply == Reply()
    assert plant.http.requests == 0


# One bad source, and the others


async def test_a_source_that_fails_fails_alone_with_its_own_code(rig: Rig) -> None:
    plant = await rig.add("plant")
    await rig.add("mill")
    plant.http.when(lambda _: True, before=refused(503))

    reply = await carry_out(rig, SYNC)

    assert [one.exit_code for one in reply.sources] == [75, 0]
    assert not by_name(reply)["plant"].complete
    assert by_name(reply)["mill"].complete
    assert reply.exit_code == 75


async def test_a_mistake_of_ours_in_one_source_is_kept_from_the_others(rig: Rig, said: Said) -> None:
    plant = await rig.add("plant")
    await rig.add("mill")

    def mistake(_: object) -> None:
        raise ZeroDivisionError("a mistake")

    plant.http.when(lambda _: True, before=mistake)

    reply = await carry_out(rig, SYNC)

    assert by_name(reply)["plant"].error == "unexpected ZeroDivisionError: a mistake"
    assert by_name(reply)["mill"].complete
    assert reply.exit_code == 1
    (line,) = [line for line in said if line["event"] == "program.failed"]
    assert line["source"] == "plant"
    assert "test_work.py:" in line["reason"]


async def test_a_slow_source_does_not_slow_another(rig: Rig) -> None:
    plant, mill = await rig.add("plant"), await rig.add("mill")
    plant.door.close()
    mill_listed = asyncio.Event()

    async with asyncio.TaskGroup() as group:
        work = Work(rig.jobs(), rig.mirror)
        running = group.create_task(
            work.carry_out(SYNC, lambda step: mill_listed.set() if step.source == mill.name else None)
        )
        await plant.door.arrived()
        await mill_listed.wait()
        assert not running.done()
        plant.door.open()

    assert running.result().exit_code == 0


async def test_a_command_waits_for_the_running_cycle_of_its_source(rig: Rig) -> None:
    plant = await rig.add("plant")
    plant.door.close()
    work = Work(rig.jobs(), rig.mirror)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(work.carry_out(SYNC, silent))
        await plant.door.arrived()
        second = group.create_task(work.carry_out(SYNC, silent))
        await settle()
        assert len(rig.cycles("plant")) == 1
        plant.door.open()

    assert [one.result().exit_code for one in (first, second)] == [0, 0]
    assert rig.cycles("plant") == ["done", "done"]


# Pausing


async def test_a_paused_source_is_left_alone_until_it_is_resumed(rig: Rig) -> None:
    plant = await rig.add("plant")

    assert (await carry_out(rig, Command(name="pause", sources=("plant",)))).exit_code == 0
    for command in (SYNC, APPLY):
        reply = await carry_out(rig, command)
        assert reply.exit_code == 75
        assert "paused" in (reply.sources[0].error or "")
        assert "fleetsync resume plant" in (reply.sources[0].error or "")
    assert plant.http.requests == 0
    assert rig.rows("SELECT state FROM sources") == [("paused",)]

    assert (await carry_out(rig, Command(name="resume", sources=("plant",)))).exit_code == 0
    assert (await carry_out(rig, SYNC)).exit_code == 0


async def test_a_broken_database_is_the_reply_and_no_exception(rig: Rig) -> None:
    await rig.add("plant")

    class Broken:
        @property
        def cycles(self) -> object:
            raise OSError("disk on fire")

    broken: Mirror = Broken()  # type: ignore[assignment]
    reply = await Work(rig.jobs(), broken).carry_out(SYNC, silent)

    assert reply.sources[0].error == "unexpected OSError: disk on fire"


@pytest.mark.parametrize(
    ("codes", "whole"),
    [([], 0), ([0, 0], 0), ([0, 75], 75), ([75, 1, 0], 1), ([1, 78, 75], 78), ([2, 1], 2)],
)
def test_the_whole_is_as_bad_as_its_worst_part(codes: list[int], whole: int) -> None:
    assert worst(codes) == whole


async def test_rates_are_told_as_they_are_and_shown_by_no_other_command(rig: Rig) -> None:
    usage = ScopeUsage(scope="hub", classes=(), spent=3, daily=5)

    reply = await Work(rig.jobs(), rig.mirror, rates=lambda: (usage,)).carry_out(Command(name="rates"), silent)

    assert reply.rates == (usage,)
    assert "rates" not in reply.as_json()
