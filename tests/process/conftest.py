import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from fleetsync.simulator import Cloud, Options
from tests.cli.bench import served
from tests.process.program import Program

DEVICES = 300
CONFIG = """
[sources.central]
kind = "iot-central"
url = "{url}"
mode = "manual"
interval = "1s"
resources = ["device"]
rate = {{ list = "1000/s", read = "1000/s", write = "1000/s" }}
auth = {{ method = "none" }}
{more}
"""
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TABLE = README.partition("### When something breaks\n")[2].partition("\n#")[0]


def rows() -> dict[str, tuple[str, ...]]:
    """Return the README's table of what breaks: what, then what is said of it, and what to do."""
    lines = [line.strip("| ").split(" | ") for line in TABLE.splitlines() if line.startswith("| ")]
    return {line[0]: tuple(line[1:]) for line in lines[1:]}


Documented = Callable[..., None]


@pytest.fixture(scope="session")
def documented() -> Documented:
    """Return what makes sure that the README's row about something that breaks says what was really said."""

    def compare(what: str, said: str, code: int | None = None) -> None:
        patterns = [re.escape(text).replace("…", ".*") for text in re.findall(r"`([^`]+)`", rows()[what][0])]
        assert any(re.search(pattern, said) for pattern in patterns), (what, said)
        assert code is None or rows()[what][1].startswith(str(code)), (what, code)

    return compare


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with served(Options(devices=DEVICES, rate="none", latency_s=0.0)) as cloud:
        yield cloud


@pytest.fixture
def program(tmp_path: Path, cloud: Cloud) -> Program:
    """A folder with a configuration for the cloud."""
    program = Program(folder=tmp_path)
    program.config.write_text(CONFIG.format(url=cloud.url, more=""), encoding="utf-8")
    return program


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud) -> Path:
    """The database after one `sync`, to be copied."""
    program = Program(folder=tmp_path_factory.mktemp("mirror"))
    program.config.write_text(CONFIG.format(url=cloud.url, more=""), encoding="utf-8")
    assert program.run("sync").code == 0
    return program.database


@pytest.fixture
def mirrored(program: Program, mirror: Path) -> Program:
    """The same folder with the database after one `sync`."""
    shutil.copy(mirror, program.database)
    return program


def works(*command: str) -> bool:
    """Say whether a program is there and may do what it is asked to."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


UNSHARE = next((way for way in (("unshare", "-m"), ("unshare", "-Urm")) if works(*way, "true")), None)
needs_mounts = pytest.mark.skipif(UNSHARE is None, reason="this machine allows no mount namespace")
needs_strace = pytest.mark.skipif(not works("strace", "true"), reason="no strace here, or it may trace nothing")


def mounted(script: str) -> Sequence[str]:
    """Return what runs a command where `script` has mounted something that nobody else sees."""
    return (*(UNSHARE or ()), "sh", "-ec", f'{script}\nexec "$@"', "sh")


def beside(pid: int) -> Sequence[str]:
    """Return what runs a command where it sees what a process has mounted."""
    alike = () if UNSHARE is None or "-m" in UNSHARE else ("--user", "--preserve-credentials")
    return ("nsenter", f"--target={pid}", "--mount", *alike)
