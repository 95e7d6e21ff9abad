"""What the daemon did not take over when it was told to reload: `status` shows it to whoever runs it."""

from collections.abc import Iterable

from sqlalchemy import delete, insert

from fleetsync.clock import Clock
from fleetsync.errors import Problem
from fleetsync.mirror.engine import Writer
from fleetsync.mirror.tables import reload


class Reloads:
    """The problems of the last reload, while there are any."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    async def refuse(self, problems: Iterable[Problem]) -> None:
        """Store why a configuration was refused, instead of what there was."""
        at = self._clock.now()
        rows = [{"at": at, "file": one.file, "line": one.line, "message": one.message} for one in problems]
        async with self._writer.transaction() as transaction:
            await transaction.run(delete(reload))
            await transaction.run(insert(reload), rows)

    async def accept(self) -> None:
        """Take note that the configuration that is in the files is the one that runs."""
        async with self._writer.transaction() as transaction:
            await transaction.run(delete(reload))
