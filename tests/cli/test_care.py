import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.mirror.revision import head
from fleetsync.simulator import Options, parse_faults
from tests.cli.bench import Bench, served


def test_a_good_configuration_checks_without_a_request(bench: Bench) -> None:
    bench.declare("")

    found = bench.json("check")

    assert found["exit_code"] == 0
    assert found["problems"] == []
    assert found["sources"][0]["types"][0] == "device"
    assert found["database"]["schema"] is None
    assert bench.requests == 0
    assert bench.done("check").endswith("all is well\n")


def test_check_names_what_is_wrong_everywhere_at_once(synced: Bench) -> None:
    synced.configure(
        more='intervall = "5m"\n[sources.other]\nkind = "iot-central"\nurl = "https://example.invalid"\n'
        'auth = { method = "api-token", token = { file = "no.token" } }\n[sources.odd]\nkind = "iot-centrel"\n'
    )
    synced.config.write_text(synced.config.read_text().replace(synced.cloud.url, "http://127.0.0.1:9"))
    synced.declare("[[declaration]]\nname = 'x'\nwhere = \"colour = 'red'\"\ndesired.enabled = true\n")
    synced.declare("[[declaration]]\nname = 'x'\ndesired.colour = 1\n[[declaration\n", "broken.toml")
    synced.declare("[[declaration]]\nname = 'y'\nsources = ['odd']\nwher = 1\ndesired.any = 1\n", "odd.toml")

    result = synced.run("check")

    assert result.exit_code == 78
    words = (
        *("unknown key `intervall`", "no.token", "did you mean `iot-central`?", "missing key `method`"),
        *("declarations/all.toml:3: `where` of `x` is refused", "declarations/broken.toml:4: not TOML"),
        *("declarations/odd.toml:4: unknown key `wher`", "source 'central' mirrored iot-central at"),
    )
    lines = result.stderr.splitlines()
    assert [len([line for line in lines if word in line]) for word in words] == [1] * len(words)
    assert len(lines) == len(words)
    found = synced.json("check")
    assert [problem["message"] in lines[place] for place, problem in enumerate(found["problems"])] == [True] * len(
        words
    )
    assert (found["sources"], found["declarations"]) == ([], None)
    assert found["database"]["schema"] == found["database"]["expected"]


def test_check_looks_at_no_database_and_no_folder_that_is_not_clear(synced: Bench) -> None:
    synced.declare("nonsense")
    synced.config.write_text('declarations = "nowhere"\n[database]\nurl = "fleet.db"\n' + synced.config.read_text())

    found = synced.json("check")

    assert [problem["line"] for problem in found["problems"]] == [1, 3]
    assert found["database"] is None


def test_check_and_sync_refuse_another_service_under_the_same_name(synced: Bench) -> None:
    synced.config.write_text(synced.config.read_text().replace(synced.cloud.url, "http://127.0.0.1:9"))

    [problem] = synced.json("check")["problems"]
    result = synced.run("sync")

    assert problem["message"].endswith("run `fleetsync db forget central` first")
    assert problem["file"] == str(synced.config)
    assert result.exit_code == 78
    assert problem["message"] in result.stderr


def test_check_prints_wrong_configurations_as_json_too(bench: Bench) -> None:
    bench.config.write_text("[sources.x]\nkind = 'iot-centrel'\n")

    result = bench.run("check", "--json")

    assert result.exit_code == 78
    found = json.loads(result.stdout)
    assert found["exit_code"] == 78
    assert {problem["file"] for problem in found["problems"]} == {str(bench.config)}
    assert all(problem["line"] for problem in found["problems"])


def test_check_online_reads_one_page_of_each_type(bench: Bench) -> None:
    found = bench.json("check", "--online")

    assert found["exit_code"] == 0
    assert set(found["sources"][0]["online"].values()) == {None}
    assert bench.requests == len(found["sources"][0]["types"])


_RELAY_AND_ITS_HUB = """
[sources.buildings]
kind = "cloud-relay"
url = "http://127.0.0.1:9"
auth = { method = "none" }
roster = { source = "hub" }

[sources.hub]
kind = "iot-hub"
url = "http://127.0.0.1:9"
tier = "S1"
units = 1
auth = { method = "none" }
"""


