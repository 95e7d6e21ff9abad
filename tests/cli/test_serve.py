import signal
import subprocess
import tomllib

import pytest

from tests.cli.bench import Bench, started


def ended(process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGTERM) -> tuple[str, str]:
    process.send_signal(number)
    return process.communicate(timeout=20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_simulate_prints_a_configuration_and_nothing_else(number: signal.Signals) -> None:
    process = started("simulate", "--listen", "127.0.0.1:0", "--devices", "5")
    assert process.stderr is not None
    assert "5 devices at 127.0.0.1:" in process.stderr.readline()

    printed, _ = ended(process, number)

    assert process.returncode == 0
    assert tomllib.loads(printed)["sources"]["central"]["url"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "words",
    [
        ["--kinds", "iot-centrel"],
        ["--rate", "fast"],
        ["--faults", "nonsense"],
        ["--latency", "soon"],
        ["--life", "wild"],
        ["--listen", "0.0.0.0:8470"],
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


def test_the_daemon_refuses_a_wrong_configuration_with_78(bench: Bench) -> None:
    bench.configure(more="colour = 'red'\n")

    assert bench.run("run").exit_code == 78
