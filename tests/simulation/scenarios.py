"""The scenarios in which our process crashes at every point, over every kind of service."""

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from alembic import command as alembic
from alembic.config import Config
from sqlalchemy import create_engine

from fleetsync.daemon.work import Command
from fleetsync.errors import UsageError
from fleetsync.mirror import revision
from fleetsync.mirror.mirror import Mirror, open_mirror
from fleetsync.providers.base import all_kinds
from fleetsync.reconcile.cycle import Cycle
from fleetsync.reconcile.progress import silent
from fleetsync.reconcile.reviewed import as_json
from fleetsync.simulator.arm.routes import GROUP
from tests.simulation.crash_points import Play, Scenario, Step, apply, command, crashing, passing, sync
from tests.simulation.network import Exchange
from tests.simulation.place import Wish
from tests.simulation.place_arm import Catalogs, Hubs
from tests.simulation.place_central import Central
from tests.simulation.place_hub import Hub
from tests.simulation.place_relay import Relay
from tests.simulation.place_sphere import Sphere
from tests.simulation.process import Process, daemon

_DAY_S = 86_400.0
_PLAN = "reviewed.json"

# What happens at the service


def _slow(seconds: float) -> Step:
    """Let every answer of every service take so long."""

    def step(play: Play) -> None:
        for place in play.world.places:
            place.weather.latency_s = seconds / 2

    return step


def _faulty(spec: str) -> Step:
    def step(play: Play) -> None:
        play.place.wrong[spec] = spec
        play.place.go_wrong(spec)

    return step


def _grown(ids: Sequence[str]) -> Step:
    def step(play: Play) -> None:
        for id in ids:
            play.place.cloud.add_device(id)

    return step


def _central_ids(play: Play) -> list[str]:
    return sorted(play.place.cloud.application.devices.ids)


def _without(most: int) -> Step:
    """Delete some devices of an application."""

    def step(play: Play) -> None:
        for id in _central_ids(play)[:most]:
            play.place.cloud.delete_device(id)
            play.place.deleted.add(("device", id))

    return step


def _made_anew(play: Play) -> None:
    """Put a device into the place of another."""
    id = _central_ids(play)[-1]
    play.place.deleted.add(("device", id))
    play.place.cloud.add_device(id)


def _returned(play: Play) -> None:
    for _, id in sorted(play.place.deleted):
        play.place.cloud.add_device(id)


def _edited(play: Play) -> None:
    for number, id in enumerate(_central_ids(play)[:3]):
        play.place.cloud.operator_edit(id, {"displayName": f"Renamed {number}", "note": "by somebody"})


def _disturbed_once(play: Play) -> None:
    """Let somebody else write to the first device that we write to, just before us."""
    left = [1]

    def disturb(exchange: Exchange) -> None:
        asked = exchange.notes["asked"]
        if asked.kind == "write" and left[0]:
            left[0] -= 1
            play.place.cloud.operator_edit(asked.id, {"note": "written in between"})
            play.place.edits[("device", asked.id), "note"] = "written in between"

    play.world.on_arrival.append(disturb)


def _hub_device(play: Play, suffix: str = "1") -> str:
    ids: Sequence[str] = sorted(play.place.cloud.hub.state.registry.ids)
    return next(id for id in ids if id.endswith(suffix))


def _hub_made_anew(play: Play) -> None:
    id = _hub_device(play)
    play.place.deleted.add(("device", id))
    play.place.cloud.hub.recreate_device(id)


def _hub_without(play: Play) -> None:
    id = _hub_device(play)
    play.place.deleted.add(("device", id))
    play.place.cloud.hub.delete_device(id)


def _disabled(play: Play) -> None:
    """Let the twin, the identity and the desired properties of devices be other than declared."""
    for id in sorted(play.place.cloud.hub.state.registry.ids)[:2]:
        play.place.cloud.hub.operator_edit(id, {"status": "disabled"})


