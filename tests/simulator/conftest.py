from collections.abc import Callable
from dataclasses import replace

import pytest

from fleetsync.simulator import Cloud, Options
from tests.simulator.client import Client, HandClock

OPTIONS = Options(devices=60, seed=7, rate="none", latency_s=0.0)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def make(clock: HandClock) -> Callable[..., Client]:
    """Return a maker of clients, each with a cloud of its own on the hand clock."""

    def made(**changes: object) -> Client:
        return Client(cloud=Cloud(replace(OPTIONS, **changes), now=clock), clock=clock)  # type: ignore[arg-type]

    return made


@pytest.fixture
def client(make: Callable[..., Client]) -> Client:
    return make()