def test_check_online_of_a_relay_whose_hub_was_never_listed_says_what_to_run_first(bench: Bench) -> None:
    bench.configure(more=_RELAY_AND_ITS_HUB)
    before = bench.run("check", "buildings", "--online")
    bench.done("sync", "central")
    after = bench.run("check", "buildings", "--online")

    assert [(one.exit_code, one.stderr) for one in (before, after)] == [(75, ""), (75, "")]
    assert "yet: `fleetsync sync` makes one" in before.stdout
    assert "which devices hub has is not known before its first complete listing: run `fleetsync sync hub` first" in (
        after.stdout
    )


@pytest.mark.parametrize(("url", "code"), [("http://127.0.0.1:9", 75), (None, 1)])
def test_check_online_says_whether_it_is_worth_trying_again(bench: Bench, url: str | None, code: int) -> None:
    if url is None:
        bench.config.write_text(bench.config.read_text() + "api_version = '2022-07-31'\n")
        bench.cloud.faults = parse_faults("status=400")
    else:
        bench.config.write_text(bench.config.read_text().replace(bench.cloud.url, url))

    result = bench.run("check", "--online")

    assert result.exit_code == code


def test_sign_in_needs_a_source_that_is_signed_in_by_a_person(bench: Bench) -> None:
    result = bench.run("check", "--sign-in")

    assert result.exit_code == 2
    assert "device-code" in result.stderr


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[Bench]:
    """A bench whose cloud has TLS and wants a person to sign in."""
    options = Options(devices=5, rate="none", latency_s=0.0, tls=tmp_path / "tls", device_code_interval_s=0)
    with served(options) as cloud:
        bench = Bench(folder=tmp_path, cloud=cloud)
        text = cloud.configuration().replace('"client-secret"', '"device-code"', 1)
        bench.config.write_text(re.sub(r"(?m)^client_secret = .*$", "", text))
        yield bench


def test_a_person_signs_in_once_and_is_remembered(signed: Bench) -> None:
    before = signed.run("check", "--online")
    signing_in = signed.run("check", "--sign-in")
    after = signed.run("check", "--online")

    assert before.exit_code == 1
    assert "`fleetsync check central --sign-in`" in before.stdout
    assert signing_in.exit_code == 0
    assert "enter the code" in signing_in.stderr
    assert after.exit_code == 0


def test_the_doctor_names_a_certificate_that_is_not_trusted(signed: Bench) -> None:
    trusted = signed.json("doctor")
    signed.config.write_text(re.sub(r"(?m)^ca_file = .*$", "", signed.config.read_text()))
    untrusted = signed.run("doctor")

    assert "central tls" in {one["subject"] for one in trusted["findings"] if one["verdict"] == "ok"}
    assert untrusted.exit_code == 1
    assert "fail  central tls" in untrusted.stdout
    assert "certificate verify failed" in untrusted.stdout


LOOKING = (
    *(["check"], ["status"], ["plan"], ["query", "SELECT 1"], ["sync"], ["pause", "central"]),
    *(["explain", "central", "x"], ["history", "central", "x"]),
)


def change(database: Path, *statements: str) -> None:
    connection = sqlite3.connect(database)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("words", LOOKING)
@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (("UPDATE alembic_version SET version_num = '9999'",), "has schema 9999, which is newer; this version works"),
        (("UPDATE alembic_version SET version_num = '0001'",), "has schema 0001, which is older; this version works"),
        (("DROP TABLE alembic_version",), "is not of fleetsync: it holds coverage, cycle, declaration; this version"),
    ],
)
def test_a_database_of_another_version_is_78_and_one_line_says_what_to_do(
    template: Bench, words: list[str], statements: tuple[str, ...], said: str
) -> None:
    change(template.database, *statements)

    result = template.run(*words)

    assert result.exit_code == 78
    [line] = result.stderr.splitlines()
    todo = {"9999": "install the fleetsync that made it", "0001": "run `fleetsync db upgrade`"}
    assert f"{template.database} {said}" in line
    assert f"schema {head()}: {next((text for number, text in todo.items() if number in said), 'name another')}" in line


@pytest.fixture
def template(bench: Bench) -> Bench:
    """A bench with a database that nothing was listed into."""
    bench.done("db", "upgrade")
    return bench


