"""Signed URLs of Azure Resource Manager, which have to come back byte for byte.

Facts (traffic recorded by Azure/azure-powershell and azure-cli, read 2026-11): the URL of an operation holds `*` in its
path and signed query values in percent-encoding, some 3,050 characters in all; Microsoft tells clients to take 4 KB.
`%2F`, `%3A`, `%27` and a name without a value are what the common client libraries are known to change.
"""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import asdict
from typing import Final
from urllib.parse import quote, unquote

from fleetsync.simulator.paging import ChangedLinkError, Position
from fleetsync.simulator.wire import encoded

_VERSION_MARK: Final = "api-version="
_FILLER: Final = (
    "MIIHhjCCBm6gAwIBAgITHgTVbTG%2BLfPQ1QoOaQAABNVtMTANBgkqhkiG9w0BAQsFADBEMRMw%2FEQYK%3A%27CZImi%2BZPyLGQB%3D*"
)


class SignedLinks:
    """Makes signed targets and reads the ones that continue a list.

    `size` is how many bytes the URL of an operation has at least, and `page_size` that of a next link.
    """

    def __init__(self, key: bytes, *, size: int, page_size: int = 0) -> None:
        self._key = key
        self.size = size
        self.page_size = page_size

    def operation(self, path: str, query: str, *, origin: str) -> str:
        """Return the raw target of an operation's URL."""
        return self._filled(path, f"{query}&t=638475&c=", size=self.size - len(origin))

    def continuation(self, path: str, version: str, position: Position) -> str:
        """Return the raw target of the next page: a raw path, and a query with the position in it."""
        token = base64.b64encode(encoded(asdict(position))).decode()
        query = f"{_VERSION_MARK}{version}&%24skipToken={quote(token, safe='')}%27%3A*&fresh"
        if self.page_size:
            return self._filled(path, f"{query}&c=", size=self.page_size)
        return self._signed(path, query)

    def position(self, path: str, version: str, target: str) -> Position:
        """Return the position that a raw target continues at.

        Raises:
            ChangedLinkError: it is not, byte for byte, a link that was given out.
        """
        try:
            text = target.split("%24skipToken=")[1].split("&")[0].removesuffix("%27%3A*")
            position = Position(**json.loads(base64.b64decode(unquote(text), validate=True)))
        except (ValueError, TypeError, IndexError, binascii.Error) as error:
            raise ChangedLinkError(path) from error
        if self.continuation(position.path, version, position) != target or position.path != path:
            raise ChangedLinkError(path)
        return position

    def _signed(self, path: str, query: str) -> str:
        target = f"{path}?{query}"
        seal = hmac.new(self._key, target.encode(), hashlib.sha256).hexdigest()
        return f"{target}&s={seal}%3D&h=%2F%3A%27"

    def _filled(self, path: str, query: str, *, size: int) -> str:
        """Return a signed target of at least so many bytes; the filler goes behind the query."""
        missing = max(0, size - len(self._signed(path, query)))
        # Never cut within an escape: what is left over is plain.
        whole, rest = divmod(missing, len(_FILLER))
        return self._signed(path, query + _FILLER * whole + "x" * rest)


def is_continuation(target: str) -> bool:
    """True when a raw target holds a skip token in whatever spelling."""
    return "skiptoken=" in unquote(target).lower()
