"""What falls due in a shard of another replica: its owner is told, and we hear what others tell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Final, NoReturn

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.delivery.agenda import Agenda
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.shards import HANDOVER_S
from timer_trio.domain.timer import DueTimer, shard_of
from timer_trio.storage import Hint, HintsLostError, HintStorage
from timer_trio.storage.group_commit import RETRY_PAUSE_S

RETRY_S: Final = 1.0
"""Between two tries to listen while the database is away."""
HINTS_LOST_RETRY_S: Final = 30.0
"""Where it is there and nothing arrives: a pooler in between does not go away by itself."""

HINTS_LOST_WARNING: Final = (
    "this replica does not hear of timers that others move near, and looks for them every second:"
    " hints_not_heard in the log says why; LISTEN_URL leads past a pooler in transaction mode"
)

_HANDOVER: Final = timedelta(seconds=HANDOVER_S)

log = structlog.get_logger()


class Hints:
    """Offers near timers to whoever owns them: to our own agenda, or by a hint.

    Why nothing is missed while shards move: who owns a timer is asked once it is committed, not
    when its id was chosen or its request came. So what was offered as our own is in a shard that is
    ours still, or was committed before `hand_over` was told that it no longer is; what is offered
    after that is hinted. The new owner reads the shard when he learns that it is his, and again
    when he hears of the hand-over; if he hears of it first, he learns later. One of these reads
    comes after the commit, however old our view was: by a beat, by a freeze and a return under a
    new id, or in a stop, which loses all shards at its begin. A batch that is offered bit by bit
    may be hinted in part: what was offered before is committed with the rest.

    A hint is repeated until the database takes it, and whoever cannot hear looks for himself. One
    that is lost even so costs its timers one interval of the loader at most.

    `on_break` hears when its connection is lost, and again when there is another one: from then on
    another server may answer.
    """

    def __init__(
        self,
        *,
        storage: HintStorage,
        clock: Clock,
        agenda: Agenda,
        window_s: float,
        on_break: Callable[[], None] = lambda: None,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._agenda = agenda
        self._shards = agenda.shards
        self._window = timedelta(seconds=window_s)
        self._on_break = on_break
        self._waiting: list[DueTimer] = []
        self._to_look_at: set[int] = set()
        self._queued = trio.Event()
        self._telling = trio.Lock()
        self._is_listening = False
        self._were_lost = False

    @property
    def are_lost(self) -> bool:
        """Whether hints have been found not to arrive."""
        return self._were_lost and not self._is_listening

    def offer(self, timers: Iterable[DueTimer]) -> None:
        """Hand on timers that were created or moved."""
        self._offer(timers, self._agenda.add)

    def offer_again(self, timers: Iterable[DueTimer]) -> None:
        """Hand on timers that were given back, or are to be retried.

        Each may have been moved between that and the reply which told of it: an earlier time that
        is known stays.
        """
        self._offer(timers, self._agenda.add_again)

    def _offer(self, timers: Iterable[DueTimer], add: Callable[[Iterable[DueTimer]], None]) -> None:
        if self._shards.owns_all:
            add(timers)
            return
        now = self._clock.now()
        soon, window_end = now + _HANDOVER, now + self._window
        ours: list[DueTimer] = []
        if not self._shards.are_all_kept:
            # Whoever serves the database that the others are moved to reads them there.
            timers = [timer for timer in timers if self._shards.keeps(timer.id)]
        for timer in timers:
            is_ours = self._shards.owns(timer.id)
            if is_ours or (timer.due_at < soon and timer.flow_key is None):
                # Who shall fire a foreign one may not have noticed yet that it is the owner; but
                # what is in a flow nobody else may.
                ours.append(timer)
            if not is_ours and timer.due_at < window_end:
                self._waiting.append(timer)
        add(ours)
        if self._waiting:
            self._queued.set()

    def hand_over(self, shards: Collection[int]) -> None:
        """Have whoever owns these shards, which were ours until now, read them."""
        if shards:
            self._to_look_at.update(shards)
            self._queued.set()

    async def tell_forever(self) -> NoReturn:
        """Send what waits, as soon as something does."""
        while True:
            await self._queued.wait()
            await self.tell()

    async def tell(self) -> None:
        """Send what waits, all of it in one hint, until the database takes it.

        What comes meanwhile is in the next; returns when there is no next.
        """
        async with self._telling:
            while True:
                self._queued = trio.Event()
                timers, self._waiting = self._waiting, []
                shards, self._to_look_at = self._to_look_at, set()
                if not (timers or shards):
                    return
                await self._tell(timers, shards)

    async def _tell(self, timers: list[DueTimer], shards: set[int]) -> None:
        try:
            await self._storage.hint(timers, shards)
        except (StorageUnavailableError, ContentionError) as error:
            log.debug("hint_put_off", timers=len(timers), shards=len(shards), reason=str(error))
            # Kept as shards, they take no room however long this lasts.
            self._to_look_at.update(shards, (shard_of(timer.id) for timer in timers))
            await trio.sleep(RETRY_PAUSE_S)

    async def listen_forever(self) -> NoReturn:
        """Take note of what others tell."""
        while True:
            try:
                await self._storage.listen(self._on_listening, self._on_hint)
            except (StorageUnavailableError, ContentionError) as error:
                await self._wait_to_listen(error)

    async def _wait_to_listen(self, error: Exception) -> None:
        if self._is_listening or not self._were_lost:
            log.warning("hints_not_heard", reason=str(error))
            self._on_break()
        self._is_listening, self._were_lost = False, True
        self._agenda.refill.note_hints_lost()
        await trio.sleep(HINTS_LOST_RETRY_S if isinstance(error, HintsLostError) else RETRY_S)

    def _on_listening(self) -> None:
        log.info("hints_heard")
        self._is_listening = True
        self._agenda.refill.note_hints_heard()
        if self._were_lost:
            self._on_break()

    def _on_hint(self, hint: Hint) -> None:
        # As a reading: two that cross on their way must not leave the later time behind.
        self._agenda.add_readings(hint.timers)
        if near := hint.shards & self._shards.own:
            self._agenda.refill.ask_shards(near)
