"""What the documentation says is what there is."""

import re
import sqlite3
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.mirror.mirror import open_mirror
from fleetsync.providers.base import all_kinds
from fleetsync.simulator import Cloud, Options, SimRequest
from fleetsync.wiring.configuration import read_configuration
from tests.fakes.clock import FakeClock

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
VIEW = re.compile(r"^#### `(\w+)`\n(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    path = tmp_path / "fleetsync.db"
    async with open_mirror(path, all_kinds().values(), FakeClock()):
        pass
    return path


def documented() -> dict[str, set[str]]:
    return {name: set(_columns(text)) for name, text in VIEW.findall(README)}


def _columns(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.startswith("| `"):
            yield from re.findall(r"`(\w+)`", line.split("|")[1])


async def test_every_view_and_every_column_is_in_the_readme(database: Path) -> None:
    connection = sqlite3.connect(database)
    views = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'")]
    there = {
        view: {column for (column,) in connection.execute("SELECT name FROM pragma_table_info(?)", (view,))}
        for view in views
    }
    connection.close()
    assert documented() == there


def _declarable() -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the rows of the table of what can be declared, by kind and type; a kind stands in its first row only."""
    kind = ""
    for line in README.split("| kind | resource | paths |")[1].split("\n\n")[0].splitlines()[2:]:
        _, first, type, paths, _ = (cell.strip() for cell in line.split("|"))
        kind = first or kind
        yield (kind, type), paths


def test_every_declarable_path_is_in_the_readme() -> None:
    rows = dict(_declarable())
    for kind in all_kinds().values():
        for spec in kind.types:
            paths = {f"`{'.'.join(writable.path).replace('*', '<name>')}`" for writable in spec.writable}
            assert {path for path in paths if path not in rows[f"`{kind.name}`", f"`{spec.type}`"]} == set()


def test_every_declaration_of_the_readme_is_right(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[sources.plant]\nkind = "iot-central"\nurl = "http://127.0.0.1:1"\nauth.method = "none"\n'
        '[sources.hub]\nkind = "iot-hub"\nurl = "http://127.0.0.1:2"\nauth.method = "none"\n'
    )
    (tmp_path / "declarations").mkdir()
    blocks = re.findall(r"(?:^ {4}.*\n|^\n)+", README, re.MULTILINE)
    shown = [textwrap.dedent(block) for block in blocks if "[[declaration]]" in block]
    for number, block in enumerate(shown):
        (tmp_path / "declarations" / f"{number}.toml").write_text(block, encoding="utf-8")
    declared = read_configuration(tmp_path / "config.toml", FakeClock()).declared.declarations
    assert {one.sources for one in declared} == {("hub",), ("plant",)}


def test_every_way_to_sign_in_is_in_the_readme() -> None:
    for kind in all_kinds().values():
        for method in kind.methods:
            assert method == "none" or f"`{method}`" in README


ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_no_file_of_ours_is_left_out_of_the_architecture() -> None:
    folders = {path.name for path in (ROOT / "fleetsync").iterdir() if path.is_dir() and path.name[0] not in "_."}
    assert {folder for folder in folders if f"{folder}/" not in ARCHITECTURE} == set()
    assert {name for folder in folders - {"simulator"} for name in _modules(folder) - _placed(folder)} == set()


def test_the_architecture_names_no_file_that_is_not_there() -> None:
    folders = [path.name for path in (ROOT / "fleetsync").iterdir() if path.is_dir() and path.name[0] not in "_."]
    tables = [folder for folder in folders if f"| `{folder}/` |" in ARCHITECTURE]
    assert len(tables) == 8
    assert {name for folder in tables for name in _placed(folder) - _modules(folder)} == set()


def test_what_keeps_a_promise_is_where_the_architecture_says() -> None:
    rows = ARCHITECTURE.split("| promise | where |")[1].split("\n\n")[0]
    found = re.findall(r"`(\w+/\w+\.py)`((?: `\w+`)*)", rows)
    assert len(found) > 20
    for file, names in found:
        text = (ROOT / "fleetsync" / file).read_text(encoding="utf-8")
        assert [name for name in re.findall(r"\w+", names) if not re.search(rf"\b{name}\b", text)] == [], file


def _modules(folder: str) -> set[str]:
    return {path.stem for path in (ROOT / "fleetsync" / folder).glob("*.py") if path.stem != "__init__"}


def _placed(folder: str) -> set[str]:
    """Return the modules that the architecture says are in a folder: in its table, or in the paragraph about it."""
    _, found, rest = ARCHITECTURE.partition(f"| `{folder}/` |")
    if not found:
        rest = ARCHITECTURE.partition(f"\n`{folder}/` has")[2]
        return set(re.findall(r"`(\w+)`", rest.split("\n\n")[0]))
    rows = rest.split("\n\n")[0].splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_pages_of_the_built_in_cloud_are_where_the_readme_says() -> None:
    cloud = Cloud(Options(devices=100, kinds=("iot-central", "iot-hub")))
    curls = re.findall(r"^    curl (?:-d '(.+?)' )?http://127\.0\.0\.1:8470(/\S+)", README, re.MULTILINE)
    asked = [(body, path) for body, path in curls] + [
        ("", path) for path in re.findall(r"; (/_simulator/\S+) ", README)
    ]
    assert len(asked) > 4
    for body, path in asked:
        method = "POST" if body else "GET"
        assert cloud.handle(SimRequest(method=method, target=path, headers={}, body=body.encode())).status == 200, path


PROMISES = (ROOT / "PROMISES.md").read_text(encoding="utf-8")


def test_every_promise_names_tests_that_there_are_and_how_it_was_broken_on_purpose() -> None:
    chapters = re.findall(r"^## (P\d+) .*?(?=^## |\Z)", PROMISES, re.MULTILINE | re.DOTALL)
    assert chapters == [f"P{number}" for number in range(1, 13)]
    for chapter in re.split(r"^## ", PROMISES, flags=re.MULTILINE)[1:]:
        promise = chapter.split()[0]
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", chapter)
        assert named, promise
        for file, test in named:
            assert f"def {test}" in (ROOT / file).read_text(encoding="utf-8"), f"{promise}: {file}::{test}"
        assert re.search(rf"`{promise}-[\w-]+`", chapter), promise


def test_every_deliberate_break_is_with_its_promise() -> None:
    patches = {path.stem for path in (ROOT / "tests" / "simulation" / "mutations").glob("*.patch")}
    assert set(re.findall(r"`(P\d+-[\w-]+)`", PROMISES)) == patches


def test_the_parts_that_keep_promises_are_there() -> None:
    package = ROOT / "fleetsync"
    for layer, module in re.findall(r"`(core|mirror|reconcile|transport|daemon|providers)/(\w+)`", PROMISES):
        assert (package / layer / f"{module}.py").exists(), f"{layer}/{module}"
