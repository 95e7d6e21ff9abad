"""The ways to sign in, the keys that each of them has, and how a secret's whereabouts are written."""

import re
from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from fleetsync.config.settings import AuthSettings, Secret
from fleetsync.config.table import Table
from fleetsync.config.values import Reader, UnfitError, as_matching, as_one_of, as_path, as_text
from fleetsync.core.kind import Kind

NONE = "none"
"""No sign-in at all; for services on this machine only."""


class Form(Enum):
    """What an authentication key holds."""

    TEXT = auto()
    FILE = auto()
    """A path; what is in the file is read when it is needed."""
    SECRET = auto()
    """Where a secret is: `{ credential = … }`, `{ file = … }` or `{ env = … }`."""
    SECRET_FILE = auto()
    """The same, or a path."""


class Key(Struct, frozen=True, kw_only=True):
    """One key of an authentication method."""

    name: str
    form: Form = Form.TEXT
    is_required: bool = True


_TENANT = Key(name="tenant_id")
_CLIENT = Key(name="client_id")

METHODS: Mapping[str, tuple[Key, ...]] = {
    "client-secret": (_TENANT, _CLIENT, Key(name="client_secret", form=Form.SECRET)),
    "client-certificate": (
        _TENANT,
        _CLIENT,
        Key(name="certificate", form=Form.SECRET_FILE),
        Key(name="passphrase", form=Form.SECRET, is_required=False),
    ),
    "managed-identity": (Key(name="client_id", is_required=False),),
    "workload-identity": (_TENANT, _CLIENT, Key(name="token_file", form=Form.FILE)),
    "device-code": (Key(name="tenant_id", is_required=False), _CLIENT),
    "api-token": (Key(name="token", form=Form.SECRET),),
    "shared-access-key": (Key(name="connection_string", form=Form.SECRET),),
    NONE: (),
}
"""Every method with all its keys; which of them a kind knows, it says itself."""

WITHOUT_SCOPE = frozenset({"api-token", "shared-access-key", NONE})
"""The methods that no token of Entra ID comes from."""

_AS_IDENTIFIER = as_matching(r"[A-Za-z0-9.-]+", "an id or a domain name: letters, digits, `.` and `-`")
_PLACES: Mapping[str, Reader[str]] = {
    "credential": as_matching(r"(?!\.\.?\Z)[^/\s]{1,255}", "the name of a systemd credential: no `/`, no space"),
    "file": as_text,
    "env": as_matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable"),
}
_HOW = "{ credential = … }, { file = … } or { env = … }"


def read_auth(table: Table, kind: Kind, folder: Path) -> AuthSettings | None:
    """Return how to sign in to a kind of service; None where that cannot be told, which is noted.

    Relative paths are relative to `folder`.
    """
    method = table.require("method", as_one_of(*kind.methods))
    if method is None:
        return None
    options = dict(kind.sign_in.get(method, {}))
    secrets: dict[str, Secret] = {}
    for key in METHODS[method]:
        value = _read_key(table, replace(key, is_required=False) if key.name in options else key, folder)
        if isinstance(value, Secret):
            secrets[key.name] = value
        elif value is not None:
            options[key.name] = value
    table.close(f" with method `{method}`")
    return AuthSettings(method=method, options=options, secrets=secrets)


def _read_key(table: Table, key: Key, folder: Path) -> str | Secret | None:
    reader = _reader(key.form, folder, table.line_of(key.name))
    return table.require(key.name, reader) if key.is_required else table.take(key.name, reader, None)


def _reader(form: Form, folder: Path, line: int | None) -> Reader[str | Secret]:
    match form:
        case Form.TEXT:
            return _AS_IDENTIFIER
        case Form.FILE:
            return lambda value: str(as_path(folder)(value))
        case Form.SECRET:
            return as_secret(folder, line)
        case Form.SECRET_FILE:
            return as_secret(folder, line, may_be_path=True)
        case _:
            assert_never(form)


def as_secret(folder: Path, line: int | None = None, *, may_be_path: bool = False) -> Reader[Secret]:
    """Return a reader of where a secret is. It never repeats a value: it may be the secret itself."""

    def read(value: object) -> Secret:
        if may_be_path and isinstance(value, str) and not re.search(r"-----BEGIN|\n", value):
            return Secret("file", str(as_path(folder)(value)), line=line)
        if not isinstance(value, dict):
            raise UnfitError(f"holds a secret, and secrets are not written here: use {_HOW}")
        if len(value) != 1 or not value.keys() <= _PLACES.keys():
            raise UnfitError(f"must be {_HOW}")
        [(source, place)] = value.items()
        return Secret(source, _place(source, place, folder), line=line)

    return read


def _place(source: str, value: object, folder: Path) -> str:
    try:
        place = _PLACES[source](value)
    except UnfitError as error:
        raise UnfitError(f"is wrong: `{source}` {error}") from error
    return str(folder / place) if source == "file" else place
