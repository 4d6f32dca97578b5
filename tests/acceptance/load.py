"""Consumers that create, change and cancel timers, and keep book of what they were told."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import trio

from tests import promises
from tests.acceptance.client import Answer, NoAnswerError, instant
from tests.acceptance.receiver import ReceiverProcess, now

LEADS_S = (0.05, 2.0)
MAX_PAUSE_S = 1.0
"""Between the creation of a timer and its change."""
CREATES_PER_S = 100


class Asks(Protocol):
    async def ask(self, method: str, path: str, body: object = None) -> Answer: ...


@dataclass(slots=True)
class Promise:
    """What a consumer was told of one timer. In doubt: a change was asked for and not answered.

    `known_at`, `changed_at`: when the answers to its creation and to its last change came.
    """

    payloads: set[int]
    known_at: float = 0.0
    changed_at: float = 0.0
    canceled: bool = False
    cancel_in_doubt: bool = False


@dataclass(slots=True)
class Load:
    """Many consumers of one service; `promises` has every timer whose creation was acknowledged.

    `leads_s`: how far ahead they create, from and to.
    """

    consumer: Asks
    url: str
    chance: random.Random
    per_s: float = CREATES_PER_S
    leads_s: tuple[float, float] = LEADS_S
    promises: dict[str, Promise] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    enough: bool = False

    async def run(self) -> None:
        """Begin another one at each tick, whatever the others do; returns when all are answered."""
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in itertools.takewhile(lambda _: not self.enough, itertools.count()):
                await trio.sleep_until(began + number / self.per_s)
                nursery.start_soon(self._use, number)

    async def _use(self, number: int) -> None:
        body = {
            "execute_at": instant(self.chance.uniform(*self.leads_s)),
            "callback_url": self.url,
            "callback_payload": number,
        }
        answer = await self._ask("POST", "/timers", body)
        if answer is None or answer.status != 201:
            return
        promise = self.promises[answer.data["id"]] = Promise({number}, now().timestamp())
        await trio.sleep(self.chance.uniform(0, MAX_PAUSE_S))
        path = f"/timers/{answer.data['id']}"
        if number % 4 == 0:
            await self._cancel(path, promise)
        elif number % 4 == 1:
            await self._update(path, promise, -number)
        elif number % 4 == 2:
            await self._ask("GET", path)

    async def _cancel(self, path: str, promise: Promise) -> None:
        answer = await self._ask("DELETE", path)
        promise.cancel_in_doubt = answer is None or answer.status >= 500
        promise.canceled = answer is not None and answer.status == 200
        promise.changed_at = now().timestamp()

    async def _update(self, path: str, promise: Promise, payload: int) -> None:
        answer = await self._ask("PUT", path, {"callback_payload": payload})
        if answer is None or answer.status >= 500:
            promise.payloads.add(payload)
        elif answer.status == 200:
            promise.payloads = {payload}
        promise.changed_at = now().timestamp()

    async def _ask(self, method: str, path: str, body: object = None) -> Answer | None:
        try:
            answer = await self.consumer.ask(method, path, body)
        except (NoAnswerError, trio.TooSlowError):
            return None
        self.statuses[answer.status] += 1
        return answer

    def check(self, receiver: ReceiverProcess) -> None:
        """Claim that every promise was kept, and that nobody heard of more than a wait."""
        assert self.statuses.keys() <= {200, 201, 400, 503}
        fired = receiver.times_fired
        assert {timer_id: n for timer_id, n in fired.items() if n > 1} == {}
        payloads = {arrival.timer_id: int(arrival.body) for arrival in receiver.arrivals}
        assert list(self.broken_promises(payloads)) == []
        assert min(arrival.late_ms for arrival in receiver.arrivals) >= 0

    def broken_promises(self, payloads: Mapping[str, int]) -> Iterator[str]:
        """Name what was acknowledged and is lost; `payloads` is what each timer called with.

        A payload is the timer's version here. That a timer has fired is all that a consumer sees of
        its ending.
        """
        for timer_id, promise in self.promises.items():
            sent = [payloads[timer_id]] if timer_id in payloads else []
            if promise.canceled:
                yield from promises.canceled_is_not_sent(timer_id, sent)
            if not (promise.canceled or promise.cancel_in_doubt or sent):
                yield f"{timer_id} was created, and never fired"
            yield from promises.sent_as_told(timer_id, sent, promise.payloads)


@asynccontextmanager
async def load_on(
    consumer: Asks,
    url: str,
    chance: random.Random | None = None,
    per_s: float = CREATES_PER_S,
    leads_s: tuple[float, float] = LEADS_S,
) -> AsyncIterator[Load]:
    """Use a service for the length of the block."""
    load = Load(consumer, url, chance or random.Random(), per_s, leads_s)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        yield load
        load.enough = True