def test_an_empty_file_is_a_database_that_there_is_not_yet(bench: Bench) -> None:
    bench.database.touch()

    assert bench.run("query", "SELECT 1").exit_code == 75
    assert bench.json("check")["exit_code"] == 0
    assert bench.run("sync").exit_code == 0


def test_the_doctor_says_a_line_for_each_subject(synced: Bench) -> None:
    found = synced.json("doctor")

    subjects = {finding["subject"] for finding in found["findings"]}
    assert subjects >= {"sqlite", "folder", "database", "disk", "descriptors", "central dns", "central clock"}
    assert {finding["verdict"] for finding in found["findings"]} <= {"ok", "warn"}
    assert any(finding["subject"] == "central cycle" for finding in found["findings"])


def test_the_doctor_fails_when_a_service_does_not_answer(bench: Bench) -> None:
    bench.config.write_text(bench.config.read_text().replace(bench.cloud.url, "http://127.0.0.1:9"))

    result = bench.run("doctor")

    assert result.exit_code == 1
    assert "fail  central connection" in result.stdout


# db


def test_upgrade_makes_a_database_and_current_names_its_schema(bench: Bench) -> None:
    made = bench.done("db", "upgrade")

    assert bench.database.exists()
    assert bench.done("db", "current") == made


def test_a_backup_can_be_asked(synced: Bench) -> None:
    copy = synced.folder / "copy.db"
    synced.done("db", "backup", str(copy))
    synced.configure(more="[database]\nurl = 'sqlite:///copy.db'\n")

    assert synced.json("query", "SELECT count(*) AS n FROM devices")[0]["n"] > 0
    assert synced.run("db", "backup", str(copy)).exit_code == 1


def test_a_source_can_be_renamed_and_forgotten(synced: Bench) -> None:
    synced.done("db", "rename", "central", "plant")
    synced.config.write_text(synced.config.read_text().replace("sources.central", "sources.plant"))
    assert synced.json("query", "SELECT DISTINCT source FROM devices") == [{"source": "plant"}]

    synced.done("db", "forget", "plant", "--yes")

    assert synced.json("query", "SELECT count(*) AS n FROM resources") == [{"n": 0}]


def test_a_sign_in_goes_with_the_name_of_its_source(synced: Bench) -> None:
    (synced.folder / "central.sign-in").write_text("cached")

    synced.done("db", "rename", "central", "plant")

    assert not (synced.folder / "central.sign-in").exists()
    assert (synced.folder / "plant.sign-in").read_text() == "cached"
    synced.done("db", "forget", "plant", "--yes")
    assert not (synced.folder / "plant.sign-in").exists()


@pytest.mark.parametrize("name", ["", "a b", "a/b", "Zürich", "a\nb"])
def test_a_source_is_renamed_to_nothing_that_is_no_name(synced: Bench, name: str) -> None:
    result = synced.run("db", "rename", "central", name)

    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert synced.json("query", "SELECT name FROM sources") == [{"name": "central"}]


def test_forgetting_without_a_terminal_wants_a_yes(synced: Bench) -> None:
    result = synced.run("db", "forget", "central")

    assert result.exit_code == 2
    assert "--yes" in result.stderr


@pytest.mark.parametrize("words", [["forget", "nobody", "--yes"], ["rename", "nobody", "x"]])
def test_a_source_that_is_not_in_the_database_is_a_usage_error(synced: Bench, words: list[str]) -> None:
    assert synced.run("db", *words).exit_code == 2


def test_only_some_commands_make_a_database(bench: Bench) -> None:
    commands = (
        *(["db", "forget", "central", "--yes"], ["db", "rename", "central", "x"], ["db", "current"]),
        *(["db", "backup", "x.db"], ["status"], ["plan"], ["query", "SELECT 1"], ["history", "central", "x"]),
        *(["pause", "central"], ["resume", "central"], ["confirm", "central", "--writes", "1"]),
    )
    before = sorted(bench.folder.iterdir())

    for words in commands:
        result = bench.run(*words)
        assert result.exit_code == 75, words
        assert "no database at " in result.stderr, words

    assert sorted(bench.folder.iterdir()) == before
