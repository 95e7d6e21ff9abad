"""What every command starts from: the options before its name, the configuration, the clock."""

import contextlib
import gc
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from fleetsync.clock import Clock
from fleetsync.config.load import load
from fleetsync.config.settings import Settings, SourceSettings
from fleetsync.config.wording import suggestion
from fleetsync.errors import ConfigError, Problem, UsageError
from fleetsync.providers.base import all_kinds

VARIABLE = "FLEETSYNC_CONFIG"
USUAL_PLACES = (Path("config.toml"), Path("/etc/fleetsync/config.toml"))


class Invocation(Struct, frozen=True, kw_only=True):
    """What the command line says, but for the values of the command's own parameters, of which `given` are the names.

    `config` is None where the configuration is to be looked for. `is_process`: the process is there for this alone.
    """

    config: Path | None
    debug: bool
    clock: Clock
    given: Collection[str] = ()
    is_process: bool = False

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Load code in the block. There is no rubbish among it, and looking for some takes a tenth of the time."""
        gc.disable()
        try:
            yield
        finally:
            if self.is_process:
                gc.freeze()
            gc.enable()

    def file(self) -> Path:
        """Return the configuration file: the named one, that of $FLEETSYNC_CONFIG, or the first that exists.

        Raises:
            ConfigError: none is named, and there is none in the usual places.
        """
        if self.config is not None:
            return self.config
        if named := os.environ.get(VARIABLE):
            return Path(named)
        found = next((place for place in USUAL_PLACES if place.exists()), None)
        if found is None:
            raise ConfigError(
                Problem(
                    message=f"no configuration: there is no {' and no '.join(map(str, USUAL_PLACES))}; "
                    f"name one with --config FILE or ${VARIABLE}"
                )
            )
        return found

    def settings(self) -> Settings:
        """Return the settings, without the declarations: quick.

        Raises:
            ConfigError: something is wrong with the configuration.
        """
        return load(self.file(), all_kinds())


def chosen(settings: Settings, names: Iterable[str]) -> tuple[SourceSettings, ...]:
    """Return the sources with these names in the order of the configuration; all when there are no names.

    Raises:
        UsageError: one is not configured.
    """
    wanted = tuple(names) or tuple(settings.sources)
    for name in wanted:
        if name not in settings.sources:
            near = suggestion(name, settings.sources)
            raise UsageError(f"no source {name!r} in {settings.file}{near or f': there is {_list(settings)}'}")
    return tuple(one for name, one in settings.sources.items() if name in wanted)


def _list(settings: Settings) -> str:
    return ", ".join(settings.sources)
