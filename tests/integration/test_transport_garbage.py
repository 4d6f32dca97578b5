"""What a request takes is freed as it ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import pytest

from tests.garbage import nothing_left
from tests.receivers import (
    HERE,
    OK,
    Answering,
    ClosesAfterEach,
    GivenPermit,
    answers,
    answers_and_closes,
    answers_and_resets,
    receiver,
    request_to,
    resets_after_head,
    send,
)
from timer_trio.transport import Begun, CallbackTransport, TransportError

COUNT: Final = 10


class Holding(GivenPermit):
    """Knows what has begun, as whoever calls back does."""

    begun: Begun | None = None


@pytest.mark.parametrize(
    "answering",
    [
        pytest.param(lambda: answers(OK), id="keeps"),
        pytest.param(ClosesAfterEach, id="closes after each"),
        pytest.param(lambda: answers_and_closes(OK[:-1]), id="cuts its answer"),
        pytest.param(lambda: answers_and_resets(OK[:-1]), id="resets within its answer"),
        pytest.param(lambda: resets_after_head, id="resets"),
        pytest.param(lambda: answers_and_closes(b"HTTP/9\r\n\r\n"), id="speaks no HTTP"),
    ],
)
async def test_request_leaves_no_garbage(answering: Callable[[], Answering]) -> None:
    async with receiver(answering()) as served, CallbackTransport(guard=HERE) as transport:
        with nothing_left():
            for number in range(COUNT):
                with suppress(TransportError):
                    await send(transport, request_to(served.url()))
                permit, request = Holding(), request_to(served.url(), is_once=number % 2 == 0)
                with suppress(TransportError):
                    permit.begun = transport.begin(request, permit)
                    if permit.begun:
                        await permit.begun(permit)
