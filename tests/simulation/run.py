"""Running histories: what has to be replaced in a process for it, and the empty database that all begin with."""

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite.core
import pytest

from fleetsync import log
from fleetsync.mirror import engine
from fleetsync.mirror.mirror import open_mirror
from fleetsync.providers.base import all_kinds
from fleetsync.wiring import configuration, service, sources
from tests.fakes.clock import FakeClock
from tests.fakes.inline import run_inline
from tests.simulation.crash_points import Play, Played, Scenario
from tests.simulation.database import Engines, Faults, queue_with
from tests.simulation.history import History, Told, memory
from tests.simulation.place import Place
from tests.simulation.places import KINDS
from tests.simulation.sizes import TINY
from tests.simulation.world import World

T = TypeVar("T")


class Stage:
    """Where histories are run, one at a time."""

    def __init__(self, folder: Path) -> None:
        self._template = folder / "empty.db"
        self._world: World | None = None
        self._count = 0
        asyncio.run(self._make_template())

    async def _make_template(self) -> None:
        async with open_mirror(self._template, all_kinds().values(), FakeClock()):
            pass

    def history(self, seed: int, *, kinds: tuple[type[Place], ...] = KINDS, collect: bool = True) -> Told:
        """Run the history of a seed; `collect`: this process goes on for long."""
        history = History(seed, self._template, kinds=kinds)
        self._world = history.world
        log.configure("debug" if history.world.logs_everything else "info", "json", history.world)  # type: ignore[arg-type]  # it writes and flushes
        told = history.run()
        return self._collected(told) if collect else told

    @contextlib.contextmanager
    def set(self, seed: int, kinds: tuple[type[Place], ...]) -> Iterator[World]:
        """Give a world in which nothing happens but what is done in the block."""
        with tempfile.TemporaryDirectory(dir=memory()) as folder:
            world = self._world = World(Path(folder), self._template, seed, kinds, TINY)
            log.configure("info", "json", world)  # type: ignore[arg-type]  # as above
            try:
                yield world
            finally:
                if world.process is not None:
                    world.bury()

    def play(self, scenario: Scenario) -> Played:
        """Play a scenario with all of its crashes."""
        play = Play(scenario, self._template)
        self._world = play.world
        log.configure("info", "json", play.world)  # type: ignore[arg-type]  # as above
        return self._collected(play.run())

    def _collected(self, result: T) -> T:
        self._count += 1
        if self._count % _COLLECT == 0:
            self.forget()
        return result

    def forget(self) -> None:
        """Let go of all histories."""
        self._world = None
        gc.collect()

    def around(self, function: Callable[[], Any]) -> Any:
        """Call the database as the process that runs now."""
        process = self._world.process if self._world is not None else None
        return function() if process is None else process.around_database(function)

    def keep(self, connection: Any) -> None:
        """Stand for what keeps a connection until the process ends."""
        if self._world is not None and self._world.process is not None:
            self._world.process.unclosed.append(connection)

    def session(self, **options: object) -> Any:
        """Stand for `open_session`."""
        assert self._world is not None
        assert self._world.process is not None
        return self._world.process.session(**options)


_COLLECT = 24
"""After so many histories the circles that they leave behind are looked for; while they go on it would only cost time."""


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """Give a place to run histories at: no threads, no sockets, no sleeping, until the end of the block."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder, pytest.MonkeyPatch.context() as patch, _uncollected():
        made = Stage(Path(folder))
        patch.setattr(tempfile, "tempdir", folder)
        run_inline(patch)
        patch.setattr(aiosqlite.core, "SimpleQueue", queue_with(made.around))
        patch.setattr(engine, "create_engine", Engines())
        patch.setattr(engine, "_never_close", made.keep)
        patch.setattr(configuration, "faults_of", Faults())
        patch.setattr(service, "open_session", made.session)
        patch.setattr(sources, "open_session", made.session)
        try:
            yield made
        finally:
            log.reset()
            logging.disable(logging.NOTSET)
            sys.stdout.flush()


def histories(seeds: Sequence[int], jobs: int) -> Iterator[Told]:
    """Run the histories of these seeds, on so many processors, and give what came of each as it ends."""
    with stage() as made:
        alone = len(seeds) if jobs == 1 else _WARM
        for seed in seeds[:alone]:
            yield made.history(seed)
        made.forget()
        rest = [seeds[first : first + _ROW] for first in range(alone, len(seeds), _ROW)]
        rows: dict[Connection, BaseProcess] = {}
        while rest or rows:
            while rest and len(rows) < jobs:
                mine, theirs = Pipe(duplex=False)
                arguments = made, rest.pop(0), theirs
                row = multiprocessing.get_context("fork").Process(target=_run_row, args=arguments, daemon=True)
                row.start()
                theirs.close()
                rows[mine] = row
            for told in wait(list(rows)):
                assert isinstance(told, Connection)
                try:
                    yield told.recv()
                except EOFError:
                    rows[told].join()
                    if rows.pop(told).exitcode:
                        raise RuntimeError("a process that ran histories ended in the middle of it") from None


_WARM = 8
"""After so many histories most statements are compiled, and whoever is forked has them."""
_ROW = 40
"""So many histories a process runs, one after the other: it ends before what they leave behind is too much."""


def _run_row(made: Stage, seeds: Sequence[int], to: Connection) -> None:
    """Run histories in a process of their own, which never looks for circles, and has no time for goodbyes."""
    for seed in seeds:
        told = made.history(seed, collect=False)
        to.send(told if told.violations else replace(told, log=[]))
    to.close()
    os._exit(0)
