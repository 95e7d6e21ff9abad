"""A random adversary: a fleet that changes, a service that fails, and then a quiet hour in which all must come right."""

from collections.abc import Callable
from random import Random

import pytest

from fleetsync.errors import SourceError, UnsafePlanError
from fleetsync.simulator import parse_faults
from fleetsync.transport.retry import Retrying, RetryPolicy
from tests.reconcile.rig import HUB, HUB_OPTIONS, Rig, declare, mirrored, true

ROUNDS = 8
FAULTS = (
    "status=503:0.3", "reset:0.15", "reset-before:0.2", "truncate:0.2", "status-after=500:0.2", "write.html:0.3",
    "write.reset:0.5", "read.status=503:0.5", "read.status=400:0.5", "twice:0.4", "short-list=0.6:0.5", "empty-list:0.2",
    "empty-page:0.3", "loop-link:0.1", "dead-cursor:0.3", "no-value:0.1", "null:0.1", "status=429:0.1",
)  # fmt: skip
DECLARED = (
    declare({"displayName": "as declared"}, where="id LIKE '%1' OR id LIKE 'new%'"),
    declare({"enabled": True}, "on", where="NOT enabled"),
    declare({"properties": {"targetTemperature": 21.5}}, "warm", where="id LIKE '%0000_'"),
)


HUB_DECLARED = (
    declare({"tags": {"note": "ours"}}, where="id LIKE '%1' OR id LIKE 'new%'"),
    declare({"status": "enabled"}, "on", where="NOT enabled"),
    declare({"properties": {"desired": {"target": 21.5}}}, "warm", where="id LIKE '%0000_'"),
)


class Adversary:
    """Does to a rig what comes to its mind, and remembers what it deleted."""

    def __init__(self, rig: Rig, random: Random) -> None:
        self.rig = rig
        self.random = random
        self.deleted: set[str] = set()

    def change_the_fleet(self) -> None:
        cloud, random = self.rig.cloud, self.random
        for _ in range(random.randrange(4)):
            id = random.choice(sorted(self.rig.truth()))
            match random.randrange(5):
                case 0:
                    cloud.delete_device(id)
                    self.deleted.add(id)
                case 1:
                    cloud.add_device(random.choice([id, f"new-{random.randrange(5)}", *sorted(self.deleted)]))
                case 2:
                    cloud.operator_edit(id, {"properties": {"targetTemperature": random.randrange(9)}})
                case _:
                    cloud.operator_edit(id, {random.choice(["displayName", "note"]): f"{random.random()}"})
                    cloud.operator_edit(id, {"enabled": random.random() < 0.5})

    def rest(self) -> None:
        self.rig.http.heal()
        self.rig.cloud.faults = ()

    def begin_a_round(self) -> None:
        rig, random = self.rig, self.random
        rig.http.heal()
        self.change_the_fleet()
        rig.cloud.faults = parse_faults(", ".join(random.sample(FAULTS, random.randrange(4))))
        moment = rig.http.requests + random.randrange(1, 12)
        rig.http.on(moment, **{random.choice(["before", "after"]): lambda _: self.change_the_fleet()})


class HubAdversary(Adversary):
    """The same to an IoT Hub, whose devices also report and are made anew."""

    def change_the_fleet(self) -> None:
        hub, random = self.rig.cloud.hub, self.random
        for _ in range(random.randrange(4)):
            id = random.choice(sorted(self.rig.truth()))
            match random.randrange(7):
                case 0:
                    hub.delete_device(id)
                    self.deleted.add(id)
                case 1 if free := sorted({f"new-{random.randrange(5)}", *self.deleted} - set(self.rig.truth())):
                    hub.add_device(random.choice(free))
                case 2:
                    hub.recreate_device(id)
                case 3:
                    hub.report(id, {"temperature": random.random()})
                case _:
                    hub.operator_edit(
                        id, {random.choice(["tags", "properties"]): {"desired": {"note": random.random()}}}
                    )
                    hub.operator_edit(id, {"status": random.choice(["enabled", "disabled"])})


