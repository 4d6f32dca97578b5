from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_trio.api.body.lines import Line, Lines


def cut(*parts: bytes, most_bytes: int = 100) -> list[Line]:
    lines = Lines(most_bytes)
    found = [line for part in parts for line in lines.feed(part)]
    return found + list(lines.end())


@given(
    text=st.text("ab \t\r\n", max_size=60).map(str.encode),
    cuts=st.lists(st.integers(0, 60), max_size=5).map(sorted),
)
def test_lines_are_the_same_however_they_come(text: bytes, cuts: list[int]) -> None:
    starts, ends = [0, *cuts], [*cuts, len(text)]
    parts = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    expected = [
        Line(number, line.strip(b" \t\r"))
        for number, line in enumerate(text.split(b"\n"), 1)
        if line.strip(b" \t\r")
    ]
    assert cut(*parts) == expected


@pytest.mark.parametrize("parts", [[b"x" * 11], [b"x" * 5, b"x" * 6], [b"x" * 10, b"x"]], ids=len)
def test_what_is_too_long_comes_without_its_bytes(parts: list[bytes]) -> None:
    assert cut(b"a\n", *parts, b"\nb", most_bytes=10) == [
        Line(1, b"a"),
        Line(2, None),
        Line(3, b"b"),
    ]
    assert cut(*parts, most_bytes=10) == [Line(1, None)]


def test_as_much_as_may_be_fits_with_its_line_end() -> None:
    whole = b"x" * 10
    for end in (b"", b"\n", b"\r\n"):
        assert cut(whole + end, most_bytes=10) == [Line(1, whole)]


def test_a_long_line_is_not_kept() -> None:
    lines = Lines(10)
    for _ in range(1_000):
        assert list(lines.feed(b"x" * 1_000)) == []
    assert len(lines._rest) <= 10


@given(text=st.text("a \r\n", max_size=30).map(str.encode), most_bytes=st.integers(0, 4))
def test_what_is_too_long_is_the_same_however_it_comes(text: bytes, most_bytes: int) -> None:
    single = [text[at : at + 1] for at in range(len(text))]
    assert cut(text, most_bytes=most_bytes) == cut(*single, most_bytes=most_bytes)


def test_blank_lines_cost_nearly_nothing() -> None:
    lines = Lines(262_144)
    blank = b" \r\n\n" * 16_384
    began = time.process_time()
    for _ in range(100):
        assert list(lines.feed(blank)) == []
    assert (time.process_time() - began) / 100 < 0.005
    assert lines.count == 3_276_800
