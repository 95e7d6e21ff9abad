"""What services behind Azure Resource Manager have in common: ids, lists, writes that go on, quota. Checked 2026-11-21.

https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling and async-operations,
and the traffic that Microsoft's own test suites recorded.

- Lists end without a `nextLink`, with null, or with an empty one. A link is used byte for byte, and by GET also where
  the first page was a POST, as Microsoft's generated clients do.
- Ids are compared without case, and come in varying case: they are kept in lower case.
- A write goes on when its answer names Azure-AsyncOperation (a status document, preferred) or Location (202 until it is
  done), or when the state of the resource is not a final one. A status document may hold an `error` although it
  succeeded.
- Quota per subscription and method, POST lists included: reads 25/s from a bucket of 250, writes and deletes 10/s from
  200.
- 404 proves an absence only by the name ResourceNotFound.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable
from urllib.parse import urlsplit

import msgspec

from fleetsync.core.bucket import Rate
from fleetsync.core.document import parsable
from fleetsync.core.kind import Quota
from fleetsync.core.model import Resource, ResourceKey
from fleetsync.core.operation import Followed, Operation, Standing
from fleetsync.errors import AuthError, ConflictError, InvalidResponseError, NotFoundError, RejectedError
from fleetsync.providers._rest import segment
from fleetsync.providers.base import Endpoint
from fleetsync.transport.fault import fault_of
from fleetsync.transport.http import Request, Response
from fleetsync.transport.retry_after import retry_after_s

URL = "https://management.azure.com"
SCOPE = "https://management.azure.com/.default"
METHODS = ("client-secret", "client-certificate", "managed-identity", "workload-identity", "device-code", "none")
OPERATIONS = ("read", "write", "delete")

_NOT_FOUND = "ResourceNotFound"
_FAILED = frozenset({"failed", "canceled"})
_FINAL = _FAILED | {"succeeded"}
_JSON = {"Content-Type": "application/json"}


@runtime_checkable
class Subscribed(Protocol):
    """Settings of a kind behind Azure Resource Manager."""

    @property
    def subscription(self) -> str:
        """Return the id of the subscription."""
        ...


def quota(_settings: object) -> Quota:
    """Return the documented buckets of a subscription."""
    return Quota(
        classes={
            "read": Rate(per_s=25.0, burst=250),
            "write": Rate(per_s=10.0, burst=200),
            "delete": Rate(per_s=10.0, burst=200),
        }
    )


def scope(url: str, settings: object) -> str:
    """Return the quota that requests count against: all kinds of source share a subscription's."""
    if not isinstance(settings, Subscribed):
        raise TypeError(f"settings of another kind: {settings!r}")
    return f"subscription {settings.subscription.lower()} at {urlsplit(url).netloc.lower()}"


class _List(msgspec.Struct, rename="camel"):
    value: list[msgspec.Raw]
    next_link: str | None = None


class _Status(msgspec.Struct):
    status: str
    properties: Any = None


class _State(msgspec.Struct, rename="camel"):
    provisioning_state: str | None = None


class _Stated(msgspec.Struct):
    properties: _State | None = None


class _Handle(msgspec.Struct, array_like=True):
    """How to ask for the end of a write; `leads_to` is the id that the resource has when it went well."""

    way: Literal["status", "location", "resource"]
    url: str
    leads_to: str | None


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list, item by item as it is on the wire, and the link to the next."""

    items: tuple[bytes, ...]
    next: str | None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Where an operation stands, and the id that its resource has, or will have, if that is said."""

    followed: Followed
    leads_to: str | None


def key_of(id: str) -> str:
    """Return what names a resource within a subscription: its resource group and all names of its path, in lower case.

    Raises:
        InvalidResponseError: it is no id of a resource in a resource group.
    """
    words = id.lower().split("/")
    if len(words) < 9 or words[3] != "resourcegroups" or words[5] != "providers" or not all(words[1:]):
        raise InvalidResponseError(f"{id[:200]!r} is no id of a resource")
    return "/".join((words[4], *words[8::2]))


