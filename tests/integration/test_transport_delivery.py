"""Which connection a callback goes out on, and when it goes out at all."""

from __future__ import annotations

import select
import threading
from functools import partial

import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.receivers import (
    HERE,
    OK,
    ClosesAfterEach,
    CutsSecond,
    Received,
    Recorder,
    Stream,
    answers,
    answers_in_turn,
    never_answers,
    open_files,
    read_request,
    receiver,
    request_to,
    reset,
    resets_after_head,
    send,
    tls_contexts,
)
from timer_trio.transport import CallbackTransport, WithheldError
from timer_trio.transport.errors import ReceiveError, SendError
from timer_trio.transport.name_memory import Host
from timer_trio.transport.pool import Pool
from timer_trio.transport.resolver import Resolver

pytestmark = pytest.mark.usefixtures("readinesses")


async def test_request_arrives_as_written() -> None:
    recorder = Recorder()
    async with receiver(recorder) as served, CallbackTransport(guard=HERE) as transport:
        sent = request_to(served.url("/a b?q=ü#gone"), content=b"payload")
        answer = await send(transport, sent)
    assert (answer.status, answer.body) == (200, b"ok")
    (received,) = recorder.requests
    host = f"127.0.0.1:{served.port}"
    head = f"POST /a%20b?q=%C3%BC HTTP/1.1\r\nHost: {host}\r\nContent-Length: 7"
    assert received == Received(head.encode(), b"payload")


async def test_connection_carries_one_request_after_another() -> None:
    async with receiver(answers(OK)) as served, CallbackTransport(guard=HERE) as transport:
        for _ in range(5):
            await send(transport, request_to(served.url()))
    assert served.connections == 1


async def test_requests_at_once_get_a_connection_each_and_share_them_later() -> None:
    async with receiver(answers(OK)) as served, CallbackTransport(guard=HERE) as transport:
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(send, transport, request_to(served.url()))
    assert served.connections == 10


async def test_connection_that_the_receiver_closed_while_idle_is_not_used() -> None:
    closing = ClosesAfterEach()
    async with receiver(closing) as served, CallbackTransport(guard=HERE) as transport:
        for _ in range(3):
            sent = request_to(served.url(), is_once=True)
            assert (await send(transport, sent)).status == 200
            await wait_all_tasks_blocked()
    assert len(closing.requests) == 3


@pytest.mark.parametrize("is_once", [False, True])
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("resets", [False, True])
async def test_request_that_was_read_is_not_sent_again_on_whatever_connection(
    *, is_once: bool, tls: bool, resets: bool
) -> None:
    requests: list[Received] = []

    async def hangs_up_on(count: int, stream: Stream) -> None:
        for number in range(1, count + 1):
            requests.append(await read_request(stream) or Received(b"", b""))
            if number < count:
                await stream.send_all(OK)
        if resets:
            reset(stream)

    server, client = tls_contexts(trustme.CA(), "127.0.0.1") if tls else (None, None)
    words = "reset by" if resets else "closed by .* before an answer"
    for count in (1, 2):
        requests.clear()
        async with (
            receiver(partial(hangs_up_on, count), ssl_context=server) as served,
            CallbackTransport(guard=HERE, ssl_context=client) as transport,
        ):
            for _ in range(count - 1):
                await send(transport, request_to(served.url()))
            with pytest.raises(ReceiveError, match=words):
                await send(transport, request_to(served.url(), is_once=is_once))
        assert (len(requests), served.connections) == (count, 1)


LARGE = b"x" * 20_000_000
"""No buffer takes it all in: it breaks before its last byte has been handed over."""


