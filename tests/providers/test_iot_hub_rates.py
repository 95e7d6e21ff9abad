"""The throttle table, row by row, as the service documents it."""

import pytest

from fleetsync.core.bucket import Rate
from fleetsync.providers._iot_hub_rates import DAILY, OPERATIONS, quota

ROWS = ("query", "twin_read", "twin_write", "registry", "configuration")
SMALL = (20, 6_000, 3_000, 100, 20)


@pytest.mark.parametrize(
    ("tier", "units", "per_minute", "daily"),
    [
        ("F1", 1, SMALL, 8_000),
        ("B1", 1, SMALL, 400_000),
        ("S1", 1, SMALL, 400_000),
        ("S1", 3, (60, 6_000, 3_000, 300, 60), 1_200_000),
        ("B2", 1, SMALL, 6_000_000),
        ("S2", 1, SMALL, 6_000_000),
        ("S2", 10, (200, 6_000, 3_000, 1_000, 200), 60_000_000),
        ("S2", 20, (400, 12_000, 6_000, 2_000, 400), 120_000_000),
        ("B3", 1, (1_000, 30_000, 15_000, 5_000, 20), 300_000_000),
        ("S3", 2, (2_000, 60_000, 30_000, 10_000, 40), 600_000_000),
    ],
)
def test_the_figures_of_a_tier(tier: str, units: int, per_minute: tuple[int, ...], daily: int) -> None:
    found = quota(tier, units)
    assert OPERATIONS == ROWS
    assert [found.classes[row].per_s * 60 for row in ROWS] == pytest.approx(per_minute)
    assert found.total is None
    assert found.daily == daily


def test_a_burst_is_a_tenth_of_a_second_and_at_least_one() -> None:
    classes = quota("S1", 1).classes
    assert classes["twin_read"] == Rate(per_s=100.0, burst=10.0)
    assert classes["query"].burst == 1.0


def test_a_message_is_four_kilobytes_and_the_registry_is_free() -> None:
    assert [DAILY.cost(size) for size in (0, 1, 4096, 4097, 150_000)] == [1, 1, 1, 2, 37]
    assert DAILY.operations == {"query", "twin_read", "twin_write"}
