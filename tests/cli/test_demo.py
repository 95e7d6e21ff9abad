"""The demo, as the README's first command runs it, on a small fleet."""

import re
import shlex
import textwrap
from pathlib import Path

from fleetsync.cli.demo_scenes import EVERYWHERE
from fleetsync.cli.demo_sphere import NOT_YET, OTHERWISE
from fleetsync.providers.base import all_kinds
from fleetsync.simulator.arm.fleet import RETUNED
from tests.cli.bench import invoke, started


def test_the_demo_shows_every_kind_of_service_at_its_own_rate(tmp_path: Path) -> None:
    process = started("demo", "--devices", "100", "--dir", str(tmp_path / "here"))
    printed, errors = process.communicate(timeout=110)
    assert process.returncode == 0, errors

    listed = dict(re.findall(r"^   \w+ \(([\w-]+)\): (\d+) resources, \d+ requests$", printed, re.MULTILINE))
    assert listed.keys() == all_kinds().keys()
    assert "central\tiot-central\t100\t" in printed
    assert "hub\tiot-hub\t50\t" in printed
    assert "fleet-hub\t50\t50\n" in printed
    for source in ("central", "hub"):
        assert re.search(
            rf"^{source}\t(.+)\t1\tif-match\t412\tconflict\n{source}\t\1\t2\tif-match\t200\tapplied$",
            printed,
            re.MULTILINE,
        )
        assert re.search(rf"^{source}\t.+\tpending$", printed, re.MULTILINE)
        assert re.search(
            rf"^{source}\t.+\tunseen by the complete listing \d+, and not found by a read \(request \S+\)$",
            printed,
            re.MULTILINE,
        )
    assert "both edits are there on 4 of 4" in printed
    assert "the next cycle writes 0" in printed
    assert re.search(r"^hub\t.+\treplaced$", printed, re.MULTILINE)
    assert printed.count("\treplaced\n") == 1

    assert len(re.findall(r"^catalog\t\w{12}…\treread\t202\tapplied\t\d+\.\d$", printed, re.MULTILINE)) == 4
    assert len(re.findall(r"^tenant\t\w{12}…\treread\t202\tapplied\t\d+\.\d$", printed, re.MULTILINE)) == 2
    assert "the path of a device is another one now; 0 are taken for gone" in printed
    written = re.search(r"read back; (\d+) controllers show 21\.5$", printed, re.MULTILINE)
    assert written is not None
    assert f"… {written[1]} changes in all: {written[1]} written, 0 failed" in printed
    deleted = re.search(r"^hub\t(.+)\tgone$", printed, re.MULTILINE)
    assert deleted is not None
    assert f"gone is what the hub does not have any more: {deleted[1]}\n" in printed
    for product, group in RETUNED:
        assert f"MainCatalog\t{product}\t{group}\t" in printed
    everywhere = printed.partition("\n9. ")[2]
    assert set(re.findall(r"^([a-z-]+)\t\w+\t\d+\t\d+\t\d+\t\d+$", everywhere, re.MULTILINE)) == all_kinds().keys()

    services = re.findall(r"^([a-z-]+)\t\d+\t0\.0\t0\t0$", printed, re.MULTILINE)
    assert services == ["iot-central", "iot-hub", "arm", "sphere-legacy", "cloud-relay"]
    assert "If-Match missing where the service has one: 0, unquoted: 0, *: 0" in printed

    for command in printed.partition("Next, ")[2].splitlines()[1:]:
        words = shlex.split(command)
        result = invoke(*words[words.index("--config") :])
        assert result.exit_code == 0, result.output
        assert result.stdout


def test_what_the_demo_asks_is_what_the_readme_asks() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for question in (EVERYWHERE, NOT_YET, OTHERWISE):
        assert textwrap.indent(question, "    ") in readme


def test_the_demo_wants_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("# mine")

    result = invoke("demo", "--dir", str(tmp_path))

    assert result.exit_code == 2
    assert "holds a config.toml already" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
