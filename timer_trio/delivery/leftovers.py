"""The stage that finds what the database says this replica holds, and nothing here knows of.

A standby that takes over may have missed the last commits of its primary. A settlement among them
is undone: its timer carries the claim of this replica again, which lives, so no sweep would ever
free it. The same is left by a claim that reaches the database when nobody waits for it any more.

Why nothing is taken for a leftover that is not. A claim is known here, by its number, before it is
asked for and until what it took is in hand, in a queue of outcomes or among what is locked; and
what was in hand is let go once its outcome is written. So a row that was read as held by a claim of
which nothing is known now, after it was read, was let go since or is left over. Which of the two it
is the next statement finds out, that names it with its claim: what was let go has been written
before that, so it is held no more, or by another claim. Numbers are never chosen again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NoReturn

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.cluster.heartbeat import Heartbeat
from timer_trio.delivery.agenda import Agenda
from timer_trio.delivery.claims import Claims
from timer_trio.delivery.settler import Settler
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.lately import Lately
from timer_trio.domain.timer import DueTimer, ReplicaId, TimerId
from timer_trio.storage import HeldClaim, WorkStorage
from timer_trio.storage.group_commit import RETRY_PAUSE_S
from timer_trio.storage.halving import by_halves

INTERVAL_S: Final = 60.0
"""Between two looks that nobody asks for."""
QUIET_LOOKS: Final = 2
"""So many looks after the last claim there is nothing to be found, unless somebody asks: no standby
is further behind. An idle service has better things to do."""
AGAIN_S: Final = 1.0
"""Between two looks: many outcomes may be found superseded one after the other."""
PAGE_ROWS: Final = 1_000
"""In one page of what is held: some milliseconds of the database's time."""

log = structlog.get_logger()


class Leftovers:
    """Frees what this replica is said to hold and does not have in hand, as a sweep would.

    That is, if it is not known how it ended: an outcome that `lately` finds is written again.
    `offer` gets what was freed, to be fired again by whoever is to do it.
    """

    def __init__(
        self,
        *,
        storage: WorkStorage,
        clock: Clock,
        agenda: Agenda,
        heartbeat: Heartbeat,
        claims: Claims,
        settler: Settler,
        lately: Lately,
        offer: Callable[[Iterable[DueTimer]], None],
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._agenda = agenda
        self._heartbeat = heartbeat
        self._claims = claims
        self._settler = settler
        self._lately = lately
        self._offer = offer
        self._told_again: set[HeldClaim] = set()
        self._looks = QUIET_LOOKS
        self._asked = trio.Event()
        self._stirred = trio.Event()

    def look(self) -> None:
        """Have a look soon: the database may be another one, or what it says was unexpected."""
        self._lately.recall(trio.current_time())
        self._asked.set()
        self._stirred.set()

    def note_claim(self) -> None:
        """Look again once a minute: something is claimed."""
        self._looks = 0
        self._stirred.set()

    async def run(self) -> NoReturn:
        """Look once a minute while there are claims, and whenever somebody asks, for ever."""
        self._asked = trio.Event()  # who has joined just now has claimed nothing
        while True:
            with trio.move_on_after(INTERVAL_S):
                await self._asked.wait()
            if self._is_quiet() and not self._asked.is_set():
                await self._wait_stirred()
                continue
            self._asked = trio.Event()
            try:
                await self._look()
            except (StorageUnavailableError, ContentionError) as error:
                log.debug("leftovers_put_off", reason=str(error))
                self._asked.set()
                await trio.sleep(RETRY_PAUSE_S)
            else:
                await trio.sleep(AGAIN_S)

    async def _wait_stirred(self) -> None:
        """Rest until something is claimed or somebody asks, however long that takes."""
        self._stirred = trio.Event()
        await self._stirred.wait()

    def _is_quiet(self) -> bool:
        """Whether nothing has been claimed since the last but one look."""
        self._looks += 1
        return self._looks > QUIET_LOOKS

    async def _look(self) -> None:
        replica = self._heartbeat.replica
        behind: TimerId | None = None
        while True:
            page = await self._storage.held_claims(replica, behind, PAGE_ROWS)
            if unknown := [held for held in page if not self._is_known(held)]:
                await self._free(replica, [held for held in unknown if not self._tell(held)])
            if len(page) < PAGE_ROWS:
                return
            behind = page[-1].timer_id

    def _is_known(self, held: HeldClaim) -> bool:
        is_open = self._agenda.has_in_hand(*held) or self._claims.know(held.claim)
        return is_open or held in self._told_again

    def _tell(self, held: HeldClaim) -> bool:
        """Have the outcome be written again, if it is known; tells whether it is.

        If it was let go since it was read, nothing more is written.
        """
        settlement = self._lately.written(*held)
        if settlement is None:
            return False
        log.info("outcome_told_again", timer_id=str(held.timer_id))
        self._told_again.add(held)
        self._settler.settle_nowait(settlement, partial(self._told, held))
        return True

    def _told(self, held: HeldClaim) -> None:
        self._told_again.discard(held)
        self._agenda.refill.ask_near()  # it may be due again

    async def _free(self, replica: ReplicaId, unknown: Sequence[HeldClaim]) -> None:
        """Free all of them but those on which the database fails alone."""
        if not unknown:
            return
        freed: list[DueTimer] = []

        async def free(some: Sequence[HeldClaim]) -> None:
            freed.extend(await self._storage.free(replica, some, self._clock.now()))

        await by_halves(unknown, free, _note_failed)
        if freed:  # most often all of them have been written since they were read
            log.warning("freed_leftovers", freed=len(freed))
            self._offer(freed)


def _note_failed(held: HeldClaim, error: Exception) -> None:
    log.error("leftover_failed", timer_id=str(held.timer_id), reason=str(error))
