"""What must hold for any bytes. A target fails as a test does: with an assertion, or with an error that is not ours."""

import datetime
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec
from yarl import URL

from fleetsync.config.declarations import basis, read_declarations
from fleetsync.config.load import load
from fleetsync.core.delta import Stored, compare, doubtful, succession
from fleetsync.core.document import digest_of, fault_in
from fleetsync.core.kind import TypeSpec
from fleetsync.core.merge_patch import apply_patch, diff, same
from fleetsync.core.model import DEVICE, Detail, Page, Resource, ResourceKey
from fleetsync.errors import ConfigError, FleetsyncError, RejectedError, ThrottledError
from fleetsync.providers._rest import fits_if_match, if_match, segment
from fleetsync.providers.base import Source, Target, all_kinds
from fleetsync.transport.client import error_of
from fleetsync.transport.http import Request, Response
from fleetsync.transport.origin import Origin
from fleetsync.transport.retry_after import CAP_S, FLOOR_S, retry_after_s
from tests.config.kinds import KINDS
from tests.config.test_declarations import CONFIG, OSLO
from tests.config.test_load import EVERYTHING
from tests.fuzz.corpus import questions
from tests.transport.test_origin import ELSEWHERE

_NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
_OURS = "https://fleet.example.net"
_LONGEST = 4000


def answers(data: bytes) -> None:
    """Any answer to any question of any provider is taken or refused; what is taken can be stored and compared.

    The first two bytes choose the question.
    """
    asked = questions()
    question = asked[int.from_bytes(data[:2], "little") % len(asked)]
    try:
        source, told = question.asked(data[2:])
        if isinstance(told, Page):
            _ = told.ids
    except FleetsyncError as error:
        _is_plain(error)
        return
    match told:
        case Page():
            assert told.next != ""
            _fit_to_store(told.resources, source)
            for one in told.unreadable:
                assert one.reason
                one.id.encode()
        case Resource():
            _fit_to_store([told], source)
        case Detail():
            parts = (told.document, told.desired, told.reported)
            decoded = [_stored(part) for part in parts if part is not None]
            source.declarable(DEVICE, {}, {told.part: decoded[0]})


def _fit_to_store(resources: Iterable[Resource], source: Source) -> None:
    for resource in resources:
        resource.id.encode()
        assert resource.id
        document = _stored(resource.document)
        assert isinstance(document, dict)
        if resource.etag is not None and fits_if_match(resource.etag):
            tag = if_match(resource.etag)
            assert tag[0] == tag[-1] == '"'
            assert tag.isascii()
            assert tag.isprintable()
        for type, spec in source.kind.specs.items():
            _follows(resource, spec)
            source.declarable(type, document, {})
            for part in {writable.part for writable in spec.writable} if isinstance(source, Target) else ():
                source.guard(part, resource)


def _stored(document: bytes) -> object:
    assert fault_in(document) is None
    return msgspec.json.decode(document)


def _follows(resource: Resource, spec: TypeSpec) -> None:
    """Compare with what is stored under its id, which may be anything that was stored once."""
    listed = [(resource, digest_of(resource.document))]
    for before in (b"{}", resource.document, b'{"version":9,"deviceEtag":"x","etag":1,"properties":[]}'):
        stored = {resource.id: Stored(no=1, digest=b"", document=before.decode())}
        delta = compare(stored, listed, spec)
        assert len(delta.updates) == 1
        doubtful(stored, listed, spec)
        succession(stored[resource.id], resource, spec)


def refusals(data: bytes) -> None:
    """Any answer that is not 2xx is one of our errors, on one line that a terminal can show; none asks for no wait.

    The first byte is the status, what stands before a line break is Retry-After.
    """
    status = (300 + data[0] * 2) if data else 500
    header, _, body = data[1:].partition(b"\n")
    headers = {"retry-after": header.decode("latin-1"), "content-type": "application/problem+json"}
    request = Request(method="GET", url=f"{_OURS}/x", operation="read")
    error = error_of(request, Response(status=status, headers=headers, body=body), _NOW)
    _is_plain(error)
    assert error.status == status
    if isinstance(error, ThrottledError):
        assert not error.sent
    wait_s = retry_after_s(headers, _NOW)
    assert wait_s is not None
    assert FLOOR_S <= wait_s <= CAP_S


def _is_plain(error: FleetsyncError) -> None:
    text = str(error)
    assert text.isprintable()
    assert len(text) < _LONGEST


