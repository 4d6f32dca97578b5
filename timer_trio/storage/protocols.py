"""What each consumer asks of a storage: the few domain verbs that PostgreSQL and memory both speak.

Every verb is one transaction. `now` is always the caller's reading of the database's clock, so one
clock decides what is due. Every verb may raise StorageUnavailableError, after which it may or may
not have happened, and ContentionError, after which it has not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, NoReturn, Protocol

from timer_trio.domain.api_key import ApiKey, KeyId, KnownKey
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.audit import AuditEntry, AuditPage, AuditQuery
from timer_trio.domain.bulk import BulkPage, BulkReply
from timer_trio.domain.cells import KeptMap
from timer_trio.domain.destination import DestinationPage, DestinationQuery, DestinationReport
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.flow import FlowId, Terms
from timer_trio.domain.flows import FlowNow, FlowReadings
from timer_trio.domain.keys import FirstAnswer, HeldName, KeyedCreate, NameHolder
from timer_trio.domain.membership import Identity, ReplicaRecord, ReplicaStats
from timer_trio.domain.pace import BacklogKey
from timer_trio.domain.probes import ProbeEnd, ProbeVerdict, ProbeWish
from timer_trio.domain.project import (
    DEFAULT_PROJECT,
    NO_SETTINGS,
    Live,
    Project,
    ProjectId,
    ProjectSettings,
    SettingsChange,
)
from timer_trio.domain.query import Position, TimerPage, TimerQuery
from timer_trio.domain.rules import (
    DestinationPause,
    Flow,
    FlowChange,
    FlowPage,
    FlowQuery,
    FlowState,
    Pause,
    RuleChanges,
)
from timer_trio.domain.sample import Sample, Span
from timer_trio.domain.schedule import (
    Changed,
    NewOccurrence,
    Plan,
    Schedule,
    ScheduleChange,
    ScheduleFacts,
    ScheduleId,
    SchedulePage,
    ScheduleQuery,
    Standing,
    UnreadableSchedule,
)
from timer_trio.domain.settlement import Settlement
from timer_trio.domain.signing import SigningSecret
from timer_trio.domain.timer import (
    Claim,
    ClaimedTimer,
    Destination,
    DueTimer,
    Lane,
    NewTimer,
    ReplicaId,
    SpecChange,
    Timer,
    TimerId,
    TimerSummary,
)


class ShardCursor(NamedTuple):
    """Up to where a shard has been read: the next page holds what is due behind it."""

    shard: int
    due_at: datetime
    id: TimerId


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimReply:
    """What became of the timers that a claim asked for.

    `moved` ones are due after `until` now, and are named with their new time. `unreadable` ones
    were claimed, but their rows make no timer: the words say why. `locked` ones wait for somebody's
    transaction, of which nobody knows how it ends: `look_again` tells. A timer in none of the four
    has ended or is held by somebody else.

    Of those in flows, `foreign` ones were not claimed because the term of their shard is another
    replica's. They are among the moved ones, due as they were; and so is what is in a flow and was
    asked for as if it were in none.
    """

    claimed: Sequence[ClaimedTimer] = ()
    moved: Sequence[DueTimer] = ()
    unreadable: Mapping[TimerId, str] = field(default_factory=dict)
    locked: Collection[TimerId] = ()
    foreign: Collection[TimerId] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What became of timers whose rows were locked.

    `free` ones are due and nobody holds them; `held` ones are held under the very claim that asked
    for them; `locked` ones are locked still. A timer in none of the three has ended or is held by
    somebody else.
    """

    free: Sequence[DueTimer]
    held: Collection[TimerId]
    locked: Collection[TimerId]


class HeldClaim(NamedTuple):
    """A timer that some replica holds, and the claim under which it does."""

    timer_id: TimerId
    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """How many claims a sweep freed, and how many it had to leave because their rows are locked."""

    freed: int
    left: int = 0


