from collections.abc import Callable
from dataclasses import replace

import pytest

from fleetsync.simulator import Cloud, Options
from tests.simulator.client import ArmClient, Client, HandClock, HubClient

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


@pytest.fixture
def make_hub(clock: HandClock) -> Callable[..., HubClient]:
    """Return a maker of clients of an IoT Hub with sixty devices, no limits, and an index that lags by a second."""
    options = replace(
        OPTIONS, kinds=("iot-central", "iot-hub"), hub_devices=60, hub_tier="none", hub_page_size=25, index_lag_s=1.0
    )

    def made(**changes: object) -> HubClient:
        return HubClient(cloud=Cloud(replace(options, **changes), now=clock), clock=clock)  # type: ignore[arg-type]

    return made


@pytest.fixture
def hub(make_hub: Callable[..., HubClient]) -> HubClient:
    return make_hub()


@pytest.fixture
def make_arm(clock: HandClock) -> Callable[..., ArmClient]:
    """Return a maker of clients of Azure Resource Manager with forty Sphere devices, short pages and no limits."""
    options = replace(
        OPTIONS,
        listen="127.0.0.1:8080",
        kinds=("sphere-arm", "iot-hub-arm"),
        sphere_devices=40,
        arm_rate="none",
        arm_page_size=10,
    )

    def made(**changes: object) -> ArmClient:
        return ArmClient(cloud=Cloud(replace(options, **changes), now=clock), clock=clock)  # type: ignore[arg-type]

    return made


@pytest.fixture
def arm(make_arm: Callable[..., ArmClient]) -> ArmClient:
    return make_arm()
