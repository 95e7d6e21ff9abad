"""Sets of row numbers."""

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from fleetsync.core import bitmap as bitmap_module
from fleetsync.core.bitmap import CHUNK_BYTES, Bitmap

CHUNK = CHUNK_BYTES * 8
NUMBERS = st.sets(st.integers(0, 3 * CHUNK) | st.sampled_from([0, 7, 8, CHUNK - 1, CHUNK, 10 * CHUNK]))


def bitmap_of(numbers: set[int]) -> Bitmap:
    bitmap = Bitmap()
    bitmap.add(numbers)
    return bitmap


@given(NUMBERS, NUMBERS)
def test_it_is_the_set_of_what_was_put_in(first: set[int], second: set[int]) -> None:
    bitmap = bitmap_of(first)
    bitmap.add(second)
    assert list(bitmap) == sorted(first | second)
    assert len(bitmap) == len(first | second)
    assert all(number in bitmap for number in first | second)
    assert not any(number + 1 in bitmap for number in first | second if number + 1 not in first | second)


@given(NUMBERS)
def test_what_is_stored_in_chunks_is_the_same_set_again(numbers: set[int]) -> None:
    again = Bitmap(bitmap_of(numbers).changed())
    assert list(again) == sorted(numbers)
    assert again.changed() == {}


@given(NUMBERS, NUMBERS)
def test_only_chunks_that_changed_are_given_out_and_stored_in_turn_they_make_the_whole(
    first: set[int], second: set[int]
) -> None:
    bitmap, stored = bitmap_of(first), {}
    stored |= bitmap.changed()
    bitmap.saved(stored)
    bitmap.add(second)
    changed = bitmap.changed()
    assert changed.keys() == {number // CHUNK for number in second - first}
    assert list(Bitmap(stored | changed)) == sorted(first | second)


PIECES = st.lists(
    NUMBERS | st.tuples(st.integers(0, 3 * CHUNK), st.integers(0, 2 * CHUNK)).map(lambda at: range(at[0], sum(at)))
)


@given(PIECES, st.sampled_from([0, 1, 2, 64]), st.sets(st.integers(0, 20)))
def test_runs_and_the_other_chunks_are_the_whole_after_every_commit(
    pieces: list[set[int] | range], most: int, lost: set[int]
) -> None:
    bitmap, chunks = Bitmap(), {}
    with mock.patch.object(bitmap_module, "MOST_RUNS", most):
        for number, piece in enumerate(pieces):
            bitmap.add(piece)
            runs, others = bitmap.in_runs()
            assert len(runs) <= most
            if number in lost:  # the transaction was rolled back
                continue
            chunks |= others
            bitmap.saved(others)
            assert dict(Bitmap(chunks, runs).chunks()) == dict(bitmap.chunks())


@given(st.integers(0, 2 * CHUNK), st.integers(0, 2 * CHUNK))
def test_a_range_is_its_numbers(begin: int, count: int) -> None:
    one, other = Bitmap(), Bitmap()
    one.add(range(begin, begin + count))
    other.add(list(range(begin, begin + count)))
    assert dict(one.chunks()) == dict(other.chunks())


def test_what_follows_its_rows_is_one_run_and_no_chunk() -> None:
    bitmap = Bitmap()
    for begin in range(1, 100_001, 10_000):
        bitmap.add(range(begin, begin + 10_000))
        assert bitmap.in_runs() == ([(1, begin + 9_999)], {})
    bitmap.add([200_000, 200_002])
    assert bitmap.in_runs()[0] == [(1, 100_000)]
    assert list(bitmap.in_runs()[1]) == [200_000 // CHUNK]


def test_a_million_neighbours_take_an_eighth_of_a_megabyte() -> None:
    bitmap = Bitmap()
    bitmap.add(range(1_000_000))
    assert sum(map(len, bitmap.changed().values())) < 130_000
