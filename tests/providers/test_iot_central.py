"""Azure IoT Central: the contract, pages as they are on the wire, and what is peculiar to this service."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from fleetsync.core.declaration import ABSENT, UNKNOWN
from fleetsync.core.model import DEVICE, Cursor, ETag, Facts, Part, Resource, ResourceKey, ResourceType
from fleetsync.core.path import Path
from fleetsync.core.plan import Change, Guard, GuardKind, Leaf
from fleetsync.errors import InvalidResponseError, NotFoundError, RejectedError, ResourceError
from fleetsync.providers.base import Endpoint, kinds, load
from fleetsync.providers.iot_central import (
    _PLACES,
    DOCUMENT,
    PREVIEW,
    PROPERTIES,
    PROVIDER,
    STABLE,
    IotCentral,
    Settings,
    _read,
    desired_properties,
    reported_properties,
)
from fleetsync.simulator import Cloud, Options, parse_faults
from fleetsync.transport.http import Request, Response
from tests.fakes.clock import FakeClock
from tests.fakes.http import CloudHttp
from tests.fakes.known import KnownDocuments
from tests.providers.contract import ProviderContract

URL = "http://127.0.0.1:8080"
GROUP, TEMPLATE = ResourceType("device-group"), ResourceType("device-template")
ENROLLMENT, ORGANIZATION = ResourceType("enrollment-group"), ResourceType("organization")
VERSIONS = pytest.mark.parametrize("version", [PREVIEW, STABLE])
ODD_IDS = (
    "a/b", "a%2fb", "%", "#", "?x=1", "a+b", "a:b", "me@home", "it's", "(1)", "a b", " ", "...", "a&b=c", "a;b", "a\\b",
    "'; DROP TABLE resource; --", "\x1b[31m", "a\nb", "\x7f", "温度計", "🌧", "e\u0301", "x" * 255, "ä" * 127, "~", "%00",
)  # fmt: skip


def central(http: Any, version: Any = PREVIEW) -> IotCentral:
    return IotCentral(
        Endpoint(
            name="plant",
            url=URL + "/",
            http=http,
            known=KnownDocuments(),
            clock=FakeClock(),
            settings=Settings(api_version=version),
        )
    )


@dataclass
class Service:
    """The simulated application, and a way to send to it."""

    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        clock = FakeClock()
        options = {"listen": "127.0.0.1:8080", "devices": 60, "rate": "none", "latency_s": 0.0} | self.options
        self.cloud = Cloud(Options(**options), now=lambda: clock.now().timestamp())
        self.http = CloudHttp(self.cloud, clock, page_size=25)


class Centrals(ProviderContract):
    kind = "iot-central"
    version: Any

    @pytest.fixture
    def target(self) -> IotCentral:
        self.service = Service()
        return central(self.service.http, self.version)

    def ids(self) -> list[str]:
        return list(self.service.cloud.application.devices.ids)

    def edit(self, id: str) -> None:
        self.service.cloud.operator_edit(id, {"note": "somebody else's"})

    def make_empty(self) -> None:
        for id in self.ids():
            self.service.cloud.delete_device(id)

    def lose_the_array(self) -> None:
        self.service.cloud.faults = parse_faults("no-value")

    def desired(self) -> tuple[Part, Path, object]:
        return DOCUMENT, ("displayName",), "as declared"


class TestIotCentralPreview(Centrals):
    version = PREVIEW


class TestIotCentralStable(Centrals):
    version = STABLE


@pytest.fixture
def service() -> Service:
    return Service()


@dataclass
class Answers:
    """Answers with what it is given, and keeps the requests."""

    body: bytes | str
    status: int = 200
    sent: list[Request] = field(default_factory=list)

    async def send(self, request: Request) -> Response:
        self.sent.append(request)
        body = self.body if isinstance(self.body, bytes) else self.body.encode()
        return Response(status=self.status, headers={"x-ms-request-id": "r-1"}, body=body)


def change(id: str, part: Part, guard: Guard, *leaves: Leaf, type: ResourceType = DEVICE) -> Change:
    return Change(key=ResourceKey("plant", type, id), part=part, guard=guard, leaves=leaves)


def leaf(path: Path, declared: object) -> Leaf:
    return Leaf(path=path, actual=UNKNOWN, declared=declared, declarations=("d",))


NAME = leaf(("displayName",), "n")
MATCH = Guard(kind=GuardKind.IF_MATCH, etag=ETag("e"))


# Pages


async def test_the_first_page_is_asked_for_by_version_and_in_the_preview_by_size() -> None:
    for type, path, sized in [
        (DEVICE, "devices", True), (GROUP, "deviceGroups", True), (TEMPLATE, "deviceTemplates", True),
        (ENROLLMENT, "enrollmentGroups", False), (ORGANIZATION, "organizations", False),
    ]:  # fmt: skip
        for version in (PREVIEW, STABLE):
            http = Answers('{"value":[]}')
            await central(http, version).page(type, None)
            size = "&maxpagesize=100" if sized and version == PREVIEW else ""
            assert http.sent[0].url == f"{URL}/api/{path}?api-version={version}{size}"
            assert (http.sent[0].method, http.sent[0].operation) == ("GET", "list")


@pytest.mark.parametrize(
    "link",
    [
        f"{URL}/api/devices?api-version=1&%24skiptoken=%257B%2522token%2522%253A%2522%252BRID%253A~abc%2522%257D",
        f"{URL}/api/devices?api-version=1&$skiptoken=1%3Aa+b%3A%2f",
        f"{URL}/api/devices?x=%zz&é=ü",
        "https://elsewhere.example/whatever",
    ],
)
async def test_a_next_link_goes_out_byte_for_byte(link: str) -> None:
    http = Answers(json.dumps({"value": [], "nextLink": link}))
    source = central(http)
    page = await source.page(DEVICE, None)
    assert page.next == link
    await source.page(DEVICE, page.next)
    assert http.sent[1].url == link


@VERSIONS
async def test_a_link_that_the_service_made_is_understood_by_it(service: Service, version: str) -> None:
    source = central(service.http, version)
    first = await source.page(DEVICE, None)
    second = await source.page(DEVICE, first.next)
    assert len(second.resources) == 25
    assert {one.id for one in first.resources}.isdisjoint({one.id for one in second.resources})


@pytest.mark.parametrize("end", ["", ',"nextLink":null', ',"nextLink":""'])
async def test_the_last_page_has_no_link_or_an_empty_one(end: str) -> None:
    page = await central(Answers(b'{"value":[{"id":"a"}]%b}' % end.encode())).page(DEVICE, None)
    assert page.next is None
    assert [one.id for one in page.resources] == ["a"]


async def test_an_empty_page_with_a_link_is_not_the_last() -> None:
    page = await central(Answers('{"value":[],"nextLink":"http://x/"}')).page(DEVICE, None)
    assert (page.resources, page.next) == ((), "http://x/")


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", "{}", '{"value":null}', '{"value":{}}', '{"value":[],"nextLink":1}', "<html>", '{"value":[',
     '{"value":[null]}', '{"value":["a"]}', '{"value":[{}]}', '{"value":[{"id":null}]}', '{"value":[{"id":1}]}',
     '{"value":[{"id":""}]}', '{"value":[NaN]}', b'{"value":[{"id":"\xff"}]}', '{"value":' + "[" * 5000 + "]" * 5000 + "}",
     '{"value":[{"id":"a","x":' + "[" * 5000 + "]" * 5000 + "}]}", '{"error":{"code":"x","message":"y"}}'],
)  # fmt: skip
async def test_a_page_that_is_not_what_was_promised_is_no_page(body: str | bytes) -> None:
    with pytest.raises(InvalidResponseError):
        _ = (await central(Answers(body)).page(DEVICE, None)).ids


@pytest.mark.parametrize(
    "value",
    [rb'"\u0000"', rb'"\ud800"', rb'"\udc00 \u0041"', b'"\xff"', b"1e999", b"9" * 5000],
    ids=["nul", "high half", "low half", "latin-1", "too large", "too long"],
)
async def test_one_document_that_cannot_be_stored_leaves_its_page_and_its_neighbours_as_they_are(value: bytes) -> None:
    before, after = b'{ "id": "a", "n": "\\u00e9" }', b'{"id":"c","n":1.50}'
    page = await central(Answers(b'{"value":[%b,{"id":"b","n":%b},%b]}' % (before, value, after))).page(DEVICE, None)
    assert [one.document for one in page.resources] == [before, after]
    assert [one.id for one in page.unreadable] == ["b"]
    assert page.unreadable[0].reason


@pytest.mark.parametrize("value", [rb'"\u0000"', rb'"\ud800"', b'"\xff"', b"1e999"])
async def test_a_single_document_that_cannot_be_stored_is_its_own_trouble_alone(value: bytes) -> None:
    source = central(Answers(b'{"id":"b","n":%b}' % value))
    with pytest.raises(ResourceError, match="cannot be stored"):
        await source.read(ResourceKey("plant", DEVICE, "b"))
    written = await source.patch(change("b", DOCUMENT, MATCH, NAME))
    assert written.shown is None


_AS_DOCUMENTED = b'{"id":"a","etag":"e","displayName":"n","enabled":true,"organizations":["o"],"type":["iotEdge"]}'


@pytest.mark.parametrize(
    "other",
    [b'{"id":"b"}', b'{"id":"b","etag":null,"enabled":null}', b'{"id":"b","etag":1}', b'{"id":"b","enabled":"no"}',
     b'{"id":"b","n":1.50}', b'{"id":"b","n":1e999}', rb'{"id":"b","etag":"\u00e9\u0000"}', b'{"id":"b","etag":"\xff"}',
     rb'{"id":"b","etag":"\ud800"}', b'{"id":"b","organizations":"o"}', b'{"id":"b","etag":"d","etag":"e"}',
     b'{ "id" : "b" , "displayName" : "\xc3\xa9 \\" \\\\" }', b'{"id":"b","deploymentManifest":{"a":[1,{"b":2}]}}'],
)  # fmt: skip
async def test_a_page_that_is_looked_into_at_once_shows_what_each_of_its_documents_does(other: bytes) -> None:
    for shown in ([other], [_AS_DOCUMENTED, other], [other, _AS_DOCUMENTED]):
        page = await central(Answers(b'{"value":[%b]}' % b",".join(shown))).page(DEVICE, None)
        assert list(page.read(range(len(shown)))) == [_read(_PLACES[DEVICE], bytes(one)) for one in page.documents]


async def test_what_has_no_id_is_named_by_its_place_in_the_page() -> None:
    source = central(Answers(b'{"value":[{"id":"a"},{"id":"b"},{"etag":"e"}]}'))
    page = await source.page(DEVICE, None)
    assert page.ids_at([1]) == ["b"]
    with pytest.raises(InvalidResponseError, match=r"\$\[2\]"):
        page.ids_at([0, 2])
    with pytest.raises(InvalidResponseError, match=r"\$\[2\]"):
        await source.page(ENROLLMENT, None)


async def test_documents_are_kept_byte_for_byte() -> None:
    texts = [b'{"id":"a",  "z":1.0,"a":"\\u00e9\\/"}', '{"unknown":{"deep":[1]},"id":"é"}'.encode()]
    page = await central(Answers(b'{"value":[%b]}' % b",".join(texts))).page(DEVICE, None)
    assert [one.document for one in page.resources] == texts


# Facts


def device(**members: object) -> Resource:
    page = msgspec.json.encode({"id": "a", **members})
    return _run(central(Answers(b'{"value":[%b]}' % page)).page(DEVICE, None)).resources[0]


def _run(work: Any) -> Any:
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def test_facts_are_taken_from_the_document() -> None:
    one = device(etag="e", displayName="n", enabled=True, provisioned=False, simulated=True, template="dtmi:a;1")
    assert one.etag == "e"
    assert one.facts == Facts(display_name="n", enabled=True, provisioned=False, simulated=True, template="dtmi:a;1")


@pytest.mark.parametrize("wrong", [None, 1, 1.5, [], {}, "x"])
def test_a_fact_of_a_wrong_type_is_no_fact(wrong: object) -> None:
    text = wrong if isinstance(wrong, str) else None
    one = device(etag=wrong, displayName=wrong, enabled=wrong, provisioned=wrong, simulated=wrong, template=wrong)
    assert one.facts == Facts(display_name=text, template=text)
    assert one.etag == text


def test_a_flag_is_no_text() -> None:
    one = device(etag=True, displayName=True, enabled=True)
    assert (one.etag, one.facts.display_name, one.facts.enabled) == (None, None, True)


async def test_the_id_of_a_template_is_its_dtmi(service: Service) -> None:
    source = central(service.http)
    page = await source.page(TEMPLATE, None)
    assert "dtmi:contoso:pump;1" in [one.id for one in page.resources]
    one = await source.read(ResourceKey("plant", TEMPLATE, "dtmi:contoso:pump;1"))
    assert "/deviceTemplates/dtmi%3Acontoso%3Apump%3B1?" in service.http.sent[-1].url
    assert one in page.resources


@pytest.mark.parametrize("type", [DEVICE, GROUP, TEMPLATE, ENROLLMENT, ORGANIZATION])
@VERSIONS
async def test_every_type_is_listed_and_read_alike(service: Service, type: ResourceType, version: str) -> None:
    source = central(service.http, version)
    page = await source.page(type, None)
    assert page.resources
    for one in page.resources[:3]:
        assert await source.read(ResourceKey("plant", type, one.id)) == one


# Secrets


async def test_the_keys_of_enrollment_groups_are_left_out_and_nothing_else(service: Service) -> None:
    source = central(service.http)
    page = await source.page(ENROLLMENT, None)
    for one in page.resources:
        sent = service.cloud.application.enrollment_groups
        entry = sent.get(one.id)
        assert entry is not None
        document = sent.document(entry)
        keys = document["attestation"].pop("symmetricKey")
        assert json.loads(one.document) == {**document, "attestation": {"type": "symmetricKey", "symmetricKey": {}}}
        for key in keys.values():
            assert key.encode() not in one.document
        assert await source.read(ResourceKey("plant", ENROLLMENT, one.id)) == one


async def test_an_enrollment_group_without_keys_stays_byte_for_byte() -> None:
    text = b'{"id":"a", "attestation":{"type":"x509","x509":{"signingCertificates":{}}}}'
    page = await central(Answers(b'{"value":[%b]}' % text)).page(ENROLLMENT, None)
    assert page.resources[0].document == text


async def test_the_answer_to_a_write_holds_no_keys_either() -> None:
    body = b'{"id":"a","attestation":{"symmetricKey":{"primaryKey":"s3cret","secondaryKey":"s3cret"}}}'
    written = await central(Answers(body)).patch(change("a", DOCUMENT, MATCH, NAME, type=ENROLLMENT))
    assert isinstance(written.shown, Resource)
    assert b"s3cret" not in written.shown.document


# Ids


@pytest.mark.parametrize("id", ODD_IDS)
async def test_an_odd_id_reaches_its_device_and_no_other(id: str) -> None:
    service = Service({"devices": 0})
    service.cloud.add_device(id, {"displayName": "mine"})
    for other in ("a", "b", "%", "a%2fb", "x" * 254, "DROP", ""):
        if other and other != id:
            service.cloud.add_device(other, {"displayName": "not mine"})
    source, key = central(service.http), ResourceKey("plant", DEVICE, id)

    shown = await source.read(key)
    assert (shown.id, shown.facts.display_name) == (id, "mine")
    guard = source.guard(DOCUMENT, shown)
    assert guard is not None
    await source.patch(change(id, DOCUMENT, guard, NAME))
    await source.patch(change(id, PROPERTIES, Guard(kind=GuardKind.REREAD), leaf(("properties", "p"), 1)))
    detail = await source.detail(key, PROPERTIES)

    assert json.loads(detail.document)["$metadata"]["p"]["desiredValue"] == 1
    names = {one["id"]: one["displayName"] for one in service.cloud.truth()}
    assert [other for other, name in names.items() if name != "not mine"] == [id]
    assert names[id] == "n"
    assert all(request.url.isascii() for request in service.http.sent)


@pytest.mark.parametrize("id", ["", ".", ".."])
async def test_an_id_that_no_path_can_hold_is_refused_before_anything_is_sent(id: str) -> None:
    http = Answers("{}")
    source, key = central(http), ResourceKey("plant", DEVICE, id)
    for work in (
        source.read(key),
        source.detail(key, PROPERTIES),
        source.patch(change(id, DOCUMENT, MATCH, NAME)),
        source.patch(change(id, PROPERTIES, Guard(kind=GuardKind.REREAD), leaf(("properties", "p"), 1))),
    ):
        with pytest.raises(RejectedError):
            await work
    assert http.sent == []


# Guards and writes


def resource(etag: str | None) -> Resource:
    return Resource(id="a", document=b"{}", etag=None if etag is None else ETag(etag))


@pytest.mark.parametrize(
    ("etag", "sent"),
    [("eyJoZWFkZXIi", '"eyJoZWFkZXIi"'), ('"~FeoA18+/=="', '"~FeoA18+/=="'), ("a b", '"a b"'), ("W/abc", '"W/abc"')],
)
async def test_an_etag_goes_into_if_match_in_quotes_which_some_bring_along(etag: str, sent: str) -> None:
    http = Answers('{"id":"a"}')
    source = central(http)
    guard = source.guard(DOCUMENT, resource(etag))
    assert guard == Guard(kind=GuardKind.IF_MATCH, etag=ETag(etag))
    await source.patch(change("a", DOCUMENT, guard, NAME))
    [request] = http.sent
    assert request.headers == {"Content-Type": "application/merge-patch+json", "If-Match": sent}
    assert request.body == b'{"displayName":"n"}'
    assert (request.method, request.operation, request.is_safe) == ("PATCH", "write", False)


@pytest.mark.parametrize("etag", [None, "", "*", '"', '""', 'W/"weak"', 'a"b', '"a', "a\nb", "a\r\nX: y", "é", "\x00"])
@VERSIONS
async def test_an_etag_that_no_header_can_hold_is_no_guard(etag: str | None, version: str) -> None:
    assert central(Answers(""), version).guard(DOCUMENT, resource(etag)) == Guard(kind=GuardKind.REREAD)


async def test_the_stable_version_takes_the_etag_in_the_body_and_no_if_match() -> None:
    http = Answers('{"id":"a"}')
    source = central(http, STABLE)
    guard = source.guard(DOCUMENT, resource("e"))
    assert guard == Guard(kind=GuardKind.BODY_ETAG, etag=ETag("e"), reread=True)
    await source.patch(change("a", DOCUMENT, guard, NAME))
    assert http.sent[0].body == b'{"displayName":"n","etag":"e"}'
    assert "If-Match" not in http.sent[0].headers


@VERSIONS
async def test_properties_know_no_etag_in_any_version(version: str) -> None:
    http = Answers('{"$metadata":{}}', status=202)
    source = central(http, version)
    guard = source.guard(PROPERTIES, resource("e"))
    assert guard == Guard(kind=GuardKind.REREAD)

    written = await source.patch(
        change("a", PROPERTIES, guard, leaf(("properties", "t"), 21), leaf(("properties", "c", "old"), ABSENT))
    )

    [request] = http.sent
    unmodeled = "&unmodeled=true" if version == PREVIEW else ""
    assert request.url == f"{URL}/api/devices/a/properties?api-version={version}{unmodeled}"
    assert request.headers == {"Content-Type": "application/merge-patch+json"}
    assert json.loads(request.body or b"") == {"t": 21, "c": {"old": None}}
    assert (written.shown, written.status, written.request_id) == (None, 202, "r-1")


async def test_no_write_of_any_type_reaches_the_service_without_its_guard(service: Service) -> None:
    source = central(service.http)
    for type in (DEVICE, GROUP, TEMPLATE, ENROLLMENT):
        one = (await source.page(type, None)).resources[0]
        guard = source.guard(DOCUMENT, one)
        assert guard is not None
        written = await source.patch(change(one.id, DOCUMENT, guard, NAME, type=type))
        assert isinstance(written.shown, Resource)
        assert written.shown.facts.display_name == "n"
        assert written.shown.etag != one.etag
    books = service.cloud.counters
    assert books.if_match_current == 4
    assert books.if_match_missing == books.if_match_unquoted == books.if_match_star == 0


async def test_organizations_show_no_etag_and_are_read_again_instead(service: Service) -> None:
    source = central(service.http)
    one = (await source.page(ORGANIZATION, None)).resources[0]
    assert source.guard(DOCUMENT, one) == Guard(kind=GuardKind.REREAD)


# Properties

DOCUMENTED: dict[str, Any] = {
    "$metadata": {
        "target": {"desiredValue": 21, "desiredVersion": 3, "ackVersion": 3, "lastUpdateTime": "2026-11-21T18:00:00Z"},
        "only": {"desiredValue": False},
        "model": {"lastUpdateTime": "2026-11-21T18:00:00Z"},
        "shape": {"lastUpdateTime": "2026-11-21T18:00:00Z"},
    },
    "target": 20,
    "model": "x1",
    "shape": {"kept": "as a value"},
    "fan": {"$metadata": {"speed": {"desiredValue": 3}, "noise": {}}, "speed": 2, "noise": 0},
    "bare": {"inner": 1},
}


def test_what_was_asked_and_what_was_reported_are_told_apart_components_included() -> None:
    assert desired_properties(DOCUMENTED) == {"target": 21, "only": False, "fan": {"speed": 3}}
    assert reported_properties(DOCUMENTED) == {
        "target": 20, "model": "x1", "shape": {"kept": "as a value"}, "fan": {"speed": 2, "noise": 0}, "bare": {"inner": 1},
    }  # fmt: skip


def test_declarations_are_compared_with_what_was_asked_else_with_what_is() -> None:
    source = central(Answers(""))
    document = {"id": "a", "displayName": "n"}
    assert source.declarable(DEVICE, document, {PROPERTIES: DOCUMENTED}) == {
        **document,
        "properties": {
            "target": 21, "only": False, "model": "x1", "shape": {"kept": "as a value"}, "fan": {"speed": 3, "noise": 0},
            "bare": {"inner": 1},
        },
    }  # fmt: skip


@pytest.mark.parametrize("details", [{}, {PROPERTIES: None}, {PROPERTIES: []}])
def test_without_properties_a_document_is_declarable_as_it_is(details: dict[Part, object]) -> None:
    source = central(Answers(""))
    assert source.declarable(DEVICE, {"id": "a"}, details) == {"id": "a"}
    assert source.declarable(DEVICE, "nothing", details) == {}
    assert source.declarable(GROUP, {"id": "a"}, {PROPERTIES: {"t": 1}}) == {"id": "a"}


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"$metadata": None},
        {"$metadata": []},
        {"$metadata": "x"},
        {"$metadata": {"a": None}},
        {"$metadata": {"a": 1}, "a": 1},
        {"c": {"$metadata": [1]}},
    ],
)
def test_metadata_of_a_wrong_type_says_nothing(properties: dict[str, Any]) -> None:
    assert desired_properties(properties) == {}
    reported_properties(properties)
    central(Answers("")).declarable(DEVICE, {}, {PROPERTIES: properties})


async def test_a_devices_properties_are_read_as_one_document(service: Service) -> None:
    source = central(service.http)
    id = next(one["id"] for one in service.cloud.truth() if one["id"].startswith("thermostat"))
    service.cloud.operator_edit(id, {"properties": {"targetTemperature": 21, "settings": {"fanSpeed": 2}}})
    detail = await source.detail(ResourceKey("plant", DEVICE, id), PROPERTIES)
    assert (detail.id, detail.part) == (id, PROPERTIES)
    assert json.loads(detail.desired or b"") == {"targetTemperature": 21, "settings": {"fanSpeed": 2}}
    assert "swVersion" in json.loads(detail.reported or b"")


@pytest.mark.parametrize("body", ["", "null", "[]", "<html>"])
async def test_properties_that_are_no_object_are_not_what_was_promised(body: str) -> None:
    with pytest.raises(InvalidResponseError):
        await central(Answers(body)).detail(ResourceKey("plant", DEVICE, "a"), PROPERTIES)


@pytest.mark.parametrize("value", [rb'"\u0000"', rb'"\ud800"', b'"\xff"', b"1e999"])
async def test_properties_that_cannot_be_stored_are_the_trouble_of_their_device_alone(value: bytes) -> None:
    with pytest.raises(ResourceError):
        await central(Answers(b'{"p":%b}' % value)).detail(ResourceKey("plant", DEVICE, "a"), PROPERTIES)


async def test_properties_of_a_missing_device_are_not_found(service: Service) -> None:
    with pytest.raises(NotFoundError):
        await central(service.http).detail(ResourceKey("plant", DEVICE, "none"), PROPERTIES)


async def test_there_is_no_other_part_to_read() -> None:
    with pytest.raises(LookupError):
        await central(Answers("{}")).detail(ResourceKey("plant", DEVICE, "a"), DOCUMENT)


# The provider


def test_two_sources_of_one_application_share_its_quota() -> None:
    scope: Callable[[str, object], str] = PROVIDER.scope
    assert scope("https://Contoso.azureiotcentral.com/", Settings()) == scope(
        "https://contoso.azureiotcentral.com", None
    )
    assert scope("https://a.azureiotcentral.com", None) != scope("https://b.azureiotcentral.com", None)


def test_settings_of_another_kind_are_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError):
        IotCentral(
            Endpoint(
                name="plant", url=URL, http=Answers(""), known=KnownDocuments(), clock=FakeClock(), settings=object()
            )
        )


def test_a_kind_is_found_by_name_and_only_by_name() -> None:
    assert "iot-central" in kinds()
    assert load("iot-central") is PROVIDER
    for name in ("iot_central", "base", "os", "", "../x"):
        with pytest.raises(LookupError):
            load(name)


def test_cursors_are_only_passed_on() -> None:
    http = Answers('{"value":[]}')
    _run(central(http).page(DEVICE, Cursor("not even an address")))
    assert http.sent[0].url == "not even an address"