@pytest.mark.parametrize("tls", [False, True])
async def test_request_that_was_cut_on_a_kept_connection_is_sent_again(*, tls: bool) -> None:
    cutting = CutsSecond(cuts=1)
    server, client = tls_contexts(trustme.CA(), "127.0.0.1") if tls else (None, None)
    async with (
        receiver(cutting, ssl_context=server) as served,
        CallbackTransport(guard=HERE, ssl_context=client) as transport,
    ):
        await send(transport, request_to(served.url()))
        response = await send(transport, request_to(served.url(), content=LARGE))
        assert response.status == 200
    assert (len(cutting.requests), served.connections) == (2, 2)


async def test_request_is_signed_anew_when_it_is_sent_again() -> None:
    cutting = CutsSecond(cuts=1)
    bodies: list[int] = []

    def sign(body: bytes) -> bytes:
        bodies.append(len(body))
        return b"webhook-signature: %d\r\n\r\n" % len(bodies)

    async with receiver(cutting) as served, CallbackTransport(guard=HERE) as transport:
        await send(transport, request_to(served.url()))
        signed = request_to(served.url(), content=LARGE)._replace(sign=sign)
        assert (await send(transport, signed)).status == 200
    assert bodies == [len(LARGE)] * 2
    assert cutting.requests[-1].header(b"webhook-signature") == [b"2"]


async def test_signing_that_fails_sends_nothing() -> None:
    def fail(_: bytes) -> bytes:
        raise ZeroDivisionError

    def may_send() -> bool:
        asked.append(True)
        return True

    sent = CutsSecond(cuts=0)
    asked: list[bool] = []
    async with receiver(sent) as served, CallbackTransport(guard=HERE) as transport:
        unsigned = request_to(served.url())._replace(sign=fail)
        with pytest.raises(ZeroDivisionError):
            await send(transport, unsigned, may_send)
    assert sent.requests == []
    assert asked == []  # so whoever made it knows that nothing went out


async def test_request_that_is_cut_again_is_sent_no_third_time() -> None:
    async def cuts_all_but_the_first(stream: Stream) -> None:
        if served.connections == 1:
            await read_request(stream)
            await stream.send_all(OK)
        await resets_after_head(stream)

    async with (
        receiver(cuts_all_but_the_first) as served,
        CallbackTransport(guard=HERE) as transport,
    ):
        await send(transport, request_to(served.url()))
        with pytest.raises(SendError, match="reset by"):
            await send(transport, request_to(served.url(), content=LARGE))
    assert served.connections == 2


async def test_at_most_once_is_never_sent_again() -> None:
    cutting = CutsSecond(cuts=1)
    async with receiver(cutting) as served, CallbackTransport(guard=HERE) as transport:
        await send(transport, request_to(served.url()))
        sent = request_to(served.url(), is_once=True, content=LARGE)
        with pytest.raises(SendError, match="reset by"):
            await send(transport, sent)
    assert (len(cutting.requests), served.connections) == (1, 1)


async def test_answer_that_has_begun_is_not_asked_for_again() -> None:
    cuts_second = answers_in_turn(OK, b"HTTP/1.1 200")
    async with receiver(cuts_second) as served, CallbackTransport(guard=HERE) as transport:
        await send(transport, request_to(served.url()))
        with pytest.raises(ReceiveError, match="in the middle of its answer"):
            await send(transport, request_to(served.url()))
    assert served.connections == 1


async def test_at_most_once_passes_over_a_connection_idle_for_more_than_a_second(
    mock_clock: MockClock,
) -> None:
    async with receiver(answers(OK)) as served, CallbackTransport(guard=HERE) as transport:
        for pause_s, connections in ((0.9, 1), (1.1, 2), (0, 2)):
            await send(transport, request_to(served.url()))
            mock_clock.jump(pause_s)
            await send(transport, request_to(served.url(), is_once=True))
            assert served.connections == connections


async def test_each_use_makes_a_connection_fresh_again(mock_clock: MockClock) -> None:
    async with receiver(answers(OK)) as served, CallbackTransport(guard=HERE) as transport:
        for _ in range(3):
            await send(transport, request_to(served.url(), is_once=True))
            mock_clock.jump(0.9)
    assert served.connections == 1


