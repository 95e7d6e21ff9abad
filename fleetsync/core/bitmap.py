"""A set of row numbers that costs a bit each and can be stored in chunks."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

CHUNK_BYTES = 1024
CHUNK_BITS = CHUNK_BYTES * 8
MOST_RUNS = 64
"""So many are given out: all of them are stored together, time and again."""
_ONE = ord("1")

Run = tuple[int, int]
"""The first and the last of numbers that follow one another."""


class Bitmap:
    """Row numbers from 0 up; a million neighbours take 125 kB.

    It knows which chunks changed since they were last stored, so that a commit stores those alone; and what of it is
    runs, which are stored as two numbers each.
    """

    def __init__(self, chunks: Mapping[int, bytes] | None = None, runs: Iterable[Run] = ()) -> None:
        self._chunks = dict(chunks or {})
        self._changed: set[int] = set()
        self._runs: dict[int, Run] = {}
        for first, last in runs:
            self.add(range(first, last + 1))

    def __contains__(self, number: int) -> bool:
        index, bit = divmod(number, CHUNK_BITS)
        chunk = self._chunks.get(index)
        return chunk is not None and bool(chunk[bit >> 3] & (1 << (bit & 7)))

    def __len__(self) -> int:
        return sum(int.from_bytes(chunk, "little").bit_count() for chunk in self._chunks.values())

    def __iter__(self) -> Iterator[int]:
        for index in sorted(self._chunks):
            for offset in self.offsets(index):
                yield index * CHUNK_BITS + offset

    def offsets(self, index: int) -> Iterator[int]:
        """Yield the numbers in a chunk, counted from its begin."""
        for byte, bits in enumerate(self._chunks.get(index, b"")):
            for bit in range(8) if bits else ():
                if bits & (1 << bit):
                    yield byte * 8 + bit

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield the chunks in which there is anything, by number."""
        return ((index, self._chunks[index]) for index in sorted(self._chunks))

    def add(self, numbers: Iterable[int]) -> None:
        """Put `numbers` in; those that are in already change nothing."""
        if isinstance(numbers, range) and numbers.step == 1:
            self._add_range(numbers)
            return
        ordered = sorted(set(numbers))
        if ordered and ordered[-1] - ordered[0] < len(ordered):  # they follow one another
            self._add_range(range(ordered[0], ordered[-1] + 1))
            return
        begin = 0
        while begin < len(ordered):
            index = ordered[begin] // CHUNK_BITS
            end = bisect_left(ordered, (index + 1) * CHUNK_BITS, begin)
            self._put(index, _bits([number % CHUNK_BITS for number in ordered[begin:end]]))
            begin = end

    def unite(self, index: int, bits: bytes) -> None:
        """Put all numbers of a chunk in that these bits stand for."""
        self._put(index, int.from_bytes(bits, "little"))

    def _add_range(self, numbers: range) -> None:
        begin = numbers.start
        while begin < numbers.stop:
            index, offset = divmod(begin, CHUNK_BITS)
            count = min(CHUNK_BITS - offset, numbers.stop - begin)
            self._put(index, ((1 << count) - 1) << offset)
            begin += count

    def _put(self, index: int, bits: int) -> None:
        before = int.from_bytes(self._chunks.get(index, b""), "little")
        if before | bits != before:
            self._chunks[index] = (before | bits).to_bytes(CHUNK_BYTES, "little")
            self._changed.add(index)
            self._note_run(index, before | bits)

    def _note_run(self, index: int, bits: int) -> None:
        """Take note of the one run that a chunk is, if it is one."""
        first, end = (bits & -bits).bit_length() - 1, bits.bit_length()
        if bits.bit_count() == end - first:
            begin = index * CHUNK_BITS
            self._runs[index] = begin + first, begin + end - 1
        else:
            self._runs.pop(index, None)

    def in_runs(self) -> tuple[list[Run], dict[int, bytes]]:
        """Return what of it is runs of neighbours, all that there is, and the other chunks that changed.

        Both are what there was to store, since `saved()` was last called with such chunks; what was stored as a chunk
        before may be in a run now. There are at most `MOST_RUNS`.
        """
        runs: list[Run] = []
        held: set[int] = set()
        for index, (first, last) in sorted(self._runs.items()):
            if runs and runs[-1][1] + 1 == first:
                runs[-1] = runs[-1][0], last
            elif len(runs) < MOST_RUNS:
                runs.append((first, last))
            else:
                break
            held.add(index)
        return runs, {index: self._chunks[index] for index in sorted(self._changed - held)}

    def changed(self) -> dict[int, bytes]:
        """Return the chunks that changed since they were saved."""
        return {index: self._chunks[index] for index in sorted(self._changed)}

    def saved(self, chunks: Iterable[int]) -> None:
        """Take note that these chunks are stored durably."""
        self._changed.difference_update(chunks)


def _bits(offsets: Sequence[int]) -> int:
    """Return a number with the bits at `offsets`, which are sorted and all different."""
    first, count = offsets[0], len(offsets)
    if offsets[-1] - first + 1 == count:
        return ((1 << count) - 1) << first
    digits = bytearray(b"0" * (offsets[-1] + 1))
    for offset in offsets:
        digits[-1 - offset] = _ONE
    return int(digits, 2)
