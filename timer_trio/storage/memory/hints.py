"""What replicas tell each other, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import NoReturn

import trio

from timer_trio.domain.timer import DueTimer
from timer_trio.storage.hints import hint_of, payload_of
from timer_trio.storage.memory.database import Database
from timer_trio.storage.protocols import Hint


class MemoryHints(Database):
    """HintStorage in memory."""

    async def hint(
        self, timers: Sequence[DueTimer], shards: AbstractSet[int] = frozenset()
    ) -> None:
        await trio.lowlevel.checkpoint()
        hint = hint_of(payload_of(timers, shards))
        for on_hint in tuple(self._listening):
            on_hint(hint)

    async def listen(
        self, on_listening: Callable[[], None], on_hint: Callable[[Hint], None]
    ) -> NoReturn:
        await trio.lowlevel.checkpoint()
        self._listening.append(on_hint)
        on_listening()
        try:
            await trio.sleep_forever()
        finally:
            self._listening.remove(on_hint)