class PrunePosition(NamedTuple):
    """Up to where timers have been looked at: behind it in this project, and in those after it."""

    project: ProjectId
    behind: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How many timers a page of a prune deleted, and where the next page begins; None: no more."""

    count: int
    next: PrunePosition | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What one heartbeat read.

    `now` is the database's clock at the reading, `counters` has the beats of all replicas, the
    own one included unless it is gone; `leaving` names those of them that own no shard any more.
    `default_settings` are those of the default project; None: they cannot be read.
    `rules_version` has risen if `rules_since` has something to tell.
    """

    now: datetime
    counters: Mapping[ReplicaId, int]
    leaving: AbstractSet[ReplicaId] = frozenset()
    default_settings: ProjectSettings | None = NO_SETTINGS
    rules_version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What is due soon and the listener may not know of: these timers, and all in these shards."""

    timers: Sequence[DueTimer] = ()
    shards: AbstractSet[int] = frozenset()


class HintsLostError(StorageUnavailableError):
    """What is hinted does not arrive: the database is there, and something in between."""


class TimerStorage(Protocol):
    """What consumers of the service create, read and change.

    Here and below: what is not in the `project` that is named is not there. Timers that are
    counted (`max_live`) are written in calls of their own, a project at a time, which may raise
    QuotaUsedUpError: its project has not room for all of them, and nothing was written.
    """

    async def create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        """Write new timers, all or none; one that is there already under its id stays as it is.

        Raises:
            RowRefusedError: the database refuses one of them.
        """

    async def create_many(self, timers: Sequence[NewTimer], now: datetime) -> None:
        """Write many new timers that stay together, all or none; no `create` or claim waits for it.

        The same call again changes nothing: they are all there if the first of them is.

        Raises:
            RowRefusedError: the database refuses one of them; nothing was written.
        """

    async def get(self, timer_id: TimerId, project: ProjectId = DEFAULT_PROJECT) -> Timer:
        """Read one timer.

        Raises:
            TimerNotFoundError: there is none.
        """

    async def list(self, query: TimerQuery) -> TimerPage:
        """Read a page of summaries.

        Raises:
            RowRefusedError: the database refuses a value to be looked for.
        """

    async def update(
        self,
        timer_id: TimerId,
        change: SpecChange,
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> TimerSummary:
        """Change a pending timer; its lateness counts anew.

        Raises:
            TimerNotFoundError: there is none.
            NotPendingError: its status forbids it.
            IsResultError: it is a result, and the change asks for results.
            RowRefusedError: the database refuses a value.
        """

    async def cancel(
        self, timer_id: TimerId, now: datetime, project: ProjectId = DEFAULT_PROJECT
    ) -> TimerSummary:
        """Cancel a pending timer; a canceled one stays so, with the same answer.

        Raises:
            TimerNotFoundError: there is none.
            NotPendingError: its status forbids it.
        """


class SampleStorage(Protocol):
    """What people are told of many timers."""

    async def samples(
        self, spans: Sequence[Span], project: ProjectId = DEFAULT_PROJECT
    ) -> Sequence[Sample]:
        """Look at the latest timers of each span: no more rows are read than the spans allow."""


class RedriveStorage(Protocol):
    """What makes ended timers live again."""

    async def redrive(
        self,
        timer_id: TimerId,
        due_at: datetime,
        now: datetime,
        holder: TimerId | None = None,
        project: ProjectId = DEFAULT_PROJECT,
        *,
        max_live: int | None = None,
    ) -> TimerSummary | None:
        """Make an ended timer pending, due at `due_at`, with a fresh budget of attempts.

        Their numbers go on; a late copy of its last claim or settlement changes nothing. One that
        has a name takes it from `holder`, which its name stands for as far as is known (None:
        nothing); the answer is None if another one has it now, or `holder` lives.

        Raises:
            TimerNotFoundError: there is none.
            NotEndedError: its status forbids it.
            QuotaUsedUpError: its project has `max_live` live timers; nothing was changed.
        """


class BulkStorage(Protocol):
    """What is done to many timers."""

    async def bulk(self, page: BulkPage, now: datetime) -> BulkReply:
        """Do what a bulk action asks for to the next timers that match, as of `now`.

        Waits for nobody: a row that somebody holds is left out. What it cancels never fires.
        Deleted timers are deleted with what is kept of their attempts.

        Raises:
            RowRefusedError: the database refuses a value to be looked for.
            QuotaUsedUpError: the project has not room for all that is redriven; nothing was done.
        """


class AttemptHistory(Protocol):
    """What people are told of a timer's attempts."""

    async def attempts(
        self, timer_id: TimerId, project: ProjectId = DEFAULT_PROJECT
    ) -> Sequence[AttemptRecord]:
        """Read what is kept of a timer's attempts, the newest first.

        A first attempt that was delivered is told by the timer's own row alone, unless its answer
        is kept.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """How many days of attempts were made and dropped, and why the rest was not."""

    made: int
    dropped: int
    put_off: str | None


class AttemptStorage(AttemptHistory, Protocol):
    """What becomes of attempts, too."""

    async def rotate_attempts(self, now: datetime, cutoff: datetime) -> Rotated:
        """Make room for the attempts of the next days, and drop days that end before `cutoff`.

        Nobody waits for it: what cannot be done now is put off.
        """

    async def prune_attempts(self, cutoff: datetime, limit: int) -> int:
        """Delete up to `limit` attempts that ended before `cutoff` and that no rotation drops."""


class KeyStorage(Protocol):
    """What consumers create under keys of their own."""

    async def create_keyed(
        self, creates: Sequence[KeyedCreate], now: datetime
    ) -> Sequence[FirstAnswer]:
        """Write new timers under idempotency keys, each of which comes once in a project.

        Answers what each key stands for now: where somebody else had it, and it has not expired,
        nothing of that create is written. A key stands for its timers as soon as they are there,
        and the same call again has the same answer. No claim waits for a create of many timers.

        Raises:
            RowRefusedError: the database refuses a value of one of them; nothing was written.
            ContentionError: as ever, but some may have been written: they are theirs who ask again.
        """

    async def first_answer(
        self, key: str, now: datetime, project: ProjectId = DEFAULT_PROJECT
    ) -> FirstAnswer | None:
        """Read what an idempotency key stands for; None: nothing, or it has expired."""

    async def name_holder(
        self, key: str, project: ProjectId = DEFAULT_PROJECT
    ) -> NameHolder | None:
        """Read which timer a name stands for, without waiting for whoever changes it."""

    async def held_names(
        self, keys: Collection[str], project: ProjectId = DEFAULT_PROJECT
    ) -> Mapping[str, HeldName]:
        """Read what many names stand for, as `name_holder`; what stands for nothing is left out."""

    async def create_named(
        self, timers: Sequence[NewTimer], before: Mapping[str, TimerId], now: datetime
    ) -> bool:
        """Write new timers, all or none: those that have a name under it, each name once.

        They are of one project, and one at least has a name. A name must stand for the timer in
        `before`, which has ended, or for nothing. Answers whether they are there; otherwise a name
        stands for another one by now, or that one lives, and nothing was written. The same call
        again has the same answer. A live timer keeps its name. No claim waits for a create of many.

        Raises:
            RowRefusedError: the database refuses a value of one of them; nothing was written.
        """


class WorkStorage(Protocol):
    """What the stages do with timers, from the table to the receiver and back."""

    async def load(
        self,
        cursors: Sequence[ShardCursor],
        until: datetime,
        per_shard: int,
        cut_off: Mapping[BacklogKey, datetime],
    ) -> Sequence[DueTimer]:
        """Read what nobody holds and is due up to `until`, behind the cursor of each shard.

        Ordered by due time and id within a shard, at most `per_shard` of each. Of a destination or
        a flow that is cut off, what is due at that instant or later is left out.
        """

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
        """Claim what is due up to `until` and nobody holds, or what this very claim holds already.

        With `terms` all of them are in flows, and are claimed where that term of their shard is the
        replica's still; otherwise none of them is, and what is in one all the same is not claimed.
        The same call again has the same answer. A locked row is waited for a moment, and then
        nothing is claimed; with `skip_locked` what is free is claimed at once, and the rest named.

        Raises:
            ReplicaGoneError: the replica's row is gone; nothing was claimed.
            ContentionError: somebody locks one of the rows; nothing was claimed.
            RowRefusedError: the database refuses one of them; nothing was claimed.
        """

    async def look_again(self, replica: ReplicaId, claims: Mapping[TimerId, Claim]) -> Looked:
        """Look at timers that `replica` found locked under these claims.

        Waits for none of them, and claims none.
        """

    async def held_claims(
        self, replica: ReplicaId, behind: TimerId | None, limit: int
    ) -> Sequence[HeldClaim]:
        """Read the next page of what a replica holds, and under which claims: in the order of ids.

        It begins behind a timer that was read; None: with the first.
        """

    async def free(
        self, replica: ReplicaId, held: Collection[HeldClaim], now: datetime
    ) -> Sequence[DueTimer]:
        """Free what a replica still holds under these very claims, as a sweep frees it.

        Answers what was freed, with its due time. Waits for nobody: what somebody locks is left.
        """

    async def settle(
        self, settlements: Sequence[Settlement], now: datetime, *, skip_locked: bool = False
    ) -> Sequence[bool | None]:
        """Write what became of claimed timers, each guarded by its claim.

        Answers for each whether its claim still stood (or the row had ended under it already);
        where somebody has claimed the timer again, nothing changes. A locked row is waited for a
        moment, and then nothing is written; with `skip_locked` the others are written at once, and
        the answer for a locked one is None: ask again.

        Raises:
            RowRefusedError: the database refuses one of them; nothing was written.
            ContentionError: somebody locks one of the rows; nothing was written.
        """


class FlowStorage(Protocol):
    """What a replica asks for before it claims timers that are in flows."""

    async def take_terms(self, replica: ReplicaId, shards: Collection[int]) -> Terms:
        """Have nobody but `replica` claim of flows in these shards, until they are taken again.

        Returns the numbers of the terms, once what was being claimed in earlier ones has been, or
        will not be.

        Raises:
            ReplicaGoneError: the replica's row is gone; it has taken nothing.
            ContentionError: a claim is under way; nothing was taken.
        """

    async def flow_readings(self, flows: Collection[FlowId], now: datetime) -> FlowReadings:
        """Read the rules of flows, and of those that have limits what is, and was lately, sent.

        `now` is the end of the window of a rate.
        """

    async def flows_now(self, flows: Collection[FlowId]) -> Mapping[FlowId, FlowNow]:
        """Read what replicas hold of each of these flows, and what is due first of the rest."""


class ProbeStorage(Protocol):
    """Who probes a destination whose breaker is half open: one replica at a time."""

    async def ask_probes(
        self, replica: ReplicaId, wishes: Sequence[ProbeWish], now: datetime
    ) -> Mapping[Lane, ProbeVerdict]:
        """Grant the right to probe each of these lanes, or tell why not.

        It is granted where nobody has it whose row is there. Asked again, by the same replica, it
        is granted anew. A replica without a row is granted none.

        Raises:
            ContentionError: somebody locks one of the rows; nothing was granted.
        """

    async def end_probes(self, replica: ReplicaId, ends: Sequence[ProbeEnd], now: datetime) -> None:
        """Tell how probes have ended; of a right that is another one's by now, nothing.

        The same call again changes nothing.

        Raises:
            ContentionError: somebody locks one of the rows; nothing was written.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class OccurrenceClaimReply(ClaimReply):
    """What became of the occurrences that a claim asked for.

    `skipped` ones have ended as canceled, each for the reason that its row tells: they were not to
    be fired while an earlier one is under way.
    """

    skipped: Collection[TimerId] = ()


