"""One request, one answer: where it may go, how long it may take, how large it may be, what its status means."""

import datetime
import re
from http import HTTPStatus
from typing import TypedDict

import aiohttp
from yarl import URL

from fleetsync import __version__
from fleetsync.clock import Clock
from fleetsync.errors import (
    AuthError,
    ConflictError,
    DeviceFaultError,
    InvalidResponseError,
    NotFoundError,
    QuotaSpentError,
    RejectedError,
    ServerFaultError,
    SourceError,
    TerminalError,
    ThrottledError,
)
from fleetsync.transport.failure import failure
from fleetsync.transport.fault import Fault, fault_of, shown
from fleetsync.transport.http import Request, Response
from fleetsync.transport.origin import Origin
from fleetsync.transport.retry_after import next_day_s, retry_after_s
from fleetsync.transport.session import Departure, Session, departing

DEADLINE_S = 60.0
MAX_BYTES = 32 * 1024 * 1024

_HEADERS = {"User-Agent": f"fleetsync/{__version__}", "Accept": "application/json"}
_SENDABLE = re.compile(r"[\t -~]*")
_DAILY_QUOTA = frozenset({(403, "IotHubQuotaExceeded"), (503, "5002")})
"""IoT Hub's and Cloud Relay's words for a spent daily quota, which comes back at the next UTC day."""

_FAILING_OVER = (404, "IotHubFailingOver")
"""A 404 of IoT Hub that says nothing about the device."""

_DEVICE_FAULTS = {
    (404, "1000"): False,  # not connected
    (502, "1002"): True,  # its answer is no JSON object
    (502, "1003"): True,  # its answer is too large
    (503, "5001"): True,  # disabled, or the hub failed
    (504, "1001"): True,  # not in time, or one of many other things
}
"""Cloud Relay's words for what is wrong with one device; the values say whether it may have carried it out."""
_PROBLEM = "application/problem+json"

_GONE = frozenset({404, 410})
_TERMINAL: dict[int, type[TerminalError]] = {
    401: AuthError,
    403: AuthError,
    404: NotFoundError,
    409: ConflictError,
    410: NotFoundError,
    412: ConflictError,
}


