"""What a service says about a failure, read from the answer. Pure.

Shapes seen (bodies are JSON; names are compared without letter case):
    {"error": {"code", "message", "requestId"}}            IoT Central, ARM, Azure Sphere on ARM
    {"code", "message"}                                    Microsoft.Devices behind ARM; the code is a number
    {"Message", "ExceptionMessage"}                        IoT Hub; Message is "ErrorCode:Name;text" or JSON text
    {"errorCode", "title", "detail", "status"}             Cloud Relay: problem+json; the code is a number
    [{"ErrorCode", "Title", "Detail"}]                     Azure Sphere legacy
"""

import re
from collections.abc import Mapping

import msgspec

SHOWN = 256
"""So many characters of a service's text are shown at most."""

_NAMED = re.compile(r"ErrorCode:(\w+)(?:;(.*))?", re.DOTALL)
_REQUEST_ID_HEADERS = ("x-ms-request-id", "x-ms-correlation-request-id", "request-id")
_CODE_HEADERS = ("iothub-errorcode", "x-ms-error-code")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A failure in the service's own words, ready to be shown."""

    code: str | None
    message: str
    request_id: str | None

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.code, self.message)))


def fault_of(headers: Mapping[str, str], body: bytes) -> Fault | None:
    """Return what the service says, or None where the answer is not in its own words.

    A page of a gateway, an empty body or any other JSON is None: nothing follows from its status about a resource.
    `headers` has lower-case names; a code in them goes before the one in the body.
    """
    said = _said(body)
    if said is None:
        return None
    return Fault(
        code=_first(headers, _CODE_HEADERS) or said.code,
        message=said.message,
        request_id=_first(headers, _REQUEST_ID_HEADERS) or said.request_id,
    )


def shown(text: str, limit: int = SHOWN) -> str:
    """Return a remote text as it may be shown: one line, nothing that steers a terminal, at most `limit` characters."""
    escaped = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text[: limit + 1]
    )
    return escaped if len(escaped) <= limit else f"{escaped[: limit - 1]}…"


def _said(body: bytes) -> Fault | None:
    document = _decoded(body)
    if isinstance(document, list) and document:
        document = document[0]
    top = _members(document)
    told = _members(top.get("error")) or top
    code = _text(told.get("code")) or _text(told.get("errorcode"))
    message = _text(told.get("message")) or _text(told.get("detail")) or _text(told.get("title")) or ""
    if "exceptionmessage" in told:
        code, message = _hub(message)
    elif not code or (told is top and not message):
        return None
    return Fault(code=code, message=message, request_id=_text(told.get("requestid")))


def _hub(message: str) -> tuple[str | None, str]:
    if named := _NAMED.match(message):
        return named[1], (named[2] or "").strip()
    inner = _members(_decoded(message.encode("utf-8", "replace")))
    return _text(inner.get("errorcode")), _text(inner.get("message")) or message


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((shown(headers[name]) for name in names if headers.get(name)), None)


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _members(document: object) -> Mapping[str, object]:
    if not isinstance(document, dict):
        return {}
    return {str(name).lower(): value for name, value in document.items()}


def _text(value: object) -> str | None:
    """Return a text or a number as it may be shown; anything else says nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return shown(str(value)) or None
