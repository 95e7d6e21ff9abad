"""What goes wrong on the way to services: entries 12 to 14 of the list of faults, and some of 11, 13 and 18."""

from collections.abc import Mapping
from typing import Any

from tests.simulation.episode import ALL, HOUR_S, Episode, lasting_s, mischief_of
from tests.simulation.place import Place

# 12 to 14: the network

_MISHAPS: Mapping[str, int] = {
    "keep-alive-closed": 12,
    "reset": 12,
    "reset-on-the-way": 12,
    "no-answer": 12,
    "hanging-connect": 12,
    "refused": 12,
    "unreachable": 12,
    "slow-body": 11,
    "endless-body": 11,
    "wrong-length": 11,
    "cut-body": 11,
    "dead-dns": 13,
    "slow-dns": 13,
    "lying-dns": 13,
    "unknown-ca": 14,
    "expired-certificate": 14,
    "wrong-name": 14,
    "old-tls": 14,
    "company-proxy": 14,
    "dead-proxy": 14,
    "no-descriptors": 18,
}


def _mishap(mischief: Any, name: str, place: Place) -> None:
    place.weather.mishaps[name] = 0.3 if name == "endless-body" else mischief.random.choice((0.1, 0.4, 1.0))
    mischief.later(lasting_s(mischief.random, place), lambda: place.weather.mishaps.pop(name, None))


for _name, _fault in _MISHAPS.items():
    ALL[_name] = Episode(fault=_fault, begin=_mishap)


@mischief_of(12, "the network away for hours, for all")
def _away(mischief: Any, name: str, _place: Place) -> None:
    mischief.count(name)
    for place in mischief.world.places:
        place.weather.mishaps["unreachable"] = 1.0
    places = mischief.world.places
    mischief.later(HOUR_S, lambda: [one.weather.mishaps.pop("unreachable", None) for one in places])


@mischief_of(12, "a flapping network")
def _flap(mischief: Any, name: str, place: Place) -> None:
    def down(left: int) -> None:
        if left and not mischief.is_over:
            place.weather.mishaps["unreachable"] = 1.0
            mischief.count(name)
            mischief.later(20.0, lambda: place.weather.mishaps.pop("unreachable", None))
            mischief.world.agenda.after(60.0, lambda: down(left - 1))

    down(10)
