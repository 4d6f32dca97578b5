from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from timer_trio.api.fields.callback import MAX_HEADERS, check_headers, check_url
from timer_trio.api.fields.timer import CREATE, UPDATE
from timer_trio.callback_url import read_url
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.host_names import is_host


@given(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["http://", "https://", "HTTP://", "http:/", ""]),
        st.text("abé.:@[]/\\%?#0123 \t\n\x00xn-_\u3002\uff0e\u2100", max_size=20),
        st.text(max_size=5),
    )
)
@example("http://0.\u00c0")
def test_every_accepted_url_can_be_sent_and_names_one_host(url: str) -> None:
    try:
        check_url(url, AddressGuard())
    except ValueError as error:
        assert str(error).startswith(("must", "is not"))  # noqa: PT017 - or it is accepted
        return
    read = read_url(url)
    assert is_host(read.host.removesuffix(".")) or ":" in read.host
    assert read.host in read.authority
    assert f"{read.authority}{read.target}".isascii()
    assert 0 < read.port <= 65_535
    # What the request says of it is read as the URL was.
    again = f"{read.scheme}://{read.authority}{read.target}"
    assert check_url(again, AddressGuard()) == again
    assert read_url(again) == read._replace(text=again)
    # Whoever reads the text sees where it leads.
    shown = read.destination.removeprefix(f"{read.scheme}://").rpartition(":")[0].strip("[]")
    for labels in zip(read.host.rstrip(".").split("."), shown.split("."), strict=True):
        assert any(label in url.lower() for label in labels)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_every_accepted_header_can_be_sent_as_it_is(headers: dict[str, str]) -> None:
    try:
        check_headers(headers)
    except ValueError:
        return
    for name, value in headers.items():
        assert name.encode("ascii").isascii()
        assert not set(value) - {"\t"} - {chr(n) for n in range(0x20, 0x7F)}


def test_url_is_never_read_without_the_operators_rules() -> None:
    wanted = {"delay": 1, "callback_url": "https://example.com/"}
    for adapter in (CREATE, UPDATE):
        with pytest.raises(TypeError, match="rules"):
            adapter.validate_python(wanted)


def test_as_many_headers_as_allowed() -> None:
    headers = {f"h{n}": "x" for n in range(MAX_HEADERS)}
    assert check_headers(headers) == headers


@pytest.mark.parametrize(
    "name",
    [
        *("Content_Length", "content_length", "Transfer_Encoding", "HTTP2_Settings", "keep_alive"),
        *(
            "Proxy_Authorization",
            "webhook_id",
            "Webhook_Signature",
            "X_Timer_Id",
            "x_timer-Attempt",
        ),
    ],
)
def test_reserved_name_is_refused_with_underscores_as_well(name: str) -> None:
    for spelled in (name, name.replace("_", "-")):
        with pytest.raises(ValueError, match=f"^{spelled} is "):
            check_headers({spelled: "1"})


def test_underscore_in_a_name_that_nobody_reserves_is_taken() -> None:
    headers = {"X_Trace_Id": "1", "X-Trace-Id": "2", "webhook": "3", "content": "4"}
    assert check_headers(headers) == headers


def test_all_headers_together_have_a_limit() -> None:
    check_headers({"a": "x" * 4_000, "b": "x" * 4_190})
    with pytest.raises(ValueError, match="8,192 bytes"):
        check_headers({"a": "x" * 4_000, "b": "x" * 4_191})


@pytest.mark.parametrize("host", ["[2606:4700::ABCD]", "[2606:4700::abcd]", "EXAMPLE.com"])
def test_case_of_a_host_does_not_matter(host: str) -> None:
    assert check_url(f"http://{host}/", AddressGuard()) == f"http://{host}/"


@pytest.mark.parametrize(
    ("letters", "ascii_form"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example.", "xn--BCHER-kva.EXAMPLE"),
        ("straße.例え.jp:8443", "xn--strae-oqa.xn--r8jz45g.jp:8443"),
        ("shop.bücher.example:443", "shop.xn--bcher-kva.example"),
    ],
)
def test_both_spellings_of_a_name_lead_to_one_destination(letters: str, ascii_form: str) -> None:
    urls = [check_url(f"https://{host}/", AddressGuard()) for host in (letters, ascii_form)]
    assert urls == [f"https://{letters}/", f"https://{ascii_form}/"]
    read = [read_url(url) for url in urls]
    assert len({each.destination for each in read}) == 1
    # Connections are shared as well.
    assert len({(each.scheme, each.host.rstrip("."), each.port) for each in read}) == 1


@pytest.mark.parametrize(
    "host",
    ["b\u00fccher\u3002example", "b\u00fccher.example\uff0e", "\u0915\u094d\u200d\u0937.example"],
)
def test_host_that_people_see_otherwise_than_it_is_sent_to_is_refused(host: str) -> None:
    read_url(f"http://{host}/")
    with pytest.raises(ValueError, match="must name a valid host"):
        check_url(f"http://{host}/", AddressGuard())


@pytest.mark.parametrize("host", ["xn--n3h.net", "xn--a", "xn--localhost-"])
def test_host_that_only_looks_encoded_is_told_in_plain_words(host: str) -> None:
    with pytest.raises(ValueError, match="must name a valid host"):
        check_url(f"http://{host}/", AddressGuard())
