import json
import re
import signal
import subprocess
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from fleetsync.cli.simulated import chosen_tier
from fleetsync.config.load import load
from fleetsync.providers.base import all_kinds
from fleetsync.providers.cloud_relay import Settings as RelaySettings
from fleetsync.providers.iot_hub import Settings
from fleetsync.simulator import Cloud, Options
from tests.cli.bench import Bench, invoke, served, started


def ended(process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGTERM) -> tuple[str, str]:
    process.send_signal(number)
    return process.communicate(timeout=20)


def asked(url: str, method: str, path: str, body: object = None) -> Any:
    """Return what a simulated hub answers, past everything of ours."""
    request = urllib.request.Request(
        f"{url}{path}?api-version=2021-04-12",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_simulate_prints_a_configuration_and_nothing_else(number: signal.Signals) -> None:
    process = started("simulate", "--listen", "127.0.0.1:0", "--devices", "5")
    assert process.stderr is not None
    assert re.fullmatch(r"iot-central at 127\.0\.0\.1:\d+: 5 devices\n", process.stderr.readline())
    assert process.stderr.readline() == "seed 1; Ctrl-C ends it\n"

    printed, _ = ended(process, number)

    assert process.returncode == 0
    sources = tomllib.loads(printed)["sources"]
    assert sources.keys() == {"central"}
    assert sources["central"]["url"].startswith("http://127.0.0.1:")


def test_simulate_serves_a_hub_as_its_options_say(tmp_path: Path) -> None:
    anywhere = ("--listen", "127.0.0.1:0", "--hub-listen", "127.0.0.1:0")
    fleet = ("--kinds", "iot-central,iot-hub", "--devices", "5", "--hub-devices", "7")
    limits = ("--tier", "S3", "--units", "2", "--daily-quota", "9", "--page-size", "5", "--index-lag", "30m")
    process = started("simulate", *anywhere, *fleet, *limits)
    assert process.stderr is not None
    said = dict(re.findall(r"(\S+) at (\S+): (?:5|7) devices\n", process.stderr.readline() + process.stderr.readline()))
    hub = f"http://{said['iot-hub']}"
    query = (hub, "POST", "/devices/query", {"query": "SELECT * FROM devices"})
    first = asked(*query)
    twin = f"/twins/{first[0]['deviceId']}"
    asked(hub, "PATCH", twin, {"tags": {"new": True}})
    current, late = asked(hub, "GET", twin), asked(*query)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        all(asked(*query) for _ in range(9))

    printed, _ = ended(process)

    file = tmp_path / "config.toml"
    file.write_text(printed, encoding="utf-8")
    sources = load(file, all_kinds()).sources
    assert {name: source.url for name, source in sources.items()} == {
        "central": f"http://{said['iot-central']}",
        "hub": hub,
    }
    assert sources["hub"].own == Settings(tier="S3", units=2)
    assert len(first) == 5
    assert current["tags"]["new"] is True
    assert not any("new" in row.get("tags", {}) for row in late)


def test_simulate_serves_all_kinds_and_check_accepts_what_it_prints(tmp_path: Path) -> None:
    anywhere = [
        word
        for option in ("--listen", "--hub-listen", "--sphere-listen", "--arm-listen", "--relay-listen")
        for word in (option, "127.0.0.1:0")
    ]
    fleet = ("--devices", "6", "--hub-devices", "5", "--sphere-devices", "8", "--sphere-move", "1m")
    process = started("simulate", "--kinds", "all", *anywhere, *fleet)
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in all_kinds()]
    said = {kind: (at, what) for kind, at, what in re.findall(r"(\S+) at (\S+): (.+)\n", "".join(lines))}
    printed, _ = ended(process)
    config = tmp_path / "config.toml"
    config.write_text(printed, encoding="utf-8")
    checked = invoke("--config", str(config), "check")
    sources = load(config, all_kinds()).sources.values()

    assert checked.exit_code == 0, checked.output
    assert {kind: what for kind, (_, what) in said.items()} == {
        "iot-central": "6 devices",
        "iot-hub": "5 devices",
        "sphere-legacy": "8 devices",
        "sphere-arm": "13 devices in 2 catalogs",
        "iot-hub-arm": "2 hubs",
        "cloud-relay": "5 controllers",
    }
    assert said.keys() == all_kinds().keys()
    assert {source.kind.name: source.url for source in sources} == {
        kind: f"http://{at}" for kind, (at, _) in said.items()
    }


def test_a_relay_without_a_hub_has_controllers_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    options = Options(kinds=("cloud-relay",), relay_devices=3, relay_listen="127.0.0.1:8474")
    file.write_text(Cloud(options).configuration(), encoding="utf-8")
    (source,) = load(file, all_kinds()).sources.values()
    assert isinstance(source.own, RelaySettings)
    assert len(source.own.roster) == 3


@pytest.mark.parametrize("tier", ["F1", "S1", "S2", "S3", "none"])
def test_every_tier_that_can_be_simulated_can_be_configured(tmp_path: Path, tier: str) -> None:
    file = tmp_path / "config.toml"
    options = Options(kinds=("iot-hub",), hub_tier=chosen_tier(tier), hub_listen="127.0.0.1:8471")
    file.write_text(Cloud(options).configuration(), encoding="utf-8")
    (hub,) = load(file, all_kinds()).sources.values()
    assert hub.own == (Settings() if tier == "none" else Settings(tier=tier))


