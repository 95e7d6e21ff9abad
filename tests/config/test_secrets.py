"""Where secrets are read from, and that nothing but their place is ever said."""

import os
import traceback
from pathlib import Path

import pytest

from fleetsync.config.load import load
from fleetsync.config.secrets import exposed_secrets, missing_secrets, read_secret
from fleetsync.config.settings import Secret, Settings
from fleetsync.errors import AuthError
from tests.config.kinds import KINDS

TEXT = "hunter2 é"


def test_a_credential_is_read_from_the_directory_of_systemd(tmp_path: Path) -> None:
    (tmp_path / "plant").write_text(TEXT)
    assert read_secret(Secret("credential", "plant"), {}, tmp_path) == TEXT


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "plant").write_text(TEXT)
    assert read_secret(Secret("file", str(tmp_path / "plant")), {}, None) == TEXT


def test_a_variable_is_read() -> None:
    assert read_secret(Secret("env", "PLANT"), {"PLANT": TEXT}, None) == TEXT


@pytest.mark.parametrize(
    ("content", "text"), [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a \n", " a "), ("a\nb\n", "a\nb")]
)
def test_one_newline_at_the_end_is_no_part_of_a_secret(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "plant").write_bytes(content.encode())
    assert read_secret(Secret("credential", "plant"), {}, tmp_path) == text


def test_a_secret_that_was_replaced_is_seen(tmp_path: Path) -> None:
    secret = Secret("file", str(tmp_path / "plant"))
    (tmp_path / "plant").write_text("old")
    assert read_secret(secret, {}, None) == "old"
    (tmp_path / "plant").write_text("new")
    assert read_secret(secret, {}, None) == "new"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hunter2\xff", "is not UTF-8 text"),
        (b"hunter2\0", "holds a NUL character"),
        (b"hunter2" * 200_000, "is longer than any secret"),
    ],
)
def test_what_cannot_be_a_secret_is_refused_and_not_repeated(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "plant").write_bytes(content)
    with pytest.raises(AuthError, match=f"^credential `plant` {reason}$") as caught:
        read_secret(Secret("credential", "plant"), {}, tmp_path)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in "".join(traceback.format_exception_only(error)) + repr(vars(error)) + repr(error.args)
        assert not isinstance(error, UnicodeDecodeError)
        error = error.__context__


def test_a_missing_secret_names_its_place(tmp_path: Path) -> None:
    cases = {
        Secret("env", "PLANT"): "env `PLANT` is not set",
        Secret("file", str(tmp_path / "no")): r"file `.*/no` cannot be read: No such file",
        Secret("file", str(tmp_path)): r"file `.*` is not a regular file",
        Secret("credential", "plant"): r"credential `plant` is not there: \$CREDENTIALS_DIRECTORY is not set",
    }
    for secret, message in cases.items():
        with pytest.raises(AuthError, match=message):
            read_secret(secret, {}, None)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AuthError, match="is not a regular file"):
        read_secret(Secret("file", str(tmp_path / "pipe")), {}, None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "config.toml").write_text("""\
[sources.a]
kind = "iot-central"
url = "https://a.example.com"
auth.method = "api-token"
auth.token = { credential = "a" }

[sources.b]
kind = "iot-central"
url = "https://b.example.com"
[sources.b.auth]
method = "client-certificate"
tenant_id = "t"
client_id = "c"
certificate = "b.pem"
passphrase = { env = "B" }
""")
    return load(tmp_path / "config.toml", KINDS)


def test_all_missing_secrets_are_said_at_once_with_their_lines(settings: Settings) -> None:
    found = missing_secrets(settings, {}, None)
    assert [problem.line for problem in found] == [5, 14, 15]
    assert found[2].message == "`passphrase` of source `b`: env `B` is not set"
    assert {problem.file for problem in found} == {str(settings.file)}


def test_nothing_is_said_when_all_secrets_are_there(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b.pem").write_text("x")
    assert missing_secrets(settings, {"B": "x"}, tmp_path) == ()


def test_a_file_that_everybody_may_read_is_a_warning(settings: Settings, tmp_path: Path) -> None:
    assert exposed_secrets(settings) == ()
    (tmp_path / "b.pem").write_text("x")
    (tmp_path / "b.pem").chmod(0o644)
    [warning] = exposed_secrets(settings)
    assert (warning.line, warning.message.endswith("b.pem` is readable by everybody: chmod o-r")) == (14, True)
    (tmp_path / "b.pem").chmod(0o640)
    assert exposed_secrets(settings) == ()


def test_a_secret_prints_its_place_only() -> None:
    assert repr(Secret("env", "PLANT", line=3)) == "Secret(env='PLANT')"
