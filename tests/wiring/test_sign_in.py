"""Who signs in for which source, for what, and what a source is the mirror of."""

from pathlib import Path

import pytest

from fleetsync.config.load import load
from fleetsync.config.settings import Settings
from fleetsync.errors import ConfigError
from fleetsync.providers.base import all_kinds
from fleetsync.wiring.sign_in import identity_of
from fleetsync.wiring.sources import source_rows

TENANT = "768c2cd6-1bf0-4521-9f53-084a331d81cb"
SPHERE = f'kind = "sphere-legacy"\ntenant = "{TENANT}"\n'
OWN = 'tenant_id = "my-tenant"\nclient_id = "my-client"\n'


def settings(folder: Path, text: str) -> Settings:
    file = folder / "config.toml"
    file.write_text(f"[sources.one]\n{text}")
    return load(file, all_kinds())


def test_applications_and_people_ask_for_different_scopes_where_a_service_wants_it(tmp_path: Path) -> None:
    application = f'{SPHERE}[sources.one.auth]\nmethod = "client-secret"\n{OWN}client_secret = {{ env = "X" }}\n'
    identity = identity_of(settings(tmp_path, application).sources["one"])
    assert (identity.scope, identity.tenant_id) == ("https://firstparty.sphere.azure.net/api/.default", "my-tenant")

    person = identity_of(settings(tmp_path, f'{SPHERE}auth.method = "device-code"\n').sources["one"])
    assert person.scope == "https://sphere.azure.net/api/user_impersonation"
    assert person.client_id == "0B1C8F7E-28D2-4378-97E2-7D7D63F7C87F"
    assert person.address == "https://login.microsoftonline.com/7d71c83c-ccdf-45b7-b3c9-9c41b94406d9"


def test_what_is_configured_goes_before_what_is_the_same_for_everybody(tmp_path: Path) -> None:
    text = f'{SPHERE}scope = "https://other/x"\n[sources.one.auth]\nmethod = "device-code"\n{OWN}'
    identity = identity_of(settings(tmp_path, text).sources["one"])
    assert (identity.scope, identity.client_id, identity.tenant_id) == ("https://other/x", "my-client", "my-tenant")


def test_other_services_have_no_public_application(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="client_id"):
        settings(tmp_path, 'kind = "iot-hub"\nurl = "https://a.example"\nauth.method = "device-code"\n')


def test_where_everybody_has_one_address_a_source_is_the_mirror_of_its_part(tmp_path: Path) -> None:
    first, second = (
        source_rows(settings(tmp_path, text).sources.values())[0].identity
        for text in (
            f'{SPHERE}auth.method = "device-code"\n',
            f'{SPHERE}auth.method = "device-code"\n'.replace("768c", "869d"),
        )
    )
    assert first == f"sphere-legacy at https://prod.core.sphere.azure.net, tenant {TENANT}"
    assert second != first
    hub = settings(tmp_path, 'kind = "iot-hub"\nurl = "https://a.example"\nauth.method = "managed-identity"\n')
    assert source_rows(hub.sources.values())[0].identity == "iot-hub at https://a.example"
