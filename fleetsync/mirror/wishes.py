"""Declarations in the database: what each selects, what holds it, and the drift that is left."""

from collections.abc import Iterable, Iterator, Sequence, Set
from functools import partial
from itertools import groupby, islice
from typing import Any, Protocol

import msgspec
from sqlalchemy import bindparam, delete, select, tuple_, update

from fleetsync.clock import Clock
from fleetsync.core.bitmap import Bitmap
from fleetsync.core.declaration import ABSENT, UNKNOWN, Declaration
from fleetsync.core.delta import Event
from fleetsync.core.model import CycleId, ResourceType
from fleetsync.core.path import render
from fleetsync.core.plan import Drift, DriftState
from fleetsync.mirror import resources
from fleetsync.mirror.compiled import Compiled
from fleetsync.mirror.engine import Prepared, Transaction, Writer
from fleetsync.mirror.resources import Scope, json_text
from fleetsync.mirror.tables import declaration, drift_leaf, resource, selected, selection, source

_DECLARATIONS = 16
_LEAVES = 2000
"""So many declarations, and leaves that drift, go into one transaction: others wait no longer for their turn."""
_KEY = ("source", "type", "resource_id", "path")
_FORGET_LEAF = Prepared(
    delete(drift_leaf).where(*(drift_leaf.c[name] == bindparam(f"b_{name}") for name in _KEY)),
    tuple(f"b_{name}" for name in _KEY),
)

_DECLARED = Compiled(select(declaration))
_NAMES = Compiled(select(declaration.c.name))
_HELD = Compiled(
    select(declaration)
    .join(selection, selection.c.declaration == declaration.c.name)
    .where(selection.c.source == bindparam("source"))
)
_IN_USE = Compiled(
    select(selection.c.declaration)
    .where(selection.c.source.in_(select(source.c.name).where(source.c.configured)))
    .distinct()
)
_SELECTIONS = Compiled(select(selection).where(selection.c.source == bindparam("source")))
_MATCHES = (selected.c.declaration == bindparam("b_declaration"), selected.c.source == bindparam("b_source"))
_CHUNKS = Compiled(select(selected.c.chunk, selected.c.bits).where(*_MATCHES))
_DRIFTING = Compiled(
    update(source)
    .where(source.c.name == bindparam("b_name"), source.c.drifting != bindparam("b_drifting"))
    .values(drifting=bindparam("b_drifting"))
)
_DRIFT = select(drift_leaf).where(drift_leaf.c.source == bindparam("source"))
_RESOURCE = tuple_(drift_leaf.c.type, drift_leaf.c.resource_id)
_AFTER = tuple_(bindparam("after_type"), bindparam("after_id")) < _RESOURCE
_UPTO = tuple_(bindparam("upto_type"), bindparam("upto_id")) >= _RESOURCE
_PARTS = {
    (False, False): Compiled(_DRIFT),
    (False, True): Compiled(_DRIFT.where(_UPTO)),
    (True, False): Compiled(_DRIFT.where(_AFTER)),
    (True, True): Compiled(_DRIFT.where(_AFTER, _UPTO)),
}
"""The drift of a source behind one resource and up to another, where there is the one and the other."""


