"""What the API needs of the service around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple, Protocol

import trio

from timer_trio.access.audit_log import AuditLog
from timer_trio.access.key_ring import KeyRing
from timer_trio.access.key_uses import KeyUses
from timer_trio.access.project_end import ProjectEnd
from timer_trio.api.audit import RequestAudit
from timer_trio.api.body.slices import Slices
from timer_trio.api.fields.rules import Rules
from timer_trio.api.principal import own_project, own_quota, principal
from timer_trio.clock import Clock
from timer_trio.cluster.releases import Releases
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.masking import USUAL, Sensitive
from timer_trio.domain.planning import Calendar
from timer_trio.domain.project import NO_SETTINGS
from timer_trio.domain.timer import ReplicaId
from timer_trio.domain.virtual_time import Advanced
from timer_trio.intake.bulk import BulkWriter
from timer_trio.intake.intake import Intake
from timer_trio.intake.names import Names
from timer_trio.intake.redrive import Redriver
from timer_trio.intake.schedules import Schedules
from timer_trio.scheduler.replanning import Replanner
from timer_trio.storage import ApiStorage
from timer_trio.telemetry.metrics import Metrics
from timer_trio.telemetry.tracing import Tracing


class CellHealth(NamedTuple):
    """How a cell is, which is named by its shards."""

    name: str
    is_connected: bool


class Health(Protocol):
    @property
    def database_connected(self) -> bool:
        """Whether the last heartbeat was confirmed; with several cells, that of any."""

    @property
    def cells(self) -> Sequence[CellHealth]:
        """How each cell is, if there are several."""

    @property
    def trouble(self) -> str | None:
        """What the database is there for and does not do now, in words for an operator."""

    @property
    def ready(self) -> bool:
        """Whether the first load is done, the database is there, and no stop has begun."""

    @property
    def warnings(self) -> Sequence[str]:
        """What weakens the promises, in words for an operator."""

    @property
    def replica_ids(self) -> Collection[ReplicaId]:
        """Which replica this is, in each cell; another one once it has joined anew."""


class ClockControl(Protocol):
    """What moves the clock of a service for tests."""

    async def advance_by(self, time: timedelta) -> Advanced:
        """Let so much time pass; returns once all that fell due is answered and settled.

        One after the other, if several ask.

        Raises:
            ClockTooFarError, AdvanceEndlessError, ClockResetError: and where it stands now.
        """

    async def advance_to(self, instant: datetime) -> Advanced:
        """Let time pass until the clock shows `instant`, as `advance_by`.

        Raises:
            ClockNotBackError: it has shown it already.
            ClockTooFarError, AdvanceEndlessError, ClockResetError: and where it stands now.
        """

    async def reset(self) -> datetime:
        """Forget everything, and set the clock to its start; answers what it shows then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    storage: ApiStorage
    intake: Intake
    redriver: Redriver
    bulk_writer: BulkWriter
    schedules: Schedules
    replanner: Replanner
    calendar: Calendar
    key_ring: KeyRing
    key_uses: KeyUses
    audit_log: AuditLog
    project_end: ProjectEnd
    clock: Clock
    health: Health
    metrics: Metrics
    metrics_text: Callable[[], Awaitable[bytes]]
    """Says in Prometheus' words what this process and those beside it have to show."""
    api_key: str = field(repr=False)
    max_body_bytes: int
    max_metadata_keys: int
    default_timeout_s: float
    default_misfire_grace_s: float
    guard: AddressGuard
    releases: Releases
    rules_changed: Callable[[], None] = lambda: None
    """To be called once a rule has changed: this replica follows it at once."""
    living: Callable[[], int] = lambda: 1
    """How many replicas there are, this one included, of which each has its part of a limit."""
    root_path: str = ""
    """What clients have before each path, where a proxy has the service under a prefix."""
    sensitive: Sensitive = USUAL
    """Headers whose values are shown to administrators alone."""
    front_page: str | None = None
    """Where a browser is led that asks for `/`; None: it is told what this is."""
    on_quota_set: Callable[[], None] = lambda: None
    """Called once a project has another limit of live timers."""
    stopping: trio.Event = field(default_factory=trio.Event)
    """Set once a stop has begun."""
    tracing: Tracing | None = None
    """Makes spans of requests; None: nobody collects any."""
    clock_control: ClockControl | None = None
    """None: nobody moves the clock, as in any real service."""
    slices: Slices = field(default_factory=Slices)
    """Which all great bodies share."""
    _of_operator: Rules = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rules = Rules(
            timeout_s=self.default_timeout_s,
            misfire_grace_s=self.default_misfire_grace_s,
            max_metadata_keys=self.max_metadata_keys,
            guard=self.guard,
        )
        object.__setattr__(self, "_of_operator", rules)

    @property
    def rules(self) -> Rules:
        """What holds for the request under way."""
        settings = principal().settings
        if settings is NO_SETTINGS:
            return self._of_operator
        return replace(self._of_operator, settings=settings)

    @property
    def cursor_key(self) -> bytes:
        """What cursors of lists are sealed with: the same on all replicas."""
        return sha256(b"cursor" + self.api_key.encode()).digest()

    @property
    def audit(self) -> RequestAudit:
        """Where it is noted what the request under way has done."""
        return RequestAudit(self.audit_log)

    @property
    def names(self) -> Names:
        """The timers with names that the request under way can reach."""
        return Names(self.storage, self.intake, own_project(), own_quota())
