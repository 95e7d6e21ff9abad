"""The world of one history: a machine of ours, the places, the network between them, and everybody who watches."""

import contextlib
import json
import re
import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from fleetsync.daemon.work import Command
from fleetsync.errors import BrokenMirrorError
from tests.simulation import episodes
from tests.simulation.invariants import Verdicts
from tests.simulation.listings import Listings
from tests.simulation.loop import Agenda
from tests.simulation.network import Exchange, Network, Watchers
from tests.simulation.place import Asked, Key, Place
from tests.simulation.process import Life, Machine, Process, daemon
from tests.simulation.rates import Rates
from tests.simulation.sizes import TINY, Size
from tests.simulation.trace import Trace
from tests.simulation.writing import Writing

FIRST_PORT = 8001
ACCEPTS = re.compile(r"`fleetsync confirm (\S+) --(writes|gone) (\d+)`")
_ERRORS = re.compile(r"program\.failed|watchdog\.starved")
_TRIES = 12
"""So many other places are looked at where one does not suit the mischief that a seed is to have."""
_LONGEST_PAUSE_S = 3600.0 * 1.1


class World:
    """Places, machine and watchers. `around` is what the database is called through, whichever process calls."""

    def __init__(self, folder: Path, template: Path, seed: int, kinds: tuple[type[Place], ...], size: Size) -> None:
        self.seed = seed
        self.size = size
        self.random = Random(seed)
        self.agenda = Agenda()
        self.verdicts = Verdicts()
        self.trace = Trace()
        self.network = Network(self.agenda, Random(self.random.random()))
        self.machine = Machine(folder, self.agenda, self.network, Random(self.random.random()))
        self.process: Process | None = None
        self.happened: Counter[str] = Counter()
        """How often each sort of mischief was done, by name; what happens to single requests the network counts."""
        self.places = self._places(kinds)
        self.watching = {place.name: _Watch(place, self.verdicts) for place in self.places}
        self.network.watchers = Watchers(
            strays=lambda text: self.verdicts.blame("P8", text),
            leaves=self._leaves,
            arrives=self._arrives,
            answered=self._answered,
            delivered=self._delivered,
        )
        self.before_database: list[Any] = []
        """Mischief that wants to be asked before a call of the database."""
        self.on_arrival: list[Any] = []
        """Mischief that wants to be told when a request arrives."""
        self.tamper: list[Any] = []
        """Mischief that changes answers."""
        self.before_start: list[Any] = []
        """Mischief that wants to be done before the next process starts."""
        self.log: list[str] = []
        self.logs_everything = seed % 10 == 4
        self.is_quiet = False
        self.commits = 0
        self.last_event = 0
        self.step_at_s = -1e9
        self.completed_s: dict[str, float] = {}
        """When each source's last complete cycle ended."""
        self.cycles_ended: Counter[str] = Counter()
        self.more_toml = ""
        self.is_reload_refused = False
        self.broken_toml = ""
        self.declared: dict[str, str] = {}
        shutil.copyfile(template, self.machine.database)
        self.write_configuration()

    def _places(self, kinds: tuple[type[Place], ...]) -> list[Place]:
        random = self.random
        count = random.choice(self.size.places)
        chosen = [[kind] for kind in kinds] if not count else [list(kinds)] * count
        wanted = [episodes.ALL[name].suits for name in episodes.drawn(self.seed, self.size.sorts)]
        places: list[Place] = []
        for number, some in enumerate(chosen):
            missing = [suits for suits in wanted if not any(suits(place) for place in places)]
            place = self._place(number, random.choice(some))
            for _ in range(_TRIES):
                lacking = sum(not suits(place) for suits in missing)
                if not lacking:
                    break
                other = self._place(number, random.choice(some))
                place = other if sum(not suits(other) for suits in missing) < lacking else place
            place.ever = set(place.truth())
            self.network.connect(place)
            places.append(place)
        for place in places:
            place.meet(places)
        return places

    def _place(self, number: int, kind: type[Place]) -> Place:
        random = self.random
        name = f"{kind.kind.replace('-', '')}{number}"
        place = kind(name, FIRST_PORT + number, Random(random.random()), self.machine.service_now, self.size)
        place.wishes = [wish for wish in place.all_wishes() if random.random() < 0.8]
        if not number:
            place.mode = "enforce"  # somebody has to write
        if self.size is TINY:
            place.wishes, place.max_writes = list(place.all_wishes()), "100%"
        return place

    # Files

    def write_configuration(self) -> None:
        """Write what the daemon reads, as it should be now."""
        folder = self.machine.folder
        (folder / "declarations").mkdir(exist_ok=True)
        self._tomls = getattr(self, "_tomls", None) or {place.name: place.toml() for place in self.places}
        text = "\n".join([*self._tomls.values(), self.more_toml, self.broken_toml])
        (folder / "config.toml").write_text(text, encoding="utf-8")
        for place in self.places:
            wishes = "\n".join(wish.toml for wish in place.wishes)
            (folder / "declarations" / f"{place.name}.toml").write_text(wishes, encoding="utf-8")
            for name, content in place.files().items():
                (folder / name).write_text(content, encoding="utf-8")
        extra = folder / "declarations" / "more.toml"
        extra.write_text("\n".join(self.declared.values()), encoding="utf-8")

    def list_only(self, place: Place, types: tuple[str, ...]) -> None:
        """Let a place list these types and no others."""
        place.listed = types
        line = f"resources = {json.dumps(types)}"
        text = re.sub(r"resources = .*\n", "", self._tomls[place.name])
        self._tomls[place.name] = text.replace("\n", f"\n{line}\n", 1)

    def write_configuration_of(self, place: Place) -> None:
        """Write what the daemon reads, where a place's part of it is another one now."""
        self._tomls[place.name] = place.toml()
        self.write_configuration()

    # What the process is watched at

    def before_call(self, name: str) -> None:
        """Let mischief have its way with a call of the database."""
        for ask in self.before_database:
            ask(name)

    def after_call(self, name: str) -> None:
        """Look at the database after every commit."""
        process = self.process
        if name != "commit" or process is None:
            return
        self.commits += 1
        rows = process.rows(
            "SELECT e.id, n.source, n.type, n.id, e.event FROM event e JOIN resource_name n ON n.no = e.no"
            " WHERE e.id > ? ORDER BY e.id",
            self.last_event,
        )
        for id, source, type, resource_id, event in rows:
            self.last_event = id
            self.trace.add("event", source, type, resource_id, event)
            if event == "gone" and source in self.watching:
                place = self.watching[source].place
                key = type, resource_id
                self.watching[source].listings.gone(key, exists=key in place.truth())
        for watch in self.watching.values():
            watch.listings.committed(process)

    def write(self, line: str) -> int:
        """Take a line of the log; what the dead say nobody hears."""
        if self.process is None or not self.process.is_alive:
            return len(line)
        self.log.append(line)
        is_one = "\x1b" not in line and "\n" not in line.rstrip("\n")
        self.verdicts.check("P9", is_one, f"the log takes an id for more than text: {line!r}")
        if '"config.' in line:
            self.is_reload_refused = '"config.refused"' in line
        if '"cycle.finished"' in line:
            told = json.loads(line)
            self.cycles_ended[told["source"]] += 1
            if told["complete"]:
                self.completed_s[told["source"]] = self.agenda.now_s
        elif _ERRORS.search(line):
            self.verdicts.blame("P10", f"the log says: {line.strip()}")
        return len(line)

    def flush(self) -> None:
        """Nothing is held back."""

    # The wire

    def _leaves(self, exchange: Exchange) -> None:
        place: Place = exchange.place
        asked = place.asked(exchange.method, exchange.target, exchange.headers, exchange.body)
        exchange.notes["asked"] = asked
        watch = self.watching[place.name]
        self.trace.add(
            "leaves", round(self.agenda.now_s, 6), exchange.method, place.name, exchange.target, exchange.body
        )
        value = exchange.headers.get("Authorization")
        self.verdicts.check("P8", place.owns(value), f"{place.name}: a request carries a token that is not its own")
        watch.rates.leaves(exchange, asked)
        watch.listings.leaves(exchange, asked, stepped_s=self.step_at_s)
        if self.process is not None:
            watch.writing.leaves(exchange, asked, self.process)

    def _arrives(self, exchange: Exchange) -> None:
        for act in self.on_arrival:
            act(exchange)

    def _answered(self, exchange: Exchange) -> None:
        line, place = exchange.line, exchange.place
        assert line is not None
        for name in line.faults:
            for label, spec in place.wrong.items():
                if re.fullmatch(rf"(\w+\.)?{name}([=:@].*)?", spec):
                    self.happened[label] += 1
            place.troubled_s = self.agenda.now_s
            if name in ("empty-list", "short-list", "empty-page"):
                place.lied_s = self.agenda.now_s
        for change in self.tamper:
            change(exchange)

    def _delivered(self, exchange: Exchange) -> None:
        asked: Asked = exchange.notes["asked"]
        watch = self.watching[exchange.place.name]
        if self.process is not None:
            exchange.notes["machine_now"] = self.process.clock.now()
            exchange.notes["loop_s"] = self.process.loop.time()
        watch.rates.delivered(exchange, asked)
        watch.listings.delivered(exchange, asked)
        watch.writing.delivered(exchange, asked)

    # Processes

    def start(self, life: Life = daemon) -> Process:
        """Start a process."""
        before, self.before_start = self.before_start, []
        for act in before:
            act()
        self.process = Process(self.machine, self, life)
        with contextlib.suppress(sqlite3.Error):
            [(self.last_event,)] = self.process.rows("SELECT coalesce(max(id), 0) FROM event")
        return self.process

    def bury(self) -> None:
        """Put the process away, and look at what it left."""
        process = self.process
        assert process is not None
        process.put_away()
        self.look_back(process)

    def look_back(self, process: Process) -> None:
        """Look at what a process left."""
        self.process = None
        for place in self.places:
            place.listings_are_open = False
        for complaint in process.loop.complaints:
            self.verdicts.blame("P10", f"asyncio complains: {complaint}")
        if process.is_killed or isinstance(process.error, BrokenMirrorError):
            for watch in self.watching.values():
                watch.rates.died(self.agenda.now_s, stepped_s=self.step_at_s)
        if process.is_killed:
            self.happened["kill"] += 1
            with_journal = sqlite3.connect(f"file:{self.machine.database}?mode=ro", uri=True)
            for watch in self.watching.values():
                stepped = self.agenda.now_s - self.step_at_s < 7200.0
                watch.listings.left_behind(with_journal, process, stepped=stepped)
                watch.listings.died(process)
            with_journal.close()

    def write_database(self, files: Mapping[str, bytes]) -> None:
        """Put these files in the place of the database, while no process runs."""
        self.machine.write_database(files)
        for watch in self.watching.values():
            watch.writing.forget()

    # A person

    def look(self) -> None:
        """Look at what is wrong, and accept what was refused where nobody lied lately."""
        process = self.process
        if process is None or process.has_ended or process.daemon is None:
            return
        rows = process.rows("SELECT name, error FROM source WHERE error IS NOT NULL AND configured")
        for name, error in rows:
            place = self.watching[name].place if name in self.watching else None
            caution_s = 2.2 * place.interval_s if self.is_quiet and place is not None else 7200.0
            if place is not None and self.agenda.now_s - place.lied_s > caution_s:
                self.accept(error)
        if self.is_quiet:
            if self.is_reload_refused:  # for want of room, when a mischief was over
                process.signal(signal.SIGHUP)
            for (name,) in process.rows("SELECT name FROM source WHERE paused"):
                process.order(Command(name="resume", sources=(name,)))
        self._check_the_healthy(process)

    def accept(self, told: object) -> None:
        """Accept what was refused, as the words of the refusal say."""
        for source, what, number in ACCEPTS.findall(str(told)):
            if self.process is not None:
                self.process.order(Command(name="confirm", sources=(source,), **{what: int(number)}))
                self.happened["confirmed"] += 1

    def _check_the_healthy(self, process: Process) -> None:
        """P10: whoever has been well for long enough has been listed, whatever ails the others."""
        now_s = self.agenda.now_s
        ailing = [place for place in self.places if now_s - place.troubled_s < 3600.0]
        for place in self.places:
            bound_s = _LONGEST_PAUSE_S + 3 * place.interval_s + 600.0
            well_s = now_s - max(place.troubled_s, place.rests_until_s, process.began_s)
            if place in ailing or well_s < bound_s:
                continue
            last_s = self.completed_s.get(place.name, -1.0)
            text = f"{place.name} has been well for {well_s:.0f} s and was last listed {now_s - last_s:.0f} s ago"
            if ailing or self.declared:
                self.verdicts.check("P10", now_s - last_s < bound_s, text)

    def is_declared(self, key: Key) -> bool:
        """Say whether a wish is about a resource."""
        return any(wish.selects(key, None) for place in self.places for wish in place.wishes)


class _Watch:
    def __init__(self, place: Place, verdicts: Verdicts) -> None:
        self.place = place
        self.rates = Rates(place, verdicts)
        self.listings = Listings(place, verdicts)
        self.writing = Writing(place, verdicts)
