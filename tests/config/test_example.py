"""config.example.toml: complete, and every line of it true."""

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from fleetsync.config.auth import METHODS
from fleetsync.config.load import load
from fleetsync.config.settings import DatabaseSettings, Limits, LogSettings, RateSettings, Settings, SourceSettings
from fleetsync.providers.base import all_kinds

KINDS = all_kinds()
SOURCES = {
    "plant": KINDS["iot-central"],
    "hub": KINDS["iot-hub"],
    "buildings": KINDS["cloud-relay"],
    "tenant": KINDS["sphere-legacy"],
    "catalog": KINDS["sphere-arm"],
    "hubs": KINDS["iot-hub-arm"],
}
EXAMPLE = (Path(__file__).parents[2] / "config.example.toml").read_text(encoding="utf-8")
HEADER = re.compile(r"#?\[(.+)\]")
KEY = re.compile(r"#?(\w+) = ")


@dataclass(frozen=True)
class Setting:
    """Neighbouring lines that are commented out, the table they are in, and the last word of explanation before."""

    first: int
    lines: tuple[str, ...]
    table: str
    explanation: str

    def __str__(self) -> str:
        return f"{self.first + 1} {self.lines[0]}"


def is_setting(line: str) -> bool:
    return re.match(r"#\S", line) is not None


def example_settings() -> Iterator[Setting]:
    lines = EXAMPLE.splitlines()
    table = ""
    for index, line in enumerate(lines):
        if (header := HEADER.fullmatch(line)) and not is_setting(line):
            table = header[1]
        if is_setting(line) and not is_setting(lines[index - 1]):
            end = next(end for end in range(index, len(lines) + 1) if end == len(lines) or not is_setting(lines[end]))
            start = max(at for at in range(index) if not lines[at].startswith("# ")) + 1
            yield Setting(index, tuple(lines[index:end]), table, " ".join(lines[start:index]))


def with_setting(setting: Setting) -> str:
    """Return the example with one setting taken out of its comment, in place of what it is an alternative to."""
    header = HEADER.fullmatch(setting.lines[0])
    keys = {match[1] for line in setting.lines if (match := KEY.match(line))}
    lines: list[str] = []
    table = ""
    for index, line in enumerate(EXAMPLE.splitlines()):
        key = KEY.match(line)
        if found := None if is_setting(line) else HEADER.fullmatch(line):
            table = found[1]
        if setting.first <= index < setting.first + len(setting.lines):
            lines.append(line[1:])
        elif is_setting(line) or not (
            table == header[1] if header else table == setting.table and key and key[1] in keys
        ):
            lines.append(line)
    return "\n".join(lines)


SETTINGS = tuple(example_settings())


@pytest.fixture(name="folder", scope="module")
def folder_with_what_the_example_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    (folder / "declarations").mkdir()
    trustme.CA().cert_pem.write_to_path(str(folder / "company-ca.pem"))
    return folder


def read(folder: Path, text: str) -> Settings:
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return load(folder / "config.toml", KINDS)


def test_the_example_is_a_configuration(folder: Path) -> None:
    sources = read(folder, EXAMPLE).sources
    assert {name: source.kind for name, source in sources.items()} == SOURCES
    assert {kind.name for kind in SOURCES.values()} == set(KINDS)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_a_setting_that_is_commented_out_is_the_default_unless_it_is_said_to_be_an_example(
    folder: Path, setting: Setting
) -> None:
    changed = read(folder, with_setting(setting)) != read(folder, EXAMPLE)
    assert changed == ("for example" in setting.explanation.lower())


def keys_of(kind: type, **renamed: str) -> set[str]:
    names = {field.name.removesuffix("_s") for field in dataclasses.fields(kind)}
    return {renamed.get(name, name) for name in names}


def written_keys(table: str) -> set[str]:
    """Return every key that the example has in a table, commented out or not."""
    keys: set[str] = set()
    here = ""
    for line in EXAMPLE.splitlines():
        if header := HEADER.fullmatch(line):
            here = header[1]
        elif (key := KEY.match(line)) and here == table:
            keys.add(key[1])
    return keys


def test_every_setting_is_in_the_example() -> None:
    sections = {"file", "database", "log", "sources"}
    assert written_keys("") == keys_of(Settings) - sections
    assert written_keys("database") == keys_of(DatabaseSettings, path="url")
    assert written_keys("log") == keys_of(LogSettings)
    assert written_keys("sources.plant.limits") == keys_of(Limits)
    tables = {"name", "own", "auth", "rate", "limits"}
    common = keys_of(SourceSettings) - tables
    assert written_keys("sources.plant") == common | keys_of(SOURCES["plant"].settings)
    # What is the same for every kind is said once.
    own = keys_of(SOURCES["hub"].settings)
    assert {"kind", "url"} | own <= written_keys("sources.hub") <= common | own
    own = keys_of(SOURCES["buildings"].settings)
    assert {"kind", "url", "scope"} | own <= written_keys("sources.buildings") <= common | own


@pytest.mark.parametrize("name", SOURCES)
def test_every_rate_is_in_the_example(name: str) -> None:
    kind = SOURCES[name]
    keys = keys_of(RateSettings) - {"classes"} | set(kind.operations)
    missing = {key for key, there in (("daily", kind.daily), ("share", kind.has_documented_quota)) if not there}
    assert written_keys(f"sources.{name}.rate") == keys - missing


def test_every_method_with_all_its_keys_is_in_the_example(folder: Path) -> None:
    shown: dict[str, set[str]] = {}
    for text in (EXAMPLE, *map(with_setting, SETTINGS)):
        for source in read(folder, text).sources.values():
            shown.setdefault(source.auth.method, set()).update(source.auth.options, source.auth.secrets)
    methods = {method for kind in KINDS.values() for method in kind.methods}
    assert shown == {method: {key.name for key in METHODS[method]} for method in methods}


@pytest.mark.parametrize("name", SOURCES)
def test_every_method_of_a_kind_is_shown_or_named_in_its_section(name: str) -> None:
    section = EXAMPLE.split(f"[sources.{name}.auth]", 1)[1].split(f"[sources.{name}.rate]")[0]
    assert {method for method in SOURCES[name].methods if f'"{method}"' not in section} == {"none"}
