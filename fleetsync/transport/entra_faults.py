"""What a failed sign-in means: for a person, or for later. No text of the token service is ever passed on."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping

from fleetsync.errors import AuthError, ServerFaultError, TransientError, UnreachableError
from fleetsync.transport.refresh import AccessToken

_LOOK_UP = "https://login.microsoftonline.com/error?code="

_MEANINGS = {
    50034: "the user is unknown",
    50053: "the account is locked",
    50076: "a person must confirm with a second factor",
    50126: "user name or password is wrong",
    50173: "the sign-in was revoked",
    65001: "consent is missing",
    70008: "the sign-in has expired",
    70011: "the scope is wrong",
    90002: "the tenant is unknown",
    500011: "the scope names an unknown application",
    700016: "the client id is unknown in this tenant",
    700024: "the assertion is not valid now: check the machine's clock",
    700027: "the certificate is not registered for this client, or the assertion is wrong",
    700082: "the refresh token has expired",
    7000215: "the client secret is wrong",
    7000222: "the client secret has expired",
}
"""AADSTS numbers as Microsoft's public reference of error codes has them; not checked against the service."""

_LATER = frozenset({"temporarily_unavailable", "server_error"})
_LATER_NUMBERS = frozenset({90033, 90055})
_NAME = re.compile(r"[a-z_]{1,64}")
_TRACE = re.compile(r"[0-9A-Fa-f-]{8,64}")


def token_of(result: object, where: str, *, vague: bool = False) -> AccessToken:
    """Return the token in one of MSAL's results.

    `vague` is for managed identities, where MSAL calls a 429 or a 500 `invalid_scope` as well.

    Raises:
        AuthError: a person must act.
        TransientError: not now.
    """
    if not isinstance(result, Mapping):
        raise ServerFaultError(f"sign-in at {where} gave no answer", sent=False)
    text, lifetime_s = result.get("access_token"), result.get("expires_in")
    if text is None:
        raise fault_in(result, where, vague=vague)
    if not (isinstance(text, str) and text.isascii() and text.isprintable() and isinstance(lifetime_s, int)):
        raise ServerFaultError(f"sign-in at {where} gave a token that cannot be used", sent=False)
    return AccessToken(text=text, lifetime_s=float(lifetime_s))


def fault_in(result: Mapping[str, object], where: str, *, vague: bool = False) -> AuthError | TransientError:
    """Return what an error result of MSAL means."""
    name = str(result.get("error", ""))
    name = name if _NAME.fullmatch(name) else "an unnamed error"
    number = _number(result)
    request_id = _trace(result)
    code = f"AADSTS{number}" if number else name
    if name in _LATER or number in _LATER_NUMBERS or (vague and name == "invalid_scope"):
        message = f"sign-in at {where} is not possible now: {code}"
        return ServerFaultError(message, sent=False, code=code, request_id=request_id)
    words = _MEANINGS.get(number, f"see {_LOOK_UP}{number}") if number else ""
    said = ", ".join(filter(None, (name, f"{code}: {words}" if number else "")))
    return AuthError(f"sign-in at {where} was refused: {said}", code=code, request_id=request_id)


@contextlib.contextmanager
def faults_of(where: str, *, building: bool = False) -> Iterator[None]:
    """Turn what MSAL raises into our errors. `building`: during its construction a ValueError is about the settings.

    Raises:
        AuthError: the tenant or authority is not accepted.
        TransientError: anything else.
    """
    # Both are imported here: they cost half a second, and many sources sign in without them.
    import msal.exceptions  # type: ignore[import-untyped]  # msal has no types
    import requests

    library = (msal.exceptions.MsalError, requests.exceptions.RequestException)
    try:
        yield
    except (*library, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"sign-in at {where}: "
        match error:
            case json.JSONDecodeError() | requests.exceptions.JSONDecodeError():
                raise ServerFaultError(f"{message}the answer is not JSON", sent=False) from error
            case requests.exceptions.SSLError():
                raise UnreachableError(f"{message}the certificate is not trusted", sent=False) from error
            case OSError():  # what requests raises is one
                raise UnreachableError(f"{message}the token service cannot be reached", sent=False) from error
            case ValueError() if building:
                raise AuthError(f"{message}the tenant or the authority is not accepted") from error
            case _:
                raise ServerFaultError(f"{message}the token service failed", sent=False) from error


def _trace(result: Mapping[str, object]) -> str | None:
    traces = (str(result.get(key)) for key in ("trace_id", "correlation_id"))
    return next((trace for trace in traces if _TRACE.fullmatch(trace)), None)


def _number(result: Mapping[str, object]) -> int | None:
    numbers = result.get("error_codes")
    if isinstance(numbers, list) and numbers and isinstance(numbers[0], int):
        return numbers[0]
    found = re.match(r"AADSTS([0-9]{1,9})\b", str(result.get("error_description", "")))
    return int(found[1]) if found else None
