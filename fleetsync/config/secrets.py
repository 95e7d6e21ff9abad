"""The secrets that the configuration names: read when they are needed, and never repeated in a message."""

import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from fleetsync.config.settings import Secret, Settings
from fleetsync.config.wording import quote
from fleetsync.errors import AuthError, Problem

_LONGEST = 1 << 20
"""Bytes; a certificate with its chain and key is far below it, and /dev/zero is not."""


def read_secret(secret: Secret, environ: Mapping[str, str], credentials_directory: Path | None) -> str:
    """Return the text of a secret, without the one newline at its end that editors and `echo` leave there.

    It is read anew each time, so that one that was replaced is seen. `credentials_directory` is where systemd puts
    credentials ($CREDENTIALS_DIRECTORY), None where there are none.

    Raises:
        AuthError: it is missing, empty or not text, or cannot be read; the message names its place.
    """
    try:
        return _text(_content(secret, environ, credentials_directory))
    except _UnusableError as error:
        raise _error(secret, str(error)) from error
    except OSError as error:
        raise _error(secret, f"cannot be read: {error.strerror}") from error


def missing_secrets(
    settings: Settings, environ: Mapping[str, str], credentials_directory: Path | None
) -> tuple[Problem, ...]:
    """Return a problem for every secret of the configuration that cannot be read, with file and line."""
    problems: list[Problem] = []
    for key, secret in _secrets(settings):
        try:
            read_secret(secret, environ, credentials_directory)
        except AuthError as error:
            problems.append(_problem(settings, key, secret, str(error)))
    return tuple(problems)


def exposed_secrets(settings: Settings) -> tuple[Problem, ...]:
    """Return a warning for every file with a secret that every user of the machine may read."""
    return tuple(
        _problem(settings, key, secret, f"{_title(secret)} is readable by everybody: chmod o-r")
        for key, secret in _secrets(settings)
        if secret.source == "file" and _is_world_readable(Path(secret.place))
    )


class _UnusableError(Exception):
    """Why a secret cannot be used; what it holds is no part of it."""


def _text(content: bytes) -> str:
    try:
        text = re.sub(r"\r?\n\Z", "", content.decode())
    except UnicodeDecodeError:
        text = None  # raised below, out of reach of this error, which holds the bytes
    if text is None:
        raise _UnusableError("is not UTF-8 text")
    if not text.strip():
        raise _UnusableError("is empty")
    if "\0" in text:
        raise _UnusableError("holds a NUL character")
    return text


def _content(secret: Secret, environ: Mapping[str, str], credentials_directory: Path | None) -> bytes:
    if secret.source == "env":
        if secret.place not in environ:
            raise _UnusableError("is not set")
        return environ[secret.place].encode(errors="surrogateescape")
    if secret.source == "file":
        return _file_content(Path(secret.place))
    if credentials_directory is None:
        raise _UnusableError("is not there: $CREDENTIALS_DIRECTORY is not set, systemd sets it for LoadCredential=")
    return _file_content(credentials_directory / secret.place)


def _file_content(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
        raise _UnusableError("is not a regular file")
    with path.open("rb") as file:
        content = file.read(_LONGEST + 1)
    if len(content) > _LONGEST:
        raise _UnusableError("is longer than any secret")
    return content


def _is_world_readable(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _secrets(settings: Settings) -> Iterator[tuple[str, Secret]]:
    for source in settings.sources.values():
        for name, secret in source.auth.secrets.items():
            yield f"{quote(name)} of source {quote(source.name)}", secret


def _error(secret: Secret, reason: str) -> AuthError:
    return AuthError(f"{_title(secret)} {reason}")


def _title(secret: Secret) -> str:
    return f"{secret.source} {quote(secret.place)}"


def _problem(settings: Settings, key: str, secret: Secret, message: str) -> Problem:
    return Problem(message=f"{key}: {message}", file=str(settings.file), line=secret.line)
