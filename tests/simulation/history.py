"""What happened in a simulation, as the consumers, the receivers and the world saw it.

Instants are seconds of the world's clock, which is the database's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.bulk import Bulk
from timer_trio.domain.cells import CellMap, CellNumber
from timer_trio.domain.flow import FlowId
from timer_trio.domain.gates import Gate
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.rules import FlowRules
from timer_trio.domain.timer import Status, Timer, TimerId, TimerSpec
from timer_trio.storage.memory.database import Row


class Asked(StrEnum):
    """What a consumer can ask of the service."""

    CREATE = "create"
    UPDATE = "update"
    CANCEL = "cancel"


class Verdict(StrEnum):
    """What a consumer knows of what it asked for."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(slots=True, kw_only=True)
class Request:
    """Something a consumer asked for; `version` marks the payload that would be sent from then.

    `moves`: it names an instant.
    """

    asked: Asked
    version: int
    spec: TimerSpec
    asked_s: float
    process: str = ""
    """Which process was asked."""
    answered_s: float = float("inf")
    verdict: Verdict = Verdict.UNKNOWN
    moves: bool = True


@dataclass(slots=True, kw_only=True)
class Send:
    """The first byte of a callback went out; `status` is what the receiver answered, if it did."""

    process: str
    timer_id: str
    attempt: int
    version: int
    webhook_id: str
    sent_s: float
    status: int | None = None
    is_genuine: bool = True
    """Signed with a secret that its project had then."""


class Ending(StrEnum):
    """How a try ended, as far as a receiver or the network can tell."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    BROKEN_OFF = "broken off"


@dataclass(slots=True, kw_only=True)
class Try:
    """A callback that a process began; what went out of it is a Send, too.

    `is_held`: the process held the timer then; one that was swept while it froze does not.
    `answered_s` is when its receiver had answered, and `ended_s` when it heard how it ended.
    `not_before_s` and `is_final` are what the answer said of another try.
    """

    process: str
    timer_id: str
    attempt: int
    version: int
    began_s: float
    is_held: bool = True
    sent_s: float | None = None
    answered_s: float | None = None
    ended_s: float = float("inf")
    ending: Ending | None = None
    status: int | None = None
    not_before_s: float | None = None
    is_final: bool = False

    @property
    def fired_s(self) -> float:
        """When its first byte went out; when it began if none did."""
        return self.began_s if self.sent_s is None else self.sent_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A consumer looked at its timer and saw this status."""

    status: Status
    asked_s: float
    answered_s: float = float("inf")


@dataclass(slots=True)
class TimerLog:
    """One timer from its creation to its end.

    `row` and `attempts` are what the database holds at the very end.
    """

    number: int
    project: ProjectId = DEFAULT_PROJECT
    flow: FlowId | None = None
    requests: list[Request] = field(default_factory=list)
    tries: list[Try] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)
    locks: list[Trouble] = field(default_factory=list)
    """When somebody locked its row."""
    row: Timer | None = None
    attempts: Sequence[AttemptRecord] = ()

    @property
    def created(self) -> Request:
        return self.requests[0]


@dataclass(frozen=True, slots=True)
class Loss:
    """From here on nobody knows what became of what the process was firing.

    `held`: what it claimed, if somebody has swept it. `cell`: where; None: it has died everywhere.
    """

    process: str
    at_s: float
    held: frozenset[TimerId] = frozenset()
    cell: CellNumber | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unheard:
    """A hint that the owner of these timers and shards was sent in vain."""

    at_s: float
    timers: frozenset[TimerId]
    shards: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A time in which timers may be late, and how long the service may take to recover from it.

    `process`: who has it; then none may be late but what was in its `shards` when it began or fell
    to it meanwhile, and what it was asked for or has claimed. None: the trouble is everybody's.
    `blinds`: who has it sees nobody's heartbeat, and so begins anew to watch for the dead. `cell`:
    where it is; None: everywhere.
    """

    cause: str
    began_s: float
    ended_s: float
    recovery_s: float
    process: str | None = None
    shards: set[int] = field(default_factory=set)
    blinds: bool = False
    cell: CellNumber | None = None


@dataclass(slots=True)
class Life:
    """From when to when a process saw the heartbeats of others, if no trouble kept it from that.

    In each cell there are others, so it has a life in each.
    """

    process: str
    began_s: float
    ended_s: float = float("inf")
    cell: CellNumber | None = None


class Verb(StrEnum):
    """What a consumer can ask for beside a plain timer of its own."""

    KEYED = "create under an idempotency key"
    NAMED = "create or replace by name"
    UNNAMED = "cancel by name"
    REDRIVE = "redrive"


@dataclass(slots=True, kw_only=True)
class Act:
    """Something a consumer asked for by a verb.

    `subject`: the key, the name, or the id of the timer. `body` tells requests apart that ask for
    something else. `timer_id` and `data` are of the answer.
    """

    verb: Verb
    subject: str
    body: int
    asked_s: float
    answered_s: float = float("inf")
    verdict: Verdict = Verdict.UNKNOWN
    timer_id: TimerId | None = None
    data: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A row as it was written; None: it was deleted."""

    at_s: float
    timer_id: TimerId
    row: Row | None


@dataclass(frozen=True, slots=True)
class Ruling:
    """What holds for a flow, a destination or a project from an instant on, as it was written.

    Of the last two it is a pause, or none.
    """

    at_s: float
    gate: Gate
    rules: FlowRules


@dataclass(frozen=True, slots=True)
class DonePage:
    """A page of a bulk action: what it was said to have done, and what it did.

    `touched` has the status of each timer before and after it; None: it is gone.
    """

    at_s: float
    bulk: Bulk
    done: int
    touched: Mapping[TimerId, tuple[Status, Status | None]]


@dataclass(frozen=True, slots=True)
class Failover:
    """A standby took over that had missed the last that was written.

    `touched` has the numbers of the timers that this was about; all others are as they were.
    """

    at_s: float
    touched: frozenset[int]


@dataclass(slots=True)
class History:
    """`interval_s`: between two looks of a loader at what falls due soon."""

    interval_s: float = 0.0
    timer_logs: list[TimerLog] = field(default_factory=list)
    lives: dict[tuple[str, CellNumber], Life] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    """What a process still held when it had nothing to do any more."""
    unheard: list[Unheard] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    """Of all rows, in the order in which they were written."""
    rulings: list[Ruling] = field(default_factory=list)
    """In the order in which they were written."""
    pages: list[DonePage] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    """Of timers that have no log of their own."""
    failovers: list[Failover] = field(default_factory=list)

    def was_lost(self, process: str, since_s: float, until_s: float = float("inf")) -> bool:
        """Tell whether a process died, or was declared dead, in a span of time."""
        return any(
            loss.process == process and since_s <= loss.at_s <= until_s for loss in self.losses
        )

    def within(self, cell: CellNumber, cells: CellMap) -> History:
        """Tell of the timers of one cell, and of those that are in none, and what befell them.

        A cell shares nothing with another: what goes wrong there excuses nothing here.
        """
        return replace(
            self,
            timer_logs=[
                timer_log
                for timer_log in self.timer_logs
                if timer_log.row is None or cells.of_timer(timer_log.row.id) == cell
            ],
            lives={key: life for key, life in self.lives.items() if life.cell == cell},
            losses=[loss for loss in self.losses if loss.cell in {None, cell}],
            troubles=[each for each in self.troubles if each.cell in {None, cell}],
        )
