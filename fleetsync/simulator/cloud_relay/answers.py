"""What a relay answers: its own errors, and what a device's direct method returned as an HTTP answer.

Facts (DistechControls/CloudRelay at commit 0fbcb1d): own errors are problem+json with a number `errorCode`; the status
is that of the method's answer, or of its headers, else 200; of the device's headers two survive. What comes before
the relay's own code, or goes wrong in it, has no errorCode.
"""

import json
from collections.abc import Mapping
from typing import Final

from fleetsync.simulator.wire import Object, SimResponse, encoded

_TITLES: Final[Mapping[int, str]] = {
    400: "Bad Request",
    404: "Not Found",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_DETAILS: Final[Mapping[int, str]] = {
    100: "Invalid request",
    1001: "Operation error or timeout",
    1002: "Invalid result",
    1003: "Message too large",
    5000: "The relay cannot reach the hub",
    5001: "Gateway error or device interaction disabled",
    5002: "Total number of messages exceeded the allocated quota",
}
_HEADERS: Final = {
    "Server": "Kestrel",
    "Strict-Transport-Security": "max-age=2592000",
    "X-Powered-By": "ASP.NET",
    "Access-Control-Allow-Origin": "*",
}
_INJECTED: Final[Mapping[int, int]] = {503: 5000, 504: 1001}
"""What the relay would say of a status that a fault gives."""

_FRONT_END: Final = b"<html><body><h1>502 - Web server received an invalid response.</h1></body></html>"


def refused(status: int, code: int, detail: str = "") -> SimResponse:
    """Return an error of the relay's own; `detail` stands for what its code does not say."""
    document = {
        "errorCode": code,
        "type": "about:blank",
        "title": _TITLES[status],
        "status": status,
        "detail": detail or _DETAILS[code],
        "instance": None,
    }
    return _problem(status, document)


def unknown(reference: str, code: int) -> SimResponse:
    """Return that there is no such device or environment."""
    return refused(404, code, f"Reference '{reference}' does not exist")


def without_remote_query() -> SimResponse:
    """Return how the framework refuses a request that lacks the header."""
    document = {
        "type": "https://tools.ietf.org/html/rfc7231#section-6.5.1",
        "title": "One or more validation errors occurred.",
        "status": 400,
        "traceId": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        "errors": {"Remote-Query": ["The remoteQuery field is required."]},
    }
    return _problem(400, document)


def failed() -> SimResponse:
    """Return what an exception that nobody expected becomes."""
    detail = "An error occurred while executing the request"
    return _problem(500, {"type": "about:blank", "title": _TITLES[500], "status": 500, "detail": detail})


def plain(status: int, code: str) -> SimResponse:
    """Return what a status becomes before the relay's own code is reached, or by a fault."""
    if status in _INJECTED and code == "Injected":
        return refused(status, _INJECTED[status])
    if status == 500:
        return failed()
    if status == 502:
        return SimResponse(status=status, headers={"Content-Type": "text/html"}, body=_FRONT_END)
    headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'} if status == 401 else {}
    return SimResponse(status=status, headers={**_HEADERS, **headers})


def relayed(returned: Object) -> SimResponse:
    """Return a direct method's answer as HTTP."""
    headers = returned.get("headers") or {}
    status = returned.get("status") or headers.get("status") or 200
    body = returned.get("body")
    kept = {name: headers[name] for name in ("Content-Type", "Content-Disposition") if name in headers}
    text = body.encode() if isinstance(body, str) else encoded(body)
    return SimResponse(status=int(status), headers={**_HEADERS, **kept}, body=text)


def _problem(status: int, document: Object) -> SimResponse:
    headers = {**_HEADERS, "Content-Type": "application/problem+json; charset=utf-8"}
    return SimResponse(status=status, headers=headers, body=json.dumps(document).encode())
