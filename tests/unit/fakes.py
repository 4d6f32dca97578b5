"""A database and receivers that note what they are asked for, and fail or delay it on demand."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple, NoReturn
from uuid import UUID

import trio

from tests.contract.timers import NOW
from timer_trio.domain.errors import RowsFailedError, StorageUnavailableError
from timer_trio.domain.flow import Terms
from timer_trio.domain.pace import BacklogKey
from timer_trio.domain.project import ProjectId
from timer_trio.domain.settlement import Settlement
from timer_trio.domain.signing import SigningSecret
from timer_trio.domain.timer import Claim, DueTimer, ReplicaId, TimerId
from timer_trio.storage import ClaimReply, HeldClaim, Hint, ShardCursor
from timer_trio.storage.memory import MemoryStorage
from timer_trio.testing.receiver import read_head
from timer_trio.transport import Answer, Permit, Request, TransportError, WithheldError


class Asked(NamedTuple):
    """A claim that the database got."""

    at_s: float
    claim: Claim
    timer_ids: Collection[TimerId]
    skip_locked: bool


class Read(NamedTuple):
    """A page that the database was asked for; `reach_s`: up to how far ahead."""

    at_s: float
    shards: AbstractSet[int]
    reach_s: float


class Told(NamedTuple):
    """A hint that the database has taken."""

    timers: Sequence[DueTimer]
    shards: AbstractSet[int]


class Database(MemoryStorage):
    """Storage in memory that notes what it is asked for, and fails or delays it when told to.

    A call of a verb raises the next of its `errors` and has not happened; or it has, and its reply
    is among the `lost_replies`. `unreadable` rows are claimed like others, and make no timer; what
    claims or frees `failing` ones fails, and so does a page of one of the `damaged` shards.
    """

    def __init__(self) -> None:
        super().__init__(self.tell)
        self.is_away = False
        self.errors: defaultdict[str, list[Exception]] = defaultdict(list)
        self.lost_replies: Counter[str] = Counter()
        self.delay_s: defaultdict[str, float] = defaultdict(float)
        self.unreadable: dict[TimerId, str] = {}
        self.failing: set[TimerId] = set()
        self.damaged: set[int] = set()
        self.under_way: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        self.tries: Counter[str] = Counter()
        self.asked: list[Asked] = []
        self.read: list[Read] = []
        self.told: list[Told] = []

    def tell(self) -> datetime:
        return NOW + timedelta(seconds=trio.current_time())

    async def load(
        self,
        cursors: Sequence[ShardCursor],
        until: datetime,
        per_shard: int,
        cut_off: Mapping[BacklogKey, datetime],
    ) -> Sequence[DueTimer]:
        shards = {cursor.shard for cursor in cursors}
        reach_s = (until - self.tell()).total_seconds()
        self.read.append(Read(trio.current_time(), shards, round(reach_s, 1)))
        async with self._call("load"):
            if self.damaged & shards:
                raise RowsFailedError("invalid page")
            return await super().load(cursors, until, per_shard, cut_off)

    async def claim(
        self,
        replica: ReplicaId,
        claim: Claim,
        timer_ids: Collection[TimerId],
        until: datetime,
        now: datetime,
        *,
        terms: Terms | None = None,
        skip_locked: bool = False,
    ) -> ClaimReply:
        self.asked.append(Asked(trio.current_time(), claim, timer_ids, skip_locked))
        async with self._call("claim"):
            if self.failing.intersection(timer_ids):
                raise RowsFailedError("a trigger objects")
            reply = await super().claim(
                replica, claim, timer_ids, until, now, terms=terms, skip_locked=skip_locked
            )
        return ClaimReply(
            claimed=[timer for timer in reply.claimed if timer.id not in self.unreadable],
            moved=reply.moved,
            unreadable={
                timer.id: self.unreadable[timer.id]
                for timer in reply.claimed
                if timer.id in self.unreadable
            },
            locked=reply.locked,
            foreign=reply.foreign,
        )

    async def signing_secrets(
        self, projects: Collection[ProjectId], now: datetime
    ) -> Sequence[SigningSecret]:
        async with self._call("signing_secrets"):
            return await super().signing_secrets(projects, now)

    async def settle(
        self, settlements: Sequence[Settlement], now: datetime, *, skip_locked: bool = False
    ) -> Sequence[bool | None]:
        async with self._call("settle"):
            return await super().settle(settlements, now, skip_locked=skip_locked)

    async def held_claims(
        self, replica: ReplicaId, behind: TimerId | None, limit: int
    ) -> Sequence[HeldClaim]:
        async with self._call("held_claims"):
            return await super().held_claims(replica, behind, limit)

    async def free(
        self, replica: ReplicaId, held: Collection[HeldClaim], now: datetime
    ) -> Sequence[DueTimer]:
        async with self._call("free"):
            if self.failing.intersection(one.timer_id for one in held):
                raise RowsFailedError("a trigger objects")
            return await super().free(replica, held, now)

    async def hint(
        self, timers: Sequence[DueTimer], shards: AbstractSet[int] = frozenset()
    ) -> None:
        async with self._call("hint"):
            await super().hint(timers, shards)
            self.told.append(Told(tuple(timers), frozenset(shards)))

    async def listen(
        self, on_listening: Callable[[], None], on_hint: Callable[[Hint], None]
    ) -> NoReturn:
        async with self._call("listen"):
            await super().listen(on_listening, on_hint)

    @asynccontextmanager
    async def _call(self, verb: str) -> AsyncIterator[None]:
        self.tries[verb] += 1
        if self.is_away:
            raise StorageUnavailableError("away")
        if self.errors[verb]:
            raise self.errors[verb].pop(0)
        with self._counted(verb):
            await trio.sleep(self.delay_s[verb])
            yield
        if self.lost_replies[verb]:
            self.lost_replies[verb] -= 1
            raise StorageUnavailableError("the reply was lost")

    @contextmanager
    def _counted(self, verb: str) -> Iterator[None]:
        self.under_way[verb] += 1
        self.most_at_once[verb] = max(self.most_at_once[verb], self.under_way[verb])
        try:
            yield
        finally:
            self.under_way[verb] -= 1


class Sent(NamedTuple):
    """A request that went out; `late_s`: so long after its instant, by the database's clock."""

    timer_id: TimerId
    late_s: float


