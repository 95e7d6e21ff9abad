import fcntl
import json
import stat

import pytest

from fleetsync.mirror.lock import lock_file
from fleetsync.simulator import parse_faults
from tests.cli.bench import DEVICES, RENAME, Bench

RIVAL = """
[[declaration]]
name = "rival"
where = "id LIKE 'pump-%'"
[declaration.desired]
displayName = "Another name"
"""
PROPERTY = """
[[declaration]]
name = "warm"
where = "id LIKE 'pump-%'"
[declaration.desired]
properties.targetTemperature = 21
"""


def test_sync_says_what_it_did_in_one_line(bench: Bench) -> None:
    printed = bench.done("sync")

    assert printed.startswith("central: complete, ")
    assert printed.count("\n") == 1
    assert bench.cloud.counters.by_kind.get("write", 0) == 0


def test_sync_json_is_the_reply(bench: Bench) -> None:
    reply = bench.json("sync")

    assert reply.keys() == {"sources", "remark", "error", "exit_code"}
    [source] = reply["sources"]
    assert source.keys() == {
        "source", "cycle", "complete", "counts", "recovered", "outcomes", "held", "skipped", "error", "exit_code",
    }  # fmt: skip
    assert source["counts"]["listed"] >= DEVICES
    assert source["complete"] is True


def test_an_unknown_source_is_named_with_the_nearest(bench: Bench) -> None:
    result = bench.run("sync", "centrel")

    assert result.exit_code == 2
    assert "did you mean `central`?" in result.stderr


def test_a_service_that_cannot_be_reached_is_75(bench: Bench) -> None:
    bench.cloud.faults = ()
    bench.config.write_text(bench.config.read_text().replace(bench.cloud.url, "http://127.0.0.1:9"))

    result = bench.run("sync")

    assert result.exit_code == 75
    assert result.stderr.startswith("fleetsync: central: ")


def test_a_plan_before_the_first_complete_listing_is_75_and_says_what_to_run(bench: Bench) -> None:
    bench.done("db", "upgrade")

    result = bench.run("plan")

    assert result.exit_code == 75
    assert "`fleetsync sync central` first" in result.stderr


def test_a_plan_before_any_database_is_75(bench: Bench) -> None:
    result = bench.run("plan")

    assert result.exit_code == 75
    assert not bench.database.exists()


def test_two_plans_are_equal_to_the_byte_and_cost_no_request(synced: Bench) -> None:
    before = synced.requests
    files = synced.folder / "one.json", synced.folder / "two.json"

    printed = [synced.done("plan", "--json", "--out", str(file)) for file in files]

    assert printed[0] == printed[1]
    assert files[0].read_bytes() == files[1].read_bytes() == printed[0].encode()
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o640
    assert synced.requests == before


def test_a_plan_shows_guard_values_and_declaration(synced: Bench) -> None:
    plan = json.loads(synced.done("plan", "--json"))
    [source] = plan["sources"]
    change = source["changes"][0]

    printed = synced.done("plan")

    assert f"central device '{change['id']}'  document, guard if-match" in printed
    assert '-> "A pump"  (rename)' in printed
    assert f"{len(source['changes'])} changes on " in printed
    assert f"{len(source['changes'])} requests (write {len(source['changes'])}), less than a minute" in printed
    assert source["forecast"]["requests"] == {"write": len(source["changes"])}
    assert source["forecast"]["listing"]["requests"] == {"list": 5}
    assert source["forecast"]["daily"] is None


def test_a_plan_needs_no_lock(synced: Bench) -> None:
    with lock_file(synced.database).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        assert synced.run("plan").exit_code == 0
        assert synced.run("status").exit_code == 0


def test_exit_codes_of_a_plan_say_whether_changes_wait(synced: Bench) -> None:
    assert synced.run("plan").exit_code == 0
    assert synced.run("plan", "--exit-code").exit_code == 3
    synced.done("apply")
    assert synced.run("plan", "--exit-code").exit_code == 0


