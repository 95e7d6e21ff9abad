"""Shared access signatures of Azure IoT Hub: tokens computed here, from a key that never leaves.

https://learn.microsoft.com/azure/iot-hub/iot-hub-dev-guide-sas, checked 2026-11-21: the signature is over the
percent-encoded resource, a line feed and the end in whole seconds since 1970.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from urllib.parse import quote

from fleetsync.clock import Clock
from fleetsync.errors import AuthError
from fleetsync.transport.origin import Origin
from fleetsync.transport.secret import SecretText

LIFE_S = 3600
_DEFAULT_PORTS = frozenset({443, 80})
_KEYS = frozenset({"hostname", "sharedaccesskeyname", "sharedaccesskey"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionString:
    """A service's connection string, taken apart."""

    host: str
    policy: str
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, text: str, place: str) -> "ConnectionString":
        """Take a connection string apart.

        Raises:
            AuthError: it is none, or that of a device. The message names the place, never the content.
        """
        pairs = [part.partition("=") for part in text.strip().split(";") if part]
        members = {name.strip().lower(): value for name, _, value in pairs}
        if "deviceid" in members:
            raise AuthError(f"{place} holds the connection string of a device; a service's names a policy")
        if len(members) != len(pairs) or members.keys() != _KEYS or not all(members.values()):
            raise AuthError(f"{place} holds no connection string: HostName=…;SharedAccessKeyName=…;SharedAccessKey=…")
        try:
            key = base64.b64decode(members["sharedaccesskey"], validate=True)
        except binascii.Error:
            key = b""  # raised below, out of reach of this error, which holds the text
        if not key:
            raise AuthError(f"{place} holds a key that is not base64")
        host = members["hostname"].lower()
        if _origin_of(host) is None:
            raise AuthError(f"{place} holds a HostName that is no host name, like contoso.azure-devices.net")
        return cls(host=host, policy=members["sharedaccesskeyname"], key=key)

    def is_for(self, service: Origin) -> bool:
        """Say whether a service is the one that it was issued for; a port counts only where both sides name one."""
        own = _origin_of(self.host)
        if own is None or own.host != service.host:
            return False
        return own.port == service.port or not _DEFAULT_PORTS.isdisjoint({own.port, service.port})


def _origin_of(host: str) -> Origin | None:
    """Return where a HostName leads; None where it is something else, which may be a misplaced secret."""
    if "/" in host or "?" in host or "#" in host:
        return None
    try:
        return Origin.of(f"https://{host}")
    except ValueError:
        return None


def sas_token(connection: ConnectionString, *, resource: str, until_s: int) -> str:
    """Return the whole header for a resource (host name, or host name and a path prefix) until an instant."""
    encoded = quote(resource, safe="")
    signed = hmac.new(connection.key, f"{encoded}\n{until_s}".encode(), hashlib.sha256).digest()
    signature = quote(base64.b64encode(signed).decode(), safe="")
    policy = quote(connection.policy, safe="")
    return f"SharedAccessSignature sr={encoded}&sig={signature}&se={until_s}&skn={policy}"


class SharedAccessKey:
    """Tokens signed with a key from a connection string, each for an hour; half of it is left when it is renewed.

    The connection string has to be that of `service`: the signature for another hub is of no use to this one.
    """

    def __init__(self, secret: SecretText, service: Origin, clock: Clock) -> None:
        self._secret = secret
        self._service = service
        self._clock = clock
        self._token: str | None = None
        self._made_at_s = 0.0

    async def authorization(self) -> str:
        """Return a token that holds for a while yet. The key is read anew whenever one is made.

        Raises:
            AuthError: there is no connection string, or it is that of another hub.
        """
        now_s = self._clock.monotonic_s()
        if self._token is None or now_s - self._made_at_s > LIFE_S / 2:
            connection = self._connection()
            until_s = int(self._clock.now().timestamp()) + LIFE_S
            self._token = sas_token(connection, resource=connection.host, until_s=until_s)
            self._made_at_s = now_s
        return self._token

    def _connection(self) -> ConnectionString:
        connection = ConnectionString.of(self._secret.text(), self._secret.place)
        if not connection.is_for(self._service):
            place, service = self._secret.place, str(self._service).partition("://")[2]
            raise AuthError(f"{place} is for the hub {connection.host}, and the url of this source is at {service}")
        return connection

    async def refused(self, value: str) -> None:
        """Make another one next time: the key may have been replaced, or the clock set."""
        if value == self._token:
            self._token = None

    def expires_at(self) -> None:
        """Return nothing: a key has no end that it tells."""
