"""Everything that files say, read and checked."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from fleetsync.clock import Clock
from fleetsync.config.declarations import DeclarationSet, read_declarations
from fleetsync.config.load import Draft, read_draft
from fleetsync.config.settings import Settings
from fleetsync.errors import ConfigError, Problem
from fleetsync.mirror.blank import faults_of
from fleetsync.providers.base import all_kinds

# A selector that looks at other rows wants them younger than this many intervals.
FRESH_INTERVALS = 3


class Configuration(Struct, frozen=True, kw_only=True):
    """Everything that files say."""

    settings: Settings
    declared: DeclarationSet


class Reading(Struct, frozen=True, kw_only=True):
    """Everything that files say, as far as that is clear, and everything that is wrong with them."""

    draft: Draft
    declared: DeclarationSet
    declaration_problems: tuple[Problem, ...]
    """By file and line; those of the configuration are in the draft."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return everything that is wrong."""
        return (*self.draft.problems, *self.declaration_problems)


def read_files(file: Path, clock: Clock) -> Reading:
    """Read the configuration and the declarations; what is wrong with one hides nothing in the others.

    Raises:
        ConfigError: the configuration cannot be read, or is not TOML: then nothing is known of the rest.
    """
    known = all_kinds()
    draft = read_draft(file, known)
    declared = DeclarationSet(declarations=(), where_lines={})
    if draft.has_declarations:
        declared = read_declarations(draft.settings.declarations, draft.settings)
    faults = faults_of(declared.declarations, known.values(), clock)
    wrong = [*declared.problems, *(declared.where_problem(one, f"is refused: {fault}") for one, fault in faults)]
    wrong.sort(key=lambda problem: (problem.file, problem.line or 0))
    return Reading(draft=draft, declared=declared, declaration_problems=tuple(wrong))


def read_configuration(file: Path, clock: Clock) -> Configuration:
    """Read the configuration and the declarations.

    Raises:
        ConfigError: something is wrong; it carries everything that is.
    """
    reading = read_files(file, clock)
    if reading.problems:
        raise ConfigError(*reading.problems)
    return Configuration(settings=reading.draft.settings, declared=reading.declared)


def longest_ages_s(settings: Settings) -> Mapping[str, float]:
    """Return for every source how old its last complete listing may be for selectors that look at other rows."""
    return {name: one.interval_s * FRESH_INTERVALS for name, one in settings.sources.items()}