def test_what_was_not_read_yet_is_shown_as_unknown(synced: Bench) -> None:
    synced.declare(PROPERTY, "warm.toml")

    printed = synced.done("plan")

    assert "properties.targetTemperature: unknown -> 21  (warm)  not read yet" in printed


def test_declarations_that_contradict_are_1_and_both_files_are_named(synced: Bench) -> None:
    synced.declare(RIVAL, "rival.toml")

    result = synced.run("plan", "--exit-code")

    assert result.exit_code == 1
    assert "all.toml" in result.stderr
    assert "rival.toml" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_declaration_that_fails_on_the_data_is_held_and_named(synced: Bench) -> None:
    synced.declare(
        "[[declaration]]\nname = 'bad'\nwhere = \"json_extract(id, '$.x') = 1\"\ndesired.enabled = true\n", "bad.toml"
    )

    printed = synced.done("plan")
    file = synced.folder / "plan.json"
    [source] = json.loads(synced.done("plan", "--json", "--out", str(file)))["sources"]

    assert "declaration bad (declarations/bad.toml) is held: malformed JSON" in printed
    assert source["held_declarations"] == [{"name": "bad", "file": "declarations/bad.toml", "error": "malformed JSON"}]
    assert synced.run("plan", "--exit-code").exit_code == 1
    assert synced.run("apply", "--plan", str(file)).exit_code == 0
    assert synced.run("plan", "--exit-code").exit_code == 1, "also where nothing is left to do"


def test_a_plan_that_knows_no_held_declarations_is_applied_as_before(synced: Bench) -> None:
    file = synced.folder / "plan.json"
    plan = json.loads(synced.done("plan", "--json"))
    del plan["sources"][0]["held_declarations"]
    file.write_text(json.dumps(plan))

    assert synced.json("apply", "--plan", str(file))["exit_code"] == 0
    assert synced.cloud.counters.writes_applied == len(plan["sources"][0]["changes"])


def test_a_plan_that_cannot_be_written_is_one_line_and_1(synced: Bench) -> None:
    result = synced.run("plan", "--out", str(synced.folder / "no" / "such" / "folder.json"))

    assert result.exit_code == 1
    assert result.stderr.startswith("fleetsync: plan ")
    assert result.stderr.count("\n") == 1


def test_a_reviewed_plan_is_applied_and_nothing_else(synced: Bench) -> None:
    file = synced.folder / "plan.json"
    planned = len(json.loads(synced.done("plan", "--json", "--out", str(file)))["sources"][0]["changes"])

    reply = synced.json("apply", "--plan", str(file))

    assert reply["exit_code"] == 0
    assert reply["sources"][0]["outcomes"] == {"applied": planned}
    assert synced.cloud.counters.writes_applied == planned


def test_a_reviewed_plan_is_refused_when_the_declarations_changed(synced: Bench) -> None:
    file = synced.folder / "plan.json"
    synced.done("plan", "--out", str(file))
    synced.declare(RENAME.replace("A pump", "The pump"))

    result = synced.run("apply", "--plan", str(file))

    assert result.exit_code == 1
    assert "plan again" in result.stderr
    assert synced.cloud.counters.writes_applied == 0


def test_sources_beside_a_plan_are_a_usage_error(synced: Bench) -> None:
    assert synced.run("apply", "central", "--plan", "plan.json").exit_code == 2


def test_a_mode_that_forbids_writing_is_78(synced: Bench) -> None:
    synced.configure(mode="observe")

    result = synced.run("apply")

    assert result.exit_code == 78
    assert 'mode = "manual"' in result.stderr
    assert synced.cloud.counters.by_kind.get("write", 0) == 0


OTHER = """
[sources.other]
kind = "iot-central"
url = "http://127.0.0.1:9"
auth = { method = "none" }
"""


def test_apply_names_the_sources_that_it_may_not_write_to(synced: Bench) -> None:
    synced.configure(more=OTHER)

    result = synced.run("apply")

    assert result.exit_code == 0
    assert result.stderr == 'not written to, because of mode = "observe": other\n'
    assert result.stdout.startswith("central: complete, ")
    assert synced.run("apply", "central", "other").exit_code == 78
    assert synced.json("apply")["remark"] == 'not written to, because of mode = "observe": other'


