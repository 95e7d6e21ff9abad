"""A bar for each source, for people who wait longer than a second."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fleetsync.cli.output import escaped
from fleetsync.clock import Clock
from fleetsync.reconcile.progress import Progress, Report, silent

if TYPE_CHECKING:
    from rich.progress import Progress as Display
    from rich.progress import TaskID

_PATIENCE_S = 1.0


@contextlib.contextmanager
def shown(clock: Clock) -> Iterator[Report]:
    """Give what shows progress on standard error; nothing is shown where that is no terminal."""
    if not sys.stderr.isatty():
        yield silent
        return
    bars = _Bars(clock)
    try:
        yield bars.report
    finally:
        bars.close()


class _Bars:
    """One bar a source, drawn once a second has passed and wiped at the end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self._display: Display | None = None
        self._bars: dict[str, TaskID] = {}

    def report(self, progress: Progress) -> None:
        """Move a source's bar."""
        if self._clock.monotonic_s() - self._began_s < _PATIENCE_S:
            return
        display = self._display = self._display or _display()
        text = f"{escaped(progress.source)}: {progress.step}"
        if progress.source not in self._bars:
            self._bars[progress.source] = display.add_task(text, total=None)
        display.update(
            self._bars[progress.source], description=text, completed=progress.done, total=progress.total, refresh=True
        )

    def close(self) -> None:
        """Wipe the bars."""
        if self._display is not None:
            self._display.stop()


def _display() -> "Display":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Display

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    display = Display(*columns, console=Console(stderr=True), transient=True)
    display.start()
    return display
