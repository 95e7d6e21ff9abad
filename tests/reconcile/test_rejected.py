"""Writes that the service rejects: sent again when that may help, and not in every cycle for ever."""

from collections.abc import AsyncIterator, Callable

import pytest

from fleetsync.core.plan import Result
from fleetsync.core.rejection import FIRST_S
from fleetsync.daemon.work import reply_of
from tests.fakes.http import is_write, refused
from tests.reconcile.rig import Rig, declare

UNKNOWN_TEMPLATE = declare({"template": "dtmi:contoso:nothing;1"}, where="id LIKE '%0001_'", name="moved")
DRIFT = 'SELECT DISTINCT state, "by" FROM drift'


@pytest.fixture
async def enforced(make: Callable[..., Rig]) -> AsyncIterator[Rig]:
    """Give a source that was written to once, where the service rejected some of it."""
    rig = make(page_size=3)
    rig.declarations = [
        UNKNOWN_TEMPLATE,
        declare({"displayName": "as declared"}, name="named", where="id LIKE '%0000_'"),
    ]
    async with rig.opened():
        done = await rig.cycle(write=True, asked=False)
        results = [one.result for one in done.outcomes]
        assert (results.count(Result.REJECTED), results.count(Result.APPLIED)) == (2, 10)
        yield rig


async def later(rig: Rig, seconds: float) -> int:
    """Return how many writes a cycle of the daemon sends so much later."""
    sent = rig.http.count(is_write)
    await rig.clock.advance(seconds - 60)  # a minute passes before each cycle
    await rig.cycle(write=True, asked=False)
    return rig.http.count(is_write) - sent


async def test_a_cycle_with_nothing_new_sends_no_write_that_was_rejected(enforced: Rig) -> None:
    before = enforced.content()
    for _ in range(3):
        assert await later(enforced, FIRST_S / 4) == 0
        assert enforced.content() == before
    [(state, by)] = enforced.rows(DRIFT)
    assert (state, by) == (
        "pending",
        "the service refused it (400): `apply` sends it again, the daemon at growing pauses",
    )


async def test_it_is_sent_again_at_growing_pauses_and_once_more_it_is_taken_it_is_over(enforced: Rig) -> None:
    assert await later(enforced, FIRST_S) == 2
    assert [await later(enforced, FIRST_S), await later(enforced, FIRST_S)] == [0, 2]
    assert [await later(enforced, 2 * FIRST_S), await later(enforced, 2 * FIRST_S)] == [0, 2]
    enforced.declarations = [declare({"displayName": "others"}, name="moved", where="id LIKE '%0001_'")]
    assert await later(enforced, 60) == 2, "another value is another write"
    assert enforced.rows(DRIFT) == []


async def test_a_person_who_applies_has_it_sent_at_once(enforced: Rig) -> None:
    for _ in range(2):
        sent = enforced.http.count(is_write)
        done = await enforced.cycle(write=True)
        assert enforced.http.count(is_write) == sent + 2
        assert reply_of(done, write=True).outcomes == {"rejected": 2}
    assert await later(enforced, FIRST_S) == 0, "it was rejected three times by now"


async def test_what_rests_does_not_count_against_the_limit_of_writes_and_stops_no_other(enforced: Rig) -> None:
    enforced.limit(max_writes=0.1, min_known=1)
    ids = sorted(enforced.truth())
    enforced.cloud.operator_edit(ids[0], {"displayName": "somebody else's"})
    assert await later(enforced, 60) == 1
    assert enforced.truth()[ids[0]]["displayName"] == "as declared"


async def test_without_the_right_to_write_a_few_are_tried_in_every_cycle(make: Callable[..., Rig]) -> None:
    rig = make(page_size=3)
    rig.declarations = [declare({"displayName": "as declared"})]
    rig.http.when(is_write, before=refused(403))
    async with rig.opened():
        assert await later(rig, 60) > 0
        assert await later(rig, 60) > 0
        rig.http.heal()
        assert await later(rig, 60) == 12
