"""Authorization: who gives the header, and what a 401 changes."""

import datetime
import re
from typing import Protocol

from msgspec.structs import replace

from fleetsync.errors import AuthError
from fleetsync.transport.http import Http, Request, Response
from fleetsync.transport.secret import SecretText

_SAS_END = re.compile(r"(?:^|[ &])se=([0-9]{12,14})(?:&|$)")
_UNAUTHORIZED = 401


class Tokens(Protocol):
    """Where the Authorization header comes from."""

    async def authorization(self) -> str | None:
        """Return the header's whole value; None sends no header.

        Raises:
            AuthError: a person must act.
            TransientError: the token service did not give one now.
        """
        ...

    async def refused(self, value: str) -> None:
        """Take note that the service did not accept `value`: the next one is another, if there is another."""
        ...

    def expires_at(self) -> datetime.datetime | None:
        """Return when what a person must renew ends (a token, a certificate); None where that is not known."""
        ...


class NoTokens:
    """No sign-in."""

    async def authorization(self) -> None:
        """Return no header."""

    async def refused(self, value: str) -> None:
        """Change nothing."""

    def expires_at(self) -> None:
        """Return nothing: there is nothing to renew."""


class ApiToken:
    """A token that a service issued as a whole, such as IoT Central's; it is sent as it stands."""

    def __init__(self, secret: SecretText) -> None:
        self._secret = secret

    async def authorization(self) -> str:
        """Return the token, read anew."""
        return self._secret.header()

    async def refused(self, value: str) -> None:
        """Change nothing: a replaced file is seen at the next reading anyway."""

    def expires_at(self) -> datetime.datetime | None:
        """Return what `se` in the token says: milliseconds since 1970, unlike in IoT Hub's tokens."""
        try:
            end = _SAS_END.search(self._secret.text())
        except AuthError:
            return None
        return datetime.datetime.fromtimestamp(int(end[1]) / 1000, datetime.UTC) if end else None


class Authorized:
    """Adds the Authorization header; a 401 is answered with another token, once.

    A 401 says that the request was not carried out, so any method may be repeated. A 403 is about a role: no other
    token would help. The rate limiter is below: who waits for a token holds no permission to send meanwhile.
    """

    def __init__(self, http: Http, tokens: Tokens) -> None:
        self._http = http
        self._tokens = tokens

    async def send(self, request: Request) -> Response:
        """Send `request` with authorization and return the answer.

        Raises:
            AuthError: no token, or none that the service accepts.
            SourceError: as the layer below.
        """
        value = await self._tokens.authorization()
        try:
            return await self._http.send(_with(request, value))
        except AuthError as error:
            if error.status != _UNAUTHORIZED or value is None:
                raise
            await self._tokens.refused(value)
            another = await self._tokens.authorization()
            if another == value:
                raise
        return await self._http.send(_with(request, another))


def _with(request: Request, value: str | None) -> Request:
    return request if value is None else replace(request, headers={**request.headers, "Authorization": value})
