import contextlib
import datetime
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fleetsync import __version__
from fleetsync.cli.main import main
from fleetsync.clock import SystemClock
from tests.cli.bench import Bench, invoke, started

HEAVY = ("aiohttp", "msal", "sqlalchemy", "alembic", "rich", "structlog", "cryptography")
_IMPORTED = """
import sys
sys.argv = ["fleetsync", *sys.argv[1:]]
try:
    from fleetsync.cli.main import main
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def imported(*words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTED, *words], capture_output=True, text=True, check=True, timeout=20
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_starts_without_the_large_libraries(option: str) -> None:
    assert not imported(option) & set(HEAVY)


def test_query_starts_without_the_large_libraries(mirrored: Bench) -> None:
    assert not imported("--config", str(mirrored.config), "query", "SELECT 1") & {*HEAVY, "asyncio", "ssl"}


def test_status_starts_without_what_it_does_not_use(mirrored: Bench) -> None:
    assert not imported("--config", str(mirrored.config), "status") & set(HEAVY)


def test_a_command_that_has_nothing_to_log_starts_without_what_would_write_it(mirrored: Bench) -> None:
    assert not imported("--config", str(mirrored.config), "sync") & {"structlog", "rich"}


def test_every_command_has_a_help_that_fits_its_line(bench: Bench) -> None:
    listed = bench.done("--help").partition("Commands:")[2].splitlines()

    assert len(listed) > 10
    assert not [row for row in listed if row.endswith("...")]


def test_version_says_which(bench: Bench) -> None:
    assert bench.done("--version") == f"fleetsync {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["plan", "--oops"], ["query"], ["confirm", "central"], ["query", "SELECT 1", "--format", "x"]],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(bench: Bench, words: list[str]) -> None:
    result = bench.run(*words)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("fleetsync: ")
    assert result.stderr.count("\n") == 1


def test_no_command_shows_the_help_and_exits_2(bench: Bench) -> None:
    result = bench.run()

    assert result.exit_code == 2
    assert "Commands:" in result.stderr


def test_without_any_configuration_one_line_says_where_it_could_be(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty := tmp_path / "empty").mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.setattr("fleetsync.cli.invocation.USUAL_PLACES", (Path("config.toml"),))
    monkeypatch.delenv("FLEETSYNC_CONFIG", raising=False)

    result = invoke("status")

    assert result.exit_code == 78
    assert result.stderr.startswith("fleetsync: no configuration")
    assert "--config FILE" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_environment_names_the_configuration(mirrored: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETSYNC_CONFIG", str(mirrored.config))

    assert invoke("query", "SELECT 1 AS one").stdout == "one\n1\n"


def test_every_mistake_of_a_configuration_is_a_line_with_its_place(bench: Bench) -> None:
    bench.configure(more='colour = "red"\ninterval = 5\n[log]\nlevel = "loud"\n')

    result = bench.run("sync")

    assert result.exit_code == 78
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{bench.config}:") for line in lines)


def test_a_missing_configuration_is_named(bench: Bench) -> None:
    bench.config.unlink()

    result = bench.run("query", "SELECT 1")

    assert result.exit_code == 78
    assert result.stderr == f"{bench.config}: does not exist\n"


def test_debug_shows_where_an_error_comes_from(bench: Bench) -> None:
    result = invoke("--debug", "--config", str(bench.config), "plan")

    assert result.exit_code == 75
    assert "Traceback" in result.stderr
    assert "Traceback" not in bench.run("plan").stderr


def test_what_nobody_foresaw_is_one_line(bench: Bench) -> None:
    code = (
        "import sys\nfrom fleetsync.cli import main, look\n"
        "def broken(_): raise ZeroDivisionError('oh')\n"
        "look.status = broken\n"
        "sys.argv = ['fleetsync', 'status']\nmain.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20)

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "ZeroDivisionError: oh" in done.stderr


class InterruptingClock(SystemClock):
    def now(self) -> datetime.datetime:
        raise KeyboardInterrupt


def test_an_interrupt_is_quiet_and_130(mirrored: Bench) -> None:
    result = invoke("--config", str(mirrored.config), "status", clock=InterruptingClock())

    assert result.exit_code == 130
    assert result.stderr == ""


def test_a_reader_that_goes_away_is_no_error(mirrored: Bench) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200000) SELECT i FROM n"
    with started("--config", str(mirrored.config), "query", endless) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        complaints = process.stderr.read()
        process.wait(20)

    assert complaints == ""
    assert process.returncode == 141


def on_terminal(bench: Bench, *words: str) -> str:
    """Run the program on a terminal of 100 columns and return what is shown there."""
    ours, its = pty.openpty()
    environ = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "50"}
    command = [sys.executable, "-m", "fleetsync", "--config", str(bench.config), *words]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environ) as process:
        os.close(its)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal ends
            while piece := os.read(ours, 65536):
                shown += piece
        os.close(ours)
        assert process.wait(20) == 0
    return shown.decode()


@pytest.mark.parametrize("words", [["status"], ["sync"], ["plan"], ["query", "SELECT * FROM devices"], ["doctor"]])
def test_a_terminal_gets_colours_and_no_line_too_long_for_a_table(mirrored: Bench, words: list[str]) -> None:
    shown = on_terminal(mirrored, *words)

    assert "\x1b[" in shown
    assert "\t" not in shown
    rows = [re.sub(r"\x1b\[[0-9;]*m", "", row) for row in shown.splitlines()]
    assert not [row for row in rows if "─" in row and len(row) > 100]


def test_main_is_the_console_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["fleetsync", "--version"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fleetsync {__version__}\n"
