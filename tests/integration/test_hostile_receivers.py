"""What becomes of a timer whose receiver misbehaves: its ending, its words, and nobody else's loss.

The sockets of both sides belong to this process, so that one count of open files covers them.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.contract.timers import FIRST, NOW, new_timer
from tests.receivers import (
    HERE,
    OK,
    Answering,
    answers,
    answers_and_closes,
    answers_and_half_closes,
    answers_and_resets,
    answers_by_connection,
    call_back,
    deaf_port,
    endless_body,
    half_closes_at_once,
    knows_only_tls_1_0,
    never_answers,
    never_ends,
    open_files,
    reads_nothing,
    receiver,
    trickles,
)
from timer_trio.callback_url import read_url
from timer_trio.domain.settlement import settlement_of
from timer_trio.domain.timer import ClaimedTimer, Delivery, JsonText, Status
from timer_trio.transport import CallbackTransport
from timer_trio.transport.pool import Pool

pytestmark = pytest.mark.usefixtures("readinesses")

HEAD: Final = b"HTTP/1.1 200 OK\r\n"
CHUNKED: Final = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
INTERIM: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
TIMEOUT_S: Final = 30.0


async def ending(
    transport: CallbackTransport,
    url: str,
    *,
    payload: str = "{}",
    delivery: Delivery = Delivery.AT_LEAST_ONCE,
) -> str | None:
    """Fire a timer once, and tell its last_error; None: it is completed."""
    new = new_timer(
        callback_url=read_url(url),
        timeout_s=TIMEOUT_S,
        callback_payload=JsonText(payload),
        delivery=delivery,
    )
    timer = ClaimedTimer(id=new.id, claim=FIRST, attempt=1, requested_at=NOW, spec=new.spec)
    outcome = await call_back(transport, timer)
    settlement = settlement_of(timer, outcome, NOW, NOW)
    assert settlement is not None
    assert (settlement.status is Status.COMPLETED) is (settlement.last_error is None)
    return settlement.last_error


def lengths(*values: bytes) -> bytes:
    return HEAD + b"".join(b"Content-Length: %s\r\n" % value for value in values) + b"\r\nabc"


NOT_HTTP: Final = "answer is not HTTP: "
FAILING: Final[dict[str, tuple[Answering, str]]] = {
    "half-closes at once": (half_closes_at_once, "connection closed by {peer} before an answer"),
    "resets within a chunk": (
        answers_and_resets(CHUNKED + b"9\r\nab"),
        "connection reset by {peer}",
    ),
    "closes within the trailers": (
        answers_and_closes(CHUNKED + b"0\r\nT: v\r\n"),
        "connection closed by {peer} in the middle of its answer",
    ),
    "floods with 1xx": (never_ends(b"", INTERIM * 100), "answer headers exceed 64 KiB"),
    "1xx and nothing else": (
        answers_and_closes(INTERIM),
        "connection closed by {peer} in the middle of its answer",
    ),
    "negative length": (answers(lengths(b"-3")), NOT_HTTP + "Invalid character in Content-Length"),
    "length in words": (
        answers(lengths(b"three")),
        NOT_HTTP + "Invalid character in Content-Length",
    ),
    "length without end": (answers(lengths(b"9" * 30)), NOT_HTTP + "Content-Length overflow"),
    "two lengths": (answers(lengths(b"3", b"4")), NOT_HTTP + "Duplicate Content-Length"),
    "chunks in words": (answers(CHUNKED + b"zz\r\n"), NOT_HTTP + "Invalid character in chunk size"),
    "chunk without end": (answers(CHUNKED + b"f" * 20 + b"\r\n"), NOT_HTTP + "Chunk size overflow"),
    "chunk longer than it says": (
        answers(CHUNKED + b"1\r\nabc\r\n"),
        NOT_HTTP + "Expected LF after chunk data",
    ),
    "HTTP/2": (answers(b"\0\0\0\4\0\0\0\0\0"), NOT_HTTP + "Expected HTTP/, RTSP/ or ICE/"),
    "a version that is none": (
        answers(b"HTTP/9.9 200 OK\r\n\r\n"),
        NOT_HTTP + "Invalid HTTP version",
    ),
    "a status that is none": (answers(b"HTTP/1.1 20 OK\r\n\r\n"), NOT_HTTP + "Invalid status code"),
    "switches protocols": (
        answers(b"HTTP/1.1 101 Up\r\nUpgrade: x\r\n\r\nbody"),
        "HTTP 101 from http://{peer}",
    ),
    "rejects with a folded line": (
        answers(b"HTTP/1.1 503 No\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        "HTTP 503 from http://{peer}",
    ),
    "not modified, with a body": (
        answers(b"HTTP/1.1 304 Same\r\nContent-Length: 3\r\n\r\nabc"),
        "HTTP 304 from http://{peer}",
    ),
}
TIMING_OUT: Final[dict[str, Answering]] = {
    "never answers": never_answers,
    "slow headers": trickles(HEAD, 9.0),
    "slow interim answers": trickles(INTERIM, 9.0),
    "slow body": trickles(HEAD + b"Content-Length: 99\r\n\r\n" + b"x" * 99, 9.0),
    "never reads": reads_nothing,
}
KEPT: Final = 1
CLOSED: Final = 2
"""Connections that two callbacks one after the other take."""
COMPLETED: Final[dict[str, tuple[Answering, int]]] = {
    "resets after the answer": (answers_and_resets(OK), CLOSED),
    "closes after the answer": (answers_and_closes(OK), CLOSED),
    "half-closes after the answer": (answers_and_half_closes(OK), CLOSED),
    "no content": (answers(b"HTTP/1.1 204 No\r\n\r\n"), KEPT),
    "no content, with a body": (answers(b"HTTP/1.1 204 No\r\n\r\nabc"), CLOSED),
    "no content, with a length": (
        answers(b"HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\nabc"),
        CLOSED,
    ),
    "endless chunks": (never_ends(CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n"), CLOSED),
    "endless chunk extensions": (never_ends(CHUNKED + b"1;", b"x" * 10_000), CLOSED),
    "endless digits of a chunk": (never_ends(CHUNKED, b"0" * 10_000), CLOSED),
    "endless trailers": (never_ends(CHUNKED + b"0\r\n", b"T: v\r\n" * 1000), CLOSED),
    "endless trailer": (never_ends(CHUNKED + b"0\r\nT: ", b"v" * 10_000), CLOSED),
    "endless body behind a length": (never_ends(OK, b"x" * 10_000), CLOSED),
    "endless body": (endless_body(), CLOSED),
    "two answers at once": (answers(OK + OK), CLOSED),
    "says close and keeps": (
        answers(HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok"),
        CLOSED,
    ),
    "HTTP/1.0": (answers(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), CLOSED),
    "HTTP/1.0 that keeps": (
        answers(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"),
        KEPT,
    ),
    "the same length twice": (answers(lengths(b"3", b"3")), CLOSED),
    "the same length twice in one line": (answers(lengths(b"3, 3")), CLOSED),
    "length and chunks": (
        answers(
            HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ),
        CLOSED,
    ),
    "folded line": (answers(HEAD + b"X: a\r\n b\r\n" + OK[17:]), CLOSED),
    "blanks around a chunk extension": (
        answers(CHUNKED + b"2 ; a=b\r\nok\r\n0\r\n\r\n"),
        CLOSED,
    ),
    "blanks after a chunk size": (answers(CHUNKED + b"2 \r\nok\r\n0\r\n\r\n"), CLOSED),
    "lines that end in LF alone": (answers(OK.replace(b"\r\n", b"\n")), CLOSED),
    "blanks before a colon": (answers(HEAD + b"X : a\r\n" + OK[17:]), CLOSED),
    "HTTP/1.0 without a length": (answers_and_closes(b"HTTP/1.0 200 OK\r\n\r\nok"), CLOSED),
}


@pytest.fixture
def virtual(autojump_clock: MockClock) -> MockClock:
    """Time that passes only when nothing has come over the loopback for a while."""
    autojump_clock.autojump_threshold = 0.02
    return autojump_clock


async def ending_beside_others(
    answering: Answering, *, scheme: str = "http", payload: str = "{}"
) -> str | None:
    """Fire a timer to a receiver, while others go to a healthy one and complete at once.

    All sockets are closed in the end, and the peer is called {peer} in the answer.
    """
    before = open_files()
    pool = Pool()
    endings: list[str | None] = []
    ended = trio.Event()
    async with (
        receiver(answering) as served,
        receiver(answers(OK)) as healthy,
        CallbackTransport(guard=HERE, pool=pool) as transport,
        trio.open_nursery() as nursery,
    ):

        async def fire() -> None:
            url = f"{scheme}://127.0.0.1:{served.port}/"
            endings.append(await ending(transport, url, payload=payload))
            ended.set()

        began = trio.current_time()
        nursery.start_soon(fire)
        for _ in range(3):
            assert await ending(transport, healthy.url()) is None
        assert trio.current_time() == began
        await ended.wait()
        assert len(pool) == healthy.connections == 1
    assert open_files() == before
    (words,) = endings
    return words and words.replace(f"127.0.0.1:{served.port}", "{peer}")


@pytest.mark.parametrize("case", FAILING)
async def test_wrong_answer_fails_its_own_timer_in_words(virtual: MockClock, case: str) -> None:
    answering, words = FAILING[case]
    assert await ending_beside_others(answering) == words
    assert virtual.current_time() < TIMEOUT_S


@pytest.mark.parametrize("case", TIMING_OUT)
async def test_slow_receiver_fails_its_own_timer_at_its_timeout(
    virtual: MockClock, case: str
) -> None:
    large = '"' + "x" * 20_000_000 + '"'
    payload = large if TIMING_OUT[case] is reads_nothing else "{}"
    began = virtual.current_time()
    words = await ending_beside_others(TIMING_OUT[case], payload=payload)
    assert words == "timed out after 30s"
    assert virtual.current_time() - began == pytest.approx(TIMEOUT_S, abs=1)


@pytest.mark.parametrize("case", COMPLETED)
async def test_odd_success_is_one_and_spoils_no_later_callback(
    virtual: MockClock, case: str
) -> None:
    answering, connections = COMPLETED[case]
    before = open_files()
    async with receiver(answering) as served, CallbackTransport(guard=HERE) as transport:
        for _ in range(2):
            words = await ending(transport, served.url(), delivery=Delivery.AT_MOST_ONCE)
            assert words is None
            await wait_all_tasks_blocked()
        assert served.connections == connections
    assert open_files() == before
    assert virtual.current_time() == 0


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        b"Content-Length: 0\n\n",
        b"X: a\r\n Content-Length: 99\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_answer_behind_an_odd_one_is_no_other_requests(framing: bytes) -> None:
    smuggles = answers_by_connection(
        b"HTTP/1.1 503 No\r\n" + framing + OK, b"HTTP/1.1 500 No\r\n\r\n"
    )
    async with receiver(smuggles) as served, CallbackTransport(guard=HERE) as transport:
        words = [await ending(transport, served.url()) for _ in range(2)]
        assert words == [f"HTTP {status} from {served.url('')}" for status in (503, 500)]
        assert served.connections == 2


async def test_receiver_that_never_accepts_fails_its_own_timer_at_its_timeout(
    virtual: MockClock,
) -> None:
    before = open_files()
    with deaf_port() as port:
        async with CallbackTransport(guard=HERE) as transport:
            words = await ending(transport, f"http://127.0.0.1:{port}/")
            assert words == f"connecting to 127.0.0.1:{port} timed out after 30s"
            assert virtual.current_time() == pytest.approx(TIMEOUT_S)
    assert open_files() == before


@pytest.mark.parametrize("delivery", Delivery)
async def test_receiver_restarted_between_two_callbacks_gets_both(delivery: Delivery) -> None:
    before = open_files()
    pool = Pool()
    async with CallbackTransport(guard=HERE, pool=pool) as transport:
        fire = partial(ending, transport, delivery=delivery)
        async with receiver(answers(OK)) as served:
            port, url = served.port, served.url()
            assert await fire(url) is None
            assert len(pool) == 1
        async with receiver(answers(OK), port=port):
            assert await fire(url) is None
        assert await fire(url) == f"connection refused by 127.0.0.1:{port}"
        async with receiver(answers(OK), port=port):
            assert await fire(url) is None
    assert open_files() == before


async def test_handshake_that_is_not_answered_ends_at_the_timeout(virtual: MockClock) -> None:
    words = await ending_beside_others(never_answers, scheme="https")
    assert words == "TLS handshake with {peer} timed out after 30s"
    assert virtual.current_time() >= TIMEOUT_S


async def test_receiver_that_knows_only_tls_1_0_is_refused_in_words(virtual: MockClock) -> None:
    words = await ending_beside_others(knows_only_tls_1_0(), scheme="https")
    assert words == "TLS handshake failed: tlsv1 alert protocol version"
    assert virtual.current_time() == 0
