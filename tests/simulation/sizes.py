"""How large a history is. Most are brief, since most mistakes need little room; some last for hours, a few for days.

The number of a seed decides, so that a row of seeds has all sizes in it.
"""

from dataclasses import dataclass

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Ranges that chance chooses from; `places` and `intervals_s` are choices, and `places` 0 is one of every kind.

    `sorts`: so many sorts of mischief follow from the seed's number, and up to `by_chance` more are drawn.
    """

    places: tuple[int, ...]
    devices: tuple[int, int]
    intervals_s: tuple[int, ...]
    mischief_s: tuple[float, float]
    sorts: int
    by_chance: int
    operate_s: float
    """The mean time between what operators do."""
    look_s: float
    """So often a person looks at what `status` says."""


TINY = Size(
    places=(0,),
    devices=(3, 3),
    intervals_s=(120,),
    mischief_s=(0.0, 0.0),
    sorts=0,
    by_chance=0,
    operate_s=_HOUR_S,
    look_s=0.5 * _HOUR_S,
)
"""What scenarios are played with, again and again, once for every crash."""

BRIEF = Size(
    places=(1, 1, 1, 1, 1, 2),
    devices=(3, 7),
    intervals_s=(300, 400),
    mischief_s=(600.0, 1300.0),
    sorts=2,
    by_chance=1,
    operate_s=200.0,
    look_s=600.0,
)
HOURS = Size(
    places=(1, 2, 2, 3),
    devices=(8, 30),
    intervals_s=(120, 300, 300, 900),
    mischief_s=(1.0 * _HOUR_S, 2.0 * _HOUR_S),
    sorts=3,
    by_chance=4,
    operate_s=300.0,
    look_s=0.5 * _HOUR_S,
)
DAYS = Size(
    places=(0,),
    devices=(6, 16),
    intervals_s=(1800, 3600),
    mischief_s=(14.0 * _HOUR_S, 28.0 * _HOUR_S),
    sorts=12,
    by_chance=12,
    operate_s=1800.0,
    look_s=0.5 * _HOUR_S,
)


def size_of(seed: int) -> Size:
    """Return how large the history of a seed is."""
    if seed % 500 == 42:
        return DAYS
    return HOURS if seed % 60 == 7 else BRIEF
