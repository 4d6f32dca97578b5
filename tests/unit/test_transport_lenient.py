"""Answers that are oddly written: what they mean counts, and their connection is not used again."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_trio.transport.answer import AnswerReader
from timer_trio.transport.errors import ProtocolError

KIB: Final = 1024
HEAD: Final = b"HTTP/1.1 202 OK\r\n"
LENGTH: Final = b"Content-Length: 2\r\n\r\nok"
CHUNKED: Final = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LAST: Final = b"0\r\n\r\n"

ODD: Final = {
    "folded line": HEAD + b"X: a\r\n b\r\n\t c\r\n" + LENGTH,
    "folded line, empty": HEAD + b"X: a\r\n \t \r\n" + LENGTH,
    "folded length": HEAD + b"Content-Length:\r\n 2\r\n\r\nok",
    "folded line before all headers": HEAD + b" X: a\r\n" + LENGTH,
    "folded trailer": CHUNKED + b"2\r\nok\r\n0\r\nT: v\r\n w\r\n\r\n",
    "one length twice": HEAD + b"Content-Length: 2\r\n" + LENGTH,
    "one length twice in one line": HEAD + b"Content-Length: 2, 2\r\n\r\nok",
    "one length, written in two ways": HEAD + b"Content-Length: 02\r\n" + LENGTH,
    "blanks around a chunk extension": CHUNKED + b'2 ; a = "b" ; c\r\nok\r\n' + LAST,
    "blanks after a chunk size": CHUNKED + b"2 \t\r\nok\r\n0 \r\n\r\n",
    "LF alone": (HEAD + b"X: a\r\n" + LENGTH).replace(b"\r\n", b"\n"),
    "LF alone, chunked": (CHUNKED + b"2\r\nok\r\n0\r\nT: v\r\n\r\n").replace(b"\r\n", b"\n"),
    "LF alone, here and there": HEAD.replace(b"\r\n", b"\n") + LENGTH,
    "LF alone, in an interim answer": b"HTTP/1.1 100 Continue\nX: a\n\n" + HEAD + LENGTH,
    "coding beside a length": CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n")
    + b"2\r\nok\r\n"
    + LAST,
    "length beside a coding": HEAD
    + b"Content-Length: 9\r\n"
    + CHUNKED[17:]
    + b"2\r\nok\r\n"
    + LAST,
    "identity beside a length": HEAD + b"Transfer-Encoding: identity\r\n" + LENGTH,
    "blanks before a colon": HEAD + b"X \t: a\r\nContent-Length : 2\r\n\r\nok",
    "control in a value": HEAD + b"X: a\x01\x7fb\r\n" + LENGTH,
    "bare CR in a value": HEAD + b"X: a\rb\r\nY: c\r\r\n" + LENGTH,
    "blanks in the status line": b"HTTP/1.1 \t202  OK\r\n" + LENGTH,
    "later minor version": b"HTTP/1.2 202 OK\r\n" + LENGTH,
}


def fed(*pieces: bytes) -> AnswerReader:
    answer = AnswerReader(max_header_bytes=8 * KIB, max_body_bytes=8 * KIB)
    for piece in pieces:
        if not answer.is_complete:
            answer.feed(piece)
    return answer


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD)
def test_odd_answer_is_read_and_its_connection_not_used_again(raw: bytes) -> None:
    answer = fed(raw)
    assert answer.is_complete
    assert (answer.status, answer.body, answer.is_reusable) == (202, b"ok", False)


@given(st.sampled_from(list(ODD.values())), st.lists(st.integers(1, 90), max_size=8))
def test_odd_answer_is_the_same_in_any_pieces(raw: bytes, cuts: list[int]) -> None:
    edges = sorted({0, *cuts, len(raw)} & set(range(len(raw) + 1)))
    answer = fed(*(raw[a:b] for a, b in pairwise(edges)))
    whole = fed(raw)
    assert answer.is_complete
    assert (answer.status, answer.headers, answer.body) == (202, whole.headers, b"ok")


def test_headers_are_told_as_they_are_meant() -> None:
    raw = b"HTTP/1.1 103 Hints\nLink: x\n\n" + HEAD + b"X \t: a\r\n b\r\nY:c\rd\r\nZ: \r\n" + LENGTH
    assert fed(raw).headers == [
        *((b"X", b"a b"), (b"Y", b"c d"), (b"Z", b"")),
        (b"Content-Length", b"2"),
    ]


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 204 No\nContent-Length: 2\n\nok", 204, b""),
        (b"HTTP/1.1 304 Same\nContent-Length: 2\n\n", 304, b""),
        (b"HTTP/1.1 101 Up\nUpgrade: x\n\nok", 101, b""),
        (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", 200, b""),
        (HEAD.replace(b"\r\n", b"\n") + LENGTH + b"HTTP/1.1 500 No\r\n\r\n", 202, b"ok"),
    ],
)
def test_odd_answer_ends_where_its_framing_says(raw: bytes, status: int, body: bytes) -> None:
    answer = fed(raw)
    assert answer.is_complete
    assert (answer.status, answer.body, answer.is_reusable) == (status, body, False)


@pytest.mark.parametrize(
    ("raw", "complete"),
    [
        (b"HTTP/1.1 200 OK\nX: a\n", False),
        (b"HTTP/1.1 200 OK\nContent-Length: 9\n\nok", False),
        (b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n", False),
        (b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\nT: v\n", False),
        (b"HTTP/1.1 200 OK\n\nok", True),
        (b"HTTP/1.1 200 OK\nTransfer-Encoding: gzip\nContent-Length: 9\n\nok", True),
    ],
)
def test_end_of_stream_ends_only_what_has_no_framing(raw: bytes, *, complete: bool) -> None:
    answer = fed(raw)
    assert not answer.is_complete
    assert answer.feed_end() is complete
    assert not complete or answer.body == b"ok"


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        HEAD + b"Content-Length: 2, 3\r\n\r\nok!",
        HEAD + b"Content-Length: 2,\r\n\r\nok",
        HEAD + b"Content-Length: +2\r\n\r\nok",
        HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nok",
        HEAD + "Content-Length: \u00b2\r\n\r\nok".encode(),
        HEAD + b"X : a\0b\r\n" + LENGTH,
        HEAD + b"X y: a\r\n" + LENGTH,
        HEAD + b": a\r\n" + LENGTH,
        HEAD + b"no colon\r\n" + LENGTH,
        CHUNKED + b"zz\r\n",
        CHUNKED + b"-2\r\nok\r\n" + LAST,
        CHUNKED + b"0x2\r\nok\r\n" + LAST,
        CHUNKED + b"2 2\r\nok\r\n" + LAST,
        CHUNKED + b"f" * 20 + b"\r\n",
        CHUNKED + b"1\r\nok\r\n" + LAST,
        CHUNKED + b"2\r\nok0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n" + LENGTH,
        b"HTTP/1.1 2000 OK\r\n" + LENGTH,
        b"HTTP/1.1 099 OK\n" + LENGTH,
        b"HTTP/1.1 200OK\r\n" + LENGTH,
        b"HTTP/9.9 200 OK\r\n" + LENGTH,
        b"http/1.1 200 OK\r\n" + LENGTH,
        b"HTTP/1.1 100 Continue\n\nSSH-2.0-x\n",
        b"\0\0\0\4\0\0\0\0\0",
    ],
)
def test_what_means_more_than_one_thing_or_nothing_is_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"^answer is not HTTP: [ -~]+$"):
        fed(raw)


def test_refusal_is_told_in_the_words_of_the_strict_parser() -> None:
    with pytest.raises(ProtocolError, match="Duplicate Content-Length"):
        fed(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n")
    odd = fed(HEAD.replace(b"\r\n", b"\n"))
    with pytest.raises(ProtocolError, match="Missing expected CR"):
        odd.feed(b"no colon\n")


def test_limits_hold_for_odd_answers() -> None:
    with pytest.raises(ProtocolError, match="answer headers exceed 8 KiB"):
        fed(b"HTTP/1.1 200 OK\n", *[b"X: " + b"x" * 500 + b"\n"] * 20)
    with pytest.raises(ProtocolError, match="answer headers exceed 8 KiB"):
        fed(*[b"HTTP/1.1 100 Continue\n\n"] * 1_000)
    for endless in (b"x" * 1000, b"1;" + b"x" * 1000):
        head = b"HTTP/1.1 200 OK\n" + (b"Transfer-Encoding: chunked\n" * (endless[:1] == b"1"))
        assert fed(head + b"\n", *[endless] * 20).is_complete


@given(st.binary(max_size=60), st.sampled_from([b"", *ODD.values()]), st.integers(0, 90))
def test_any_bytes_are_an_answer_or_a_refusal(noise: bytes, raw: bytes, at: int) -> None:
    try:
        answer = fed(raw[:at] + noise + raw[at:])
    except ProtocolError:
        return
    assert not answer.is_complete or 100 < answer.status < 1000
