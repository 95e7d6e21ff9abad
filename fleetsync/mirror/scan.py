"""The selectors of many declarations in one pass over the rows of one type of one source.

Rows are looked at in chunks of their numbers, each for all selectors that go together. Where that fails or takes too
long, the selectors are halved until the one at fault stands alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from fleetsync.core.bitmap import CHUNK_BITS, CHUNK_BYTES, Bitmap
from fleetsync.core.declaration import Declaration
from fleetsync.core.model import ResourceType
from fleetsync.core.sql_text import reads_elsewhere, tokens
from fleetsync.errors import TooLongError, UsageError
from fleetsync.mirror.reader import Reader
from fleetsync.mirror.spool import Chunks

_AT_ONCE_S = 2.0
"""Selectors that go together may take so long for a chunk; hundreds of them take a tenth of that."""
_WORD_BITS = 60
"""So many selectors answer in one number, which has 64 bits, one of them for the sign."""

# What these return depends on whether a value comes straight from a JSON function; one that was put by forgets it.
_MINDFUL = frozenset({"json_array", "json_object", "json_quote"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows to look at: `select` gives those of a type with the columns of its view, the row number first."""

    source: str
    type: ResourceType
    view: str
    select: str
    columns: frozenset[str]


@dataclass(slots=True, kw_only=True)
class Matches:
    """Which rows one selector selects: a bitmap whose chunks are not in memory."""

    name: str
    kept: Chunks
    size: int = 0

    def __len__(self) -> int:
        return self.size

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield the chunks in which there is anything, by number."""
        return self.kept.of(self.name)


@dataclass(slots=True, kw_only=True)
class Scanned:
    """What a pass found: what each selector selects, and what is wrong with those that failed."""

    matches: Mapping[str, Matches]
    faults: dict[str, str] = field(default_factory=dict)
    masks: Chunks = field(default_factory=Chunks)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Selectors that go together, and how long they took for their last chunk."""

    names: tuple[str, ...]
    took_s: float = 0.0
    stays_alone: bool = False


class Scan:
    """One pass. Each selector has the reader's time limit to itself, and one that fails holds only itself."""

    def __init__(self, reader: Reader, rows: Rows, declarations: Sequence[Declaration]) -> None:
        self._reader = reader
        self._rows = rows
        self._where = {one.name: one.where or "1" for one in declarations}
        self._places = {name: place for place, name in enumerate(self._where)}
        self._words = {
            name: {token.text.strip('"').lower() for token in tokens(where)} for name, where in self._where.items()
        }
        self._left_s = dict.fromkeys(self._where, reader.time_limit_s)
        kept = Chunks()
        self._found = Scanned(matches={name: Matches(name=name, kept=kept) for name in self._where})

    def run(self) -> Scanned:
        """Run every selector over every row."""
        elsewhere = {name: self._over_all(name) for name, where in self._where.items() if reads_elsewhere(where)}
        groups = self._grouped(name for name in self._where if name not in elsewhere)
        chunks = self._chunks()
        # Whoever takes no longer for any chunk stays within the limit for all of them.
        allowed_s = min(_AT_ONCE_S, self._reader.time_limit_s / max(1, len(chunks)))
        for chunk in chunks:
            masks: dict[int, int] = {}
            looked = [done for group in groups for done in self._look(group, chunk, masks)]
            groups = _regrouped(looked, allowed_s)
            for name, bitmap in elsewhere.items():
                for offset in bitmap.offsets(chunk):
                    masks[offset] = masks.get(offset, 0) | 1 << self._places[name]
            self._keep(chunk, masks)
        return self._found

    def _grouped(self, names: Iterable[str]) -> list[_Group]:
        names = tuple(names)
        alone = tuple(name for name in names if self._words[name] & _MINDFUL)
        together = tuple(name for name in names if name not in alone)
        groups = [_Group(names=(name,), stays_alone=True) for name in alone]
        return [_Group(names=together), *groups] if together else groups

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

    def _look(self, group: _Group, chunk: int, masks: dict[int, int]) -> Iterator[_Group]:
        """Run selectors over a chunk; yield the groups that got through it."""
        names = group.names
        alone = names[0] if len(names) == 1 else None
        first = chunk * CHUNK_BITS
        began_s = self._reader.monotonic_s()
        try:
            rows = self._reader.rows(
                self._select_alone(alone, in_chunk=True) if alone is not None else self._select_together(names),
                (self._rows.source, first, first + CHUNK_BITS - 1),
                within_s=_AT_ONCE_S if alone is None else self._left_s[alone],
            )
            self._take(names, first, rows, masks)
        except (UsageError, TooLongError) as error:
            if alone is not None:
                self._found.faults[alone] = self._too_long() if isinstance(error, TooLongError) else str(error)
                return
            half = len(names) // 2
            for some in (names[:half], names[half:]):
                yield from self._look(_Group(names=some), chunk, masks)
            return
        took_s = self._reader.monotonic_s() - began_s
        if alone is not None:
            self._left_s[alone] -= took_s
        yield _Group(names=names, took_s=took_s, stays_alone=group.stays_alone)

    def _too_long(self) -> str:
        return f"it took longer than the limit of {self._reader.time_limit_s:g} s"

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

    def _select_alone(self, name: str, *, in_chunk: bool = False) -> str:
        # The plus keeps the index by key from being used: it would look at all rows for each chunk.
        chunk = " AND +source = ? AND no BETWEEN ? AND ?" if in_chunk else ""
        rows = self._rows
        return f"SELECT no FROM ({rows.select}) AS {rows.view} WHERE (\n{self._where[name]}\n){chunk}"

    def _select_together(self, names: Sequence[str]) -> str:
        """Return the SELECT of the numbers of all rows of a chunk, each with a bit for every selector.

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
            f" (SELECT {columns} FROM ({rows.select}) WHERE +source = ? AND no BETWEEN ? AND ?)"
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


def _regrouped(groups: Iterable[_Group], allowed_s: float) -> list[_Group]:
    """Halve groups in which one selector may be too slow; let neighbours that are quick go together again."""
    found: list[_Group] = []
    for group in groups:
        half = len(group.names) // 2
        if half and group.took_s > allowed_s:
            found += [_Group(names=some, took_s=allowed_s) for some in (group.names[:half], group.names[half:])]
        elif found and _may_join(found[-1], group, allowed_s):
            before = found.pop()
            found.append(_Group(names=before.names + group.names, took_s=before.took_s + group.took_s))
        else:
            found.append(group)
    return found


def _may_join(one: _Group, other: _Group, allowed_s: float) -> bool:
    return not (one.stays_alone or other.stays_alone) and one.took_s + other.took_s <= allowed_s / 2


def _places(mask: int) -> Iterator[int]:
    """Yield the places of the bits of a mask."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