async def test_withheld_request_sends_nothing_and_keeps_the_connection() -> None:
    recorder = Recorder()
    async with receiver(recorder) as served, CallbackTransport(guard=HERE) as transport:
        for _ in range(2):
            with pytest.raises(WithheldError):
                await send(transport, request_to(served.url()), lambda: False)
        await send(transport, request_to(served.url()))
    assert (len(recorder.requests), served.connections) == (1, 1)


async def test_withheld_request_does_not_make_its_connection_fresh(mock_clock: MockClock) -> None:
    async with receiver(answers(OK)) as served, CallbackTransport(guard=HERE) as transport:
        await send(transport, request_to(served.url()))
        mock_clock.jump(1.5)
        with pytest.raises(WithheldError):
            await send(transport, request_to(served.url()), lambda: False)
        await send(transport, request_to(served.url(), is_once=True))
    assert served.connections == 2


async def test_request_of_which_a_part_arrived_is_not_called_withheld() -> None:
    cutting = CutsSecond(cuts=1)
    answers_of_fence = iter([True, False])
    async with receiver(cutting) as served, CallbackTransport(guard=HERE) as transport:
        await send(transport, request_to(served.url()))
        fenced = request_to(served.url(), content=LARGE)
        with pytest.raises(SendError, match="reset by"):
            await send(transport, fenced, lambda: next(answers_of_fence))
    assert len(cutting.requests) == 1


@pytest.mark.parametrize("tls", [False, True])
async def test_no_other_task_runs_between_fence_and_first_byte(*, tls: bool) -> None:
    accepted: list[trio.SocketStream] = []

    async def leaves_second_unread(stream: Stream) -> None:
        accepted.append(
            stream if isinstance(stream, trio.SocketStream) else stream.transport_stream
        )
        await read_request(stream)
        await stream.send_all(OK)
        await trio.sleep_forever()

    server, client = tls_contexts(trustme.CA(), "127.0.0.1") if tls else (None, None)
    async with (
        receiver(leaves_second_unread, ssl_context=server) as served,
        CallbackTransport(guard=HERE, ssl_context=client) as transport,
    ):
        await send(transport, request_to(served.url()))
        look = _LooksAfterStep(accepted[0].socket.fileno())
        trio.lowlevel.add_instrument(look)
        with trio.move_on_after(5) as timeout:
            look.scope = timeout
            await send(transport, request_to(served.url()), look.may_send)
        trio.lowlevel.remove_instrument(look)
    assert look.has_arrived


class _LooksAfterStep(trio.abc.Instrument):
    """Looks if something arrived, right after the step of a task in which the fence was asked.

    It blocks the whole loop while it looks: what that step has not sent does not arrive.
    """

    def __init__(self, receiving_fd: int) -> None:
        self._poll = select.poll()
        self._poll.register(receiving_fd, select.POLLIN)
        self._was_asked = False
        self.scope = trio.CancelScope()
        self.has_arrived = False

    def may_send(self) -> bool:
        self._was_asked = True
        return True

    def after_task_step(self, _: trio.lowlevel.Task) -> None:
        if self._was_asked:
            self._was_asked = False
            self.has_arrived = bool(self._poll.poll(500))
            self.scope.cancel()


async def test_large_payload_arrives_whole() -> None:
    recorder = Recorder()
    server, client = tls_contexts(trustme.CA(), "127.0.0.1")
    payload = bytes(range(256)) * 4096
    async with (
        receiver(recorder, ssl_context=server) as served,
        CallbackTransport(guard=HERE, ssl_context=client) as transport,
    ):
        await send(transport, request_to(served.url(), content=payload))
    assert recorder.requests[0].body == payload


