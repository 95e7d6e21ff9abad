import pytest

from fleetsync.core.words import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 writes"), (1, "1 write"), (2, "2 writes"), (11, "11 writes"), (21, "21 writes")]
)
def test_what_is_counted_is_singular_for_one_only(number: int, text: str) -> None:
    assert counted(number, "write") == text


def test_a_plural_may_be_irregular() -> None:
    assert [counted(number, "query", "queries") for number in (1, 2)] == ["1 query", "2 queries"]
