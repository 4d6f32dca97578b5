from __future__ import annotations

import pytest

from timer_trio.domain.host_names import is_host, is_name

NAMES = ["a", "example.com", "_dmarc.example.com", "a-b.c", "1.a", "xn--p1ai", "0x1g", "0xa.b"]
NUMBERS = ["127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "127.1", "a.0x"]
MALFORMED = ["", ".", "a..b", "a.", ".a", "-a", "a-", "A", "a b", "[::1]", "::1", "a/b", "ä", "a\n"]


@pytest.mark.parametrize("text", [*NAMES, "x" * 63])
def test_name_is_a_host(text: str) -> None:
    assert is_host(text)
    assert is_name(text)


@pytest.mark.parametrize("text", NUMBERS)
def test_number_is_no_name(text: str) -> None:
    assert is_host(text)
    assert not is_name(text)


@pytest.mark.parametrize("text", [*MALFORMED, "x" * 64, ".".join(["x" * 63] * 4)])
def test_other_text_is_neither(text: str) -> None:
    assert not is_host(text)
    assert not is_name(text)
