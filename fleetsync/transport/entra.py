"""Sign-in at Microsoft Entra ID through MSAL: what blocks, and is called in a thread.

Facts (msal 1.39.0): the constructors send requests; a client credential is fixed at construction; tokens are cached
inside and served from there until 300 s before their end; there is no single flight; a failed early renewal hides a
token that is still good. The last two are mended in `fleetsync.transport.refresh`.
"""

import datetime
import functools
import logging
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct

from fleetsync.errors import AuthError
from fleetsync.transport.entra_faults import faults_of, token_of
from fleetsync.transport.refresh import AccessToken
from fleetsync.transport.secret import SecretText

if TYPE_CHECKING:
    import requests
    from cryptography import x509

PUBLIC_CLOUD = "https://login.microsoftonline.com"
TIMEOUT_S = 10.0

Credential = str | Mapping[str, object]
"""MSAL's `client_credential`."""


class Identity(Struct, frozen=True, kw_only=True):
    """Who signs in, for what, and where.

    `authority` is the sign-in address without a tenant, None for the public cloud; `ca_file` replaces the system's
    certificate authorities.
    """

    tenant_id: str
    client_id: str
    scope: str
    authority: str | None = None
    ca_file: Path | None = None
    proxy: str | None = None

    @property
    def address(self) -> str:
        """Return the authority with the tenant."""
        return f"{(self.authority or PUBLIC_CLOUD).rstrip('/')}/{self.tenant_id}"

    @property
    def host(self) -> str:
        """Return the host to name in messages."""
        return urlsplit(self.address).hostname or self.address

    def options(self) -> dict[str, Any]:
        """Return what MSAL's applications want to know. A configured authority is taken at its word."""
        return {
            "authority": self.address,
            "instance_discovery": False if self.authority else None,
            "http_client": http_session(ca_file=self.ca_file, proxy=self.proxy),
        }


class ConfidentialSignIn:
    """Signs in as an application. The application is built at need, and anew when its credential changed."""

    def __init__(
        self,
        identity: Identity,
        credential: Callable[[], Credential],
        *,
        expires_at: Callable[[], datetime.datetime | None] = lambda: None,
    ) -> None:
        self._identity = identity
        self._credential = credential
        self._expires_at = expires_at
        self._built: tuple[Credential, Any] | None = None

    def acquire(self, *, anew: bool) -> AccessToken:
        """Return a token; with `anew` none from MSAL's cache."""
        app = self._application(self._credential())
        with faults_of(self._identity.host):
            if anew:
                app.remove_tokens_for_client()
            result = app.acquire_token_for_client(scopes=[self._identity.scope])
        return token_of(result, self._identity.host)

    def expires_at(self) -> datetime.datetime | None:
        """Return when the credential ends, where it says so."""
        return self._expires_at()

    def _application(self, credential: Credential) -> Any:
        if self._built is None or self._built[0] != credential:
            with faults_of(self._identity.host, building=True):
                app = silent_msal().ConfidentialClientApplication(
                    self._identity.client_id, client_credential=credential, **self._identity.options()
                )
            self._built = (credential, app)
        return self._built[1]


class ManagedIdentitySignIn:
    """Signs in as the machine's own identity, or as the one with `client_id` among several."""

    def __init__(self, scope: str, client_id: str | None = None) -> None:
        self._resource = scope.removesuffix("/.default")
        self._client_id = client_id
        self._client: Any = None

    def acquire(self, *, anew: bool) -> AccessToken:
        """Return a token; with `anew` none from MSAL's cache."""
        where = "the managed identity endpoint"
        with faults_of(where):
            if self._client is None or anew:
                self._client = self._build()
            result = self._client.acquire_token_for_client(resource=self._resource)
        return token_of(result, where, vague=True)

    def expires_at(self) -> None:
        """Return nothing: nobody has to renew it."""

    def _build(self) -> Any:
        msal = silent_msal()
        identity = (
            msal.UserAssignedManagedIdentity(client_id=self._client_id)
            if self._client_id
            else msal.SystemAssignedManagedIdentity()
        )
        return msal.ManagedIdentityClient(identity, http_client=http_session())


class ClientCertificate(Struct, frozen=True, kw_only=True):
    """A certificate and its private key, PEM, read when they are needed. Both may be in one file."""

    certificate: SecretText
    private_key: SecretText
    passphrase: SecretText | None = None

    def credential(self) -> Credential:
        """Return it in MSAL's form that is signed with SHA-256.

        Raises:
            AuthError: it cannot be read. The message names the place, never the content.
        """
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        self._parsed()
        key, passphrase = self.private_key.text(), self.passphrase.text() if self.passphrase else None
        place = self.private_key.place
        try:
            parsed = load_pem_private_key(key.encode(), passphrase.encode() if passphrase else None)
        except (ValueError, TypeError) as error:
            raise AuthError(f"{place} holds no usable private key, or its passphrase is wrong") from error
        if not isinstance(parsed, RSAPrivateKey):
            raise AuthError(f"{place} holds a key that is not RSA, which Entra ID does not take")
        return {
            "private_key": key,
            "public_certificate": self.certificate.text(),
            **({"passphrase": passphrase} if passphrase else {}),
        }

    def expires_at(self) -> datetime.datetime | None:
        """Return when the certificate ends; None where it cannot be read."""
        try:
            return self._parsed().not_valid_after_utc
        except AuthError:
            return None

    def _parsed(self) -> "x509.Certificate":
        from cryptography import x509

        try:
            return x509.load_pem_x509_certificate(self.certificate.text().encode())
        except ValueError as error:
            raise AuthError(f"{self.certificate.place} holds no usable certificate") from error


def http_session(*, ca_file: Path | None = None, proxy: str | None = None) -> "requests.Session":
    """Return the session that MSAL sends with: deadlines, our own trust and nothing from the environment.

    `verify` goes into each request, because REQUESTS_CA_BUNDLE beats the session's (psf/requests issue 3829).
    """
    import requests

    verify = str(ca_file) if ca_file else ssl.get_default_verify_paths().cafile or True
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0  # a redirect would carry the secret to wherever it points
    session.headers["Connection"] = "close"  # one request an hour needs no pool
    session.proxies = {"http": proxy, "https": proxy} if proxy else {}
    request = functools.partial(session.request, verify=verify, timeout=TIMEOUT_S)
    session.request = request  # type: ignore[method-assign]  # what msal's own documentation does
    return session


def silent_msal() -> Any:
    """Return the module, imported at need and with its logger off: it logs bodies that are no JSON."""
    import msal  # type: ignore[import-untyped]  # msal has no types

    logging.getLogger("msal").setLevel(logging.CRITICAL + 1)
    return msal
