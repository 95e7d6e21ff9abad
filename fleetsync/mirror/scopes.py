"""What an earlier process stored of the quota scopes."""

import datetime
from collections import defaultdict

from fleetsync.core.pace import StoredPace, StoredScope
from fleetsync.mirror.reader import Reader


def stored_scopes(reader: Reader) -> dict[str, StoredScope]:
    """Return what is stored, by scope."""
    paces: defaultdict[str, list[StoredPace]] = defaultdict(list)
    for scope, operation, per_s, at, held_until, why in reader.rows(
        "SELECT scope, operation, per_s, at, held_until, why FROM pace ORDER BY scope, operation"
    ):
        until = None if held_until is None else datetime.datetime.fromisoformat(held_until)
        found = StoredPace(
            operation=operation, per_s=per_s, at=datetime.datetime.fromisoformat(at), held_until=until, why=why
        )
        paces[scope].append(found)
    spent: defaultdict[str, dict[datetime.date, int]] = defaultdict(dict)
    for scope, day, cost in reader.rows("SELECT scope, day, cost FROM spending"):
        spent[scope][datetime.date.fromisoformat(day)] = cost
    return {scope: StoredScope(paces=tuple(paces[scope]), spent=spent[scope]) for scope in paces.keys() | spent.keys()}
