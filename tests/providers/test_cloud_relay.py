"""The relay's provider: the contract, and what is peculiar to a service that has devices and no list of them."""

import asyncio
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fleetsync.core.declaration import ABSENT
from fleetsync.core.model import DEVICE, Cursor, Page, Part, ResourceKey
from fleetsync.core.path import Path
from fleetsync.core.plan import Change, DriftState, Guard, GuardKind, Leaf
from fleetsync.errors import (
    AuthError,
    DeviceFaultError,
    InvalidResponseError,
    NotFoundError,
    NotYetError,
    RejectedError,
    ResourceError,
    ServerFaultError,
    ThrottledError,
    TransientError,
)
from fleetsync.providers.base import Endpoint, Target
from fleetsync.providers.cloud_relay import DEVICES_AT_ONCE, PROVIDER, VALUES, CloudRelay, FromSource, Settings
from fleetsync.simulator import Cloud, Options, parse_faults
from fleetsync.simulator.cloud_relay.service import Shares
from tests.fakes.clock import FakeClock
from tests.fakes.http import CloudHttp, lost
from tests.fakes.known import KnownDocuments
from tests.providers.contract import ProviderContract

WELL = Shares(offline=0, slow=0, rubbish=0, hollow=0, large=0)
OPTIONS = Options(
    listen="127.0.0.1:8080", kinds=("cloud-relay",), seed=3, latency_s=0.0, relay_devices=60, relay_shares=WELL
)
OBJECTS = "protocols/bacnet/local/objects"
VALUE = f"{OBJECTS}/analog-value/1/properties/present-value"
OTHER = f"{OBJECTS}/analog-value/2/properties/present-value"
INPUT = f"{OBJECTS}/analog-input/1/properties/present-value"
REREAD = Guard(kind=GuardKind.REREAD)


class Buildings:
    """A relay with sixty devices that are well, a mirror of dicts, and a source."""

    def __init__(self, **own: Any) -> None:
        self.clock = FakeClock()
        self.cloud = Cloud(OPTIONS, now=lambda: self.clock.now().timestamp())
        self.http = CloudHttp(self.cloud, self.clock)
        self.relay = self.cloud.relay
        self.known = KnownDocuments()
        self.source = self.connected(**own)

    def connected(self, **own: Any) -> CloudRelay:
        own.setdefault("roster", self.ids())
        endpoint = Endpoint(
            name="buildings",
            url=self.cloud.relay_url + "/",
            http=self.http,
            known=self.known,
            clock=self.clock,
            settings=Settings(**own),
        )
        return CloudRelay(endpoint)

    def ids(self) -> tuple[str, ...]:
        return self.relay.roster.ids()

    async def pages(self, source: CloudRelay | None = None) -> list[Page]:
        pages, cursor = [], None
        while not pages or cursor is not None:
            pages.append(await self.clock.run((source or self.source).page(DEVICE, cursor)))
            cursor = pages[-1].next
        return pages

    async def document(self, id: str, source: CloudRelay | None = None) -> dict[str, Any]:
        """Read a device, and keep what it shows as the mirror would."""
        key = device(id)
        resource = await self.clock.run((source or self.source).read(key))
        self.known[key] = resource.document
        self.known.observed[key] = self.clock.now()
        document: dict[str, Any] = msgspec.json.decode(resource.document)
        assert document["connectionState"] == resource.facts.connection_state
        return document

    async def patch(self, change: Change, source: CloudRelay | None = None) -> Any:
        return await self.clock.run((source or self.source).patch(change))


def device(id: str, source: str = "buildings") -> ResourceKey:
    return ResourceKey(source, DEVICE, id)


def change(id: str, **values: object) -> Change:
    return changes(
        id, {path: values[name] for name, path in (("one", VALUE), ("two", OTHER), ("input", INPUT)) if name in values}
    )


def changes(id: str, values: dict[str, object]) -> Change:
    leaves = tuple(
        Leaf(path=(path, "value"), actual=ABSENT, declared=value, declarations=("d",)) for path, value in values.items()
    )
    return Change(key=device(id), part=VALUES, guard=REREAD, leaves=leaves)


