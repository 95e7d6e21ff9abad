"""Microsoft Entra ID, as far as clients of the simulated services sign in, and the managed identity endpoints.

Served are `/{tenant}/v2.0/.well-known/openid-configuration`, `/{tenant}/oauth2/v2.0/token` for client
secrets, certificate and workload assertions, device codes and refresh tokens,
`/{tenant}/oauth2/v2.0/devicecode`, `/msi/token` (App Service) and `/metadata/identity/oauth2/token` (virtual
machine). The answers are those that MSAL for Python 1.39 was seen to work with (checked 2026-11).
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final
from urllib.parse import parse_qsl, unquote

from cryptography import x509

from fleetsync.simulator.counters import Call
from fleetsync.simulator.desk import Carried, Desk
from fleetsync.simulator.entra.device_codes import DeviceCodes
from fleetsync.simulator.entra.tokens import TokenError, b64url, check_assertion, claims_of, issued
from fleetsync.simulator.faults import Drawn
from fleetsync.simulator.wire import Object, RefusedError, SimRequest, SimResponse, encoded, json_answer

KNOWN_RESOURCES: Final = (
    "https://apps.azureiotcentral.com",
    "https://iothubs.azure.net",
    "https://management.azure.com",
    "https://firstparty.sphere.azure.net/api",
    "https://sphere.azure.net/api",
    "api://fleetsync-simulated-relay",
)
_APPLICATIONS_ONLY: Final = "https://firstparty.sphere.azure.net/api"
_PEOPLE_ONLY: Final = "https://sphere.azure.net/api"
"""Azure Sphere has a resource for applications and another for people."""
_DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"
_TENANT_PATH: Final = re.compile(r"/[^/]+/(oauth2/v2\.0/[^/]+|v2\.0/\.well-known/openid-configuration)")
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MANAGED_IDENTITY: Final = {"/msi/token": "X-IDENTITY-HEADER", "/metadata/identity/oauth2/token": "Metadata"}
_OPENID_SCOPES: Final = frozenset({"openid", "profile", "offline_access"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The application that may sign in, and how its tokens are.

    `device_code_polls` is how often a device code is pending before it is approved by nobody in
    particular. `refresh_in_s` makes clients refresh before the end.
    """

    tenant_id: str
    client_id: str
    client_secret: str
    workload_assertion: str
    expires_in_s: int = 3599
    refresh_in_s: int | None = None
    device_code_polls: int = 2
    device_code_interval_s: int = 5


