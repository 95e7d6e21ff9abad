"""The demo, as the README's first command runs it, on a small fleet."""

import re
import shlex
from pathlib import Path

from tests.cli.bench import invoke, started


def test_the_demo_lists_asks_applies_heals_and_buries_at_both_services(tmp_path: Path) -> None:
    process = started("demo", "--devices", "100", "--dir", str(tmp_path / "here"))
    printed, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors

    assert re.search(r"^   central: 123 resources on \d+ pages, \d+ requests, 0 writes$", printed, re.MULTILINE)
    assert re.search(r"^   hub: 54 resources on \d+ pages, \d+ requests, 0 writes$", printed, re.MULTILINE)
    assert "central\tiot-central\t100\t" in printed
    assert "hub\tiot-hub\t50\t" in printed
    for source, kind in (("central", "iot-central"), ("hub", "iot-hub")):
        assert re.search(
            rf"^{source}\t(.+)\t1\tif-match\t412\tconflict\n{source}\t\1\t2\tif-match\t200\tapplied$",
            printed,
            re.MULTILINE,
        )
        assert re.search(rf"^{source}\t.+\tpending$", printed, re.MULTILINE)
        assert re.search(
            rf"^{source}\t.+\tunseen by the complete listing \d+, and not found by a read$", printed, re.MULTILINE
        )
        assert re.search(rf"^{kind}\t\d+\t0.0\t0\t0$", printed, re.MULTILINE)
    assert "both edits are there on 4 of 4" in printed
    assert "the next cycle writes 0" in printed
    assert re.search(r"^hub\t.+\treplaced$", printed, re.MULTILINE)
    assert printed.count("\treplaced\n") == 1
    assert "If-Match missing where the service has one: 0, unquoted: 0, *: 0" in printed

    for command in printed.partition("Next, ")[2].splitlines()[1:]:
        words = shlex.split(command)
        result = invoke(*words[words.index("--config") :])
        assert result.exit_code == 0, result.output
        assert result.stdout


def test_the_demo_wants_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("# mine")

    result = invoke("demo", "--dir", str(tmp_path))

    assert result.exit_code == 2
    assert "holds a config.toml already" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