def _to_be_moved(play: Play) -> None:
    """Declare another group for one device."""
    place = play.place
    key, document = min((key, document) for key, document in place.truth().items() if key[0] == "device")
    goal = next(goal for goal in _goals(place) if not _is_in(place, document, goal))
    wish = Wish(
        name="moved",
        toml=place.declare("moved", f'group = "{goal}"', f"id = '{key[1]}'"),
        selects=lambda one, _: one == key,
        holds=lambda document: _is_in(place, document, goal),
    )
    place.wishes = [wish]
    play.configure()


def _goals(place: Any) -> Sequence[str]:
    return place.groups if isinstance(place, Sphere) else ("ColdChain/Production", "ColdChain/Development")


def _is_in(place: Any, document: Any, goal: str) -> bool:
    if isinstance(place, Sphere):
        return bool(document["DeviceGroupId"] == goal)
    product, group = goal.lower().split("/")
    return f"/products/{product}/devicegroups/{group}/" in document["id"].lower()


def _moving(seconds: float, *, failing: float = 0.0) -> Step:
    """Let moves take so long, and so many of them fail."""

    def step(play: Play) -> None:
        if isinstance(play.place, Sphere):
            operations = play.place.cloud.sphere.operations
            operations.lasts_s, operations.fail_share = seconds, failing
        else:
            habits = play.place.cloud.arm.operations.habits
            habits.duration_s, habits.failing = seconds, failing

    return step


def _undumped(play: Play) -> None:
    """Let no group collect crash dumps."""
    arm = play.place.cloud.arm
    [catalog] = play.place._mine()
    for entry in catalog.below[GROUP]:
        path = play.place._path_of(GROUP, catalog, entry.document["names"])
        arm.operator_edit(path, {"properties": {"allowCrashDumpsCollection": "Disabled"}})


def _as_operations(*types: tuple[str, ...]) -> Step:
    """Let writes of such resources be operations, too."""
    return lambda play: play.place.cloud.arm.writes.slow.update(types)


# What our process does


def _confirm(**number: int) -> Step:
    return lambda play: command("confirm", sources=(play.place.name,), **number)(play)


def _named(name: str) -> Step:
    return lambda play: command(name, sources=(play.place.name,))(play)


def _daemon(for_s: float) -> Step:
    """Be the daemon for a while, until SIGTERM."""

    def step(play: Play) -> None:
        play.run_process(daemon, for_s=for_s)

    return step


def _interrupted(step: Step, point: int) -> Step:
    """Play a step, and kill it at one of its points."""

    def play_it(play: Play) -> None:
        play.kill_at_point = point
        step(play)

    return play_it


def _reviewed(play: Play) -> None:
    """Save a plan, as `plan --out` does."""

    async def life(process: Process) -> None:
        async with play.working(process) as work:
            done = await Cycle(work._jobs[play.place.name](silent), write=False).run()
            assert done.plan is not None
            (play.world.machine.folder / _PLAN).write_bytes(
                msgspec.json.encode(as_json([(done.plan, ())]), enc_hook=list)
            )

    play.run_process(life)


def _apply_plan(play: Play) -> None:
    async def life(process: Process) -> None:
        async with play.working(process) as work:
            plan = str(play.world.machine.folder / _PLAN)
            play.replies.append(await work.carry_out(Command(name="apply", plan=plan), silent))

    play.run_process(life)


def _released(play: Play) -> None:
    """Take the declarations away."""
    play.place.wishes = []
    play.configure()


def _on_mirror(change: Callable[[Mirror, str], Awaitable[object]]) -> Step:
    """Change what is stored, as the commands of `db` do; what was done before the crash is refused the second time."""

    def step(play: Play) -> None:
        async def life(process: Process) -> None:
            path = play.world.machine.database
            async with open_mirror(path, all_kinds().values(), process.clock, upgrade=True) as mirror:
                with contextlib.suppress(UsageError):
                    await change(mirror, play.place.name)

        play.run_process(life)

    return step


async def _nothing(_mirror: Mirror, _name: str) -> None:
    """Only open it."""


