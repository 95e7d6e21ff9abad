"""MSAL as it is, against a token service of our own."""

import base64
import datetime
import json
import logging
import subprocess
import sys

import pytest
import trustme
from aiohttp import web
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from fleetsync.errors import AuthError, ServerFaultError, TransientError, UnreachableError
from fleetsync.transport.device_code import sign_in_with_device_code
from fleetsync.transport.entra import ClientCertificate, Identity
from fleetsync.transport.msal_tokens import (
    client_certificate_tokens,
    client_secret_tokens,
    device_code_tokens,
    managed_identity_tokens,
    workload_identity_tokens,
)
from fleetsync.transport.secret import SecretText
from tests.fakes.clock import FakeClock
from tests.transport.token_service import TENANT, token_service, write_ca

SECRET = "s3cr3t-Value"


@pytest.fixture
async def service():
    async with token_service() as service:
        yield service


@pytest.fixture
def identity(service, tmp_path):
    return Identity(
        tenant_id=TENANT,
        client_id="client",
        scope="https://apps.example/.default",
        authority=service.url,
        ca_file=write_ca(tmp_path),
    )


def text(value, place="credential plant"):
    return SecretText(place=place, read=lambda: value)


def by_secret(identity, clock=None, secret=SECRET):
    return client_secret_tokens(identity, text(secret), clock or FakeClock())


