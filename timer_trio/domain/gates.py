"""What holds timers back although there are slots for them: pauses, open breakers, and flows.

Theory of operation. A gate stands before all of a project, before one of its destinations, or
before a flow. Whoever finds one closed waits behind it, out of sight, and is looked at again when
it opens: however much waits behind closed gates, nobody asks for it in vain. A plain timer of a
project without any rules meets no gate.

Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from heapq import heappop, heappush
from math import inf
from typing import Final

from timer_trio.domain.breaker import Breakers
from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.flow import FlowId, Terms
from timer_trio.domain.flows import Flows
from timer_trio.domain.pace import BacklogKey
from timer_trio.domain.project import ProjectId
from timer_trio.domain.rules import NOT_PAUSED, FlowRules, Pause
from timer_trio.domain.timer import DueTimer, Lane

RESUMED_KEPT_S: Final = 600.0
"""So long it is known of a flow that a pause has held it back: by then it goes, or is full."""

Gate = ProjectId | Lane | FlowId
"""What is open or closed."""


class Gates:
    """The gates of one replica, and what waits behind them."""

    def __init__(self, flows: Flows, breakers: Breakers) -> None:
        self.flows = flows
        self.breakers = breakers
        self._pauses: dict[ProjectId | Lane, Pause] = {}
        self._resumed: list[Gate] = []
        self._resumed_s: dict[Gate, float] = {}
        """Since when what waited behind a pause may go here, which hears of its end later; and each
        flow that did, whose first timer had the others wait."""
        self._policies: dict[ProjectId, BreakerPolicy] = {}
        self._behind: dict[Gate, dict[BacklogKey, None]] = {}
        self._opens_s: dict[Gate, float] = {}
        self._openings: list[tuple[float, int, Gate]] = []
        self._order = 0
        self.are_set = False
        """Whether there may be a gate before what is in no flow."""
        self._opened: dict[BacklogKey, None] = {}

    @property
    def opens_s(self) -> float | None:
        """When the next gate opens by itself; None: none does."""
        return self._openings[0][0] if self._openings else None

    def hold(self, key: BacklogKey, lane: Lane, now_s: float) -> bool:
        """Tell whether a timer must wait behind a gate; then it does."""
        if self._pauses and self._waits_paused(key, lane):
            return True
        if lane.project in self._policies:
            until_s = self.breakers.wait_s(lane, now_s)
            if until_s is not None:
                return self._wait(key, lane, until_s)
        if isinstance(key, FlowId):
            until_s = self.flows.wait_s(key, now_s)
            if until_s is not None:
                return self._wait(key, key, until_s)
        return False

    def begin(self, timer: DueTimer) -> None:
        """Count a timer that was let through, and is about to be claimed."""
        if flow := timer.flow:
            self.flows.begin(flow, timer.id)
        if timer.lane.project in self._policies:
            self.breakers.begin(timer.lane, timer.id)

    def release(self, timer: DueTimer) -> None:
        """Count a timer no more that was let through, and was not sent."""
        if flow := timer.flow:
            self.flows.release(flow, timer.id)
            self.open(flow)
        self._give_up_probe(timer)

    def end(self, timer: DueTimer, now_s: float, *, has_failed: bool | None) -> None:
        """Count a callback that has ended; None: it tells nothing of its destination."""
        if flow := timer.flow:
            self.flows.end(flow, timer.id, now_s)
            self.open(flow)
        policy = self._policies.get(timer.lane.project) if self._policies else None
        if policy is None:
            return
        if has_failed is None:
            self._give_up_probe(timer)
            return
        self.breakers.note(timer.lane, timer.id, policy, has_failed, now_s)
        self.open(timer.lane)

    def held_until_s(self, key: BacklogKey, lane: Lane) -> float:
        """Return until when pauses and limits have held back what may go now; else -infinity."""
        until_s = -inf
        if isinstance(key, FlowId):
            until_s = max(self.flows.held_until_s(key), self._resumed_s.get(key, -inf))
        if self._pauses:
            for gate in (lane.project, lane):
                resumed_at = self._pauses.get(gate, NOT_PAUSED).resumed_at
                if resumed_at is not None:
                    until_s = max(until_s, resumed_at.timestamp())
                    until_s = max(until_s, self._resumed_s.get(gate, -inf))
        return until_s

    def set_pause(self, gate: ProjectId | Lane, pause: Pause) -> None:
        """Close or open the gate of a project, or of a destination of one."""
        was_paused = self._is_paused(gate)
        if pause == NOT_PAUSED:
            self._pauses.pop(gate, None)
            self._resumed_s.pop(gate, None)
        else:
            self._pauses[gate] = pause
        self._note_set()
        if pause.paused_at is None:
            if was_paused:
                behind = (key for key in self._behind.get(gate, ()) if isinstance(key, FlowId))
                self._resumed += [gate, *behind]
            self.open(gate)

    def set_policy(self, project: ProjectId, policy: BreakerPolicy | None) -> None:
        """Have a project's destinations have breakers like this; None: none."""
        if self._policies.get(project) == policy:
            return
        if policy is None:
            del self._policies[project]
        else:
            self._policies[project] = policy
        self._note_set()
        self.breakers.forget(project)
        for gate in [gate for gate in self._behind if isinstance(gate, Lane)]:
            if gate.project == project:
                self.open(gate)

    def set_flow_rules(self, flow: FlowId, rules: FlowRules) -> None:
        """Have other rules hold for a flow."""
        self.flows.change(flow, rules)
        self.open(flow)

    def lose(self, shards: Collection[int]) -> None:
        """Forget the flows of shards whose terms are somebody else's now.

        What waits for them is looked at again: nobody hears any more of what it waits for.
        """
        for flow in self.flows.lose(shards):
            self.open(flow)

    def lose_terms(self, terms: Terms) -> None:
        """Forget the flows of these terms, in which a claim was refused; not of later ones."""
        current = self.flows.terms_of(terms)
        self.lose([shard for shard, number in terms.items() if current[shard] == number])

    def open(self, gate: Gate) -> None:
        """Have whatever waits behind a gate looked at again."""
        self._opened.update(self._behind.pop(gate, {}))

    def open_flows(self) -> None:
        """Have whatever waits for its flow looked at again: others are ours now."""
        for gate in [gate for gate in self._behind if isinstance(gate, FlowId)]:
            self.open(gate)

    def take_opened(self, now_s: float) -> Iterator[BacklogKey]:
        """Take what is to be looked at again, by `hold`."""
        if self._resumed:
            self._note_resumed(now_s)
        while self._openings and self._openings[0][0] <= now_s:
            until_s, _, gate = heappop(self._openings)
            if self._opens_s.get(gate) == until_s:
                del self._opens_s[gate]
                self.open(gate)
        opened, self._opened = self._opened, {}
        return iter(opened)

    @property
    def has_opened(self) -> bool:
        """Whether something is to be looked at again."""
        return bool(self._opened)

    def _waits_paused(self, key: BacklogKey, lane: Lane) -> bool:
        for gate in (lane.project, lane):
            if self._is_paused(gate):
                return self._wait(key, gate, inf)
        return False

    def _note_resumed(self, now_s: float) -> None:
        old_s = now_s - RESUMED_KEPT_S
        self._resumed_s = {
            gate: at_s
            for gate, at_s in self._resumed_s.items()
            if at_s > old_s or not isinstance(gate, FlowId)
        }
        self._resumed_s.update(dict.fromkeys(self._resumed, now_s))
        self._resumed.clear()

    def _is_paused(self, gate: ProjectId | Lane) -> bool:
        return self._pauses.get(gate, NOT_PAUSED).paused_at is not None

    def _wait(self, key: BacklogKey, gate: Gate, until_s: float) -> bool:
        self._behind.setdefault(gate, {})[key] = None
        if until_s < self._opens_s.get(gate, inf):
            self._opens_s[gate] = until_s
            self._order += 1
            heappush(self._openings, (until_s, self._order, gate))
        return True

    def _note_set(self) -> None:
        self.are_set = bool(self._pauses or self._policies)

    def _give_up_probe(self, timer: DueTimer) -> None:
        lane = timer.lane
        if self.breakers.give_up(lane, timer.id, others_wait=lane in self._behind):
            self.open(lane)
