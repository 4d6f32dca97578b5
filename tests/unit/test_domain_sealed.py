from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contract.timers import spec
from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.errors import SealedError
from timer_trio.domain.sealed import (
    HEADERS,
    MARK,
    are_sealed,
    is_sealed,
    is_sealed_answer,
    is_sealed_text,
    require_open,
)

SEALED_HEADERS = {HEADERS: f"{MARK}x"}


@pytest.mark.parametrize(
    ("text", "is_sealed"), [(f"{MARK}x", True), ('"fernet:"', False), ("", False), (None, False)]
)
def test_sealed_text_is_known_by_its_mark(text: str | None, *, is_sealed: bool) -> None:
    assert is_sealed_text(text) is is_sealed


def test_spec_is_open_unless_anything_of_it_is_sealed() -> None:
    plain = spec()
    require_open(plain)
    assert not is_sealed(plain)
    sealed = replace(plain, callback=replace(plain.callback, headers=SEALED_HEADERS))
    assert (is_sealed(sealed), are_sealed(sealed.callback.headers)) == (True, True)
    with pytest.raises(SealedError):
        require_open(sealed)


@pytest.mark.parametrize(
    ("headers", "expected"), [((), False), ((("a", "b"),), False), (((HEADERS, "x"),), True)]
)
def test_sealed_answer_is_known_by_its_first_header(
    headers: tuple[tuple[str, str], ...], *, expected: bool
) -> None:
    assert is_sealed_answer(KeptAnswer(headers=headers, body=b"", is_truncated=False)) is expected
