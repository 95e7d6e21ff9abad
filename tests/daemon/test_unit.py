"""The unit, judged by systemd itself."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "systemd"
UNIT = FOLDER / "fleetsync.service"
MOST_EXPOSED = 12
"""Tenths: what `systemd-analyze security` may say at most."""


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


def run(*command: str) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


@needs("systemd-analyze")
def test_systemd_finds_no_mistake_in_the_unit() -> None:
    _, output = run("systemd-analyze", "verify", str(UNIT))

    missing = "fleetsync.service: Command /opt/fleetsync/bin/fleetsync is not executable: No such file or directory"
    assert [line for line in output.splitlines() if line != missing] == []


@needs("systemd-analyze")
def test_the_unit_exposes_next_to_nothing() -> None:
    code, output = run("systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", str(UNIT))

    assert code == 0, output


@needs("systemd-sysusers")
def test_the_user_and_the_group_of_the_unit_are_made() -> None:
    code, output = run("systemd-sysusers", "--dry-run", str(FOLDER / "fleetsync.sysusers.conf"))

    assert code == 0, output
    text = UNIT.read_text(encoding="utf-8")
    assert "User=fleetsync\n" in text
    assert "Group=fleetsync\n" in text


def test_the_daemon_has_the_time_that_it_needs_to_stop() -> None:
    assert "TimeoutStopSec=10\n" in UNIT.read_text(encoding="utf-8")


def test_the_readme_installs_what_the_unit_starts() -> None:
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    [program] = re.findall(r"^ExecStart=(\S+) --config (?:\S+) run$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    folder = program.removesuffix("/bin/fleetsync")

    assert f"    python3 -m venv {folder} " in readme
    assert f"    {folder}/bin/pip install . " in readme
    installed = re.findall(r"^    install -m \d+ (?:-g fleetsync )?(\S+) (\S+)", readme, re.MULTILINE)
    assert {source for source, _ in installed if (FOLDER.parent / source).exists()} == {
        "systemd/fleetsync.service",
        "systemd/fleetsync.sysusers.conf",
    }
    assert ("declarations/*.toml", "/etc/fleetsync/declarations/") in installed
    assert ("config.toml", "/etc/fleetsync/") in installed
