import pytest

from fleetsync.core.duration import lasting


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7_199, "120 min"),
        (7_200, "2 h"),
        (172_799, "48 h"),
        (259_200, "3 d"),
    ],
)
def test_a_duration_is_told_in_the_largest_unit_of_which_it_has_two(seconds: float, text: str) -> None:
    assert lasting(seconds) == text
