"""Which addresses are taken, and how they are written afterwards."""

import pytest

from fleetsync.config.origins import as_authority, as_proxy, as_service, is_loopback
from fleetsync.config.values import UnfitError


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://contoso.azureiotcentral.com", "https://contoso.azureiotcentral.com"),
        ("HTTPS://Contoso.Example.com:443/", "https://contoso.example.com"),
        ("https://example.com:8443", "https://example.com:8443"),
        ("https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.8.9.10:80/", "http://127.8.9.10"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_address_is_written_as_it_is_compared(text: str, origin: str) -> None:
    assert as_service(text) == origin


@pytest.mark.parametrize(
    "url",
    ["http://128.0.0.1", "http://localhost.example.com", "http://[::2]", "http://0.0.0.0", "http://127.1.example.com"],
)
def test_only_this_machine_is_loopback(url: str) -> None:
    assert not is_loopback(url)
    with pytest.raises(UnfitError, match="loopback only"):
        as_service(url)


def test_a_proxy_may_be_plain_and_an_authority_may_not() -> None:
    assert as_proxy("http://proxy.example.com:3128") == "http://proxy.example.com:3128"
    with pytest.raises(UnfitError, match="must begin with https://"):
        as_authority("http://127.0.0.1:8080")


@pytest.mark.parametrize(
    "text",
    [
        "https://",
        "https:///a",
        "//example.com",
        "https://exa mple.com",
        "https://example.com\\@evil.com",
        "https://a%2eb",
        "https://[::1",
        "https://x:0",
        "https://é.com",
    ],
)
def test_what_two_parsers_might_read_differently_is_refused(text: str) -> None:
    with pytest.raises(UnfitError, match="must "):
        as_service(text)


def test_a_refusal_repeats_no_password() -> None:
    for text in ("https://me:hunter2@example.com", "https://hunter2 example.com", "https://example.com/hunter2"):
        with pytest.raises(UnfitError) as caught:
            as_service(text)
        assert "hunter2" not in str(caught.value)