async def test_canceled_request_closes_its_connection() -> None:
    before = open_files()
    pool = Pool()
    async with receiver(never_answers) as served:
        async with CallbackTransport(guard=HERE, pool=pool) as transport:
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    sent = request_to(served.url(), content=b"x" * 10_000_000)
                    nursery.start_soon(send, transport, sent)
                    nursery.start_soon(send, transport, request_to(served.url()))
                while served.connections < 20:
                    await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            assert len(pool) == 0
        await wait_all_tasks_blocked()
    assert open_files() == before


@pytest.mark.parametrize("before_step", [True, False])
@pytest.mark.parametrize("ips", [["127.0.0.1"], ["127.0.0.3", "127.0.0.1"]])
async def test_request_can_be_canceled_at_any_step(ips: list[str], *, before_step: bool) -> None:
    """Cancel it at the n-th step that any task takes, for every n until it succeeds."""
    server, client = tls_contexts(trustme.CA(), "localhost")
    resolver = Resolver(lambda _: tuple((ip, 0) for ip in ips))
    before = open_files()
    pool = Pool()
    done = False
    steps = 0
    async with (
        receiver(answers(OK), ssl_context=server) as served,
        CallbackTransport(
            guard=HERE, pool=pool, ssl_context=client, resolver=resolver
        ) as transport,
    ):
        while not done:
            pool.close()
            pool = transport._pool = Pool()
            steps += 1
            sent = request_to(served.url(host="localhost"))
            with trio.CancelScope() as scope:
                canceler = _CancelsAt(steps, scope, before_step=before_step)
                trio.lowlevel.add_instrument(canceler)
                try:
                    await send(transport, sent)
                    done = True
                finally:
                    trio.lowlevel.remove_instrument(canceler)
            assert len(pool) == done
            await wait_all_tasks_blocked(0.001)
    assert steps > 5
    await wait_all_tasks_blocked()
    assert open_files() == before


class _CancelsAt(trio.abc.Instrument):
    """Cancels a scope before or after the n-th step of any task."""

    def __init__(self, steps: int, scope: trio.CancelScope, *, before_step: bool) -> None:
        self._left = steps
        self._scope = scope
        self._before_step = before_step

    def before_task_step(self, _: trio.lowlevel.Task) -> None:
        if self._before_step:
            self._count()

    def after_task_step(self, _: trio.lowlevel.Task) -> None:
        if not self._before_step:
            self._count()

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()


async def test_name_that_hangs_delays_no_other_destination() -> None:
    hung_up = threading.Event()

    def look_up(host: str) -> tuple[Host, ...]:
        if host == "hangs.example":
            hung_up.wait(10)
        return (("127.0.0.1", 0),)

    async with (
        receiver(answers(OK)) as served,
        CallbackTransport(guard=HERE, resolver=Resolver(look_up)) as transport,
        trio.open_nursery() as nursery,
    ):
        try:
            for _ in range(50):
                hanging = request_to(served.url(host="hangs.example"))
                nursery.start_soon(send, transport, hanging)
            await wait_all_tasks_blocked()
            with trio.fail_after(5):
                for host in ("127.0.0.1", "127.1", "name.example", "other.example"):
                    sent = request_to(served.url(host=host))
                    assert (await send(transport, sent)).status == 200
            assert served.connections == 4
            # Nor does it take a thread from what else works in threads.
            assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        finally:
            hung_up.set()


async def test_closed_transport_leaves_no_connection_open() -> None:
    before = open_files()
    async with receiver(answers(OK)) as served, CallbackTransport(guard=HERE) as transport:
        await send(transport, request_to(served.url()))
    assert open_files() == before


async def test_idle_connections_close_even_if_no_request_comes(autojump_clock: MockClock) -> None:
    assert autojump_clock.autojump_threshold == 0
    pool = Pool(max_idle_s=10)
    async with (
        receiver(answers(OK)) as served,
        CallbackTransport(guard=HERE, pool=pool) as transport,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(transport.close_expired_forever)
        await send(transport, request_to(served.url()))
        assert len(pool) == 1
        await trio.sleep(21)
        assert len(pool) == 0
        nursery.cancel_scope.cancel()
