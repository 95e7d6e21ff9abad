"""Running histories: what has to be replaced in a process for it, and the empty database that all begin with."""

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite.core
import pytest

from fleetsync import log
from fleetsync.mirror import engine
from fleetsync.mirror.mirror import open_mirror
from fleetsync.providers.base import all_kinds
from fleetsync.wiring import service, sources
from tests.fakes.clock import FakeClock
from tests.fakes.inline import run_inline
from tests.simulation.crash_points import Play, Played, Scenario
from tests.simulation.database import Engines, queue_with
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

    def history(self, seed: int, *, kinds: tuple[type[Place], ...] = KINDS) -> Told:
        """Run the history of a seed."""
        history = History(seed, self._template, kinds=kinds)
        self._world = history.world
        log.configure("debug" if history.world.logs_everything else "info", "json", history.world)  # type: ignore[arg-type]  # it writes and flushes
        return self._collected(history.run())

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
            self._world = None
            gc.collect()
        return result

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
    if jobs == 1 or len(seeds) == 1:
        with stage() as made:
            for seed in seeds:
                yield made.history(seed)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_prepare) as pool:
        for first in range(0, len(seeds), _AHEAD):
            some = seeds[first : first + _AHEAD]
            for done in as_completed([pool.submit(_one, seed) for seed in some]):
                yield done.result()


_AHEAD = 1000
_own: list[Stage] = []
"""The stage of this process, if it is one that only runs histories."""


def _prepare() -> None:
    staged = contextlib.ExitStack()
    _own.append(staged.enter_context(stage()))
    # A child of a pool leaves without the usual goodbyes.
    Finalize(None, staged.close, exitpriority=10)


def _one(seed: int) -> Told:
    told = _own[0].history(seed)
    return told if told.violations else replace(told, log=[])
