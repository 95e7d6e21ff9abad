"""The selectors of many declarations in one pass over the rows of one type of one source.

Rows are looked at in chunks of their numbers, each for all selectors that go together. Where that fails or takes too
long, the selectors are halved until the one at fault stands alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import xor

import msgspec

from fleetsync.core.bitmap import CHUNK_BITS, CHUNK_BYTES, Bitmap
from fleetsync.core.declaration import Declaration
from fleetsync.core.model import ResourceType
from fleetsync.core.sql_text import reads_elsewhere, tokens
from fleetsync.errors import TooLongError, UsageError
from fleetsync.mirror.reader import Reader
from fleetsync.mirror.spool import Chunks

_AT_ONCE_S = 2.0
"""Selectors that go together may take so long for a chunk at first; hundreds of them take a tenth of that."""
_WORD_BITS = 60
"""So many selectors answer in one number, which has 64 bits, one of them for the sign."""

_NUMBERS = 500
"""So many rows that are named one by one go into one statement."""

# What these return depends on whether a value comes straight from a JSON function; one that was put by forgets it.
_MINDFUL = frozenset({"json_array", "json_object", "json_quote"})


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """The rows to look at: `select` gives those of a type with the columns of its view, the row number first."""

    source: str
    type: ResourceType
    view: str
    select: str
    columns: frozenset[str]


class Matches(msgspec.Struct, kw_only=True):
    """Which rows one selector selects: a bitmap whose chunks are not in memory."""

    name: str
    kept: Chunks
    size: int = 0

    def __len__(self) -> int:
        return self.size

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield the chunks in which there is anything, by number."""
        return self.kept.of(self.name)


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows one selector selects, by a first pass over all, and another one over those that it `looked` at."""

    first: Matches
    again: Matches
    looked: Bitmap

    def __len__(self) -> int:
        return sum(int.from_bytes(bits, "little").bit_count() for _, bits in self.chunks())

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield the chunks in which there is anything, by number."""
        old, new, looked = (dict(one.chunks()) for one in (self.first, self.again, self.looked))
        for chunk in sorted(old.keys() | new.keys()):
            before, since, over = (int.from_bytes(one.get(chunk, b""), "little") for one in (old, new, looked))
            if bits := before & ~over | since:
                yield chunk, bits.to_bytes(CHUNK_BYTES, "little")