class Entra:
    """Issues tokens for one application of one tenant.

    `registration`, `certificate` and `refusal` may be set while it runs: a rotated secret, an uploaded
    certificate, and a status (400, 401, 429, 503) with which every token request is refused.
    """

    def __init__(self, registration: Registration, desk: Desk, *, seed: int, origin: str) -> None:
        self.registration = registration
        self.certificate: x509.Certificate | None = None
        self.refusal: int | None = None
        self.origin = origin
        self._desk = desk
        self._random = Random(f"{seed}:entra")
        self._key = self._random.randbytes(32)
        self._codes = DeviceCodes(self._random)

    def serves(self, path: str) -> bool:
        """True for the paths of this service."""
        return path in _MANAGED_IDENTITY or _TENANT_PATH.fullmatch(path) is not None

    def handle(self, request: SimRequest) -> SimResponse:
        """Answer a request as the service would, now."""
        return self._desk.serve(request, self)

    def revoke(self) -> None:
        """Make every token that was issued so far worthless."""
        self._key = self._random.randbytes(32)

    def is_good(self, token: str, resource: str) -> bool:
        """True for a token of ours that is for that resource and has not expired."""
        try:
            claims = claims_of(token, self._key, at=self._desk.now())
        except TokenError:
            return False
        return claims.get("aud") == resource

    def recognise(self, request: SimRequest) -> Call:
        """Say what a request is about: a token, or the description of the endpoints."""
        is_token = request.method == "POST" or request.path in _MANAGED_IDENTITY
        return Call(kind="token", type="token") if is_token else Call(kind="discovery", type="openid-configuration")

    def admit(self, request: SimRequest) -> None:
        """Let every request pass: whoever asks for a token has none."""

    def carry_out(self, request: SimRequest, call: Call, faults: Drawn) -> Carried:  # noqa: ARG002  # nothing is listed
        """Answer, or raise RefusedError."""
        if call.kind == "token" and self.refusal is not None:
            raise RefusedError(self.refusal, *_REFUSALS.get(self.refusal, _REFUSALS[503]))
        if request.path in _MANAGED_IDENTITY:
            return Carried(answer=self._managed_identity(request))
        tenant, _, endpoint = request.path.removeprefix("/").partition("/")
        if unquote(tenant) != self.registration.tenant_id:
            raise RefusedError(400, "invalid_request", f"AADSTS90002: Tenant '{tenant}' not found.")
        form = dict(parse_qsl(request.body.decode(errors="replace")))
        match request.method, endpoint:
            case "GET", "v2.0/.well-known/openid-configuration":
                return Carried(answer=json_answer(self._endpoints(request)))
            case "POST", "oauth2/v2.0/token":
                return Carried(answer=json_answer(self._token(form, self._endpoints(request))))
            case "POST", "oauth2/v2.0/devicecode":
                return Carried(answer=json_answer(self._device_code(form)))
            case _:
                raise RefusedError(404, "invalid_request", "AADSTS900561: no such endpoint.")

    def refuse(self, status: int, code: str, message: str) -> SimResponse:
        """Return an OAuth error; the AADSTS number in its text is repeated as a number."""
        digits = message.partition(":")[0].removeprefix("AADSTS")
        return json_answer(
            {
                "error": code,
                "error_description": message,
                "error_codes": [int(digits)] if digits.isdecimal() else [],
                "correlation_id": f"{self._random.getrandbits(128):032x}",
            },
            status=status,
        )

    def _endpoints(self, request: SimRequest) -> Object:
        host = request.header("Host")
        origin = f"{self.origin.partition('://')[0]}://{host}" if host else self.origin
        base = f"{origin}/{self.registration.tenant_id}"
        return {
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        }

    def _token(self, form: dict[str, str], endpoints: Object) -> Object:
        self._check_client(form)
        grants: dict[str, Callable[[], Object]] = {
            "client_credentials": lambda: self._client_credentials(form, endpoints),
            _DEVICE_CODE: lambda: self._redeemed_code(form),
            "refresh_token": lambda: self._refreshed(form),
        }
        grant = grants.get(form.get("grant_type", ""))
        if grant is None:
            raise RefusedError(400, "unsupported_grant_type", "AADSTS70003: the grant type is not supported.")
        return grant()

    def _check_client(self, form: dict[str, str]) -> None:
        if form.get("client_id") != self.registration.client_id:
            raise RefusedError(400, "unauthorized_client", "AADSTS700016: the application was not found.")

    def _client_credentials(self, form: dict[str, str], endpoints: Object) -> Object:
        if "client_assertion" in form:
            self._check_assertion(form, str(endpoints["token_endpoint"]))
        elif not hmac.compare_digest(form.get("client_secret", "").encode(), self._secret):
            raise RefusedError(401, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
        scope = form.get("scope", "")
        if " " in scope or not scope.endswith("/.default"):
            raise RefusedError(400, "invalid_scope", "AADSTS70011: the scope is not valid.")
        if resource_of(scope) == _PEOPLE_ONLY:
            raise RefusedError(400, "invalid_resource", "AADSTS500011: no application is let into this resource.")
        return self._granted(resource_of(scope))

    @property
    def _secret(self) -> bytes:
        return self.registration.client_secret.encode()

    def _check_assertion(self, form: dict[str, str], audience: str) -> None:
        assertion = form["client_assertion"]
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise RefusedError(400, "invalid_request", "AADSTS900144: client_assertion_type is missing.")
        if hmac.compare_digest(assertion.encode(), self.registration.workload_assertion.encode()):
            return
        if self.certificate is None:
            raise RefusedError(401, "invalid_client", "AADSTS700027: no certificate is registered.")
        client_id, now = self.registration.client_id, self._desk.now()
        try:
            check_assertion(assertion, self.certificate, client_id=client_id, audience=audience, at=now)
        except TokenError as error:
            raise RefusedError(401, "invalid_client", f"AADSTS700027: the assertion is refused: {error}.") from error

    def _granted(self, resource: str) -> Object:
        now, registration = self._desk.now(), self.registration
        claims = {
            "aud": resource,
            "tid": registration.tenant_id,
            "appid": registration.client_id,
            "iat": int(now),
            "exp": now + registration.expires_in_s,
            "jti": f"{self._random.getrandbits(128):032x}",
        }
        life = {"expires_in": registration.expires_in_s, "ext_expires_in": registration.expires_in_s}
        early = {} if registration.refresh_in_s is None else {"refresh_in": registration.refresh_in_s}
        return {"token_type": "Bearer", **life, **early, "access_token": issued(claims, self._key)}

    def _device_code(self, form: dict[str, str]) -> Object:
        self._check_client(form)
        if resource_of(form.get("scope", "")) == _APPLICATIONS_ONLY:
            raise RefusedError(400, "invalid_resource", "AADSTS65002: nobody may act for a person at this resource.")
        return self._codes.begin(form["scope"], at=self._desk.now(), interval_s=self._interval_s)

    def _redeemed_code(self, form: dict[str, str]) -> Object:
        code, polls = form.get("device_code", ""), self.registration.device_code_polls
        scope = self._codes.redeem(code, at=self._desk.now(), interval_s=self._interval_s, polls=polls)
        return self._granted_to_person(scope)

    @property
    def _interval_s(self) -> int:
        return self.registration.device_code_interval_s

    def _granted_to_person(self, scope: str) -> Object:
        now, registration = int(self._desk.now()), self.registration
        person = {"oid": "11111111-2222-4333-8444-555555555555", "preferred_username": "operator@contoso.example"}
        identity = {
            "aud": registration.client_id, "tid": registration.tenant_id, "sub": person["oid"], **person,
            "iss": f"{self.origin}/{registration.tenant_id}/v2.0",
            "iat": now, "exp": now + registration.expires_in_s,
        }  # fmt: skip
        refresh = {"kind": "refresh", "scope": scope, "exp": now + 90 * 86_400, "jti": self._random.getrandbits(64)}
        return {
            **self._granted(resource_of(scope)),
            "scope": scope,
            "refresh_token": issued(refresh, self._key),
            "id_token": issued(identity, self._key),
            "client_info": b64url(encoded({"uid": person["oid"], "utid": registration.tenant_id})),
        }

    def _refreshed(self, form: dict[str, str]) -> Object:
        try:
            claims = claims_of(form.get("refresh_token", ""), self._key, at=self._desk.now())
        except TokenError as error:
            raise RefusedError(400, "invalid_grant", "AADSTS700082: the refresh token has expired.") from error
        if claims.get("kind") != "refresh":
            raise RefusedError(400, "invalid_grant", "AADSTS9002313: this is no refresh token.")
        return self._granted_to_person(form.get("scope") or str(claims["scope"]))

    def _managed_identity(self, request: SimRequest) -> SimResponse:
        needed = _MANAGED_IDENTITY[request.path]
        if not request.header(needed):
            raise RefusedError(400, "invalid_request", f"the header {needed} is missing")
        resource = dict(parse_qsl(request.query)).get("resource", "").rstrip("/")
        granted = self._granted(resource_of(f"{resource}/.default"))
        expires_on = int(self._desk.now()) + self.registration.expires_in_s
        return json_answer(
            {
                "access_token": granted["access_token"],
                "token_type": "Bearer",
                "resource": resource,
                "expires_on": str(expires_on),
                "expires_in": str(self.registration.expires_in_s),
            }
        )


_REFUSALS: Final = {
    400: ("invalid_request", "AADSTS900144: the request is refused."),
    401: ("invalid_client", "AADSTS7000222: the client secret has expired."),
    429: ("temporarily_unavailable", "AADSTS90055: too many requests."),
    503: ("temporarily_unavailable", "AADSTS90033: a transient error has occurred."),
}


def resource_of(scope: str) -> str:
    """Return the resource that a scope is for.

    Raises:
        RefusedError: 400, there is no such resource.
    """
    wanted = next((part for part in scope.split() if part not in _OPENID_SCOPES), "")
    resource = wanted.rpartition("/")[0]
    if resource not in KNOWN_RESOURCES:
        raise RefusedError(400, "invalid_resource", f"AADSTS500011: the resource '{resource}' was not found.")
    return resource
