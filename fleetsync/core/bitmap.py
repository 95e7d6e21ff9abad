"""A set of row numbers that costs a bit each and can be stored in chunks."""

from collections.abc import Iterable, Iterator, Mapping

CHUNK_BYTES = 1024
CHUNK_BITS = CHUNK_BYTES * 8


class Bitmap:
    """Row numbers from 0 up; a million neighbours take 125 kB.

    It knows which chunks changed since they were last taken, so that a commit stores those alone.
    """

    def __init__(self, chunks: Mapping[int, bytes] | None = None) -> None:
        self._chunks = {index: bytearray(bits) for index, bits in (chunks or {}).items()}
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
        return ((index, bytes(self._chunks[index])) for index in sorted(self._chunks))

    def add(self, numbers: Iterable[int]) -> None:
        """Put `numbers` in; those that are in already change nothing."""
        for number in numbers:
            index, bit = divmod(number, CHUNK_BITS)
            chunk = self._chunks.get(index)
            if chunk is None:
                chunk = self._chunks[index] = bytearray(CHUNK_BYTES)
            mask = 1 << (bit & 7)
            if not chunk[bit >> 3] & mask:
                chunk[bit >> 3] |= mask
                self._changed.add(index)

    def changed(self) -> dict[int, bytes]:
        """Return the chunks that changed since `saved()` was last called."""
        return {index: bytes(self._chunks[index]) for index in sorted(self._changed)}

    def saved(self) -> None:
        """Take note that what `changed()` returned is stored durably."""
        self._changed.clear()
