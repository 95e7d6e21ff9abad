import contextlib
import csv
import datetime
import io
import itertools
import json
import sqlite3
from pathlib import Path

import pytest

from fleetsync.cli.warnings import wal_warnings
from fleetsync.clock import SystemClock
from fleetsync.mirror.tables import text_of
from fleetsync.mirror.wal import LARGE_WAL_BYTES
from tests.cli.bench import DEVICES, RENAME, Bench, invoke

HIGHER = """
[[declaration]]
name = "higher"
where = "id LIKE 'pump-%'"
priority = 10
[declaration.desired]
displayName = "The higher pump"
"""


def a_pump(bench: Bench) -> str:
    [row] = bench.json("query", "SELECT id FROM devices WHERE id LIKE 'pump-%' AND enabled ORDER BY id LIMIT 1")
    return str(row["id"])


# query


def test_rows_come_as_lines_with_tabs_where_nobody_looks(mirrored: Bench) -> None:
    assert mirrored.done("query", "SELECT 1 AS one, 'a' || char(9) || 'b' AS two") == "one\ttwo\n1\ta\\tb\n"


def test_rows_come_as_json_with_texts_as_texts(mirrored: Bench) -> None:
    sql = "SELECT 1 AS n, 2.5 AS x, NULL AS void, '{}' AS text, x'00ff' AS bytes, 9e999 AS huge, 3 AS n"

    [row] = mirrored.json("query", sql)

    assert row == {"n": 1, "x": 2.5, "void": None, "text": "{}", "bytes": "00ff", "huge": None, "n_2": 3}


def test_rows_come_as_json_lines(mirrored: Bench) -> None:
    printed = mirrored.done("query", "SELECT id FROM devices", "--format", "jsonl")

    assert len([json.loads(line)["id"] for line in printed.splitlines()]) == DEVICES


def test_rows_come_as_csv_that_can_be_read_back(mirrored: Bench) -> None:
    printed = mirrored.done("query", """SELECT 'a,"b' AS "x,y", NULL AS z""", "--format", "csv")

    assert list(csv.reader(io.StringIO(printed))) == [["x,y", "z"], ['a,"b', ""]]


@pytest.mark.parametrize(("style", "printed"), [("table", "id\n"), ("json", "[]\n"), ("jsonl", ""), ("csv", "id\n")])
def test_no_rows_are_fine(mirrored: Bench, style: str, printed: str) -> None:
    assert mirrored.done("query", "SELECT id FROM devices WHERE id = 'nobody'", "--format", style) == printed


def test_a_question_can_come_from_standard_input(mirrored: Bench) -> None:
    assert mirrored.run("query", "-", typed="SELECT 7 AS seven").stdout == "seven\n7\n"


@pytest.mark.parametrize(
    "sql",
    [
        "VACUUM INTO 'copy.db'",
        "ATTACH 'other.db' AS other",
        "PRAGMA journal_mode = DELETE",
        "SELECT randomblob(1000000000)",
        "SELECT replace(hex(zeroblob(10000000)), '0', '0123456789')",
        "SELECT 1; SELECT 2",
        "DELETE FROM devices",
        "SELECT * FROM resource",
        "SELECT load_extension('x')",
        "SELECT nonsense FROM devices",
        "",
    ],
)
def test_a_question_that_is_not_a_harmless_select_is_refused_in_one_line(mirrored: Bench, sql: str) -> None:
    before = sorted(mirrored.folder.iterdir())

    result = mirrored.run("query", sql)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert sorted(mirrored.folder.iterdir()) == before


