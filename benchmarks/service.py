"""The stand-in as a process, and words to it; a mirror that was made without any."""

import contextlib
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path


class Service:
    """A stand-in that runs."""

    def __init__(self, base: str, shape: str) -> None:
        self.base = base
        self.shape = shape

    def change(self, share: float) -> None:
        """Give so many devices another description."""
        self._tell(f"change/{share}")

    def wait(self, milliseconds: float) -> None:
        """Answer each page so much later."""
        self._tell(f"wait/{milliseconds}")

    def _tell(self, what: str) -> None:
        request = urllib.request.Request(f"{self.base}/control/{what}", method="POST")
        urllib.request.urlopen(request).read()


@contextlib.contextmanager
def serving(devices: int, *, shape: str = "central", order: str = "random") -> Iterator[Service]:
    """Give a stand-in for the block."""
    with started("benchmarks.standin", str(devices), shape, order) as base:
        yield Service(base, shape)


@contextlib.contextmanager
def started(module: str, *arguments: str) -> Iterator[str]:
    """Run a server that prints its port, and give its address, for the block."""
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True, cwd=root
    ) as one:
        try:
            assert one.stdout is not None
            yield f"http://127.0.0.1:{int(one.stdout.readline())}"
        finally:
            one.terminate()


def mirrored(folder: Path, devices: int) -> Path:
    """Make a configuration and its database with so many devices in it; return the configuration.

    A process does it: the peak of any that is measured would begin with what this one holds.
    """
    command = [sys.executable, "-m", "benchmarks.mirrored", str(folder), str(devices)]
    subprocess.run(command, check=True, cwd=Path(__file__).parent.parent)
    return folder / "config.toml"
