from __future__ import annotations

from typing import Any

import trio
import trio.testing
from hypercorn.config import Config

from timer_trio.server.protocol import Tasks

SCOPE: Any = {"type": "http"}


def message(number: int) -> Any:
    return {"type": "http.request", "body": b"%d" % number, "more_body": True}


class App:
    """An app that receives as many messages as it is told to, and then ends."""

    def __init__(self) -> None:
        self.wanted, self.waits_for = trio.open_memory_channel[int](100)
        self.received: list[int] = []
        self.ended = trio.Event()

    async def __call__(
        self, scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any
    ) -> None:
        del scope, send, sync_spawn, call_soon
        async for count in self.waits_for:
            for _ in range(count):
                self.received.append(int((await receive())["body"]))

    async def take(self, count: int) -> None:
        await self.wanted.send(count)
        await trio.testing.wait_all_tasks_blocked()

    async def send(self, event: Any) -> None:
        assert event is None
        self.ended.set()


async def test_app_gets_its_messages_in_order_and_their_sender_waits_for_it() -> None:
    app, config, put = App(), Config(), 0
    most = config.max_app_queue_size
    async with Tasks() as tasks:
        hand_over = await tasks.spawn_app(app, config, SCOPE, app.send)

        async def put_many() -> None:
            nonlocal put
            for number in range(3 * most):
                await hand_over(message(number))
                put += 1

        tasks.spawn(put_many)
        await trio.testing.wait_all_tasks_blocked()
        assert put == most
        await app.take(2)
        assert (put, app.received) == (most + 2, [0, 1])
        await app.take(3 * most - 2)
        assert (put, app.received) == (3 * most, list(range(3 * most)))
        app.wanted.close()
    assert app.ended.is_set()


async def test_app_that_waits_is_woken_by_what_comes() -> None:
    app, config = App(), Config()
    async with Tasks() as tasks:
        hand_over = await tasks.spawn_app(app, config, SCOPE, app.send)
        await app.take(1)
        assert app.received == []
        await hand_over(message(7))
        await trio.testing.wait_all_tasks_blocked()
        assert app.received == [7]
        app.wanted.close()
