"""What a sort of mischief is, what they have in common, and all of them by name."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from fleetsync.simulator import SimResponse
from tests.simulation.network import Exchange
from tests.simulation.place import Place

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0

Begin = Callable[[Any, str, Place], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One sort of mischief: `begin` is given the `Mischief`, its own name and a place. `label` is what is counted."""

    fault: int
    begin: Begin
    suits: Callable[[Place], bool] = lambda _: True


ALL: dict[str, Episode] = {}


def mischief_of(fault: int, name: str, suits: Callable[[Place], bool] = lambda _: True) -> Callable[[Begin], Begin]:
    """Register what begins a sort of mischief."""

    def add(begin: Begin) -> Begin:
        ALL[name] = Episode(fault=fault, begin=begin, suits=suits)
        return begin

    return add


def lasting_s(random: Random, place: Place) -> float:
    """Return how long something goes on: some minutes, and a cycle of the place at least."""
    return random.choice((5 * MINUTE_S, 15 * MINUTE_S, 30 * MINUTE_S)) + 1.2 * place.interval_s


def is_written_to(place: Place) -> bool:
    """Say whether anything is ever written there."""
    return place.mode == "enforce" and bool(place.wishes)


def keep_busy(mischief: Any, place: Place, lasting_s: float) -> None:
    """Give the daemon something to write, again and again."""

    def disturb(left: int) -> None:
        if left and not mischief.is_over:
            for key in mischief.random.sample(keys := sorted(place.truth()), min(3, len(keys))):
                place.disturb(mischief.random, *key)
            mischief.world.agenda.after(place.interval_s / 2, lambda: disturb(left - 1))

    disturb(int(lasting_s / place.interval_s * 2) + 1)


Change = Callable[[SimResponse, Exchange], SimResponse | None]
"""Returns an answer in the place of another, or None to leave it."""


def answers_changed(change: Change, chance: float = 1.0) -> Begin:
    """Return what lets somebody change the answers of a place on their way."""

    def begin(mischief: Any, name: str, place: Place) -> None:
        def tamper(exchange: Exchange) -> None:
            if exchange.place is not place or exchange.answer is None or mischief.random.random() >= chance:
                return
            changed = change(exchange.answer, exchange)
            if changed is not None:
                exchange.answer = changed
                place.troubled_s = mischief.world.agenda.now_s
                mischief.count(name)

        mischief.world.tamper.append(tamper)
        mischief.later(lasting_s(mischief.random, place), lambda: mischief.world.tamper.remove(tamper))

    return begin