class Receivers:
    """A transport to receivers that answer alike, or each timer as `replies` says.

    It takes `connect_s` to connect, to both addresses of a name, unless it is `unable` to, and then
    `answer_s` to an answer. A connection that `opens_regardless` is there although nobody wants it
    any more, and so is an answer that `comes_regardless`.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.connect_s = 0.0
        self.answer_s = 0.01
        self.opens_regardless = False
        self.comes_regardless = False
        self.unable: TransportError | None = None
        self.reply: int | Answer | Exception = 200
        self.replies: dict[TimerId, int | Answer | Exception] = {}
        self.sent: list[Sent] = []

    def begin(self, _request: Request, _permit: Permit) -> None:
        """Have no connection ready."""

    async def send(self, request: Request, permit: Permit) -> Answer:
        if self.connect_s:
            await self._connect()
        if self.unable is not None:
            raise self.unable
        if not permit.may_send():
            raise WithheldError("no permit")
        _, _, headers = read_head(request)
        timer_id = TimerId(UUID(headers["x-timer-id"]))
        late = self._now() - datetime.fromisoformat(headers["x-timer-scheduled-at"])
        self.sent.append(Sent(timer_id, late.total_seconds()))
        with trio.CancelScope(shield=self.comes_regardless):
            await trio.sleep(self.answer_s)
        reply = self.replies.get(timer_id, self.reply)
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, Answer) else Answer(reply, (), b"")

    async def _connect(self) -> None:
        async with trio.open_nursery() as attempts:
            attempts.cancel_scope.shield = self.opens_regardless
            for _ in range(2):
                attempts.start_soon(trio.sleep, self.connect_s)

    @property
    def called(self) -> list[TimerId]:
        return [sent.timer_id for sent in self.sent]
