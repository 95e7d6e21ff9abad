"""How Azure Resource Manager says no, and how Microsoft.Devices behind it does.

Facts (recordings and reports, read 2026-11): ARM and most providers nest `error`; Microsoft.Devices answers a flat
object whose `code` is a number and whose `httpStatusCode` is a number or a name; `x-ms-failure-cause: service`
says that the provider refused, and not ARM.
"""

from typing import Final

from fleetsync.simulator.wire import SimResponse, json_answer

FRONT_DOOR: Final = frozenset(
    {
        "AuthorizationFailed",
        "Injected",
        "InvalidAuthenticationToken",
        "InvalidResourceType",
        "MethodNotAllowed",
        "MissingApiVersionParameter",
        "NotFound",
        "SubscriptionNotFound",
        "SubscriptionRequestsThrottled",
    }
)
"""What ARM itself refuses, before any provider hears of it."""

_NAMES: Final = {400: "BadRequest", 409: "Conflict", 412: "PreconditionFailed"}


def flat_code(status: int, number: int) -> str:
    """Return the code of an error that Microsoft.Devices makes, as in 400016."""
    return str(status * 1000 + number)


def error_answer(status: int, code: str, message: str) -> SimResponse:
    """Return an error in the shape that goes with its code; a number is one of Microsoft.Devices."""
    if code.isdecimal():
        body: object = {
            "code": int(code),
            "httpStatusCode": _NAMES.get(status, status),
            "message": f"{message} If you contact a support representative please include this correlation identifier",
            "details": None,
        }
        return json_answer(body, status=status, headers={"x-ms-failure-cause": "service"})
    headers = {} if code in FRONT_DOOR else {"x-ms-failure-cause": "service"}
    # The content type of errors names no character set.
    return json_answer(
        {"error": {"code": code, "message": message}},
        status=status,
        headers={"Content-Type": "application/json", **headers},
    )


def throttled(subscription: str, wait_s: str) -> str:
    """Return the text of a 429, which repeats the seconds of Retry-After."""
    return (
        f"Number of requests for subscription '{subscription}' and operation exceeded the backend storage limit. "
        f"Please try again after '{wait_s}' seconds."
    )
