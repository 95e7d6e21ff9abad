from collections.abc import Iterator

import pytest

from tests.simulation.run import Stage, stage


@pytest.fixture(scope="module")
def staged() -> Iterator[Stage]:
    """Give a place to run histories at, to one file: what is replaced for it is in nobody else's way."""
    with stage() as made:
        yield made
