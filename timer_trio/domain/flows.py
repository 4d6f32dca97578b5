"""What this replica knows of flows: what is in flight of each, and when more may go.

Theory of operation. All timers of a flow are in one shard, and one replica has the *term* of that
shard: nobody else claims of its flows. So a limit is a number in this memory. Before a flow is
known here nothing of it is claimed: its rules, what is in flight of it by others, and what was sent
within its window are read once the term is taken. What others had in flight is asked for until
their outcomes are written, and counts as in flight until then.

A callback counts in its flow from its claim until it has ended, and then against the rate for the
whole window: a receiver had it before it answered, so what it counts itself is never more.

Times are Unix seconds.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Final, NamedTuple

from timer_trio.domain.flow import NO_TERM, FlowId, Terms, flow_shard
from timer_trio.domain.rules import NO_FLOW_RULES, FlowRules
from timer_trio.domain.timer import DueTimer, TimerId

MAX_KNOWN: Final = 20_000
"""Flows that are remembered without anything in flight: 10 MB; more are read again when needed."""


MANY_GONE: Final = 8
"""Timers in a row that were due, as far as was known, and were not when they were claimed."""


class FlowNow(NamedTuple):
    """Of one instant: what replicas hold of a flow, and who is due first of what nobody holds."""

    executing: Collection[TimerId] = ()
    first: DueTimer | None = None


NOTHING_NOW: Final = FlowNow()


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowReading:
    """What the database tells of a flow as its term is taken.

    `ends_s` are the instants at which callbacks ended within the window of its rate, in order;
    `last_end_s` is the last of all.
    """

    rules: FlowRules = NO_FLOW_RULES
    now: FlowNow = NOTHING_NOW
    ends_s: Collection[float] = ()
    last_end_s: float = -inf


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowReadings:
    """Readings of flows, all as of one version of the rules."""

    version: int
    flows: Mapping[FlowId, FlowReading]


@dataclass(slots=True, eq=False)
class _Flow:
    shard: int
    rules: FlowRules
    elsewhere: AbstractSet[TimerId]
    """In flight by who had the term before, or ended and not yet written by us."""
    ours: set[TimerId]
    """In flight as it was read, and taken for ours: we had asked for them."""
    ends_s: deque[float]
    free_since_s: float
    """Since when whatever waits need not wait for the flow."""
    was_full: bool = False
    gone: int = 0

    def wait_s(self, own: int, now_s: float) -> float | None:
        """Return until when the next one must wait at least; None: it need not."""
        until_s = self._full_until_s(own, now_s)
        if until_s is not None:
            self.was_full = True
        elif self.was_full:
            self.was_full, self.free_since_s = False, now_s
        return until_s

    def end(self, now_s: float) -> None:
        if self.rules.rate is not None:
            self.ends_s.append(now_s)

    def _full_until_s(self, own: int, now_s: float) -> float | None:
        rules = self.rules
        if rules.paused_at is not None:
            return inf
        in_flight = own + len(self.elsewhere)
        if rules.max_in_flight is not None and in_flight >= rules.max_in_flight:
            return inf
        if rules.rate is None:
            return None
        while self.ends_s and self.ends_s[0] + rules.rate.per_s <= now_s:
            self.ends_s.popleft()
        too_many = in_flight + len(self.ends_s) - rules.rate.count
        if too_many < 0:
            return None
        return self.ends_s[too_many] + rules.rate.per_s if too_many < len(self.ends_s) else inf


@dataclass(slots=True)
class Wanted:
    """Flows to be read, and shards of theirs whose term is to be taken before."""

    flows: list[FlowId] = field(default_factory=list)
    shards: set[int] = field(default_factory=set)


class Flows:
    """The flows of this replica's shards."""

    def __init__(self, *, most: int = MAX_KNOWN) -> None:
        self._most = most
        self._flows: OrderedDict[FlowId, _Flow] = OrderedDict()
        self._terms: dict[int, int] = {}
        self._own: dict[FlowId, set[TimerId]] = {}
        self._wanted: dict[FlowId, None] = {}
        self._ended: dict[FlowId, dict[TimerId, float]] = {}
        """What has ended of flows that are being read: the reading may not tell of it."""
        self._with_elsewhere: set[FlowId] = set()

    def __len__(self) -> int:
        """How many are known."""
        return len(self._flows)

    @property
    def are_wanted(self) -> bool:
        """Whether flows are to be read."""
        return bool(self._wanted)

    @property
    def ending_elsewhere(self) -> list[FlowId]:
        """Name the flows of which others have something in flight, as far as is known."""
        return [*self._with_elsewhere]

    def wait_s(self, flow: FlowId, now_s: float) -> float | None:
        """Return until when the next timer of a flow must wait at least; None: it need not.

        Infinity: until `end`, `release`, `know` or `change` says more.
        """
        known = self._flows.get(flow)
        if known is None:
            self._wanted[flow] = None
            return inf
        return known.wait_s(len(self._own.get(flow, ())), now_s)

    def held_until_s(self, flow: FlowId) -> float:
        """Return the instant until which a limit, or a pause, has held back what may go now."""
        known = self._flows.get(flow)
        if known is None:
            return -inf
        resumed_at = known.rules.resumed_at
        return (
            known.free_since_s
            if resumed_at is None
            else max(known.free_since_s, resumed_at.timestamp())
        )

    def begin(self, flow: FlowId, timer_id: TimerId) -> None:
        """Count a timer that is about to be claimed."""
        self._own.setdefault(flow, set()).add(timer_id)

    def release(self, flow: FlowId, timer_id: TimerId) -> None:
        """Count a timer no more of which nothing was sent.

        Where a reading has found it in flight others had it: the flow is to be read again.
        """
        self._discard(flow, timer_id)
        known = self._flows.get(flow)
        if known is not None and timer_id in known.ours:
            del self._flows[flow]
            self._with_elsewhere.discard(flow)

    def _discard(self, flow: FlowId, timer_id: TimerId) -> None:
        own = self._own.get(flow)
        if own is not None:
            own.discard(timer_id)
            if not own:
                del self._own[flow]

    def end(self, flow: FlowId, timer_id: TimerId, now_s: float) -> None:
        """Count a callback that has ended."""
        self._discard(flow, timer_id)
        if known := self._flows.get(flow):
            known.ours.discard(timer_id)
            known.end(now_s)
        elif flow in self._ended:
            self._ended[flow][timer_id] = now_s

    def note_claim(self, flow: FlowId, gone: int, *, is_any_taken: bool) -> bool:
        """Count what a claim did not find due; returns whether the flow is to be read anew.

        A limit lets a few be claimed at a time: it takes long to find out so that thousands were
        canceled.
        """
        known = self._flows.get(flow)
        if known is None:
            return False
        known.gone = 0 if is_any_taken else known.gone + gone
        if known.gone < MANY_GONE:
            return False
        known.gone = 0
        return True

    def take_wanted(self, own_shards: Collection[int], at_most: int) -> Wanted:
        """Take flows that are to be read, of this replica's shards; the others are forgotten."""
        wanted = Wanted()
        while self._wanted and len(wanted.flows) < at_most:
            flow = next(iter(self._wanted))
            del self._wanted[flow]
            self._ended.pop(flow, None)
            shard = flow_shard(*flow)
            if shard in own_shards:
                self._ended[flow] = {}
                wanted.flows.append(flow)
                if shard not in self._terms:
                    wanted.shards.add(shard)
        return wanted

    def want(self, flows: Iterable[FlowId]) -> None:
        """Have flows read, again if need be."""
        self._wanted.update(dict.fromkeys(flows))

    def take_terms(self, terms: Terms) -> None:
        """Note that these terms are ours."""
        self._terms.update(terms)

    def terms_of(self, shards: Iterable[int]) -> Terms:
        """Return the terms in which flows of these shards are claimed here."""
        return {shard: self._terms.get(shard, NO_TERM) for shard in shards}

    def know(self, flow: FlowId, reading: FlowReading) -> None:
        """Take over what was read of a flow, if the term of its shard is ours still.

        What is known already is newer.
        """
        shard = flow_shard(*flow)
        ended = self._ended.pop(flow, {})
        if shard not in self._terms or flow in self._flows:
            return
        executing, own = set(reading.now.executing), self._own.get(flow, set())
        ends_s = [*reading.ends_s, *(ended[each] for each in ended.keys() - executing)]
        elsewhere = executing - own
        self._flows[flow] = _Flow(
            shard=shard,
            rules=reading.rules,
            elsewhere=elsewhere,
            ours=executing & own,
            ends_s=deque(sorted(ends_s)),
            free_since_s=reading.last_end_s,
        )
        if elsewhere:
            self._with_elsewhere.add(flow)
        if len(self._flows) > self._most:
            self._forget_some()

    def note_executing(self, flow: FlowId, executing: Collection[TimerId], now_s: float) -> bool:
        """Take note of what is executing of a flow; returns whether something has ended."""
        known = self._flows.get(flow)
        if known is None:
            self._with_elsewhere.discard(flow)
            return False
        ended = known.elsewhere - set(executing)
        known.elsewhere = known.elsewhere - ended
        for _ in ended:
            known.end(now_s)
        if not known.elsewhere:
            self._with_elsewhere.discard(flow)
        return bool(ended)

    def change(self, flow: FlowId, rules: FlowRules) -> None:
        """Take over other rules of a flow, if it is known."""
        known = self._flows.get(flow)
        if known is None:
            return
        if _is_limited(rules) and not _is_limited(known.rules):
            del self._flows[flow]  # what is in flight by others was not asked for
        else:
            known.rules = rules

    def lose(self, shards: Collection[int]) -> Sequence[FlowId]:
        """Forget the flows of shards whose terms are somebody else's now, and name them."""
        lost = self._terms.keys() & shards
        if not lost:
            return ()
        for shard in lost:
            del self._terms[shard]
        forgotten = [flow for flow, known in self._flows.items() if known.shard in lost]
        for flow in forgotten:
            del self._flows[flow]
            self._with_elsewhere.discard(flow)
        return forgotten

    def _forget_some(self) -> None:
        """Forget the oldest tenth of which nothing is in flight: it is read again when needed."""
        idle = [
            flow
            for flow in islice(self._flows, self._most // 10)
            if flow not in self._own and flow not in self._with_elsewhere
        ]
        for flow in idle:
            del self._flows[flow]


def _is_limited(rules: FlowRules) -> bool:
    return rules.max_in_flight is not None or rules.rate is not None
