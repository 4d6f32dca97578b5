"""This replica's lease: it beats, it fences itself off, and it sweeps the dead."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Final, NoReturn, Protocol

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.membership import Identity, LeaseTimes, ReplicaStats, Watch
from timer_trio.domain.project import ProjectSettings
from timer_trio.domain.timer import ReplicaId
from timer_trio.storage import Beat, ReplicaStorage, Swept
from timer_trio.telemetry.metrics import Metrics

RETRY_INTERVAL_S: Final = 0.25
"""While the database is away: firing must resume within 2 s of its return."""
ANSWER_EXPECTED_S: Final = 0.9
"""A heartbeat so much overdue: the database counts as disconnected, /health says so within 2 s."""

log = structlog.get_logger()


class Membership(Protocol):
    """What a heartbeat tells."""

    def resume(self) -> None:
        """Look at all anew: the lease was not held, or the database's clock was set."""

    def note_connected(self) -> None:
        """Look for what is left of an outage: the database answers again."""

    def note_freed(self) -> None:
        """Look for timers that became claimable: a replica was swept or has ended."""

    def divide(self, replica: ReplicaId, members: Collection[ReplicaId]) -> None:
        """Divide the shards among those who live and do not leave; `replica` is this one."""


class Heartbeat:
    """Keeps this replica's row alive, and knows whether this replica may still send.

    `membership` is told what follows. `stats` and `identity` are told to whoever asks which
    replicas there are. `on_settings` hears what the default project has, and `on_rules` the version
    of all rules.
    """

    def __init__(
        self,
        *,
        storage: ReplicaStorage,
        clock: Clock,
        metrics: Metrics,
        times: LeaseTimes,
        membership: Membership,
        stats: Callable[[], ReplicaStats] = ReplicaStats,
        identity: Identity = Identity(),  # noqa: B008 - frozen
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
        on_settings: Callable[[ProjectSettings], None] = lambda _: None,
        on_rules: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._membership = membership
        self._stats = stats
        self._identity = identity
        self._new_id = new_id
        self._on_settings = on_settings
        self._on_rules = on_rules
        self._times = times
        self._watch = Watch(times.dead_after_s)
        self._others: AbstractSet[ReplicaId] = frozenset()
        self._may_have_left = True
        self._is_leaving = False
        self._confirmed_s = float("-inf")
        self._is_answered = False
        self._was_missed = False
        self._next_confirmed = trio.Event()
        self._living = 1
        self.replica = ReplicaId(new_id())
        metrics.database_up.add(lambda: self.is_connected)

    @property
    def is_connected(self) -> bool:
        """Whether the database answers."""
        return self._is_answered and self._age_s() < self._times.beat_interval_s + ANSWER_EXPECTED_S

    @property
    def living(self) -> int:
        """How many replicas live, this one included, as the last heartbeat has read it."""
        return self._living

    @property
    def is_held(self) -> bool:
        """Whether this replica may send: its last confirmed heartbeat was sent just now."""
        return self._age_s() < self._times.fence_s

    def holds(self, replica: ReplicaId) -> bool:
        """Whether claims made under this id may be acted upon; has no checkpoint."""
        # By their numbers: it is asked right before each first byte.
        return replica.int == self.replica.int and self.is_held

    async def wait_held(self, for_s: float) -> None:
        """Return once this replica may send for so long at least; all who wait go on together."""
        while self._age_s() >= self._times.fence_s - for_s:
            await self._next_confirmed.wait()

    def lose(self, replica: ReplicaId) -> None:
        """Hold the lease no longer: somebody has learned that the row of this id is gone."""
        if replica == self.replica:
            self._confirmed_s = float("-inf")

    async def join(self, *, alone: bool) -> None:
        """Write this replica's row and read the clock.

        `alone`: no other replica can be alive, so all others are swept first.

        Raises:
            StorageUnavailableError, ContentionError: call it again.
        """
        beat = await self._read()
        if alone:
            await sweep_predecessors(self._storage, beat)
            beat = await self._read()
        await self._enter(beat)

    async def run(self) -> NoReturn:
        """Beat once a second, for ever."""
        while True:
            began = trio.current_time()
            try:
                if await self._beat():
                    continue
            except (StorageUnavailableError, ContentionError) as error:
                self._miss(error)
                await trio.sleep(RETRY_INTERVAL_S)
            else:
                await trio.sleep_until(began + self._times.beat_interval_s)

    async def leave(self) -> None:
        """Own no shard any more, and look who will take them over.

        Raises:
            StorageUnavailableError, ContentionError: call it again.
        """
        self._is_leaving = True
        await self._storage.leave(self.replica)
        self._note_members(await self._read())

    async def end(self) -> None:
        """Delete this replica's row; what it still claims becomes claimable.

        Raises:
            StorageUnavailableError, ContentionError: call it again, or the others will sweep it.
        """
        self.lose(self.replica)
        await self._storage.sweep(self.replica, None, self._clock.now())

    async def _beat(self) -> bool:
        """Beat, and look at the others; tells whether to look again at once: one was dead."""
        sent_s = self._clock.elapsed()
        beat = await self._read()
        if self.replica not in beat.counters:
            log.warning("swept_by_another_replica", replica=str(self.replica))
            self.replica = ReplicaId(self._new_id())
            # Where a failover has undone that it joined, nobody has freed its claims.
            self._may_have_left = True
            await self._enter(beat)
            self._membership.note_freed()
            return False
        self._confirm(sent_s)
        self._note_members(beat)
        others = {replica: c for replica, c in beat.counters.items() if replica != self.replica}
        if self._others - others.keys():
            self._may_have_left = True
            self._membership.note_freed()
        self._others = others.keys()
        dead = self._watch.observe(others, self._clock.elapsed())
        try:
            await self._sweep(dead)
            await self._free_what_was_left()
        except ContentionError as error:
            # Another one sweeps it just now. Our own beat was taken all the same.
            log.debug("sweep_put_off", reason=str(error))
            return False
        return bool(dead)

    async def _read(self) -> Beat:
        asked_s = trio.current_time()
        beat = await self._storage.beat(self.replica, self._stats())
        if step_s := self._clock.take_reading(beat.now, asked_s):
            log.warning("database_clock_stepped", seconds=round(step_s, 3))
            self._membership.resume()
        self._living = len(beat.counters.keys() | {self.replica})
        if beat.default_settings is not None:
            self._on_settings(beat.default_settings)
        self._on_rules(beat.rules_version)
        return beat

    async def _enter(self, beat: Beat) -> None:
        sent_s = self._clock.elapsed()
        await self._storage.join(self.replica, self._clock.now(), self._identity)
        if self._is_leaving:
            await self._storage.leave(self.replica)
        log.info("joined", replica=str(self.replica))
        self._confirm(sent_s)
        self._note_members(beat)

    def _note_members(self, beat: Beat) -> None:
        others = beat.counters.keys() - beat.leaving - {self.replica}
        members = others if self._is_leaving else others | {self.replica}
        self._membership.divide(self.replica, members)

    def _confirm(self, sent_s: float) -> None:
        was_held = self.is_held
        self._confirmed_s = sent_s
        self._next_confirmed.set()
        self._next_confirmed = trio.Event()
        if not self._is_answered:
            log.info("database_connected")
        self._is_answered = True
        if self._was_missed:
            self._was_missed = False
            self._membership.note_connected()
        if not was_held and self.is_held:
            self._membership.resume()

    def _miss(self, error: StorageUnavailableError | ContentionError) -> None:
        self._watch.forget()
        if self._is_answered:
            log.warning("database_disconnected", reason=str(error))
        self._is_answered = False
        self._was_missed = True

    async def _sweep(self, dead: Mapping[ReplicaId, int | None]) -> None:
        for replica, counter in dead.items():
            swept = await _sweep(self._storage, replica, counter, self._clock.now())
            if swept is not None:
                self._may_have_left |= swept.left > 0
                self._membership.note_freed()

    async def _free_what_was_left(self) -> None:
        """Free claims that outlived their replica, since their rows were locked as it was swept.

        Whoever swept it may be gone as well, so each replica looks when it comes and another goes.
        """
        if not self._may_have_left:
            return
        swept = await self._storage.sweep(None, None, self._clock.now())
        self._may_have_left = swept is not None and swept.left > 0
        if swept is not None and swept.freed:
            log.warning("freed_what_was_locked", freed=swept.freed)
            self._membership.note_freed()

    def _age_s(self) -> float:
        return self._clock.elapsed() - self._confirmed_s


async def sweep_predecessors(storage: ReplicaStorage, beat: Beat) -> None:
    """Free what all the replicas of this beat claim, and delete them: none of them can be alive.

    Raises:
        StorageUnavailableError, ContentionError: call it again.
    """
    for replica in beat.counters:
        # Whatever its counter says: a last beat of the dead may still be on its way.
        await _sweep(storage, replica, None, beat.now)


async def _sweep(
    storage: ReplicaStorage, replica: ReplicaId, counter: int | None, now: datetime
) -> Swept | None:
    """Sweep a replica; None: it beats again, or somebody else has swept it."""
    swept = await storage.sweep(replica, counter, now)
    if swept is not None:
        locked = {"locked": swept.left} if swept.left else {}
        log.warning("swept_dead_replica", replica=str(replica), freed=swept.freed, **locked)
    return swept
