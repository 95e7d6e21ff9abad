"""Every sort of mischief, by name, and which entry of the list of faults it is.

The entries are those of the design: 1 to 11 the service, 12 to 19 network and machine, 20 to 24 people.
"""

import signal
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from fleetsync.daemon.work import Command
from fleetsync.errors import ConfigError, FleetsyncError, LockedError, MirrorError
from tests.simulation.place import Place
from tests.simulation.process import Process

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0

Begin = Callable[[Any, str, Place], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One sort of mischief: `begin` is given the `Mischief`, its own name and a place. `label` is what is counted."""

    fault: int
    begin: Begin
    suits: Callable[[Place], bool] = lambda _: True


ALL: dict[str, Episode] = {}


def _mischief(fault: int, name: str, suits: Callable[[Place], bool] = lambda _: True) -> Callable[[Begin], Begin]:
    def add(begin: Begin) -> Begin:
        ALL[name] = Episode(fault=fault, begin=begin, suits=suits)
        return begin

    return add


def _lasting_s(random: Random, place: Place) -> float:
    return random.choice((5 * MINUTE_S, 15 * MINUTE_S, 30 * MINUTE_S)) + 1.2 * place.interval_s


# 1 to 11: what the service answers

_ANSWERS: Mapping[str, tuple[int, str]] = {
    "429 with seconds": (1, "retry-after=7:0.4"),
    "429 with a date": (1, "retry-after=date+90:0.3"),
    "429 without a time": (1, "status=429:0.3"),
    "429 with zero": (1, "retry-after=0:0.3"),
    "429 with a huge time": (1, "retry-after=99999999:0.05"),
    "429 with a negative time": (1, "retry-after=-5:0.3"),
    "429 with junk": (1, "retry-after=soon:0.3"),
    "429 to writes": (1, "write.retry-after=20:0.6"),
    "late answers": (2, "latency=9s:0.7"),
    "500": (3, "status=500:0.3"),
    "502": (3, "status=502:0.3"),
    "503": (3, "status=503:0.5"),
    "504": (3, "status=504:0.5"),
    "an HTML page": (3, "html:0.3"),
    "an empty body": (3, "empty-body:0.3"),
    "null": (3, "null:0.3"),
    "an array": (3, "array:0.3"),
    "an error with 200": (3, "error-body:0.3"),
    "an empty list": (4, "empty-list:0.4"),
    "a short list": (4, "short-list=0.6:0.5"),
    "an empty page": (4, "empty-page:0.3"),
    "no array": (4, "no-value:0.3"),
    "a link that repeats": (5, "loop-link:0.3"),
    "a link to the first page": (5, "loop-link=first:0.4"),
    "a list without end": (5, "empty-page"),
    "a link to another origin": (5, "foreign-link=http://127.0.0.1:7999:0.5"),
    "a dead cursor": (5, "dead-cursor:0.4"),
    "a device twice": (6, "twice:0.5"),
    "an answer lost after the write": (9, "write.reset:0.6"),
    "an error after the write": (9, "write.status-after=500:0.6"),
    "rubbish after the write": (9, "write.html:0.5"),
    "401": (10, "status=401"),
    "403": (10, "status=403"),
    "a redirect 301": (11, "status=301:0.4"),
    "a redirect 302": (11, "status=302:0.4"),
    "a redirect 303": (11, "status=303:0.4"),
    "a redirect 307": (11, "redirect=http://127.0.0.1:7999/:0.4"),
    "a redirect 308": (11, "status=308:0.4"),
    "a body of 40 MB": (11, "big-body=40MB@3"),
    "a body compressed 1000:1": (11, "zip-body=40MB@2"),
    "deep JSON": (11, "deep-json:0.3"),
    "NaN": (11, "nan:0.3"),
    "a body cut off": (11, "truncate:0.3"),
    "a reset before": (12, "reset-before:0.3"),
    "a reset after": (12, "reset:0.2"),
}


def _is_written_to(place: Place) -> bool:
    return place.mode == "enforce" and bool(place.wishes)


def _keep_busy(mischief: Any, place: Place, lasting_s: float) -> None:
    """Give the daemon something to write, again and again."""

    def disturb(left: int) -> None:
        if left and not mischief.is_over:
            for key in mischief.random.sample(keys := sorted(place.truth()), min(3, len(keys))):
                place.disturb(mischief.random, *key)
            mischief.world.agenda.after(place.interval_s / 2, lambda: disturb(left - 1))

    disturb(int(lasting_s / place.interval_s * 2) + 1)


def _answers(spec: str) -> Begin:
    def begin(mischief: Any, name: str, place: Place) -> None:
        place.wrong[name] = spec
        place.go_wrong(", ".join(place.wrong.values()))

        def cure() -> None:
            place.wrong.pop(name, None)
            place.go_wrong(", ".join(place.wrong.values()))

        lasting_s = _lasting_s(mischief.random, place)
        mischief.later(lasting_s, cure)
        if spec.startswith("write."):
            _keep_busy(mischief, place, lasting_s)

    return begin


for _name, (_fault, _spec) in _ANSWERS.items():
    ALL[_name] = Episode(
        fault=_fault,
        begin=_answers(_spec),
        suits=_is_written_to if _spec.startswith("write.") else lambda _: True,
    )


@_mischief(2, "a daily quota that is spent", suits=lambda place: place.has_daily_quota)
def _quota(mischief: Any, name: str, place: Place) -> None:
    place.spend_quota()
    mischief.later(_lasting_s(mischief.random, place), place.recover)
    mischief.count(name)


_ETAGS: Mapping[str, bytes] = {
    "an ETag that is null": b"null",
    "an ETag that is a number": b"12345",
    "an ETag that is weak": b'"W/\\"1\\""',
    "an ETag with quotes inside": b'"a\\"b\\"c"',
    "an ETag that changes by itself": b'"changing-%d"',
}


def _etags(text: bytes) -> Begin:
    def begin(mischief: Any, name: str, place: Place) -> None:
        changes = [0]

        def change(exchange: Any) -> None:
            if exchange.place is place and exchange.method == "GET" and exchange.answer.status == 200:
                changes[0] += 1
                new = text % changes[0] if b"%d" in text else text
                if place.change_etags(exchange, new):
                    mischief.count(name)
                    place.troubled_s = mischief.world.agenda.now_s

        mischief.world.tamper.append(change)
        mischief.later(_lasting_s(mischief.random, place), lambda: mischief.world.tamper.remove(change))

    return begin


for _name, _text in _ETAGS.items():
    ALL[_name] = Episode(fault=7, begin=_etags(_text))


@_mischief(7, "unknown members and values", suits=lambda place: place.takes_odd_texts)
def _unknown(mischief: Any, name: str, place: Place) -> None:
    """Somebody adds what no schema knows; it stays."""
    place.edit_oddly(mischief.random, {"zzUnknown": {"new": [1, None, {"a": "b"}]}})
    mischief.count(name)


_TEXTS: Mapping[str, object] = {
    "NUL in a text": "a\0b",
    "half a surrogate pair": "a\ud800b",
    "a huge integer": 10**30,
    "a text for terminals": "\x1b[2J\n<2>all is lost",
}


def _odd_text(value: object) -> Begin:
    def begin(mischief: Any, name: str, place: Place) -> None:
        undo = place.edit_oddly(mischief.random, {"zzOdd": value})
        mischief.count(name)
        place.troubled_s = mischief.world.agenda.now_s
        mischief.later(_lasting_s(mischief.random, place), undo)

    return begin


for _name, _value in _TEXTS.items():
    ALL[_name] = Episode(
        fault=22 if "terminals" in _name else 11, begin=_odd_text(_value), suits=lambda place: place.takes_odd_texts
    )


@_mischief(8, "somebody else writes between our read and our write", suits=_is_written_to)
def _between(mischief: Any, name: str, place: Place) -> None:
    def write(exchange: Any) -> None:
        asked = exchange.notes["asked"]
        if exchange.place is place and asked.kind == "write" and mischief.random.random() < 0.6:
            place.disturb(mischief.random, asked.type, asked.id)
            mischief.count(name)

    mischief.world.on_arrival.append(write)
    mischief.later(HOUR_S, lambda: mischief.world.on_arrival.remove(write))
    _keep_busy(mischief, place, HOUR_S)


@_mischief(10, "a token that is replaced, and known later", suits=lambda place: place.has_token)
def _rotate(mischief: Any, name: str, place: Place) -> None:
    renew = place.rotate()
    mischief.count(name)
    place.troubled_s = mischief.world.agenda.now_s

    def known() -> None:
        renew()
        mischief.world.write_configuration()
        place.troubled_s = mischief.world.agenda.now_s

    mischief.later(_lasting_s(mischief.random, place), known)


# 12 to 14: the network

_MISHAPS: Mapping[str, int] = {
    "keep-alive-closed": 12,
    "reset": 12,
    "reset-on-the-way": 12,
    "no-answer": 12,
    "hanging-connect": 12,
    "refused": 12,
    "unreachable": 12,
    "slow-body": 11,
    "endless-body": 11,
    "wrong-length": 11,
    "cut-body": 11,
    "dead-dns": 13,
    "slow-dns": 13,
    "lying-dns": 13,
    "unknown-ca": 14,
    "expired-certificate": 14,
    "wrong-name": 14,
    "old-tls": 14,
    "no-descriptors": 18,
}


def _mishap(mischief: Any, name: str, place: Place) -> None:
    place.weather.mishaps[name] = 0.3 if name == "endless-body" else mischief.random.choice((0.1, 0.4, 1.0))
    mischief.later(_lasting_s(mischief.random, place), lambda: place.weather.mishaps.pop(name, None))


for _name, _fault in _MISHAPS.items():
    ALL[_name] = Episode(fault=_fault, begin=_mishap)


@_mischief(12, "the network away for hours, for all")
def _away(mischief: Any, name: str, _place: Place) -> None:
    mischief.count(name)
    for place in mischief.world.places:
        place.weather.mishaps["unreachable"] = 1.0
    places = mischief.world.places
    mischief.later(HOUR_S, lambda: [one.weather.mishaps.pop("unreachable", None) for one in places])


@_mischief(12, "a flapping network")
def _flap(mischief: Any, name: str, place: Place) -> None:
    def down(left: int) -> None:
        if left and not mischief.is_over:
            place.weather.mishaps["unreachable"] = 1.0
            mischief.count(name)
            mischief.later(20.0, lambda: place.weather.mishaps.pop("unreachable", None))
            mischief.world.agenda.after(60.0, lambda: down(left - 1))

    down(10)


# 15 and 24: processes that die


@_mischief(15, "killed at a step")
def _kill_at_step(mischief: Any, name: str, _place: Place) -> None:
    if mischief.process is not None:
        mischief.process.kill_at_step = mischief.process.steps + mischief.random.randint(1, 300)
        mischief.count(name)


@_mischief(15, "killed at a commit or at a step of a request")
def _kill_at_point(mischief: Any, name: str, _place: Place) -> None:
    if mischief.process is not None:
        mischief.process.kill_at_point = mischief.process.points + mischief.random.randint(1, 200)
        mischief.count(name)


@_mischief(15, "killed in mid write", suits=_is_written_to)
def _kill_at_write(mischief: Any, name: str, place: Place) -> None:
    def kill(exchange: Any) -> None:
        process = mischief.process
        if exchange.notes["asked"].kind == "write" and process is not None and kill in mischief.world.on_arrival:
            mischief.world.on_arrival.remove(kill)
            process.kill_at_point = process.points + mischief.random.randint(1, 6)
            mischief.count(name)

    mischief.world.on_arrival.append(kill)
    mischief.later(HOUR_S, lambda: kill in mischief.world.on_arrival and mischief.world.on_arrival.remove(kill))
    _keep_busy(mischief, place, HOUR_S)


@_mischief(15, "killed in mid page")
def _kill_at_page(mischief: Any, name: str, place: Place) -> None:
    """Let pages come so slowly that some are stored before others are there."""
    before_s, place.weather.latency_s = place.weather.latency_s, 0.8
    left = [mischief.random.randint(2, 6)]

    def kill(exchange: Any) -> None:
        process, asked = mischief.process, exchange.notes["asked"]
        if exchange.place is place and asked.kind == "list" and asked.cursor is not None and process is not None:
            left[0] -= 1
            if not left[0]:
                process.kill_at_point = process.points + mischief.random.randint(1, 8)
                mischief.count(name)

    def cure() -> None:
        place.weather.latency_s = before_s
        mischief.world.on_arrival.remove(kill)

    mischief.world.on_arrival.append(kill)
    mischief.later(HOUR_S, cure)


@_mischief(15, "a power cut that tears the journal")
def _power_cut(mischief: Any, name: str, _place: Place) -> None:
    process = mischief.process
    if process is not None and process.is_alive:
        process.kill()
        journal = process.left.get("fleetsync.db-wal", b"")
        process.left["fleetsync.db-wal"] = journal + mischief.random.randbytes(mischief.random.randint(1, 9000))
        mischief.count(name)


@_mischief(15, "SIGTERM")
def _sigterm(mischief: Any, name: str, _place: Place) -> None:
    process = mischief.process
    if process is None or not process.signal(signal.SIGTERM):
        return
    mischief.count(name)
    agenda = mischief.world.agenda
    began_s = agenda.now_s

    def late() -> None:
        mischief.world.verdicts.check(
            "P10", process.has_ended, f"SIGTERM: still there after {agenda.now_s - began_s} s"
        )

    agenda.after(5.0, late)


@_mischief(15, "two instances on one file")
def _two(mischief: Any, name: str, _place: Place) -> None:
    def start(first: Process) -> None:
        world = mischief.world
        second = Process(world.machine, _Nobody())
        second.run(world.agenda.now_s + 1.0)
        second.put_away()
        world.verdicts.check(
            "P10", isinstance(second.error, LockedError), f"a second process was let in: {second.error!r}"
        )
        mischief.count(name)

    mischief.pause_at(start)


class _Nobody:
    """Watches nothing."""

    def before_call(self, name: str) -> None:
        pass

    def after_call(self, name: str) -> None:
        pass


@_mischief(24, "a crash loop")
def _crash_loop(mischief: Any, name: str, _place: Place) -> None:
    left = [mischief.random.randint(3, 8)]

    def greet(process: Process) -> None:
        process.kill_at_step = mischief.random.randint(10, 400)
        left[0] -= 1
        mischief.count(name)
        if left[0] and not mischief.is_over:
            mischief.greetings.append(greet)

    if mischief.process is not None:
        greet(mischief.process)
        mischief.process.kill_at_step += mischief.process.steps


# 16: the disk

_DISK: Mapping[str, tuple[int, str, str]] = {
    "a full disk": (sqlite3.SQLITE_FULL, "database or disk is full", "execute"),
    "a read-only disk": (sqlite3.SQLITE_READONLY, "attempt to write a readonly database", "execute"),
    "an I/O error": (sqlite3.SQLITE_IOERR, "disk I/O error", "execute"),
    "a failing fsync": (1034, "disk I/O error", "commit"),
}


def _disk(code: int, text: str, call: str) -> Begin:
    def begin(mischief: Any, name: str, place: Place) -> None:
        chance = mischief.random.choice((0.05, 0.5, 1.0))

        def fail(what: str) -> None:
            if what == call and mischief.random.random() < chance:
                error = sqlite3.OperationalError(text)
                error.sqlite_errorcode = code
                mischief.count(name)
                for one in mischief.world.places:
                    one.troubled_s = mischief.world.agenda.now_s
                raise error

        def cure() -> None:
            mischief.world.before_database.remove(fail)
            mischief.world.agenda.after(60.0, lambda: mischief.excuses.remove(MirrorError))

        mischief.world.before_database.append(fail)
        mischief.excuses.append(MirrorError)
        mischief.later(1.2 * place.interval_s, cure)

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


@_mischief(17, "a wall clock that steps a day ahead")
def _ahead(mischief: Any, name: str, place: Place) -> None:
    _step(mischief, name, place, DAY_S)


@_mischief(17, "a wall clock that steps a day back")
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
    mischief.later(_lasting_s(mischief.random, place), lambda: by(-seconds))


@_mischief(17, "1970 at boot")
def _epoch(mischief: Any, name: str, place: Place) -> None:
    if mischief.process is not None:
        mischief.process.kill()
        _step(mischief, name, place, -56 * 365 * DAY_S)


@_mischief(17, "ten minutes of suspend")
def _suspend(mischief: Any, name: str, _place: Place) -> None:
    if mischief.process is not None:
        mischief.count(name)
        mischief.process.loop.suspend(600.0)


@_mischief(18, "a reader that stays for hours")
def _reader(mischief: Any, name: str, _place: Place) -> None:
    connection = sqlite3.connect(f"file:{mischief.world.machine.database}?mode=ro", uri=True, isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM resource").fetchall()
    mischief.count(name)
    mischief.later(HOUR_S, connection.close)


@_mischief(19, "a loop that is blocked for a minute")
def _block(mischief: Any, name: str, _place: Place) -> None:
    agenda = mischief.world.agenda
    if mischief.process is not None:
        mischief.process.loop.call_soon(lambda: agenda.pass_until(agenda.now_s + 60.0))
        mischief.count(name)


# 20 to 24: people

_TYPOS: Mapping[str, str] = {
    "a typo at reload": '[sources.broken]\nkind = "iot-centrall"\n',
    "a file that is no TOML at reload": "[sources.broken\n",
    "an unknown key at reload": "[daemon]\nmetriks = 1\n",
}


def _judge_reload(mischief: Any, name: str, before: object) -> None:
    """P12: it is said, in the database unless that cannot be written, and nothing else has changed."""
    world, process = mischief.world, mischief.process
    told = process.rows("SELECT count(*) FROM reload")[0][0]
    if world.before_database:
        told += any('"config.refused"' in line for line in world.log[-50:])
    same = process.daemon is not None and process.daemon._orders is before
    world.verdicts.check("P12", told and same, f"{name}: {told} problems told, the old orders stay: {same}")


def _bad_reload(text: str) -> Begin:
    def begin(mischief: Any, name: str, _place: Place) -> None:
        world, process = mischief.world, mischief.process
        if process is None or process.daemon is None or world.broken_toml:
            return
        before = process.daemon._orders
        world.broken_toml = text
        world.write_configuration()
        if not process.signal(signal.SIGHUP):
            world.broken_toml = ""
            world.write_configuration()
            return
        mischief.count(name)

        def judge() -> None:
            if mischief.process is process and world.broken_toml == text:
                _judge_reload(mischief, name, before)

        def cure() -> None:
            world.broken_toml = ""
            world.write_configuration()
            mischief.excuses.remove(ConfigError)
            mischief.send(signal.SIGHUP)

        world.agenda.after(4.0, judge)
        mischief.excuses.append(ConfigError)
        mischief.later(5 * MINUTE_S, cure)

    return begin


for _name, _text_ in _TYPOS.items():
    ALL[_name] = Episode(fault=20, begin=_bad_reload(_text_))


@_mischief(20, "a typo at start")
def _typo_at_start(mischief: Any, name: str, _place: Place) -> None:
    world = mischief.world
    if mischief.process is None or world.broken_toml:
        return
    world.broken_toml = "[sources.broken\n"
    world.write_configuration()
    mischief.process.kill()
    mischief.excuses.append(ConfigError)
    mischief.count(name)

    def cure() -> None:
        world.broken_toml = ""
        world.write_configuration()
        mischief.excuses.remove(ConfigError)

    mischief.later(2 * MINUTE_S, cure)


@_mischief(20, "a reload that adds a declaration and takes it back")
def _good_reload(mischief: Any, name: str, place: Place) -> None:
    world = mischief.world
    wishes = place.wishes
    place.wishes = []
    world.write_configuration()
    if mischief.send(signal.SIGHUP):
        mischief.count(name)

    def cure() -> None:
        place.wishes = wishes
        world.write_configuration()
        mischief.send(signal.SIGHUP)

    mischief.later(_lasting_s(mischief.random, place), cure)


_CREDENTIALS: Mapping[str, Callable[[str], str | None]] = {
    "a credential that is missing": lambda _: None,
    "a credential that is empty": lambda _: "",
    "a credential with a newline at its end": lambda text: text + "\n",
    "a credential that is wrong": lambda text: text[:-9] + "AAAA" + text[-5:],
}


def _credential(change: Callable[[str], str | None]) -> Begin:
    def begin(mischief: Any, name: str, place: Place) -> None:
        file = mischief.world.machine.folder / f"{place.name}.token"
        changed = change(place.files()[file.name])
        if changed is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(changed, encoding="utf-8")
        mischief.count(name)
        place.spoilt_token = changed
        place.troubled_s = mischief.world.agenda.now_s

        def cure() -> None:
            place.spoilt_token = None
            place.troubled_s = mischief.world.agenda.now_s
            mischief.world.write_configuration()

        mischief.later(_lasting_s(mischief.random, place), cure)

    return begin


for _name, _change in _CREDENTIALS.items():
    ALL[_name] = Episode(fault=20, begin=_credential(_change), suits=lambda place: place.has_token)


def _declaration(desired: Callable[[Place], str], **more: Any) -> Begin:
    def begin(mischief: Any, name: str, place: Place) -> None:
        world = mischief.world
        label = name.replace(" ", "-")
        world.declared[label] = place.declare(label, desired(place), more.get("where", ""), priority=-1)
        if more.get("twice"):
            world.declared[f"{label}-2"] = place.declare(f"{label}-2", place.contradicting, "", priority=-1)
        world.write_configuration()
        if mischief.send(signal.SIGHUP):
            mischief.count(name)

        def cure() -> None:
            world.declared.pop(label, None)
            world.declared.pop(f"{label}-2", None)
            world.write_configuration()
            mischief.send(signal.SIGHUP)

        mischief.later(_lasting_s(mischief.random, place), cure)

    return begin


ALL["a declaration that changes everything"] = Episode(fault=21, begin=_declaration(lambda place: place.harmless))
ALL["declarations that contradict each other"] = Episode(
    fault=21, begin=_declaration(lambda place: place.harmless, twice=True)
)
ALL["a selector that fails on the data"] = Episode(
    fault=21, begin=_declaration(lambda place: place.harmless, where="json(id) IS NOT NULL")
)


def _bad_selector(mischief: Any, name: str, place: Place) -> None:
    world, process = mischief.world, mischief.process
    if (
        process is None
        or process.daemon is None
        or world.broken_toml
        or process.loop.signals.get(signal.SIGHUP) is None
    ):
        return
    before = process.daemon._orders
    where = "id IN (DELETE FROM resource RETURNING id)" if "writes" in name else "no_such_column = 1"
    world.declared[name] = place.declare(name.replace(" ", "-"), place.harmless, where)
    world.write_configuration()
    process.signal(signal.SIGHUP)
    mischief.count(name)

    def judge() -> None:
        if mischief.process is process and name in world.declared:
            _judge_reload(mischief, name, before)

    def cure() -> None:
        world.declared.pop(name, None)
        world.write_configuration()
        mischief.excuses.remove(ConfigError)
        mischief.send(signal.SIGHUP)

    world.agenda.after(4.0, judge)
    mischief.excuses.append(ConfigError)
    mischief.later(5 * MINUTE_S, cure)


for _name in ("a selector that is wrong", "a selector that writes"):
    ALL[_name] = Episode(fault=21, begin=_bad_selector)


@_mischief(24, "many commands at one second")
def _commands(mischief: Any, name: str, place: Place) -> None:
    process = mischief.process
    if process is None:
        return
    names = ("sync", "sync", "apply", "pause", "resume")
    for command in mischief.random.choices(names, k=4):
        process.order(Command(name=command, sources=(place.name,)))
    mischief.later(
        10 * MINUTE_S,
        lambda: mischief.process and mischief.process.order(Command(name="resume", sources=(place.name,))),
    )
    mischief.count(name)


BY_THEMSELVES: Mapping[str, int] = {
    "a fleet that changes while it is listed": 6,
    "a device made anew under its id": 6,
    "an index that lags": 6,
    "pages shorter than asked for": 4,
    "an odd id": 22,
    "secret looked for": 23,
}
"""What nobody plans: it is counted where it happens."""

FAULT_OF: Mapping[str, int] = {name: episode.fault for name, episode in ALL.items()} | dict(BY_THEMSELVES)