async def test_a_secret_signs_in(service, identity):
    assert await by_secret(identity, secret=f"{SECRET}\n").authorization() == "Bearer t1"
    (form,) = service.forms
    assert form["client_secret"] == SECRET
    assert form["grant_type"] == "client_credentials"
    assert form["scope"] == "https://apps.example/.default"


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
async def test_the_environments_authorities_and_proxies_do_not_matter(service, identity, monkeypatch, tmp_path, name):
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    monkeypatch.setenv(name, str(tmp_path / "other.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert await by_secret(identity).authorization() == "Bearer t1"


async def test_a_token_service_that_is_not_trusted_gets_no_secret(identity):
    async with token_service(ca=trustme.CA()) as other:
        stranger = Identity(
            tenant_id=TENANT, client_id="c", scope="s/.default", authority=other.url, ca_file=identity.ca_file
        )
        with pytest.raises(UnreachableError, match="sign-in at localhost: the certificate is not trusted") as caught:
            await by_secret(stranger).authorization()
        assert not caught.value.sent
        assert other.forms == []


async def test_a_rotated_secret_is_seen(service, identity):
    clock, secrets = FakeClock(), iter(["old", "new"])
    tokens = client_secret_tokens(identity, SecretText(place="p", read=lambda: next(secrets)), clock)
    service.replies.append((401, {"error": "invalid_client", "error_codes": [7000222]}))
    with pytest.raises(AuthError, match="the client secret has expired"):
        await tokens.authorization()
    await clock.advance(60)
    assert await tokens.authorization() == "Bearer t2"
    assert [form["client_secret"] for form in service.forms] == ["old", "new"]


async def test_a_token_refused_by_a_service_is_not_taken_from_msals_cache(service, identity):
    tokens = by_secret(identity)
    await tokens.refused(await tokens.authorization())
    assert await tokens.authorization() == "Bearer t2"


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_fault_during_an_early_renewal_keeps_the_good_token(service, identity, status):
    clock = FakeClock()
    tokens = by_secret(identity, clock)
    service.expires_in = 250  # short enough for MSAL to ask on every call
    assert await tokens.authorization() == "Bearer t1"
    service.replies.append((status, "<html>down</html>"))
    await clock.advance(126)
    assert await tokens.authorization() == "Bearer t1"
    while tokens._flight is not None:
        await clock.advance(0)
    assert len(service.forms) == 2
    assert await tokens.authorization() == "Bearer t1"


@pytest.mark.parametrize(
    ("status", "said", "error_type", "words"),
    [
        (
            401,
            {"error": "invalid_client", "error_codes": [7000215]},
            AuthError,
            "AADSTS7000215: the client secret is wrong",
        ),
        (
            400,
            {"error": "unauthorized_client", "error_description": "AADSTS700016: x"},
            AuthError,
            "client id is unknown",
        ),
        (400, {"error": "invalid_grant", "error_codes": [424242]}, AuthError, "error[?]code=424242"),
        (400, {"error": "invalid_scope"}, AuthError, "was refused: invalid_scope$"),
        (400, {"error": "\x1b[31m"}, AuthError, "was refused: an unnamed error$"),
        (400, {"error": "temporarily_unavailable"}, ServerFaultError, "not possible now"),
        (400, {"error": "invalid_request", "error_codes": [90033]}, ServerFaultError, "AADSTS90033"),
        (500, {"error": "server_error"}, ServerFaultError, "the token service failed"),
        (503, "<html>", ServerFaultError, "the token service failed"),
        (200, "<html>", ServerFaultError, "the answer is not JSON"),
        (429, "", ServerFaultError, "the answer is not JSON"),
        (200, [], ServerFaultError, "the token service failed"),
        (200, {"access_token": "a\nb", "expires_in": 3600}, ServerFaultError, "a token that cannot be used"),
    ],
)
async def test_what_the_token_service_says_is_for_a_person_or_for_later(
    service, identity, status, said, error_type, words, caplog
):
    service.replies.append((status, said))
    with pytest.raises(error_type, match=words) as caught:
        await by_secret(identity).authorization()
    assert type(caught.value) is error_type
    if isinstance(caught.value, TransientError):
        assert not caught.value.sent
    assert not [record for record in caplog.records if record.name.startswith("msal")]


async def test_a_token_service_that_echoes_the_secret_does_not_get_it_into_a_message(service, identity):
    echo = {"error": SECRET, "error_description": f"AADSTS1: {SECRET}", "trace_id": SECRET, "suberror": SECRET}
    service.replies.append((400, echo))
    with pytest.raises(AuthError) as caught:
        await by_secret(identity).authorization()
    assert SECRET not in str(caught.value) + str(caught.value.code) + str(caught.value.request_id)


async def test_a_trace_id_is_what_support_asks_for(service, identity):
    trace = "8d2b0bd4-0000-1111-2222-333344445555"
    service.replies.append((400, {"error": "invalid_client", "trace_id": trace}))
    with pytest.raises(AuthError) as caught:
        await by_secret(identity).authorization()
    assert caught.value.request_id == trace


async def test_the_construction_is_tried_again(service, identity):
    service.discovery_replies.append((503, "down"))
    tokens = by_secret(identity)
    with pytest.raises(TransientError):
        await tokens.authorization()
    assert await tokens.authorization() == "Bearer t1"
    assert service.discoveries == 2


async def test_an_unknown_tenant_is_for_a_person(service, identity):
    service.discovery_replies.append((400, {"error": "invalid_tenant"}))
    with pytest.raises(AuthError, match="the tenant or the authority is not accepted"):
        await by_secret(identity).authorization()


async def test_a_token_service_that_is_down_is_unreachable(identity):
    nowhere = Identity(tenant_id=TENANT, client_id="c", scope="s/.default", authority="https://localhost:1")
    with pytest.raises(UnreachableError, match="sign-in at localhost: the token service cannot be reached"):
        await by_secret(nowhere).authorization()


def certificate(key_type=trustme.KeyType.RSA, **options):
    issued = trustme.CA().issue_cert("fleetsync", key_type=key_type, **options)
    pem = issued.cert_chain_pems[0].bytes().decode()
    key = issued.private_key_pem.bytes().decode()
    return ClientCertificate(certificate=text(pem, "cert.pem"), private_key=text(key, "key.pem"))


async def test_a_certificate_signs_in_with_sha_256(service, identity):
    tokens = client_certificate_tokens(identity, certificate(), FakeClock())
    assert await tokens.authorization() == "Bearer t1"
    header = service.forms[0]["client_assertion"].split(".")[0]
    decoded = json.loads(base64.urlsafe_b64decode(header + "=="))
    assert decoded["alg"] == "PS256"
    assert "x5t#S256" in decoded


async def test_a_certificate_says_when_it_ends(identity):
    end = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    tokens = client_certificate_tokens(identity, certificate(not_after=end), FakeClock())
    assert tokens.expires_at() == end


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("junk", None, "cert.pem holds no usable certificate"),
        (None, "junk", "key.pem holds no usable private key, or its passphrase is wrong"),
        (None, "", "key.pem is empty"),
    ],
)
async def test_an_unusable_certificate_is_named(service, identity, cert, key, words):
    good = certificate()
    bad = ClientCertificate(
        certificate=good.certificate if cert is None else text(cert, "cert.pem"),
        private_key=good.private_key if key is None else text(key, "key.pem"),
    )
    with pytest.raises(AuthError, match=words):
        await client_certificate_tokens(identity, bad, FakeClock()).authorization()
    assert bad.expires_at() is None or cert is None
    assert service.forms == []


async def test_a_key_that_entra_does_not_take_is_named(identity):
    with pytest.raises(AuthError, match=r"key\.pem holds a key that is not RSA"):
        await client_certificate_tokens(identity, certificate(trustme.KeyType.ECDSA), FakeClock()).authorization()


