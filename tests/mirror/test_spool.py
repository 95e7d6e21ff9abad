"""What a plan finds: the same in memory and in a database of its own."""

import pytest

from fleetsync.mirror.spool import Chunks, Sorted

KEYS = [("module", "b"), ("device", "é"), ("device", "b"), ("device", "B"), ("module", "a"), ("device", "b")]


@pytest.mark.parametrize("size", [1, 300_000])
@pytest.mark.parametrize("rounds", [1, 100])
def test_items_come_by_their_keys_and_those_of_one_key_as_they_came(rounds: int, size: int) -> None:
    found: Sorted[bytes] = Sorted(lambda value: value[:9])
    values = [b"%09d" % number for number in range(rounds * len(KEYS))][: 1200 // (1 + size // 10_000)]
    for number, value in enumerate(values):
        found.add(*KEYS[number % len(KEYS)], value + b"." * size)
    expected = sorted(values, key=lambda value: KEYS[int(value) % len(KEYS)])
    assert list(found) == expected
    assert found[-1] == expected[-1]
    found.add("device", "", b"the first")
    assert list(found) == [b"the first", *expected]
    assert len(found) == len(expected) + 1


@pytest.mark.parametrize("count", [3, 700])
def test_pieces_come_by_their_number_and_each_under_its_name(count: int) -> None:
    kept = Chunks()
    for number in reversed(range(count)):
        kept.put("one", number, b"%d" % number)
    kept.put("other", 0, b"else")
    assert list(kept.of("one")) == [(number, b"%d" % number) for number in range(count)]
    kept.put("one", count, b"last")
    assert list(kept.of("one"))[-1] == (count, b"last")
    assert list(kept.of("other")) == [(0, b"else")]
    assert list(kept.of("none")) == []


def test_what_is_little_needs_no_database_and_what_is_much_is_not_kept_in_memory() -> None:
    little, much = Chunks(), Chunks()
    little.put("", 1, bytes(1000))
    for number in range(3):
        much.put("", number, bytes(600_000))
    assert little._connection is None
    assert much._connection is not None
    assert much._waiting_bytes < 1024 * 1024
