"""Requests and answers, and what everything that sends them looks like."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import msgspec

from fleetsync.errors import InvalidResponseError

T = TypeVar("T")

_READS = frozenset({"GET", "HEAD"})


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request.

    `url` is absolute and percent-encoded; it is sent byte for byte. `operation` is the class that the rate limiter
    charges. `is_relayed` says that the service passes it on to a device: a failure without the service's own words may
    be the device's, and is neither repeated nor held against the service. `safe` says that carrying it out twice does
    no harm; by default that is GET and HEAD. `is_extra` says that who may ask for everything else may be refused this,
    with a 401 as well: such a one says nothing of the sign-in. `check` is called when the rate lets it leave, and
    raises if it should not any more; `departs` when it goes on the wire: until then it waits for a connection, on our
    side.
    """

    method: str
    url: str
    operation: str
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes | None = None
    is_relayed: bool = False
    is_extra: bool = False
    safe: bool | None = None
    check: Callable[[], None] | None = None
    departs: Callable[[], None] | None = None

    @property
    def is_safe(self) -> bool:
        """Say whether it may be repeated although it may have been carried out."""
        return self.method in _READS if self.safe is None else self.safe


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """One 2xx answer, read to its end. Header names are lower case.

    `took_s` is how long its first byte came after the request was on the wire, None where that was not measured: what
    a request waits for on our side is not the service's doing.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    took_s: float | None = None

    @property
    def request_id(self) -> str | None:
        """Return what the service's support asks for."""
        return self.headers.get("x-ms-request-id") or self.headers.get("x-ms-correlation-request-id")

    def decode(self, shape: type[T], body: bytes | msgspec.Raw | None = None) -> T:
        """Return the body, or another form or a piece of it, as `shape`.

        Raises:
            InvalidResponseError: it is no JSON, or lacks what `shape` promises. Absent is not empty.
        """
        try:
            return msgspec.json.decode(self.body if body is None else body, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            reason = str(error)[:200]
            raise InvalidResponseError(
                f"answer {self.status} is not what was promised: {reason}",
                status=self.status,
                request_id=self.request_id,
            ) from error


class Http(Protocol):
    """Something that sends a request and returns its 2xx answer."""

    async def send(self, request: Request) -> Response:
        """Send `request` and return the answer.

        Raises:
            SourceError: any other outcome, by class (see `fleetsync.errors`).
        """
        ...
