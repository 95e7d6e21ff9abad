"""What a configuration says, and what is said of a wrong one."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetsync.config.load import load
from fleetsync.config.settings import DAY_S, Mode, Secret, Settings, WeakestGuard
from fleetsync.core.bucket import Rate
from fleetsync.core.contest import Rewrites
from fleetsync.errors import ConfigError, Problem
from tests.config.kinds import CENTRAL, KINDS, CentralSettings, RelaySettings

PLANT = """\
[sources.plant]
kind = "iot-central"
url = "https://contoso.azureiotcentral.com"
auth = { method = "managed-identity" }
"""

EVERYTHING = """\
declarations = "wishes"

[database]
url = "sqlite:///state/mirror.db"
keep_history = "12h"
keep_gone = "2y"
keep_cycles = "30s"

[log]
level = "debug"
format = "json"

[sources.plant]
kind = "iot-central"
url = "HTTPS://Contoso.azureiotcentral.com:443/"
mode = "enforce"
weakest_guard = "reread"
interval = "90s"
resources = ["device-group", "user"]
api_version = "2022-07-31"
proxy = "http://proxy.example.com:3128"
authority = "https://login.microsoftonline.us"
scope = "https://apps.azureiotcentral.us/.default"

[sources.plant.auth]
method = "client-certificate"
tenant_id = "contoso.example.com"
client_id = "11111111-2222-3333-4444-555555555555"
certificate = "certificates/plant.pem"
passphrase = { env = "PLANT_PASSPHRASE" }

[sources.plant.rate]
share = 1
list = "10/s"
write = "20/min burst 5"
daily = 200_000

