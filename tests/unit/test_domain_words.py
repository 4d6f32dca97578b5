from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_trio.domain.words import MAX_ERROR_LENGTH, clean, in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (0.04, "0s"),
        (0.1, "0.1s"),
        (1.25, "1.2s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (10.4, "10s"),
        (45, "45s"),
        (59.7, "1m"),
        (60, "1m"),
        (61, "1m 1s"),
        (7_380, "2h 3m"),
        (7_439, "2h 3m"),
        (86_400, "1d"),
        (86_405, "1d 5s"),
        (400 * 86_400 + 3_600, "400d 1h"),
    ],
)
def test_duration_is_told_in_its_two_greatest_units(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plain words", "plain words"),
        ("  much \t space\r\n", "much space"),
        ("a\0b", "a b"),
        ("a\x1b[31mred", "a [31mred"),
        ("half \ud83d pair", "half pair"),
        ("turned \u202eback", "turned back"),
        ("line\u2028line", "line line"),
        ("schön, 日本 🙂", "schön, 日本 🙂"),
        ("", ""),
    ],
)
def test_words_of_others_are_made_fit_to_store(text: str, words: str) -> None:
    assert clean(text) == words


@given(st.text(st.characters(), max_size=3 * MAX_ERROR_LENGTH))
def test_clean_words_are_short_printable_and_storable(text: str) -> None:
    words = clean(text)
    assert len(words) <= MAX_ERROR_LENGTH
    assert words.isprintable()
    words.encode()
    assert clean(words) == words.strip()


def test_long_text_is_cut() -> None:
    assert clean("x" * 10**7) == "x" * MAX_ERROR_LENGTH
