import base64
import hashlib
import hmac
from urllib.parse import quote

import pytest

from fleetsync.simulator import SimulatorError
from fleetsync.simulator.iot_hub.auth import BUILT_IN, Doorman, Policy, signature
from fleetsync.simulator.wire import RefusedError, SimRequest
from tests.simulator.client import error_name

HOST = "fleetsync-test.azure-devices.net"
KEY = "4SXq/go08X9PPaiNfAuHOMUSfpZPKof4vuOP714z/iQ="
END = 1767225610
PLAIN = f"{HOST}\n{END}"
WHOLE_HUB = (
    "SharedAccessSignature sr=fleetsync-test.azure-devices.net"
    "&sig=plkbjLrWid6149W8ToilPSKUlRS0s%2F14bawBHfA%2BDqw%3D&se=1767225610&skn=registryReadWrite"
)
SDK_FORM = WHOLE_HUB.replace("%2F", "/")
SCOPED = (
    "SharedAccessSignature sr=fleetsync-test.azure-devices.net%2Fdevices"
    "&sig=g15NaGs0LFWHR1JsVkWTxknoQ4mh%2F6HiWE3tGJm0XXs%3D&se=1767225610&skn=registryRead"
)


def admitted(token: str | None, path: str, needed: str = "registryRead", at: float = END - 60.0) -> bool:
    policies = {name: Policy(name=name, rights=rights, key=KEY) for name, rights in BUILT_IN.items()}
    doorman = Doorman(host=HOST, policies=policies, bearer=lambda *_: False, anonymous=False)
    try:
        doorman.admit(token, path=path, needed=BUILT_IN[needed], at=at)
    except RefusedError:
        return False
    return True


def token(host: str, key: str, policy: str, end: int) -> str:
    scope = quote(host, safe="")
    digest = hmac.digest(base64.b64decode(key), f"{scope}\n{end}".encode(), hashlib.sha256)
    signed = quote(base64.b64encode(digest), safe="")
    return f"SharedAccessSignature sr={scope}&sig={signed}&se={end}&skn={policy}"


def test_the_signature_is_that_of_the_test_vector() -> None:
    assert signature(KEY, PLAIN) == "plkbjLrWid6149W8ToilPSKUlRS0s/14bawBHfA+Dqw="


@pytest.mark.parametrize("good", [WHOLE_HUB, SDK_FORM, SCOPED], ids=["whole hub", "sdk form", "scoped"])
def test_the_tokens_of_the_test_vectors_are_good(good: str) -> None:
    assert admitted(good, "/devices/pump-001")


def test_the_order_of_the_fields_is_free() -> None:
    scheme, _, fields = WHOLE_HUB.partition(" ")
    assert admitted(f"{scheme} {'&'.join(reversed(fields.split('&')))}", "/devices/pump-001")


def test_a_scope_is_a_prefix_by_segment() -> None:
    assert admitted(SCOPED, "/devices")
    assert not admitted(SCOPED, "/devicesandmore/x")
    assert not admitted(SCOPED, "/statistics/devices")


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "",
        WHOLE_HUB.replace("plkb", "plkc"),
        WHOLE_HUB.replace("%2B", "+"),
        WHOLE_HUB.replace("se=1767225610", "se=1767225611"),
        WHOLE_HUB.replace("se=1767225610", "se=soon"),
        WHOLE_HUB.replace("registryReadWrite", "nobody"),
        WHOLE_HUB.replace("sr=fleetsync-test", "sr=another-hub"),
        f"{WHOLE_HUB}&skn=iothubowner",
        WHOLE_HUB.partition("&skn")[0],
        SCOPED.replace("%2F", "/", 1),
    ],
)
def test_any_other_token_is_refused(bad: str | None) -> None:
    assert not admitted(bad, "/devices/pump-001")


def test_a_token_is_good_until_its_second() -> None:
    assert admitted(WHOLE_HUB, "/devices/x", at=END - 0.001)
    assert not admitted(WHOLE_HUB, "/devices/x", at=END)


def test_a_policy_allows_no_more_than_it_says() -> None:
    assert admitted(WHOLE_HUB, "/devices/x", "registryReadWrite")
    assert not admitted(WHOLE_HUB, "/twins/x", "service")
    assert not admitted(SCOPED, "/devices/x", "registryReadWrite")


class TestHub:
    def test_without_tls_nobody_has_to_sign_in_but_a_wrong_token_is_refused(self, hub) -> None:
        assert hub.call("GET", "devices").status == 200
        answer = hub.call("GET", "devices", Authorization="SharedAccessSignature sr=x")
        assert error_name(answer) == (401, "IotHubUnauthorizedAccess")

    @pytest.mark.parametrize(
        ("policy", "statuses"),
        [
            ("iothubowner", [200, 200, 200, 204]),
            ("service", [401, 200, 401, 401]),
            ("registryRead", [200, 401, 401, 401]),
            ("registryReadWrite", [200, 401, 401, 204]),
            ("device", [401, 401, 401, 401]),
        ],
    )
    def test_every_built_in_policy_has_its_rights(self, make_hub, tmp_path, policy: str, statuses: list[int]) -> None:
        hub = make_hub(tls=tmp_path)
        doorman = hub.cloud.hub.doorman
        found = dict(part.split("=", 1) for part in doorman.connection_string(policy).split(";"))
        header = token(found["HostName"], found["SharedAccessKey"], policy, int(hub.clock.seconds) + 60)
        requests = (("GET", "devices/a"), ("GET", "twins/a"), ("GET", "configurations"), ("DELETE", "devices/a"))
        hub.cloud.hub.add_device("a")
        assert [hub.call(method, path, Authorization=header).status for method, path in requests] == statuses

    def test_a_bearer_token_has_to_be_for_the_hub(self, make_hub, tmp_path) -> None:
        hub = make_hub(tls=tmp_path)
        secrets = hub.cloud.credentials
        for resource, status in (("https://iothubs.azure.net", 200), ("https://apps.azureiotcentral.com", 401)):
            form = (
                f"grant_type=client_credentials&client_id={secrets.client_id}"
                f"&client_secret={quote(secrets.client_secret)}&scope={quote(resource)}/.default"
            )
            target = f"/{secrets.tenant_id}/oauth2/v2.0/token"
            granted = hub.cloud.handle(SimRequest(method="POST", target=target, body=form.encode())).json()
            header = f"Bearer {granted['access_token']}"
            assert hub.call("GET", "devices", Authorization=header).status == status
        assert hub.call("GET", "devices").status == 401

    def test_there_is_no_hub_unless_it_was_asked_for(self, client) -> None:
        with pytest.raises(SimulatorError, match="iot-hub"):
            _ = client.cloud.hub
        assert client.send("GET", "/_simulator/hub").status == 400