@pytest.fixture
def buildings() -> Buildings:
    return Buildings()


class TestCloudRelayContract(ProviderContract):
    kind = "cloud-relay"

    @pytest.fixture
    def target(self) -> CloudRelay:
        self.buildings = Buildings()
        for id in self.buildings.ids():
            self.buildings.known[device(id, "hub")] = b"{}"
        return self.buildings.connected(roster=FromSource(source="hub"))

    def ids(self) -> list[str]:
        return [key.id for key in self.buildings.known]

    def edit(self, id: str) -> None:
        self.buildings.relay.operator_edit(id, OTHER, "99")

    def make_empty(self) -> None:
        async def ids(source: str, type: object, *, after: str, most: int) -> list[str]:
            return []

        self.buildings.known.ids = ids  # type: ignore[method-assign]

    def lose_the_array(self) -> None:
        self.buildings.known.clear()

    async def test_absent_is_not_empty(self, target: Target) -> None:
        self.lose_the_array()
        with pytest.raises(NotYetError):
            await target.page(DEVICE, None)

    def desired(self) -> tuple[Part, Path, object]:
        return VALUES, (VALUE, "value"), "77"

    async def shown(self, target: Target, id: str) -> object:
        detail = await target.detail_at(device(id), VALUES, [(VALUE, "value"), (OTHER, "value")])
        return target.declarable(DEVICE, {}, {VALUES: msgspec.json.decode(detail.document)})


