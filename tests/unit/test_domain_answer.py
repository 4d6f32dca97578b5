from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from timer_trio.domain.answer import KEPT_BODY_BYTES, MAX_KEPT_HEADERS, KeptAnswer, kept_answer

PAIRS = st.lists(st.tuples(st.binary(max_size=5), st.binary(max_size=5)), max_size=40)


@given(PAIRS, st.binary(max_size=20), st.integers(0, 20))
def test_an_answer_is_kept_from_its_beginning(
    headers: list[tuple[bytes, bytes]], body: bytes, at_most: int
) -> None:
    kept = kept_answer(headers, body, at_most)
    sent_again = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in kept.headers]
    assert sent_again == [
        (name.replace(b"\0", b""), value.replace(b"\0", b"")) for name, value in headers[:32]
    ]
    assert kept.body == body[:at_most]
    assert kept.is_truncated == (len(headers) > 32 or len(body) > at_most)


def test_repeated_headers_and_high_bytes_are_kept_in_order_and_nul_is_not() -> None:
    headers = [(b"Set-Cookie", b"a\0"), (b"X-Name", b"caf\xe9"), (b"set-cookie", b"\xff")]
    assert kept_answer(headers, b"\0\xff") == KeptAnswer(
        headers=(("Set-Cookie", "a"), ("X-Name", "caf\xe9"), ("set-cookie", "\xff")),
        body=b"\0\xff",
        is_truncated=False,
    )


def test_as_much_as_is_kept_by_default_is_whole_and_one_more_is_cut() -> None:
    headers = [(b"a", b"b")] * MAX_KEPT_HEADERS
    body = b"x" * KEPT_BODY_BYTES
    assert (MAX_KEPT_HEADERS, KEPT_BODY_BYTES) == (32, 4_096)
    assert not kept_answer(headers, body).is_truncated
    without_last = kept_answer([*headers, (b"c", b"d")], body)
    assert without_last.is_truncated
    assert without_last.headers == (("a", "b"),) * MAX_KEPT_HEADERS
    cut = kept_answer(headers, body + b"x")
    assert cut.is_truncated
    assert cut.body == body
