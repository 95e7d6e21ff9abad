"""Who may do what at an IoT Hub: policies, connection strings and shared access signatures.

Facts (iot-hub-dev-guide-sas at learn.microsoft.com and Azure/azure-iot-sdk-python, read 2026-11): a signature is
HMAC-SHA256 over the encoded `sr`, a line feed and `se`, which is in seconds; `sr` is the host or a path below it,
and is a prefix by segment. Real clocks may differ by some minutes; here a signature is over when it says so.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Flag, auto
from random import Random
from typing import Final
from urllib.parse import unquote, unquote_plus

from fleetsync.simulator.fleet import symmetric_key
from fleetsync.simulator.wire import RefusedError

RESOURCE: Final = "https://iothubs.azure.net"
"""What a bearer token has to be for."""

_SCHEME: Final = "SharedAccessSignature"


class Right(Flag):
    """What a policy allows."""

    REGISTRY_READ = auto()
    REGISTRY_WRITE = auto()
    SERVICE_CONNECT = auto()
    DEVICE_CONNECT = auto()


BUILT_IN: Final[Mapping[str, Right]] = {
    "iothubowner": Right.REGISTRY_READ | Right.REGISTRY_WRITE | Right.SERVICE_CONNECT | Right.DEVICE_CONNECT,
    "service": Right.SERVICE_CONNECT,
    "device": Right.DEVICE_CONNECT,
    "registryRead": Right.REGISTRY_READ,
    "registryReadWrite": Right.REGISTRY_READ | Right.REGISTRY_WRITE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A named key, and what its holder may do."""

    name: str
    rights: Right
    key: str = field(repr=False)

    def connection_string(self, host: str) -> str:
        """Return what the portal shows for this policy."""
        return f"HostName={host};SharedAccessKeyName={self.name};SharedAccessKey={self.key}"


def built_in_policies(random: Random) -> dict[str, Policy]:
    """Return the policies that every hub has, with new keys."""
    return {name: Policy(name=name, rights=rights, key=symmetric_key(random)) for name, rights in BUILT_IN.items()}


@dataclass(slots=True, kw_only=True)
class Doorman:
    """Admits holders of a signature or of a bearer token, on plain HTTP anybody without either.

    `host` is the name that clients sign for; a signature for it without its port is as good. Whoever has a
    bearer token of the hub's resource may do everything: roles are not simulated.
    """

    host: str
    policies: dict[str, Policy]
    bearer: Callable[[str, str], bool]
    anonymous: bool

    def admit(self, authorization: str | None, *, path: str, needed: Right, at: float) -> None:
        """Let a request for a raw path pass.

        Raises:
            RefusedError: 401, for want of a good token, or of a right.
        """
        if authorization is None and self.anonymous:
            return
        scheme, _, token = (authorization or "").partition(" ")
        if scheme == "Bearer" and self.bearer(token, RESOURCE):
            return
        if scheme == _SCHEME and needed in self._granted(token, path, at):
            return
        raise RefusedError(401, "IotHubUnauthorizedAccess", "Unauthorized")

    def connection_string(self, policy: str = "iothubowner") -> str:
        """Return what the portal shows for a policy."""
        return self.policies[policy].connection_string(self.host)

    def _granted(self, token: str, path: str, at: float) -> Right:
        none = Right(0)
        found = _fields(token)
        if found is None:
            return none
        policy = self.policies.get(unquote(found["skn"]))
        if policy is None or not found["se"].isdecimal() or int(found["se"]) <= at:
            return none
        wanted = signature(policy.key, f"{found['sr']}\n{found['se']}")
        # A plus sign that was not encoded arrives as a blank, as at any server that reads forms.
        if not hmac.compare_digest(wanted.encode(), unquote_plus(found["sig"]).encode()):
            return none
        return policy.rights if self._covers(found["sr"], path) else none

    def _covers(self, scope: str, path: str) -> bool:
        host, *wanted = unquote(scope).casefold().rstrip("/").split("/")
        segments = [unquote(segment).casefold() for segment in path.split("/")[1:]]
        ours = self.host.casefold()
        return host in (ours, ours.rpartition(":")[0] or ours) and segments[: len(wanted)] == wanted


def signature(key: str, text: str) -> str:
    """Return the signature of a text, in base64; an undecodable key signs nothing."""
    try:
        secret = base64.b64decode(key, validate=True)
    except binascii.Error:
        return ""
    return base64.b64encode(hmac.digest(secret, text.encode(), hashlib.sha256)).decode()


def _fields(token: str) -> dict[str, str] | None:
    pairs = [part.partition("=")[::2] for part in token.split("&")]
    found = dict(pairs)
    return found if len(pairs) == len(found) and {"sr", "sig", "se", "skn"} <= found.keys() else None