class TestTheRoster:
    async def test_pages_are_slices_in_order_and_say_which_device_each_document_is(self, buildings: Buildings) -> None:
        pages = await buildings.pages(buildings.connected(roster=tuple(reversed(buildings.ids()))))
        assert [len(page.resources) for page in pages] == [25, 25, 10]
        ids = [one.id for page in pages for one in page.resources]
        assert ids == sorted(buildings.ids())

    async def test_a_roster_that_changes_between_pages_shows_nobody_twice(self, buildings: Buildings) -> None:
        ids = sorted(buildings.ids())
        for id in ids:
            buildings.known[device(id, "hub")] = b"{}"
        source = buildings.connected(roster=FromSource(source="hub"))
        first = await buildings.clock.run(source.page(DEVICE, None))
        for id in ids[:30]:
            del buildings.known[device(id, "hub")]
        second = await buildings.clock.run(source.page(DEVICE, first.next))
        assert first.next == Cursor(ids[24])
        assert [one.id for one in second.resources] == ids[30:55]

    async def test_a_device_is_gone_when_the_roster_does_not_name_it_and_not_before(self, buildings: Buildings) -> None:
        id = buildings.ids()[0]
        buildings.relay.moods[id] = "offline"
        assert (await buildings.document(id))["connectionState"] == "offline"
        with pytest.raises(NotFoundError, match="roster"):
            await buildings.connected(roster=buildings.ids()[1:]).read(device(id))
        buildings.known[device(id, "hub")] = b"{}"
        assert (await buildings.document(id, buildings.connected(roster=FromSource(source="hub"))))["deviceId"] == id
        with pytest.raises(NotFoundError):
            await buildings.connected(roster=FromSource(source="other")).read(device(id))

    @pytest.mark.parametrize(
        ("own", "said"),
        [
            ({"roster": ()}, "empty"),
            ({"paths": ()}, "empty"),
            ({"roster": ("a", "b", "a")}, "'a' twice"),
            ({"paths": ("/info",)}, "a path is what follows"),
            ({"paths": ("info\r\nX: y",)}, "a path is what follows"),
            ({"paths": ("readAt",)}, "of its own"),
            ({"roster": ("",)}, "empty id"),
        ],
    )
    def test_settings_that_make_no_sense_are_refused(self, own: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            Settings(**{"roster": ("a",), **own})

    def test_settings_of_another_kind_are_a_mistake(self, buildings: Buildings) -> None:
        endpoint = Endpoint(
            name="x", url="http://a", http=buildings.http, known=buildings.known, clock=buildings.clock, settings=()
        )
        with pytest.raises(TypeError):
            CloudRelay(endpoint)

    def test_sources_of_one_relay_share_its_rate(self) -> None:
        one, other = (
            PROVIDER.scope(url, Settings(roster=("a",))) for url in ("https://R.example", "https://r.example/")
        )
        assert one == other == "relay r.example"


class TestDocuments:
    async def test_a_document_has_a_member_for_each_path_and_is_the_same_while_those_are(
        self, buildings: Buildings
    ) -> None:
        truth = buildings.relay.truth()[0]
        document = await buildings.document(truth["deviceId"])
        assert {path: document[path] for path in truth["resources"]} == truth["resources"]
        assert (document["connectionState"], document["faults"], document["readAt"]) == ("online", {}, {})
        for mood in ("offline", "offline", None):
            if mood is None:
                del buildings.relay.moods[truth["deviceId"]]
            else:
                buildings.relay.moods[truth["deviceId"]] = mood
            await buildings.clock.advance(600)
            after = await buildings.document(truth["deviceId"])
            read_at = {} if mood is None else dict.fromkeys(truth["resources"], "2026-11-21T18:00:00.000Z")
            assert after["readAt"] == read_at
        assert after == document

    async def test_other_paths_can_be_configured_and_one_that_is_not_there_is_null(self, buildings: Buildings) -> None:
        source = buildings.connected(paths=("info", VALUE, "nothing/here"))
        document = await buildings.document(buildings.ids()[0], source)
        assert document[VALUE]["name"] == "presentValue"
        assert document["nothing/here"] is None
        assert document["readAt"] == document["faults"] == {}
        assert "info/device" not in document

    async def test_one_that_is_offline_stays_as_it_was(self, buildings: Buildings) -> None:
        id = buildings.ids()[0]
        before = await buildings.document(id)
        buildings.relay.moods[id] = "offline"
        await buildings.clock.advance(600)
        asked = buildings.http.requests
        after = await buildings.document(id)
        assert buildings.http.requests == asked + 1, "who is offline is asked once, not for every path"
        assert after["connectionState"] == "offline"
        assert "1000" in after["faults"]["info"]
        assert {**after, "connectionState": "online", "faults": {}, "readAt": {}} == before

    async def test_one_that_was_never_heard_of_is_there_all_the_same(self, buildings: Buildings) -> None:
        id = buildings.ids()[0]
        buildings.relay.moods[id] = "offline"
        for _ in range(2):
            document = await buildings.document(id)
            assert (document["info"], document["connectionState"]) == (None, "offline")
            assert document["readAt"] == dict.fromkeys(Settings(roster=(id,)).paths, None)

    @pytest.mark.parametrize("mood", ["rubbish", "slow", "hollow"])
    async def test_no_fault_of_a_device_keeps_the_others_from_being_listed(
        self, buildings: Buildings, mood: Any
    ) -> None:
        ill = buildings.ids()[::7]
        buildings.relay.moods = dict.fromkeys(ill, mood)
        buildings.relay.shares = replace(WELL, slow_s=40.0)
        found = {one.id: one.facts.connection_state for page in await buildings.pages() for one in page.resources}
        assert found == {id: "silent" if id in ill else "online" for id in buildings.ids()}

    async def test_what_is_too_large_is_one_path_and_no_more(self, buildings: Buildings) -> None:
        id = buildings.ids()[0]
        before = await buildings.document(id)
        buildings.relay.moods[id] = "large"
        await buildings.clock.advance(600)
        after = await buildings.document(id)
        assert list(after["faults"]) == ["info/network"]
        assert after["info/network"] == before["info/network"]
        assert after["readAt"] == {"info/network": "2026-11-21T18:00:00.000Z"}

    async def test_what_the_mirror_could_not_store_is_a_fault_of_its_path(self, buildings: Buildings) -> None:
        for body in (b'{"a":"\\u0000"}', b"<html>", b"null", b"21.5"):
            source = replaced(buildings, body)
            document = await buildings.document(buildings.ids()[0], source)
            assert document["info"] is None
            assert "info" in document["faults"]


def replaced(buildings: Buildings, body: bytes) -> CloudRelay:
    """Return a source that is answered with a body to `info`, and as ever to all else."""
    inner = buildings.http

    class Http:
        async def send(self, request: Any) -> Any:
            response = await inner.send(request)
            return (
                msgspec.structs.replace(response, body=body)
                if request.headers["Remote-Query"].endswith("/info")
                else response
            )

    endpoint = Endpoint(
        name="buildings",
        url=buildings.cloud.relay_url,
        http=Http(),
        known=buildings.known,
        clock=buildings.clock,
        settings=Settings(roster=buildings.ids()),
    )
    return CloudRelay(endpoint)


class TestTrouble:
    @pytest.mark.parametrize(
        ("faults", "error"),
        [
            ("status=503", ServerFaultError),
            ("status=500", ServerFaultError),
            ("status=401", AuthError),
            ("status=403", AuthError),
            ("status=404", InvalidResponseError),
            ("status=502", ServerFaultError),
        ],
    )
    async def test_what_everybody_meets_with_is_the_relays_trouble(
        self, buildings: Buildings, faults: str, error: type[Exception]
    ) -> None:
        buildings.cloud.faults = parse_faults(faults)
        with pytest.raises(error):
            await buildings.clock.run(buildings.source.page(DEVICE, None))
        with pytest.raises(error):
            await buildings.clock.run(buildings.source.read(device(buildings.ids()[0])))

    @pytest.mark.parametrize("status", [500, 502, 403, 404])
    async def test_what_one_meets_with_is_its_own(self, buildings: Buildings, status: int) -> None:
        buildings.cloud.faults = parse_faults(f"status={status}@5")
        page = await buildings.clock.run(buildings.source.page(DEVICE, None))
        assert len(page.resources) == 25

    async def test_a_hub_that_cannot_be_reached_and_a_spent_day_are_everybodys(self, buildings: Buildings) -> None:
        buildings.cloud.faults = parse_faults("status=503@5")
        with pytest.raises(ServerFaultError):
            await buildings.clock.run(buildings.source.page(DEVICE, None))
        buildings.relay.daily_quota = 70
        buildings.cloud.faults = ()
        with pytest.raises(ThrottledError) as caught:
            await buildings.pages()
        assert caught.value.retry_after_s == 6 * 3600

    async def test_a_connection_that_breaks_is_everybodys(self, buildings: Buildings) -> None:
        buildings.http.on(3, before=lost)
        with pytest.raises(Exception, match="reset"):
            await buildings.clock.run(buildings.source.page(DEVICE, None))

    async def test_few_devices_are_asked_at_once_and_each_for_one_thing(self, buildings: Buildings) -> None:
        buildings.cloud.relay._desk.latency_s = 0.5
        id = buildings.ids()[0]
        source = buildings.source
        work = [source.page(DEVICE, None), *(source.read(device(id)) for _ in range(3))]

        async def all_of_them() -> None:
            await asyncio.gather(*work)

        await buildings.clock.run(all_of_them())
        assert buildings.relay.most_per_device == 1
        calls = buildings.relay.calls()
        under_way = [sum(one.at <= call.at < one.ends_at for one in calls) for call in calls]
        assert max(under_way) == DEVICES_AT_ONCE

    async def test_an_id_that_no_path_can_hold_is_refused_and_stops_nobody(self, buildings: Buildings) -> None:
        source = buildings.connected(roster=(".", buildings.ids()[0]))
        page = await buildings.clock.run(source.page(DEVICE, None))
        assert [one.facts.connection_state for one in page.resources] == ["silent", "online"]


class TestValues:
    async def test_values_are_read_where_declarations_name_them(self, buildings: Buildings) -> None:
        id = buildings.ids()[0]
        paths = [(VALUE, "value"), ("nothing/here", "value"), ("info", "value")]
        detail = await buildings.clock.run(buildings.source.detail_at(device(id), VALUES, paths))
        value = buildings.relay.value(id, VALUE)
        assert msgspec.json.decode(detail.document) == {VALUE: {"value": value}, "nothing/here": None, "info": {}}

    async def test_null_is_not_read_as_a_value_that_is_not_there(self, buildings: Buildings) -> None:
        with pytest.raises(ResourceError, match="info"):
            await replaced(buildings, b"null").detail_at(device(buildings.ids()[0]), VALUES, [("info", "value")])

    async def test_a_part_without_paths_and_another_part_are_mistakes(self, buildings: Buildings) -> None:
        with pytest.raises(LookupError):
            await buildings.source.detail(device("a"), VALUES)
        with pytest.raises(LookupError):
            await buildings.source.detail_at(device("a"), Part("other"), [])

    async def test_a_device_that_is_offline_cannot_be_read_for_a_write(self, buildings: Buildings) -> None:
        id = buildings.ids()[0]
        buildings.relay.moods[id] = "offline"
        with pytest.raises(DeviceFaultError) as caught:
            await buildings.clock.run(buildings.source.detail_at(device(id), VALUES, [(VALUE, "value")]))
        assert isinstance(caught.value, ResourceError)

    async def test_a_controller_that_denies_a_read_is_no_trouble_of_the_source(self, buildings: Buildings) -> None:
        for status in (403, 302):
            buildings.cloud.faults = parse_faults(f"status={status}")
            with pytest.raises(RejectedError):
                await buildings.clock.run(
                    buildings.source.detail_at(device(buildings.ids()[0]), VALUES, [(VALUE, "value")])
                )
        buildings.cloud.faults = parse_faults("status=401")
        with pytest.raises(AuthError):
            await buildings.clock.run(
                buildings.source.detail_at(device(buildings.ids()[0]), VALUES, [(VALUE, "value")])
            )

    async def test_each_value_is_posted_alone(self, buildings: Buildings) -> None:
        id = buildings.ids()[0]
        written = await buildings.patch(change(id, one="11", two="12"))
        assert (written.shown, written.status) == (None, 200)
        assert [buildings.relay.value(id, path) for path in (VALUE, OTHER)] == ["11", "12"]
        assert [(call.method, call.remote.rpartition("objects/")[2]) for call in buildings.relay.calls()] == [
            ("POST", "analog-value/1/properties/present-value"),
            ("POST", "analog-value/2/properties/present-value"),
        ]

    async def test_what_a_controller_refuses_keeps_nothing_else_from_being_written(self, buildings: Buildings) -> None:
        id = buildings.ids()[0]
        with pytest.raises(RejectedError, match="analog-input") as caught:
            await buildings.patch(change(id, input="5", one="13"))
        assert "analog-value" not in str(caught.value)
        assert buildings.relay.value(id, VALUE) == "13"

    @pytest.mark.parametrize("status", [403, 404, 409, 410, 412])
    async def test_with_whatever_status_a_controller_refuses_one_value_the_others_are_written(
        self, buildings: Buildings, status: int
    ) -> None:
        id = buildings.ids()[0]
        for number in (1, 2):
            before = {path: buildings.relay.value(id, path) for path in (VALUE, OTHER)}
            buildings.cloud.faults = parse_faults(f"status={status}@{number}")
            with pytest.raises(RejectedError):
                await buildings.patch(change(id, one=f"{number}1", two=f"{number}2"))
            after = {path: buildings.relay.value(id, path) for path in (VALUE, OTHER)}
            assert sum(after[path] != before[path] for path in before) == 1

    async def test_together_means_one_request_whose_200_can_hold_failures(self, buildings: Buildings) -> None:
        id = buildings.ids()[0]
        source = buildings.connected(write_multiple=True)
        await buildings.patch(change(id, one="11", two="12"), source)
        assert [call.remote.rpartition("/")[2] for call in buildings.relay.calls()] == ["write-property-multiple"]
        assert [buildings.relay.value(id, path) for path in (VALUE, OTHER)] == ["11", "12"]
        with pytest.raises(RejectedError, match=f"{INPUT}: write access denied") as caught:
            await buildings.patch(change(id, one="14", input="5"), source)
        assert VALUE not in str(caught.value)
        assert buildings.relay.value(id, VALUE) == "14"

    async def test_what_is_no_property_of_an_object_is_posted_alone_all_the_same(self, buildings: Buildings) -> None:
        id = buildings.ids()[0]
        source = buildings.connected(write_multiple=True)
        with pytest.raises(RejectedError, match="info/bacnet"):
            await buildings.patch(changes(id, {VALUE: "15", "info/bacnet": "x"}), source)
        remotes = [call.remote.rpartition("/")[2] for call in buildings.relay.calls()]
        assert remotes == ["write-property-multiple", "bacnet"]

    @pytest.mark.parametrize("body", [b'{"propertyReferences":[]}', b"{}", b'{"propertyReferences":null}'])
    async def test_an_answer_that_leaves_something_out_says_nothing(self, buildings: Buildings, body: bytes) -> None:
        class Http:
            async def send(self, request: Any) -> Any:
                return msgspec.structs.replace(await buildings.http.send(request), body=body)

        source = buildings.connected(write_multiple=True)
        source._http = Http()
        with pytest.raises(InvalidResponseError):
            await buildings.patch(change(buildings.ids()[0], one="1"), source)

    async def test_nothing_more_is_sent_after_a_timeout(self, buildings: Buildings) -> None:
        id = buildings.ids()[0]
        buildings.relay.moods[id] = "slow"
        with pytest.raises(DeviceFaultError) as caught:
            await buildings.patch(change(id, one="11", two="12"))
        assert caught.value.sent
        assert len(buildings.relay.calls(id)) == 1

    async def test_of_what_was_written_before_a_sign_in_failed_nobody_says_that_it_was_refused(
        self, buildings: Buildings
    ) -> None:
        def refuse(_: object) -> None:
            buildings.cloud.faults = parse_faults("status=401")

        id = buildings.ids()[0]
        buildings.http.on(2, before=refuse)
        with pytest.raises(TransientError) as caught:
            await buildings.patch(change(id, one="11", two="12"))
        assert (caught.value.sent, caught.value.status) == (True, 401)
        with pytest.raises(AuthError):
            await buildings.patch(change(id, one="11", two="12"))

    async def test_of_what_was_written_in_part_nobody_says_that_nothing_was(self, buildings: Buildings) -> None:
        id = buildings.ids()[0]
        buildings.http.on(2, before=lambda _: buildings.relay.moods.update({id: "offline"}))
        with pytest.raises(DeviceFaultError) as caught:
            await buildings.patch(change(id, one="11", two="12"))
        assert caught.value.sent
        with pytest.raises(DeviceFaultError) as caught:
            await buildings.patch(change(id, one="11", two="12"))
        assert not caught.value.sent

    def test_what_cannot_be_asked_for_is_held(self, buildings: Buildings) -> None:
        wanted = changes("a", {VALUE: "1", "/info": "1", "a b": "1", "readAt": "1", OTHER: ABSENT})
        held = buildings.source.objections(wanted, None)  # type: ignore[arg-type]
        assert [(one.path[0], one.state) for one in held] == [
            (path, DriftState.HELD) for path in ("/info", "a b", "readAt", OTHER)
        ]

    def test_nothing_but_values_is_declarable(self, buildings: Buildings) -> None:
        assert buildings.source.declarable(DEVICE, {"info": {}}, {}) == {}
        spec = PROVIDER.kind.specs[DEVICE]
        assert spec.writable_at((VALUE, "value")) is not None
        for path in (("value",), (VALUE, "value", "x"), (VALUE, "asnValue")):
            assert spec.writable_at(path) is None
