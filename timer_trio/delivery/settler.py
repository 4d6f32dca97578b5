"""The last stage: what became of each claimed timer is written, however long that takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NoReturn

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.domain.create_cost import create_cost_us
from timer_trio.domain.errors import (
    ContentionError,
    RowRefusedError,
    RowsFailedError,
    StorageUnavailableError,
)
from timer_trio.domain.lately import Lately
from timer_trio.domain.paused import LONGEST_PAUSE_S
from timer_trio.domain.settlement import Settlement, plainer, unstorable
from timer_trio.domain.timer import TimerId
from timer_trio.storage import HeldClaim, WorkStorage
from timer_trio.storage.group_commit import GroupCommit, PutOff
from timer_trio.telemetry.metrics import Metrics

LINGER_S: Final = 0.1
"""How long an outcome waits for others: ten transactions a second carry 500 timers/s."""
MAX_SETTLEMENTS: Final = 500
"""Rows in one UPDATE: 13-15 ms of the database's time, so that a claim never waits long for it."""
MAX_RESULTS_US: Final = 15_000
"""The database's time for the results that are written with one UPDATE, as estimated."""
LOCKED_S: Final = 2 * LONGEST_PAUSE_S
"""So long after a locked row was met none is waited for: it is tried again within that time."""

log = structlog.get_logger()


class Settler:
    """Writes settlements in groups, each guarded by its claim, until the database takes them.

    One whose row somebody locks, or cannot be written, waits by itself. That its claim stands no
    more is believed of one once the database has said it twice; `on_superseded` hears of it.
    `lately` keeps for a while what was written.
    """

    def __init__(
        self,
        *,
        storage: WorkStorage,
        clock: Clock,
        metrics: Metrics,
        lately: Lately,
        on_superseded: Callable[[], None] = lambda: None,
    ) -> None:
        self._storage = storage
        self._lately = lately
        self._clock = clock
        self._on_superseded = on_superseded
        self._doubted: set[HeldClaim] = set()
        self._locked_until_s = float("-inf")
        self._refused: set[TimerId] = set()
        self._group: GroupCommit[Settlement, bool] = GroupCommit(
            "settle",
            self._commit,
            metrics,
            max_rows=MAX_SETTLEMENTS,
            max_weight=MAX_RESULTS_US,
            linger_s=LINGER_S,
        )
        metrics.unsettled.add(lambda: len(self))

    def __len__(self) -> int:
        """How many outcomes are not written yet."""
        return len(self._group)

    async def run(self) -> NoReturn:
        await self._group.run()

    async def wait_empty(self) -> None:
        """Return when every outcome is written."""
        await self._group.wait_empty()

    def hurry(self) -> None:
        """Write what is queued without waiting for more."""
        self._group.hurry()

    def settle_nowait(self, settlement: Settlement, on_settled: Callable[[], None]) -> None:
        """Queue a settlement; `on_settled` is called once it is written, or superseded."""

        def on_reply(reply: bool | RowRefusedError) -> None:  # noqa: FBT001 - a reply, no switch
            if isinstance(reply, RowRefusedError):
                self._settle_plainer(settlement, str(reply), on_settled)
                return
            if not reply:
                log.info("settlement_superseded", timer_id=str(settlement.timer_id))
                self._on_superseded()
            self._refused.discard(settlement.timer_id)
            on_settled()

        result = settlement.result
        weight = 0 if result is None else create_cost_us(result.spec, at_most=MAX_RESULTS_US)
        self._group.submit_nowait(settlement, on_reply, weight)

    def _settle_plainer(
        self, settlement: Settlement, reason: str, on_settled: Callable[[], None]
    ) -> None:
        """Queue what says less than a settlement that the database refuses."""
        less = plainer(settlement)
        if less is None:
            less = unstorable(settlement, reason)
            self._refused.add(settlement.timer_id)
        elif settlement.result is not less.result:
            log.error("result_refused", timer_id=str(settlement.timer_id), reason=reason)
        self.settle_nowait(less, on_settled)

    async def _commit(self, settlements: Sequence[Settlement]) -> Sequence[bool | PutOff]:
        try:
            answers = await self._settle(settlements)
        except RowRefusedError as refusal:
            if len(settlements) == 1 and settlements[0].timer_id in self._refused:
                # In plain words as well: its row takes nothing, until somebody mends it.
                raise RowsFailedError(str(refusal)) from None
            raise
        except StorageUnavailableError:
            # Another server may answer next, before a heartbeat has told of this.
            self._lately.recall(trio.current_time())
            raise
        self._lately.note(settlements, trio.current_time())
        if None in answers:
            self._locked_until_s = trio.current_time() + LOCKED_S
        if False in answers or self._doubted:
            answers = [*map(self._doubt, settlements, answers)]
        return [PutOff.PUT_OFF if answer is None else answer for answer in answers]

    def _doubt(self, settlement: Settlement, answer: bool | None) -> bool | None:  # noqa: FBT001 - a reply, no switch
        """Put off what is superseded by the first answer: a server may have said so that is none.

        Who comes back after a standby has taken over in its place still takes itself for the
        primary, until somebody has met the new one.
        """
        held = HeldClaim(settlement.timer_id, settlement.claim)
        if answer is False and held not in self._doubted:
            self._doubted.add(held)
            return None
        if answer is not None:
            self._doubted.discard(held)
        return answer

    async def _settle(self, settlements: Sequence[Settlement]) -> Sequence[bool | None]:
        if trio.current_time() >= self._locked_until_s:
            try:
                return await self._storage.settle(settlements, self._clock.now())
            except ContentionError:
                pass  # whoever is in the way may stay there: the others are written without it
        return await self._storage.settle(settlements, self._clock.now(), skip_locked=True)
