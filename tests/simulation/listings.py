"""P1, P2 and P11: what listings showed on the wire, against what the mirror made of it.

A listing is a chain of pages, each asked for with the cursor of the one before. It is complete when its last page was
delivered, and resumed when another process went on with it.
"""

import sqlite3
from dataclasses import dataclass, field

from tests.simulation.invariants import Verdicts
from tests.simulation.network import Exchange
from tests.simulation.place import Asked, Key, Place
from tests.simulation.process import Process

MOST_PAGES = 100
MOST_SECONDS = 1.0
IN_FLIGHT = 4
"""Pages that may be in the queue, and in hands, besides those of one transaction."""
RESUMED_S = 3600.0
_SLACK_S = 60.0
_SLOW_S = 0.01
_KEPT = 12
_JUST_NOW_S = 30.0


@dataclass(slots=True, kw_only=True)
class Chain:
    """The pages of one listing on the wire. Numbers are those of exchanges."""

    type: str
    process: int
    began: int
    is_resumed: bool = False
    is_complete: bool = False
    at_s: float = 0.0
    """When its last page was delivered."""
    cursors: list[str | None] = field(default_factory=list)
    """What each page said to go on from."""
    pages: list[tuple[str, ...]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    """The exchange of each page."""

    @property
    def ids(self) -> set[str]:
        return {id for page in self.pages for id in page}

    def cut(self, kept: int) -> set[int]:
        """Forget all but so many pages, which are asked for again; return the exchanges of the others."""
        left = set(self.numbers[kept:])
        del self.cursors[kept:], self.pages[kept:], self.numbers[kept:]
        return left


@dataclass(slots=True)
class _Sight:
    """When a resource was last shown, as a number of an exchange, and when before that."""

    number: int
    at_s: float
    process: int
    before: "_Sight | None" = None


@dataclass(slots=True, kw_only=True)
class _Left:
    """What a killed process left of an open listing."""

    cursor: str | None
    at_s: float


class Listings:
    """Watches the listings of one place."""

    def __init__(self, place: Place, verdicts: Verdicts) -> None:
        self._place = place
        self._verdicts = verdicts
        self._chains: dict[str, list[Chain]] = {}
        self._sights: dict[Key, _Sight] = {}
        self._absences: dict[Key, int] = {}
        self._undigested = 0
        self._waiting: dict[int, float] = {}
        """When each page came that is not stored, by its exchange; on the process's clock."""
        self._stored: object = None
        self._left: dict[str, _Left] = {}
        self._started: set[str] = set()

    def leaves(self, exchange: Exchange, asked: Asked, *, stepped_s: float) -> None:
        """Look at where a listing begins in a new process; `stepped_s` is when the wall clock last stepped."""
        if asked.kind != "list" or asked.type in self._started or exchange.process == 1:
            return
        self._started.add(asked.type)
        left = self._left.pop(asked.type, None)
        if left is None or asked.type == "configuration" or stepped_s >= left.at_s:
            return
        if asked.cursor is None and asked.type in self._place.searched:
            return  # it may be in search of one resource
        age_s = exchange.left_s - left.at_s
        wanted = {left.cursor} if age_s < RESUMED_S + _SLACK_S else set()
        wanted |= {None} if age_s > RESUMED_S - _SLACK_S else set()
        if not self._place.leads_here(left.cursor):
            wanted = {None}
        self._verdicts.check(
            "P2",
            asked.cursor in wanted,
            f"{self._place.name}: the listing of {asked.type} went on from {asked.cursor!r}, stored is {left.cursor!r}",
        )

    def delivered(self, exchange: Exchange, asked: Asked) -> None:
        """Take note of what an answer showed."""
        answer = exchange.answer
        if answer is None or answer.status != 200:
            if answer is not None and asked.kind == "read" and self._place.not_found(answer):
                self._absences[asked.type, asked.id] = exchange.number
            return
        if asked.kind == "list":
            self._page(exchange, asked)
        elif asked.kind == "read" and asked.id and not asked.is_probe and not _is_spoilt(exchange):
            self._see(exchange, (asked.type, asked.id))

    def _page(self, exchange: Exchange, asked: Asked) -> None:
        assert exchange.answer is not None
        try:
            shown = self._place.shown(asked, exchange.answer)
        except Exception:  # noqa: BLE001 - rubbish is rubbish however it fails to be a page
            shown = None
        if shown is None:
            return
        self._undigested += asked.type not in self._place.searched
        self._verdicts.check(
            "P11",
            self._undigested <= MOST_PAGES + IN_FLIGHT,
            f"{self._place.name}: {self._undigested} pages are held that are not stored",
        )
        if shown.cursor is not None and len(shown.ids) < 100:
            self._place.happened["pages shorter than asked for"] += 1
        chain = self._chain(exchange, asked)
        chain.cursors.append(shown.cursor)
        chain.pages.append(shown.ids)
        chain.numbers.append(exchange.number)
        if self._place.pages_are_answers:
            self._waiting[exchange.number] = exchange.notes["loop_s"]
        chain.is_complete = shown.cursor is None
        chain.at_s = exchange.delivered_s or 0.0
        self._place.listings_are_open = not chain.is_complete
        for id in shown.ids:
            self._see(exchange, (asked.type, id))

    def _chain(self, exchange: Exchange, asked: Asked) -> Chain:
        chains = self._chains.setdefault(asked.type, [])
        if asked.cursor is not None:
            for chain in reversed(chains):
                if asked.cursor in chain.cursors:
                    # Pages behind this one were delivered to somebody who lost them.
                    self._give_up(chain.cut(len(chain.cursors) - chain.cursors[::-1].index(asked.cursor)))
                    chain.is_resumed |= chain.process != exchange.process
                    chain.process = exchange.process
                    return chain
        for number in chains[-1].numbers if chains else ():
            self._waiting.pop(number, None)
        chains.append(Chain(type=asked.type, process=exchange.process, began=exchange.number))
        del chains[:-_KEPT]
        return chains[-1]

    def _see(self, exchange: Exchange, key: Key) -> None:
        before = self._sights.get(key)
        assert exchange.delivered_s is not None
        if before is not None:
            before.before = None if exchange.delivered_s - before.at_s > _JUST_NOW_S else before.before
        self._sights[key] = _Sight(exchange.number, exchange.delivered_s, exchange.process, before)

    def _give_up(self, exchanges: set[int]) -> None:
        """Forget pages that nobody stored, and what they showed: asked for again, they tell what there is."""
        for number in exchanges:
            self._waiting.pop(number, None)
        for key, last in list(self._sights.items()):
            sight: _Sight | None = last
            while sight is not None and sight.number in exchanges:
                sight = sight.before
            if sight is None:
                del self._sights[key]
            else:
                self._sights[key] = sight

    def committed(self, process: Process) -> None:
        """Take note that the mirror stored something."""
        if self._undigested or self._waiting:
            stored = process.rows(
                "SELECT id, pages, type FROM listing WHERE source = ? ORDER BY id DESC LIMIT 1", self._place.name
            )
            if stored != self._stored:
                self._stored, self._undigested = stored, 0
                self._judge_waiting(process, *stored[0][1:])

    def _judge_waiting(self, process: Process, pages: int, type: str) -> None:
        """P2: pages wait a second for others to be stored with, and no longer, unless nothing went on meanwhile."""
        for chain in self._chains.get(type, ())[-1:]:
            for number in self._waiting.keys() & chain.numbers[:pages]:
                came_s = self._waiting.pop(number)
                waited_s = process.loop.time() - came_s
                self._verdicts.check(
                    "P2",
                    waited_s <= MOST_SECONDS + _SLOW_S or process.loop.held_up_s >= came_s,
                    f"{self._place.name}: a page of {type} was stored {waited_s:.3f} s after it came",
                )

    def gone(self, key: Key, *, exists: bool) -> None:
        """Judge that the mirror says that something is gone."""
        place, sight = self._place, self._sights.get(key)
        place.gone_ever.add(key)
        explained = place.explains_gone(key)
        if explained is not None:
            self._verdicts.check("P1", explained, f"{place.name}: {key} is called gone, and those who say so say no")
            return
        seen, seen_s = (sight.number, sight.at_s) if sight is not None else (0, 0.0)
        complete = [one for one in self._chains.get(key[0], ()) if one.is_complete and key[1] not in one.ids]
        without = [chain for chain in complete if chain.began > seen]
        is_absent = self._absences.get(key, 0) > seen
        lags = place.kind == "iot-hub" and key[0] != "configuration"
        twice = len(without) >= 2 and not without[-1].is_resumed and not lags
        # A page that showed it may be asked for again, and not show it; the read is what came after all that.
        once = is_absent and any(chain.at_s > seen_s for chain in complete)
        told = f"{len(without)} complete listings without it, {'a' if is_absent else 'no'} read without it"
        self._verdicts.check("P1", twice or once or (lags and is_absent), f"{place.name}: {key} is called gone: {told}")
        if exists and key not in place.deleted and sight is not None and place.lied_s < sight.at_s:
            self._verdicts.blame("P1", f"{place.name}: {key} is called gone and is there, and nobody lied")

    def died(self, process: Process) -> None:
        """Forget what a process saw and had no time to store."""
        now_s = process.machine.agenda.now_s
        for key, sight in list(self._sights.items()):
            if sight.process == process.number and now_s - sight.at_s < _JUST_NOW_S:
                while sight.before is not None and sight.process == process.number:
                    sight = sight.before
                self._sights[key] = sight
        self._undigested = 0
        self._waiting = {}
        self._started = set()

    def left_behind(self, database: sqlite3.Connection, process: Process, *, stepped: bool) -> None:
        """Compare what a killed process left in the database with the pages that it had."""
        self._left = {}
        rows = database.execute(
            "SELECT type, pages, cursor FROM listing WHERE source = ? AND state = 'open'"
            " AND id IN (SELECT max(id) FROM listing GROUP BY source, type)",
            (self._place.name,),
        ).fetchall()
        for type, pages, cursor in rows:
            searched = type in self._place.searched
            chains = [one for one in self._chains.get(type, []) if one.process == process.number]
            chain = next((one for one in reversed(chains) if not searched or cursor in one.cursors), None)
            if chain is None or chain.is_complete or not pages:
                continue
            lost = len(chain.pages) - pages
            self._verdicts.check(
                "P2", 0 <= lost <= MOST_PAGES + IN_FLIGHT, f"{self._place.name}: {lost} pages of {type} are lost"
            )
            if 0 < pages <= len(chain.cursors):
                self._verdicts.check(
                    "P2",
                    cursor == chain.cursors[pages - 1],
                    f"{self._place.name}: {pages} pages of {type} are stored, with the cursor of others",
                )
                self._check_rows(database, type, chain, pages)
            self._give_up(chain.cut(pages))
            if not stepped:
                self._left[type] = _Left(cursor=cursor, at_s=chain.at_s)

    def _check_rows(self, database: sqlite3.Connection, type: str, chain: Chain, pages: int) -> None:
        if self._place.kind == "iot-hub":
            return  # what its index shows is asked for before it is believed
        shown = {id for page in chain.pages[:pages] for id in page}
        query = "SELECT id FROM resource WHERE source = ? AND type = ?"
        stored = {id for (id,) in database.execute(query, (self._place.name, type))}
        self._verdicts.check(
            "P2", shown <= stored, f"{self._place.name}: shown and not stored: {sorted(shown - stored)}"
        )


def _is_spoilt(exchange: Exchange) -> bool:
    """Say whether an answer is not what the service meant to say: then it shows nothing."""
    return exchange.line is not None and bool(set(exchange.line.faults) - {"latency"})
