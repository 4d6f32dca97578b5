"""The far end of callbacks: receivers of every behaviour, and a transport that reaches them."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import Final

import trio

from tests.simulation.faults import POISON, Thread
from tests.simulation.history import Send
from timer_trio.testing.receiver import read_head
from timer_trio.transport import Answer, Permit, Request, TransportError, WithheldError


class Behaviour(StrEnum):
    """How a receiver behaves; the host name of its URL.

    A closing one closes a kept connection that has brought it a part of the request: whoever sent
    it asks whether it may send on another, which is then refused.
    """

    FAST = "fast"
    SLOW = "slow"
    ERROR = "error"
    REFUSED = "refused"
    BROKEN = "broken"
    POISON = "poison"
    CLOSING = "closing"
    SILENT = "silent"
    DEAD = "dead"


BRIEF: Final = frozenset(
    {Behaviour.FAST, Behaviour.ERROR, Behaviour.REFUSED, Behaviour.BROKEN, Behaviour.POISON}
)
"""They hold a slot for a moment only, so their timers never wait for one."""

CONNECT_S: Final = 0.005
FAST_S: Final = 0.02
CLOSES_S: Final = 0.2
SLOW_S: Final = 6.0


def url_of(behaviour: Behaviour, place: int = 0) -> str:
    """Name a receiver of this behaviour; those of other places are other destinations."""
    return f"http://{behaviour}.{place}.test/hook" if place else f"http://{behaviour}.test/hook"


def behaviour_at(host: str) -> Behaviour:
    return Behaviour(host.partition(".")[0])


class FarEnd:
    """The receivers as one process reaches them."""

    def __init__(
        self, *, process: str, thread: Thread, random: Random, on_send: Callable[[int, Send], None]
    ) -> None:
        self._process = process
        self._thread = thread
        self._random = random
        self._on_send = on_send

    async def send(self, request: Request, permit: Permit) -> Answer:
        behaviour = behaviour_at(request.endpoint.host)
        await self._connect(behaviour)
        if not permit.may_send():
            raise WithheldError("this replica may not send any more")
        send = self._begin(request)
        if behaviour is Behaviour.CLOSING:
            await trio.sleep(CLOSES_S)
            if not permit.may_send():
                raise WithheldError("this replica may not send any more")
            raise TransportError("connection refused by 192.0.2.3:80")
        status = await self._answer(behaviour)
        send.status = status
        await self._thread.pass_point("callback answered")
        return Answer(status, (), b"")

    async def _connect(self, behaviour: Behaviour) -> None:
        await trio.sleep(self._random.uniform(0.0, CONNECT_S))
        if behaviour is Behaviour.DEAD:
            await trio.sleep_forever()
        if behaviour is Behaviour.REFUSED:
            raise TransportError("connection refused by 192.0.2.1:80")
        await self._thread.pass_point("callback connected")

    def _begin(self, request: Request) -> Send:
        _, _, headers = read_head(request)
        payload = json.loads(request.body)
        send = Send(
            process=self._process,
            timer_id=headers["X-Timer-Id"],
            attempt=int(headers["X-Timer-Attempt"]),
            version=payload["version"],
            webhook_id=headers["webhook-id"],
            sent_s=trio.current_time(),
        )
        self._on_send(payload["number"], send)
        return send

    async def _answer(self, behaviour: Behaviour) -> int:
        if behaviour is Behaviour.SILENT:
            await trio.sleep_forever()
        await trio.sleep(
            self._random.uniform(0.0, SLOW_S if behaviour is Behaviour.SLOW else FAST_S)
        )
        if behaviour is Behaviour.BROKEN:
            raise TransportError("connection reset by 192.0.2.2:80")
        if behaviour is Behaviour.POISON:
            raise TransportError(f"connection to {POISON} broke")
        return 500 if behaviour is Behaviour.ERROR else 200
