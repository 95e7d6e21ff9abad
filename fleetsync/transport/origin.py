"""Where requests may go: one scheme, host and port, compared as the parser sees them that will connect."""

import re
from functools import cached_property

from msgspec import Struct
from yarl import URL

_PRINTABLE = re.compile(r"[!-\[\]-~]+")
"""Visible ASCII without the backslash: anything else parsers disagree about, or drop in silence."""

_PLAIN = re.compile(r"(?i:https?)://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:[/?#].*)?")
"""A name, an IPv4 or an IPv6 address, perhaps a port; no userinfo, no percent-encoding, no zone."""


class Origin(Struct, frozen=True, kw_only=True, dict=True):
    """A scheme, a host and a port. Tokens go to the configured one only."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self._authority}"

    @property
    def _authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"

    @classmethod
    def of(cls, url: str) -> "Origin":
        """Return the origin of an absolute http or https URL; letter case and an explicit default port do not matter.

        Raises:
            ValueError: it has none, or writes it in a way that two parsers could read differently.
        """
        if not _PRINTABLE.fullmatch(url):
            raise ValueError("it holds a character that a URL cannot hold")
        if not _PLAIN.fullmatch(url):  # before the parser, which breaks over some that are not
            raise ValueError("it is not a plain http or https address")
        parts = URL(url, encoded=True)
        if not (parts.raw_host and parts.port):
            raise ValueError("it names no host or port")
        return cls(scheme=parts.scheme, host=parts.raw_host.lower(), port=parts.port)

    def admits(self, url: str) -> bool:
        """Say whether `url` goes to this origin, all of it: what a fragment hides would not be sent."""
        if "#" in url:
            return False
        if url.startswith(self._start):  # as nearly all do: what follows the slash belongs to no host
            return _PRINTABLE.fullmatch(url) is not None
        try:
            return Origin.of(url) == self
        except ValueError:
            return False

    @cached_property
    def _start(self) -> str:
        return f"{self}/"
