"""Writes that go on after their answer: the service names an operation, and its end is asked for."""

from enum import Enum, auto

from msgspec import Struct

LASTS_S = 900.0
"""How long a service may take for one, unless its kind knows better."""

_SHORTEST_ASKED_S = 1.0
_LONGEST_ASKED_S = 60.0
_FIRST_S = 1.0
_LONGEST_S = 30.0


class Operation(Struct, frozen=True, kw_only=True):
    """What a service answered to a write that it has only begun.

    `handle` is opaque to all but the provider: a URL goes out byte for byte. `wait_s` is how many seconds from now it
    makes sense to ask, None where nobody said.
    """

    handle: str
    wait_s: float | None = None


class Standing(Enum):
    """Where an operation stands."""

    RUNNING = auto()
    DONE = auto()
    FAILED = auto()
    """It ended, and the service reports errors; what it did nevertheless, a read shows."""
    LOST = auto()
    """The service does not know the handle any more, or not yet."""


class Followed(Struct, frozen=True, kw_only=True):
    """What the service says of an operation. `error` is in its own words; `wait_s` as in `Operation`."""

    standing: Standing
    wait_s: float | None = None
    error: str | None = None


def pause_s(asked_s: float | None, last_s: float | None) -> float:
    """Return the seconds until the next question.

    What the service asks for, within bounds; where it asks for nothing, twice as long as the last time, up to half a
    minute. `last_s` is None before the first question.
    """
    if asked_s is not None:
        return min(max(asked_s, _SHORTEST_ASKED_S), _LONGEST_ASKED_S)
    return _FIRST_S if last_s is None else min(2 * last_s, _LONGEST_S)
