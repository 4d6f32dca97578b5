"""The promises of flows and pauses: who may go, and that he does.

What a process had sent that was lost is known by nobody: once it is swept its timers go again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Final

from tests.simulation.history import Change, Ending, History, Ruling, TimerLog, Try, Verdict
from tests.simulation.lateness import heard_s, recovered_s
from tests.simulation.world import second
from timer_trio.domain.flow import FlowId, flow_shard
from timer_trio.domain.gates import Gate
from timer_trio.domain.rules import NO_FLOW_RULES, FlowRules
from timer_trio.domain.timer import Lane, Status, Timer, TimerId
from timer_trio.storage.memory.database import Row

HOLDS_S: Final = 5.0
"""A rule holds on all replicas within this time of its answer."""
TURN_S: Final = 2.0
"""From the turn of a flow's timer until it is claimed: what has changed is heard of with a beat,
and a destination of which nothing is known has few slots until it has been silent for a second."""
HAND_OVER_S: Final = 3.0
"""After a change of membership, until who owns a flow now has heard of it and has read its timers."""
KNOWN_S: Final = 0.5
"""After a write, until who owns the timer knows of it, and a claim that was made before is done."""
ENDED_S: Final = 0.5
"""What others had in flight is asked for so often, and the answer takes its way."""
ROUNDING_S: Final = 2e-3
"""How long a callback took is kept in milliseconds."""
NOBODY: Final = TimerLog(number=-1)


def limits_hold(history: History) -> Iterator[str]:
    """A receiver never sees more of a flow at once than its limit."""
    for flow, tries in tries_of_flows(history).items():
        for place, one in enumerate(tries):
            at_s = one.fired_s
            rules = rules_between(history, flow, at_s - HOLDS_S, at_s)
            limit = max(inf if each.max_in_flight is None else each.max_in_flight for each in rules)
            others = sum(_is_in_flight(history, each, at_s) for each in tries[:place])
            if others + 1 > limit:
                yield f"{flow} had {others + 1} in flight at {at_s:.3f}, {limit} allowed"


def rates_hold(history: History) -> Iterator[str]:
    """A receiver never counts more of a flow in any window than its rate."""
    for flow, tries in tries_of_flows(history).items():
        for place, one in enumerate(tries):
            for before in tries[:place]:
                rules = rules_between(history, flow, before.fired_s - HOLDS_S, one.fired_s)
                rates = [each.rate for each in rules if each.rate is not None]
                if len(rates) < len(rules):
                    continue
                window_s = min(rate.per_s for rate in rates)
                if one.fired_s - before.fired_s >= window_s - ROUNDING_S:
                    continue
                known = [
                    each
                    for each in tries[tries.index(before) : place + 1]
                    if not _is_forgotten(history, each, one.fired_s)
                ]
                if len(known) > max(rate.count for rate in rates):
                    yield f"{flow} had {len(known)} within {window_s}s at {one.fired_s:.3f}"


def in_order_at_one(history: History) -> Iterator[str]:
    """Where one may be in flight at once, who is due first goes first, of all that is known."""
    for flow in flows_of(history):
        for taken, before in _taken(history, flow):
            rules = rules_between(history, flow, taken.at_s - HOLDS_S, taken.at_s)
            if any(each.max_in_flight != 1 for each in rules):
                continue
            due_at = before[taken.timer_id].first_due_at
            assert due_at is not None
            for timer_id, known in before.items():
                if known.row.due_at is None or known.row.due_at >= due_at:
                    continue
                known_s = latest_turn_s(history, flow, known.known_s, KNOWN_S)
                if known_s < taken.at_s:
                    late_s = taken.at_s - second(known.row.due_at)
                    yield f"{timer_id} of {flow} was overtaken, {late_s:.3f}s after its instant"


def nothing_stuck(history: History) -> Iterator[str]:
    """While a timer of a flow is due and may go, one of them goes soon."""
    for flow in flows_of(history):
        for began_s, ended_s in idle_spells(history, flow):
            latest_s = latest_turn_s(history, flow, began_s, TURN_S)
            if ended_s > latest_s:
                yield (
                    f"nothing of {flow} was claimed from {began_s:.3f} to {ended_s:.3f};"
                    f" until {latest_s:.3f} would do"
                )


def pauses_hold(history: History) -> Iterator[str]:
    """Nothing is sent of what has been paused for as long as that may take to be heard of."""
    for timer_log in history.timer_logs:
        for one in timer_log.tries:
            if one.sent_s is None:
                continue
            for gate in gates_of(timer_log, one):
                rules = rules_between(history, gate, one.sent_s - HOLDS_S, one.sent_s)
                if all(each.paused_at is not None for each in rules):
                    yield f"{timer_log.number} was sent at {one.sent_s:.3f} while {gate} was paused"


FLOW_CHECKERS: Final[tuple[Callable[[History], Iterator[str]], ...]] = (
    limits_hold,
    rates_hold,
    in_order_at_one,
    nothing_stuck,
    pauses_hold,
)


def broken_flow_promises(history: History) -> list[str]:
    """Name all that is wrong with the flows of a history."""
    return [
        f"{checker.__name__}: {violation}"
        for checker in FLOW_CHECKERS
        for violation in checker(history)
    ]


def may_be_missed(history: History, timer_log: TimerLog, row: Timer) -> bool:
    """Tell whether a trouble has made a timer of a flow miss its grace, once its turn had come."""
    assert timer_log.flow is not None
    assert row.spec.misfire_grace_s is not None
    turn_s = second(row.updated_at) - row.spec.misfire_grace_s
    pending = [
        change
        for change in history.changes
        if change.timer_id == row.id and change.row is not None and change.row.due_at is not None
    ]
    return (
        any(history.was_lost(one.process, one.began_s) for one in timer_log.tries)
        or _known_s(history, pending[-1]) > turn_s
        or latest_turn_s(history, timer_log.flow, turn_s, TURN_S) > turn_s + TURN_S
    )


def flows_of(history: History) -> Sequence[FlowId]:
    flows = (timer_log.flow for timer_log in history.timer_logs)
    return [*dict.fromkeys(flow for flow in flows if flow is not None)]


def tries_of_flows(history: History) -> Mapping[FlowId, Sequence[Try]]:
    """List what was sent of each flow, in order."""
    tries: dict[FlowId, list[Try]] = {flow: [] for flow in flows_of(history)}
    for timer_log in history.timer_logs:
        if timer_log.flow is not None:
            sent = (one for one in timer_log.tries if one.sent_s is not None)
            tries[timer_log.flow].extend(sent)
    return {flow: sorted(each, key=lambda one: one.fired_s) for flow, each in tries.items()}


def gates_of(timer_log: TimerLog, one: Try) -> Iterator[Gate]:
    url = timer_log.requests[one.version].spec.callback.url
    yield timer_log.project
    yield Lane(url.destination, timer_log.project)
    if timer_log.flow is not None:
        yield timer_log.flow


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
    for began_s, over_s, is_concerned in _delays(history, flow):
        is_met = began_s <= latest_s and over_s >= turn_s
        if is_met and (is_concerned or latest_s > in_time_s):
            latest_s = max(latest_s, over_s + patience_s)
    return latest_s


def _delays(history: History, flow: FlowId) -> Sequence[tuple[float, float, bool]]:
    """List from when to when each trouble and each change of membership may hold a flow up."""
    shard = flow_shard(*flow)
    locks = (
        (lock.began_s, lock.ended_s + lock.recovery_s, True)
        for timer_log in history.timer_logs
        for lock in timer_log.locks
        if timer_log.flow == flow
    )
    troubles = (
        (
            trouble.began_s,
            recovered_s(history, trouble, NOBODY),
            trouble.process is None or shard in trouble.shards,
        )
        for trouble in history.troubles
    )
    # When it was asked for counts, though who was asked may have frozen before it was written.
    resumptions = (
        (second(ruling.rules.resumed_at), ruling.at_s, True)
        for ruling in history.rulings
        if ruling.rules.resumed_at and second(ruling.rules.resumed_at) < ruling.at_s - KNOWN_S
    )
    changes_s = (
        at_s
        for life in history.lives.values()
        for at_s in (life.began_s, life.ended_s)
        if at_s < inf
    )
    return sorted(
        [*locks, *troubles, *resumptions, *((at_s, at_s + HAND_OVER_S, True) for at_s in changes_s)]
    )


@dataclass(frozen=True, slots=True)
class Known:
    """A row, and since when who owns it knows of it; not before the instant at which it is due."""

    row: Row
    known_s: float
    first_due_at: datetime | None
    """Of all instants since it was last claimed: one that is put off is known as it was, too."""


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
            instants.add(_known_s(history, change))
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
    lanes = {Lane(row.timer.spec.callback.url.destination, flow.project) for row in due}
    gates: list[Gate] = [flow, flow.project, *lanes]
    if not due or any(rules_between(history, gate, at_s, at_s)[0].paused_at for gate in gates):
        return False
    if rules.max_in_flight is not None and in_flight >= rules.max_in_flight:
        return False
    if rules.rate is None:
        return True
    counted = sum(each + ENDED_S + rules.rate.per_s > at_s for each in freed_s)
    return in_flight + counted < rules.rate.count


def changes_of(history: History, flow: FlowId) -> Sequence[Change]:
    """List what was written of the timers of a flow."""
    return [
        change
        for change in history.changes
        if change.row is not None
        and change.row.project == flow.project
        and change.row.timer.flow_key == flow.key
    ]


def _taken(history: History, flow: FlowId) -> Iterator[tuple[Change, Mapping[TimerId, Known]]]:
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
    instants = [change.row.due_at, was and was.first_due_at] if change.row.due_at else []
    first_due_at = min((each for each in instants if each is not None), default=None)
    return Known(change.row, _known_s(history, change), first_due_at)


def _is_taken(row: Row) -> bool:
    return row.timer.status is Status.EXECUTING and row.claimed_by is not None


def _known_s(history: History, change: Change) -> float:
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


def _is_in_flight(history: History, one: Try, at_s: float) -> bool:
    """Tell whether a receiver still has a callback, or may have it as its process was killed."""
    return at_s < _over_s(history, one)


def _over_s(history: History, one: Try) -> float:
    over_s = one.ended_s if one.answered_s is None else one.answered_s
    if not history.was_lost(one.process, one.fired_s, over_s):
        return over_s
    freed_s = next(
        (
            change.at_s
            for change in history.changes
            if str(change.timer_id) == one.timer_id
            and change.at_s > one.fired_s
            and change.row is not None
            and change.row.claimed_by is None
        ),
        inf,
    )
    is_cut_off = one.ending is Ending.BROKEN_OFF and one.answered_s is None
    return freed_s if is_cut_off else min(over_s, freed_s)


def _is_forgotten(history: History, one: Try, at_s: float) -> bool:
    return False
