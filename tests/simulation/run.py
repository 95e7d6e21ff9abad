"""Running histories: what has to be replaced in a process for it, and the empty database that all begin with."""

import asyncio
import contextlib
import logging
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from fleetsync import log
from fleetsync.mirror import engine
from fleetsync.mirror.mirror import open_mirror
from fleetsync.providers.base import all_kinds
from fleetsync.wiring import service, sources
from tests.fakes.clock import FakeClock
from tests.fakes.inline import run_inline
from tests.simulation.crash_points import Play, Played, Scenario
from tests.simulation.history import History, Told, memory
from tests.simulation.place import Place
from tests.simulation.places import KINDS
from tests.simulation.world import World


class Stage:
    """Where histories are run, one at a time."""

    def __init__(self, folder: Path) -> None:
        self._template = folder / "empty.db"
        self._world: World | None = None
        asyncio.run(self._make_template())

    async def _make_template(self) -> None:
        async with open_mirror(self._template, all_kinds().values(), FakeClock()):
            pass

    def history(self, seed: int, *, kinds: tuple[type[Place], ...] = KINDS, kill_at_point: int | None = None) -> Told:
        """Run the history of a seed."""
        history = History(seed, self._template, kinds=kinds, kill_at_point=kill_at_point)
        self._world = history.world
        log.configure("info", "json", history.world)  # type: ignore[arg-type]  # it writes and flushes
        return history.run()

    def play(self, scenario: Scenario) -> Played:
        """Play a scenario with all of its crashes."""
        play = Play(scenario, self._template)
        self._world = play.world
        log.configure("info", "json", play.world)  # type: ignore[arg-type]  # as above
        return play.run()

    def around(self, function: Callable[[], Any]) -> Any:
        """Call the database as the process that runs now."""
        process = self._world.process if self._world is not None else None
        return function() if process is None else process.around_database(function)

    def session(self, **options: object) -> Any:
        """Stand for `open_session`."""
        assert self._world is not None
        assert self._world.process is not None
        return self._world.process.session(**options)


class _Compiled:
    """Makes engines that know each other's compiled statements: a third of what a process costs is to compile them."""

    def __init__(self, create: Callable[..., AsyncEngine]) -> None:
        self._create = create
        self._first: Engine | None = None

    def __call__(self, *arguments: Any, **more: Any) -> AsyncEngine:
        """Stand for `create_async_engine`."""
        made = self._create(*arguments, **more)
        first = self._first = self._first or made.sync_engine
        made.sync_engine.dialect = made.sync_engine.pool._dialect = first.dialect
        made.sync_engine._compiled_cache = first._compiled_cache
        return made


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """Give a place to run histories at: no threads, no sockets, no sleeping, until the end of the block."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder, pytest.MonkeyPatch.context() as patch:
        made = Stage(Path(folder))
        patch.setattr(tempfile, "tempdir", folder)
        run_inline(patch, made.around)
        patch.setattr(engine, "create_async_engine", _Compiled(engine.create_async_engine))
        patch.setattr(service, "open_session", made.session)
        patch.setattr(sources, "open_session", made.session)
        try:
            yield made
        finally:
            structlog.reset_defaults()
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
