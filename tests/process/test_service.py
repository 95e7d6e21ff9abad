"""What is wrong with a service, its name or its credential, and the real process."""

import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleetsync.simulator import Cloud, Options, SimRequest, SimResponse
from tests.cli.bench import served, serving
from tests.process.conftest import CONFIG, Documented, works
from tests.process.program import Program

DEAF = ("unshare", "-Urmn", sys.executable, str(Path(__file__).with_name("dead_dns.py")))
TOKEN = """
[sources.central]
kind = "iot-central"
url = "{url}"
interval = "1s"
resources = ["device"]
rate = {{ list = "1000/s" }}
{more}
auth = {{ method = "api-token", token = {{ file = "{folder}/token" }} }}
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud that wants to know who asks."""
    folder = tmp_path_factory.mktemp("tls")
    with served(Options(devices=50, rate="none", latency_s=0.0, tls=folder)) as cloud:
        yield cloud


def test_a_credential_is_read_anew_whatever_was_wrong_with_it(
    tmp_path: Path, guarded: Cloud, documented: Documented
) -> None:
    program, token = Program(folder=tmp_path), tmp_path / "token"
    authority = re.search(r'ca_file = "[^"]+"', guarded.configuration())
    assert authority is not None
    program.config.write_text(TOKEN.format(url=guarded.url, more=authority[0], folder=tmp_path), encoding="utf-8")
    right = guarded.credentials.api_token
    with program.daemon() as daemon:
        daemon.ready()
        daemon.until("central refused")
        ended = program.run("sync")
        documented("a credential is missing, empty or wrong", ended.line, ended.code)
        for text, how in (("", "is empty"), (f"{right}\n\n{right}", "line break"), ("wrong", "401")):
            token.write_text(f"{right}\n", encoding="utf-8")
            assert program.run("sync").code == 0, "the daemon asks at once when it is told to"
            # What it was in the middle of may still fail: only a cycle of its own says that it is well.
            daemon.running.logged("cycle.finished", after=len(daemon.running.log()), outcome="done")
            lines = len(daemon.running.log())
            token.write_text(text, encoding="utf-8")
            said = daemon.running.logged("source.down", after=lines)["error"]
            documented("a credential is missing, empty or wrong", said)
            assert how in said
        # Another file takes the place of the old one, as the usual tools have it.
        (tmp_path / "new").write_text(right, encoding="utf-8")
        (tmp_path / "new").rename(token)
        assert program.run("sync").code == 0
        assert daemon.stopped().code == 0
    assert program.ask("SELECT count(*) FROM devices") == [(50,)]


@pytest.mark.skipif(not works(*DEAF[:2], "true"), reason="this machine allows no network namespace")
def test_nobody_who_answers_ends_the_command_with_75(tmp_path: Path, documented: Documented) -> None:
    program = Program(folder=tmp_path, environ={"RES_OPTIONS": "timeout:1 attempts:1"})
    (tmp_path / "token").write_text("token", encoding="utf-8")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n", encoding="utf-8")
    named = TOKEN.format(url="https://plant.azureiotcentral.example", more="", folder=tmp_path)
    absent = CONFIG.format(url="http://127.0.0.1:1", more="").replace("sources.central", "sources.absent")
    program.config.write_text(named + absent, encoding="utf-8")
    program.around = (*DEAF, str(tmp_path / "resolv.conf"))
    ended = program.run("sync")
    lines = sorted(ended.err.splitlines())
    assert len(lines) == 2
    documented("the service does not answer", lines[0], ended.code)
    documented("no name server answers", lines[1], ended.code)
    assert "plant.azureiotcentral.example" in lines[1]


class LateCloud(Cloud):
    """A cloud that carries out writes and answers them late."""

    delay_s = 600.0

    def handle(self, request: SimRequest) -> SimResponse:
        response = super().handle(request)
        return replace(response, delay_s=self.delay_s) if request.method == "PATCH" else response

    def carried_out(self) -> Counter[str]:
        return Counter(write.id for write in self.counters.writes if write.by == "client")


def test_sigterm_in_the_middle_of_writes_leaves_them_to_be_looked_up(tmp_path: Path) -> None:
    cloud = LateCloud(Options(devices=20, rate="none", latency_s=0.0))
    program = Program(folder=tmp_path)
    (tmp_path / "declarations").mkdir()
    (tmp_path / "declarations" / "all.toml").write_text(
        '[[declaration]]\nname = "named"\ndesired.displayName = "declared"\n', encoding="utf-8"
    )
    with serving(cloud):
        text = CONFIG.format(url=cloud.url, more='limits = { max_writes = "100%" }')
        program.config.write_text(text.replace('"manual"', '"enforce"'), encoding="utf-8")
        with program.daemon() as daemon:
            daemon.ready()
            while not cloud.carried_out():
                time.sleep(0.01)
            ended = daemon.stopped()
        assert ended.code == 0, ended.err
        assert ended.took_s < 5.0 or os.getloadavg()[0] > (os.cpu_count() or 1)
        left = cloud.carried_out()
        assert program.ask("SELECT count(*) FROM writes WHERE outcome = 'open'") == [(len(left),)]

        cloud.delay_s = 0.0
        assert program.run("apply").code == 0
    assert cloud.carried_out() == Counter(str(device["id"]) for device in cloud.truth()), "each once, and only once"
    assert program.ask("SELECT outcome, count(*) FROM writes GROUP BY 1") == [("applied", 20)]


def test_a_crash_loop_does_not_hammer_the_service(mirrored: Program, cloud: Cloud) -> None:
    text = mirrored.config.read_text(encoding="utf-8")
    per_s = 2.0
    mirrored.config.write_text(text.replace("1000/s", f"{per_s:g}/s burst 5"), encoding="utf-8")
    cloud.reset_counters()
    began_s = time.monotonic()
    for number in range(3):
        with mirrored.daemon() as daemon:
            daemon.ready()
            while cloud.counters.requests <= number:
                time.sleep(0.005)
            daemon.running.tell(signal.SIGKILL)
            daemon.running.ended()
    took_s = time.monotonic() - began_s
    assert cloud.counters.requests <= per_s * took_s, "a bucket starts empty, whatever burst there is"
