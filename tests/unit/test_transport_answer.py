from __future__ import annotations

from itertools import pairwise

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_trio.transport.answer import AnswerReader
from timer_trio.transport.errors import ProtocolError

KIB = 1024


def fed(
    *pieces: bytes, max_header_bytes: int = 8 * KIB, max_body_bytes: int = 8 * KIB
) -> AnswerReader:
    answer = AnswerReader(max_header_bytes=max_header_bytes, max_body_bytes=max_body_bytes)
    for piece in pieces:
        if not answer.is_complete:
            answer.feed(piece)
    return answer


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\nT: v\r\n\r\n"
)


@pytest.mark.parametrize(
    ("raw", "status", "body", "reusable"),
    [
        pytest.param(LENGTH, 200, b"abc", True, id="length"),
        pytest.param(CHUNKED, 200, b"abc", True, id="chunked, with a trailer"),
        pytest.param(b"HTTP/1.1 204 No\r\n\r\n", 204, b"", True, id="no content"),
        pytest.param(b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", 304, b"", True, id="304"),
        pytest.param(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b"", True, id="no reason"),
        pytest.param(
            b"HTTP/1.1 200 \xff\x00\xc3\r\nContent-Length: 0\r\n\r\n",
            200,
            b"",
            True,
            id="broken reason",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
            200,
            b"a",
            False,
            id="says close",
        ),
        pytest.param(
            b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", 200, b"a", False, id="HTTP/1.0"
        ),
        pytest.param(
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
            200,
            b"a",
            True,
            id="HTTP/1.0 that keeps",
        ),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + LENGTH,
            200,
            b"abc",
            True,
            id="interim answers",
        ),
        pytest.param(LENGTH + b"\x00\x01", 200, b"abc", False, id="garbage behind"),
        pytest.param(LENGTH + LENGTH, 200, b"abc", False, id="two answers"),
        pytest.param(LENGTH + LENGTH[:9], 200, b"abc", False, id="one and a bit"),
        pytest.param(b"HTTP/1.1 101 Up\r\n\r\n", 101, b"", False, id="switches protocols"),
        pytest.param(b"HTTP/1.1 101 Up\r\nUpgrade: x\r\n\r\nzz", 101, b"", False, id="and talks"),
    ],
)
def test_answer_ends_where_its_framing_says(
    raw: bytes, status: int, body: bytes, *, reusable: bool
) -> None:
    answer = fed(raw)
    assert answer.is_complete
    assert (answer.status, answer.body, answer.is_reusable) == (status, body, reusable)


@given(st.sampled_from([LENGTH, CHUNKED]), st.lists(st.integers(1, 90), max_size=8))
def test_answer_is_the_same_in_any_pieces(raw: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(raw)]
    answer = fed(*(raw[a:b] for a, b in pairwise(edges) if a < b))
    whole = fed(raw)
    assert answer.is_complete
    assert (answer.headers, answer.body) == (whole.headers, whole.body)


KEPT = [
    LENGTH,
    CHUNKED,
    b"HTTP/1.1 204 No\r\nX: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH,
    b"HTTP/1.1 503 No\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\nno",
]


@given(st.lists(st.sampled_from(KEPT), min_size=1, max_size=6), st.integers(1, 90))
def test_answers_of_one_connection_know_nothing_of_each_other(raws: list[bytes], cut: int) -> None:
    reader = fed()
    for raw in raws:
        assert (reader.is_complete, reader.has_begun) == (False, False)
        for piece in (raw[:cut], raw[cut:]):
            if piece:
                reader.feed(piece)
        assert (reader.is_complete, reader.is_reusable) == (True, True)
        assert reader.take() == fed(raw).take()


def test_headers_of_interim_answers_and_trailers_are_dropped() -> None:
    raw = b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + CHUNKED
    assert fed(raw).headers == [(b"Transfer-Encoding", b"chunked")]


@pytest.mark.parametrize(
    ("raw", "complete"),
    [
        (b"", False),
        (b"HTTP/1.1 200 OK\r\nX:", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3\r\nabc\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", True),
    ],
)
def test_end_of_stream_ends_only_what_has_no_framing(raw: bytes, *, complete: bool) -> None:
    answer = fed(raw) if raw else fed()
    assert answer.feed_end() is complete
    assert not answer.is_reusable
    assert answer.has_begun is bool(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02F",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX y: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"^answer is not HTTP: [ -~]+$"):
        fed(raw)


def test_endless_headers_are_refused() -> None:
    with pytest.raises(ProtocolError, match=r"^answer headers exceed 8 KiB$"):
        fed(b"HTTP/1.1 200 OK\r\n", *[b"X: " + b"x" * 500 + b"\r\n"] * 20)


def test_endless_interim_answers_are_refused() -> None:
    with pytest.raises(ProtocolError, match=r"^answer headers exceed 8 KiB$"):
        fed(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 1_000)


def test_long_body_is_cut() -> None:
    answer = fed(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 1000] * 9)
    assert answer.is_complete
    assert answer.body == b"x" * 8 * KIB
    assert not answer.is_reusable


@pytest.mark.parametrize(
    "filler", [b"1;" + b"x" * 1000 + b"\r\na\r\n", b"0\r\n" + b"T: v\r\n" * 200]
)
def test_body_that_hides_in_its_framing_is_cut(filler: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [filler] + [filler.removeprefix(b"0\r\n")] * 30
    assert fed(head, *pieces).is_complete


def test_bug_is_not_blamed_on_the_receiver() -> None:
    class Broken(AnswerReader):
        def on_body(self, data: bytes) -> None:
            raise ZeroDivisionError(data)

    with pytest.raises(httptools.HttpParserCallbackError):
        Broken(max_header_bytes=KIB, max_body_bytes=KIB).feed(LENGTH)


def test_decodings_are_left_to_the_reader() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    assert fed(raw).body == b"abc"
