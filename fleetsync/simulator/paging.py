"""Next links, whose bytes must come back as they went out."""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias
from urllib.parse import quote, unquote

from fleetsync.simulator.wire import encoded

Version: TypeAlias = Literal["2022-07-31", "2022-10-31-preview"]

PREVIEW: Version = "2022-10-31-preview"
STABLE: Version = "2022-07-31"


class ChangedLinkError(Exception):
    """A link came back with other bytes than it went out with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in a listing: after this id, and how many empty pages there were on the way.

    The number of the listing makes the links of two listings differ, so that a link which died
    does not come back when the client starts again.
    """

    listing: int
    path: str
    after: str
    size: int
    empty: int = 0


class Links:
    """Makes and reads continuations in the two forms of the service's versions.

    The preview doubly encodes name and token. The stable version sends `$skiptoken` raw, its parts joined by
    %3A. A client that parses a link and builds it again breaks either, and is told so.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def query(self, version: Version, position: Position) -> str:
        """Return the raw query of the link to a position."""
        token = base64.urlsafe_b64encode(encoded(asdict(position))).decode().rstrip("=")
        seal = hmac.new(self._key, token.encode(), hashlib.sha256).hexdigest()[:16]
        if version == STABLE:
            return f"api-version={version}&$skiptoken={position.listing}%3A{token}%3A{seal}"
        text = json.dumps({"token": f"{token}.{seal}", "range": {"min": "", "max": "FF"}})
        size = f"&maxpagesize={position.size}"
        return f"api-version={version}{size}&%24skiptoken={quote(quote(text, safe=''), safe='')}"

    def position(self, version: Version, path: str, query: str) -> Position:
        """Return the position that a raw query continues at.

        Raises:
            ChangedLinkError: it is not, byte for byte, a link that was given out for this path.
        """
        try:
            token = _token(version, query)
            text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            position = Position(**json.loads(text))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, binascii.Error) as error:
            raise ChangedLinkError(path) from error
        if position.path != path or self.query(version, position) != query:
            raise ChangedLinkError(path)
        return position


def is_continuation(query: str) -> bool:
    """True when a raw query holds a skip token in whatever spelling."""
    return "skiptoken=" in unquote(query).lower()


def _token(version: Version, query: str) -> str:
    if version == STABLE:
        return query.split("$skiptoken=")[1].split("%3A")[1]
    text = unquote(unquote(query.split("%24skiptoken=")[1]))
    token: str = json.loads(text)["token"]
    return token.partition(".")[0]
