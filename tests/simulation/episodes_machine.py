"""What the machine does: disk, clocks, memory and a loop that stands still; entries 16 to 19 of the list of faults."""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from fleetsync.errors import FleetsyncError, MirrorError
from tests.simulation.episode import ALL, DAY_S, HOUR_S, Begin, Episode, lasting_s, mischief_of
from tests.simulation.place import Place

# 16: the disk

_DISK: Mapping[str, tuple[int, str, str]] = {
    "a full disk": (sqlite3.SQLITE_FULL, "database or disk is full", "execute"),
    "a read-only disk": (sqlite3.SQLITE_READONLY, "attempt to write a readonly database", "execute"),
    "an I/O error": (sqlite3.SQLITE_IOERR, "disk I/O error", "execute"),
    "a failing fsync": (1034, "disk I/O error", "commit"),
}


def _fail_at(call: str, error: Callable[[], Exception | None], mischief: Any, name: str, place: Place) -> None:
    """Let calls of the database of one sort fail for a while, whenever `error` gives one."""

    def fail(what: str) -> None:
        if what == call and (failed := error()) is not None:
            mischief.count(name)
            for one in mischief.world.places:
                one.troubled_s = mischief.world.agenda.now_s
            raise failed

    def cure() -> None:
        mischief.world.before_database.remove(fail)
        mischief.world.agenda.after(60.0, lambda: mischief.excuses.remove(MirrorError))

    mischief.world.before_database.append(fail)
    mischief.excuses.append(MirrorError)
    mischief.later(1.2 * place.interval_s, cure)


def _disk(code: int, text: str, call: str) -> Begin:
    def begin(mischief: Any, name: str, place: Place) -> None:
        chance = mischief.random.choice((0.05, 0.5, 1.0))

        def error() -> Exception | None:
            if mischief.random.random() >= chance:
                return None
            failed = sqlite3.OperationalError(text)
            failed.sqlite_errorcode = code
            return failed

        _fail_at(call, error, mischief, name, place)

    return begin


for _name, _three in _DISK.items():
    ALL[_name] = Episode(fault=16, begin=_disk(*_three))


def _spoil(how: Callable[[Any], None]) -> Begin:
    def begin(mischief: Any, name: str, _place: Place) -> None:
        """Kill the process, spoil the database for the next one, and put it right for the one after that."""
        process, world = mischief.process, mischief.world
        if process is None:
            return
        process.kill()

        def spoil() -> None:
            whole = world.machine.read_database()
            how(world)
            mischief.excuses.append(FleetsyncError)
            mischief.count(name)
            mischief.later(60.0, lambda: world.before_start.append(lambda: mend(whole)))
            mischief.greetings.append(lambda process: process.loop.call_later(30.0, process.kill))

        def mend(whole: dict[str, bytes]) -> None:
            world.write_database(whole)
            mischief.excuses.remove(FleetsyncError)

        world.before_start.append(spoil)

    return begin


def _truncate(world: Any) -> None:
    content = world.machine.database.read_bytes()
    world.write_database({"fleetsync.db": content[: len(content) // 2 // 4096 * 4096 + 512]})


def _corrupt(world: Any) -> None:
    content = bytearray(world.machine.database.read_bytes())
    content[0:100] = bytes(100)
    world.write_database({"fleetsync.db": bytes(content)})


def _newer(world: Any) -> None:
    with sqlite3.connect(world.machine.database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'from the future'")
    connection.close()


for _name, _how in {
    "a truncated database": _truncate,
    "a corrupt database": _corrupt,
    "a database of a newer version": _newer,
}.items():
    ALL[_name] = Episode(fault=16, begin=_spoil(_how))

# 17 to 19: time, descriptors and memory


@mischief_of(17, "a wall clock that steps a day ahead")
def _ahead(mischief: Any, name: str, place: Place) -> None:
    _step(mischief, name, place, DAY_S)


@mischief_of(17, "a wall clock that steps a day back")
def _back(mischief: Any, name: str, place: Place) -> None:
    _step(mischief, name, place, -DAY_S)


def _step(mischief: Any, name: str, place: Place, seconds: float) -> None:
    def by(seconds: float) -> None:
        world = mischief.world
        world.machine.stepped_s += seconds
        world.step_at_s = world.agenda.now_s
        for one in world.places:
            # Whose signatures end by a clock that is wrong is refused.
            one.troubled_s = world.agenda.now_s

    by(seconds)
    mischief.count(name)
    mischief.later(lasting_s(mischief.random, place), lambda: by(-seconds))


@mischief_of(17, "1970 at boot")
def _epoch(mischief: Any, name: str, place: Place) -> None:
    if mischief.process is not None:
        mischief.process.kill()
        _step(mischief, name, place, -56 * 365 * DAY_S)


@mischief_of(17, "ten minutes of suspend")
def _suspend(mischief: Any, name: str, _place: Place) -> None:
    if mischief.process is not None:
        mischief.count(name)
        mischief.process.loop.suspend(600.0)


@mischief_of(18, "a reader that stays for hours")
def _reader(mischief: Any, name: str, _place: Place) -> None:
    if FleetsyncError in mischief.excuses:
        return  # what is spoilt at the moment nobody can read
    connection = sqlite3.connect(f"file:{mischief.world.machine.database}?mode=ro", uri=True, isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM resource").fetchall()
    mischief.count(name)
    mischief.later(HOUR_S, connection.close)


@mischief_of(19, "a loop that is blocked for a minute")
def _block(mischief: Any, name: str, _place: Place) -> None:
    process, agenda = mischief.process, mischief.world.agenda

    def block() -> None:
        agenda.pass_until(agenda.now_s + 60.0)
        process.loop.held_up_s = process.loop.time()

    if process is not None:
        process.loop.call_soon(block)
        mischief.count(name)


@mischief_of(18, "memory that runs out")
def _memory(mischief: Any, name: str, place: Place) -> None:
    """The database has none any more, for a moment or two; whoever ends by that is started again."""

    _fail_at("execute", lambda: MemoryError() if mischief.random.random() < 0.02 else None, mischief, name, place)


@mischief_of(19, "a listing that takes very long", suits=lambda place: place.has_lists)
def _long(mischief: Any, name: str, place: Place) -> None:
    """Pages come half a minute late: no watchdog may bark."""
    before_s, place.weather.latency_s = place.weather.latency_s, 15.0
    mischief.count(name)

    def cure() -> None:
        place.weather.latency_s = before_s

    mischief.later(lasting_s(mischief.random, place), cure)
