"""kill -9 at every request of a scenario: what is lost, what is done twice, what is true afterwards.

A kill is taken for what it is: nothing of ours runs any more. What was in the file at that instant, with its
journal, is copied aside, and the next process starts from the copy.
"""

import contextlib
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleetsync.transport.http import Request
from tests.fakes.http import Killed, is_list
from tests.reconcile.rig import Rig, declare

PAGES = 12
LATENCY_S = 0.6
MOST_AGAIN = 8
"""Pages that a kill may cost at two a second: those of one transaction, those that wait for it, the one on its way."""

NAMED = declare({"displayName": "as declared"}, where="id LIKE '%0001_'")
WARM = declare({"properties": {"targetTemperature": 21.5}}, "warm", where="id LIKE '%00001' OR id LIKE '%00004'")
REQUESTS = 30
"""Of the scenario when nobody kills it: 12 pages, 2 reads for the plan, 10 documents, 2 properties of 3 requests each."""


# Takes the cursor out of every transaction that stores pages: a mirror that is deliberately broken.
FORGET = """
    CREATE TRIGGER forget AFTER UPDATE OF cursor ON listing WHEN NEW.cursor IS NOT NULL
    BEGIN UPDATE listing SET cursor = NULL, cursor_at = NULL WHERE id = NEW.id; END
"""


@dataclass
class Scenario:
    """A first listing of 24 devices on 12 pages, then writes; and the same again after a kill."""

    make: Callable[..., Rig]
    forgetful: bool = False

    async def undisturbed(self) -> Rig:
        rig = self._rig()
        await self._live(rig)
        return rig

    async def killed_at(self, number: int, *, is_carried_out: bool) -> Rig:
        """Return the rig after the kill and one cycle of the next process."""
        rig = self._rig()
        survivor = rig.path.with_suffix(".survivor")

        def kill(request: Request) -> None:
            for suffix in ("", "-wal"):
                if Path(f"{rig.path}{suffix}").exists():
                    shutil.copyfile(f"{rig.path}{suffix}", f"{survivor}{suffix}")
            raise Killed(request.url)

        rig.http.on(number, **{"after" if is_carried_out else "before": kill})
        with pytest.raises(Killed):
            await self._live(rig)
        rig.path = survivor
        rig.http.heal()
        await self._live(rig)
        return rig

    def _rig(self) -> Rig:
        rig = self.make(page_size=2, devices=24)
        rig.http.latency_s = LATENCY_S
        rig.declarations = [NAMED, WARM]
        if self.forgetful:
            with contextlib.closing(sqlite3.connect(rig.path)) as connection:
                connection.execute(FORGET)
        return rig

    async def _live(self, rig: Rig) -> None:
        async with rig.opened():
            done = await rig.cycle(write=True)
            assert done.error is None


def check(rig: Rig, *, most_again: int) -> None:
    """Make sure that nothing acknowledged was lost and nothing was done twice."""
    assert rig.documents() == rig.truth()
    wanted = Counter((id, "displayName") for id in rig.truth() if id[-5:-1] == "0001")
    wanted += Counter((id, "targetTemperature") for id in rig.truth() if id.endswith(("00001", "00004")))
    assert Counter((write.id, write.members[0]) for write in rig.carried_out()) == wanted
    assert rig.rows("SELECT COUNT(*) FROM drift") == [(0,)]
    assert rig.rows("SELECT COUNT(*) FROM writes WHERE outcome = 'open'") == [(0,)]
    assert rig.rows("SELECT COUNT(*) FROM writes WHERE outcome = 'applied'") == [(wanted.total(),)]
    assert sorted(id for id, event in rig.events() if event == "added") == sorted(rig.truth())
    again = rig.http.count(is_list) - PAGES
    assert again <= most_again, f"{again} pages were asked for again"


async def test_the_scenario_is_what_the_kills_take_it_for(make: Callable[..., Rig]) -> None:
    rig = await Scenario(make).undisturbed()
    check(rig, most_again=0)
    assert rig.http.requests == REQUESTS
    assert {request.operation for request in rig.http.sent} == {"list", "read", "write"}


@pytest.mark.parametrize("is_carried_out", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, REQUESTS + 1))
async def test_a_kill_at_any_request_loses_nothing_and_doubles_nothing(
    make: Callable[..., Rig], number: int, is_carried_out: bool
) -> None:
    rig = await Scenario(make).killed_at(number, is_carried_out=is_carried_out)
    # A kill after the listing costs none of it: the next cycle lists anew because it is the next.
    check(rig, most_again=MOST_AGAIN if number <= PAGES else PAGES)


async def test_the_same_kill_is_noticed_where_cursors_are_not_committed(make: Callable[..., Rig]) -> None:
    rig = await Scenario(make, forgetful=True).killed_at(PAGES, is_carried_out=True)
    assert rig.documents() == rig.truth()
    with pytest.raises(AssertionError, match="pages were asked for again"):
        check(rig, most_again=MOST_AGAIN)
