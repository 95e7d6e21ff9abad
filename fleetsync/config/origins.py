"""Where services are: scheme, host and port, and nothing else. No message repeats a URL; it may hold a password."""

import ipaddress
import re

from fleetsync.config.values import UnfitError, as_text
from fleetsync.transport.origin import Origin

_LOOPBACK_V4 = ipaddress.IPv4Network("127.0.0.0/8")
_LOOPBACK_V6 = ipaddress.IPv6Address("::1")
_TAIL = re.compile(r"[a-z]+://[^/?#]*/?", re.IGNORECASE)


def as_service(value: object) -> str:
    """Return the origin of a service: https, or http to this machine."""
    url = as_proxy(value)
    if not url.startswith("https:") and not is_loopback(url):
        raise UnfitError("must begin with https://; http:// is for loopback only (127.0.0.0/8, ::1, localhost)")
    return url


def as_authority(value: object) -> str:
    """Return the origin of a sign-in service: https."""
    url = as_proxy(value)
    if not url.startswith("https:"):
        raise UnfitError("must begin with https://")
    return url


def as_proxy(value: object) -> str:
    """Return an origin as it is compared: lower case, without its default port, without a slash at the end."""
    text = as_text(value)
    if "@" in text:
        raise UnfitError("must hold no user name and no password: secrets are not written here")
    try:
        origin = Origin.of(text)
    except ValueError as error:
        raise UnfitError("must be a URL like https://example.com") from error
    if not _TAIL.fullmatch(text):
        raise UnfitError("must end after its host and port: no path, no query, no fragment")
    return str(origin)


def is_loopback(url: str) -> bool:
    """Say whether `url` leads to this machine: 127.0.0.0/8, ::1 or localhost by name."""
    host = Origin.of(url).host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address in _LOOPBACK_V4 if isinstance(address, ipaddress.IPv4Address) else address == _LOOPBACK_V6
