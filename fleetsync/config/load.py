"""The configuration file as settings, or everything that is wrong with it."""

from collections.abc import Mapping
from pathlib import Path

from fleetsync.config.document import read_document
from fleetsync.config.quantities import as_duration
from fleetsync.config.settings import DatabaseSettings, LogSettings, Settings, SourceSettings
from fleetsync.config.sources import read_source
from fleetsync.config.table import Table
from fleetsync.config.values import Reader, UnfitError, as_folder, as_name, as_one_of, as_text
from fleetsync.config.wording import quote
from fleetsync.core.kind import Kind
from fleetsync.errors import ConfigError, Problem

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("auto", "console", "json")

_SQLITE = "sqlite:///"
_DATABASE_FILE = "fleetsync.db"
_DECLARATIONS_FOLDER = "declarations"


def load(path: Path, kinds: Mapping[str, Kind]) -> Settings:
    """Return the settings in the configuration file `path`; all paths in them are absolute.

    `kinds` are the kinds of service that exist, by name. Nothing is read but this file and the certificates that it
    names; secrets stay where they are.

    Raises:
        ConfigError: something is wrong; it carries everything that is, by line.
    """
    document = read_document(path, file=str(path))
    problems: list[Problem] = []
    settings = _read(Table(document, problems), path.absolute(), kinds)
    if problems:
        raise ConfigError(*sorted(problems, key=lambda problem: problem.line or 0))
    return settings


def _read(table: Table, file: Path, kinds: Mapping[str, Kind]) -> Settings:
    folder = file.parent
    settings = Settings(
        file=file,
        declarations=table.take("declarations", as_folder(folder), folder / _DECLARATIONS_FOLDER),
        database=_read_database(table.table("database"), folder),
        log=_read_log(table.table("log")),
        sources=_read_sources(table.table("sources"), folder, kinds),
    )
    _read_daemon(table.table("daemon"))
    table.close()
    return settings


def _read_database(table: Table, folder: Path) -> DatabaseSettings:
    path = table.take("url", as_database(folder), folder / _DATABASE_FILE)
    default = DatabaseSettings(path=path)
    database = DatabaseSettings(
        path=path,
        keep_history_s=table.take("keep_history", as_duration, default.keep_history_s),
        keep_gone_s=table.take("keep_gone", as_duration, default.keep_gone_s),
        keep_cycles_s=table.take("keep_cycles", as_duration, default.keep_cycles_s),
    )
    table.close()
    return database


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
    sources: dict[str, SourceSettings] = {}
    if not list(table):
        table.refuse("no source is configured: add a table [sources.NAME]")
    for name in table:
        _check_name(table, name)
        source = read_source(name, table.table(name), kinds, folder)
        if source is not None:
            sources[name] = source
    return sources


def _check_name(table: Table, name: str) -> None:
    try:
        as_name(name)
    except UnfitError as error:
        table.refuse(f"{quote(name)} {error}", name)
