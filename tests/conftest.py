"""What every test begins with."""

from collections.abc import Iterator

import pytest

from fleetsync import log


@pytest.fixture(autouse=True)
def fresh_log() -> Iterator[None]:
    """Undo what a command that ran in this process did to the log: it belongs to the process."""
    log.reset()
    yield
    log.reset()
