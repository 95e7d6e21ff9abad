"""What people do: configurations, credentials and declarations; entries 20 to 22 of the list of faults."""

import signal
from collections.abc import Callable, Mapping
from typing import Any

from fleetsync.errors import ConfigError
from tests.simulation.episode import (
    ALL,
    MINUTE_S,
    Begin,
    Episode,
    lasting_s,
    mischief_of,
)
from tests.simulation.place import Place

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

        process.after_awake(4.0, judge)
        mischief.excuses.append(ConfigError)
        mischief.later(5 * MINUTE_S, cure)

    return begin


for _name, _text_ in _TYPOS.items():
    ALL[_name] = Episode(fault=20, begin=_bad_reload(_text_))


@mischief_of(20, "a typo at start")
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


@mischief_of(20, "a reload that adds a declaration and takes it back")
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

    mischief.later(lasting_s(mischief.random, place), cure)


@mischief_of(20, "a roster that loses a device at reload", suits=lambda place: place.kind == "cloud-relay")
def _drop(mischief: Any, name: str, place: Any) -> None:
    world = mischief.world
    put_back = place.drop()
    if put_back is None:
        return
    world.write_configuration_of(place)
    if mischief.send(signal.SIGHUP):
        mischief.count(name)

    def cure() -> None:
        put_back()
        world.write_configuration_of(place)
        mischief.send(signal.SIGHUP)

    mischief.later(3.5 * place.interval_s, cure)


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
        place.spoilt_tokens += [changed] if changed else []
        place.troubled_s = mischief.world.agenda.now_s

        def cure() -> None:
            place.troubled_s = mischief.world.agenda.now_s
            mischief.world.write_configuration()

        mischief.later(lasting_s(mischief.random, place), cure)

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

        mischief.later(lasting_s(mischief.random, place), cure)

    return begin


ALL["a declaration that changes everything"] = Episode(fault=21, begin=_declaration(lambda place: place.harmless))
ALL["declarations that contradict each other"] = Episode(
    fault=21, begin=_declaration(lambda place: place.harmless, twice=True)
)
ALL["a selector that fails on the data"] = Episode(
    fault=21, begin=_declaration(lambda place: place.harmless, where="json(id) IS NOT NULL")
)


_ENDLESS = "id IN (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n)"
ALL["a selector that is slow"] = Episode(fault=21, begin=_declaration(lambda place: place.harmless, where=_ENDLESS))


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

    process.after_awake(4.0, judge)
    mischief.excuses.append(ConfigError)
    mischief.later(5 * MINUTE_S, cure)


for _name in ("a selector that is wrong", "a selector that writes"):
    ALL[_name] = Episode(fault=21, begin=_bad_selector)