@pytest.mark.parametrize("method", ["shared-access-key", "client-secret"])
def test_the_printed_configuration_signs_in_at_both_services(tmp_path: Path, method: str) -> None:
    kinds = ("iot-central", "iot-hub")
    with served(Options(kinds=kinds, devices=5, hub_units=200, latency_s=0.0, tls=tmp_path / "tls")) as cloud:
        bench = Bench(folder=tmp_path, cloud=cloud)
        text = cloud.configuration()
        if method == "client-secret":
            head, _, hub = text.partition("[sources.hub.auth]")
            text = f"{head}[sources.hub.auth]\n" + "\n".join(
                line.removeprefix("# ") for line in hub.splitlines() if re.match(r"# \w+ = ", line)
            )
        bench.config.write_text(text, encoding="utf-8")
        found = bench.json("check", "--online")
    assert {one["name"]: set(one["online"].values()) for one in found["sources"]} == {"central": {None}, "hub": {None}}
    assert tomllib.loads(text)["sources"]["hub"]["auth"]["method"] == method


def test_the_printed_configuration_signs_in_at_azure_resource_manager(tmp_path: Path) -> None:
    kinds = ("sphere-arm", "iot-hub-arm")
    with served(Options(kinds=kinds, sphere_devices=5, latency_s=0.0, tls=tmp_path / "tls")) as cloud:
        bench = Bench(folder=tmp_path, cloud=cloud)
        bench.config.write_text(cloud.configuration(), encoding="utf-8")
        found = bench.json("check", "--online")
    assert {one["name"]: set(one["online"].values()) for one in found["sources"]} == {"catalog": {None}, "hubs": {None}}


def test_nothing_is_sent_to_a_hub_with_the_connection_string_of_another(tmp_path: Path) -> None:
    with served(Options(kinds=("iot-hub",), devices=5, latency_s=0.0, tls=tmp_path / "tls")) as cloud:
        bench = Bench(folder=tmp_path, cloud=cloud)
        bench.config.write_text(cloud.configuration(), encoding="utf-8")
        secret = tmp_path / "tls" / "hub-connection-string"
        key = secret.read_text().rpartition("SharedAccessKey=")[2]
        secret.write_text(secret.read_text().replace("HostName=localhost", "HostName=other.example"))
        result = bench.run("check", "--online")
    assert result.exit_code == 1
    assert re.search(r"is for the hub other\.example:\d+, and the url of this source is at localhost:", result.stdout)
    assert key not in result.output
    assert bench.requests == 0


@pytest.mark.parametrize(
    "words",
    [
        ["--kinds", "iot-centrel"],
        ["--rate", "fast"],
        ["--faults", "nonsense"],
        ["--latency", "soon"],
        ["--life", "wild"],
        ["--listen", "0.0.0.0:8470"],
        ["--tier", "S3"],
        ["--kinds", "iot-hub", "--tier", "B1"],
        ["--kinds", "iot-hub", "--units", "0"],
        ["--kinds", "iot-hub", "--index-lag", "soon"],
        ["--kinds", "iot-hub", "--hub-listen", "0.0.0.0:8471"],
        ["--kinds", "all,iot-hub"],
        ["--sphere-devices", "3"],
        ["--arm-listen", "127.0.0.1:0"],
        ["--relay-devices", "3"],
        ["--kinds", "all", "--relay-devices", "3"],
        ["--kinds", "sphere-legacy", "--sphere-move", "soon"],
        ["--kinds", "sphere-legacy", "--sphere-listen", "0.0.0.0:8472"],
    ],
)
def test_a_wrong_option_of_simulate_is_one_line(bench: Bench, words: list[str]) -> None:
    result = bench.run("simulate", *words)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1


def test_the_daemon_takes_commands_and_ends_well(bench: Bench) -> None:
    daemon = bench.start("run")
    assert daemon.stderr is not None
    while "daemon.started" not in daemon.stderr.readline():
        assert daemon.poll() is None

    synced = bench.json("sync")
    status = bench.json("status")
    paused = bench.run("pause", "central")
    second = bench.start("run")
    _, complaint = second.communicate(timeout=20)
    ended(daemon)

    assert synced["exit_code"] == 0
    assert status["process"] == {"pid": daemon.pid, "daemon": True}
    assert paused.exit_code == 0
    assert second.returncode == 75
    assert f"in use by process {daemon.pid}" in complaint
    assert daemon.returncode == 0
    assert bench.json("status")["sources"][0]["state"] == "paused"


def test_status_shows_what_the_daemon_did_not_take_over(bench: Bench) -> None:
    right = bench.config.read_text()
    with bench.start("run") as daemon:
        assert daemon.stderr is not None
        log = daemon.stderr

        def reload(event: str) -> None:
            daemon.send_signal(signal.SIGHUP)
            while event not in log.readline():
                assert daemon.poll() is None

        while "daemon.started" not in log.readline():
            assert daemon.poll() is None
        bench.config.write_text(right + "colour = 'red'\n")
        bench.declare("[[declaration]]\nname = 'x'\n")
        reload("config.refused")
        bench.config.write_text(right)  # `status` reads it as well
        refused = bench.json("status")["refused_configuration"]
        printed = bench.done("status")
        bench.declare("")
        reload("config.reloaded")
        later = bench.json("status")["refused_configuration"]
        daemon.send_signal(signal.SIGTERM)
        log.read()

    assert [(one["file"], one["line"]) for one in refused] == [
        (str(bench.config), right.count("\n") + 1),
        ("declarations/all.toml", 1),
    ]
    assert f"refused: {bench.config}:{refused[0]['line']}: unknown key `colour`" in printed
    assert f"the configuration before {refused[0]['at']} runs on" in printed
    assert later == []


def test_the_daemon_refuses_a_wrong_configuration_with_78(bench: Bench) -> None:
    bench.configure(more="colour = 'red'\n")

    assert bench.run("run").exit_code == 78
