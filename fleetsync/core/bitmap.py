"""A set of row numbers that costs a bit each and can be stored in chunks."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

CHUNK_BYTES = 1024
CHUNK_BITS = CHUNK_BYTES * 8
_ONE = ord("1")


class Bitmap:
    """Row numbers from 0 up; a million neighbours take 125 kB.

    It knows which chunks changed since they were last taken, so that a commit stores those alone.
    """

    def __init__(self, chunks: Mapping[int, bytes] | None = None) -> None:
        self._chunks = dict(chunks or {})
        self._changed: set[int] = set()

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

    def changed(self) -> dict[int, bytes]:
        """Return the chunks that changed since `saved()` was last called."""
        return {index: self._chunks[index] for index in sorted(self._changed)}

    def saved(self) -> None:
        """Take note that what `changed()` returned is stored durably."""
        self._changed.clear()


def _bits(offsets: Sequence[int]) -> int:
    """Return a number with the bits at `offsets`, which are sorted and all different."""
    first, count = offsets[0], len(offsets)
    if offsets[-1] - first + 1 == count:
        return ((1 << count) - 1) << first
    digits = bytearray(b"0" * (offsets[-1] + 1))
    for offset in offsets:
        digits[-1 - offset] = _ONE
    return int(digits, 2)
