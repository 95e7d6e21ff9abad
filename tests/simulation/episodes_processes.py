"""Processes that die, are stopped, or are one too many: entries 15 and 24 of the list of faults."""

import signal
from typing import Any

from fleetsync.daemon.work import Command
from fleetsync.errors import ConfigError, LockedError
from tests.simulation.episode import ALL, HOUR_S, MINUTE_S, Begin, Episode, is_written_to, keep_busy, mischief_of
from tests.simulation.network import Exchange
from tests.simulation.place import Place
from tests.simulation.process import STOP_S, Process

# 15 and 24: processes that die


@mischief_of(15, "killed at a step")
def _kill_at_step(mischief: Any, name: str, _place: Place) -> None:
    if mischief.process is not None:
        mischief.process.kill_at_step = mischief.process.steps + mischief.random.randint(1, 300)
        mischief.count(name)


@mischief_of(15, "killed at a commit or at a step of a request")
def _kill_at_point(mischief: Any, name: str, _place: Place) -> None:
    if mischief.process is not None:
        mischief.process.kill_at_point = mischief.process.points + mischief.random.randint(1, 200)
        mischief.count(name)


@mischief_of(15, "killed in mid write", suits=is_written_to)
def _kill_at_write(mischief: Any, name: str, place: Place) -> None:
    def kill(exchange: Any) -> None:
        process = mischief.process
        if exchange.notes["asked"].kind == "write" and process is not None and kill in mischief.world.on_arrival:
            mischief.world.on_arrival.remove(kill)
            process.kill_at_point = process.points + mischief.random.randint(1, 6)
            mischief.count(name)

    mischief.world.on_arrival.append(kill)
    mischief.later(HOUR_S, lambda: kill in mischief.world.on_arrival and mischief.world.on_arrival.remove(kill))
    keep_busy(mischief, place, HOUR_S)


@mischief_of(15, "killed in mid page")
def _kill_at_page(mischief: Any, name: str, place: Place) -> None:
    """Let pages come so slowly that some are stored before others are there."""
    before_s, place.weather.latency_s = place.weather.latency_s, 0.8
    left = [mischief.random.randint(1, 4)]

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


@mischief_of(15, "a power cut that tears the journal")
def _power_cut(mischief: Any, name: str, _place: Place) -> None:
    process = mischief.process
    if process is not None and process.is_alive:
        process.kill()
        journal = process.left.get("fleetsync.db-wal", b"")
        process.left["fleetsync.db-wal"] = journal + mischief.random.randbytes(mischief.random.randint(1, 9000))
        mischief.count(name)


@mischief_of(15, "SIGTERM")
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

    process.after_awake(STOP_S, late)


def _sigterm_at(kind: str) -> Begin:
    def begin(mischief: Any, name: str, place: Place) -> None:
        def stop(exchange: Exchange) -> None:
            asked = exchange.notes["asked"]
            is_it = asked.kind == kind and (kind == "write" or asked.cursor is not None or not place.has_lists)
            if exchange.place is place and is_it and stop in mischief.world.on_arrival:
                mischief.world.on_arrival.remove(stop)
                _sigterm(mischief, name, place)

        mischief.world.on_arrival.append(stop)
        mischief.later(HOUR_S, lambda: stop in mischief.world.on_arrival and mischief.world.on_arrival.remove(stop))
        if kind == "write":
            keep_busy(mischief, place, HOUR_S)

    return begin


ALL["SIGTERM in mid page"] = Episode(fault=15, begin=_sigterm_at("list"), suits=lambda place: place.has_lists)
ALL["SIGTERM in mid write"] = Episode(fault=15, begin=_sigterm_at("write"), suits=is_written_to)


def _sigterm_during(mishap: str) -> Begin:
    def begin(mischief: Any, name: str, _place: Place) -> None:
        places = mischief.world.places
        for place in places:
            place.weather.mishaps[mishap] = 1.0
        after_s = min(place.interval_s for place in places) + 20.0
        mischief.world.agenda.after(after_s, lambda: mischief.is_over or _sigterm(mischief, name, places[0]))
        mischief.later(after_s + 60.0, lambda: [place.weather.mishaps.pop(mishap, None) for place in places])

    return begin


ALL["SIGTERM while no server answers"] = Episode(fault=15, begin=_sigterm_during("no-answer"))
ALL["SIGTERM while names are looked up in vain"] = Episode(fault=13, begin=_sigterm_during("slow-dns"))


@mischief_of(15, "two instances on one file")
def _two(mischief: Any, name: str, _place: Place) -> None:
    def start(first: Process) -> None:
        world = mischief.world
        second = Process(world.machine, _Nobody())
        second.run(world.agenda.now_s + 1.0)
        second.put_away()
        # It reads its configuration before it looks whether it is alone.
        refusals = (LockedError, ConfigError) if ConfigError in mischief.excuses else (LockedError,)
        world.verdicts.check(
            "P10", isinstance(second.error, refusals), f"a second process was let in: {second.error!r}"
        )
        mischief.count(name)

    mischief.pause_at(start)


class _Nobody:
    """Watches nothing."""

    def before_call(self, name: str) -> None:
        pass

    def after_call(self, name: str) -> None:
        pass


@mischief_of(24, "a crash loop")
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


@mischief_of(24, "many commands at one second")
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
