"""Pages: `Items` and `ContinuationToken`, whose bytes come back in the header `Sphere-Continuation`.

How many items a page holds is the service's own choice, whatever `maxPageSize` asks for. A token is good for the list
that gave it. Between two pages nothing is frozen: a page goes on after the last item that was shown.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from random import Random
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

from fleetsync.simulator.faults import Drawn
from fleetsync.simulator.wire import Object, RefusedError, SimRequest, SimResponse, encoded, json_bytes

DEFAULT_SIZE: Final = 100
HEADER: Final = "Sphere-Continuation"

Item: TypeAlias = tuple[str, Object]
"""What a list is ordered by, and the document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position:
    """A place in a list: after which item, how many were shown until there, and empty pages on the way."""

    listing: int
    path: str
    after: str = ""
    shown: int = 0
    empty: int = 0


class Pages:
    """Cuts lists into pages; `size` is the most that a page holds, and may be set."""

    def __init__(self, *, seed: int, size: int) -> None:
        self.size = size
        self._key = Random(f"{seed}:sphere-pages").randbytes(16)
        self._listings = 0
        self._dead: set[str] = set()

    def answer(self, request: SimRequest, items: Iterable[Item], faults: Drawn) -> SimResponse:
        """Return the page of sorted items that a request asks for.

        Raises:
            RefusedError: 400, the page size is none, or the token not one of this list.
        """
        size = min(self.size, _asked(request))
        position = self._position(request, faults)
        if "short-page" in faults:
            size = int(size * float(faults["short-page"]))
        all_items = list(items)
        found, following = _cut(all_items, position, size, faults)
        if "short-list" in faults:
            room = max(0, int(float(faults["short-list"]) * len(all_items)) - position.shown)
            found, following = (found, following) if room > len(found) else (found[:room], None)
        if "twice" in faults:
            found = [*(one for one in all_items if one[0] == position.after), *found]
        match faults.get("loop-link"):
            case "same":
                following = position
            case "first":
                following = _Position(listing=position.listing, path=position.path)
            case _:
                pass
        return self._rendered(found, following, faults)

    def _rendered(self, found: list[Item], following: _Position | None, faults: Drawn) -> SimResponse:
        parts = []
        if "no-value" not in faults:
            parts.append(b'"Items":[' + b",".join(encoded(document) for _, document in found) + b"]")
        # On the last page it is absent or null; here that depends on how many items the page has.
        if following is not None:
            parts.append(b'"ContinuationToken":' + encoded(self._token(following)))
        elif len(found) % 2 or "null-link" in faults:
            parts.append(b'"ContinuationToken":null')
        return json_bytes(b"{" + b",".join(parts) + b"}")

    def _position(self, request: SimRequest, faults: Drawn) -> _Position:
        token, path = request.header(HEADER), request.path.lower()
        if token is None:
            self._listings += 1
            return _Position(listing=self._listings, path=path)
        if "dead-cursor" in faults:
            self._dead.add(token)
        position = self._decoded(token)
        if position is None or position.path != path or token in self._dead:
            raise RefusedError(400, "BadRequest", "the continuation token is not valid")
        return position

    def _token(self, position: _Position) -> str:
        text = base64.b64encode(encoded(asdict(position))).decode()
        return f"{text}.{hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:16]}"

    def _decoded(self, token: str) -> _Position | None:
        try:
            position = _Position(**json.loads(base64.b64decode(token.partition(".")[0], validate=True)))
        except (ValueError, TypeError, binascii.Error):
            return None
        return position if self._token(position) == token else None


def _cut(items: list[Item], position: _Position, size: int, faults: Drawn) -> tuple[list[Item], _Position | None]:
    if "empty-list" in faults:
        return [], None
    if "empty-page" in faults or size == 0:
        return [], replace(position, empty=position.empty + 1)
    # One more than is shown tells whether there is a next page.
    found = list(islice((one for one in items if one[0] > position.after), size + 1))
    if len(found) <= size:
        return found, None
    return found[:size], replace(position, after=found[size - 1][0], shown=position.shown + size, empty=0)


def _asked(request: SimRequest) -> int:
    query = dict(parse_qsl(request.query, keep_blank_values=True))
    text = query.pop("maxPageSize", str(DEFAULT_SIZE))
    if query or not text.isdecimal() or not 0 < int(text) < 2**31:
        raise RefusedError(400, "BadRequest", "the query has something else than maxPageSize in it")
    return int(text)