def links(data: bytes) -> None:
    """A link that is admitted leads to us whoever reads it: yarl, the standard library, a browser."""
    url = data.decode("utf-8", "surrogateescape")
    if not Origin.of(_OURS).admits(url):
        return
    as_browsers_do = url.replace("\\", "/").replace("\t", "").replace("\n", "").replace("\r", "").strip()
    for parts in (URL(url, encoded=True), urlsplit(url), urlsplit(as_browsers_do)):
        user = parts.user if isinstance(parts, URL) else parts.username
        host = parts.raw_host if isinstance(parts, URL) else parts.hostname
        assert (parts.scheme, user, (host or "").lower()) == ("https", None, "fleet.example.net")
        assert parts.port in (None, 443)


def ids(data: bytes) -> None:
    """An id is one segment of a path, from which it comes back byte for byte, or it is refused."""
    id = data.decode("utf-8", "replace")
    key = ResourceKey("s", DEVICE, id)
    try:
        written = segment(id, key)
    except RejectedError:
        assert id in ("", ".", "..")
        return
    url = URL(f"{_OURS}/devices/{written}/properties?x=1", encoded=True)
    assert Origin.of(_OURS).admits(str(url))
    assert unquote_to_bytes(url.raw_path.split("/")[2]) == id.encode()
    assert url.raw_path.count("/") == 3
    assert url.raw_query_string == "x=1"
    assert "\n" not in str(key)


def configuration(data: bytes) -> None:
    """Any file is a configuration, or every problem in it is said with where it is."""
    file = _folder() / "any.toml"
    file.write_bytes(data)
    try:
        load(file, all_kinds())
    except ConfigError as error:
        problems = error.problems
    else:
        return
    assert problems


def declarations(data: bytes) -> None:
    """Any file holds declarations, or every problem in it is said."""
    folder = _folder()
    (folder / "declarations" / "any.toml").write_bytes(data)
    found = read_declarations(folder / "declarations", load(folder / "config.toml", KINDS))
    assert found.problems or basis(found.declarations)


@cache
def _folder() -> Path:
    made = tempfile.TemporaryDirectory()
    _kept.append(made)
    folder = Path(made.name)
    (folder / "config.toml").write_text(CONFIG)
    (folder / "declarations").mkdir()
    return folder


_kept: list[tempfile.TemporaryDirectory[str]] = []


def merge_patch(data: bytes) -> None:
    """The patch between two documents leads from one to the other, as far as a merge patch can say it."""
    one, _, other = data.partition(b"\n")
    try:
        old, new = (msgspec.json.decode(text, type=dict) for text in (one, other))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    new = _without_nulls(new)
    patched = apply_patch(old, diff(old, new))
    assert same(_without_nulls(patched), new)
    assert same(diff(new, new), {})


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    return value


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (answers, refusals, links, ids, configuration, declarations, merge_patch)
}

_WORDS = (
    b'{"error":{"code":"a","message":"b","innererror":{"code":"c"}}}',
    b'{"Message":"ErrorCode:x;y","ExceptionMessage":""}',
    b'{"errorCode":1001,"title":"t","status":504,"detail":"d"}',
)
_WAITS = (b"", b"7", b"-1", b"1e9", b"Sun, 22 Nov 2026 23:00:00 GMT", b"junk")
_LINKS = (f"{_OURS}/a?b=c", f"{_OURS}:443/x", "HTTPS://Fleet.Example.NET/x", *ELSEWHERE.values())
_IDS = ("a/b", "a%2fb", ".", "..", "?x#y", "\n<2>", "温度計", "'; DROP TABLE x", "a" * 255)
_STATUSES = (1, 51, 52, 62, 64, 102)


_FOUND: Mapping[str, Iterable[bytes]] = {
    "answers": (
        b"\x00\x00{1e999",  # what no parser reads was taken for a number that is too large
        b'\x15\x00{"totalDeviceCount":"\\u0000"}',  # what goes into a document besides was not looked at
    ),
    "refusals": (b"\x34\x1f4",),  # a space to one function was none to the next
    "links": (b"https://[5:1]:3@",),  # the parser broke over it
}
"""What was wrong once."""


@cache
def seeds(name: str) -> tuple[bytes, ...]:
    """Return what the search begins with for a target: real answers, real files, and what is known to be odd."""
    found: Mapping[str, Iterable[bytes]] = {
        "answers": (at.to_bytes(2, "little") + one.answer for at, one in enumerate(questions())),
        "refusals": (bytes([s]) + wait + b"\n" + said for s in _STATUSES for wait in _WAITS for said in _WORDS),
        "links": (url.encode() for url in _LINKS),
        "ids": (id.encode() for id in _IDS),
        "configuration": (text.encode() for text in (EVERYTHING, CONFIG)),
        "declarations": (OSLO.encode(),),
        "merge_patch": (b'{"a":{"b":1,"c":null}}\n{"a":{"c":[1,2]},"d":"x"}', b'{"a":1}\n{"a":true}'),
    }
    return (*found[name], *_FOUND.get(name, ()))
