"""LISTEN for what other replicas notify, on a connection of its own, without a parked thread."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Final, NoReturn

import psycopg
import trio
from psycopg.rows import DictRow

from timer_trio.storage.hints import CHANNEL, hint_of
from timer_trio.storage.postgres.dialing import Dialer, set_up
from timer_trio.storage.postgres.sessions import Session
from timer_trio.storage.postgres.sqlstate import translated
from timer_trio.storage.protocols import Hint, HintsLostError
from timer_trio.threads import run_in_thread

PROBE_S: Final = 2.0
"""How long our own voice may take to come back: otherwise a pooler has given the session to others
in between, and nothing will ever be heard."""

_PROBE: Final = "probe "


class Listener:
    """Listens on one connection at a time. `say` sends a payload to all who listen."""

    def __init__(
        self, dialer: Dialer, patience_s: float, say: Callable[[str], Awaitable[None]]
    ) -> None:
        self._dialer = dialer
        self._patience_s = patience_s
        self._say = say
        self._limiter = trio.CapacityLimiter(1)

    async def run(
        self, on_listening: Callable[[], None], on_hint: Callable[[Hint], None]
    ) -> NoReturn:
        """Listen as `HintStorage.listen` does."""
        try:
            connection = await run_in_thread(self._connect, limiter=self._limiter)
            with closing(connection):
                await self._listen(connection, on_listening, on_hint)
        except psycopg.Error as error:
            raise translated(error) from None
        raise AssertionError("nobody ends the listening but an error")

    def _connect(self) -> Session[DictRow]:
        session, _ = self._dialer.open(self._settle_in, patience_s=self._patience_s)
        return session

    def _settle_in(self, session: Session[DictRow]) -> DictRow:
        session.execute(f"LISTEN {CHANNEL}".encode())
        return set_up(session, {}, None, self._dialer.fence)

    async def _listen(
        self,
        connection: Session[DictRow],
        on_listening: Callable[[], None],
        on_hint: Callable[[Hint], None],
    ) -> None:
        probe = _PROBE + secrets.token_hex(8)
        await self._say(probe)
        is_heard = False
        give_up_at = trio.current_time() + PROBE_S
        while True:
            with trio.move_on_at(float("inf") if is_heard else give_up_at) as waiting:
                await trio.lowlevel.wait_readable(connection.fileno())
            if waiting.cancelled_caught:
                raise HintsLostError("what is notified does not arrive")
            for notification in connection.notifies(timeout=0):
                if notification.payload == probe:
                    is_heard = True
                    on_listening()
                elif not notification.payload.startswith(_PROBE):
                    on_hint(hint_of(notification.payload))
