"""P3, P4, P5 and P9: every write on the wire, against the journal and what was on the wire before."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.simulation.invariants import Verdicts
from tests.simulation.network import Exchange
from tests.simulation.odd_ids import oddities
from tests.simulation.place import Asked, Key, Place
from tests.simulation.process import Process

_QUOTED = re.compile(r'"[^"]*"')
_ODD = re.compile(r"[^A-Za-z0-9_-]")
_OPEN = "SELECT id, guard, etag FROM write WHERE source = ? AND type = ? AND resource_id = ? AND outcome = 'open'"
_REFUSED = frozenset({401, 429})
"""Statuses after which a request may be sent again, whatever it is: it was not carried out."""

_Piece = tuple[Key, str]


class Writing:
    """Watches the writes to one place."""

    def __init__(self, place: Place, verdicts: Verdicts) -> None:
        self._place = place
        self._verdicts = verdicts
        self._is_whole = True
        self._last: dict[_Piece, Exchange] = {}
        """The last request about each resource, or piece of one."""
        self._by_write: dict[tuple[int, str], list[Exchange]] = {}
        """The requests for each row of the journal, and piece of it."""
        self._before: dict[int, Exchange | None] = {}
        """What was on the wire about a resource before a write to it."""
        self._uncertain: dict[_Piece, Exchange] = {}
        """Writes of which nobody knows whether they were carried out, until a read is answered."""

    def forget(self) -> None:
        """Forget what was on record: the database is another one now."""
        self._by_write.clear()
        self._uncertain.clear()
        self._is_whole = False

    def leaves(self, exchange: Exchange, asked: Asked, process: Process) -> None:
        """Judge a request that leaves."""
        key = asked.type, asked.id
        if asked.id and _ODD.search(asked.id):
            self._place.happened.update(("an odd id", *oddities(asked.id)))
            self._verdicts.check(
                "P9", self._place.knows(key), f"{self._place.name}: a request about {key}, which never was"
            )
        if asked.kind == "write":
            self._judge(exchange, asked, key, process)
        if asked.id:
            self._last[key, asked.piece] = exchange

    def _judge(self, exchange: Exchange, asked: Asked, key: Key, process: Process) -> None:
        name, verdicts = self._place.name, self._verdicts
        rows = process.rows(_OPEN, name, *key)
        verdicts.check("P4", len(rows) == 1, f"{name}: a write to {key} leaves with {len(rows)} open in the journal")
        piece = key, asked.piece
        earlier = self._uncertain.get(piece)
        id = rows[0][0] if rows else 0
        if earlier is not None and earlier.departed:
            same = earlier.notes.get("write") == id
            verdicts.check(
                "P5" if same else "P4",
                False,
                f"{name}: {key} is written to again, and nobody looked what became of request {earlier.number}"
                f" ({earlier.failure or 'no answer'})",
            )
        sent_before = self._by_write.setdefault((id, asked.piece), [])
        for one in sent_before:
            is_harmless = not one.departed or (one.delivered_s is not None and _status(one) in _REFUSED)
            verdicts.check("P5", is_harmless, f"{name}: write {id} to {key} is sent again after {_told(one)}")
        verdicts.tested["P5"] += 1
        sent_before.append(exchange)
        self._before[exchange.number] = self._last.get(piece)
        exchange.notes["write"] = id
        self._uncertain[piece] = exchange
        if rows:
            self._judge_guard(exchange, asked, key, rows[0][1], rows[0][2])

    def _judge_guard(self, exchange: Exchange, asked: Asked, key: Key, guard: str, etag: str | None) -> None:
        name, match = self._place.name, exchange.headers.get("If-Match")
        if guard == "if-match":
            holds = match is not None and bool(_QUOTED.fullmatch(match)) and (etag or "").strip('"') == match.strip('"')
            self._verdicts.check("P3", holds, f"{name}: a write to {key} has If-Match {match!r}, planned was {etag!r}")
        else:
            # What was refused because of the rate, or never left, is sent again as it is.
            sent = self._by_write[exchange.notes["write"], asked.piece]
            last = self._before[sent[0].number]
            is_read = last is not None and last.method == "GET" and last.delivered_s is not None
            self._verdicts.check(
                "P3",
                is_read
                and last is not None
                and last.process == exchange.process
                and (not asked.guardable or self._place.has_spoilt_etags),
                f"{name}: a write to {key} under {guard} leaves after {_told(last)}",
            )

    def delivered(self, exchange: Exchange, asked: Asked) -> None:
        """Take note of an answer."""
        piece = (asked.type, asked.id), asked.piece
        status = _status(exchange)
        if asked.kind == "read" and status < 500 and status != 408:
            self._uncertain.pop(piece, None)
        elif asked.kind == "write" and status < 500 and status != 408 and self._uncertain.get(piece) is exchange:
            del self._uncertain[piece]

    def at_the_end(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Compare the journal, as rows of id, outcome and status, with what the service carried out."""
        for id, outcome, _status in rows if self._is_whole else ():
            sent = [one for (number, _), some in self._by_write.items() if number == id for one in some]
            carried = [one for one in sent if one.write is not None and one.write.changed]
            name = self._place.name
            times = Counter(one.notes["asked"].piece for one in carried)
            self._verdicts.check(
                "P5", max(times.values(), default=0) <= 1, f"{name}: write {id} was carried out {times}"
            )
            if carried and carried[0].notes["asked"].type not in self._place.begins_only:
                holds = outcome in ("applied", "ignored", "unknown", "already")
                self._verdicts.check("P4", holds, f"{name}: write {id} was carried out and is on record as {outcome}")
            if outcome == "applied":
                self._verdicts.check("P4", sent, f"{name}: write {id} is on record as applied and was never sent")


def _status(exchange: Exchange) -> int:
    return exchange.answer.status if exchange.answer is not None else 0


def _told(exchange: Exchange | None) -> str:
    if exchange is None:
        return "nothing"
    what = exchange.failure or (f"an answer {_status(exchange)}" if exchange.delivered_s is not None else "no answer")
    return f"{exchange.method} {exchange.target.partition('?')[0]} (request {exchange.number}): {what}"