def _pruned(mirror: Mirror, _name: str) -> Awaitable[object]:
    return mirror.prune(history_s=30 * _DAY_S, gone_s=30 * _DAY_S, cycles_s=30 * _DAY_S)


def _of_the_first_version(play: Play) -> None:
    """Put a database of the first version in the place of the empty one."""
    path = play.world.machine.database
    path.unlink()
    config = Config()
    config.set_main_option("script_location", str(revision.migrations()))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.upgrade(config, "0001")
    engine.dispose()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO source (name, kind, url, identity, mode, configured, paused, state, known, drifting)"
            " VALUES ('before', 'iot-central', 'u', 'i', 'manual', 0, 0, 'up', 7, 0)"
        )
        connection.execute("CREATE VIEW sources AS SELECT name FROM source")


def _still_there(play: Play) -> None:
    """What the first version stored is there after the upgrade, and so is a whole copy of what it was."""
    path = play.world.machine.database
    copies = sorted(path.parent.glob("*.bak"))
    play.world.verdicts.check("P2", copies, "no copy was made before the upgrade")
    for file in (path, *copies):
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT name FROM source WHERE name = 'before'").fetchall()
        play.world.verdicts.check("P2", rows, f"{file.name} has lost a source")


_MANY = tuple(f"extra-{number:02}" for number in range(8))
_DEVICES = ("device",)

