"""A table that is being read: what is asked for is known, what is left over is a mistake."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from fleetsync.config.document import Document
from fleetsync.config.positions import Place
from fleetsync.config.values import Reader, UnfitError, as_table
from fleetsync.config.wording import kind_of, quote, suggestion
from fleetsync.core import path as dotted
from fleetsync.errors import Problem

T = TypeVar("T")
D = TypeVar("D")


class Table:
    """One table of a document. Problems go into `problems`, in the order in which they are found.

    A value that does not fit is noted and its default returned, so that one reading finds every mistake.
    """

    def __init__(
        self, document: Document, problems: list[Problem], place: Place = (), tree: Mapping[str, object] | None = None
    ) -> None:
        self._document = document
        self._problems = problems
        self._place = place
        self._tree = document.tree if tree is None else tree
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._tree

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree)

    @property
    def title(self) -> str:
        """Return the header of the table as TOML writes it, for an element of an array that of the array."""
        name = dotted.render(tuple(key for key in self._place if isinstance(key, str)))
        return f"[[{name}]]" if self._place and isinstance(self._place[-1], int) else f"[{name}]"

    def line_of(self, *below: str | int) -> int | None:
        """Return the line of what stands `below`, or of the nearest thing on the way to it."""
        return self._document.positions.line_of((*self._place, *below))

    def refuse(self, message: str, *below: str | int) -> None:
        """Note a problem with the table, or with what stands `below` it."""
        self._problems.append(self._document.problem((*self._place, *below), message))

    def take(self, key: str, reader: Reader[T], default: D) -> T | D:
        """Return the value of `key`; `default` where it is missing or does not fit."""
        self._asked.add(key)
        if key not in self._tree:
            return default
        return self._read(self._tree[key], reader, default, key)

    def require(self, key: str, reader: Reader[T]) -> T | None:
        """Return the value of `key`; None where it is missing or does not fit: both are noted."""
        if key not in self._tree:
            self.refuse(f"missing key {quote(key)} in {self.title}")
        return self.take(key, reader, None)

    def each(self, key: str, reader: Reader[T]) -> tuple[T, ...] | None:
        """Return the elements of the array `key` that fit; None where there is no such array."""
        elements = self.take(key, _as_elements, None)
        if elements is None:
            return None
        fit: list[T] = []
        for index, element in enumerate(elements):
            value = self._read(element, reader, None, key, index)
            if value is not None and value in fit:
                self.refuse(f"{quote(key)} holds the same element twice", key, index)
            elif value is not None:
                fit.append(value)
        return tuple(fit)

    def table(self, key: str) -> "Table":
        """Return the table `key`, an empty one where it is missing."""
        tree = self.take(key, as_table, None)
        if tree is None and key in self:
            return Table(self._document, [], (*self._place, key), {})  # one problem is enough: it is no table
        return self._below(tree or {}, key)

    def tables(self, key: str) -> Iterator["Table"]:
        """Yield the tables of the array of tables `key`."""
        for index, tree in enumerate(self.take(key, _as_tables, [])):
            yield self._below(tree, key, index)

    def close(self, remark: str = "") -> None:
        """Note every key that nobody asked for; `remark` says why it might not belong here."""
        where = f" in {self.title}" if self._place else ""
        for key in self._tree:
            if key not in self._asked:
                meant = suggestion(key, self._asked.difference(self._tree))
                self.refuse(f"unknown key {quote(key)}{where}{remark}{meant}", key)

    def _read(self, value: object, reader: Reader[T], default: D, key: str, *below: int) -> T | D:
        try:
            return reader(value)
        except UnfitError as error:
            self.refuse(f"{quote(key)} {error}", key, *below)
            return default

    def _below(self, tree: Mapping[str, object], *below: str | int) -> "Table":
        return Table(self._document, self._problems, (*self._place, *below), tree)


def _as_tables(value: object) -> list[Mapping[str, object]]:
    if not isinstance(value, list) or not all(isinstance(element, dict) for element in value):
        raise UnfitError(f"must be an array of tables, each under its own [[…]], not {kind_of(value)}")
    return value


def _as_elements(value: object) -> list[object]:
    if not isinstance(value, list):
        raise UnfitError(f"must be an array, not {kind_of(value)}")
    if not value:
        raise UnfitError("must not be empty; without the key its default holds")
    return value
