"""The declarations in the *.toml files of a folder, or everything that is wrong with them."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from fleetsync.config.desired import read_leaves
from fleetsync.config.document import read_document
from fleetsync.config.settings import Settings
from fleetsync.config.sources import UNKNOWN_KIND
from fleetsync.config.table import Table
from fleetsync.config.values import Reader, UnfitError, as_name, as_one_of, as_text, as_whole
from fleetsync.config.wording import quote
from fleetsync.core.declaration import ABSENT, Declaration
from fleetsync.core.kind import Kind
from fleetsync.core.model import DEVICE, ResourceType
from fleetsync.errors import ConfigError, Problem

_LOWEST = -(2**63)


class DeclarationSet(Struct, frozen=True, kw_only=True):
    """All declarations, by file and line, and what is wrong with them.

    With `problems` the declarations are what could be told all the same, to look for more problems with. That a
    `where` is SQL is for the mirror to say; `where_problem` puts a file and a line to what it says.
    """

    declarations: tuple[Declaration, ...]
    where_lines: Mapping[tuple[str, int], int]
    """By the place of the declaration: a name may be missing, or stand there twice."""
    problems: tuple[Problem, ...] = ()

    def where_problem(self, declaration: Declaration, reason: str) -> Problem:
        """Return a problem with the `where` of `declaration`."""
        line = self.where_lines.get((declaration.file, declaration.line), declaration.line)
        of = f" of {quote(declaration.name)}" if declaration.name else ""
        return Problem(message=f"`where`{of} {reason}", file=declaration.file, line=line)


def read_declarations(folder: Path, settings: Settings) -> DeclarationSet:
    """Return the declarations in the *.toml files of `folder`, those of its sub-folders and hidden ones excepted.

    A folder that is not there holds none: one that was configured was looked for when the configuration was read.
    The settings may be those of a draft: what is not clear of a source is not held against a declaration.
    """
    reading = _Reading(settings)
    for file in reading.files(folder):
        reading.read(file)
    return DeclarationSet(
        declarations=tuple(reading.declarations), where_lines=reading.where_lines, problems=tuple(reading.problems)
    )


class _Reading:
    """One reading of all files."""

    def __init__(self, settings: Settings) -> None:
        self.problems: list[Problem] = []
        self.declarations: list[Declaration] = []
        self.where_lines: dict[tuple[str, int], int] = {}
        self._sources = settings.sources
        self._folder = settings.file.parent
        self._types = sorted({type for source in settings.sources.values() for type in source.kind.specs})
        # A source of which not even the kind is clear may have any type.
        self._may_be_any = not self._sources or any(one.kind is UNKNOWN_KIND for one in self._sources.values())
        self._places: dict[str, str] = {}

    def files(self, folder: Path) -> list[Path]:
        """Return the files to read, by name."""
        try:
            files = sorted(folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:  # Path.glob would pass over it in silence, as if nothing were declared
            self.problems.append(Problem(message=f"cannot be read: {error.strerror}", file=str(folder)))
            return []
        return [file for file in files if file.suffix == ".toml" and not file.name.startswith(".")]

    def read(self, path: Path) -> None:
        """Read one file; its name in messages is the one from the configuration's folder on."""
        file = str(path.relative_to(self._folder) if path.is_relative_to(self._folder) else path)
        try:
            document = read_document(path, file=file)
        except ConfigError as error:
            self.problems.extend(error.problems)
            return
        root = Table(document, self.problems)
        for table in root.tables("declaration"):
            self._read_declaration(table, file)
        root.close()

    def _read_declaration(self, table: Table, file: str) -> None:
        name = self._read_name(table, file)
        type = table.take("resource", self._as_type(), None if "resource" in table else DEVICE)
        sources = table.each("sources", self._as_source(type))
        declaration = Declaration(
            name=name,
            file=file,
            line=table.line_of() or 1,
            type=type or DEVICE,
            sources=sources,
            where=table.take("where", as_text, None),
            priority=table.take("priority", as_whole(_LOWEST), 0),
            leaves=read_leaves(table, type or DEVICE, self._kinds(table, type, sources)),
        )
        table.close()
        if type is not None:
            self.declarations.append(declaration)
            self.where_lines[file, declaration.line] = table.line_of("where") or declaration.line

    def _read_name(self, table: Table, file: str) -> str:
        name = table.require("name", as_name)
        if name is None:
            return ""
        if name in self._places:
            table.refuse(f"`name` must be the only one: {quote(name)} is in {self._places[name]} too", "name")
        self._places.setdefault(name, f"{file}:{table.line_of('name')}")
        return name

    def _as_type(self) -> Reader[ResourceType]:
        return (lambda value: ResourceType(as_text(value))) if self._may_be_any else as_one_of(*self._types)

    def _as_source(self, type: ResourceType | None) -> Reader[str]:
        def read(value: object) -> str:
            if not self._sources:
                return as_text(value)
            name = as_one_of(*self._sources)(value)
            kind = self._sources[name].kind
            if type is not None and kind is not UNKNOWN_KIND and type not in kind.specs:
                raise UnfitError(f"holds {quote(name)}, but {kind.name} has no {quote(type)}")
            return name

        return read

    def _kinds(self, table: Table, type: ResourceType | None, sources: tuple[str, ...] | None) -> list[Kind]:
        """Return the kinds that a declaration is for; none where a mistake leaves that open."""
        if type is None or (sources is None and "sources" in table):
            return []
        names = self._sources if sources is None else sources
        kinds = {one.kind.name: one.kind for name, one in self._sources.items() if name in names}
        fit = [kind for kind in kinds.values() if type in kind.specs]
        if not fit and sources is None and not self._may_be_any:
            table.refuse(f"no source has resources of the type {quote(type)}", "resource")
        return fit


def basis(declarations: Iterable[Declaration]) -> str:
    """Return a fingerprint of what the declarations say, whatever file, line and order they say it in."""
    said = sorted((_canonical(declaration) for declaration in declarations), key=lambda said: str(said["name"]))
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(declaration: Declaration) -> dict[str, object]:
    return {
        "name": declaration.name,
        "type": declaration.type,
        "where": declaration.where,
        "sources": None if declaration.sources is None else sorted(declaration.sources),
        "priority": declaration.priority,
        "desired": sorted([path, value] for path, value in declaration.leaves.items() if value is not ABSENT),
        "unset": sorted(path for path, value in declaration.leaves.items() if value is ABSENT),
    }