async def test_an_encrypted_key_needs_its_passphrase(service, identity):
    plain = certificate()
    key = load_pem_private_key(plain.private_key.text().encode(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open")).decode()
    for passphrase in (None, text("wrong")):
        closed = ClientCertificate(
            certificate=plain.certificate, private_key=text(pem, "key.pem"), passphrase=passphrase
        )
        with pytest.raises(AuthError, match="or its passphrase is wrong"):
            await client_certificate_tokens(identity, closed, FakeClock()).authorization()
    opened = ClientCertificate(
        certificate=plain.certificate, private_key=text(pem, "key.pem"), passphrase=text("open\n")
    )
    assert await client_certificate_tokens(identity, opened, FakeClock()).authorization() == "Bearer t1"


async def test_a_workload_identity_reads_its_assertion_at_each_sign_in(service, identity):
    assertions = iter(["one", "two"])
    tokens = workload_identity_tokens(identity, SecretText(place="p", read=lambda: next(assertions)), FakeClock())
    await tokens.refused(await tokens.authorization())
    assert await tokens.authorization() == "Bearer t2"
    assert [form["client_assertion"] for form in service.forms] == ["one", "two"]


async def test_a_workload_identity_without_its_file_names_the_place(identity, tmp_path):
    secret = SecretText(place="file /var/run/token", read=(tmp_path / "none").read_text)
    with pytest.raises(AuthError, match="file /var/run/token cannot be read"):
        await workload_identity_tokens(identity, secret, FakeClock()).authorization()


class Endpoint:
    """A managed identity endpoint of an App Service."""

    def __init__(self):
        self.queries, self.replies = [], []

    async def handle(self, request):
        self.queries.append(dict(request.query))
        if self.replies:
            status, said = self.replies.pop(0)
            return web.Response(status=status, text=said)
        return web.json_response(
            {
                "access_token": f"m{len(self.queries)}",
                "expires_on": "4000000000",
                "resource": "r",
                "token_type": "Bearer",
            }
        )


@pytest.fixture
async def endpoint(monkeypatch):
    endpoint, app = Endpoint(), web.Application()
    app.router.add_get("/msi/token", endpoint.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "x")
    yield endpoint
    await runner.cleanup()


async def test_the_machines_own_identity_signs_in(endpoint):
    tokens = managed_identity_tokens("https://management.azure.com/.default", FakeClock())
    assert await tokens.authorization() == "Bearer m1"
    assert endpoint.queries[0]["resource"] == "https://management.azure.com"
    assert tokens.expires_at() is None
    await tokens.refused("Bearer m1")
    assert await tokens.authorization() == "Bearer m2"


async def test_one_of_several_identities_is_asked_for_by_its_client_id(endpoint):
    await managed_identity_tokens("https://a/.default", FakeClock(), client_id="me").authorization()
    assert endpoint.queries[0]["client_id"] == "me"


@pytest.mark.parametrize("reply", [(429, '{"message": "slow"}'), (500, "<html>"), (200, "[]")])
async def test_a_managed_identity_endpoint_that_fails_is_tried_again(endpoint, reply):
    endpoint.replies.append(reply)
    with pytest.raises(ServerFaultError):
        await managed_identity_tokens("https://a/.default", FakeClock()).authorization()


def by_device_code(identity, tmp_path):
    return device_code_tokens(identity, tmp_path / "tokens", FakeClock(), command="fleetsync sign-in plant")


async def test_a_person_signs_in_once_and_the_daemon_goes_on(service, identity, tmp_path):
    shown = []
    await sign_in_with_device_code(identity, tmp_path / "tokens", shown.append)
    assert shown == ["go to https://where and type ABC"]
    assert (tmp_path / "tokens").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir() if "tokens" in file.name] == ["tokens"]
    tokens = by_device_code(identity, tmp_path)
    assert await tokens.authorization() == "Bearer t1"
    await tokens.refused("Bearer t1")
    assert await tokens.authorization() == "Bearer t2"
    assert service.forms[-1]["refresh_token"] == "r3fresh"


async def test_without_a_person_who_signed_in_the_command_is_named(identity, tmp_path):
    for content in (None, "junk", "{}"):
        if content is not None:
            (tmp_path / "tokens").write_text(content)
        with pytest.raises(AuthError, match="nobody is signed in at localhost: sign in with `fleetsync sign-in plant`"):
            await by_device_code(identity, tmp_path).authorization()


async def test_a_refresh_token_that_has_expired_needs_the_person_again(service, identity, tmp_path):
    await sign_in_with_device_code(identity, tmp_path / "tokens", lambda message: None)
    tokens = by_device_code(identity, tmp_path)
    await tokens.refused(await tokens.authorization())
    service.replies.append((400, {"error": "invalid_grant", "error_codes": [700082]}))
    with pytest.raises(AuthError, match="refresh token has expired: sign in again with `fleetsync sign-in plant`"):
        await tokens.authorization()


async def test_a_declined_sign_in_leaves_no_file(service, identity, tmp_path):
    service.replies.append((400, {"error": "authorization_declined"}))
    with pytest.raises(AuthError, match="authorization_declined"):
        await sign_in_with_device_code(identity, tmp_path / "tokens", lambda message: None)
    assert not (tmp_path / "tokens").exists()


def test_neither_msal_nor_requests_is_imported_before_somebody_signs_in():
    code = (
        "import sys\n"
        "import fleetsync.transport.connect, fleetsync.transport.msal_tokens\n"
        "sys.exit(len({'msal', 'requests'} & set(sys.modules)))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


def test_msals_logger_is_off():
    from fleetsync.transport.entra import silent_msal

    silent_msal()
    assert not logging.getLogger("msal.oauth2cli.oauth2").isEnabledFor(logging.CRITICAL)