SCENARIOS: Mapping[str, Scenario] = {
    "a first load of many pages that come slowly": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(_grown(_MANY), _slow(0.9), crashing(sync)),
        wishes=(),
        shows=("added",),
    ),
    "a second cycle that finds nothing new": Scenario(
        kinds=(Central,), steps=(apply, apply, crashing(apply)), shows=("added", "applied")
    ),
    "pages with changes": Scenario(
        kinds=(Central,), listed=_DEVICES, steps=(sync, _edited, crashing(sync)), wishes=(), shows=("updated",)
    ),
    "a device that vanishes": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(sync, _without(1), crashing(sync), crashing(sync)),
        wishes=(),
        shows=("gone",),
    ),
    "a device that returns": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(sync, _without(1), sync, sync, _returned, crashing(sync)),
        wishes=(),
        shows=("gone", "returned"),
    ),
    "a device made anew under its id": Scenario(
        kinds=(Central,), listed=_DEVICES, steps=(sync, _made_anew, crashing(sync)), wishes=(), shows=("updated",)
    ),
    "a listing that is resumed": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(_grown(_MANY), _slow(0.9), _interrupted(sync, 9), crashing(sync)),
        wishes=(),
        shows=("added", "kill"),
    ),
    "a short list that is refused, and then confirmed": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(_grown(_MANY), sync, _without(5), crashing(sync), crashing(_confirm(gone=5)), crashing(sync), sync),
        wishes=(),
        is_repeated=True,
        shows=("gone",),
    ),
    "writes under an ETag": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(sync, crashing(apply)),
        wishes=("named",),
        shows=("applied", "if-match"),
    ),
    "a write that is refused with 412": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(sync, _disturbed_once, crashing(apply)),
        wishes=("named",),
        shows=("conflict", "applied"),
    ),
    "details that are read, and several parts of one device": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(sync, crashing(apply)),
        wishes=("named", "warm"),
        shows=("applied", "if-match", "reread"),
    ),
    "a write whose answer is lost": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(sync, _faulty("write.reset@1"), crashing(apply)),
        wishes=("named",),
        shows=("applied", "write.reset@1"),
    ),
    "a write that is answered with an error and was carried out": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(sync, _faulty("write.status-after=500@1"), crashing(apply)),
        wishes=("named",),
        shows=("applied", "write.status-after=500@1"),
    ),
    "a reviewed plan": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(sync, _reviewed, crashing(_apply_plan)),
        wishes=("named",),
        is_repeated=True,
        shows=("applied",),
    ),
    "a declaration that is taken away": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(apply, _released, crashing(apply)),
        wishes=("named",),
        shows=("applied", "released"),
    ),
    "a rate that is learned, and a hold": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(_grown(_MANY), _faulty("retry-after=20@3"), crashing(sync), passing(9.0)),
        wishes=(),
        shows=("retry-after=20@3",),
    ),
    "a source that is paused and resumed": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(sync, crashing(_named("pause")), sync, crashing(_named("resume"))),
        wishes=(),
        is_repeated=True,
    ),
    "a source that is renamed, and back": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(
            sync,
            crashing(_on_mirror(lambda mirror, name: mirror.cycles.rename(name, "other"))),
            crashing(_on_mirror(lambda mirror, name: mirror.cycles.rename("other", name))),
        ),
        wishes=(),
        is_repeated=True,
    ),
    "a source that is forgotten": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(sync, crashing(_on_mirror(lambda mirror, name: mirror.cycles.forget(name)))),
        wishes=(),
        is_repeated=True,
    ),
    "history that is pruned": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(apply, _without(1), apply, apply, passing(40 * _DAY_S), apply, crashing(_on_mirror(_pruned))),
        is_repeated=True,
    ),
    "a database that is upgraded": Scenario(
        kinds=(Central,),
        listed=_DEVICES,
        steps=(_of_the_first_version, crashing(_on_mirror(_nothing)), _still_there),
        wishes=(),
        is_repeated=True,
    ),
    "a daemon that starts, works and is told to end": Scenario(
        kinds=(Central,), steps=(crashing(_daemon(60.0)),), wishes=("named",), shows=("added", "applied")
    ),
    "twins and identities of a hub": Scenario(
        kinds=(Hub,),
        listed=_DEVICES,
        steps=(_disabled, sync, crashing(apply)),
        wishes=("noted", "on"),
        shows=("applied", "if-match"),
    ),
    "a device of a hub made anew under its id": Scenario(
        kinds=(Hub,),
        listed=_DEVICES,
        steps=(apply, _hub_made_anew, passing(120.0), crashing(apply)),
        wishes=("noted",),
        shows=("replaced", "applied"),
    ),
    "a device of a hub that vanishes": Scenario(
        kinds=(Hub,),
        listed=_DEVICES,
        steps=(sync, _hub_without, passing(120.0), crashing(sync), crashing(sync)),
        wishes=(),
        shows=("gone",),
    ),
    "a move of the old Azure Sphere": Scenario(
        kinds=(Sphere,),
        steps=(_to_be_moved, sync, _moving(6.0), crashing(apply)),
        shows=("applied", "reread"),
    ),
    "a move of the old Azure Sphere that fails": Scenario(
        kinds=(Sphere,),
        steps=(_to_be_moved, sync, _moving(6.0, failing=1.0), crashing(apply), _moving(6.0)),
        shows=("failed", "applied"),
        same=("events",),
    ),
    "a move of Azure Sphere": Scenario(
        kinds=(Catalogs,),
        steps=(_to_be_moved, sync, _moving(6.0), crashing(apply)),
        listed=("device", "device-group"),
        shows=("applied", "reread"),
    ),
    "groups of Azure Sphere, as operations, and tags": Scenario(
        kinds=(Catalogs,),
        steps=(_as_operations(GROUP), _undumped, sync, _moving(6.0), crashing(apply)),
        wishes=("dumped", "tagged"),
        listed=("device-group", "catalog"),
        shows=("applied", "if-match", "reread"),
    ),
    "tags of hubs": Scenario(
        kinds=(Hubs,), steps=(sync, _moving(6.0), crashing(apply)), wishes=("tagged",), shows=("applied",)
    ),
    "values behind a relay": Scenario(
        kinds=(Relay,), steps=(sync, crashing(apply)), wishes=("warm", "cold"), shows=("applied", "reread")
    ),
    "a relay that goes by the devices of a hub": Scenario(
        kinds=(Hub, Relay),
        steps=(crashing(sync),),
        wishes=(),
        shows=("added", "a roster that is another source"),
    ),
}
