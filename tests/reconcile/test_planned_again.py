"""After an apply only what was written is looked at again; what is stored is what looking at everything would find."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest

from fleetsync.core.declaration import Declaration
from tests.reconcile.rig import Rig, declare

NAMED = {"displayName": "as declared"}
SOME = "id LIKE '%0001_'"
DECLARATIONS = {
    one.name: one
    for one in (
        declare(NAMED, name="named", where=f"{SOME} AND display_name <> 'as declared'"),
        declare(
            {"enabled": False}, name="by others", where="id IN (SELECT id FROM devices WHERE display_name LIKE 'as%')"
        ),
        declare(
            {"organizations": ["nordics"]},
            name="by their number",
            where="(SELECT count(*) FROM devices WHERE display_name = 'as declared') > 0",
        ),
        declare({"template": "dtmi:contoso:nothing;1"}, name="rejected", where="id LIKE '%00_'"),
        declare({"enabled": True}, name="rival", where="display_name = 'as declared' AND id LIKE '%1'"),
        declare({"displayName": "other"}, name="broken then", where="json_extract(display_name, '$') IS NULL"),
    )
}
STORED = (
    "SELECT type, resource_id, path, actual, declared, declaration, state, by FROM drift_leaf ORDER BY 1, 2, 3",
    "SELECT declaration, matched, drifting, error IS NULL FROM selection ORDER BY 1",
    "SELECT declaration, chunk, hex(bits) FROM selected ORDER BY 1, 2",
    "SELECT drifting FROM source",
)


def stored(rig: Rig) -> list[list[tuple[Any, ...]]]:
    return [rig.rows(sql) for sql in STORED]


@pytest.mark.parametrize("names", [*combinations(DECLARATIONS, 2), tuple(DECLARATIONS)], ids="-".join)
async def test_what_is_stored_is_what_looking_at_everything_finds(
    make: Callable[..., Rig], names: tuple[str, ...]
) -> None:
    rig = make(devices=24)
    for id in rig.truth():
        rig.cloud.operator_edit(id, {"displayName": '{"json":1}'})
    rig.declarations = [DECLARATIONS[name] for name in names]
    async with rig.opened():
        for _ in range(2):  # no longer than what was rejected rests
            done = await rig.cycle(write=True, asked=False)
            assert done.error is None
            after_writing = stored(rig)
            await rig.cycle()
            assert stored(rig) == after_writing


async def test_what_was_not_written_is_not_looked_at_again(make: Callable[..., Rig]) -> None:
    """A selector that goes by the time tells when a row was looked at last."""
    rig = make(devices=12)
    some = declare(NAMED, name="named", where=SOME)
    young: Declaration = declare({"enabled": True}, name="young", where="first_seen_at > ago('15 seconds')")
    rig.declarations = [some, young]
    rig.http.latency_s = 20.0
    async with rig.opened():
        await rig.cycle(write=True)
        written = {id for id, outcome in rig.outcomes() if outcome == "applied"}
        [(matched,)] = rig.rows("SELECT matched FROM declarations WHERE name = 'young'")
    assert 0 < len(written) < 12
    assert matched == 12 - len(written)