class Hurrying(SystemClock):
    """A clock on which a second passes whenever somebody looks."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds = itertools.count()

    def monotonic_s(self) -> float:
        return float(next(self._seconds))


def test_a_question_that_takes_too_long_failed_and_names_the_limit(mirrored: Bench) -> None:
    endless = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"

    result = invoke("--config", str(mirrored.config), "query", endless, clock=Hurrying())

    assert (result.exit_code, result.stderr) == (1, "fleetsync: it took longer than the limit of 30 s\n")


def test_a_question_before_any_database_is_75(bench: Bench) -> None:
    result = bench.run("query", "SELECT 1")

    assert result.exit_code == 75
    assert "`fleetsync sync` makes one" in result.stderr


# status


def test_status_has_the_promised_shape(mirrored: Bench) -> None:
    found = mirrored.json("status")

    assert found.keys() == {
        "at", "process", "database", "sources", "drift", "held", "contradictions", "contested", "rejected",
        "doubted_listings", "warnings", "refused_configuration",
    }  # fmt: skip
    assert found["process"] == {"pid": None, "daemon": False}
    assert found["database"].keys() == {"path", "size_bytes", "wal_bytes", "sqlite"}
    [source] = found["sources"]
    assert source.keys() >= {"name", "state", "mode", "last_complete_at", "age_s", "next_due_at", "known", "drifting"}
    assert source["state"] == "up"
    assert source["rates"]["write"] == {
        "permitted_per_s": 1000.0, "learned_per_s": 1000.0, "used_60s": None, "held_until": None, "why": None,
        "shared": False,
    }  # fmt: skip
    assert (source["daily"], source["live"]) == (None, False)
    assert source["last_cycle"]["complete"] is True
    assert found["drift"]["pending"] > 0


def test_status_names_the_sqlite_that_can_corrupt(mirrored: Bench) -> None:
    warned = any("can corrupt" in warning for warning in mirrored.json("status")["warnings"])

    assert warned is (sqlite3.sqlite_version_info <= (3, 51, 2))


def test_status_names_contradictions_with_both_files_and_held_declarations(synced: Bench) -> None:
    synced.declare(HIGHER.replace("priority = 10", "priority = 0"), "higher.toml")
    synced.declare(
        "[[declaration]]\nname = 'bad'\nwhere = \"json_extract(id, '$.x') = 1\"\ndesired.enabled = true\n", "bad.toml"
    )
    synced.done("sync")

    found = synced.json("status")

    [dispute] = found["contradictions"]
    assert dispute["files"] == ["declarations/higher.toml", "declarations/all.toml"]
    assert dispute["path"] == "displayName"
    assert dispute["resources"] > 0
    assert found["held"] == [{"name": "bad", "file": "declarations/bad.toml", "error": "malformed JSON"}]
    printed = synced.done("status")
    assert "declarations/higher.toml and declarations/all.toml" in printed
    assert "declaration bad (declarations/bad.toml) is held" in printed


def test_status_shows_a_source_that_no_cycle_has_met_yet(synced: Bench) -> None:
    synced.configure(
        more='[sources.new]\nkind = "iot-central"\nurl = "http://127.0.0.1:9"\nauth = { method = "none" }\n'
    )

    states = {source["name"]: source["state"] for source in synced.json("status")["sources"]}

    assert states == {"central": "up", "new": "never"}
    assert "new: waits for its first complete listing" in synced.done("status")


def test_status_says_what_a_source_waits_for(synced: Bench) -> None:
    synced.done("pause", "central")

    assert synced.json("status")["sources"][0]["waits_for"] == "`fleetsync resume central`"


def test_status_does_not_blame_the_service_where_nothing_is_wrong_with_it(synced: Bench) -> None:
    with contextlib.closing(sqlite3.connect(synced.database)) as connection:
        connection.execute("UPDATE source SET state = 'down', error = 'which devices hub has is not known'")
        connection.commit()

    assert "central: waits for its next cycle: see the error" in synced.done("status")


def test_status_says_what_is_wrong_with_a_source_since_when_and_when_it_is_asked_again(synced: Bench) -> None:
    now = datetime.datetime.now(datetime.UTC)
    since, probe_at = (text_of(now + datetime.timedelta(minutes=minutes)) for minutes in (-90, 5))
    with contextlib.closing(sqlite3.connect(synced.database)) as connection:
        connection.execute(
            "UPDATE source SET state = 'down', error = 'no route', fault = 'network', fault_since = ?, probe_at = ?",
            (since, probe_at),
        )
        connection.commit()

    [source] = synced.json("status")["sources"]
    assert (source["fault"], source["fault_since"], source["probe_at"]) == ("network", since, probe_at)
    printed = synced.done("status")
    said = f"network fault for 90 min, since {since}: no route; it is asked again at {probe_at}, nothing is sent before"
    assert f"central: {said}\n" in printed
    assert [printed.count(word) for word in ("no route", "network", "waits for", probe_at)] == [1, 1, 0, 1]


def test_status_warns_before_a_token_ends(synced: Bench) -> None:
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=10, hours=1)
    token = f"SharedAccessSignature sr=x&sig=abc&skn=y&se={int(end.timestamp() * 1000)}"
    (synced.folder / "token").write_text(token)
    synced.configure(
        more='[sources.other]\nkind = "iot-central"\nurl = "https://example.invalid"\n'
        'auth = { method = "api-token", token = { file = "token" } }\n'
    )

    warnings = synced.json("status")["warnings"]

    assert f"source other: its token ends in 10 days, on {end:%Y-%m-%d}: replace it" in warnings
    assert "sig=" not in str(warnings)


def test_a_journal_that_somebody_holds_open_is_said(tmp_path: Path) -> None:
    database = tmp_path / "fleet.db"
    with (tmp_path / "fleet.db-wal").open("wb") as wal:
        wal.truncate(LARGE_WAL_BYTES + 1)

    [warning] = wal_warnings(database)

    assert "256 MiB" in warning
    assert f"`fuser {database}`" in warning


# explain


def test_explain_says_who_won_and_who_lost_and_under_which_guard(synced: Bench) -> None:
    synced.declare(RENAME + HIGHER)
    synced.done("sync")
    id = a_pump(synced)

    found = synced.json("explain", "central", id)

    [field] = found["fields"]
    assert field["path"] == "displayName"
    assert field["declared"] == "The higher pump"
    assert field["declarations"] == ["higher"]
    assert field["priority"] == 10
    place = {"file": "declarations/all.toml", "line": 2, "path": "displayName"}
    assert field["overruled"] == [{"declaration": "rename", **place, "priority": 0, "declared": "A pump"}]
    assert field["disputed"] == []
    assert field["state"] == "pending"
    assert field["guard"] == "if-match"
    assert field["held"] is None
    assert field["met"] is False
    assert {one["name"]: one["selects"] for one in found["declarations"]} == {"rename": True, "higher": True}
    printed = synced.done("explain", "central", id)
    assert 'overruled "A pump"  rename (declarations/all.toml:2), priority 0' in printed


def test_explain_shows_both_sides_of_a_contradiction_and_no_winner(synced: Bench) -> None:
    synced.declare(HIGHER.replace("priority = 10", "priority = 0"), "higher.toml")
    synced.declare(RENAME.replace('"rename"', '"lower"').replace("A pump", "X") + "\n", "lower.toml")
    text = (synced.folder / "declarations" / "lower.toml").read_text()
    synced.declare(text.replace("where =", "priority = -1\nwhere ="), "lower.toml")
    id = a_pump(synced)

    [field] = synced.json("explain", "central", id)["fields"]

    assert {(one["declaration"], one["file"], one["declared"]) for one in field["disputed"]} == {
        ("rename", "declarations/all.toml", "A pump"),
        ("higher", "declarations/higher.toml", "The higher pump"),
    }
    assert [one["declaration"] for one in field["overruled"]] == ["lower"]
    assert (field["declarations"], field["met"], "declared" in field) == ([], False, False)
    printed = synced.done("explain", "central", id)
    assert "displayName: contradiction, nothing of this resource is written" in printed
    assert 'disputed  "A pump"  rename (declarations/all.toml:2), priority 0' in printed
    assert 'disputed  "The higher pump"  higher (declarations/higher.toml:2), priority 0' in printed
    assert "    declared  " not in printed


def test_a_device_that_is_gone_is_said_to_be_so_with_the_reason(synced: Bench) -> None:
    id = a_pump(synced)
    synced.cloud.delete_device(id)
    synced.done("sync")

    result = synced.run("explain", "central", id)
    gone, *_ = synced.json("history", "central", id)["entries"]

    assert result.exit_code == 1
    assert result.stderr.startswith(
        f"fleetsync: device {id!r} in source central is gone since {gone['at']}: unseen by "
    )
    assert f"`fleetsync history central {id}`" in result.stderr
    assert gone["event"] == "gone"
    assert gone["reason"] in result.stderr
    assert f"  gone  {gone['reason']}\n" in synced.done("history", "central", id)


def test_the_history_of_a_device_is_told_for_as_long_as_it_lasts(synced: Bench) -> None:
    id = a_pump(synced)
    synced.cloud.delete_device(id)
    synced.done("sync")
    with contextlib.closing(sqlite3.connect(synced.database)) as connection:
        connection.execute("DELETE FROM resource WHERE id = ?", (id,))
        connection.commit()

    entries = synced.json("history", "central", id)["entries"]

    assert [entry["event"] for entry in entries] == ["gone", "added"]
    assert synced.json("query", f"SELECT event FROM history WHERE resource_id = '{id}' ORDER BY id") == [
        {"event": "added"}, {"event": "gone"},
    ]  # fmt: skip


def test_status_says_where_the_service_counts_other_than_it_lists(synced: Bench) -> None:
    assert synced.json("status")["doubted_listings"] == []
    with contextlib.closing(sqlite3.connect(synced.folder / "fleetsync.db")) as connection:
        connection.execute("UPDATE listing SET agrees = 0, shown = 8, counted = 9 WHERE type = 'device'")
        connection.commit()

    [found] = synced.json("status")["doubted_listings"]

    assert (found["source"], found["type"], found["shown"], found["counted"]) == ("central", "device", 8, 9)
    said = f"doubtful: central device: listing {found['id']} shows 8, and the service itself counts 9\n"
    assert said in synced.done("status")


def test_explain_says_which_declarations_do_not_select_a_device(mirrored: Bench) -> None:
    [other] = mirrored.json("query", "SELECT id FROM devices WHERE id NOT LIKE 'pump-%' LIMIT 1")

    found = mirrored.json("explain", "central", other["id"])

    assert found["fields"] == []
    assert [one["selects"] for one in found["declarations"]] == [False]


def test_explain_shows_a_value_that_is_as_declared(synced: Bench) -> None:
    synced.declare(RENAME.replace("enabled AND ", ""))
    synced.done("apply")

    [field] = synced.json("explain", "central", a_pump(synced))["fields"]

    assert field["met"] is True
    assert field["state"] is None


@pytest.mark.parametrize("command", ["explain", "history"])
def test_an_unknown_device_is_1_with_the_nearest_ids(mirrored: Bench, command: str) -> None:
    id = a_pump(mirrored)

    result = mirrored.run(command, "central", f"{id}0")

    assert result.exit_code == 1
    assert repr(id) in result.stderr


@pytest.mark.parametrize(
    "words", [["explain", "nowhere", "x"], ["history", "nowhere", "x"], ["explain", "central", "x", "--type", "devize"]]
)
def test_an_unknown_source_or_type_is_a_usage_error(mirrored: Bench, words: list[str]) -> None:
    assert mirrored.run(*words).exit_code == 2


# history


def test_history_shows_events_and_writes_newest_first(synced: Bench) -> None:
    id = a_pump(synced)
    synced.done("apply")

    entries = synced.json("history", "central", id)["entries"]

    assert [entry.get("reason") for entry in entries] == [None, None, None]
    assert [entry.get("event") or entry["outcome"] for entry in entries] == ["updated", "applied", "added"]
    write = entries[1]
    assert write["patch"] == {"displayName": "A pump"}
    assert write["declarations"] == ["rename"]
    assert write["guard"] == "if-match"
    assert [entry["at"] for entry in entries] == sorted((entry["at"] for entry in entries), reverse=True)
    assert "write applied under if-match" in synced.done("history", "central", id)
