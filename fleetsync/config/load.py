"""The configuration file as settings, or everything that is wrong with it."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from fleetsync.config.document import read_document
from fleetsync.config.quantities import as_duration
from fleetsync.config.settings import DatabaseSettings, LogSettings, Settings, SourceSettings
from fleetsync.config.sources import read_source
from fleetsync.config.table import Table
from fleetsync.config.values import Reader, UnfitError, as_folder, as_name, as_one_of, as_text
from fleetsync.config.wording import quote
from fleetsync.core.kind import Kind, reads_of
from fleetsync.errors import ConfigError, Problem

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("auto", "console", "json")

_SQLITE = "sqlite:///"
_DATABASE_FILE = "fleetsync.db"
_DECLARATIONS_FOLDER = "declarations"


class Draft(Struct, frozen=True, kw_only=True):
    """A configuration, and what is wrong with it, by line.

    With `problems` the settings are what could be told all the same, to look for more problems with and for nothing
    else: of a source whose kind is wrong it is `UNKNOWN_KIND`, a url or an `own` may be missing.
    """

    settings: Settings
    problems: tuple[Problem, ...]
    has_declarations: bool
    """It is clear where the declarations are."""
    has_database: bool
    """It is clear where the database is."""


def load(path: Path, kinds: Mapping[str, Kind]) -> Settings:
    """Return the settings in the configuration file `path`; all paths in them are absolute.

    `kinds` are the kinds of service that exist, by name. Nothing is read but this file and the certificates that it
    names; secrets stay where they are.

    Raises:
        ConfigError: something is wrong; it carries everything that is, by line.
    """
    draft = read_draft(path, kinds)
    if draft.problems:
        raise ConfigError(*draft.problems)
    return draft.settings


def read_draft(path: Path, kinds: Mapping[str, Kind]) -> Draft:
    """Return what the configuration file `path` says, also when some of it is wrong; see `load`.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    problems: list[Problem] = []
    table = Table(read_document(path, file=str(path)), problems)
    file = path.absolute()
    folder = file.parent
    declarations = table.take("declarations", as_folder(folder), None)
    database = _read_database(table.table("database"), folder)
    settings = Settings(
        file=file,
        declarations=declarations or folder / _DECLARATIONS_FOLDER,
        database=database or DatabaseSettings(path=folder / _DATABASE_FILE),
        log=_read_log(table.table("log")),
        sources=_read_sources(table.table("sources"), folder, kinds),
    )
    _read_daemon(table.table("daemon"))
    table.close()
    return Draft(
        settings=settings,
        problems=tuple(sorted(problems, key=lambda problem: problem.line or 0)),
        has_declarations=declarations is not None or "declarations" not in table,
        has_database=database is not None,
    )


def _read_database(table: Table, folder: Path) -> DatabaseSettings | None:
    """Return the settings of the database; None where it is not clear which it is."""
    path = table.take("url", as_database(folder), None)
    default = DatabaseSettings(path=path or folder / _DATABASE_FILE)
    database = DatabaseSettings(
        path=default.path,
        keep_history_s=table.take("keep_history", as_duration, default.keep_history_s),
        keep_gone_s=table.take("keep_gone", as_duration, default.keep_gone_s),
        keep_cycles_s=table.take("keep_cycles", as_duration, default.keep_cycles_s),
    )
    table.close()
    return None if path is None and "url" in table else database


def as_database(folder: Path) -> Reader[Path]:
    """Return a reader of database URLs; it returns the path of the file. No message repeats a URL."""

    def read(value: object) -> Path:
        url = as_text(value)
        if url.startswith(("postgresql:", "postgresql+", "postgres:")):
            raise UnfitError(f'must begin with "{_SQLITE}": postgresql:// is for a later version (later)')
        place = url.removeprefix(_SQLITE)
        if place == url or not place or place.endswith("/") or "?" in place or place.startswith(":"):
            raise UnfitError(f'must be like "{_SQLITE}{_DATABASE_FILE}", or "{_SQLITE}/absolute/path.db"')
        return folder / place

    return read


def _read_log(table: Table) -> LogSettings:
    default = LogSettings()
    log = LogSettings(
        level=table.take("level", as_one_of(*LOG_LEVELS), default.level),
        format=table.take("format", as_one_of(*LOG_FORMATS), default.format),
    )
    table.close()
    return log


def _read_daemon(table: Table) -> None:
    table.take("metrics", _as_later, None)
    table.close()


def _as_later(_value: object) -> None:
    raise UnfitError("is for a later version (later)")


def _read_sources(table: Table, folder: Path, kinds: Mapping[str, Kind]) -> Mapping[str, SourceSettings]:
    if not list(table):
        table.refuse("no source is configured: add a table [sources.NAME]")
    for name in table:
        _check_name(table, name)
    sources = {name: read_source(name, table.table(name), kinds, folder) for name in table}
    for name, source in sources.items():
        for other in reads_of(source.own):
            if other not in sources or reads_of(sources[other].own):
                reason = "which must be a source in this file that lists its own"
                table.refuse(f"{quote(name)} goes by the devices of {quote(other)}, {reason}", name)
    return sources


def _check_name(table: Table, name: str) -> None:
    try:
        as_name(name)
    except UnfitError as error:
        table.refuse(f"{quote(name)} {error}", name)
