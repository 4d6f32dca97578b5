from __future__ import annotations

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from timer_trio.api.fields.callback import MAX_HEADERS, check_headers, check_url
from timer_trio.api.fields.timer import CREATE, UPDATE
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.timer import destination_of


def in_letters(label: str) -> str:
    """Decode a label that encodes a name; httpx looks at the first of a host alone."""
    try:
        return httpx.URL(f"http://{label}").host if label.startswith("xn--") else label
    except ValueError:
        return label


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
    sent = httpx.URL(url)
    assert sent.scheme in {"http", "https"}
    assert not sent.userinfo
    assert httpx.Request("POST", sent).headers["host"]
    labels = sent.raw_host.decode().rstrip(".").split(".")
    assert ".".join(map(in_letters, labels)) in destination_of(url)
    assert check_url(str(sent), AddressGuard()) == str(sent)
    assert destination_of(str(sent)) == destination_of(url)
    sent.raw_host.decode().encode("idna")


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
    assert len({destination_of(url) for url in urls}) == 1
    # Connections are shared as well.
    sent = {(url.raw_host.rstrip(b"."), url.port) for url in map(httpx.URL, urls)}
    assert len(sent) == 1


@pytest.mark.parametrize("host", ["xn--n3h.net", "xn--a", "xn--localhost-"])
def test_host_that_only_looks_encoded_is_told_in_plain_words(host: str) -> None:
    with pytest.raises(ValueError, match="must name a valid host"):
        check_url(f"http://{host}/", AddressGuard())
