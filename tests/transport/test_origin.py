import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.transport.origin import Origin

HERE = Origin.of("https://fleet.example.net")

ELSEWHERE = {
    "another host": "https://evil.example.net/x",
    "another scheme": "http://fleet.example.net/x",
    "another port": "https://fleet.example.net:8443/x",
    "a host that begins like ours": "https://fleet.example.net.evil.net/x",
    "a host that ends like ours": "https://evilfleet.example.net/x",
    "userinfo": "https://fleet.example.net@evil.net/x",
    "userinfo with a password": "https://fleet.example.net:443@evil.net/x",
    "userinfo at our host": "https://user@fleet.example.net/x",
    "an empty userinfo": "https://@fleet.example.net/x",
    "a backslash before an at sign": "https://fleet.example.net\\@evil.net/x",
    "a backslash in the path": "https://fleet.example.net\\.evil.net/x",
    "backslashes for slashes": "https:\\\\fleet.example.net/x",
    "no scheme": "//fleet.example.net/x",
    "no host": "https:///x",
    "no slashes": "https:fleet.example.net/x",
    "a path only": "/x",
    "nothing": "",
    "a tab in the host": "https://fleet.exa\tmple.net/x",
    "a line break in the path": "https://fleet.example.net/x\r\nHost: evil",
    "a NUL": "https://fleet.example.net/\0",
    "a space in front": " https://fleet.example.net/x",
    "a space at the end": "https://fleet.example.net/x ",
    "a percent-encoded host": "https://fleet%2eexample.net/x",
    "a percent-encoded slash in the host": "https://fleet.example.net%2f@evil.net/x",
    "an IDN host": "https://fléet.example.net/x",
    "full-width dots": "https://fleet。example。net/x",
    "a dotless i": "https://fleet.example.net/\u0131",
    "a trailing dot": "https://fleet.example.net./x",
    "an IPv6 host": "https://[::1]/x",
    "an IPv6 zone": "https://[fe80::1%25lo]/x",
    "a name in brackets": "https://[fleet.example.net]/x",
    "an open bracket": "https://[fleet.example.net/x",
    "an address in brackets before an at sign": "https://[5:1]:3@",
    "a port out of range": "https://fleet.example.net:99999/x",
    "a port that is no number": "https://fleet.example.net:x/x",
    "an empty port": "https://fleet.example.net:/x",
    "port zero": "https://fleet.example.net:0/x",
    "two ports": "https://fleet.example.net:443:443/x",
    "a fragment": "https://fleet.example.net/x#y",
    "a fragment with an at sign": "https://fleet.example.net#@evil.net/",
    "a question mark with an at sign": "https://evil.net?@fleet.example.net/",
    "another protocol": "file://fleet.example.net/etc/passwd",
    "a websocket": "wss://fleet.example.net/x",
}


@pytest.mark.parametrize("url", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_what_leads_elsewhere_or_could_be_read_in_two_ways_is_refused(url):
    assert not HERE.admits(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://fleet.example.net",
        "https://fleet.example.net/",
        "https://fleet.example.net/api/devices?api-version=1",
        "HTTPS://Fleet.Example.NET/x",
        "https://fleet.example.net:443/x",
        "https://fleet.example.net:0443/x",
        "https://fleet.example.net/a%2Fb/..;/@x?y=http://evil.net&z=%24skiptoken=%257B",
        "https://fleet.example.net?q",
    ],
)
def test_our_own_addresses_are_admitted_whatever_their_path(url):
    assert HERE.admits(url)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Fleet.example.net:443/x", "https://fleet.example.net"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://[::1]/", "http://[::1]"),
    ],
)
def test_an_origin_is_shown_without_what_does_not_matter(url, origin):
    assert str(Origin.of(url)) == origin
    assert Origin.of(url).admits(url)


@pytest.mark.parametrize(
    "url", ["", "fleet.example.net", "ftp://fleet.example.net", "https://a@b", "https://h:0", "http://é"]
)
def test_what_has_no_plain_origin_is_refused_with_a_reason(url):
    with pytest.raises(ValueError, match=r"^it "):
        Origin.of(url)


@given(st.sampled_from(["https://a.example.com", "http://a.example.com:8080", "https://[::1]:8443"]), st.text())
def test_nothing_behind_the_slash_changes_where_a_url_goes(start: str, rest: str) -> None:
    url = f"{start}/{rest}"
    try:
        expected = Origin.of(url) == Origin.of(start) and "#" not in url
    except ValueError:
        expected = False

    assert Origin.of(start).admits(url) == expected
