"""How cycles end: what is said of their source, and how it is."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from fleetsync.core.model import DEVICE
from fleetsync.errors import (
    AuthError,
    ConfigError,
    FleetsyncError,
    InvalidResponseError,
    NotFoundError,
    Problem,
    RejectedError,
    ServerFaultError,
    ThrottledError,
    UnreachableError,
    UnsafePlanError,
)
from fleetsync.mirror.reader import Readers
from fleetsync.reconcile.endings import Trouble, ending_of, state_of
from fleetsync.simulator import parse_faults
from fleetsync.transport.breaking import Circuit
from fleetsync.transport.http import Request
from fleetsync.wiring.sources import broken
from tests.fakes.clock import START
from tests.fakes.http import is_list, lost, refused
from tests.reconcile.rig import ALL_TYPES, NAME, Rig

BOOKS = "SELECT outcome, error FROM cycles ORDER BY id DESC LIMIT 1"
SOURCE = "SELECT state, error FROM sources"


@pytest.mark.parametrize(
    ("errors", "state"),
    [
        ([], "up"),
        ([AuthError("no role", status=403)], "refused"),
        ([AuthError("the secret is wrong")], "refused"),
        ([RejectedError("no such version")], "refused"),
        ([UnsafePlanError("too much")], "refused"),
        ([ConfigError(Problem(message="mend it"))], "refused"),
        ([ThrottledError("busy")], "throttled"),
        ([UnreachableError("no route")], "down"),
        ([ServerFaultError("503")], "down"),
        ([InvalidResponseError("no array"), NotFoundError("gone")], "down"),
        ([UnreachableError("no route"), ThrottledError("busy"), AuthError("no role")], "refused"),
        ([UnreachableError("no route"), ThrottledError("busy")], "throttled"),
    ],
)
def test_what_a_person_has_to_mend_comes_first(errors: list[FleetsyncError], state: str) -> None:
    assert state_of(errors) == state
    ending = ending_of([Trouble(error=error) for error in errors], complete=not errors, now=START)
    assert (ending.state, ending.outcome == "done", ending.complete) == (state, not errors, not errors)


def test_all_troubles_are_one_line_and_say_which_type() -> None:
    problems = ConfigError(Problem(message="one"), Problem(message="two"))
    ending = ending_of(
        [Trouble(error=problems), Trouble(error=RejectedError("no"), type=DEVICE)], complete=False, now=START
    )
    assert ending.error == "one two; device: no"


async def test_every_type_that_is_refused_is_named(rig: Rig) -> None:
    rig.settings = replace(rig.settings, resources=ALL_TYPES)
    await rig.cycle()
    types = ["deviceGroups", "enrollmentGroups"]
    rig.http.when(lambda request: any(f"/{type}?" in request.url for type in types), before=refused(403))

    done = await rig.cycle()

    [(outcome, error)] = rig.rows(BOOKS)
    [(state, shown)] = rig.rows(SOURCE)
    assert (outcome, state, shown) == ("refused", "refused", error)
    assert [line.split(":")[0] for line in error.split("; ")] == ["device-group", "enrollment-group"]
    assert isinstance(done.error, AuthError)
    assert not done.complete


def is_page(number: int) -> Callable[[Request], bool]:
    """Match the page with this number and all after it, from the first on that is asked for."""
    pages = iter(range(1, 1_000))
    return lambda request: is_list(request) and next(pages) >= number


async def test_a_wrong_secret_waits_for_a_person(rig: Rig) -> None:
    rig.http.when(lambda _: True, before=refused(401))

    await rig.cycle()

    assert rig.rows("SELECT state FROM sources") == [("refused",)]
    assert rig.rows(BOOKS)[0][0] == "refused"


async def test_what_is_wrong_with_a_source_is_told_without_what_comes_of_it_also_by_the_next_process(rig: Rig) -> None:
    rig.http.when(lambda _: True, before=lost)
    told = set()
    for _ in range(4):
        await rig.cycle()
        with contextlib.closing(Readers(rig.path, rig.clock)) as readers:
            rig.circuit = Circuit(rig.clock, broken(readers)[NAME])
        [[state, error]] = rig.rows(SOURCE)
        told.add(error)
        [[_, error_of_the_cycle]] = rig.rows(BOOKS)

    [error] = told
    assert (state, error) == ("down", "GET: the connection was reset")
    assert re.fullmatch(rf"network fault since \S+, next try at \S+: {error}", error_of_the_cycle)


async def test_what_else_is_wrong_is_told_beside_what_opened_the_circuit(rig: Rig) -> None:
    rig.settings = replace(rig.settings, resources=ALL_TYPES)
    rig.http.when(lambda request: "/deviceGroups" in request.url, before=refused(403))
    rig.http.when(lambda request: "/enrollmentGroups" in request.url, before=lost)

    await rig.cycle()

    [[_, error]] = rig.rows(SOURCE)
    assert error.startswith("GET: the connection was reset; device-group: ")


async def test_a_cursor_that_dies_under_way_is_no_refusal_and_the_next_cycle_begins_again(rig: Rig) -> None:
    rig.cloud.faults = parse_faults("dead-cursor@3")

    await rig.cycle()

    [(state, error)] = rig.rows(SOURCE)
    assert (state, rig.rows(BOOKS)[0][0]) == ("down", "failed")
    assert "do not go on where the service said" in error
    rig.cloud.faults = ()
    assert (await rig.cycle()).complete
    assert rig.rows("SELECT state, resumed FROM listing ORDER BY id") == [("failed", 0), ("complete", 0)]


async def test_a_cursor_that_dies_in_a_resumed_listing_makes_it_begin_again_at_once(rig: Rig) -> None:
    rig.http.when(is_page(2), before=lost)
    await rig.cycle()
    rig.http.heal()
    rig.http.when(is_page(2), before=refused(400), times=1)

    done = await rig.cycle()

    assert done.error is None
    assert done.complete
    assert rig.documents() == rig.truth()
    assert rig.rows("SELECT state, resumed FROM listing ORDER BY id") == [("failed", 1), ("complete", 0)]


async def test_a_service_that_refuses_the_first_page_refuses_what_we_asked_for(rig: Rig) -> None:
    rig.http.when(is_list, before=refused(400))

    await rig.cycle()

    assert rig.rows("SELECT state FROM sources") == [("refused",)]