class Scanned(msgspec.Struct, kw_only=True):
    """What a pass found: what each selector selects, and what is wrong with those that failed.

    `looked` are the rows that another pass looked at; None: all.
    """

    matches: Mapping[str, Matches]
    faults: dict[str, str] = msgspec.field(default_factory=dict)
    masks: Chunks = msgspec.field(default_factory=Chunks)
    looked: Bitmap | None = None

    def rows(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yield by number the rows that a selector without fault selects, each with the names of those."""
        names = tuple(self.matches)
        sound = sum(1 << index for index, name in enumerate(names) if name not in self.faults)
        for chunk, packed in self.masks.of(""):
            found: dict[int, tuple[str, ...]] = {}
            for text, offsets in msgspec.msgpack.decode(packed, type=dict[str, list[int]]).items():
                if mask := int(text, 16) & sound:
                    selecting = tuple(names[index] for index in _places(mask))
                    found.update(dict.fromkeys(offsets, selecting))
            for offset in sorted(found):
                yield chunk * CHUNK_BITS + offset, found[offset]


class _Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one chunk that are looked at in one statement: the condition for them, and its parameters."""

    chunk: int
    where: str
    parameters: tuple[int, ...]


class Scan:
    """One pass. Each selector has the reader's time limit to itself, and one that fails holds only itself.

    It looks at all rows or, after a `first` pass, again at those `among` which something was written; and at those that
    a selector that looks at other rows as well selects now and did not then, or the other way round.
    """

    def __init__(
        self,
        reader: Reader,
        rows: Rows,
        declarations: Sequence[Declaration],
        *,
        first: Scanned | None = None,
        among: Bitmap | None = None,
    ) -> None:
        self._reader = reader
        self._rows = rows
        self._where = {one.name: one.where or "1" for one in declarations}
        self._places = {name: place for place, name in enumerate(self._where)}
        self._words = {
            name: {token.text.strip('"').lower() for token in tokens(where)} for name, where in self._where.items()
        }
        self._left_s = dict.fromkeys(self._where, reader.time_limit_s)
        self._at_once_s = _AT_ONCE_S
        kept = Chunks()
        self._found = Scanned(matches={name: Matches(name=name, kept=kept) for name in self._where})
        elsewhere = [name for name, where in self._where.items() if reads_elsewhere(where)]
        self._alone = [name for name in self._where if name not in elsewhere and self._words[name] & _MINDFUL]
        self._together = [name for name in self._where if name not in elsewhere and name not in self._alone]
        self._elsewhere = {name: self._over_all(name) for name in elsewhere}
        if first is not None and among is not None:
            self._found.looked = among
            for name, matched in self._elsewhere.items():
                _add_differences(among, first.matches[name], matched)

    def run(self) -> Scanned:
        """Run every selector over every row."""
        together_s = 0.0
        for chunk, pieces in self._pieces():
            masks: dict[int, int] = {}
            for piece in pieces:
                for name in tuple(self._alone):
                    self._look_alone(name, piece, masks)
                together_s += self._look_together(piece, masks)
                if together_s > self._reader.time_limit_s:
                    self._seek_the_slowest(piece)
                    together_s = 0.0
            self._take_elsewhere(chunk, masks)
            self._keep(chunk, masks)
        return self._found

    def _pieces(self) -> Iterator[tuple[int, Iterable[_Piece]]]:
        """Yield the chunks in which there are any rows to look at, each with the pieces that it is looked at in."""
        looked = self._found.looked
        if looked is None:
            for chunk in self._chunks():
                first = chunk * CHUNK_BITS
                between = (first, first + CHUNK_BITS - 1)
                yield chunk, (_Piece(chunk=chunk, where="no BETWEEN ? AND ?", parameters=between),)
            return
        for chunk, _ in looked.chunks():
            numbers = tuple(chunk * CHUNK_BITS + offset for offset in looked.offsets(chunk))
            batches = (numbers[start : start + _NUMBERS] for start in range(0, len(numbers), _NUMBERS))
            yield chunk, (_Piece(chunk=chunk, where=_in(len(some)), parameters=some) for some in batches)

    def _take_elsewhere(self, chunk: int, masks: dict[int, int]) -> None:
        """Add what the selectors that look at other rows as well select of the rows of a chunk that are looked at."""
        looked = self._found.looked
        for name, bitmap in self._elsewhere.items():
            for offset in bitmap.offsets(chunk):
                if looked is None or chunk * CHUNK_BITS + offset in looked:
                    masks[offset] = masks.get(offset, 0) | 1 << self._places[name]

    def _chunks(self) -> list[int]:
        """Return the chunks of row numbers in which there are any rows to look at."""
        sql = f"SELECT DISTINCT no / {CHUNK_BITS} FROM resource WHERE source = ? AND type = ? ORDER BY 1"
        return [chunk for (chunk,) in self._reader.rows(sql, (self._rows.source, self._rows.type))]

    def _over_all(self, name: str) -> Bitmap:
        """Run a selector that looks at other rows as well once, for all rows."""
        matched = Bitmap()
        try:
            sql = f"{self._select_alone(name)} AND source = ?"
            matched.add(no for (no,) in self._reader.rows(sql, (self._rows.source,)))
        except (UsageError, TooLongError) as error:
            self._found.faults[name] = str(error)
        return matched

    def _look_together(self, piece: _Piece, masks: dict[int, int]) -> float:
        """Run the selectors that go together over a piece; return how many seconds it took."""
        before = tuple(self._together)
        began_s = self._reader.monotonic_s()
        was_late = self._halve(before, piece, masks) if before else False
        if was_late and len(self._together) == len(before):
            # Nobody is at fault but the machine.
            self._at_once_s = min(2 * self._at_once_s, self._reader.time_limit_s)
        return self._reader.monotonic_s() - began_s

    def _halve(self, names: tuple[str, ...], piece: _Piece, masks: dict[int, int]) -> bool:
        """Run selectors together, halved as long as that fails; say whether any of it took too long."""
        try:
            self._read(names, piece, masks, within_s=self._at_once_s)
        except (UsageError, TooLongError) as error:
            is_late = isinstance(error, TooLongError)
            if len(names) > 1:
                half = len(names) // 2
                is_late |= self._halve(names[:half], piece, masks)
                is_late |= self._halve(names[half:], piece, masks)
            elif is_late:
                self._put_alone(names[0])
                self._look_alone(names[0], piece, masks)
            else:
                self._together.remove(names[0])
                self._found.faults[names[0]] = str(error)
            return is_late
        return False

    def _look_alone(self, name: str, piece: _Piece, masks: dict[int, int]) -> None:
        """Run one selector over a piece, for as long as it has left."""
        try:
            self._left_s[name] -= self._read((name,), piece, masks, within_s=self._left_s[name])
        except (UsageError, TooLongError) as error:
            limit_s = self._reader.time_limit_s
            too_long = f"it took longer than the limit of {limit_s:g} s"
            self._alone.remove(name)
            self._found.faults[name] = too_long if isinstance(error, TooLongError) else str(error)

    def _put_alone(self, name: str) -> None:
        self._together.remove(name)
        self._alone.append(name)

    def _seek_the_slowest(self, piece: _Piece) -> None:
        """Put the selector alone that takes most of the time of all together, if there is one.

        They took as long as one may: half of that is its own.
        """
        names = tuple(self._together)
        all_s = slowest_s = 0.0
        while len(names) > 1:
            halves = names[: len(names) // 2], names[len(names) // 2 :]
            try:
                took_s = [self._read(half, piece, {}, within_s=self._reader.time_limit_s) for half in halves]
            except (UsageError, TooLongError):
                return  # the next chunk shows whose fault it is
            all_s = all_s or sum(took_s)
            slowest_s = max(took_s)
            names = halves[took_s.index(slowest_s)]
        if names and slowest_s > all_s / 2:
            self._left_s[names[0]] = self._reader.time_limit_s / 2
            self._put_alone(names[0])

    def _read(self, names: tuple[str, ...], piece: _Piece, masks: dict[int, int], *, within_s: float) -> float:
        """Run selectors over a piece in one statement; return how many seconds it took."""
        sql = self._select_together(names, piece) if len(names) > 1 else self._select_alone(names[0], piece)
        began_s = self._reader.monotonic_s()
        rows = self._reader.rows(sql, (self._rows.source, *piece.parameters), within_s=within_s)
        self._take(names, piece.chunk * CHUNK_BITS, rows, masks)
        return self._reader.monotonic_s() - began_s

    def _take(self, names: Sequence[str], first: int, rows: Iterable[tuple[int, ...]], masks: dict[int, int]) -> None:
        """Add what selectors say of each row to its mask."""
        if len(names) == 1:
            bit = 1 << self._places[names[0]]
            for (no,) in rows:
                masks[no - first] = masks.get(no - first, 0) | bit
            return
        shifts = [_WORD_BITS * word for word in self._in_words(names)]
        for no, *words in rows:
            if any(words):
                mask = masks.get(no - first, 0)
                for word, shift in zip(words, shifts, strict=True):
                    mask |= word << shift
                masks[no - first] = mask

    def _in_words(self, names: Iterable[str]) -> dict[int, list[str]]:
        words: dict[int, list[str]] = {}
        for name in names:
            words.setdefault(self._places[name] // _WORD_BITS, []).append(name)
        return words

    def _select_alone(self, name: str, piece: _Piece | None = None) -> str:
        # The plus keeps the index by key from being used: it would look at all rows for each piece.
        these = "" if piece is None else f" AND +source = ? AND {piece.where}"
        rows = self._rows
        return f"SELECT no FROM ({rows.select}) AS {rows.view} WHERE (\n{self._where[name]}\n){these}"

    def _select_together(self, names: Sequence[str], piece: _Piece) -> str:
        """Return the SELECT of the numbers of all rows of a piece, each with a bit for every selector.

        The columns are put by first, since those that are members of the document would be parsed for every selector.
        """
        rows = self._rows
        used = set().union(*(self._words[name] for name in names))
        columns = ", ".join(("no", *sorted(column for column in rows.columns if column.lower() in used)))
        words = (
            " | ".join(f"(((\n{self._where[name]}\n) IS TRUE) << {self._places[name] % _WORD_BITS})" for name in some)
            for some in self._in_words(names).values()
        )
        return (
            f"WITH {rows.view} AS MATERIALIZED"
            f" (SELECT {columns} FROM ({rows.select}) WHERE +source = ? AND {piece.where})"
            f" SELECT no, {', '.join(words)} FROM {rows.view}"
        )

    def _keep(self, chunk: int, masks: Mapping[int, int]) -> None:
        """Put a chunk by: its rows by mask, and a bitmap for each selector that selects any."""
        offsets: dict[int, list[int]] = {}
        for offset, mask in masks.items():
            offsets.setdefault(mask, []).append(offset)
        bits = [0] * len(self._places)
        for mask, some in offsets.items():
            these = sum(1 << offset for offset in some)
            for place in _places(mask):
                bits[place] |= these
        if offsets:
            packed = msgspec.msgpack.encode({f"{mask:x}": some for mask, some in offsets.items()})
            self._found.masks.put("", chunk, packed)
        for name, matches in self._found.matches.items():
            if these := bits[self._places[name]]:
                matches.size += these.bit_count()
                matches.kept.put(name, chunk, these.to_bytes(CHUNK_BYTES, "little"))


def _in(size: int) -> str:
    return f"no IN ({', '.join('?' * size)})"


def _add_differences(numbers: Bitmap, one: Matches, other: Bitmap) -> None:
    """Put in those numbers that are in one of two sets only."""
    before, after = dict(one.chunks()), dict(other.chunks())
    for chunk in before.keys() | after.keys():
        bits = (int.from_bytes(some.get(chunk, b""), "little") for some in (before, after))
        numbers.unite(chunk, xor(*bits).to_bytes(CHUNK_BYTES, "little"))


def _places(mask: int) -> Iterator[int]:
    """Yield the places of the bits of a mask."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
