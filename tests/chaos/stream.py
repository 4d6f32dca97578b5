"""Timers that fire at a steady rate, created through whichever replica has its turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import trio

from tests.acceptance.client import NoAnswerError
from tests.acceptance.receiver import now
from tests.chaos.book import Asked
from tests.chaos.rotation import Rotation

LEAD_S: Final = 1.5
"""Before its instant, at which a timer is created, where a scenario says nothing else."""
TICK_S: Final = 0.05
MOVED_AFTER_S: Final = 1.0
DELIVERIES: Final = ("at_least_once", "at_most_once")


class Stream:
    """`asked` has every timer whose creation was acknowledged, by its id.

    `lead`: how many seconds ahead the next ones are created.
    """

    def __init__(
        self,
        rotation: Rotation,
        url: str,
        *,
        per_s: int,
        lead: Callable[[], float] = lambda: LEAD_S,
    ) -> None:
        self._rotation = rotation
        self._url = url
        self._per_s = per_s
        self._lead = lead
        self._numbers = 0
        self.asked: dict[str, Asked] = {}
        self.enough = False

    async def run(self) -> None:
        """Create the next few at each tick; returns when all that was asked is answered."""
        began, tick = trio.current_time(), 0
        async with trio.open_nursery() as asking:
            while not self.enough:
                tick += 1
                await trio.sleep_until(began + tick * TICK_S)
                size = int(tick * TICK_S * self._per_s) - self._numbers
                asking.start_soon(self.create, self._spread(size))

    async def create(self, instants: Sequence[float]) -> None:
        """Create a timer for each of these instants, in Unix seconds, with one request."""
        first = self._numbers
        self._numbers += len(instants)
        numbered = list(enumerate(instants, first))
        timers = [self._timer(number, due_s) for number, due_s in numbered]
        try:
            who, answer = await self._rotation.ask_any("POST", "/timers/batch", {"timers": timers})
        except (NoAnswerError, trio.TooSlowError):
            return
        if answer.status == 201:
            known_s = now().timestamp()
            for (number, due_s), made in zip(numbered, answer.data["timers"], strict=True):
                asked = Asked(number, due_s, delivery_of(number), who.name, known_s)
                self.asked[made["id"]] = asked

    async def move_near(self, far_s: float) -> None:
        """Create a timer that is far away, and move it near through another replica."""
        number, far = self._numbers, now().timestamp() + far_s
        self._numbers += 1
        try:
            created = await self._rotation.ask("POST", "/timers", self._timer(number, far))
            if created.status != 201:
                return
            timer_id = created.data["id"]
            await trio.sleep(MOVED_AFTER_S)
            due_s = now().timestamp() + self._lead()
            change = {"execute_at": datetime.fromtimestamp(due_s, UTC).isoformat()}
            who, moved = await self._rotation.ask_any("PUT", f"/timers/{timer_id}", change)
        except (NoAnswerError, trio.TooSlowError):
            return
        if moved.status == 200:
            known_s = now().timestamp()
            self.asked[timer_id] = Asked(number, due_s, delivery_of(number), who.name, known_s)

    def _spread(self, size: int) -> list[float]:
        first_s = now().timestamp() + self._lead()
        return [first_s + i * TICK_S / size for i in range(size)]

    def _timer(self, number: int, due_s: float) -> dict[str, object]:
        return {
            "execute_at": datetime.fromtimestamp(due_s, UTC).isoformat(),
            "callback_url": self._url,
            "callback_payload": number,
            "delivery": delivery_of(number),
        }


def delivery_of(number: int) -> str:
    return DELIVERIES[number % len(DELIVERIES)]
