"""What the services have in common on the wire: ids in paths, ETags in headers, documents that may not be storable."""

import contextlib
import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from fleetsync.core.document import content_of, parsable
from fleetsync.core.model import Cursor, ETag, Page, Read, Resource, ResourceKey, Unreadable
from fleetsync.errors import InvalidResponseError, RejectedError, ResourceError, SourceError, TransientError
from fleetsync.transport.http import Response

S = TypeVar("S")
T = TypeVar("T")

_TAG = re.compile(r'[ !#-~]+|"[ !#-~]+"')


def segment(id: str, key: ResourceKey) -> str:
    """Return an id, that of `key` or a piece of it, as one segment of a path.

    Raises:
        RejectedError: a path cannot hold it: `.` and `..` would name another resource.
    """
    if id in {"", ".", ".."}:
        raise RejectedError(f"{key}: such an id cannot be put into a URL")
    return quote(id, safe="")


def if_match(etag: ETag) -> str:
    """Return an etag as If-Match wants it: in quotes, which some services bring along."""
    return etag if etag.startswith('"') else f'"{etag}"'


def fits_if_match(etag: ETag | None) -> bool:
    """Say whether If-Match can hold it: a service could overlook what it cannot read, and with it the guard."""
    return etag is not None and etag != "*" and _TAG.fullmatch(etag) is not None


@contextlib.contextmanager
def before_a_write() -> Iterator[None]:
    """Let an error of the block say that the write, which it only reads for, was not sent."""
    try:
        yield
    except (TransientError, InvalidResponseError) as error:
        error.sent = False
        raise


@contextlib.contextmanager
def of_what_is_there() -> Iterator[None]:
    """Let an error of the block say that the service has the resource, whatever more could not be had."""
    try:
        yield
    except SourceError as error:
        error.is_there = True
        raise


def identified(document: bytes, shape: type[S], what: str) -> S:
    """Return the members that name a document; `what` says in messages where it came from.

    Raises:
        InvalidResponseError: it lacks them.
    """
    try:
        return msgspec.json.decode(document, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidResponseError(f"a document of {what} without its id: {str(error)[:100]}") from error


def storable(id: str, document: bytes, made: Callable[[Mapping[str, Any], bytes], Resource]) -> Resource | Unreadable:
    """Return a document as the resource that is `made` of it; one that cannot be stored keeps its id.

    `made` gets the document decoded and as it is.
    """
    fault, content = content_of(document)
    return Unreadable(id=id, reason=fault) if fault else made(content, document)


def asked_for(key: ResourceKey, read: Resource | Unreadable, response: Response) -> Resource:
    """Return what was read of one resource.

    Raises:
        InvalidResponseError: the answer is about another one.
        ResourceError: it is there, and cannot be stored.
    """
    if read.id != key.id:
        raise InvalidResponseError(f"asked for {key}, the answer is about {read.id!r}", status=response.status)
    if isinstance(read, Unreadable):
        with of_what_is_there():
            raise ResourceError(f"{read.id!r} cannot be stored: {read.reason}", request_id=response.request_id)
    return read


def page_of(found: Iterable[Resource | Unreadable], following: str | None = None) -> Page:
    """Return a page of what was read; without `following`, or where that is empty, it is the last."""
    read = tuple(found)
    return Page(
        resources=tuple(one for one in read if isinstance(one, Resource)),
        unreadable=tuple(one for one in read if isinstance(one, Unreadable)),
        next=Cursor(following) if following else None,
    )


def closed_page(
    response: Response,
    array: msgspec.Raw,
    named: Callable[[Response, bytes | msgspec.Raw], Sequence[str]],
    read: Read,
    following: str | None,
) -> Page:
    """Return a page that is looked into where that is worth while; its documents hold no secrets.

    `array` is where an answer has them; of `named`, which gets the answer for its errors, and of `read` see
    `Page.closed`.

    Raises:
        InvalidResponseError: it is no array.
    """
    if bytes(memoryview(array)[:1]) != b"[":
        response.decode(list[msgspec.Raw], array)
    cursor = Cursor(following) if following else None
    opened = partial(response.decode, list[msgspec.Raw], array)
    return Page.closed(array, opened, partial(named, response), read, cursor)


def decoded(response: Response, shape: type[S]) -> S:
    """Return the body of an answer as `shape`; where it cannot be read, it is made parsable.

    To read it costs less than to look for what would have to be mended. Errors as of `Response.decode`.
    """
    try:
        return response.decode(shape)
    except InvalidResponseError:
        body = parsable(response.body)
        if body is response.body:
            raise
    return response.decode(shape, body)


def text(document: Mapping[str, Any], name: str) -> str | None:
    """Return a member that is a text; anything else is no fact."""
    value = document.get(name)
    return value if isinstance(value, str) else None


def flag(document: Mapping[str, Any], name: str) -> bool | None:
    """Return a member that is true or false; anything else is no fact."""
    value = document.get(name)
    return value if isinstance(value, bool) else None


def whole(document: Mapping[str, Any], name: str) -> int | None:
    """Return a member that is a whole number; anything else is no fact."""
    value = document.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def instant(document: Mapping[str, Any], name: str) -> datetime.datetime | None:
    """Return a member that is an ISO 8601 instant; without an offset it is UTC, and the year 1 means never."""
    value = text(document, name)
    if value is None:
        return None
    try:
        at = datetime.datetime.fromisoformat(value)
        if at.year == 1:
            return None
        return at.astimezone(datetime.UTC) if at.tzinfo else at.replace(tzinfo=datetime.UTC)
    except (ValueError, OverflowError):
        return None
