from dataclasses import replace
from urllib.parse import urlencode

import pytest

from tests.simulator.client import Client

SCOPE = "https://apps.azureiotcentral.com/.default"


def token_request(client: Client, **changes: str):
    credentials = client.cloud.credentials
    form = {
        "grant_type": "client_credentials",
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret,
        "scope": SCOPE,
        **changes,
    }
    return post(client, "token", form)


def post(client: Client, endpoint: str, form: dict[str, str]):
    target = f"/{client.cloud.credentials.tenant_id}/oauth2/v2.0/{endpoint}"
    return client.send("POST", target, urlencode(form).encode())


@pytest.fixture
def client(make, tmp_path) -> Client:
    return make(tls=tmp_path)


def test_a_secret_gives_a_token_that_opens_the_api_until_it_expires(client: Client) -> None:
    answer = token_request(client).json()
    client.headers = {"Authorization": f"Bearer {answer['access_token']}"}
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3599)
    assert client.call("GET", "devices").status == 200
    client.clock.advance(3600)
    assert client.call("GET", "devices").status == 401
    assert client.cloud.counters.token_requests == 1


def test_revoked_tokens_and_those_for_another_resource_do_not(client: Client) -> None:
    other = token_request(client, scope="https://management.azure.com/.default").json()["access_token"]
    ours = token_request(client).json()["access_token"]
    assert client.call("GET", "devices", Authorization=f"Bearer {other}").status == 401
    assert client.call("GET", "devices", Authorization=f"Bearer {ours}").status == 200
    client.cloud.entra.revoke()
    assert client.call("GET", "devices", Authorization=f"Bearer {ours}").status == 401


@pytest.mark.parametrize(
    ("changes", "status", "error", "number"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_id": "somebody"}, 400, "unauthorized_client", 700016),
        ({"scope": "https://apps.azureiotcentral.com"}, 400, "invalid_scope", 70011),
        ({"scope": "https://nobody.example/.default"}, 400, "invalid_resource", 500011),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"client_assertion": "a.b.c"}, 400, "invalid_request", 900144),
    ],
)
def test_what_is_wrong_is_said_as_entra_says_it(client, changes, status: int, error: str, number: int) -> None:
    answer = token_request(client, **changes)
    assert (answer.status, answer.json()["error"], answer.json()["error_codes"]) == (status, error, [number])


def test_an_unknown_tenant_is_refused(client: Client) -> None:
    answer = client.send("GET", "/nobody/v2.0/.well-known/openid-configuration")
    assert (answer.status, answer.json()["error_codes"]) == (400, [90002])


@pytest.mark.parametrize("status", [400, 401, 429, 503])
def test_the_endpoint_can_be_made_to_refuse(client: Client, status: int) -> None:
    client.cloud.entra.refusal = status
    assert token_request(client).status == status


def test_faults_reach_token_requests_only_when_they_are_meant_to(client: Client) -> None:
    client.send("POST", "/_simulator/faults", b"status=500,token-status=503@2")
    assert [token_request(client).status for _ in range(3)] == [200, 503, 200]


def test_the_description_of_the_endpoints_is_no_request_of_the_api_and_has_its_own_faults(client: Client) -> None:
    target = f"/{client.cloud.credentials.tenant_id}/v2.0/.well-known/openid-configuration"
    client.send("POST", "/_simulator/faults", b"status=500,discovery.status=503@2")
    assert [client.send("GET", target).status for _ in range(2)] == [200, 503]
    assert (client.cloud.counters.requests, client.cloud.counters.token_requests) == (0, 0)
    assert client.send("GET", target, Host="localhost:1").json()["token_endpoint"].startswith("https://localhost:1/")


def test_other_endpoints_are_not_there(client: Client) -> None:
    assert post(client, "logout", {}).status == 404


def test_a_certificate_that_is_not_registered_is_no_help(client: Client) -> None:
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert token_request(client, client_assertion="a.b.c", client_assertion_type=kind).status == 401


def test_clients_can_be_told_to_refresh_early(client: Client) -> None:
    client.cloud.entra.registration = replace(client.cloud.entra.registration, refresh_in_s=60)
    assert token_request(client).json()["refresh_in"] == 60


def test_a_workload_assertion_is_taken_as_it_is(client: Client) -> None:
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    good = client.cloud.credentials.workload_token
    assert token_request(client, client_assertion=good, client_assertion_type=kind).status == 200
    assert token_request(client, client_assertion=good + "x", client_assertion_type=kind).status == 401


class TestDeviceCode:
    def poll(self, client: Client, code: str):
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": code}
        return post(client, "token", {**form, "client_id": client.cloud.credentials.client_id})

    def begin(self, client: Client) -> str:
        form = {"client_id": client.cloud.credentials.client_id, "scope": f"{SCOPE} openid profile offline_access"}
        return str(post(client, "devicecode", form).json()["device_code"])

    def test_it_is_pending_then_approved_and_works_once(self, client: Client) -> None:
        code, said = self.begin(client), []
        for _ in range(4):
            client.clock.advance(5)
            answer = self.poll(client, code)
            said.append(answer.json().get("error"))
        assert said == ["authorization_pending", "authorization_pending", None, "expired_token"]

    def test_haste_is_rebuked(self, client: Client) -> None:
        code = self.begin(client)
        assert [self.poll(client, code).json()["error"] for _ in range(2)] == ["authorization_pending", "slow_down"]

    def test_a_code_expires(self, client: Client) -> None:
        code = self.begin(client)
        client.clock.advance(901)
        assert self.poll(client, code).json()["error"] == "expired_token"

    def test_a_refresh_token_gives_another_token_until_it_is_revoked(self, client: Client) -> None:
        client.cloud.entra.registration = replace(client.cloud.entra.registration, device_code_polls=0)
        granted = self.poll(client, self.begin(client)).json()
        form = {"grant_type": "refresh_token", "client_id": client.cloud.credentials.client_id, "scope": SCOPE}
        again = post(client, "token", {**form, "refresh_token": granted["refresh_token"]}).json()
        wrong = post(client, "token", {**form, "refresh_token": granted["access_token"]})
        assert client.cloud.entra.is_good(again["access_token"], "https://apps.azureiotcentral.com")
        client.cloud.entra.revoke()
        late = post(client, "token", {**form, "refresh_token": granted["refresh_token"]})
        assert (wrong.status, late.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("path", "header"), [("/msi/token", "X-IDENTITY-HEADER"), ("/metadata/identity/oauth2/token", "Metadata")]
)
def test_a_managed_identity_needs_its_header(client: Client, path: str, header: str) -> None:
    target = f"{path}?api-version=2019-08-01&resource=https%3A%2F%2Fapps.azureiotcentral.com"
    granted = client.send("GET", target, **{header: "x"})
    assert client.send("GET", target).status == 400
    assert granted.json()["expires_on"].isdecimal()
    token = granted.json()["access_token"]
    assert client.call("GET", "devices", Authorization=f"Bearer {token}").status == 200


def test_a_device_that_is_called_like_an_endpoint_is_a_device(client: Client) -> None:
    client.headers = {"Authorization": client.cloud.credentials.api_token}
    client.cloud.add_device("openid-configuration")
    assert client.device("openid-configuration").json()["id"] == "openid-configuration"
