"""Whose turn it is in a flow, as the rows and the rules tell, and what may hold it up."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf
from typing import Final, NamedTuple

from tests.simulation.history import Change, History, TimerLog, Verdict
from tests.simulation.lateness import heard_s, recovered_s
from tests.simulation.world import second
from timer_trio.domain.flow import FlowId, flow_shard
from timer_trio.domain.gates import Gate
from timer_trio.domain.rules import NO_FLOW_RULES, FlowRules
from timer_trio.domain.timer import Lane, Status, TimerId
from timer_trio.storage.memory.database import Row

HAND_OVER_S: Final = 3.0
"""After a change of membership, until who owns a flow now has heard of it and has read it."""
KNOWN_S: Final = 0.5
"""After a write, until who owns the timer knows of it, and a claim that was made before is done."""
ASKED_S: Final = 1.0
"""So long after an answer who was asked may still be about to tell the owner."""
ENDED_S: Final = 0.5
"""What others had in flight is asked for so often, and the answer takes its way."""
NOBODY: Final = TimerLog(number=-1)


@dataclass(frozen=True, slots=True)
class Known:
    """A row, and since when who owns it knows of it; not before the instant at which it is due."""

    row: Row
    known_s: float
    first_due_at: datetime | None
    """Of all instants since it was last claimed: one that is put off is known as it was, too."""
    is_moved: bool

    @property
    def due_at(self) -> datetime | None:
        """The instant of its next attempt, whatever a service says of what it gives back."""
        return instant_of(self.row)

    @property
    def is_freed(self) -> bool:
        """Whether it was begun, and nobody holds it.

        Who claims of its flow has read so before, unless a stranger locks its row.
        """
        return self.row.timer.status is Status.EXECUTING and self.row.due_at is not None


def instant_of(row: Row) -> datetime | None:
    """Return when the next attempt of a timer is due; None: there is none."""
    return None if row.due_at is None else row.next_attempt_at or row.timer.spec.execute_at


def flows_of(history: History) -> Sequence[FlowId]:
    flows = (timer_log.flow for timer_log in history.timer_logs)
    return [*dict.fromkeys(flow for flow in flows if flow is not None)]


def changes_of(history: History, flow: FlowId) -> Sequence[Change]:
    """List what was written of the timers of a flow."""
    return [
        change
        for change in history.changes
        if change.row is not None
        and change.row.project == flow.project
        and change.row.timer.flow_key == flow.key
    ]


def rules_between(
    history: History, gate: Gate, began_s: float, ended_s: float
) -> Sequence[FlowRules]:
    """List what held at the begin of a span, and what was written in it."""
    own = [ruling for ruling in history.rulings if ruling.gate == gate]
    before = [ruling.rules for ruling in own if ruling.at_s <= began_s]
    within = [ruling.rules for ruling in own if began_s < ruling.at_s < ended_s]
    return [before[-1] if before else NO_FLOW_RULES, *within]


def latest_turn_s(history: History, flow: FlowId, turn_s: float, patience_s: float) -> float:
    """Say by when something must have been done for a flow whose turn came then."""
    latest_s = in_time_s = turn_s + patience_s
    for delay in _delays(history, flow, turn_s):
        is_met = delay.began_s <= latest_s and delay.over_s >= turn_s
        if is_met and (delay.is_its_own or latest_s > in_time_s):
            latest_s = max(latest_s, delay.over_s + patience_s)
    return latest_s


def has_locks(history: History, flow: FlowId) -> bool:
    return any(timer_log.locks for timer_log in history.timer_logs if timer_log.flow == flow)


class _Delay(NamedTuple):
    """What may hold a flow up; others do so only for whom something else has done so already."""

    began_s: float
    over_s: float
    is_its_own: bool


def _delays(history: History, flow: FlowId, turn_s: float) -> Sequence[_Delay]:
    """List troubles, locks and changes of membership, and resumptions that were written late."""
    shard, asked = flow_shard(*flow), _asked_about(history, flow, turn_s)
    troubles = (
        _Delay(
            trouble.began_s,
            recovered_s(history, trouble, NOBODY),
            trouble.process is None or trouble.process in asked or shard in trouble.shards,
        )
        for trouble in history.troubles
    )
    locks = (
        _Delay(lock.began_s, lock.ended_s + lock.recovery_s, is_its_own=True)
        for timer_log in history.timer_logs
        for lock in timer_log.locks
        if timer_log.flow == flow
    )
    # When it was asked for counts, though who was asked may have frozen before it was written.
    resumptions = (
        _Delay(second(ruling.rules.resumed_at), ruling.at_s, is_its_own=True)
        for ruling in history.rulings
        if ruling.rules.resumed_at and second(ruling.rules.resumed_at) < ruling.at_s - KNOWN_S
    )
    changes = (
        _Delay(at_s, at_s + HAND_OVER_S, is_its_own=True)
        for life in history.lives.values()
        for at_s in (life.began_s, life.ended_s)
        if at_s < inf
    )
    return sorted([*troubles, *locks, *resumptions, *changes])


def _asked_about(history: History, flow: FlowId, turn_s: float) -> Collection[str]:
    """Name the processes that were asked for something of a flow shortly before."""
    return {
        request.process
        for timer_log in history.timer_logs
        for request in timer_log.requests
        if timer_log.flow == flow
        and request.asked_s <= turn_s
        and request.answered_s >= turn_s - ASKED_S
    }


def idle_spells(history: History, flow: FlowId) -> Iterator[tuple[float, float]]:
    """List from when to when a timer of a flow might go, and none of them did."""
    began_s: float | None = None
    for at_s, may_go, goes in _moments(history, flow):
        if began_s is not None and (goes or not may_go):
            yield began_s, at_s
            began_s = None
        if may_go and began_s is None:
            began_s = at_s
    if began_s is not None:
        yield began_s, inf


def _moments(history: History, flow: FlowId) -> Iterator[tuple[float, bool, bool]]:
    """Say at each instant whether a timer may go from then on, and whether one goes."""
    changes = changes_of(history, flow)
    rows: dict[TimerId, Known] = {}
    freed_s: list[float] = []
    place = 0
    for at_s in _instants(history, flow, changes):
        goes = False
        while place < len(changes) and changes[place].at_s <= at_s:
            change = changes[place]
            place += 1
            assert change.row is not None
            was = rows.get(change.timer_id)
            rows[change.timer_id] = _known(history, change, was)
            goes = goes or _is_taken(change.row)
            if was is not None and _is_taken(was.row) and not _is_taken(change.row):
                freed_s.append(at_s)
        yield at_s, _may_go(history, flow, rows.values(), freed_s, at_s), goes


def _instants(history: History, flow: FlowId, changes: Iterable[Change]) -> Sequence[float]:
    """List when anything may change of who may go."""
    instants = {ruling.at_s for ruling in history.rulings}
    windows_s = {
        ruling.rules.rate.per_s
        for ruling in history.rulings
        if ruling.gate == flow and ruling.rules.rate
    }
    for change in changes:
        instants.add(change.at_s)
        assert change.row is not None
        if change.row.due_at is not None:
            instants.add(known_s_of(history, change))
        if not _is_taken(change.row):
            instants.update(change.at_s + window_s + ENDED_S for window_s in windows_s)
    return sorted(instants)


def _may_go(
    history: History, flow: FlowId, rows: Iterable[Known], freed_s: Sequence[float], at_s: float
) -> bool:
    known = [*rows]
    due = [each.row for each in known if each.row.due_at is not None and each.known_s <= at_s]
    rules = rules_between(history, flow, at_s, at_s)[0]
    in_flight = sum(_is_taken(each.row) for each in known)
    # That the first one was canceled while its destination is paused is found out at its claim.
    ahead = [each.row for each in known if each.row.timer.status is Status.CANCELED]
    lanes = {Lane(row.timer.spec.callback.url.destination, flow.project) for row in [*due, *ahead]}
    gates: list[Gate] = [flow, flow.project, *lanes]
    if not due or any(rules_between(history, gate, at_s, at_s)[0].paused_at for gate in gates):
        return False
    if rules.max_in_flight is not None and in_flight >= rules.max_in_flight:
        return False
    if rules.rate is None:
        return True
    counted = sum(each + ENDED_S + rules.rate.per_s > at_s for each in freed_s)
    return in_flight + counted < rules.rate.count


def claims_of(history: History, flow: FlowId) -> Iterator[tuple[Change, Mapping[TimerId, Known]]]:
    """List what was claimed of a flow, and what was there before."""
    rows: dict[TimerId, Known] = {}
    for change in changes_of(history, flow):
        assert change.row is not None
        was = rows.get(change.timer_id)
        if was is not None and was.row.due_at is not None and _is_taken(change.row):
            yield change, {**rows}
        rows[change.timer_id] = _known(history, change, was)


def _known(history: History, change: Change, was: Known | None) -> Known:
    assert change.row is not None
    due_at = first_due_at = instant_of(change.row)
    if due_at is not None and was is not None and was.first_due_at is not None:
        first_due_at = min(due_at, was.first_due_at)
    is_moved = was is not None and was.due_at not in {None, due_at}
    is_moved = is_moved or (was is not None and was.is_moved and was.row.due_at is not None)
    known = Known(change.row, known_s_of(history, change), first_due_at, is_moved)
    return replace(known, known_s=change.at_s) if known.is_freed else known


def _is_taken(row: Row) -> bool:
    return row.timer.status is Status.EXECUTING and row.claimed_by is not None


def known_s_of(history: History, change: Change) -> float:
    """Say from when who owns a timer knows what was written of it."""
    assert change.row is not None
    known_s = change.at_s
    if _is_in_doubt(history, change):
        known_s += history.interval_s
    due_at = change.row.due_at
    due_s = known_s if due_at is None else max(known_s + KNOWN_S, second(due_at))
    return heard_s(history, change.timer_id, due_s, known_s)


def _is_in_doubt(history: History, change: Change) -> bool:
    """Tell whether the reply to what was written got lost, so that nobody was told of it."""
    assert change.row is not None
    payload = change.row.timer.spec.callback.payload
    return any(
        request.verdict is Verdict.UNKNOWN and request.spec.callback.payload == payload
        for timer_log in history.timer_logs
        for request in timer_log.requests
    )
