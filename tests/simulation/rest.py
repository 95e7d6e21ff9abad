"""What has to be so when everything has come to rest: the mirror, the services and the journal agree, and stay so."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from tests.simulation.place import Key, Place
from tests.simulation.process import Process
from tests.simulation.world import World

Content = Mapping[str, Sequence[tuple[Any, ...]]]

_CONTENT = (
    "SELECT source, kind, type, id, document, etag, first_seen_at, changed_at, gone_at, gone_reason FROM resources",
    "SELECT * FROM history",
    "SELECT * FROM writes",
    "SELECT source, type, resource_id, path, actual, declared, declaration, state, since FROM drift",
)
_NAMES = {
    "rows without their names": "SELECT no, source, type, id FROM resource EXCEPT SELECT no, source, type, id FROM resource_name",
    "events of nobody": "SELECT no FROM event EXCEPT SELECT no FROM resource_name",
    "names of nothing": "SELECT no FROM resource_name EXCEPT SELECT no FROM resource EXCEPT SELECT no FROM event",
}


def what_is_wrong(world: World) -> list[str]:
    """Return in what the mirror and the services are not yet as they should be."""
    process = world.process
    if process is None:
        return ["no process runs"]
    wrong = [f"{what}: {found!r}" for what, sql in _NAMES.items() if (found := process.rows(sql))]
    for place in world.places:
        truth = place.truth()
        mirrored: dict[Key, Any] = {
            (type, id): msgspec.json.decode(document)
            for type, id, document in process.rows(
                "SELECT type, id, document FROM resource WHERE source = ? AND gone_at IS NULL", place.name
            )
        }
        expected = {key: document for key, document in truth.items() if key[0] in place.listed}
        wrong += [f"{place.name}: {key} is not mirrored" for key in expected.keys() - mirrored.keys()]
        wrong += [f"{place.name}: {key} is mirrored and not there" for key in mirrored.keys() - expected.keys()]
        wrong += [
            f"{place.name}: {key} is not as it is mirrored: {difference(expected[key], mirrored[key])}"
            for key in expected.keys() & mirrored.keys()
            if place.plain(key, expected[key]) != place.plain(key, mirrored[key])
        ]
        contested = process.rows("SELECT resource_id FROM drift WHERE source = ? AND state = 'contested'", place.name)
        wrong += _not_as_declared(place, truth, {id for (id,) in contested})
        left = process.rows("SELECT resource_id FROM write WHERE source = ? AND outcome = 'open'", place.name)
        wrong += [f"{place.name}: a write to {id} is open" for (id,) in left if place.can_tell(id)]
    return wrong


def _not_as_declared(place: Place, truth: Mapping[Key, Any], contested: Collection[str]) -> list[str]:
    """Return what is not as it is declared; what people kept changing back rests by and by, and is written again."""
    if place.mode == "observe":
        return []
    return [
        f"{place.name}: {key} is not as {wish.name} wants it"
        for wish in place.wishes
        for key, document in truth.items()
        if wish.selects(key, document) and not wish.holds(document)
        if not (wish.is_theirs(document) and key[1] in contested)
    ]


def content(process: Process) -> Content:
    """Return what a cycle that finds nothing new leaves alone, by view."""
    return {sql.split()[-1]: process.rows(sql) for sql in _CONTENT}


def changes(before: Content, after: Content) -> list[str]:
    """Return in what two contents differ; rows from before the clock was right may be dropped, being too old."""
    return [
        f"{view}: {(set(before[view]) ^ set(after[view]))!r}"
        for view in before
        if [row for row in before[view] if not _is_of_1970(row)] != [row for row in after[view] if not _is_of_1970(row)]
    ]


def _is_of_1970(row: tuple[Any, ...]) -> bool:
    return any(isinstance(value, str) and value.startswith("1970-") for value in row)


def writes_seen(world: World) -> int:
    """Return how many writes of ours arrived."""
    return sum(write.by == "client" for place in world.places for write in place.cloud._books._writes)


def judge_writes(world: World, process: Process) -> None:
    """P3, P4, P5: the journal and the services say the same, and what others wrote is still there."""
    for place in world.places:
        rows = process.rows("SELECT id, outcome, status FROM write WHERE source = ?", place.name)
        world.watching[place.name].writing.at_the_end(rows)
        _judge_edits(world, place)


def _judge_edits(world: World, place: Place) -> None:
    """P3: what somebody else wrote, and we never declared, is as they wrote it."""
    truth = place.truth()
    for (key, name), value in place.edits.items():
        if key in truth:
            found = truth[key]
            for word in name.split("."):
                found = found.get(word) if isinstance(found, dict) else None
            world.verdicts.check("P3", found == value, f"{place.name}: {name} of {key} was lost: {found}")


def difference(one: Any, other: Any, path: str = "") -> str:
    """Return where two documents differ."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return f"{path}: {one!r} and {other!r}"
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return ", ".join(difference(one.get(name), other.get(name), f"{path}.{name}") for name in names)
