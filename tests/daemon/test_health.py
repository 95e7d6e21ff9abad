import datetime

import pytest

from fleetsync.daemon.health import Health
from fleetsync.errors import (
    AuthError,
    ConfigError,
    MirrorError,
    NotYetError,
    Problem,
    ServerFaultError,
    ThrottledError,
    UnreachableError,
    UnsafePlanError,
)
from fleetsync.mirror.wal import LARGE_WAL_BYTES
from tests.daemon.conftest import Said

NOW = datetime.datetime(2026, 11, 21, 18, 0, tzinfo=datetime.UTC)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def health(told: list[str]) -> Health:
    health = Health(told.append)
    health.watch(("mill", "plant"))
    return health


def test_a_source_that_breaks_is_said_once_and_so_is_that_it_healed(health: Health, said: Said) -> None:
    for _ in range(3):
        health.note("plant", UnreachableError("no route to host"))
    for _ in range(3):
        health.note("plant")

    assert [(line["event"], line["source"], line.get("error"), line.get("reason")) for line in said] == [
        ("source.down", "plant", "no route to host", "down"),
        ("source.up", "plant", None, None),
    ]


def test_another_sort_of_trouble_is_said_too(health: Health, said: Said) -> None:
    for error in (ThrottledError("busy"), AuthError("no role"), UnreachableError("no route"), MirrorError("disk full")):
        health.note("plant", error)

    assert [line["reason"] for line in said] == ["throttled", "refused", "down", "unrecorded"]


def test_another_class_of_fault_is_another_thing_broken_and_healing_is_said_once(health: Health, said: Said) -> None:
    for error in (UnreachableError("no route"), UnreachableError("no answer"), ServerFaultError("503", status=503)):
        health.note("plant", error)
    health.note("mill", UnsafePlanError("too many"))
    health.note("mill", AuthError("401", status=401))
    for name in ("plant", "mill"):
        health.note(name)

    assert [(line["event"], line["source"], line.get("reason"), line.get("fault")) for line in said] == [
        ("source.down", "plant", "down", "network"),
        ("source.down", "plant", "down", "service"),
        ("source.down", "mill", "refused", None),
        ("source.down", "mill", "refused", "sign-in"),
        ("source.up", "plant", None, None),
        ("source.up", "mill", None, None),
    ]


def test_who_waits_for_something_else_is_told_from_who_is_broken(health: Health) -> None:
    health.note("plant", NotYetError("the hub was not listed yet"))
    health.note("mill", UnreachableError("no route"))
    assert [health.is_waiting(name) for name in ("plant", "mill", "barn")] == [True, False, False]


def test_the_status_names_what_is_wrong_and_is_told_on_the_change_only(health: Health, told: list[str]) -> None:
    health.note("plant", UnreachableError("no route"))
    health.note("plant", UnreachableError("no route"))
    health.note("mill", ThrottledError("busy"))
    health.note("plant")

    assert told == [
        "2 sources",
        "2 sources; plant down",
        "2 sources; mill throttled; plant down",
        "2 sources; mill throttled",
    ]


def test_what_cannot_be_recorded_is_told_with_the_reason_once_for_all_sources(health: Health) -> None:
    for source in ("plant", "mill"):
        health.note(source, MirrorError("database /x: full: make room"))
    assert health.text == "2 sources; mill unrecorded; plant unrecorded; database /x: full: make room"

    health.note("plant")
    health.watch(("plant",))
    assert health.text == "1 source"


def test_a_source_that_left_the_configuration_is_not_wrong_any_more(health: Health) -> None:
    health.note("plant", UnreachableError("no route"))

    health.watch(("mill",))

    assert health.text == "1 source"


def test_a_refused_configuration_shows_until_a_right_one_comes(health: Health) -> None:
    health.note_configuration(
        ConfigError(Problem(message="unknown key", file="c.toml", line=3), Problem(message="more"))
    )
    assert health.text == "2 sources; new configuration refused, the old one runs on: c.toml:3: unknown key"

    health.note_configuration(None)
    assert health.text == "2 sources"


def test_the_end_of_a_credential_is_said_thirty_seven_and_one_day_before_and_once_each(
    health: Health, said: Said
) -> None:
    end = NOW + datetime.timedelta(days=40)

    for hours in range(41 * 24):
        health.note_end("plant", end, NOW + datetime.timedelta(hours=hours))

    assert [(line["event"], line["reason"]) for line in said] == [
        ("token.expires", "ends within 30 days"),
        ("token.expires", "ends within 7 days"),
        ("token.expires", "ends within a day"),
        ("token.expires", "has ended"),
    ]
    assert {line["until"] for line in said} == {end.isoformat()}


def test_a_renewed_credential_is_warned_of_anew(health: Health, said: Said) -> None:
    health.note_end("plant", NOW + datetime.timedelta(days=5), NOW)
    health.note_end("plant", NOW + datetime.timedelta(days=90), NOW)
    health.note_end("plant", NOW + datetime.timedelta(days=5), NOW)

    assert len(said) == 2


def test_a_credential_of_unknown_end_is_not_warned_of(health: Health, said: Said) -> None:
    health.note_end("plant", None, NOW)

    assert said == []


def test_a_large_journal_is_said_once_and_so_is_that_it_is_small_again(health: Health, said: Said) -> None:
    for size_bytes in (0, LARGE_WAL_BYTES, LARGE_WAL_BYTES + 1, 2 * LARGE_WAL_BYTES, 5, 0):
        health.note_wal(size_bytes)

    assert [(line["event"], line["size_bytes"]) for line in said] == [
        ("wal.large", LARGE_WAL_BYTES + 1),
        ("wal.small", 5),
    ]
