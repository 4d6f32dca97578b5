"""What holds callbacks back and is chosen by people: pauses, and limits of flows and projects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypedDict

from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import Destination

MAX_FLOW_KEY_LENGTH: Final = 255
MAX_FLOW_IN_FLIGHT: Final = 10_000
MAX_RATE_COUNT: Final = 10_000
MAX_RATE_S: Final = 86_400

DELETED_FLOWS_KEPT: Final = timedelta(hours=1)
"""Every replica that lives has heard of a deletion by then."""
RESUMPTIONS_KEPT: Final = timedelta(days=7)
"""So long a new replica is told what was paused: the grace of what waited counts from its end."""
MAX_PAUSED_DESTINATIONS: Final = 1_000
"""Of a project: each replica keeps all of them in memory."""


class Pause(NamedTuple):
    """Since when something is paused; `resumed_at`: when it last ceased to be."""

    paused_at: datetime | None = None
    resumed_at: datetime | None = None

    def begun(self, now: datetime) -> Pause:
        """Pause; what is paused already stays so, since when it was."""
        return self._replace(paused_at=self.paused_at or now)

    def ended(self, now: datetime) -> Pause:
        """Resume; what is not paused stays as it is."""
        return Pause(None, now) if self.paused_at else self


NOT_PAUSED: Final = Pause()


@dataclass(frozen=True, slots=True)
class Rate:
    """How many callbacks of a flow may begin within any so many seconds."""

    count: int
    per_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRules:
    """What holds the timers of a flow back; None: nothing of that kind."""

    max_in_flight: int | None = None
    """Callbacks at once."""
    rate: Rate | None = None
    paused_at: datetime | None = None
    resumed_at: datetime | None = None
    """When the last pause ended, be it by the deletion of the settings."""

    @property
    def pause(self) -> Pause:
        return Pause(self.paused_at, self.resumed_at)

    def changed(self, change: FlowChange, now: datetime) -> FlowRules:
        """Return what holds after a change."""
        pause = self.pause
        if "paused" in change:
            pause = pause.begun(now) if change["paused"] else pause.ended(now)
        return replace(
            self,
            max_in_flight=change.get("max_in_flight", self.max_in_flight),
            rate=change.get("rate", self.rate),
            paused_at=pause.paused_at,
            resumed_at=pause.resumed_at,
        )

    def deleted(self, now: datetime) -> FlowRules:
        """Return what holds once the settings are deleted: what was paused is resumed."""
        paused_at, resumed_at = self.pause.ended(now)
        return FlowRules(paused_at=paused_at, resumed_at=resumed_at)


NO_FLOW_RULES: Final = FlowRules()


class FlowChange(TypedDict, total=False):
    """Settings of a flow to be changed; what is left out stays as it is."""

    max_in_flight: int | None
    rate: Rate | None
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A flow; without `created_at`, or with `deleted_at`, it has no settings, only timers."""

    key: FlowKey
    rules: FlowRules = NO_FLOW_RULES
    created_at: datetime | None = None
    updated_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def has_settings(self) -> bool:
        return self.created_at is not None and self.deleted_at is None

    def changed(self, change: FlowChange, now: datetime) -> Flow:
        """Return it with these settings; what has none gets them."""
        return replace(
            self,
            rules=self.rules.changed(change, now),
            created_at=self.created_at if self.has_settings else now,
            updated_at=now,
            deleted_at=None,
        )

    def deleted(self, now: datetime) -> Flow:
        """Return it without settings."""
        return replace(self, rules=self.rules.deleted(now), updated_at=now, deleted_at=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowState:
    """A flow, and how many of its timers are executing, and are due and wait."""

    flow: Flow
    in_flight: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowQuery:
    """A page of flows that have settings, by their keys, behind `after`; None asks for nothing."""

    project: ProjectId = DEFAULT_PROJECT
    """Whose: nobody sees the flows of several."""
    is_paused: bool | None = None
    limit: int = 50
    after: FlowKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPage:
    """`next` is None on the last page."""

    flows: Sequence[Flow]
    next: FlowKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRules:
    """What holds the callbacks of a project back; None: nothing of that kind."""

    project: ProjectId
    max_in_flight: int | None = None
    """Callbacks at once, over all replicas."""
    breaker: BreakerPolicy | None = None
    """Of each of its destinations."""
    pause: Pause = NOT_PAUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationPause:
    """Whether callbacks of a project to a destination are held back."""

    project: ProjectId
    destination: Destination
    pause: Pause = NOT_PAUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleChanges:
    """What has changed up to `version`: all of it as it was when that was the version.

    `others_exist`: there is a project that lives beside the default one. What is in none of the
    others has not changed, and what is in one of them is told whole.
    """

    version: int
    projects: Sequence[ProjectRules] = ()
    destinations: Sequence[DestinationPause] = ()
    flows: Mapping[FlowId, FlowRules] = field(default_factory=dict)
    others_exist: bool = False
