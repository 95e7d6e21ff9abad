from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.bench import OPTIONS, RENAME, Bench, served


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with served(OPTIONS) as cloud:
        bench = Bench(folder=tmp_path, cloud=cloud)
        bench.configure()
        yield bench


@pytest.fixture
def synced(bench: Bench) -> Bench:
    """A bench whose fleet is mirrored, with one declaration that several pumps do not meet."""
    bench.declare(RENAME)
    bench.done("sync")
    return bench


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The same for tests that only look: they share it."""
    with served(OPTIONS) as cloud:
        bench = Bench(folder=tmp_path_factory.mktemp("mirrored"), cloud=cloud)
        bench.configure()
        bench.declare(RENAME)
        bench.done("sync")
        yield bench