class Client:
    """Sends a request once, to one origin, and returns its 2xx answer.

    `deadline_s` bounds the whole exchange up to the answer's last byte, `max_bytes` the answer after decompression.
    """

    def __init__(
        self,
        session: Session,
        origin: Origin,
        clock: Clock,
        *,
        deadline_s: float = DEADLINE_S,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._session = session
        self._origin = origin
        self._clock = clock
        self._deadline_s = deadline_s
        self._max_bytes = max_bytes

    async def send(self, request: Request) -> Response:
        """Send `request`, once, and return its answer.

        Raises:
            InvalidResponseError: its URL leads elsewhere (then nothing was sent), or the answer is not usable.
            RejectedError: it cannot be sent (then nothing was), or the service does not accept it.
            SourceError: any other outcome, by class.
        """
        self._refuse_unsendable(request)
        departure = Departure(self._clock, request.departs)
        departing.set(departure)
        try:
            async with self._clock.timeout(self._deadline_s):
                response = await self._exchange(request, departure)
        except (aiohttp.ClientError, OSError) as error:
            raise failure(error, what=_name(request), host=self._origin.host, sent=departure.sent) from error
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            raise error_of(request, response, self._clock.now())
        return response

    def _refuse_unsendable(self, request: Request) -> None:
        if not self._origin.admits(request.url):
            raise InvalidResponseError(
                f"{request.method} was not sent: its address leads to {_host(request.url)} instead of {self._origin}"
            )
        for name, value in request.headers.items():
            if not (value.isascii() and value.isprintable()) and not _SENDABLE.fullmatch(value):
                raise RejectedError(f"{_name(request)}: the header {name} holds a character that cannot be sent")

    async def _exchange(self, request: Request, departure: Departure) -> Response:
        async with self._session.request(
            request.method,
            URL(request.url, encoded=True),
            headers={**_HEADERS, **request.headers},
            data=request.body,
            allow_redirects=False,
        ) as answer:
            took_s = departure.ago_s
            headers = {name.lower(): _text(value) for name, value in answer.headers.items()}
            body = await self._read(request, answer)
            return Response(status=answer.status, headers=headers, body=body, took_s=took_s)

    async def _read(self, request: Request, answer: aiohttp.ClientResponse) -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for piece in answer.content.iter_any():
            pieces.append(piece)
            size += len(piece)
            if size > self._max_bytes:
                answer.close()  # what is still to come is not wanted, nor is the connection
                # Who said it, and about what, stood in the body: the status alone, a 404 say, means nothing.
                raise InvalidResponseError(
                    f"{_name(request)}: {answer.status}, and the answer is larger than {self._max_bytes} bytes"
                )
        return b"".join(pieces)


def _may_be_a_device_s(response: Response) -> bool:
    """Say whether a device behind the service may have said so: a failure, or that it does not like the token."""
    if response.status == HTTPStatus.UNAUTHORIZED:
        return "www-authenticate" not in response.headers
    return response.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class _Told(TypedDict):
    status: int
    code: str | None
    request_id: str | None


def error_of(request: Request, response: Response, now: datetime.datetime) -> SourceError:
    """Return our error for an answer that is not 2xx. Here alone a status gets its meaning."""
    fault = fault_of(response.headers, response.body)
    status, code = response.status, fault.code if fault else None
    told = _Told(status=status, code=code, request_id=fault.request_id if fault else response.request_id)
    message = f"{_name(request)}: {status}{f' {fault}' if fault else ''}"
    if (status, code) in _DAILY_QUOTA:
        return QuotaSpentError(message, sent=False, retry_after_s=next_day_s(response.headers, now), **told)
    is_own = code is not None and response.headers.get("content-type", "").startswith(_PROBLEM)
    sent = _DEVICE_FAULTS.get((status, code or ""))
    # Who fails and names a time to come back at speaks for all devices.
    is_for_all = status >= HTTPStatus.INTERNAL_SERVER_ERROR and "retry-after" in response.headers
    if sent is not None and is_own and not is_for_all:
        return DeviceFaultError(message, sent=sent, **told)
    if request.is_relayed and not is_own and not is_for_all and _may_be_a_device_s(response):
        # A service passes on no header by which a 401 asks for a token.
        return DeviceFaultError(message, status=status, request_id=told["request_id"])
    wait_s = retry_after_s(response.headers, now)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ThrottledError(message, sent=False, retry_after_s=wait_s, **told)
    if (
        status == HTTPStatus.REQUEST_TIMEOUT
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or (status, code) == _FAILING_OVER
    ):
        return ServerFaultError(message, retry_after_s=wait_s, **told)
    return _terminal(message, response, fault, told)


def _terminal(message: str, response: Response, fault: Fault | None, told: _Told) -> TerminalError:
    status = response.status
    if status < HTTPStatus.BAD_REQUEST:
        where = _host(response.headers.get("location", ""))
        return InvalidResponseError(f"{message} redirects to {where}, and redirects are not followed", **told)
    if status in _GONE and fault is None:
        return InvalidResponseError(f"{message} is not in the service's own words: it proves nothing", **told)
    return _TERMINAL.get(status, RejectedError)(message, **told)


def _name(request: Request) -> str:
    """Return method and path; a query may hold what is nobody's business."""
    return f"{request.method} {shown(URL(request.url, encoded=True).raw_path)}"


def _text(value: str) -> str:
    """Return a header's value as text that can be stored: the library lets bytes through that are no UTF-8."""
    return value if value.isascii() else value.encode(errors="surrogateescape").decode(errors="replace")


def _host(url: str) -> str:
    try:
        return shown(URL(url, encoded=True).raw_host or "the same host")
    except (ValueError, IndexError):  # what the parser breaks over, it does not always refuse
        return "an unreadable address"
