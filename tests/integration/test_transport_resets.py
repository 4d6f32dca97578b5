"""Many callbacks to many receivers, each of which breaks off at a stage of its own."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final

import trio

from tests.receivers import (
    HERE,
    OK,
    CutsSecond,
    GivenPermit,
    Receiver,
    answers,
    answers_and_closes,
    answers_and_half_closes,
    answers_and_resets,
    answers_unread,
    closes_at_once,
    open_files,
    receiver,
    request_to,
    resets_after_head,
    resets_at_once,
    resets_unaccepted,
    says_more_once_it_is_idle,
)
from timer_trio.transport import Begun, CallbackTransport, Request, TransportError
from timer_trio.transport.readiness import Readiness

SEED: Final = int(os.environ.get("RESETS_SEED", "4"))
CALLBACKS: Final = int(os.environ.get("RESETS_CALLBACKS", "2000"))
RECEIVERS: Final = max(50, CALLBACKS // 100)
AT_ONCE: Final = 100
BURST: Final = 32
"""As many as the service starts without a checkpoint."""
LARGE: Final = b"x" * 4_000_000
"""More than the buffers of a connection take in, so that it breaks within it."""
LARGE_SHARE: Final = 0.01

Serving = Callable[[], AbstractAsyncContextManager[Receiver]]
CUT: Final = OK[:-1]
STAGES: Final[dict[str, Serving]] = {
    "never": lambda: receiver(answers(OK)),
    "before it is accepted": resets_unaccepted,
    "once it is accepted": lambda: receiver(resets_at_once),
    "closes once it is accepted": lambda: receiver(closes_at_once),
    "within the request": lambda: receiver(resets_after_head),
    "before the request is read": lambda: receiver(answers_unread(OK)),
    "before the answer": lambda: receiver(answers_and_resets()),
    "closes before the answer": lambda: receiver(answers_and_closes()),
    "within the head": lambda: receiver(answers_and_resets(OK[:30])),
    "within the body": lambda: receiver(answers_and_resets(CUT)),
    "closes within the body": lambda: receiver(answers_and_closes(CUT)),
    "after the answer": lambda: receiver(answers_and_resets(OK)),
    "closes after the answer": lambda: receiver(answers_and_closes(OK)),
    "half-closes after the answer": lambda: receiver(answers_and_half_closes(OK)),
    "within the second request": lambda: receiver(CutsSecond(CALLBACKS)),
    "speaks while idle": lambda: receiver(says_more_once_it_is_idle),
}


class Storm:
    """Starts callbacks whenever the alarm rings, as the service does, until all have ended."""

    def __init__(
        self, transport: CallbackTransport, urls: list[str], nursery: trio.Nursery
    ) -> None:
        self._transport = transport
        self.alarm = transport.alarm
        self._urls = urls
        self._nursery = nursery
        self._random = random.Random(SEED)
        self._left = CALLBACKS
        self._in_flight = 0
        self.ended: Counter[str] = Counter()

    def ring(self) -> None:
        for _ in range(min(BURST, self._left, AT_ONCE - self._in_flight)):
            self._left -= 1
            self._in_flight += 1
            request = self._request()
            permit = GivenPermit()
            begun = self._transport.begin(request, permit)
            self._nursery.start_soon(self._call_back, request, permit, begun)
        if self._left:
            self.alarm.set(trio.current_time() + 0.001)

    def _request(self) -> Request:
        is_large = self._random.random() < LARGE_SHARE
        return request_to(
            self._random.choice(self._urls),
            is_once=self._random.random() < 0.5,
            content=LARGE if is_large else b"{}",
        )

    async def _call_back(self, request: Request, permit: GivenPermit, begun: Begun | None) -> None:
        with trio.fail_after(60):  # a request that nobody answers ends the test
            try:
                await (begun(permit) if begun else self._transport.send(request, permit))
                self.ended["answered"] += 1
            except TransportError as error:
                self.ended[type(error).__name__] += 1
        self._in_flight -= 1
        if not self._left and not self._in_flight:
            self._nursery.cancel_scope.cancel()


async def test_resets_at_every_stage_leave_nothing_over(readinesses: list[Readiness]) -> None:
    before = open_files()
    async with AsyncExitStack() as stack:
        urls = [
            (await stack.enter_async_context(serving())).url()
            for _ in range(RECEIVERS // len(STAGES) + 1)
            for serving in STAGES.values()
        ]
        transport = await stack.enter_async_context(CallbackTransport(guard=HERE))
        async with trio.open_nursery() as nursery:
            storm = Storm(transport, urls, nursery)
            nursery.start_soon(storm.alarm.run, storm.ring)
            storm.alarm.set(trio.current_time())
    again = f"RESETS_SEED={SEED} RESETS_CALLBACKS={CALLBACKS}"
    assert storm.ended.total() == CALLBACKS, again
    assert storm.ended["answered"] > CALLBACKS // 4, again
    assert min(storm.ended[kind] for kind in ("SendError", "ReceiveError")) > 0, again
    assert [each.expected for each in readinesses] == [0], again
    assert open_files() == before, again