class OccurrenceStorage(Protocol):
    """What the stages ask for occurrences beside what they ask for all timers."""

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
        """Claim occurrences as `claim` does; each claimed one tells what it is an occurrence of.

        Raises:
            ReplicaGoneError, ContentionError, RowRefusedError: as `claim`.
        """

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
        """Claim occurrences that are skipped while an earlier one is executing or retrying.

        Of each schedule at most one is claimed; others of it that are due are answered as moved,
        and so are those that are due later. Before its first attempt one is skipped that is
        superseded, or finds another one under way. Nobody claims of the same schedules meanwhile.

        Raises:
            ReplicaGoneError, ContentionError, RowRefusedError: as `claim`; a schedule that somebody
                locks is as a timer that somebody locks.
        """


class ReplicaRoster(Protocol):
    """Which replicas there are."""

    async def replicas(self) -> Sequence[ReplicaRecord]:
        """Read the rows of all replicas, in the order in which they started."""


class ReplicaStorage(ReplicaRoster, Protocol):
    """What replicas write of themselves, and of each other."""

    async def join(
        self,
        replica: ReplicaId,
        now: datetime,
        identity: Identity = Identity(),  # noqa: B008 - frozen
    ) -> None:
        """Write this replica's row; one that is there already stays as it is."""

    async def beat(
        self,
        replica: ReplicaId,
        stats: ReplicaStats = ReplicaStats(),  # noqa: B008 - frozen
    ) -> Beat:
        """Raise this replica's counter, and read everybody's and the clock."""

    async def leave(self, replica: ReplicaId) -> None:
        """Mark this replica as one that owns no shard any more; it goes on beating."""

    async def sweep(
        self, replica: ReplicaId | None, counter: int | None, now: datetime
    ) -> Swept | None:
        """Free the claims of a replica, and those that outlived theirs, and delete its row.

        The freed timers stay executing, due at `now`. With a `counter`, only if the row still
        carries it, else the answer is None; a replica that ends sweeps itself without one. Without
        a replica it frees nothing but claims that outlived theirs: those whose rows were locked.
        """


