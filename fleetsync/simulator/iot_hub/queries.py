"""Pages of query answers: their size, their continuations, and what faults make of them.

A continuation is good for the same query text and the same page size only (Azure/Industrial-IoT pull request 522).
The hub grants fewer rows than asked for when it likes. Nothing is frozen between two pages.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from random import Random
from typing import Final

from fleetsync.simulator.faults import Drawn
from fleetsync.simulator.iot_hub.index import CIRCLE, Index, Row
from fleetsync.simulator.iot_hub.query import Query, parse_query
from fleetsync.simulator.iot_hub.query_tokens import QueryError
from fleetsync.simulator.iot_hub.rules import body_of, invalid
from fleetsync.simulator.wire import Object, RefusedError, SimRequest, SimResponse, encoded, json_bytes

DEFAULT_SIZE: Final = 100

_CONTINUATION: Final = "x-ms-continuation"
_COUNT: Final = "x-ms-max-item-count"
_INVALID: Final = "The query is invalid. Please check the format of the query and try again."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position:
    """A place in a scan: where it began, the last place that was shown, and how many rows were until there."""

    scan: int
    start: int
    text: str
    asked: int | None
    after: int = -1
    shown: int = 0
    empty: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """The rows of a page, and where the next begins; None is the end."""

    rows: tuple[Row, ...]
    next: _Position | None


class Queries:
    """Answers queries from the index; `page_size` is the most that it grants, and may be set."""

    def __init__(self, index: Index, *, seed: int, page_size: int) -> None:
        self.page_size = page_size
        self._index = index
        self._random = Random(f"{seed}:hub-queries")
        self._key = self._random.randbytes(16)
        self._scans = 0
        self._dead: set[str] = set()

    def answer(self, request: SimRequest, faults: Drawn) -> SimResponse:
        """Return the page that a request asks for.

        Raises:
            RefusedError: 400, the query or the continuation is not valid.
        """
        text = body_of(request).get("query")
        query = _parsed(text)
        position = self._position(request, str(text), faults)
        if query.counted_as is not None:
            # One page, whatever the page size is: there are as many rows as groups.
            rows = self._index.walk(query.source, start=0, after=-1)
            counted = query.counted(self._index.record(row) for _, row in rows)
            return json_bytes(encoded(counted[: query.top]), headers={"x-ms-item-type": "Raw"})
        return self._rendered(query, self._cut(query, position, faults), faults)

    def _rendered(self, query: Query, page: _Page, faults: Drawn) -> SimResponse:
        headers = {"x-ms-item-type": "Twin" if query.is_whole else "Raw"}
        if page.next is not None:
            headers[_CONTINUATION] = self._token(page.next)
        elif "null-link" in faults:
            headers[_CONTINUATION] = ""
        if "no-value" in faults:
            return json_bytes(b"{}", headers=headers)
        texts = [self._text(query, row) for row in page.rows]
        return json_bytes(b"[" + b",".join(texts) + b"]", headers=headers)

    def _text(self, query: Query, row: Row) -> bytes:
        return self._index.text(row) if query.is_whole else encoded(query.projected(self._index.record(row)))

    def _position(self, request: SimRequest, text: str, faults: Drawn) -> _Position:
        asked = _asked(request.header(_COUNT))
        digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
        token = request.header(_CONTINUATION)
        if not token:
            self._scans += 1
            return _Position(scan=self._scans, start=self._random.randrange(CIRCLE), text=digest, asked=asked)
        if "dead-cursor" in faults:
            self._dead.add(token)
        position = self._decoded(token)
        if position is None or token in self._dead:
            raise invalid("The continuation token is not valid.")
        if (position.text, position.asked) != (digest, asked):
            raise invalid("The continuation token belongs to another query or page size.")
        return position

    def _cut(self, query: Query, position: _Position, faults: Drawn) -> _Page:
        if "empty-list" in faults:
            return _Page(rows=(), next=None)
        if "empty-page" in faults:
            return _Page(rows=(), next=replace(position, empty=position.empty + 1))
        size = min(position.asked or DEFAULT_SIZE, self.page_size)
        if "short-page" in faults:
            size = int(size * float(faults["short-page"]))
        if query.top is not None:
            size = min(size, query.top - position.shown)
        page = self._honest(query, position, size)
        if "short-list" in faults:
            page = self._shortened(query, page, position, float(faults["short-list"]))
        if "twice" in faults:
            page = self._repeating(query, page, position)
        match faults.get("loop-link"):
            case "same":
                return replace(page, next=position)
            case "first":
                return replace(page, next=replace(position, after=-1, shown=0, empty=0))
            case _:
                return page

    def _honest(self, query: Query, position: _Position, size: int) -> _Page:
        # One more than is shown tells whether there is a next page.
        found = list(islice(self._found(query, position), size + 1))
        rows = tuple(row for _, row in found[:size])
        if len(found) <= size or position.shown + size == query.top:
            return _Page(rows=rows, next=None)
        after = found[size - 1][0] if size else position.after
        empty = 0 if size else position.empty + 1
        return _Page(rows=rows, next=replace(position, after=after, shown=position.shown + size, empty=empty))

    def _found(self, query: Query, position: _Position) -> Iterator[tuple[int, Row]]:
        for place, row in self._index.walk(query.source, start=position.start, after=position.after):
            if query.condition is None or query.selects(self._index.record(row)):
                yield place, row

    def _shortened(self, query: Query, page: _Page, position: _Position, share: float) -> _Page:
        room = max(0, int(share * self._index.size(query.source)) - position.shown)
        return page if room > len(page.rows) else _Page(rows=page.rows[:room], next=None)

    def _repeating(self, query: Query, page: _Page, position: _Position) -> _Page:
        before = self._index.row_at(query.source, start=position.start, distance=position.after)
        return page if before is None else replace(page, rows=(before, *page.rows))

    def _token(self, position: _Position) -> str:
        text = base64.b64encode(encoded(asdict(position))).decode()
        return f"{text}.{hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:16]}"

    def _decoded(self, token: str) -> _Position | None:
        try:
            found: Object = json.loads(base64.b64decode(token.partition(".")[0], validate=True))
            position = _Position(**found)
        except (ValueError, TypeError, binascii.Error):
            return None
        return position if self._token(position) == token else None


def _parsed(text: object) -> Query:
    if not isinstance(text, str):
        raise invalid(_INVALID)
    try:
        return parse_query(text)
    except QueryError as error:
        raise invalid(_INVALID) from error


def _asked(header: str | None) -> int | None:
    if not header:
        return None
    if not header.isdecimal() or int(header) < 1:
        raise RefusedError(400, "ArgumentInvalid", f"{_COUNT} is no number of items")
    return int(header)
