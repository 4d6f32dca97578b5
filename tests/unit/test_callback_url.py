from __future__ import annotations

import pytest

from timer_trio.callback_url import read_url
from timer_trio.domain.timer import CallbackUrl, Destination

ODD_LABELS = ("xn--", "xn--a-", "xn--a", "a-xn--bcher-kva", "xn--99999999")


def test_reader_tells_where_a_url_leads_and_how_a_request_names_it() -> None:
    text = "HTTPS://user:word@Bücher.example:8443/a b/../ü?q=ü%20{#gone"
    assert read_url(text) == CallbackUrl(
        text=text,
        scheme="https",
        host="xn--bcher-kva.example",
        port=8443,
        authority="xn--bcher-kva.example:8443",
        target="/%C3%BC?q=%C3%BC%20{",
        destination=Destination("https://bücher.example:8443"),
    )


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("http://example.com", "example.com", "/"),
        ("http://example.com:80?", "example.com", "/?"),
        ("https://example.com:80/", "example.com:80", "/"),
        ("http://example.com./", "example.com.", "/"),
        ("https://straße.example/", "xn--strae-oqa.example", "/"),
        ("http://[2001:DB8::1]:8080/a//b", "[2001:DB8::1]:8080", "/a//b"),
    ],
)
def test_request_names_the_host_as_it_is_asked_for(url: str, authority: str, target: str) -> None:
    read = read_url(url)
    assert (read.authority, read.target) == (authority, target)


@pytest.mark.parametrize(
    ("url", "destination"),
    [
        ("https://example.com/hook?a=b#c", "https://example.com:443"),
        ("http://example.com", "http://example.com:80"),
        ("https://example.com:8443/", "https://example.com:8443"),
        ("http://example.com:443/", "http://example.com:443"),
        ("https://example.com:/", "https://example.com:443"),
        ("HTTPS://Example.COM/Path", "https://example.com:443"),
        ("https://example.com./", "https://example.com:443"),
        ("http://10.0.0.7:80/", "http://10.0.0.7:80"),
        ("http://[::1]/", "http://[::1]:80"),
        ("https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443"),
        ("https://user:word@example.com/", "https://example.com:443"),
        ("https://bücher.example/", "https://bücher.example:443"),
        ("https://BÜCHER.example/", "https://bücher.example:443"),
        ("https://XN--bcher-KVA.example/", "https://bücher.example:443"),
        ("https://a.xn--bcher-kva.example:8443/", "https://a.bücher.example:8443"),
        # What only looks encoded is itself.
        *((f"https://a.{odd}.example/", f"https://a.{odd}.example:443") for odd in ODD_LABELS),
    ],
)
def test_destination_is_scheme_host_and_port(url: str, destination: str) -> None:
    assert read_url(url).destination == destination


NO_URL = "is not a valid URL"
NO_HOST = "must name a host"
BAD_HOST = "must name a valid host"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        *(("", NO_URL), ("example.com", NO_URL), ("//example.com/", NO_URL), ("/path", NO_URL)),
        *(("ftp://example.com/", NO_URL), ("javascript:alert(1)", NO_URL)),
        ("https//example.com", NO_URL),
        # The port is a number in ASCII, after a colon.
        *((f"https://example.com:{port}/", NO_URL) for port in ("port", "65536", "-1", "+1")),
        *((f"https://example.com:{port}/", NO_URL) for port in ("1_0", "\u0661", "1:1")),
        ("http://[::1]80/", NO_URL),
        # Brackets hold an address.
        *((f"https://{host}/", NO_URL) for host in ("[::1", "::1]", "a[::1]", "[a]", "[[::1]]")),
        *((f"https://{host}/", NO_URL) for host in ("1.2.3.400", "\u2100.example", "xn--ü")),
        ("https://example.com/\ud800", NO_URL),
        ("https://example.com/\0", NO_URL),
        *(("http:///path", NO_HOST), ("http://:80/", NO_HOST), ("http://user@/", NO_HOST)),
        *((f"https://{label}.example/", BAD_HOST) for label in ("xn--", "xn--a", "xn--99999999")),
    ],
)
def test_what_no_request_can_be_made_of_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".+") as refusal:
        read_url(url)
    assert str(refusal.value) == words
