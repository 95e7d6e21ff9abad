import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetsync.mirror.mirror import open_mirror
from fleetsync.providers.iot_central import KIND
from tests.fakes.clock import FakeClock
from tests.mirror.bench import Bench, source_row


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty database with the schema in it."""
    path = tmp_path_factory.mktemp("template") / "empty.db"

    async def make() -> None:
        async with open_mirror(path, [KIND], FakeClock()):
            pass

    asyncio.run(make())
    return path


@pytest.fixture
def database(tmp_path: Path, template: Path) -> Path:
    path = tmp_path / "mirror.db"
    shutil.copyfile(template, path)
    return path


@pytest.fixture
async def bench(database: Path) -> AsyncIterator[Bench]:
    clock = FakeClock()
    async with open_mirror(database, [KIND], clock) as mirror:
        await mirror.cycles.register([source_row()], file="config.toml")
        yield Bench(mirror=mirror, clock=clock, path=database)
