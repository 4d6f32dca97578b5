"""The far end of callbacks: receivers of every behaviour, and a transport that reaches them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from functools import partial
from random import Random
from typing import Final
from uuid import UUID

import trio

from tests.simulation.faults import POISON, Thread
from tests.simulation.history import Ending, Send, Try
from timer_trio.domain.signing import Signer, SigningSecret
from timer_trio.domain.timer import TimerId
from timer_trio.testing.receiver import read_head
from timer_trio.transport import (
    Answer,
    Begun,
    Endpoint,
    Permit,
    Request,
    TransportError,
    WithheldError,
)

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
"""The begin of the world."""
OK: Final = 200


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
    FAILING = "failing"
    DOWN = "down"
    BUSY = "busy"
    GONE = "gone"
    FINAL = "final"


SICK: Final = frozenset({Behaviour.FAILING, Behaviour.DOWN, Behaviour.BUSY})
"""They fail for SICK_S, recover for as long, and so on."""
RETRIED: Final = (*sorted(SICK), Behaviour.ERROR, Behaviour.REFUSED)
"""What further attempts are made of, of some for nothing."""
BRIEF: Final = frozenset(
    {
        *RETRIED,
        Behaviour.FAST,
        Behaviour.BROKEN,
        Behaviour.POISON,
        Behaviour.GONE,
        Behaviour.FINAL,
    }
)
"""They hold a slot for a moment only, so their timers never wait for one."""

CONNECT_S: Final = 0.005
FAST_S: Final = 0.02
CLOSES_S: Final = 0.2
SLOW_S: Final = 6.0
SICK_S: Final = 3.0
PUT_OFF_S: Final = (0, 1, 2, 4)
"""What busy receivers ask for."""
BODY: Final = b"no"
"""What comes with an answer that is none of 2xx."""


def url_of(behaviour: Behaviour, place: int = 0) -> str:
    """Name a receiver of this behaviour; those of other places are other destinations."""
    return f"http://{behaviour}.{place}.test/hook" if place else f"http://{behaviour}.test/hook"


def behaviour_at(host: str) -> Behaviour:
    return Behaviour(host.partition(".")[0])


class FarEnd:
    """The receivers as one process reaches them."""

    def __init__(
        self,
        *,
        process: str,
        thread: Thread,
        random: Random,
        on_try: Callable[[int | None, Try], None],
        on_send: Callable[[int | None, Send], None],
        secrets: Callable[[TimerId], Sequence[SigningSecret]],
    ) -> None:
        self._process = process
        self._thread = thread
        self._random = random
        self._on_try = on_try
        self._on_send = on_send
        self._secrets = secrets
        self._kept: set[Endpoint] = set()

    def begin(self, request: Request, permit: Permit) -> Begun | None:
        """Send at once on a kept connection, in half of the cases in which there may be one."""
        if request.endpoint not in self._kept or self._random.random() < 0.5:
            return None
        one = self._note_try(request)
        if not permit.may_send():
            one.ended_s = trio.current_time()
            raise WithheldError("this replica may not send any more")
        send = self._begin(request, one)
        return partial(self._note_ending, one, partial(self._finish, request, one, send))

    async def send(self, request: Request, permit: Permit) -> Answer:
        one = self._note_try(request)
        return await self._note_ending(one, partial(self._send, request, one), permit)

    def _note_try(self, request: Request) -> Try:
        _, _, headers = read_head(request)
        payload = json.loads(request.body)
        one = Try(
            process=self._process,
            timer_id=headers["X-Timer-Id"],
            attempt=int(headers["X-Timer-Attempt"]),
            version=payload.get("version", 0),
            began_s=trio.current_time(),
        )
        self._on_try(payload.get("number"), one)
        return one

    async def _note_ending(self, one: Try, answered: Begun, permit: Permit) -> Answer:
        try:
            answer = await answered(permit)
        except TransportError as error:
            if one.sent_s is not None or not isinstance(error, WithheldError):
                one.ending = Ending.UNREACHABLE
            raise
        except trio.Cancelled:
            one.ending = Ending.BROKEN_OFF
            raise
        finally:
            one.ended_s = trio.current_time()
        one.ending = Ending.DELIVERED if answer.status == OK else Ending.REJECTED
        return answer

    async def _send(self, request: Request, one: Try, permit: Permit) -> Answer:
        await self._connect(behaviour_at(request.endpoint.host))
        if not permit.may_send():
            raise WithheldError("this replica may not send any more")
        return await self._finish(request, one, self._begin(request, one), permit)

    async def _finish(self, request: Request, one: Try, send: Send, permit: Permit) -> Answer:
        behaviour = behaviour_at(request.endpoint.host)
        if behaviour is Behaviour.CLOSING:
            await trio.sleep(CLOSES_S)
            if not permit.may_send():
                raise WithheldError("this replica may not send any more")
            raise TransportError("connection refused by 192.0.2.3:80")
        send.status = one.status = status = await self._answer(behaviour)
        one.answered_s = trio.current_time()
        await self._thread.pass_point("callback answered")
        self._kept.add(request.endpoint)
        return Answer(status, self._advice(behaviour, one), b"" if status == OK else BODY)

    async def _connect(self, behaviour: Behaviour) -> None:
        await trio.sleep(self._random.uniform(0.0, CONNECT_S))
        if behaviour is Behaviour.DEAD:
            await trio.sleep_forever()
        if behaviour is Behaviour.REFUSED or (behaviour is Behaviour.DOWN and is_sick()):
            raise TransportError("connection refused by 192.0.2.1:80")
        await self._thread.pass_point("callback connected")

    def _begin(self, request: Request, one: Try) -> Send:
        _, _, headers = read_head(request)
        send = Send(
            process=self._process,
            timer_id=one.timer_id,
            attempt=one.attempt,
            version=one.version,
            webhook_id=headers["webhook-id"],
            sent_s=trio.current_time(),
            is_genuine=self._is_genuine(one, headers, request.body),
        )
        one.sent_s = send.sent_s
        self._on_send(json.loads(request.body).get("number"), send)
        return send

    def _is_genuine(self, one: Try, headers: Mapping[str, str], body: bytes) -> bool:
        given = headers.get("webhook-signature", "").encode().split(b" ")
        secrets = self._secrets(TimerId(UUID(one.timer_id)))
        head = f"{headers['webhook-id']}.{headers.get('webhook-timestamp')}.".encode()
        return any(Signer(each.secret).sign(head, body) in given for each in secrets)

    async def _answer(self, behaviour: Behaviour) -> int:
        if behaviour is Behaviour.SILENT:
            await trio.sleep_forever()
        await trio.sleep(
            self._random.uniform(0.0, SLOW_S if behaviour is Behaviour.SLOW else FAST_S)
        )
        match behaviour:
            case Behaviour.BROKEN:
                raise TransportError("connection reset by 192.0.2.2:80")
            case Behaviour.POISON:
                raise TransportError(f"connection to {POISON} broke")
            case Behaviour.ERROR | Behaviour.FINAL:
                return 500
            case Behaviour.GONE:
                return 410
            case Behaviour.FAILING | Behaviour.BUSY if is_sick():
                return 503
            case _:
                return OK

    def _advice(self, behaviour: Behaviour, one: Try) -> Sequence[tuple[bytes, bytes]]:
        """Say whether and when to try again, and note it."""
        one.is_final = behaviour in {Behaviour.GONE, Behaviour.FINAL}
        if behaviour is Behaviour.FINAL:
            return ((b"X-Timer-Retry", b"no"),)
        if behaviour is not Behaviour.BUSY or one.status == OK:
            return ()
        put_off_s = self._random.choice(PUT_OFF_S)
        one.not_before_s = trio.current_time() + put_off_s
        if self._random.random() < 0.5:
            return ((b"Retry-After", str(put_off_s).encode()),)
        date = (START + timedelta(seconds=one.not_before_s)).replace(microsecond=0)
        one.not_before_s = (date - START).total_seconds()
        return ((b"retry-after", format_datetime(date, usegmt=True).encode()),)


def is_sick() -> bool:
    """Whether receivers that recover and fall ill again are ill now."""
    return int(trio.current_time() // SICK_S) % 2 == 0
