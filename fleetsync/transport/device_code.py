"""Sign-in by a person at another screen, and the file that remembers it."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from fleetsync.errors import AuthError
from fleetsync.transport.entra import Identity, silent_msal
from fleetsync.transport.entra_faults import fault_in, faults_of, token_of
from fleetsync.transport.refresh import AccessToken
from fleetsync.transport.threads import start_in_daemon_thread

_OWNER_ONLY = 0o600


class DeviceCodeSignIn(Struct, frozen=True, kw_only=True):
    """Signs in with what a person left behind in `cache_file`; `command` is what that person has to type again."""

    identity: Identity
    cache_file: Path
    command: str

    def acquire(self, *, anew: bool) -> AccessToken:
        """Return a token; with `anew` none from the file."""
        where = self.identity.host
        with _cache(self.cache_file) as cache:
            app = _application(self.identity, cache)
            with faults_of(where):
                accounts = app.get_accounts()
                result = accounts and app.acquire_token_silent_with_error(
                    [self.identity.scope], accounts[0], force_refresh=anew
                )
        if not result:
            raise AuthError(f"nobody is signed in at {where}: sign in with `{self.command}`")
        try:
            return token_of(result, where)
        except AuthError as error:
            message = f"{error}: sign in again with `{self.command}`"
            raise AuthError(message, code=error.code, request_id=error.request_id) from error

    def expires_at(self) -> None:
        """Return nothing: the service does not say when a refresh token ends."""


async def sign_in_with_device_code(identity: Identity, cache_file: Path, show: Callable[[str], None]) -> None:
    """Have a person sign in, and remember it in `cache_file`, which only its owner can read.

    `show` gets the service's instructions: an address and a code. It takes as long as the person does, up to the
    quarter of an hour that the service allows; cancelling it ends it.

    Raises:
        AuthError: refused, declined, or too late.
        TransientError: the token service cannot be asked now.
    """
    with _cache(cache_file, fresh=True) as cache:
        app = await start_in_daemon_thread(partial(_application, identity, cache))
        flow = await start_in_daemon_thread(partial(_flow, app, identity))
        show(str(flow["message"]))
        try:
            await start_in_daemon_thread(partial(_finish, app, flow, identity))
        finally:
            flow["expires_at"] = 0  # ends the polling in the thread


def _application(identity: Identity, cache: Any) -> Any:
    with faults_of(identity.host, building=True):
        return silent_msal().PublicClientApplication(identity.client_id, token_cache=cache, **identity.options())


def _flow(app: Any, identity: Identity) -> dict[str, Any]:
    with faults_of(identity.host):
        flow: dict[str, Any] = app.initiate_device_flow(scopes=[identity.scope])
    if "user_code" not in flow:
        raise fault_in(flow, identity.host)
    return flow


def _finish(app: Any, flow: dict[str, Any], identity: Identity) -> None:
    with faults_of(identity.host):
        result = app.acquire_token_by_device_flow(flow)
    token_of(result, identity.host)


@contextlib.contextmanager
def _cache(file: Path, *, fresh: bool = False) -> Iterator[Any]:
    """Lend MSAL's cache as it is in `file`, and write it back when it changed and nothing went wrong."""
    cache = silent_msal().SerializableTokenCache()
    if not fresh:
        with contextlib.suppress(FileNotFoundError, ValueError):  # no cache: the person signs in again
            cache.deserialize(file.read_text(encoding="utf-8"))
    yield cache
    if cache.has_state_changed:
        _replace(file, cache.serialize())


def _replace(file: Path, text: str) -> None:
    """Write `file` for its owner only, all or nothing."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mode 0600 from the start
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as new:
            new.write(text)
            new.flush()
            os.fsync(new.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
