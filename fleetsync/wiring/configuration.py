"""Everything that files say, read and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetsync.clock import Clock
from fleetsync.config.declarations import DeclarationSet, load_declarations
from fleetsync.config.load import load
from fleetsync.config.settings import Settings
from fleetsync.errors import ConfigError
from fleetsync.mirror.blank import faults_of
from fleetsync.providers.base import all_kinds

# A selector that looks at other rows wants them younger than this many intervals.
FRESH_INTERVALS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Everything that files say."""

    settings: Settings
    declared: DeclarationSet


def read_configuration(file: Path, clock: Clock) -> Configuration:
    """Read the configuration and the declarations.

    Raises:
        ConfigError: all that is wrong with the configuration; if that is right, with the declarations.
    """
    known = all_kinds()
    settings = load(file, known)
    declared = load_declarations(settings.declarations, settings)
    faults = faults_of(declared.declarations, known.values(), clock)
    if faults:
        raise ConfigError(
            *(declared.where_problem(declaration, f"is refused: {fault}") for declaration, fault in faults)
        )
    return Configuration(settings=settings, declared=declared)


def longest_ages_s(settings: Settings) -> Mapping[str, float]:
    """Return for every source how old its last complete listing may be for selectors that look at other rows."""
    return {name: one.interval_s * FRESH_INTERVALS for name, one in settings.sources.items()}
