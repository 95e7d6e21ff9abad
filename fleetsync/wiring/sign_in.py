"""Where the Authorization header of each source comes from."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from fleetsync.clock import Clock
from fleetsync.config.secrets import read_secret
from fleetsync.config.settings import Secret, SourceSettings
from fleetsync.transport.auth import ApiToken, NoTokens, Tokens
from fleetsync.transport.entra import ClientCertificate, Identity
from fleetsync.transport.msal_tokens import (
    client_certificate_tokens,
    client_secret_tokens,
    device_code_tokens,
    managed_identity_tokens,
    workload_identity_tokens,
)
from fleetsync.transport.origin import Origin
from fleetsync.transport.sas import SharedAccessKey
from fleetsync.transport.secret import SecretText


def tokens_of(settings: SourceSettings, clock: Clock, state: Path) -> Tokens:
    """Return where a source's Authorization header comes from; nothing is asked yet. `state` keeps cached sign-ins."""
    return _WAYS[settings.auth.method](settings, clock, state)


def identity_of(settings: SourceSettings) -> Identity:
    """Return who signs in for a source, and where."""
    options = settings.auth.options
    return Identity(
        tenant_id=options.get("tenant_id", "organizations"),
        client_id=options["client_id"],
        scope=_scope(settings),
        authority=settings.authority,
        ca_file=settings.ca_file,
        proxy=settings.proxy,
    )


def sign_in_file(source: str, state: Path) -> Path:
    """Return where the sign-in of a person is kept."""
    return state / f"{source}.sign-in"


def secret_text(secret: Secret) -> SecretText:
    """Return a secret that is read when it is needed."""
    place = f"{secret.source} {secret.place!r}"
    return SecretText(place=place, read=lambda: read_secret(secret, os.environ, credentials_directory()))


def credentials_directory() -> Path | None:
    """Return where systemd puts credentials; None where it does not."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(folder) if folder else None


def _none(_settings: SourceSettings, _clock: Clock, _state: Path) -> Tokens:
    return NoTokens()


def _api_token(settings: SourceSettings, _clock: Clock, _state: Path) -> Tokens:
    return ApiToken(secret_text(settings.auth.secrets["token"]))


def _client_secret(settings: SourceSettings, clock: Clock, _state: Path) -> Tokens:
    return client_secret_tokens(identity_of(settings), secret_text(settings.auth.secrets["client_secret"]), clock)


def _client_certificate(settings: SourceSettings, clock: Clock, _state: Path) -> Tokens:
    secrets = {name: secret_text(secret) for name, secret in settings.auth.secrets.items()}
    certificate = ClientCertificate(
        certificate=secrets["certificate"], private_key=secrets["certificate"], passphrase=secrets.get("passphrase")
    )
    return client_certificate_tokens(identity_of(settings), certificate, clock)


def _workload_identity(settings: SourceSettings, clock: Clock, _state: Path) -> Tokens:
    assertion = secret_text(Secret("file", settings.auth.options["token_file"]))
    return workload_identity_tokens(identity_of(settings), assertion, clock)


def _managed_identity(settings: SourceSettings, clock: Clock, _state: Path) -> Tokens:
    return managed_identity_tokens(_scope(settings), clock, client_id=settings.auth.options.get("client_id"))


def _device_code(settings: SourceSettings, clock: Clock, state: Path) -> Tokens:
    command = f"fleetsync check {settings.name} --sign-in"
    return device_code_tokens(identity_of(settings), sign_in_file(settings.name, state), clock, command=command)


def _shared_access_key(settings: SourceSettings, clock: Clock, _state: Path) -> Tokens:
    secret = secret_text(settings.auth.secrets["connection_string"])
    return SharedAccessKey(secret, Origin.of(settings.url), clock)


def _scope(settings: SourceSettings) -> str:
    return settings.scope or settings.kind.scope_of(settings.auth.method) or ""


_WAYS: Mapping[str, Callable[[SourceSettings, Clock, Path], Tokens]] = {
    "none": _none,
    "api-token": _api_token,
    "client-secret": _client_secret,
    "client-certificate": _client_certificate,
    "workload-identity": _workload_identity,
    "managed-identity": _managed_identity,
    "device-code": _device_code,
    "shared-access-key": _shared_access_key,
}
