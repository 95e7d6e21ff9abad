import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import structlog

from fleetsync.log import only_known_keys
from fleetsync.mirror.mirror import open_mirror
from fleetsync.providers.base import all_kinds
from tests.fakes.clock import FakeClock
from tests.reconcile.rig import HUB, HUB_OPTIONS, Rig, make_rig


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty database with the schema in it."""
    path = tmp_path_factory.mktemp("template") / "empty.db"

    async def make() -> None:
        async with open_mirror(path, all_kinds().values(), FakeClock()):
            pass

    asyncio.run(make())
    return path


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with structlog.testing.capture_logs(processors=[only_known_keys]):
        yield


@pytest.fixture
def make(tmp_path: Path, template: Path) -> Callable[..., Rig]:
    """Return a maker of rigs; the caller opens their mirrors."""
    numbers = iter(range(1_000_000))
    return lambda **more: make_rig(tmp_path / f"{next(numbers)}.db", template, **more)


@pytest.fixture
async def hub(make: Callable[..., Rig]) -> AsyncIterator[Rig]:
    """Give an IoT Hub with twelve devices, five to a page."""
    made = make(settings=HUB, hub_page_size=5, **HUB_OPTIONS)
    async with made.opened():
        yield made


@pytest.fixture
async def rig(make: Callable[..., Rig]) -> AsyncIterator[Rig]:
    """Give a source with twelve devices, three to a page."""
    made = make(page_size=3)
    async with made.opened():
        yield made
