import asyncio
from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from fleetsync.log import only_known_keys
from fleetsync.mirror.mirror import open_mirror
from fleetsync.providers.iot_central import KIND
from tests.daemon.rig import Rig, opened_rig
from tests.fakes.clock import FakeClock

Said = list[MutableMapping[str, Any]]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty database with the schema in it."""
    path = tmp_path_factory.mktemp("template") / "empty.db"

    async def make() -> None:
        async with open_mirror(path, [KIND], FakeClock()):
            pass

    asyncio.run(make())
    return path


@pytest.fixture(autouse=True)
def said() -> Iterator[Said]:
    """Return what is logged."""
    with structlog.testing.capture_logs(processors=[only_known_keys]) as said:
        yield said


@pytest.fixture
async def rig(tmp_path: Path, template: Path) -> AsyncIterator[Rig]:
    """Give a mirror without sources."""
    async with opened_rig(tmp_path / "fleetsync.db", template) as rig:
        yield rig
