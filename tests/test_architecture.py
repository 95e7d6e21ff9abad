"""What holds the parts together. The layers are import-linter's (`make lint`), the documentation is `test_docs.py`'s."""

from pathlib import Path

import pytest

from fleetsync.providers.base import kinds, load
from fleetsync.providers.iot_central import PROVIDER
from tests.providers.contract import ProviderContract

TESTS = Path(__file__).parent


def contracts_in(module: str) -> set[str]:
    """Return the kinds whose contract a test module holds."""
    namespace: dict[str, object] = {}
    exec(compile((TESTS / "providers" / f"{module}.py").read_text(), module, "exec"), namespace)
    classes = (value for name, value in namespace.items() if name.startswith("Test") and isinstance(value, type))
    return {one.kind for one in classes if issubclass(one, ProviderContract)}


@pytest.mark.parametrize("kind", kinds())
def test_every_provider_has_a_contract_test(kind: str) -> None:
    assert kind in contracts_in(f"test_{kind.replace('-', '_')}")


@pytest.mark.parametrize("kind", kinds())
def test_every_provider_says_what_it_is(kind: str) -> None:
    provider = load(kind)
    assert provider.kind.name == kind
    assert provider.kind.types
    assert "Checked 20" in (__import__(provider.connect.__module__, fromlist=["_"]).__doc__ or "")


def test_there_is_a_provider() -> None:
    assert PROVIDER.kind.name in kinds()
