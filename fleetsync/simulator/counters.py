"""The books of the simulated cloud: what was asked, what was answered, and how every write was guarded."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from fleetsync.simulator.bucket import Meter, MeterReading
from fleetsync.simulator.resources import leaves
from fleetsync.simulator.wire import Kind, SimRequest, SimResponse

KEPT = 10_000
"""Entries of the two lists that are kept; the totals count all."""

GuardForm: TypeAlias = Literal["if-match", "body-etag", "impossible"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """How a write protects what others wrote before, as the service sees it when the write arrives.

    `form` is what the service understands for this write; `impossible` is a write that cannot be guarded.
    `current` tells whether the etag is the stored one; None where nothing was sent, or there is nothing to
    compare it with.
    """

    form: GuardForm
    sent: str | None = None
    quoted: bool | None = None
    current: bool | None = None

    @property
    def verdict(self) -> str:
        """Return the name of the total that counts it."""
        prefix = self.form.replace("-", "_")
        if self.form == "impossible":
            return "unguardable"
        if self.sent is None:
            return f"{prefix}_missing"
        if self.sent.strip() == "*":
            return f"{prefix}_star"
        if self.quoted is False:
            return f"{prefix}_unquoted"
        return f"{prefix}_current" if self.current else f"{prefix}_stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRecord:
    """One write that was carried out or refused; `lost` when the client never saw the whole answer."""

    sequence: int
    at: float
    by: Literal["client", "operator"]
    method: str
    type: str
    id: str
    if_match: str | None
    quoted: bool | None
    current: bool | None
    status: int
    members: tuple[str, ...]
    changed: bool
    lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One request; `faults` names what was made to go wrong with it."""

    sequence: int
    at: float
    method: str
    target: str
    kind: Kind
    type: str
    id: str
    status: int
    lost: bool
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a service recognised in a request."""

    kind: Kind
    type: str
    id: str = ""
    guard: Guard | None = None
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterSnapshot:
    """The books at one instant.

    `requests` counts the calls of all services; sign-in is apart. `writes_applied` were carried out and
    changed something, `writes_noop` changed nothing, `writes_refused` were answered with an error; those that were
    lost on their way are in none of them;
    the totals that begin with `if_match_` and `body_etag_` count every write of clients by its guard.
    """

    requests: int
    token_requests: int
    by_kind: Mapping[str, int]
    by_type: Mapping[str, int]
    by_status: Mapping[str, int]
    faults: Mapping[str, int]
    throttled: int
    limits: Mapping[str, MeterReading]
    writes_applied: int
    writes_noop: int
    writes_refused: int
    if_match_star: int
    if_match_unquoted: int
    if_match_missing: int
    if_match_stale: int
    if_match_current: int
    body_etag_missing: int
    body_etag_stale: int
    body_etag_current: int
    unguardable: int
    operator_edits: int
    writes: tuple[WriteRecord, ...] = field(repr=False)


class Counters:
    """Counts everything from the start, or from the last reset."""

    def __init__(self) -> None:
        self._meters: dict[str, Meter] = {}
        self.reset()

    def reset(self) -> None:
        """Forget everything but which meters there are; their owners renew them."""
        self._totals: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._types: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._writes: deque[WriteRecord] = deque(maxlen=KEPT)
        self._log: deque[LogLine] = deque(maxlen=KEPT)
        self._sequence = 0

    def watch(self, service: str, meter: Meter) -> None:
        """Show a service's meter in the snapshots, instead of the one that it had."""
        self._meters[service] = meter

    def note(
        self,
        request: SimRequest,
        call: Call,
        answer: SimResponse,
        *,
        at: float,
        faults: Mapping[str, str],
        changed: bool,
    ) -> None:
        """Enter one request with its answer."""
        self._sequence += 1
        self._kinds[call.kind] += 1
        self._types[call.type] += 1
        self._statuses[str(answer.status)] += 1
        self._faults.update(faults.keys())
        self._log.append(
            LogLine(
                sequence=self._sequence,
                at=at,
                method=request.method,
                target=request.target,
                kind=call.kind,
                type=call.type,
                id=call.id,
                status=answer.status,
                lost=answer.is_lost,
                faults=tuple(faults),
            )
        )
        if call.kind == "write":
            self._note_write(request, call, answer, at=at, changed=changed)

    def note_operator(
        self, *, at: float, id_: str, patch: Mapping[str, object], changed: bool, type: str = "device"
    ) -> None:
        """Enter a write of the second operator."""
        self._sequence += 1
        self._totals["operator_edits"] += 1
        self._writes.append(
            WriteRecord(
                sequence=self._sequence,
                at=at,
                by="operator",
                method="PATCH",
                type=type,
                id=id_,
                if_match=None,
                quoted=None,
                current=None,
                status=200,
                members=tuple(leaves(patch)),
                changed=changed,
                lost=False,
            )
        )

    def log(self) -> tuple[LogLine, ...]:
        """Return the last requests, oldest first."""
        return tuple(self._log)

    def snapshot(self) -> CounterSnapshot:
        """Return the books as they are now."""
        totals = self._totals
        limits = {service: meter.reading() for service, meter in self._meters.items()}
        tokens, discoveries = self._kinds["token"], self._kinds["discovery"]
        return CounterSnapshot(
            requests=sum(self._kinds.values()) - tokens - discoveries, token_requests=tokens,
            by_kind=dict(self._kinds), by_type=dict(self._types), by_status=dict(self._statuses),
            faults=dict(self._faults), throttled=sum(reading.refused for reading in limits.values()), limits=limits,
            writes_applied=totals["applied"], writes_noop=totals["noop"], writes_refused=totals["refused"],
            if_match_star=totals["if_match_star"], if_match_unquoted=totals["if_match_unquoted"],
            if_match_missing=totals["if_match_missing"], if_match_stale=totals["if_match_stale"],
            if_match_current=totals["if_match_current"], body_etag_missing=totals["body_etag_missing"],
            body_etag_stale=totals["body_etag_stale"], body_etag_current=totals["body_etag_current"],
            unguardable=totals["unguardable"], operator_edits=totals["operator_edits"], writes=tuple(self._writes),
        )  # fmt: skip

    def _note_write(self, request: SimRequest, call: Call, answer: SimResponse, *, at: float, changed: bool) -> None:
        guard = call.guard or Guard(form="impossible", sent=request.header("If-Match"))
        self._totals[guard.verdict] += 1
        if answer.reset != "before-carrying-out":
            self._totals["applied" if changed else "noop" if answer.status < 300 else "refused"] += 1
        self._writes.append(
            WriteRecord(
                sequence=self._sequence,
                at=at,
                by="client",
                method=request.method,
                type=call.type,
                id=call.id,
                if_match=request.header("If-Match"),
                quoted=guard.quoted,
                current=guard.current,
                status=answer.status,
                members=call.members,
                changed=changed,
                lost=answer.is_lost,
            )
        )
