"""Resources kept by id: what a service stores, in the order in which it lists."""

import base64
import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from fleetsync.simulator.wire import Object, encoded


@dataclass(slots=True, kw_only=True)
class Entry:
    """One resource as it was last written; a write makes a new entry."""

    id: str
    document: Object
    """All members but the id and the etag."""
    serial: int
    written_at: float
    text: bytes | None = None
    """The document as a list shows it; made when first asked for."""

    @property
    def guid(self) -> str:
        """Return the text that differs from every other write's, in the style of a Cosmos DB etag."""
        return f"{self.serial & 0xFFFFFFFF:08x}-0000-0d00-0000-{int(self.written_at) & 0xFFFFFFFF:08x}0000"


EtagForms: TypeAlias = Callable[[Entry], tuple[str, ...]]
"""Every text that stands for the entry's state; the first is what lists and reads show, the last what PUT answers."""


def header_etag(entry: Entry) -> tuple[str, ...]:
    """Return base64 without padding of JSON that holds a quoted GUID; after a PUT it holds a second one."""
    short = {"header": f'"{entry.guid}"'}
    long = {**short, "data": f'"{entry.guid.replace("-0d00-", "-0a00-")}"'}
    return tuple(base64.b64encode(encoded(form)).decode().rstrip("=") for form in (short, long))


def quoted_guid_etag(entry: Entry) -> tuple[str, ...]:
    """Return base64, with padding, of a quoted GUID."""
    return (base64.b64encode(f'"{entry.guid}"'.encode()).decode(),)


def quoted_etag(entry: Entry) -> tuple[str, ...]:
    """Return a text with literal quotes at both ends, as templates have it."""
    return (f'"~{base64.b64encode(entry.guid.encode()).decode()}"',)


def no_etag(_entry: Entry) -> tuple[str, ...]:
    """Return nothing: organizations have no etag."""
    return ()


class Collection:
    """All resources of one type, sorted by id.

    A continuation is "after this id", so a resource that is deleted while pages are read moves no other.
    """

    def __init__(self, *, id_member: str = "id", etags: EtagForms = header_etag) -> None:
        self.id_member = id_member
        self.etags = etags
        self._entries: dict[str, Entry] = {}
        self._ids: list[str] = []
        self._serial = 0x02008C32

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Entry]:
        return (self._entries[id_] for id_ in self._ids)

    @property
    def ids(self) -> tuple[str, ...]:
        """Return all ids in order."""
        return tuple(self._ids)

    def get(self, id_: str) -> Entry | None:
        """Return the resource, or None when there is none."""
        return self._entries.get(id_)

    def at(self, index: int) -> Entry:
        """Return the resource at an index, in the order of the ids."""
        return self._entries[self._ids[index]]

    def fill(self, documents: Iterable[tuple[str, Object]], *, at: float) -> None:
        """Add many new resources at once."""
        for id_, document in documents:
            self._serial += 1
            self._entries[id_] = Entry(id=id_, document=document, serial=self._serial, written_at=at)
        self._ids = sorted(self._entries)

    def put(self, id_: str, document: Object, *, at: float) -> Entry:
        """Store a resource, new or not; every call changes its etag."""
        if id_ not in self._entries:
            insort(self._ids, id_)
        self._serial += 1
        self._entries[id_] = Entry(id=id_, document=document, serial=self._serial, written_at=at)
        return self._entries[id_]

    def remove(self, id_: str) -> bool:
        """Remove a resource, and return whether it was there."""
        if self._entries.pop(id_, None) is None:
            return False
        del self._ids[bisect_left(self._ids, id_)]
        return True

    def page(self, *, after: str, size: int, where: Callable[[Entry], bool] | None = None) -> list[Entry]:
        """Return up to `size` resources whose ids sort after `after`; "" is before all."""
        start = self.rank(after)
        if where is None:
            return [self._entries[id_] for id_ in self._ids[start : start + size]]
        rest = (self._entries[id_] for id_ in islice(self._ids, start, None))
        return list(islice(filter(where, rest), size))

    def rank(self, after: str) -> int:
        """Return how many ids are not after `after`."""
        return bisect_right(self._ids, after) if after else 0

    def text(self, entry: Entry) -> bytes:
        """Return the resource as lists and reads show it."""
        if entry.text is None:
            entry.text = encoded(self.document(entry))
        return entry.text

    def document(self, entry: Entry, *, long_etag: bool = False) -> Object:
        """Return the resource with its id and etag; `long_etag` is the form of a PUT's answer."""
        etags = self.etags(entry)
        etag = {"etag": etags[-1 if long_etag else 0]} if etags else {}
        return {self.id_member: entry.id, **etag, **entry.document}


def patched(document: Mapping[str, object], patch: Mapping[str, object]) -> Object:
    """Return the document after a JSON merge patch (RFC 7396)."""
    result: Object = dict(document)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            inner = result.get(name)
            result[name] = patched(inner if isinstance(inner, Mapping) else {}, value)
        else:
            result[name] = value
    return result


def leaves(document: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every member that is no object."""
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def is_same(left: object, right: object) -> bool:
    """True when two documents are the same JSON, so that 1 and true differ and the order of members does not count."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
