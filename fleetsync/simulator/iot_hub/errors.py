"""How an IoT Hub says no: two envelopes, and a header that names the error."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from fleetsync.simulator.wire import SimResponse, json_answer

_GENERIC: Final[Mapping[int, str]] = {
    400: "GenericBadRequest",
    401: "GenericUnauthorized",
    403: "GenericForbidden",
    404: "GenericNotFound",
    409: "GenericConflict",
    412: "GenericPreconditionFailed",
    429: "GenericTooManyRequests",
    500: "ServerError",
    503: "ServiceUnavailable",
    504: "GatewayTimeout",
}
"""Names for what happens to a request before the hub knows what it is about."""

_NESTED: Final[Mapping[str, int]] = {
    "IotHubFailingOver": 404012,
    "IotHubQuotaExceeded": 403002,
    "GatewayTimeout": 504101,
}
"""Errors that come in the second envelope, with their numbers."""

_THROTTLED: Final = "The request has been throttled. Wait 10 seconds and try again. Operation type: CRUD"


def named(status: int, code: str, message: str) -> tuple[str, str]:
    """Return the hub's name and text for an error that the desk or a fault made."""
    if code == "TooManyRequests":
        return "ThrottlingBacklogTimeout", _THROTTLED
    if code == "Injected":
        return _GENERIC.get(status, "InvalidErrorCode"), message
    return code, message


def error_answer(status: int, code: str, message: str, *, tracking: int, at: float) -> SimResponse:
    """Return an error in the envelope that its name goes with; `tracking` is 128 random bits."""
    moment = datetime.fromtimestamp(at, UTC)
    track = f"{tracking:032x}-G:{tracking % 10}-TimeStamp:{moment:%m/%d/%Y %H:%M:%S}"
    number = _NESTED.get(code)
    if number is None:
        body = {"Message": f"ErrorCode:{code};{message}", "ExceptionMessage": f"Tracking ID:{track}"}
    else:
        inner = {
            "errorCode": number,
            "trackingId": track,
            "message": message,
            "info": {},
            "timestampUtc": f"{moment:%Y-%m-%dT%H:%M:%S.%f}0Z",
        }
        body = {"Message": json.dumps(inner), "ExceptionMessage": ""}
    return json_answer(body, status=status, headers={"iothub-errorcode": code})
