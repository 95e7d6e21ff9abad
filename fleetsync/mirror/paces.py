"""What rates were learned of a quota scope, and what its days have cost: stored for the next process."""

from msgspec.structs import asdict

from fleetsync.core.pace import StoredScope
from fleetsync.mirror.engine import Writer
from fleetsync.mirror.tables import pace, spending


class Paces:
    """The part of the mirror that remembers rates; `scopes.py` reads them."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def store(self, scope: str, changed: StoredScope) -> None:
        """Store the paces that changed, and add what was spent to what is stored of its days."""
        paces = [{"scope": scope} | asdict(one) for one in changed.paces]
        costs = [{"scope": scope, "day": day, "cost": cost} for day, cost in changed.spent.items()]
        async with self._writer.transaction() as transaction:
            await transaction.upsert(pace, ("scope", "operation"), paces)
            await transaction.upsert(spending, ("scope", "day"), costs, adding=frozenset({"cost"}))
