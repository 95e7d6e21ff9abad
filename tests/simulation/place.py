"""A place: one source, the simulated service behind it, and what the simulation has to know of its kind.

A kind is a file `place_<kind>.py` with one subclass of `Place`, named in `places.KINDS`.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, ClassVar

import msgspec

from fleetsync.simulator import Cloud, LogLine, SimRequest, SimResponse, WriteRecord, parse_faults
from fleetsync.simulator.bucket import Bucket, Limit
from fleetsync.simulator.desk import Desk
from tests.simulation.network import Weather
from tests.simulation.sizes import TINY, Size

Key = tuple[str, str]
"""Type and id of a resource, as the product names them."""

Documents = dict[Key, Any]

_ETAG = re.compile(rb'"etag":"(?:[^"\\]|\\.)*"')
_WHOLE_ETAG = re.compile(rb'"etag":"(?:[^"\\]|\\.)*",|,"etag":"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request is about. `cursor` is what it goes on from; `operation` the class that rates count.

    A write of something that has no ETag, or whose ETag nobody checks, is not `guardable`. A `probe` is a reading that
    the provider needs for a write, of what no detail or listing shows.
    """

    kind: str
    type: str
    id: str = ""
    operation: str = ""
    cursor: str | None = None
    guardable: bool = True
    is_probe: bool = False
    piece: str = ""
    """What of the resource it is about, where one change takes several requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What one page of a listing showed: ids, and what to go on from."""

    ids: tuple[str, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A declaration and what it means, told twice: as TOML for the product, as Python for the invariants.

    `is_theirs` says that the service itself calls the value its own: that is contested for good.
    """

    name: str
    toml: str
    selects: Callable[[Key, Any], bool]
    holds: Callable[[Any], bool]
    is_theirs: Callable[[Any], bool] = lambda _: False


class Place:
    """One source and its service. Subclasses say what their kind is like."""

    kind: ClassVar[str]
    operations: ClassVar[Mapping[str, float]]
    """Operation classes and the most that the simulation permits of each a second; `*` is their total."""
    longest_lag_s: ClassVar[float] = 0.0
    pages_are_answers: ClassVar[bool] = False
    """What one request of a list is answered with is a whole page, which waits for nothing else."""
    faults: ClassVar[Sequence[str]] = ()
    """Simulated faults that only this kind knows."""

    def __init__(self, name: str, port: int, random: Random, now: Callable[[], float], size: Size) -> None:
        self.name = name
        self.size = size
        self.is_small = size is TINY
        self.random = random
        self.weather = Weather(latency_s=random.choice((0.002, 0.02, 0.02, 0.2, 0.6)))
        self.port = port
        self.now = now
        self.secrets: list[str] = []
        """What must never be seen in logs, in the database or in an error."""
        self.has_token = False
        self.cloud = self.make_cloud(now)
        self.url = f"http://127.0.0.1:{port}"
        self.rates = {name: round(most * random.uniform(0.3, 1.0), 3) for name, most in self.operations.items()}
        self.bursts = {name: random.choice((1, 1, 2, 5)) for name in self.operations}
        self.interval_s = random.choice(size.intervals_s)
        self.mode = random.choice(("enforce", "enforce", "enforce", "manual", "observe"))
        self.max_writes = random.choice(("30%", "100%"))
        self.wishes: list[Wish] = []
        self.deleted: set[Key] = set()
        self.lied_s = -1e9
        """When the service last gave a wrong list with status 200."""
        self.troubled_s = 0.0
        """When something last went wrong with it."""
        self.rests_until_s = 0.0
        """Until when nobody asks it any more, since it said that its day's quota is spent."""
        self.wrong: dict[str, str] = {}
        """The faults that are set, by the name of what they stand for."""
        self.happened: Counter[str] = Counter()
        self.listings_are_open = False
        self.ever: set[Key] = set()
        """What was there when somebody last looked, or before."""
        self.has_spoilt_etags = False
        self.spoilt_tokens: list[str] = []
        self.gone_ever: set[Key] = set()
        """What the mirror ever called gone."""
        self.edits: dict[tuple[Key, str], Any] = {}
        """What operators wrote last, by resource and member; nobody else may change it."""

    # What a kind says of itself

    def make_cloud(self, now: Callable[[], float]) -> Cloud:
        """Return the simulated service."""
        raise NotImplementedError

    def answer(self, request: SimRequest) -> SimResponse:
        """Let the service answer."""
        raise NotImplementedError

    def truth(self) -> Documents:
        """Return everything that there is now, as a listing that nobody interferes with would show it."""
        raise NotImplementedError

    def plain(self, key: Key, document: Any) -> Any:
        """Return a document without what changes by itself and what is never stored."""
        raise NotImplementedError

    def asked(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Asked:
        """Return what a request is about, from its bytes alone."""
        raise NotImplementedError

    def shown(self, asked: Asked, answer: SimResponse) -> Shown | None:
        """Return what a page showed; None for what is no page."""
        raise NotImplementedError

    def not_found(self, answer: SimResponse) -> bool:
        """Say whether the service says, in its own words, that there is no such thing."""
        raise NotImplementedError

    def all_wishes(self) -> Iterable[Wish]:
        """Return what can be declared."""
        raise NotImplementedError

    def operate(self, random: Random) -> None:
        """Do what operators and devices do: write, add, delete, make anew, report."""
        raise NotImplementedError

    def disturb(self, random: Random, type: str, id: str) -> None:
        """Write to a resource what somebody else might, if it is there."""
        raise NotImplementedError

    def edit_oddly(self, random: Random, members: Mapping[str, object]) -> Callable[[], None]:
        """Give some device members that no schema knows; return what takes them away again."""
        raise NotImplementedError

    harmless: str
    """A declaration that fits every device, and nobody else declares."""
    contradicting: str
    """One that wants another value of the same leaf."""
    listed: tuple[str, ...]
    """The types that are mirrored."""
    begins_only: ClassVar[frozenset[str]] = frozenset()
    """The types whose writes may fail after they were accepted."""
    takes_odd_texts: ClassVar[bool] = True
    has_daily_quota: ClassVar[bool] = False
    has_lists: ClassVar[bool] = True
    """It lists what there is; else others say what to ask for."""
    has_operations: ClassVar[bool] = False
    """Writes may go on after their answer, and end otherwise than they began."""
    has_hints: ClassVar[bool] = False
    """Headers say how many requests are left."""
    has_links: ClassVar[bool] = False
    """Where lists go on is an address, which can lead elsewhere."""
    has_etags: ClassVar[bool] = True
    unknown_word: ClassVar[tuple[bytes, bytes] | None] = None
    """Of an enumeration what there is in answers, and what nobody has heard of."""
    new_type: ClassVar[tuple[bytes, bytes]]
    """A member as it is in answers, and with a value of another type."""
    searched: ClassVar[frozenset[str]] = frozenset()
    """The types whose lists are also read in search of one resource: on the wire that looks like a listing."""

    def meet(self, others: Sequence["Place"]) -> None:
        """Get to know the other places of a history."""

    def explains_gone(self, key: Key) -> bool | None:
        """Say whether something may be called gone, for a reason that is not on the wire; None where lists decide."""
        return None

    def can_tell(self, id: str) -> bool:
        """Say whether anybody will ever be told what became of a write to a device."""
        return True

    def go_on_for(self, seconds: float, *, kept_s: float = 86_400.0) -> None:
        """Let operations take so long, and be forgotten so long after their end."""

    def end_operations(self, *, failed: float = 0.0, errors: float = 0.0) -> None:
        """Let such shares of all operations fail, and end with errors or be cancelled."""

    def hint(self, left: int) -> None:
        """Let the headers say that so many requests are left."""

    def link_in(self, cursor: str) -> str:
        """Return the address that a cursor leads to."""
        return cursor

    def desks(self) -> Iterable[Desk]:
        """Return what counts the requests."""
        return ()

    def limit(self, limit: Limit) -> Callable[[], None]:
        """Let the service take no more than that, of every class; return what lets it take what it took before."""
        before = [(desk, desk.limit, desk.bucket) for desk in self.desks()]
        for desk, _, _ in before:
            desk.limit, desk.bucket = limit, Bucket(limit)

        def undo() -> None:
            for desk, old, bucket in before:
                desk.limit, desk.bucket = old, bucket

        return undo

    def grow(self, count: int) -> bool:
        """Let there be so many devices more; return whether there are."""
        return False

    def spend_quota(self) -> None:
        """Let the service's day be over."""

    def recover(self) -> None:
        """Let the service be well again."""

    def rotate(self) -> Callable[[], None]:
        """Let the service take another token only; return what tells us of it."""
        raise NotImplementedError

    def own_lines(self) -> Iterable[str]:
        """Return the keys that only this kind has."""
        return ()

    def auth_lines(self) -> Iterable[str]:
        """Return the keys of the sign-in."""
        return ('method = "none"',)

    def files(self) -> Mapping[str, str]:
        """Return files that the configuration names, by name."""
        return {}

    # What follows

    def fleet_size(self) -> int:
        """Return how many devices it begins with."""
        return self.random.randint(*self.size.devices)

    def handle(self, request: SimRequest) -> SimResponse:
        """Answer a request."""
        return self.answer(request)

    def last_line(self) -> LogLine:
        """Return what the books say of the last request."""
        line: LogLine = self.cloud._books._log[-1]
        return line

    def last_write(self) -> WriteRecord | None:
        """Return what they say of the last write."""
        writes = self.cloud._books._writes
        return writes[-1] if writes else None

    def knows(self, key: Key) -> bool:
        """Say whether there is, or was, such a resource."""
        if key not in self.ever and key not in self.deleted:
            self.ever |= self.truth().keys()
        return key in self.ever or key in self.deleted

    def bucket(self, operation: str) -> str:
        """Return the bucket that an operation class is charged to."""
        return operation if operation in self.rates else "*"

    def owns(self, authorization: str | None) -> bool:
        """Say whether a request to it may carry this."""
        return authorization is None

    def leads_here(self, cursor: str | None) -> bool:
        """Say whether the service may be asked to go on from there: no request goes where a link leads elsewhere."""
        return cursor is None or not self.has_links or self.link_in(cursor).startswith(f"{self.url}/")

    def permitted(self, bucket: str) -> tuple[float, float]:
        """Return what the configuration permits: requests a second, and at once."""
        rate = self.rates[bucket]
        return (rate, max(1.0, rate / 10)) if bucket == "*" else (rate, float(self.bursts[bucket]))

    def go_wrong(self, faults: str) -> None:
        """Let these faults happen, and no others."""
        self.cloud.faults = parse_faults(faults)

    def change_etags(self, exchange: Any, text: bytes) -> bool:
        """Put `text` where the ETags in an answer are, or nothing; return whether there was one."""
        if text:
            body, count = _ETAG.subn(b'"etag":' + text.replace(b"\\", b"\\\\"), exchange.answer.body)
        else:
            body, count = _WHOLE_ETAG.subn(b"", exchange.answer.body)
        exchange.answer = replace(exchange.answer, body=body)
        self.has_spoilt_etags |= bool(count)
        return bool(count)

    def toml(self) -> str:
        """Return the source's part of the configuration."""
        rates = [f'{name} = "{rate}/s burst {self.bursts[name]}"' for name, rate in self.rates.items() if name != "*"]
        lines = [
            f"[sources.{self.name}]",
            f'kind = "{self.kind}"',
            f'url = "{self.url}"',
            f'mode = "{self.mode}"',
            'weakest_guard = "reread"',
            f'interval = "{self.interval_s}s"',
            *self.own_lines(),
            f"[sources.{self.name}.auth]",
            *self.auth_lines(),
            f"[sources.{self.name}.rate]",
            *([f"share = {self.rates['*'] / self.operations['*']!r}"] if "*" in self.rates else []),
            *rates,
            f"[sources.{self.name}.limits]",
            f'max_writes = "{self.max_writes}"',
            # What is contested rests, and is written again, before everything has to have converged.
            'max_rewrites = "3 in 1h"',
        ]
        return "\n".join(lines) + "\n"

    def declare(self, name: str, desired: str, where: str, **more: Any) -> str:
        """Return a declaration for this source as TOML."""
        lines = ["[[declaration]]", f'name = "{self.name}-{name}"', f'sources = ["{self.name}"]']
        lines += [f"where = {msgspec.json.encode(where).decode()}"] if where else []
        lines += [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in more.items()]
        return "\n".join([*lines, "[declaration.desired]", desired, ""])


def without(document: Any, names: Iterable[str]) -> Any:
    """Return a document without members of these names, on any level."""
    dropped = frozenset(names)

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: walk(inner) for name, inner in value.items() if name not in dropped}
        return [walk(inner) for inner in value] if isinstance(value, list) else value

    return walk(document)


def decoded(body: bytes) -> Any:
    """Return JSON, also with halves of surrogate pairs in it."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return json.loads(body)


@dataclass(slots=True, kw_only=True)
class Ids:
    """Ids for new devices: plain ones, odd ones, and those of the deleted."""

    odd: Sequence[str]
    used: int = 0
    pool: list[str] = field(default_factory=list)

    def next(self, random: Random, deleted: Iterable[Key]) -> str:
        """Return one."""
        gone = sorted(id for _, id in deleted)
        if gone and random.random() < 0.5:
            return random.choice(gone)
        return random.choice(self.odd) if random.random() < 0.4 else f"new-{random.randrange(8)}"