class Matched(Protocol):
    """Numbers of rows, in chunks of a bitmap."""

    def __len__(self) -> int: ...

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield the chunks in which there is anything, by number."""
        ...


class Selected(msgspec.Struct, kw_only=True):
    """What one declaration selects in one source; `error` says why it is held."""

    declaration: str
    matched: Matched = msgspec.field(default_factory=Bitmap)
    drifting: int = 0
    error: str | None = None


_DriftKey = tuple[str, str, str, str]


class Turn(msgspec.Struct, kw_only=True):
    """How many leaves are contested and were not before, and the first of them; and how many no longer are."""

    first: Drift | None = None
    contested: int = 0
    rested: int = 0

    def note(self, before: Set[_DriftKey], drift: Iterable[Drift]) -> None:
        """Take note of what is contested now of that of which `before` was."""
        now = {_drift_key(one): one for one in drift if one.state is DriftState.CONTESTED}
        new = [one for key, one in now.items() if key not in before]
        self.first = self.first or next(iter(new), None)
        self.contested += len(new)
        self.rested += len(before - now.keys())


class Wishes:
    """The part of the mirror that knows what is wanted."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    async def declare(self, declarations: Sequence[Declaration], cycle: CycleId, source_name: str) -> None:
        """Make the stored declarations those in force; what one that is gone had selected is released.

        Releases belong to one source; a declaration is forgotten when no source has anything left of it.
        """
        names = {one.name for one in declarations if one.sources is None or source_name in one.sources}
        async with self._writer.transaction() as transaction:
            for row in await transaction.rows(_HELD, {"source": source_name}):
                if row.name not in names:
                    await self._release(transaction, row, cycle, source_name)
            await self._store(transaction, declarations)

    async def _store(self, transaction: Transaction, declarations: Sequence[Declaration]) -> None:
        wanted = {one.name: _row(one) for one in declarations}
        there = {row.name: row._asdict() for row in await transaction.rows(_DECLARED)}
        in_use = {name for (name,) in await transaction.rows(_IN_USE)}
        left = [name for name in there if name not in wanted and name not in in_use]
        if left:
            await transaction.run(delete(declaration).where(declaration.c.name.in_(left)))
        changed = [row for name, row in wanted.items() if there.get(name) != row]
        await transaction.upsert(declaration, ("name",), changed)

    async def _release(self, transaction: Transaction, row: Any, cycle: CycleId, source_name: str) -> None:
        """Say of everything that it had selected that it is nobody's now; the values stay where they are."""
        of = {"b_declaration": row.name, "b_source": source_name}
        chunks = await transaction.rows(_CHUNKS, of)
        scope = Scope(source=source_name, type=ResourceType(row.type), cycle=cycle, at=self._clock.now())
        numbers = iter(Bitmap(dict(chunks)))
        patch = {"declaration": row.name, "paths": msgspec.json.decode(row.leaves)}
        while batch := list(islice(numbers, 500)):
            some = resource.c.no.in_(batch)
            there = await transaction.rows(select(resource.c.no).where(some, resource.c.gone_at.is_(None)))
            events = [(no, Event.RELEASED, patch) for (no,) in there]
            await transaction.do(partial(resources.note, scope=scope, events=events))
        await transaction.run(delete(selected).where(*_MATCHES), of)
        await transaction.run(
            delete(selection).where(selection.c.declaration == row.name, selection.c.source == source_name)
        )

    async def evaluate(self, source_name: str, found: Sequence[Selected], drift: Sequence[Drift]) -> "Turn":
        """Store what the declarations select in a source and the drift there; what did not change is not written.

        `drift` is sorted by key. What is much is stored in several transactions. Returns what turned by that.
        """
        for start in range(0, len(found), _DECLARATIONS):
            async with self._writer.transaction() as transaction:
                await self._store_selection(transaction, source_name, found[start : start + _DECLARATIONS])
        turn = Turn()
        drifting = await self._store_drift(source_name, drift, turn)
        async with self._writer.transaction() as transaction:
            await transaction.run(_DRIFTING, {"b_name": source_name, "b_drifting": drifting})
        return turn

    async def _store_selection(self, transaction: Transaction, name: str, found: Sequence[Selected]) -> None:
        # A reload in the middle of this cycle may have removed one.
        declared = {declared for (declared,) in await transaction.rows(_NAMES)}
        found = [one for one in found if one.declaration in declared]
        there = await transaction.rows(_SELECTIONS, {"source": name})
        stored = {row.declaration: tuple(row)[2:] for row in there}
        rows = [
            {
                "declaration": one.declaration,
                "source": name,
                "matched": len(one.matched),
                "drifting": one.drifting,
                "error": one.error,
            }
            for one in found
        ]
        changed = [row for row in rows if stored.get(row["declaration"]) != tuple(row.values())[2:]]
        await transaction.upsert(selection, ("declaration", "source"), changed)
        for one in found:
            # What a held declaration selects is not known: what it had selected stays its own.
            if one.error is None:
                await self._store_matches(transaction, name, one)

    async def _store_matches(self, transaction: Transaction, name: str, one: Selected) -> None:
        of = {"b_declaration": one.declaration, "b_source": name}
        stored = dict(await transaction.rows(_CHUNKS, of))
        chunks = dict(one.matched.chunks())
        left = [chunk for chunk in stored if chunk not in chunks]
        if left:
            await transaction.run(delete(selected).where(*_MATCHES, selected.c.chunk.in_(left)), of)
        rows = [
            {"declaration": one.declaration, "source": name, "chunk": chunk, "bits": bits}
            for chunk, bits in chunks.items()
            if stored.get(chunk) != bits
        ]
        await transaction.upsert(selected, ("declaration", "source", "chunk"), rows)

    async def _store_drift(self, name: str, drift: Iterable[Drift], turn: "Turn") -> int:
        """Make the stored drift what it is now, part by part; return how many resources drift."""
        drifting = 0
        after: tuple[str, str] | None = None
        for batch, upto in _parts(drift):
            drifting += len({(one.key.type, one.key.id) for one in batch})
            async with self._writer.transaction() as transaction:
                there = await _stored(transaction, name, after, upto)
                before = await self._store_part(transaction, there, batch)
            turn.note(before, batch)
            after = upto
        return drifting

    async def _store_part(
        self, transaction: Transaction, there: Sequence[Any], drift: Iterable[Drift]
    ) -> Set["_DriftKey"]:
        """Make a part of the stored drift what it is now; return the keys of what was contested before."""
        stored = {tuple(row)[:4]: tuple(row)[4:9] for row in there}
        since = {tuple(row)[:4]: row.since for row in there}
        moved_at = {(*tuple(row)[:4], row.actual): row.moved_at for row in there}
        at = self._clock.now()
        rows = {_drift_key(one): _drift_values(one) for one in drift}
        await transaction.run_many(_FORGET_LEAF, [key for key in stored if key not in rows])
        columns = (*_KEY, "actual", "declared", "declaration", "state", "by", "since", "moved_at")
        changed = [
            dict(zip(columns, (*key, *values, since.get(key, at), moved_at.get((*key, values[0]), at)), strict=True))
            for key, values in rows.items()
            if stored.get(key) != values
        ]
        await transaction.upsert(drift_leaf, _KEY, changed)
        return {key for key, values in stored.items() if values[3] == DriftState.CONTESTED.value}


