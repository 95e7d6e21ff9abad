"""Changes, drift and what else a plan holds, as bytes: a plan may be larger than memory."""

from typing import Any

import msgspec

from fleetsync.core.declaration import ABSENT, UNKNOWN, Missing
from fleetsync.core.merge_patch import Json
from fleetsync.core.model import ETag, Part, ResourceKey, ResourceType
from fleetsync.core.path import Path
from fleetsync.core.plan import Change, Drift, DriftState, Guard, GuardKind, Leaf, Outcome, Result
from fleetsync.mirror.spool import Sorted
from fleetsync.reconcile.details import WantedDetail

_Key = tuple[str, str, str]
_Leaf = tuple[Path, list[Any] | None, list[Any] | None, tuple[str, ...], bool]

_encode = msgspec.json.Encoder().encode
_change = msgspec.json.Decoder(tuple[_Key, str, str, str | None, bool, list[_Leaf]])
_drift = msgspec.json.Decoder(tuple[_Key, _Leaf, str, str | None])
_reason = msgspec.json.Decoder(tuple[_Key, str])
_outcome = msgspec.json.Decoder(tuple[_Key, str, Result, int | None, str | None, str | None])
_key_told = msgspec.json.Decoder(_Key)
_wanted = msgspec.json.Decoder(tuple[_Key, str, tuple[Path, ...]])


class Changes(Sorted[Change]):
    """The changes of one source."""

    def __init__(self) -> None:
        super().__init__(_change_in)

    def put(self, change: Change) -> None:
        """Take one more; those of one resource come in the order of their parts."""
        guard = change.guard
        leaves = [_leaf(leaf) for leaf in change.leaves]
        told = (_key(change.key), change.part, guard.kind, guard.etag, guard.reread, leaves)
        self.add(change.key.type, change.key.id, _encode(told))


class Drifts(Sorted[Drift]):
    """The drift of one source."""

    def __init__(self) -> None:
        super().__init__(_drift_in)

    def put(self, drift: Drift) -> None:
        """Take one more; that of one resource comes in the order of its paths."""
        told = (_key(drift.key), _leaf(drift.leaf), drift.state, drift.by)
        self.add(drift.key.type, drift.key.id, _encode(told))


class Contradictions(Sorted[tuple[ResourceKey, str]]):
    """Resources that are held because declarations disagree, and who disagrees."""

    def __init__(self) -> None:
        super().__init__(_contradiction_in)

    def put(self, key: ResourceKey, reason: str) -> None:
        """Take one more; those of one resource come in order."""
        self.add(key.type, key.id, _encode((_key(key), reason)))


class WantedDetails(Sorted[WantedDetail]):
    """Parts that are to be read."""

    def __init__(self) -> None:
        super().__init__(_wanted_in)

    def put(self, wanted: WantedDetail) -> None:
        """Take one more."""
        self.add(wanted.key.type, wanted.key.id, _encode((_key(wanted.key), wanted.part, wanted.paths)))


class Keys(Sorted[ResourceKey]):
    """Resources of one source."""

    def __init__(self) -> None:
        super().__init__(_key_in)

    def put(self, key: ResourceKey) -> None:
        """Take one more."""
        self.add(key.type, key.id, _encode(_key(key)))


class Outcomes(Sorted[Outcome]):
    """What became of writes, as it was reported."""

    def __init__(self) -> None:
        super().__init__(_outcome_in)

    def put(self, outcome: Outcome) -> None:
        """Take one more."""
        told = (_key(outcome.key), outcome.part, outcome.result, outcome.status, outcome.request_id, outcome.error)
        self.add("", "", _encode(told))


def _key(key: ResourceKey) -> _Key:
    return (key.source, key.type, key.id)


def _key_of(told: _Key) -> ResourceKey:
    source, type, id = told
    return ResourceKey(source, ResourceType(type), id)


def _leaf(leaf: Leaf) -> tuple[object, ...]:
    return (leaf.path, _told(leaf.actual), _told(leaf.declared), leaf.declarations, leaf.folds)


def _leaf_of(told: _Leaf) -> Leaf:
    path, actual, declared, declarations, folds = told
    return Leaf(path=path, actual=_meant(actual), declared=_meant(declared), declarations=declarations, folds=folds)


def _told(value: Json | Missing) -> tuple[Json, ...] | None:
    """Return a value in a tuple of its own; an empty one stands for absent, and None for unknown."""
    if value is UNKNOWN:
        return None
    return () if value is ABSENT else (value,)


def _meant(told: list[Any] | None) -> Json | Missing:
    if told is None:
        return UNKNOWN
    return told[0] if told else ABSENT


def _key_in(text: bytes) -> ResourceKey:
    return _key_of(_key_told.decode(text))


def _change_in(text: bytes) -> Change:
    key, part, kind, etag, reread, leaves = _change.decode(text)
    guard = Guard(kind=GuardKind(kind), etag=None if etag is None else ETag(etag), reread=reread)
    return Change(key=_key_of(key), part=Part(part), guard=guard, leaves=tuple(map(_leaf_of, leaves)))


def _drift_in(text: bytes) -> Drift:
    key, leaf, state, by = _drift.decode(text)
    return Drift(key=_key_of(key), leaf=_leaf_of(leaf), state=DriftState(state), by=by)


def _contradiction_in(text: bytes) -> tuple[ResourceKey, str]:
    key, reason = _reason.decode(text)
    return _key_of(key), reason


def _wanted_in(text: bytes) -> WantedDetail:
    key, part, paths = _wanted.decode(text)
    return WantedDetail(key=_key_of(key), part=Part(part), paths=paths)


def _outcome_in(text: bytes) -> Outcome:
    key, part, result, status, request_id, error = _outcome.decode(text)
    return Outcome(key=_key_of(key), part=Part(part), result=result, status=status, request_id=request_id, error=error)
