from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fleetsync.simulator.entra.tokens import TokenError, b64url, check_assertion, claims_of, issued, parts
from fleetsync.simulator.tls import prepared
from fleetsync.simulator.wire import encoded

NOW = 1_790_000_000.0
GOOD = {"iss": "me", "sub": "me", "aud": "https://here/token", "nbf": NOW, "exp": NOW + 600.5}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[x509.Certificate, RSAPrivateKey]:
    folder = prepared(Path(tmp_path_factory.mktemp("tls")), at=NOW)
    key = load_pem_private_key(folder.client_key.read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return folder.certificate(), key


def assertion(keys: tuple[x509.Certificate, RSAPrivateKey], header: dict | None = None, **claims: object) -> str:
    certificate, key = keys
    head = {"alg": "RS256", "x5t": b64url(certificate.fingerprint(hashes.SHA1())), **(header or {})}
    signed = f"{b64url(encoded(head))}.{b64url(encoded({**GOOD, **claims}))}"
    return f"{signed}.{b64url(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def check(keys, token: str) -> None:
    check_assertion(token, keys[0], client_id="me", audience="https://here/token", at=NOW)


def test_a_good_assertion_passes(keys) -> None:
    check(keys, assertion(keys))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iss": "you"}, "issuer"),
        ({"aud": "https://there"}, "audience"),
        ({"exp": NOW}, "expired"),
        ({"nbf": NOW + 60}, "not valid yet"),
        ({"header": {"alg": "none"}}, "signed with none"),
        ({"header": {"alg": "PS256"}}, "another certificate"),
        ({"header": {"x5t": "other"}}, "another certificate"),
    ],
)
def test_a_bad_assertion_is_refused_for_its_reason(keys, changes: dict, said: str) -> None:
    with pytest.raises(TokenError, match=said):
        check(keys, assertion(keys, **changes))


def test_a_changed_assertion_is_refused(keys) -> None:
    head, _, signature = assertion(keys).split(".")
    with pytest.raises(TokenError, match="signature"):
        check(keys, f"{head}.{b64url(encoded({**GOOD, 'jti': 'x'}))}.{signature}")


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "W10.W10.x", "é.é.é"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TokenError, match="not a JSON web token"):
        parts(text)


def test_our_own_tokens_hold_until_they_expire_and_for_one_key_only() -> None:
    token = issued({"exp": NOW + 1}, b"key")
    assert claims_of(token, b"key", at=NOW)["exp"] == NOW + 1
    for key, at in ((b"other", NOW), (b"key", NOW + 1)):
        with pytest.raises(TokenError):
            claims_of(token, key, at=at)


def test_certificates_that_end_soon_are_made_anew(tmp_path: Path) -> None:
    first = prepared(tmp_path, at=NOW).certificate()
    assert prepared(tmp_path, at=NOW + 300 * 86_400).certificate() == first
    later = prepared(tmp_path, at=NOW + 364.5 * 86_400).certificate()
    assert later.not_valid_after_utc > datetime.fromtimestamp(NOW + 700 * 86_400, UTC)