def _parts(drift: Iterable[Drift]) -> Iterator[tuple[list[Drift], tuple[str, str] | None]]:
    """Yield drift in parts that fit a transaction, each with the last resource that it is about; None: to the end."""
    batch: list[Drift] = []
    for (type, id), of_one in groupby(drift, key=lambda one: (one.key.type, one.key.id)):
        batch += of_one
        if len(batch) >= _LEAVES:
            yield batch, (type, id)
            batch = []
    yield batch, None


async def _stored(
    transaction: Transaction, name: str, after: tuple[str, str] | None, upto: tuple[str, str] | None
) -> Sequence[Any]:
    """Return the rows of the drift that is stored of what is behind one resource and up to another."""
    between = {"source": name}
    if after is not None:
        between |= {"after_type": after[0], "after_id": after[1]}
    if upto is not None:
        between |= {"upto_type": upto[0], "upto_id": upto[1]}
    return await transaction.rows(_PARTS[after is not None, upto is not None], between)


def _row(one: Declaration) -> dict[str, Any]:
    leaves = [render(path) for path in sorted(one.leaves)]
    return {
        "name": one.name,
        "file": one.file,
        "type": one.type,
        "selector": one.where,
        "priority": one.priority,
        "leaves": json_text(leaves),
    }


def _drift_key(one: Drift) -> _DriftKey:
    return (one.key.source, one.key.type, one.key.id, render(one.leaf.path))


def _drift_values(one: Drift) -> tuple[str | None, str | None, str, str, str | None]:
    leaf = one.leaf
    return (value_text(leaf.actual), value_text(leaf.declared), ", ".join(leaf.declarations), one.state.value, one.by)


def value_text(value: object) -> str | None:
    """Return a leaf's value as JSON; NULL where nothing is there, or nothing is known."""
    return None if value is ABSENT or value is UNKNOWN else msgspec.json.encode(value).decode()
