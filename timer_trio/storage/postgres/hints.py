"""What replicas tell each other, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import NoReturn

from timer_trio.domain.timer import DueTimer
from timer_trio.storage.hints import payload_of
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.listener import Listener
from timer_trio.storage.protocols import Hint


class PostgresHints(Database):
    """HintStorage in PostgreSQL."""

    async def hint(
        self, timers: Sequence[DueTimer], shards: AbstractSet[int] = frozenset()
    ) -> None:
        await self._say(payload_of(timers, shards))

    async def listen(
        self, on_listening: Callable[[], None], on_hint: Callable[[Hint], None]
    ) -> NoReturn:
        await Listener(self._listen_dialer, self._patience_s, self._say).run(on_listening, on_hint)

    async def _say(self, payload: str) -> None:
        await self._stages.fetch("hint", {"hint": payload})
