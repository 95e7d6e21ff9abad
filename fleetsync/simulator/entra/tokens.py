"""Signed texts: the JSON web tokens that Entra issues, and the assertions that clients sign."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from fleetsync.simulator.wire import Object, encoded


class TokenError(Exception):
    """A token is malformed, not signed by whom it should be, not for us, or out of date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A token taken apart; nothing of it is checked."""

    header: Object
    claims: Object
    signed: bytes
    signature: bytes


def parts(token: str) -> Parts:
    """Take a token apart.

    Raises:
        TokenError: it is no JSON web token.
    """
    try:
        head, body, signature = token.split(".")
        found = Parts(
            header=_object(head),
            claims=_object(body),
            signed=f"{head}.{body}".encode(),
            signature=_decoded(signature),
        )
    except ValueError as error:
        raise TokenError("not a JSON web token") from error
    return found


def issued(claims: Object, key: bytes) -> str:
    """Return a token signed with a secret key (HS256)."""
    signed = f"{b64url(encoded({'alg': 'HS256', 'typ': 'JWT'}))}.{b64url(encoded(claims))}"
    return f"{signed}.{b64url(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def claims_of(token: str, key: bytes, *, at: float) -> Object:
    """Return the claims of a token that was signed with the key and has not expired.

    Raises:
        TokenError: otherwise.
    """
    found = parts(token)
    if not hmac.compare_digest(hmac.digest(key, found.signed, hashlib.sha256), found.signature):
        raise TokenError("signed with another key")
    if float(found.claims.get("exp", 0)) <= at:
        raise TokenError("expired")
    return found.claims


def check_assertion(token: str, certificate: x509.Certificate, *, client_id: str, audience: str, at: float) -> None:
    """Check a client's assertion: PS256 or RS256, with the thumbprint of the certificate, for us, and in time.

    Raises:
        TokenError: otherwise.
    """
    found = parts(token)
    _check_signature(found, certificate)
    claims = found.claims
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        raise TokenError("issuer and subject are not the client")
    if claims.get("aud") != audience:
        raise TokenError(f"audience is not {audience}")
    # MSAL sends fractions of a second; a second of grace is for the rounding, not for clocks.
    if not float(claims.get("nbf", at)) - 1 <= at < float(claims.get("exp", 0)):
        raise TokenError("expired, or not valid yet")


def _check_signature(found: Parts, certificate: x509.Certificate) -> None:
    sha256 = hashes.SHA256()
    algorithm = found.header.get("alg")
    schemes: dict[Any, tuple[padding.AsymmetricPadding, str, hashes.HashAlgorithm]] = {
        "PS256": (padding.PSS(mgf=padding.MGF1(sha256), salt_length=padding.PSS.AUTO), "x5t#S256", sha256),
        "RS256": (padding.PKCS1v15(), "x5t", hashes.SHA1()),  # noqa: S303  # the name of a key, no protection
    }
    if algorithm not in schemes:
        raise TokenError(f"signed with {algorithm}")
    scheme, member, thumbprint = schemes[algorithm]
    if found.header.get(member, "").rstrip("=") != b64url(certificate.fingerprint(thumbprint)):
        raise TokenError(f"{member} names another certificate")
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        raise TokenError("the registered certificate has no RSA key")
    try:
        key.verify(found.signature, found.signed, scheme, sha256)
    except InvalidSignature as error:
        raise TokenError("the signature is wrong") from error


def b64url(content: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _object(text: str) -> Object:
    found = json.loads(_decoded(text))
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # bad input, not a bad caller
    return found


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