def test_a_source_that_was_never_listed_does_not_keep_the_others_from_being_planned(synced: Bench) -> None:
    alone, code_alone = synced.json("plan")["sources"], synced.run("plan", "--exit-code").exit_code
    synced.configure(more=OTHER)
    file = synced.folder / "plan.json"

    result = synced.run("plan", "--json", "--out", str(file))

    error = "source other was never listed completely: run `fleetsync sync other` first"
    assert (result.exit_code, result.stderr) == (75, f"fleetsync: {error}\n")
    found = json.loads(result.stdout)
    assert file.read_text() == result.stdout
    assert (found["sources"], found["unplanned"]) == (alone, [{"source": "other", "error": error}])
    assert f"{len(alone[0]['changes'])} changes on " in synced.run("plan").stdout
    assert (code_alone, synced.run("plan", "--exit-code").exit_code) == (3, 75)
    assert (synced.run("plan", "central").exit_code, synced.run("plan", "other").exit_code) == (0, 75)
    assert synced.run("apply", "--plan", str(file)).exit_code == 0
    synced.declare(RIVAL, "rival.toml")
    assert synced.run("plan").exit_code == 1


def test_a_plan_of_nothing_but_sources_that_were_never_listed_is_none(synced: Bench) -> None:
    synced.configure(more=OTHER)
    file = synced.folder / "plan.json"

    result = synced.run("plan", "other", "--json", "--out", str(file))

    assert (result.exit_code, result.stdout, file.exists()) == (75, "", False)


def test_writes_of_an_earlier_process_are_recovered_and_not_applied(synced: Bench) -> None:
    synced.cloud.faults = parse_faults("write.reset,read.reset")
    synced.run("apply")
    synced.cloud.faults = ()
    [(left,)] = rows(synced, "SELECT count(*) FROM writes WHERE outcome = 'open'")

    printed = synced.done("sync")

    assert left > 0
    assert " 0 applied, " in printed
    assert f", {left} recovered" in printed
    assert rows(synced, "SELECT applied FROM cycles ORDER BY id DESC LIMIT 1") == [(left,)]
    assert "recovered" not in synced.done("sync")


def rows(bench: Bench, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in bench.json("query", sql)]


def test_one_is_said_in_the_singular(synced: Bench) -> None:
    id = synced.json("query", "SELECT id FROM devices WHERE id LIKE 'pump-%' AND enabled LIMIT 1")[0]["id"]
    synced.declare(RENAME.replace("enabled AND id LIKE 'pump-%'", f"id = '{id}'"))
    synced.configure(max_writes="0.001%")

    planned = synced.done("plan")
    refused = synced.run("apply")
    confirmed = synced.done("confirm", "central", "--writes", "1")

    assert "central: 1 change on " in planned
    assert "; 1 request (write 1), less than a minute" in planned
    assert "a plan with 1 write on " in refused.stderr
    assert confirmed == "central: the next cycle may go ahead with exactly 1 write\n"


def test_a_refused_plan_goes_ahead_once_the_number_is_confirmed(synced: Bench) -> None:
    synced.configure(max_writes="0.001%")
    planned = len(json.loads(synced.done("plan", "--json"))["sources"][0]["changes"])
    early = synced.run("confirm", "central", "--writes", str(planned))
    refused = synced.run("apply")
    wrong = synced.run("confirm", "central", "--writes", str(planned + 1))
    gone = synced.run("confirm", "central", "--gone", str(planned))

    synced.done("confirm", "central", "--writes", str(planned))
    synced.done("apply")

    assert refused.exit_code == 1
    assert f"confirm central --writes {planned}" in refused.stderr
    assert [one.exit_code for one in (early, wrong, gone)] == [1, 1, 1]
    assert early.stderr == f"fleetsync: central: {planned} writes were not refused; what waits is nothing\n"
    assert (wrong.stdout, wrong.stderr.count("\n")) == ("", 1)
    assert wrong.stderr.endswith(f" {planned + 1} writes were not refused; what waits is --writes {planned}\n")
    assert gone.stderr.endswith(" vanished resources were not refused; what waits is nothing\n")
    assert synced.cloud.counters.writes_applied == planned