class Arm:
    """The requests to one subscription."""

    def __init__(self, endpoint: Endpoint, subscription: str, version: str) -> None:
        self._http = endpoint.http
        self._clock = endpoint.clock
        self._base = endpoint.url.rstrip("/")
        self._version = version
        self.subscription = f"/subscriptions/{subscription}"

    def id_of(self, key: str, provider: str, words: Sequence[str]) -> str:
        """Return the id of a resource by `key_of` it."""
        group, *names = key.split("/")
        below = "".join(f"/{word}/{name}" for word, name in zip(words, names, strict=True))
        return f"{self.subscription}/resourceGroups/{group}/providers/{provider}{below}"

    async def list(self, path: str) -> Listed:
        """Return the first page of a list by GET."""
        return _listed(await self.found(self.request("GET", path)))

    async def list_by_post(self, path: str, body: object = None) -> Listed:
        """Return the first page of a list by POST, which changes nothing and costs a write."""
        return _listed(await self.found(self.request("POST", path, body, safe=True)))

    async def next_page(self, link: str) -> Listed:
        """Return the page at a link, as it was given."""
        return _listed(await self._http.send(Request(method="GET", url=link, operation="read")))

    async def to_the_end(self, listed: Listed) -> AsyncIterator[bytes]:
        """Yield every item of a list, from its first page on.

        Raises:
            InvalidResponseError: its links lead in a circle.
        """
        links: set[str] = set()
        while True:
            for item in listed.items:
                yield item
            if listed.next is None:
                return
            if listed.next in links:
                raise InvalidResponseError("the links of a list lead in a circle")
            links.add(listed.next)
            listed = await self.next_page(listed.next)

    async def get(self, path: str) -> Response:
        """Return a resource.

        Raises:
            NotFoundError: the service says that there is none.
        """
        return await self.found(self.request("GET", path))

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        safe: bool | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Request:
        """Return a request about an id or something below one; names in it are as they are, not encoded."""
        key = ResourceKey("", path, path)  # type: ignore[arg-type]  # for the message only
        encoded = "/".join(segment(part, key) for part in path.removeprefix("/").split("/"))
        return Request(
            method=method,
            url=f"{self._base}/{encoded}?api-version={self._version}",
            operation={"GET": "read", "DELETE": "delete"}.get(method, "write"),
            headers={**(_JSON if body is not None else {}), **(headers or {})},
            body=None if body is None else msgspec.json.encode(body),
            safe=safe,
        )

    async def found(self, request: Request) -> Response:
        """Send a request; a 404 is an absence only by the name that says so."""
        try:
            return await self._http.send(request)
        except NotFoundError as error:
            if error.code == _NOT_FOUND:
                raise
            raise InvalidResponseError(
                f"{error}: this proves no absence", status=error.status, code=error.code, request_id=error.request_id
            ) from error

    async def follow(self, handle: str) -> Told:
        """Return where an operation stands."""
        at = msgspec.json.decode(handle, type=_Handle)
        request = Request(method="GET", url=at.url, operation="read")
        try:
            response = await self._http.send(request)
        except (AuthError, NotFoundError) as error:
            # What signs the URL ends at some time; whether we are let in at all, reading the resource tells.
            return Told(followed=Followed(standing=Standing.LOST, error=str(error)), leads_to=at.leads_to)
        except (ConflictError, RejectedError) as error:
            standing = Standing.FAILED if at.way == "location" else Standing.LOST
            return Told(followed=Followed(standing=standing, error=str(error)), leads_to=at.leads_to)
        match at.way:
            case "status":
                return self._told(response, at)
            case "location":
                standing = Standing.RUNNING if response.status == 202 else Standing.DONE
            case _:
                standing = _standing(_state_of(response.body))
        return Told(followed=Followed(standing=standing, wait_s=self._wait_s(response)), leads_to=at.leads_to)

    def operation(self, response: Response, path: str, *, leads_to: str | None = None) -> Operation | None:
        """Return the operation that the answer to a write of `path` names; None where the write is done."""
        headers = response.headers
        if url := headers.get("azure-asyncoperation"):
            handle = _Handle("status", url, leads_to)
        elif url := headers.get("location"):
            handle = _Handle("location", url, leads_to)
        elif _standing(_state_of(response.body)) is Standing.RUNNING or response.status == 202:
            handle = _Handle("resource", self.request("GET", leads_to or path).url, leads_to)
        else:
            return None
        return Operation(handle=msgspec.json.encode(handle).decode(), wait_s=self._wait_s(response))

    def _told(self, response: Response, at: _Handle) -> Told:
        document = response.decode(_Status)
        standing = _standing(document.status)
        error = None
        if standing is Standing.FAILED:
            # An error object counts only here: there is one after a success as well.
            error = str(fault_of({}, response.body) or document.status)
        target = document.properties.get("targetResourceId") if isinstance(document.properties, dict) else None
        leads_to = target if isinstance(target, str) else at.leads_to
        return Told(followed=Followed(standing=standing, wait_s=self._wait_s(response), error=error), leads_to=leads_to)

    def _wait_s(self, response: Response) -> float | None:
        return retry_after_s(response.headers, self._clock.now())


def tags_in(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tags of a resource; null and none are the same."""
    tags = document.get("tags")
    return dict(tags) if isinstance(tags, Mapping) else {}


def author_of(resource: Resource) -> str | None:
    """Return who changed a resource last, by its `systemData` (CommonTypes of Azure Resource Manager, read 2026-11).

    None where it is not shown: Azure Sphere has it in the answers of writes alone.
    """
    shown = msgspec.json.decode(resource.document).get("systemData")
    who = shown.get("lastModifiedBy") if isinstance(shown, dict) else None
    return who if isinstance(who, str) and who else None


def _listed(response: Response) -> Listed:
    found = response.decode(_List, parsable(response.body))
    return Listed(items=tuple(bytes(raw) for raw in found.value), next=found.next_link or None)


def _standing(state: str | None) -> Standing:
    """Return what a status or a state of provisioning means: three words are final, and none at all is success."""
    word = (state or "succeeded").lower()
    if word not in _FINAL:
        return Standing.RUNNING
    return Standing.FAILED if word in _FAILED else Standing.DONE


def _state_of(body: bytes) -> str | None:
    try:
        document = msgspec.json.decode(body, type=_Stated | None)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return document.properties.provisioning_state if document is not None and document.properties else None
