"""Who does what goes wrong, and when: a plan of episodes, each of one sort, for some minutes or hours.

The sorts are in `episodes`; every history has some that its seed's number alone decides, so that a row of seeds has all
of them, and some by chance. Between and during all of it operators and devices go about their business.
"""

import signal
from collections.abc import Callable
from random import Random

from tests.simulation import episodes
from tests.simulation.episodes import Episode
from tests.simulation.process import Process
from tests.simulation.world import World

_KILLED_IN_MID_PAGE = 0.3
"""What becomes of a listing that was cut short is seen in so many histories; nothing else puts P2 to the test."""


class Mischief:
    """The mischief of one history."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = Random(world.random.random())
        self.is_over = False
        self.until_s = 0.0
        self.pauses: list[tuple[float, Callable[[Process], None]]] = []
        """What needs the loop to stand still, and from when on."""
        self.greetings: list[Callable[[Process], None]] = []
        """What is done to the next process as it starts."""
        self.excuses: list[type[BaseException]] = []
        """With what errors a process may end by itself at the moment."""
        self._cures: list[Callable[[], None]] = []

    def plan(self) -> float:
        """Put everything on the agenda, and return when it is over."""
        agenda, random = self.world.agenda, self.random
        size = self.world.size
        chosen = [
            *episodes.drawn(self.world.seed, size.sorts),
            *random.sample(sorted(episodes.ALL), random.randint(0, size.by_chance)),
        ]
        if random.random() < _KILLED_IN_MID_PAGE:
            chosen.append("killed in mid page")
        self.until_s = agenda.now_s + random.uniform(*size.mischief_s)
        for name in chosen:
            # Whoever comes first has something to spoil: a first listing takes its time.
            agenda.at(random.uniform(0.0, 0.7) * self.until_s, self._beginning(name, episodes.ALL[name]))
        self._operate_later()
        return self.until_s

    def _beginning(self, name: str, episode: Episode) -> Callable[[], None]:
        def begin() -> None:
            if not self.is_over:
                place = self.random.choice([one for one in self.world.places if episode.suits(one)] or [None])
                if place is not None:
                    episode.begin(self, name, place)

        return begin

    def _operate_later(self) -> None:
        agenda, random = self.world.agenda, self.random

        def operate() -> None:
            if self.is_over:
                return
            for _ in range(random.randrange(3)):
                place = random.choice(self.world.places)
                if place.listings_are_open and random.random() < 0.5:
                    self.world.happened["a fleet that changes while it is listed"] += 1
                place.operate(random)
            self._operate_later()

        agenda.after(random.expovariate(1 / self.world.size.operate_s), operate)

    # For the episodes

    def count(self, name: str) -> None:
        """Take note that something happened."""
        self.world.happened[name] += 1

    def later(self, seconds: float, cure: Callable[[], None]) -> None:
        """Let something end by then, or at the end of all mischief."""

        def once() -> None:
            if cure in self._cures:
                self._cures.remove(cure)
                cure()

        self._cures.append(cure)
        self.world.agenda.after(seconds, once)

    def pause_at(self, act: Callable[[Process], None]) -> None:
        """Do something while the loop stands still, soon."""
        now_s = self.world.agenda.now_s
        self.pauses.append((now_s, act))
        if self.world.process is not None:
            self.world.process.pause()

    @property
    def process(self) -> Process | None:
        """Return the process that runs, if one does."""
        process = self.world.process
        return None if process is None or process.has_ended else process

    # For the history

    def greet(self, process: Process) -> None:
        """Do to a process that starts what is to be done to it."""
        greetings, self.greetings = self.greetings, []
        for greet in greetings:
            greet(process)

    def pause(self, process: Process) -> None:
        """Do what needs a loop that stands still."""
        due, self.pauses = self.pauses, []
        for _, act in due:
            act(process)

    def explains(self, error: BaseException | None) -> bool:
        """Say whether a process may have ended so."""
        return any(isinstance(error, excuse) for excuse in self.excuses)

    def end(self) -> None:
        """End everything."""
        self.is_over = True
        self.greetings.clear()
        for cure in self._cures[::-1]:
            cure()
        self._cures.clear()
        self.world.tamper.clear()
        self.world.write_configuration()
        if self.world.before_start and self.process is not None:
            self.process.kill()
        for place in self.world.places:
            place.go_wrong("")
            place.weather.mishaps.clear()
            place.recover()
            place.wrong.clear()
            place.troubled_s = self.world.agenda.now_s

    def send(self, number: signal.Signals) -> bool:
        """Send the process a signal."""
        return self.process is not None and self.process.signal(number)