def test_a_paused_source_is_left_alone_until_it_is_resumed(synced: Bench) -> None:
    synced.done("pause", "central")
    paused = synced.run("sync")
    synced.done("resume", "central")

    assert paused.exit_code == 75
    assert "`fleetsync resume central`" in paused.stderr
    assert synced.run("sync").exit_code == 0


@pytest.mark.parametrize("words", [["sync"], ["apply"], ["pause", "central"], ["db", "upgrade"]])
def test_a_lock_of_somebody_who_does_not_listen_is_75(synced: Bench, words: list[str]) -> None:
    with lock_file(synced.database).open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("4242\n")
        file.flush()

        result = synced.run(*words)

    assert result.exit_code == 75
    assert "in use by process 4242" in result.stderr


def fought_over(bench: Bench, pumps: int) -> list[str]:
    """Let somebody else change names back that were written as often as they may be; return the ids."""
    bench.config.write_text(bench.config.read_text().replace("limits = {", 'limits = { max_rewrites = "1 in 1h",'))
    bench.done("apply")
    ids = [str(row["id"]) for row in bench.json("query", "SELECT id FROM devices WHERE display_name = 'A pump'")]
    for id in ids[:pumps]:
        bench.cloud.operator_edit(id, {"displayName": "theirs"})
    bench.done("sync")
    return ids[:pumps]


def test_a_plan_says_once_what_one_reason_keeps_from_many(synced: Bench) -> None:
    ids = fought_over(synced, 6)

    printed = synced.done("plan")

    reason = "contested: somebody else, after 1 write in 60 min"
    assert printed.count(reason) == 1
    assert f"central 6 devices  not written: {', '.join(map(repr, sorted(ids)[:3]))}, …\n" in printed
    assert f'    displayName: "theirs" -> "A pump"  (rename)  {reason}\n' in printed
    assert "0 changes on " in printed
    assert "6 values not written" in printed
    assert synced.run("plan", "--exit-code").exit_code == 0
    [held] = {one["state"] for one in synced.json("plan")["sources"][0]["held"]}
    assert held == "contested"
    status = synced.done("status")
    assert "drift: 6 contested" in status
    whose = f"rename: somebody else, after 1 write in 60 min; 6 resources, such as {min(ids)!r}\n"
    assert f"contested: central device displayName: {whose}" in status
    [one] = synced.json("status")["contested"]
    assert (one["path"], one["declarations"], one["resources"], one["example"]) == (
        "displayName", ["rename"], 6, min(ids)
    )  # fmt: skip


def test_status_says_what_the_service_does_not_take(synced: Bench) -> None:
    synced.declare(RENAME.replace('displayName = "A pump"', 'template = "dtmi:contoso:nothing;1"'))
    assert synced.run("apply").exit_code == 1
    pumps = rows(synced, "SELECT count(*), min(id) FROM devices WHERE enabled AND id LIKE 'pump-%'")

    [one] = synced.json("status")["rejected"]

    assert [(one["resources"], one["example"])] == pumps
    whose = "rename: the service refused it (400): `apply` sends it again, the daemon at growing pauses"
    assert f"rejected: central device template: {whose}; {one['resources']} resources, such as " in synced.done(
        "status"
    )
    assert "template: " in synced.done("plan")


def test_a_plan_names_each_of_a_few_that_are_not_written(synced: Bench) -> None:
    ids = fought_over(synced, 2)
    printed = synced.done("plan")
    assert [f"central device {id!r}  not written" in printed for id in ids] == [True, True]
    explained = synced.done("explain", "central", ids[0])
    assert "displayName: contested (somebody else, after 1 write in 60 min)" in explained
