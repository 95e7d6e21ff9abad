"""What `pip install` of the wheel gives is enough to create and upgrade a database."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import fleetsync
from fleetsync.mirror.revision import head

ROOT = Path(__file__).parent.parent


def test_the_wheel_alone_creates_a_database(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    config = tmp_path / "config.toml"
    config.write_text('[sources.a]\nkind = "iot-central"\nurl = "http://127.0.0.1:1"\nauth.method = "none"\n')

    def run(*words: str) -> str:
        command = [sys.executable, "-P", "-m", "fleetsync", "--config", str(config), *words]
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert fleetsync.__version__ in run("--version")
    run("db", "upgrade")
    assert head() in run("db", "current")
    assert json.loads(run("query", "SELECT count(*) AS n FROM devices", "--format", "json")) == [{"n": 0}]


def test_the_versions_agree() -> None:
    assert f'version = "{fleetsync.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_lock_files_name_no_index_and_hash_everything() -> None:
    for name in ("requirements.lock", "requirements-test.lock", "requirements-microsoft.lock"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        packages = [line for line in lines if "==" in line and not line.startswith((" ", "#"))]
        assert packages
        assert all(line.endswith("\\") for line in packages), "each is followed by its hashes"
        assert not [line for line in lines if "://" in line or line.startswith("-")]