[sources.plant.limits]
max_gone = "12.5%"
max_writes = "100%"
min_known = 0
max_rewrites = "1 in 7d"
"""


def read(folder: Path, text: str) -> Settings:
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, KINDS)


def problems(folder: Path, text: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return caught.value.problems


def test_a_source_needs_a_kind_a_url_and_a_way_to_sign_in_and_the_rest_has_defaults(tmp_path: Path) -> None:
    settings = read(tmp_path, PLANT)
    plant = settings.sources["plant"]
    assert settings.file == tmp_path / "config.toml"
    assert settings.declarations == tmp_path / "declarations"
    assert settings.database.path == tmp_path / "fleetsync.db"
    assert (settings.database.keep_history_s, settings.database.keep_gone_s) == (90 * DAY_S, 365 * DAY_S)
    assert (settings.log.level, settings.log.format) == ("info", "auto")
    assert (plant.name, plant.kind, plant.url) == ("plant", CENTRAL, "https://contoso.azureiotcentral.com")
    assert (plant.mode, plant.weakest_guard, plant.interval_s) == (Mode.OBSERVE, WeakestGuard.ETAG, 300)
    assert plant.resources == ("device", "device-group", "organization")
    assert plant.own == CentralSettings()
    assert (plant.rate.share, plant.rate.classes, plant.rate.daily) == (0.6, {}, None)
    assert (plant.limits.max_gone, plant.limits.max_writes, plant.limits.min_known) == (0.2, 0.3, 10)
    assert plant.limits.max_rewrites == Rewrites(most=3, window_s=DAY_S)
    assert (plant.ca_file, plant.proxy, plant.authority, plant.scope) == (None, None, None, None)


def test_every_key_reaches_its_setting(tmp_path: Path) -> None:
    (tmp_path / "wishes").mkdir()
    settings = read(tmp_path, EVERYTHING)
    plant = settings.sources["plant"]
    assert settings.declarations == tmp_path / "wishes"
    assert settings.database.path == tmp_path / "state/mirror.db"
    assert settings.database.keep_history_s == 12 * 3600
    assert settings.database.keep_gone_s == 730 * DAY_S
    assert settings.database.keep_cycles_s == 30
    assert (settings.log.level, settings.log.format) == ("debug", "json")
    assert plant.url == "https://contoso.azureiotcentral.com"
    assert (plant.mode, plant.weakest_guard, plant.interval_s) == (Mode.ENFORCE, WeakestGuard.REREAD, 90)
    assert plant.resources == ("device-group", "user")
    assert plant.own == CentralSettings(api_version="2022-07-31")
    assert plant.proxy == "http://proxy.example.com:3128"
    assert plant.authority == "https://login.microsoftonline.us"
    assert plant.scope == "https://apps.azureiotcentral.us/.default"
    assert plant.auth.method == "client-certificate"
    assert plant.auth.options["tenant_id"] == "contoso.example.com"
    assert plant.auth.secrets == {
        "certificate": Secret("file", str(tmp_path / "certificates/plant.pem")),
        "passphrase": Secret("env", "PLANT_PASSPHRASE"),
    }
    assert plant.rate.share == 1
    assert plant.rate.classes == {"list": Rate(per_s=10, burst=1), "write": Rate(per_s=1 / 3, burst=5)}
    assert plant.rate.daily == 200_000
    assert (plant.limits.max_gone, plant.limits.max_writes, plant.limits.min_known) == (0.125, 1, 0)
    assert plant.limits.max_rewrites == Rewrites(most=1, window_s=7 * DAY_S)


def test_a_kind_may_have_an_address_and_must_have_its_own_keys(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        '[sources.r]\nkind = "cloud-relay"\nroster = ["a", "b"]\nunits = 2\nauth.method = "none"\nurl = "http://[::1]:8080"',
    )
    assert settings.sources["r"].url == "http://[::1]:8080"
    assert settings.sources["r"].own == RelaySettings(roster=["a", "b"], units=2)


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ('{ file = "plant.token" }', ("file", "FOLDER/plant.token")),
        ('{ file = "/etc/plant.token" }', ("file", "/etc/plant.token")),
        ('{ credential = "plant.token" }', ("credential", "plant.token")),
        ('{ env = "PLANT_TOKEN" }', ("env", "PLANT_TOKEN")),
    ],
)
def test_a_secret_is_its_whereabouts_and_its_line(tmp_path: Path, written: str, place: tuple[str, str]) -> None:
    settings = read(tmp_path, auth('method = "api-token"', f"token = {written}"))
    secret = settings.sources["plant"].auth.secrets["token"]
    assert (secret.source, secret.place, secret.line) == (place[0], place[1].replace("FOLDER", str(tmp_path)), 6)


def test_an_absolute_database_stays_where_it_is(tmp_path: Path) -> None:
    settings = read(tmp_path, PLANT + '[database]\nurl = "sqlite:////var/lib/fleetsync/mirror.db"\n')
    assert settings.database.path == Path("/var/lib/fleetsync/mirror.db")


def test_a_relative_configuration_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text(PLANT)
    monkeypatch.chdir(tmp_path)
    settings = load(Path("config.toml"), KINDS)
    assert settings.database.path == tmp_path / "fleetsync.db"
    assert settings.file == tmp_path / "config.toml"


@dataclass(frozen=True)
class Wrong:
    """A wrong configuration: its text, the line that is at fault, and words that must be said."""

    text: str
    line: int | None
    words: str


def plant(**lines: str) -> str:
    """Return a good source with some of its lines replaced, or added at its end."""
    known = {
        "kind": 'kind = "iot-central"',
        "url": 'url = "https://contoso.azureiotcentral.com"',
        "auth": 'auth = { method = "managed-identity" }',
    }
    return "\n".join(["[sources.plant]", *(known | lines).values()]) + "\n"


def auth(*lines: str) -> str:
    return "\n".join([*PLANT.splitlines()[:3], "[sources.plant.auth]", *lines]) + "\n"


WRONG = {
    "a mistyped key": Wrong(
        plant(x='interva = "5m"'), 5, "unknown key `interva` in [sources.plant]; did you mean `interval`?"
    ),
    "a key that is like no other": Wrong(plant(x="zzz = 1"), 5, "unknown key `zzz` in [sources.plant]"),
    "a mistyped table": Wrong("[databse]\n" + PLANT, 1, "unknown key `databse`; did you mean `database`?"),
    "a mistyped table below": Wrong(
        PLANT + "[sources.plant.limit]\nmin_known = 1\n",
        5,
        "unknown key `limit` in [sources.plant]; did you mean `limits`?",
    ),
    "a terminal escape in a key": Wrong(plant(x='"a\\u001bb" = 1'), 5, "unknown key `a\\x1bb` in [sources.plant]"),
    "a string for a number": Wrong(
        PLANT + '[sources.plant.rate]\nshare = "0.6"\n', 6, "`share` must be a number from 0 to 1, not a string"
    ),
    "a boolean for a number": Wrong(
        PLANT + "[sources.plant.rate]\nshare = true\n", 6, "`share` must be a number from 0 to 1, not a boolean"
    ),
    "a share of nothing": Wrong(PLANT + "[sources.plant.rate]\nshare = 0\n", 6, "`share` must be a number from 0 to 1"),
    "a share beyond all": Wrong(
        PLANT + "[sources.plant.rate]\nshare = 1.1\n", 6, "`share` must be a number from 0 to 1"
    ),
    "a share that is no number": Wrong(PLANT + "[sources.plant.rate]\nshare = nan\n", 6, "`share` must be a number"),
    "a class of another kind": Wrong(
        PLANT + '[sources.plant.rate]\nquery = "1/s"\n', 6, "unknown key `query` in [sources.plant.rate]"
    ),
    "a rate without a period": Wrong(
        PLANT + '[sources.plant.rate]\nlist = "10"\n', 6, '`list` must be a rate like "10/s"'
    ),
    "a rate of nothing": Wrong(
        PLANT + '[sources.plant.rate]\nlist = "0/s"\n', 6, "`list` must be a rate of more than 0"
    ),
    "a burst of nothing": Wrong(
        PLANT + '[sources.plant.rate]\nlist = "1/s burst 0"\n', 6, "`list` must be a rate of more than 0 with a burst"
    ),
    "a daily figure where nobody counts": Wrong(
        '[sources.r]\nkind = "cloud-relay"\nroster = ["a"]\nauth = { method = "none" }\nurl = "http://localhost"\n'
        "[sources.r.rate]\ndaily = 5\n",
        7,
        "`daily` limits nothing: cloud-relay does not count per day",
    ),
    "a daily figure of nothing": Wrong(PLANT + "[sources.plant.rate]\ndaily = 0\n", 6, "`daily` must be at least 1"),
    "a number for a percentage": Wrong(
        PLANT + "[sources.plant.limits]\nmax_gone = 0.2\n", 6, '`max_gone` must be a percentage like "20%", not a float'
    ),
    "more than all": Wrong(PLANT + '[sources.plant.limits]\nmax_gone = "101%"\n', 6, 'from "0%" to "100%"'),
    "fewer than none": Wrong(PLANT + "[sources.plant.limits]\nmin_known = -1\n", 6, "`min_known` must be at least 0"),
    "a number without a time": Wrong(
        PLANT + "[sources.plant.limits]\nmax_rewrites = 3\n", 6, 'must be a number and a duration like "3 in 24h"'
    ),
    "never again": Wrong(
        PLANT + '[sources.plant.limits]\nmax_rewrites = "0 in 24h"\n', 6, "`max_rewrites` must be at least once"
    ),
    "an unknown unit": Wrong(plant(x='interval = "5 parsecs"'), 5, '`interval` must be a duration like "30s"'),
    "no time at all": Wrong(plant(x='interval = "0s"'), 5, "`interval` must be a duration of at least 1s"),
    "longer than anybody lives": Wrong(plant(x='interval = "101y"'), 5, "at most 100y"),
    "a number for a duration": Wrong(plant(x="interval = 300"), 5, "not an integer"),
    "an unknown kind": Wrong(
        plant(kind='kind = "iot-centrl"'),
        2,
        "`kind` must be one of `iot-central`, `cloud-relay`, not `iot-centrl`; did you mean `iot-central`?",
    ),
    "no kind": Wrong(plant(kind=""), 1, "missing key `kind` in [sources.plant]"),
    "an unknown mode": Wrong(plant(x='mode = "enforced"'), 5, "did you mean `enforce`?"),
    "an unknown guard": Wrong(
        plant(x='weakest_guard = "none"'), 5, "`weakest_guard` must be one of `etag`, `reread`, not `none`"
    ),
    "an unknown resource": Wrong(
        plant(x='resources = [\n  "device",\n  "device-grup",\n]'), 7, "did you mean `device-group`?"
    ),
    "a resource twice": Wrong(
        plant(x='resources = ["device", "device"]'), 5, "`resources` holds the same element twice"
    ),
    "no resources": Wrong(plant(x="resources = []"), 5, "`resources` must not be empty"),
    "one resource without brackets": Wrong(
        plant(x='resources = "device"'), 5, "`resources` must be an array, not a string"
    ),
    "a value that the kind does not know": Wrong(
        plant(x='api_version = "2022"'),
        5,
        "`api_version` must be one of `2022-10-31-preview`, `2022-07-31`, not `2022`",
    ),
    "a type that the kind does not want": Wrong(
        '[sources.r]\nkind = "cloud-relay"\nroster = "a"\nauth = { method = "none" }\nurl = "http://localhost"\n',
        3,
        "`roster` does not fit: expected `array`, got `str`",
    ),
    "no key that the kind needs": Wrong(
        '[sources.r]\nkind = "cloud-relay"\nauth = { method = "none" }\nurl = "http://localhost"\n',
        1,
        "missing key `roster` in [sources.r]",
    ),
    "what the kind itself refuses": Wrong(
        '[sources.r]\nkind = "cloud-relay"\nroster = ["a"]\nunits = 2\nauth = { method = "none" }\nurl = "http://localhost"\n',
        1,
        "`units` must not be more than `roster` names",
    ),
    "no scope where every installation has its own": Wrong(
        '[sources.r]\nkind = "cloud-relay"\nroster = ["a"]\n'
        'auth = { method = "client-secret", tenant_id = "t", client_id = "c", client_secret = { env = "S" } }\n',
        1,
        "missing key `scope` in [sources.r]: every installation",
    ),
    "devices of a source that is not there": Wrong(
        '[sources.r]\nkind = "cloud-relay"\nroster = ["source hub"]\nauth = { method = "none" }\nurl = "http://localhost"\n',
        1,
        "`r` goes by the devices of `hub`, which must be a source in this file that lists its own",
    ),
    "devices of itself": Wrong(
        '[sources.r]\nkind = "cloud-relay"\nroster = ["source r"]\nauth = { method = "none" }\nurl = "http://localhost"\n',
        1,
        "`r` goes by the devices of `r`",
    ),
    "a share of an undocumented quota": Wrong(
        '[sources.r]\nkind = "cloud-relay"\nroster = ["a"]\nrate.share = 0.5\nauth = { method = "none" }\nurl = "http://localhost"\n',
        4,
        "no quota of cloud-relay is documented",
    ),
    "no url": Wrong(plant(url=""), 1, "missing key `url` in [sources.plant]"),
    "http to elsewhere": Wrong(
        plant(url='url = "http://contoso.azureiotcentral.com"'), 3, "`url` must begin with https://"
    ),
    "http to what only looks like loopback": Wrong(
        plant(url='url = "http://127.0.0.1.example.com"'), 3, "loopback only"
    ),
    "http to a mapped address": Wrong(plant(url='url = "http://[::ffff:127.0.0.1]"'), 3, "loopback only"),
    "another scheme": Wrong(plant(url='url = "ftp://example.com"'), 3, "`url` must be a URL like https://example.com"),
    "no scheme": Wrong(
        plant(url='url = "contoso.azureiotcentral.com"'), 3, "`url` must be a URL like https://example.com"
    ),
    "a path": Wrong(plant(url='url = "https://example.com/api"'), 3, "`url` must end after its host and port"),
    "a query": Wrong(plant(url='url = "https://example.com?a"'), 3, "`url` must end after its host and port"),
    "a fragment": Wrong(plant(url='url = "https://example.com/#"'), 3, "`url` must end after its host and port"),
    "a password in a url": Wrong(
        plant(url='url = "https://me:hunter2@example.com"'), 3, "no user name and no password"
    ),
    "a password in a proxy": Wrong(
        plant(x='proxy = "http://me:hunter2@example.com"'), 5, "no user name and no password"
    ),
    "a port that is none": Wrong(plant(url='url = "https://example.com:99999"'), 3, "`url` must be a URL"),
    "a newline in a url": Wrong(plant(url='url = "https://exam\\nple.com"'), 3, "`url` must be a URL"),
    "an authority without tls": Wrong(
        plant(x='authority = "http://localhost"'), 5, "`authority` must begin with https://"
    ),
    "a scope with a space": Wrong(plant(x='scope = "a b"'), 5, "`scope` must be a token scope without spaces"),
    "an empty scope": Wrong(plant(x='scope = ""'), 5, "`scope` must not be empty"),
    "no ca file": Wrong(plant(x='ca_file = "no.pem"'), 5, "`ca_file` must be a file that can be read"),
    "a ca file of something else": Wrong(
        plant(x='ca_file = "config.toml"'), 5, "`ca_file` must be a file of PEM certificates"
    ),
    "a source name with a space": Wrong(
        PLANT.replace("plant", '"a b"'), 1, "`a b` must be a name of letters, digits, `_`, `.` and `-`"
    ),
    "a source that is no table": Wrong(PLANT + "[sources]\nx = 1\n", 6, "`x` must be a table, not an integer"),
    "sources that are no table": Wrong("sources = 1\n", 1, "`sources` must be a table, not an integer"),
    "no sources": Wrong("", None, "no source is configured: add a table [sources.NAME]"),
    "no way to sign in": Wrong(plant(auth=""), 1, "missing key `method` in [sources.plant.auth]"),
    "a way to sign in that is no table": Wrong(plant(auth='auth = "none"'), 4, "`auth` must be a table, not a string"),
    "an unknown method": Wrong(auth('method = "client-secrt"'), 5, "did you mean `client-secret`?"),
    "a method of another kind": Wrong(
        auth('method = "shared-access-key"'), 5, "`method` must be one of `client-secret`"
    ),
    "no sign-in to elsewhere": Wrong(auth('method = "none"'), 5, "`method` none is for loopback only"),
    "a missing credential": Wrong(auth('method = "api-token"'), 4, "missing key `token` in [sources.plant.auth]"),
    "a key of another method": Wrong(
        auth('method = "managed-identity"', 'token = { env = "T" }'),
        6,
        "unknown key `token` in [sources.plant.auth] with method `managed-identity`",
    ),
    "a secret in clear": Wrong(
        auth('method = "api-token"', 'token = "hunter2"'),
        6,
        "secrets are not written here: use { credential = … }, { file = … } or { env = … }",
    ),
    "a secret in clear, as a number": Wrong(
        auth('method = "api-token"', "token = 42001"), 6, "secrets are not written here"
    ),
    "a secret in two places": Wrong(
        auth('method = "api-token"', 'token = { env = "hunter2", file = "hunter2" }'),
        6,
        "`token` must be { credential = … }",
    ),
    "a secret nowhere": Wrong(
        auth('method = "api-token"', 'token = { value = "hunter2" }'), 6, "`token` must be { credential = … }"
    ),
    "a credential elsewhere": Wrong(
        auth('method = "api-token"', 'token = { credential = "../hunter2" }'),
        6,
        "`token` is wrong: `credential` must be the name",
    ),
    "a variable that is none": Wrong(
        auth('method = "api-token"', 'token = { env = "hunter2 x" }'), 6, "`token` is wrong: `env` must be the name"
    ),
    "a certificate in clear": Wrong(
        auth(
            'method = "client-certificate"',
            'tenant_id = "t"',
            'client_id = "c"',
            'certificate = """-----BEGIN hunter2"""',
        ),
        8,
        "`certificate` holds a secret",
    ),
    "a tenant that would change the address": Wrong(
        auth(
            'method = "client-secret"', 'tenant_id = "a/../hunter2"', 'client_id = "c"', 'client_secret = { env = "S" }'
        ),
        6,
        "`tenant_id` must be an id or a domain name",
    ),
    "another database": Wrong(
        '[database]\nurl = "postgresql://me:hunter2@localhost/fleet"\n' + PLANT,
        2,
        "postgresql:// is for a later version (later)",
    ),
    "no database": Wrong('[database]\nurl = "sqlite://"\n' + PLANT, 2, '`url` must be like "sqlite:///fleetsync.db"'),
    "a database that forgets": Wrong('[database]\nurl = "sqlite:///:memory:"\n' + PLANT, 2, "`url` must be like"),
    "metrics": Wrong('[daemon]\nmetrics = "127.0.0.1:9464"\n' + PLANT, 2, "`metrics` is for a later version (later)"),
    "a folder that is not there": Wrong(
        'declarations = "nowhere"\n' + PLANT, 1, "`declarations` must be a folder that exists"
    ),
    "a path with a NUL": Wrong('declarations = "a\\u0000b"\n' + PLANT, 1, "must not hold a NUL character"),
    "an unknown level": Wrong('[log]\nlevel = "warn"\n' + PLANT, 2, "did you mean `warning`?"),
    "an unknown format": Wrong(
        '[log]\nformat = "xml"\n' + PLANT, 2, "`format` must be one of `auto`, `console`, `json`, not `xml`"
    ),
    "no TOML": Wrong(PLANT + "interval = \n", 5, "not TOML: invalid value"),
    "a key twice": Wrong(PLANT + 'kind = "iot-central"\n', 5, "not TOML: cannot overwrite a value"),
    "a text without end": Wrong('a = """', None, "not TOML: unterminated string at the end of the file"),
    "a tower of brackets": Wrong("a = " + "[" * 5000 + "]" * 5000, None, "levels deep"),
    "a tower of keys": Wrong(".".join("a" * 5000) + " = 1", None, "levels deep"),
    "a huge number": Wrong("a = " + "9" * 5000, None, "not TOML"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_configuration_is_refused_with_its_line_and_words_that_help(tmp_path: Path, wrong: Wrong) -> None:
    found = problems(tmp_path, wrong.text)
    assert [(problem.line, problem.file) for problem in found] == [(wrong.line, str(tmp_path / "config.toml"))]
    assert wrong.words in found[0].message
    assert "hunter2" not in str(found)


def test_all_problems_are_said_at_once_by_line(tmp_path: Path) -> None:
    text = textwrap.dedent("""\
        [log]
        level = "loud"
        [sources.a]
        kind = "iot-huub"
        url = "nowhere"
        interval = 5
        whatever = true
        limits.max_gone = "x"
        auth.method = "client-secret"
        auth.client_secret = "hunter2"
        [sources.b]
        kind = "cloud-relay"
        units = "two"
        """)
    found = problems(tmp_path, text)
    assert [problem.line for problem in found] == [2, 4, 5, 6, 8, 9, 9, 10, 11, 11, 13]
    assert "hunter2" not in str(found)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml: does not exist"):
        load(tmp_path / "no.toml", KINDS)


def test_a_file_that_cannot_be_opened_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: File name too long"):
        load(tmp_path / ("x" * 300), KINDS)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a file"):
        load(tmp_path, KINDS)


def test_bytes_that_are_no_text_are_refused_on_their_line(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"# caf\xc3\xa9\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"config\.toml:2: is not UTF-8"):
        load(tmp_path / "config.toml", KINDS)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xef\xbb\xbf" + PLANT.replace("\n", "\r\n").encode())
    assert load(tmp_path / "config.toml", KINDS).sources["plant"].kind is CENTRAL


MARKS = ["[", "]", "[[", "]]", "{", "}", '"', "'", "=", ".", ",", "#", "\\", "1e999", "nan", "1979-05-27", *"\n" * 9]
WORDS = st.sampled_from([*EVERYTHING.split(), *PLANT.split(), *MARKS])


def refusals(file: Path) -> tuple[Problem, ...] | None:
    try:
        load(file, KINDS)
    except ConfigError as error:
        return error.problems
    return None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(), st.lists(WORDS, max_size=40).map(" ".join)))
def test_no_text_makes_loading_raise_anything_but_a_config_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_text(text, encoding="utf-8", errors="replace", newline="")
    assert refusals(tmp_path / "config.toml") != ()


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
    st.just(["device", 1, {}]),
)


def toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(c):08X}" for c in value if not "\ud800" <= c <= "\udfff") + '"'
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return "{}"
        case _:
            return str(value)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_value_at_any_key_is_taken_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    (tmp_path / "wishes").mkdir(exist_ok=True)
    lines = EVERYTHING.splitlines()
    at = data.draw(st.sampled_from([index for index, line in enumerate(lines) if "=" in line]))
    key, _, _ = lines[at].partition("=")
    lines[at] = f"{key}= {toml(data.draw(VALUES))}"
    (tmp_path / "config.toml").write_text("\n".join(lines), encoding="utf-8")
    assert refusals(tmp_path / "config.toml") != ()
