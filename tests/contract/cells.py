"""Two cells with the stages' verbs beside the API's, as one storage that the suite can try.

In the service each stage asks the storage of its own cell; here they ask both, or the one of an id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from typing import Final, NoReturn, TypeVar

from timer_trio.domain.bulk import BulkPage, BulkReply
from timer_trio.domain.cells import Cell, CellMap, CellNumber, KeptMap
from timer_trio.domain.destination import DestinationReport
from timer_trio.domain.flow import FlowId, Terms
from timer_trio.domain.flows import FlowNow, FlowReadings
from timer_trio.domain.keys import HeldName, NameHolder
from timer_trio.domain.membership import Identity, ReplicaRecord, ReplicaStats
from timer_trio.domain.pace import BacklogKey
from timer_trio.domain.probes import ProbeEnd, ProbeVerdict, ProbeWish
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.query import Position, TimerFilter
from timer_trio.domain.rules import RuleChanges
from timer_trio.domain.schedule import (
    Plan,
    Schedule,
    ScheduleId,
    ScheduleQuery,
    UnreadableSchedule,
)
from timer_trio.domain.settlement import Settlement
from timer_trio.domain.timer import (
    Claim,
    DueTimer,
    Lane,
    NewTimer,
    ReplicaId,
    TimerId,
    shard_of,
)
from timer_trio.storage import (
    Beat,
    ClaimReply,
    HeldClaim,
    Hint,
    Looked,
    Marked,
    OccurrenceClaimReply,
    Pruned,
    Rotated,
    ShardCursor,
    Storage,
    Swept,
)
from timer_trio.storage.protocols import PrunePosition
from timer_trio.storage.routed import RoutedStorage
from timer_trio.storage.routed.bulk import CellPosition

T = TypeVar("T")
HALVES: Final = CellMap([Cell(0, 127), Cell(128, 255)])
ONE, TWO = CellNumber(0), CellNumber(1)


def routed(storages: Sequence[Storage]) -> RoutedStorage:
    return RoutedStorage(HALVES, storages, lambda _: True)


class CellsOfSuite(RoutedStorage):
    """All verbs of a Storage.

    The suite writes whatever it likes into one shard: so a name is looked for in both cells, and
    each may use a quota up.
    """

    def __init__(self, storages: Sequence[Storage]) -> None:
        super().__init__(HALVES, storages, lambda _: True)

    @property
    def storages(self) -> Sequence[Storage]:
        return self._storages

    def _part(self, limit: int | None, cell: CellNumber) -> int | None:
        del cell
        return limit

    def _refuse_elsewhere(self, timers: Sequence[NewTimer]) -> None:
        self._cell_of(timers)

    def _refuse_name_elsewhere(self, schedule: Schedule) -> None:
        """Nobody looks for it elsewhere."""

    async def name_holder(
        self, key: str, project: ProjectId = DEFAULT_PROJECT
    ) -> NameHolder | None:
        found = await self._ask_all(lambda storage: storage.name_holder(key, project))
        return next(filter(None, found), None)

    async def held_names(
        self, keys: Collection[str], project: ProjectId = DEFAULT_PROJECT
    ) -> Mapping[str, HeldName]:
        found = await self._ask_all(lambda storage: storage.held_names(keys, project))
        return {key: name for each in found for key, name in each.items()}

    async def schedule_named(
        self, name: str, project: ProjectId = DEFAULT_PROJECT
    ) -> ScheduleId | None:
        found = await self._ask_all(lambda storage: storage.schedule_named(name, project))
        return next(filter(None, found), None)

    def _cells_with(self, wanted: TimerFilter) -> Sequence[CellNumber]:
        del wanted
        return self._all

    def _cells_of(self, query: ScheduleQuery) -> Sequence[CellNumber]:
        del query
        return self._all

    async def bulk(self, page: BulkPage, now: datetime) -> BulkReply:
        """Go on to the next cell where there is room: the suite knows how many a page takes."""
        reply = await super().bulk(page, now)
        if not isinstance(reply.next, CellPosition):
            return reply
        if reply.next.cell == ONE:
            return replace(reply, next=Position(reply.next.instant, reply.next.id))
        if reply.matched == page.size or isinstance(page.after, CellPosition):
            return reply
        left = page.size - reply.matched
        rest = await super().bulk(replace(page, after=reply.next, size=left), now)
        return BulkReply(
            matched=reply.matched + rest.matched,
            done=reply.done + rest.done,
            next=rest.next,
            due=(*reply.due, *rest.due),
        )

    async def create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        for storage, own in self._apart(timers, lambda timer: shard_of(timer.id)):
            await storage.create(own, now)

    def _cell_of_flow(self, flow: FlowId) -> CellNumber:
        del flow
        return ONE

    def _apart(
        self, things: Iterable[T], shard: Callable[[T], int]
    ) -> list[tuple[Storage, list[T]]]:
        """Divide things among the cells; without any it is the first that is asked."""
        found: dict[CellNumber, list[T]] = defaultdict(list)
        for thing in things:
            found[self._cells.of_shard(shard(thing))].append(thing)
        return [(self._storages[cell], own) for cell, own in (found or {ONE: []}).items()]

    async def load(
        self,
        cursors: Sequence[ShardCursor],
        until: datetime,
        per_shard: int,
        cut_off: Mapping[BacklogKey, datetime],
    ) -> Sequence[DueTimer]:
        return [
            timer
            for storage, own in self._apart(cursors, lambda cursor: cursor.shard)
            for timer in await storage.load(own, until, per_shard, cut_off)
        ]

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
        return _joined(
            [
                await storage.claim(
                    replica, claim, own, until, now, terms=terms, skip_locked=skip_locked
                )
                for storage, own in self._apart(timer_ids, shard_of)
            ]
        )

    async def claim_occurrences(
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
        return _joined(
            [
                await storage.claim_occurrences(
                    replica, claim, own, until, now, terms=terms, skip_locked=skip_locked
                )
                for storage, own in self._apart(timer_ids, shard_of)
            ]
        )

    async def claim_exclusive(
        self,
        replica: ReplicaId,
        claim: Claim,
        timer_ids: Collection[TimerId],
        until: datetime,
        now: datetime,
        *,
        terms: Terms | None = None,
        skip_locked: bool = False,
    ) -> OccurrenceClaimReply:
        replies = [
            await storage.claim_exclusive(
                replica, claim, own, until, now, terms=terms, skip_locked=skip_locked
            )
            for storage, own in self._apart(timer_ids, shard_of)
        ]
        joined = _joined(replies)
        return OccurrenceClaimReply(
            claimed=joined.claimed,
            moved=joined.moved,
            unreadable=joined.unreadable,
            locked=joined.locked,
            foreign=joined.foreign,
            skipped=[timer_id for reply in replies for timer_id in reply.skipped],
        )

    async def look_again(self, replica: ReplicaId, claims: Mapping[TimerId, Claim]) -> Looked:
        found = [
            await storage.look_again(replica, {timer_id: claims[timer_id] for timer_id in own})
            for storage, own in self._apart(claims, shard_of)
        ]
        return Looked(
            free=[timer for each in found for timer in each.free],
            held=[timer_id for each in found for timer_id in each.held],
            locked=[timer_id for each in found for timer_id in each.locked],
        )

    async def held_claims(
        self, replica: ReplicaId, behind: TimerId | None, limit: int
    ) -> Sequence[HeldClaim]:
        found = await self._ask_all(lambda storage: storage.held_claims(replica, behind, limit))
        return sorted(held for each in found for held in each)[:limit]

    async def free(
        self, replica: ReplicaId, held: Collection[HeldClaim], now: datetime
    ) -> Sequence[DueTimer]:
        return [
            timer
            for storage, own in self._apart(held, lambda one: shard_of(one.timer_id))
            for timer in await storage.free(replica, own, now)
        ]

    async def settle(
        self, settlements: Sequence[Settlement], now: datetime, *, skip_locked: bool = False
    ) -> Sequence[bool | None]:
        answers: dict[tuple[TimerId, Claim], bool | None] = {}
        for storage, own in self._apart(settlements, lambda one: shard_of(one.timer_id)):
            found = await storage.settle(own, now, skip_locked=skip_locked)
            answers |= {
                (one.timer_id, one.claim): answer for one, answer in zip(own, found, strict=True)
            }
        return [answers[one.timer_id, one.claim] for one in settlements]

    async def take_terms(self, replica: ReplicaId, shards: Collection[int]) -> Terms:
        return {
            shard: number
            for storage, own in self._apart(shards, lambda shard: shard)
            for shard, number in (await storage.take_terms(replica, own)).items()
        }

    async def flow_readings(self, flows: Collection[FlowId], now: datetime) -> FlowReadings:
        return await self._storages[ONE].flow_readings(flows, now)

    async def flows_now(self, flows: Collection[FlowId]) -> Mapping[FlowId, FlowNow]:
        found = await self._ask_all(lambda storage: storage.flows_now(flows))
        return {flow: _now_of([each[flow] for each in found]) for flow in flows}

    async def ask_probes(
        self, replica: ReplicaId, wishes: Sequence[ProbeWish], now: datetime
    ) -> Mapping[Lane, ProbeVerdict]:
        return await self._storages[ONE].ask_probes(replica, wishes, now)

    async def end_probes(self, replica: ReplicaId, ends: Sequence[ProbeEnd], now: datetime) -> None:
        await self._storages[ONE].end_probes(replica, ends, now)

    async def join(
        self,
        replica: ReplicaId,
        now: datetime,
        identity: Identity = Identity(),  # noqa: B008 - frozen
    ) -> None:
        await self._ask_all(lambda storage: storage.join(replica, now, identity))

    async def beat(
        self,
        replica: ReplicaId,
        stats: ReplicaStats = ReplicaStats(),  # noqa: B008 - frozen
    ) -> Beat:
        beats = await self._ask_all(lambda storage: storage.beat(replica, stats))
        return beats[0]

    async def leave(self, replica: ReplicaId) -> None:
        await self._ask_all(lambda storage: storage.leave(replica))

    async def sweep(
        self, replica: ReplicaId | None, counter: int | None, now: datetime
    ) -> Swept | None:
        found = await self._ask_all(lambda storage: storage.sweep(replica, counter, now))
        swept = [each for each in found if each is not None]
        if not swept:
            return None
        return Swept(freed=sum(each.freed for each in swept), left=sum(each.left for each in swept))

    async def replicas(self) -> Sequence[ReplicaRecord]:
        """Read those of one: they have joined both."""
        return await self._storages[ONE].replicas()

    async def next_plan_at(self, shards: Collection[int]) -> datetime | None:
        found = await self._ask_all(lambda storage: storage.next_plan_at(shards))
        return min(filter(None, found), default=None)

    async def due_schedules(
        self, shards: Collection[int], until: datetime, limit: int
    ) -> Sequence[Schedule | UnreadableSchedule]:
        found = await self._ask_all(lambda storage: storage.due_schedules(shards, until, limit))
        return [schedule for each in found for schedule in each][:limit]

    async def outdated_schedules(
        self, shards: Collection[int], zone_data: str, limit: int
    ) -> Sequence[Schedule | UnreadableSchedule]:
        found = await self._ask_all(
            lambda storage: storage.outdated_schedules(shards, zone_data, limit)
        )
        return [schedule for each in found for schedule in each][:limit]

    async def plan(self, plans: Sequence[Plan], now: datetime) -> Sequence[bool]:
        answers: dict[ScheduleId, bool] = {}
        for storage, own in self._apart(plans, lambda one: shard_of(TimerId(one.schedule.id))):
            found = await storage.plan(own, now)
            answers |= {one.schedule.id: answer for one, answer in zip(own, found, strict=True)}
        return [answers[one.schedule.id] for one in plans]

    async def break_schedule(
        self, schedule_id: ScheduleId, version: int, reason: str, now: datetime
    ) -> bool:
        cell = self._cell_of_schedule(schedule_id)
        return await self._storages[cell].break_schedule(schedule_id, version, reason, now)

    async def count_schedules(self) -> Mapping[str, int]:
        found = await self._ask_all(lambda storage: storage.count_schedules())
        return {name: sum(each[name] for each in found) for name in found[0]}

    async def rules_since(self, version: int) -> RuleChanges:
        return await self._storages[ONE].rules_since(version)

    async def unmarked_projects(self) -> Sequence[ProjectId]:
        return await self._storages[ONE].unmarked_projects()

    async def mark_counted(self, project: ProjectId, after: Position | None, limit: int) -> Marked:
        return await self._storages[ONE].mark_counted(project, after, limit)

    async def prune(self, cutoff: datetime, after: PrunePosition | None, limit: int) -> Pruned:
        return await self._storages[ONE].prune(cutoff, after, limit)

    async def prune_audit(self, cutoff: datetime, limit: int) -> int:
        return await self._count(limit, lambda own, left: own.prune_audit(cutoff, left))

    async def prune_attempts(self, cutoff: datetime, limit: int) -> int:
        return await self._count(limit, lambda own, left: own.prune_attempts(cutoff, left))

    async def prune_keys(self, now: datetime, limit: int) -> int:
        return await self._count(limit, lambda own, left: own.prune_keys(now, left))

    async def prune_schedules(self, cutoff: datetime, limit: int) -> int:
        return await self._count(limit, lambda own, left: own.prune_schedules(cutoff, left))

    async def prune_rules(self, now: datetime, limit: int) -> int:
        return max(await self._ask_all(lambda storage: storage.prune_rules(now, limit)))

    async def prune_destinations(self, cutoff: datetime, limit: int) -> int:
        return await self._count(limit, lambda own, left: own.prune_destinations(cutoff, left))

    async def prune_probes(self, cutoff: datetime, limit: int) -> int:
        return await self._count(limit, lambda own, left: own.prune_probes(cutoff, left))

    async def _count(self, limit: int, prune: Callable[[Storage, int], Awaitable[int]]) -> int:
        count = 0
        for storage in self._storages:
            count += await prune(storage, limit - count) if count < limit else 0
        return count

    async def rotate_attempts(self, now: datetime, cutoff: datetime) -> Rotated:
        found = await self._ask_all(lambda storage: storage.rotate_attempts(now, cutoff))
        return found[0]

    async def note_destinations(self, report: DestinationReport) -> None:
        await self._storages[ONE].note_destinations(report)

    async def hint(
        self, timers: Sequence[DueTimer], shards: AbstractSet[int] = frozenset()
    ) -> None:
        await self._storages[ONE].hint(timers, shards)

    async def listen(
        self, on_listening: Callable[[], None], on_hint: Callable[[Hint], None]
    ) -> NoReturn:
        await self._storages[ONE].listen(on_listening, on_hint)

    async def keep_map(self, told: KeptMap) -> None:
        await self._ask_all(lambda storage: storage.keep_map(told))

    async def kept_map(self) -> KeptMap | None:
        return await self._ask(ONE, lambda storage: storage.kept_map())


def _now_of(found: Sequence[FlowNow]) -> FlowNow:
    firsts = [each.first for each in found if each.first is not None]
    executing = [each.executing for each in found]
    return FlowNow(frozenset[TimerId]().union(*executing), min(firsts, default=None))


def _joined(replies: Sequence[ClaimReply]) -> ClaimReply:
    return ClaimReply(
        claimed=[timer for reply in replies for timer in reply.claimed],
        moved=[timer for reply in replies for timer in reply.moved],
        unreadable={key: why for reply in replies for key, why in reply.unreadable.items()},
        locked=[timer_id for reply in replies for timer_id in reply.locked],
        foreign=[timer_id for reply in replies for timer_id in reply.foreign],
    )