@pytest.mark.parametrize("seed", range(16))
async def test_whatever_happened_a_few_quiet_cycles_make_it_right(make: Callable[..., Rig], seed: int) -> None:
    rig = make(page_size=4, devices=24, seed=seed)
    rig.limit(max_gone=0.3)
    rig.declarations = DECLARED
    if seed % 2:
        rig.layers = lambda http: Retrying(http, rig.clock, RetryPolicy(attempts=3, patience_s=5.0))
    adversary = Adversary(rig, Random(seed))
    async with rig.opened():
        for _ in range(ROUNDS):
            adversary.begin_a_round()
            done = await rig.cycle(write=adversary.random.random() < 0.7)
            assert done.error is None or isinstance(done.error, SourceError | UnsafePlanError)
            assert_nothing_is_believed_that_nobody_said(rig, adversary)
        adversary.rest()
        for _ in range(3):
            await rig.clock.advance(30)
            done = await rig.cycle(write=True)

        assert done.error is None
        assert rig.documents() == rig.truth()
        assert_everything_is_as_declared(rig)
        before, writes = rig.content(), rig.writes()
        await rig.cycle(write=True)
        assert rig.content() == before
        assert rig.writes() == writes


@pytest.mark.parametrize("seed", range(16))
async def test_the_same_of_a_hub_whose_index_lags(make: Callable[..., Rig], seed: int) -> None:
    options = HUB_OPTIONS | {"hub_devices": 24, "hub_page_size": 4, "index_lag_s": 90.0 if seed % 4 else 0.0}
    rig = make(settings=HUB, seed=seed, **options)
    rig.limit(max_gone=0.3)
    rig.declarations = HUB_DECLARED
    if seed % 2:
        rig.layers = lambda http: Retrying(http, rig.clock, RetryPolicy(attempts=3, patience_s=5.0))
    adversary = HubAdversary(rig, Random(seed))
    async with rig.opened():
        for _ in range(ROUNDS):
            adversary.begin_a_round()
            done = await rig.cycle(write=adversary.random.random() < 0.7)
            assert done.error is None or isinstance(done.error, SourceError | UnsafePlanError)
            assert_nothing_is_believed_that_nobody_said(rig, adversary)
        adversary.rest()
        await rig.clock.advance(120)
        for _ in range(3):
            await rig.clock.advance(120)
            done = await rig.cycle(write=True)

        assert done.error is None
        assert mirrored(rig) == true(rig)
        assert_the_hub_is_as_declared(rig)
        await rig.clock.advance(120)  # the index shows what we wrote
        await rig.cycle(write=True)
        before, writes = rig.content(), rig.writes()
        await rig.cycle(write=True)
        assert rig.content() == before
        assert rig.writes() == writes
        assert rig.cloud.counters.writes_noop == 0


def assert_the_hub_is_as_declared(rig: Rig) -> None:
    for id, twin in rig.truth().items():
        assert twin["status"] == "enabled"
        if id.endswith("1") or id.startswith("new"):
            assert twin["tags"]["note"] == "ours"
        if id[-5:-1] == "0000":
            assert twin["properties"]["desired"]["target"] == 21.5
    assert rig.rows("SELECT COUNT(*) FROM drift") == [(0,)]
    assert rig.rows("SELECT COUNT(*) FROM writes WHERE outcome = 'open'") == [(0,)]


def assert_nothing_is_believed_that_nobody_said(rig: Rig, adversary: Adversary) -> None:
    gone = {id for (id,) in rig.rows("SELECT resource_id FROM history WHERE event = 'gone'")}
    assert gone <= adversary.deleted
    books = rig.cloud.counters
    assert books.if_match_star == books.if_match_unquoted == books.if_match_missing == 0


def assert_everything_is_as_declared(rig: Rig) -> None:
    truth = rig.truth()
    assert all(document["enabled"] for document in truth.values())
    named = {id: document["displayName"] for id, document in truth.items() if id.endswith("1") or id.startswith("new")}
    assert set(named.values()) <= {"as declared"}
    for device in rig.cloud.truth():
        if device["id"][-5:-1] == "0000":
            assert device["properties"]["$metadata"]["targetTemperature"]["desiredValue"] == 21.5
    assert rig.rows("SELECT COUNT(*) FROM drift") == [(0,)]
    assert rig.rows("SELECT COUNT(*) FROM writes WHERE outcome = 'open'") == [(0,)]