class ScheduleBook(Protocol):
    """What consumers do with schedules.

    A lock is taken of a schedule before any of its occurrences.
    """

    async def create_schedule(
        self,
        schedule: Schedule,
        occurrences: Sequence[NewOccurrence],
        now: datetime,
        keyed: tuple[str, FirstAnswer] | None = None,
    ) -> FirstAnswer | None:
        """Write a new schedule and its first occurrences, all or none.

        The same call again changes nothing. With an idempotency key and what is to be answered
        under it: answers what the key stands for now; if that is another answer, nothing is
        written. Its `timer_ids` hold the schedule's id.

        Raises:
            ScheduleNameTakenError: nothing was written.
            RowRefusedError: the database refuses a value; nothing was written.
        """

    async def schedule(
        self, schedule_id: ScheduleId, project: ProjectId = DEFAULT_PROJECT
    ) -> Schedule:
        """Read one schedule.

        Raises:
            ScheduleNotFoundError: there is none.
        """

    async def schedule_facts(
        self, schedule_id: ScheduleId, project: ProjectId = DEFAULT_PROJECT
    ) -> ScheduleFacts:
        """Read what a schedule has done; of one that is not there: nothing."""

    async def schedule_named(
        self, name: str, project: ProjectId = DEFAULT_PROJECT
    ) -> ScheduleId | None:
        """Read which schedule that has not ended has a name."""

    async def schedules(self, query: ScheduleQuery) -> SchedulePage:
        """Read a page of schedules.

        Raises:
            RowRefusedError: the database refuses a value to be looked for.
        """

    async def change_schedule(
        self,
        schedule_id: ScheduleId,
        decide: Callable[[Schedule, Standing], ScheduleChange],
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> Changed:
        """Change a schedule as `decide` says, which is called while nobody else changes it.

        Once this returns no occurrence is pending that the change has replaced or canceled.
        `decide` does nothing else, and is quick: it may be called in a thread. What it raises is
        raised here, and nothing is changed.

        Raises:
            ScheduleNotFoundError: there is none.
            ScheduleNameTakenError: nothing was changed.
            RowRefusedError: the database refuses a value; nothing was changed.
        """

    async def add_occurrences(
        self,
        schedule_id: ScheduleId,
        occurrences: Sequence[NewOccurrence],
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> Sequence[TimerId]:
        """Write occurrences beside the rule; answers which are new.

        Raises:
            ScheduleNotFoundError: there is none.
            ScheduleEndedError: nothing was written.
            RowRefusedError: the database refuses a value; nothing was written.
        """


class ScheduleStorage(ScheduleBook, Protocol):
    """What the planner does with schedules, too."""

    async def next_plan_at(self, shards: Collection[int]) -> datetime | None:
        """Return when a schedule in these shards must be planned next; None: there is none."""

    async def due_schedules(
        self, shards: Collection[int], until: datetime, limit: int
    ) -> Sequence[Schedule | UnreadableSchedule]:
        """Read what must be planned by `until` in these shards, at most `limit`, earliest first."""

    async def outdated_schedules(
        self, shards: Collection[int], zone_data: str, limit: int
    ) -> Sequence[Schedule | UnreadableSchedule]:
        """Read active schedules in these shards that were planned with older zone data."""

    async def plan(self, plans: Sequence[Plan], now: datetime) -> Sequence[bool]:
        """Write plans, each of them whole or not at all; answers which of them still held.

        One that does not hold any more, or whose schedule somebody locks, is left out. It takes the
        database up to 100 us an occurrence, for which a claim may have to wait: no more than 500
        in a call, or those of one schedule.

        Raises:
            RowRefusedError: the database refuses a value of one of them; nothing was written.
            ContentionError: somebody locks one of the timers; nothing was written.
        """

    async def break_schedule(
        self, schedule_id: ScheduleId, version: int, reason: str, now: datetime
    ) -> bool:
        """Pause an active schedule that cannot be planned, and keep why; what is pending stays.

        Answers whether it still had this version.
        """

    async def count_schedules(self) -> Mapping[str, int]:
        """Count the schedules by status, and those that the service has paused as `broken`."""


class ProjectStorage(Protocol):
    """Whose things are."""

    async def create_project(
        self, name: str, now: datetime, number: ProjectId | None = None
    ) -> Project:
        """Write a new project, under this number if another cell has it under that already.

        With a number the same call again has the same answer.

        Raises:
            ProjectNameTakenError: or the number is; nothing was written.
        """

    async def projects(self) -> Sequence[Project]:
        """Read all projects, closed ones among them, in the order of their names."""

    async def project_named(self, name: str) -> Project | None:
        """Read the project of this name, be it closed."""

    async def change_project(self, project: ProjectId, change: SettingsChange) -> Project:
        """Change some of the settings of a project, and answer with all of it.

        Raises:
            ProjectNotFoundError: there is none, or it is closed.
        """

    async def close_project(self, project: ProjectId, now: datetime) -> None:
        """Let no key of a project be found any more, until it is opened again or deleted.

        One that is closed already stays so, since when it was.
        """

    async def open_project(self, project: ProjectId) -> None:
        """Let the keys of a closed project, which is not deleted, be found again."""

    async def live_in(self, project: ProjectId) -> Live:
        """Count what has not ended in a project."""

    async def empty_project(self, project: ProjectId, limit: int, now: datetime) -> int:
        """End the schedules of a project, and cancel up to `limit` timers that wait.

        Answers how many it canceled; fewer than `limit`: no more wait, but those that somebody
        holds. What it cancels never fires.
        """

    async def delete_project(self, project: ProjectId) -> None:
        """Make a closed project one that nobody can name; its keys and secrets are deleted.

        Again, nothing.
        """

    async def deleted_projects(self) -> Mapping[ProjectId, datetime]:
        """Read which deleted projects are remembered, and when each was closed."""

    async def forget_project(self, project: ProjectId) -> None:
        """Delete what is remembered of a deleted project."""


class RuleBook(Protocol):
    """What people hold back: pauses, and limits of flows.

    To change what is so already changes nothing that can be seen.
    """

    async def put_flow(self, flow: FlowId, change: FlowChange, now: datetime) -> Flow:
        """Write settings of a flow, whether it has any or not.

        Raises:
            RowRefusedError: the database refuses a value; nothing was written.
        """

    async def get_flow(self, flow: FlowId, now: datetime) -> FlowState:
        """Read a flow, and count its timers.

        Raises:
            FlowNotFoundError: it has neither settings nor timers that have not ended.
        """

    async def list_flows(self, query: FlowQuery) -> FlowPage:
        """Read a page of flows that have settings."""

    async def delete_flow(self, flow: FlowId, now: datetime) -> None:
        """Delete the settings of a flow: nothing holds its timers back any more.

        Raises:
            FlowNotFoundError: it has none.
        """

    async def pause_destination(
        self, project: ProjectId, destination: Destination, now: datetime
    ) -> DestinationPause:
        """Hold back the callbacks of a project to a destination.

        Raises:
            TooManyPausesError: nothing was written.
        """

    async def resume_destination(
        self, project: ProjectId, destination: Destination, now: datetime
    ) -> DestinationPause:
        """Let the callbacks of a project go to a destination again."""

    async def project_pause(self, project: ProjectId) -> Pause:
        """Read whether a project is paused; one that is not there is not."""

    async def pause_project(self, project: ProjectId, now: datetime) -> Pause:
        """Hold back all callbacks of a project; one that is not there stays so."""

    async def resume_project(self, project: ProjectId, now: datetime) -> Pause:
        """Let the callbacks of a project go again, but for what is paused by itself."""

    async def pause_all(self, now: datetime) -> int:
        """Pause every project, and answer how many were not."""


class RuleStorage(RuleBook, Protocol):
    """What has changed of it.

    Each change has a version of its own, as each change of a project has: whoever reads one of them
    has all that is older.
    """

    async def rules_since(self, version: int) -> RuleChanges:
        """Read what has changed after a version, what was deleted among it.

        After 0, the first: all that holds anything back or was resumed of late, but for flows.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """How many timers of a page count from now on, and where the next begins; None: no more."""

    count: int
    next: Position | None


class QuotaStorage(Protocol):
    """How many live timers there are of projects that limit them.

    Whoever writes such timers counts them; here are those that were there before the limit.
    """

    async def unmarked_projects(self) -> Sequence[ProjectId]:
        """Read which projects have a limit, and timers that may not count yet."""

    async def mark_counted(self, project: ProjectId, after: Position | None, limit: int) -> Marked:
        """Have those count that live, of the next `limit` timers in order of creation.

        Looks behind `after`; results and occurrences of a rule never count. A row that somebody
        holds is left out. Where no page follows, the project is noted as looked through.
        """


class ApiKeyStorage(Protocol):
    """Who may do what."""

    async def key_seal(self) -> bytes:
        """Read what the ids of keys are sealed with."""

    async def set_key_seal(self, seal: bytes) -> None:
        """Have the ids of keys sealed as another cell does: those that were made before are lost.

        It never changes afterwards.
        """

    async def create_api_key(self, key: ApiKey, secret_sha256: bytes) -> None:
        """Write a new key; the same call again changes nothing.

        Raises:
            ProjectNotFoundError: its project is closed or gone; nothing was written.
        """

    async def api_keys(self, project: ProjectId) -> Sequence[ApiKey]:
        """Read the keys of a project, the newest first."""

    async def known_key(self, key_id: KeyId) -> KnownKey | None:
        """Read a key with its project; None: there is none, or that is closed."""

    async def revoke_api_key(self, project: ProjectId, key_id: KeyId) -> None:
        """Delete a key.

        Raises:
            ApiKeyNotFoundError: the project has none of this id.
        """

    async def note_key_uses(self, uses: Mapping[KeyId, datetime]) -> None:
        """Write when keys were last used, unless a later instant is known already."""


class AuditTrail(Protocol):
    """Who has done what."""

    async def write_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Write entries; one that is there already is replaced if the new one counts more.

        The same call again changes nothing.
        """

    async def audit(self, query: AuditQuery) -> AuditPage:
        """Read a page of the audit of a project, the newest first."""


class AuditStorage(AuditTrail, Protocol):
    """Who has done what, and how long that is known."""

    async def prune_audit(self, cutoff: datetime, limit: int) -> int:
        """Delete up to `limit` entries of all projects that began before `cutoff`.

        Answers how many; fewer than `limit`: no more are left, but those that somebody holds.
        """


class HintStorage(Protocol):
    """What replicas tell each other."""

    async def hint(
        self, timers: Sequence[DueTimer], shards: AbstractSet[int] = frozenset()
    ) -> None:
        """Notify all who listen of timers that have moved near, and of shards to look at."""

    async def listen(
        self, on_listening: Callable[[], None], on_hint: Callable[[Hint], None]
    ) -> NoReturn:
        """Call `on_hint` for each hint; `on_listening` once, when none can be missed any more.

        Raises:
            StorageUnavailableError: nothing can be heard any more.
            HintsLostError: nothing ever could.
        """


class RetentionStorage(Protocol):
    """What becomes of timers that ended long ago."""

    async def prune(self, cutoff: datetime, after: PrunePosition | None, limit: int) -> Pruned:
        """Delete what ended before `cutoff`, of the next `limit` timers in order of creation.

        Looks at what was created before the cutoff, behind `after`, of one project. A row that
        somebody holds is left out; while another replica is at it there is nothing to delete and no
        next page.
        """

    async def prune_keys(self, now: datetime, limit: int) -> int:
        """Delete up to `limit` idempotency keys that have expired, and answer how many there were.

        Fewer than `limit`: no more are left, but those that somebody holds.
        """

    async def prune_schedules(self, cutoff: datetime, limit: int) -> int:
        """Delete up to `limit` schedules that ended before `cutoff`, and answer how many.

        Fewer than `limit`: no more are left, but those that somebody holds.
        """

    async def prune_rules(self, now: datetime, limit: int) -> int:
        """Delete up to `limit` deleted flows, and as many destinations resumed long ago.

        Answers how many there were. Fewer than `limit`: no more are left, but those that somebody
        holds.
        """

    async def prune_destinations(self, cutoff: datetime, limit: int) -> int:
        """Delete up to `limit` counts of spans that began before `cutoff`, and answer how many.

        So is what replicas had in hand that are gone. Fewer than `limit`: no more are left, but
        what somebody holds.
        """

    async def prune_probes(self, cutoff: datetime, limit: int) -> int:
        """Delete up to `limit` rows of probes that were over before `cutoff`, and answer how many.

        Fewer than `limit`: no more are left, but those that somebody holds.
        """


class DestinationList(Protocol):
    """What people are told of destinations."""

    async def destinations(self, query: DestinationQuery) -> DestinationPage:
        """Read a page of those that are in hand, paused, or were called of late.

        What replicas had in hand that are gone does not count.

        Raises:
            RowRefusedError: the database refuses a value to be looked for.
        """


class DestinationStorage(DestinationList, Protocol):
    """What replicas know of destinations, too."""

    async def note_destinations(self, report: DestinationReport) -> None:
        """Write what a replica knows; the same call again changes nothing.

        It takes the database some 20 us a lane, on rows that nobody else needs.
        """


class SigningStorage(Protocol):
    """What signs the callbacks of projects."""

    async def signing_secrets(
        self, projects: Collection[ProjectId], now: datetime
    ) -> Sequence[SigningSecret]:
        """Read the secrets of these projects that are valid `now`, in the order of their creation.

        The current one of a project is its last.
        """

    async def add_signing_secrets(self, secrets: Sequence[SigningSecret]) -> None:
        """Write secrets as the current ones of their projects; one that has one keeps it."""

    async def change_signing_secrets(
        self,
        project: ProjectId,
        decide: Callable[[Sequence[SigningSecret]], Sequence[SigningSecret]],
    ) -> Sequence[SigningSecret]:
        """Change the secrets of a project to what `decide` says, and answer with these.

        It is called with all that there are, those that have ended as well, while nobody else
        changes any of them. It does nothing else, and is quick: it may be called in a thread. What
        it raises is raised here, and nothing is changed.
        """


class CellMapStorage(Protocol):
    """Which cell a database is, and what is on its way to it or out of it."""

    async def keep_map(self, told: KeptMap) -> None:
        """Keep what the database is told, unless it has been told something before.

        Nor is it kept where there are timers or schedules of other shards than those, settings of
        flows, or a replica that was told of other cells.

        Raises:
            StorageUnavailableError, ContentionError: call it again.
        """

    async def kept_map(self) -> KeptMap | None:
        """Return what the database has been told; None: nothing, and it may have all there is.

        Raises as `keep_map`.
        """


class ApiStorage(
    TimerStorage,
    SampleStorage,
    RedriveStorage,
    BulkStorage,
    AttemptHistory,
    KeyStorage,
    ScheduleBook,
    ProjectStorage,
    RuleBook,
    ApiKeyStorage,
    AuditTrail,
    ReplicaRoster,
    SigningStorage,
    DestinationList,
    Protocol,
):
    """What consumers and people ask for: of one database, or of several that are one to them."""


class Storage(
    ApiStorage,
    AttemptStorage,
    WorkStorage,
    FlowStorage,
    ProbeStorage,
    OccurrenceStorage,
    ScheduleStorage,
    RuleStorage,
    QuotaStorage,
    AuditStorage,
    ReplicaStorage,
    HintStorage,
    RetentionStorage,
    DestinationStorage,
    CellMapStorage,
    Protocol,
):
    """All of it, for whoever wires the consumers together."""
